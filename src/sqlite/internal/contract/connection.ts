/** The operations of a connection to SQLite. */
import type { Effect, Stream } from "effect"
import type { SqlError } from "effect/sql/SqlError"
import type { LeaseExpiredError } from "../../../PoolError.ts"
import type { Params, Row, RunResult, SyncOptions, Value } from "./values.ts"

/**
 * The operations of a connection to a SQLite database that it has wherever it runs: in the thread of the application, or in
 * a thread of its own. See `SqliteConnection`.
 */
export interface AsyncConnection {
  /** Runs one statement and returns its rows as objects. */
  readonly query: (sql: string, params?: Params) => Effect.Effect<ReadonlyArray<Row>, SqlError | LeaseExpiredError>
  /** Runs one statement and returns its rows as arrays. It is faster than `query`, and keeps columns with equal names. */
  readonly values: (
    sql: string,
    params?: Params
  ) => Effect.Effect<ReadonlyArray<ReadonlyArray<Value>>, SqlError | LeaseExpiredError>
  /** Runs one statement that changes rows, and returns how many. Drops the rows that the statement itself returns. */
  readonly run: (sql: string, params?: Params) => Effect.Effect<RunResult, SqlError | LeaseExpiredError>
  /**
   * Runs a script: any number of statements, without parameters. Stops at the first statement that fails. The work of the
   * earlier statements stays, so run a script that must be atomic in a transaction.
   */
  readonly exec: (script: string) => Effect.Effect<void, SqlError | LeaseExpiredError>
  /**
   * Runs one statement and returns its rows as a stream. Choose it if there may be more rows than fit in memory, or more
   * than will be read. For a few rows, `query` is faster.
   *
   * Reads 256 rows at a time, when they are asked for. In between, the event loop has its turn. While the stream runs, it
   * sees the database as it was when it began, and in WAL mode the log cannot be cut back. The statement ends with the
   * stream, however the stream ends. The stream fails if it goes on after its lease or its transaction has ended.
   */
  readonly stream: (sql: string, params?: Params) => Stream.Stream<Row, SqlError | LeaseExpiredError>
  /** Whether a transaction is open. It asks SQLite, which sometimes ends a transaction by itself. */
  readonly isTransaction: Effect.Effect<boolean, SqlError | LeaseExpiredError>
}

/**
 * A connection to a SQLite database.
 *
 * Every operation but `stream` runs in one step, so several fibers may use the connection at the same time. But they share
 * a transaction that one of them has begun. Each of these operations has a synchronous twin. The twin throws the error with
 * which the operation would fail; for `pool.useSync`, see `failure`.
 *
 * Fails with `SqlError` if SQLite refuses the statement. Fails with `LeaseExpiredError`, without any I/O, if the lease of
 * the connection has ended. Prepared statements are kept by their text, so pass values as parameters.
 */
export interface SqliteConnection extends AsyncConnection {
  /** The synchronous twin of `query`. Throws its errors. */
  readonly queryUnsafe: (sql: string, params?: Params, options?: SyncOptions) => ReadonlyArray<Row>
  /** The synchronous twin of `values`. Throws its errors. */
  readonly valuesUnsafe: (sql: string, params?: Params, options?: SyncOptions) => ReadonlyArray<ReadonlyArray<Value>>
  /** The synchronous twin of `run`. Throws its errors. */
  readonly runUnsafe: (sql: string, params?: Params, options?: SyncOptions) => RunResult
  /** The synchronous twin of `exec`. Throws its errors. */
  readonly execUnsafe: (script: string) => void
  /** The synchronous twin of `isTransaction`. Throws its errors. */
  readonly isTransactionUnsafe: () => boolean
}
