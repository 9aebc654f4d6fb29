export * as SqliteConnection from "./SqliteConnection.ts"
export * as SqlitePool from "./SqlitePool.ts"
export * as SqlitePoolError from "./SqlitePoolError.ts"
export * as SqliteReader from "./SqliteReader.ts"
