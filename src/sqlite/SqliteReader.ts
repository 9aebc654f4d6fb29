/** Connections to a SQLite database without the operations that write. */
import type { Effect, Stream } from "effect"
import type { SqlError } from "effect/sql/SqlError"
import type { LeaseExpiredError } from "../PoolError.ts"
import type { Params, Row, SyncOptions, Value } from "./internal/contract/values.ts"

/**
 * A connection that reads, lent by `read` of a `SqlitePool`: in this thread, or in a worker.
 *
 * A statement that writes is refused, by SQLite itself where the database is a file: it fails with a `SqlError` whose
 * reason is `AuthorizationError` and whose `codeOf` is 8, and has done nothing. Its message says what to use instead.
 * Otherwise the operations are those of a `SqliteConnection`.
 */
export interface SqliteReader {
  /** Runs one statement, and gives its rows as objects. */
  readonly query: (sql: string, params?: Params) => Effect.Effect<ReadonlyArray<Row>, SqlError | LeaseExpiredError>
  /** Runs one statement, and gives its rows as arrays: faster, and nothing is lost of equal names. */
  readonly values: (
    sql: string,
    params?: Params
  ) => Effect.Effect<ReadonlyArray<ReadonlyArray<Value>>, SqlError | LeaseExpiredError>
  /** Runs one statement, and gives its rows one after the other, read as they are asked for. */
  readonly stream: (sql: string, params?: Params) => Stream.Stream<Row, SqlError | LeaseExpiredError>
}

/**
 * A reader in the thread of the application, which has synchronous operations too: lent by `readSync`, and by `read` with
 * `{ execution: "in-process" }`.
 */
export interface SqliteSyncReader extends SqliteReader {
  /** `query` at once; throws. */
  readonly queryUnsafe: (sql: string, params?: Params, options?: SyncOptions) => ReadonlyArray<Row>
  /** `values` at once; throws. */
  readonly valuesUnsafe: (sql: string, params?: Params, options?: SyncOptions) => ReadonlyArray<ReadonlyArray<Value>>
}
