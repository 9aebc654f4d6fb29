export * as SqliteClient from "./SqliteClient.ts"
export * as SqliteMigrator from "./SqliteMigrator.ts"
