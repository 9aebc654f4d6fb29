/** The two pools of one database, and the file that they share. */
import type { SqlError } from "effect/sql/SqlError"
import type { ConnectionPool } from "../../../ConnectionPool.ts"
import type { SqliteConnection } from "../contract/connection.ts"
import type { PoolSettings } from "../options/pool.ts"
import type { SharedFile } from "./connections.ts"

/** A pool of connections to SQLite. */
export type Pool = ConnectionPool<SqliteConnection, SqlError>

export interface Sides {
  readonly settings: PoolSettings
  readonly writer: Pool
  /** The same pool as `writer` if one connection does everything, or if the database is only read. */
  readonly readers: Pool
  /** Not set if one connection does everything. */
  readonly file: SharedFile | undefined
}
