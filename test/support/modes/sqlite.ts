/** `effect-connection-pool/sqlite` in a mode. */
export * from "../../../src/sqlite/index.ts"
export * as SqlitePool from "./sqlitePool.ts"
