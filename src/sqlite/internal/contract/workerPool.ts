/** The operations of a SQLite database whose writer is in a thread. */
import { Context, type Effect } from "effect"
import type { SqlError } from "effect/sql/SqlError"
import type { AcquireOptions, ConnectionPool } from "../../../ConnectionPool.ts"
import type { PoolError } from "../../../PoolError.ts"
import type { SqliteConnection } from "./connection.ts"
import type { SqlitePool } from "./pool.ts"

/**
 * A connection to SQLite in a thread. All its operations are effects: it has none that would have to wait for another thread
 * at once. Otherwise it does what a `SqliteConnection` does.
 */
export interface SqliteWorkerConnection
  extends Pick<SqliteConnection, "query" | "values" | "run" | "exec" | "stream" | "isTransaction">
{}

/**
 * An open SQLite database whose writer is in a thread. It is a `SqlitePool` without synchronous writes: `writeSync` is not
 * there, and `write` lends a `SqliteWorkerConnection`.
 */
export interface SqliteWorkerPool extends Omit<SqlitePool, "write" | "writeSync" | "writer"> {
  /**
   * Runs an effect with the only connection that writes. Each statement is committed separately. A statement that is
   * interrupted before its commit begins stores nothing, although SQLite may still be at it. From then on an interrupt comes
   * too late: the statement ends, and its caller gets its result.
   *
   * Waits in line as `SqlitePool.write` does, and also for a statement that was interrupted and still runs.
   */
  readonly write: <A, E, R>(
    f: (connection: SqliteWorkerConnection) => Effect.Effect<A, E, R>,
    options?: AcquireOptions
  ) => Effect.Effect<A, E | PoolError<SqlError>, R>

  /** The pool of the connection that writes. */
  readonly writer: ConnectionPool<SqliteWorkerConnection, SqlError>
}

/** The service of a database whose writer is in a thread. */
export const SqliteWorkerPool: Context.Service<SqliteWorkerPool, SqliteWorkerPool> = Context.Service<SqliteWorkerPool>(
  "effect-connection-pool/SqliteWorkerPool"
)
