/** The pools of one database, and the file that they share. */
import type { SqlError } from "effect/sql/SqlError"
import type { ConnectionPool } from "../../../ConnectionPool.ts"
import type { SqliteConnection } from "../contract/connection.ts"
import type { PoolSettings } from "../options/pool.ts"
import type { WorkerLeased } from "../worker/workerConnection.ts"
import type { SharedFile } from "./connections.ts"

/** A pool of connections to SQLite in the thread of the application. */
export type Pool = ConnectionPool<SqliteConnection, SqlError>

/** A pool of connections to SQLite, each in a thread of its own. */
export type WorkerPool = ConnectionPool<WorkerLeased, SqlError>

/** A connection of any kind. */
export type AnyConnection = SqliteConnection | WorkerLeased

/** A pool whose connections are of one kind, for those who tell the kinds apart. */
export type AnyPool = ConnectionPool<AnyConnection, SqlError>

export interface Sides {
  readonly settings: PoolSettings
  readonly writer: Pool
  /**
   * The pool `writer`, if its connection is in a thread. Then it has no synchronous operations, whatever the type of `writer`
   * says: who needs them looks here first.
   */
  readonly workerWriter: WorkerPool | undefined
  /** The same pool as `writer` if one connection does everything, or if the database is only read. */
  readonly readers: Pool
  /** The readers in threads. Not set if there are none. */
  readonly workers: WorkerPool | undefined
  /** Not set if one connection does everything. */
  readonly file: SharedFile | undefined
}
