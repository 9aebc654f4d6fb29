/** The operations of a connection to SQLite. */
import type { Effect, Stream } from "effect"
import type { SqlError } from "effect/sql/SqlError"
import type { LeaseExpiredError } from "../../../PoolError.ts"
import type { Params, Row, RunResult, SyncOptions, Value } from "./values.ts"

/**
 * A connection to a SQLite database.
 *
 * Every operation is one step that nothing comes between, so several fibers may use it; but they share a transaction that
 * one of them has begun. Each operation has a synchronous twin, which throws what the other fails with: for
 * `pool.useSync`, see `failure`.
 *
 * Fails with `SqlError` when SQLite refuses, and with `LeaseExpiredError`, without any I/O, when the connection was
 * leased from a pool and has been returned. Prepared statements are kept, so values belong into parameters.
 */
export interface SqliteConnection {
  /** Runs one statement, and gives the rows that it returns as objects. */
  readonly query: (sql: string, params?: Params) => Effect.Effect<ReadonlyArray<Row>, SqlError | LeaseExpiredError>
  /** Runs one statement, and gives the rows that it returns as arrays: faster, and nothing is lost of equal names. */
  readonly values: (
    sql: string,
    params?: Params
  ) => Effect.Effect<ReadonlyArray<ReadonlyArray<Value>>, SqlError | LeaseExpiredError>
  /** Runs one statement that changes something, and tells how many rows. Rows that it returns are dropped. */
  readonly run: (sql: string, params?: Params) => Effect.Effect<RunResult, SqlError | LeaseExpiredError>
  /**
   * Runs a script: any number of statements, without parameters. Stops at the first that fails; what those before it
   * did is done, so a script that changes much belongs into a transaction.
   */
  readonly exec: (script: string) => Effect.Effect<void, SqlError | LeaseExpiredError>
  /**
   * Runs one statement, and gives its rows one after the other. Choose it where there may be more of them than belong in
   * memory, or than will be read; `query` is faster.
   *
   * Reads 256 rows at a time, when they are asked for, and lets the event loop have its turn in between. As long as the
   * stream runs, it sees the database as it was when it began, and in WAL mode the log cannot be cut back. It ends,
   * however it ends, by ending the statement. One that runs on after the lease has ended, or its transaction, fails.
   */
  readonly stream: (sql: string, params?: Params) => Stream.Stream<Row, SqlError | LeaseExpiredError>
  /** Whether a transaction is open, asked of SQLite, which sometimes ends one by itself. */
  readonly isTransaction: Effect.Effect<boolean, SqlError | LeaseExpiredError>

  /** `query` at once; throws. */
  readonly queryUnsafe: (sql: string, params?: Params, options?: SyncOptions) => ReadonlyArray<Row>
  /** `values` at once; throws. */
  readonly valuesUnsafe: (sql: string, params?: Params, options?: SyncOptions) => ReadonlyArray<ReadonlyArray<Value>>
  /** `run` at once; throws. */
  readonly runUnsafe: (sql: string, params?: Params, options?: SyncOptions) => RunResult
  /** `exec` at once; throws. */
  readonly execUnsafe: (script: string) => void
  /** `isTransaction` at once; throws. */
  readonly isTransactionUnsafe: () => boolean
}
