export * as SqliteConnection from "./SqliteConnection.ts"
