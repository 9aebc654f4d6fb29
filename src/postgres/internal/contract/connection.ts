/** The operations of a connection to PostgreSQL. */
import type { Effect, Stream } from "effect"
import type { SqlError } from "effect/sql/SqlError"
import type { LeaseExpiredError } from "../../../PoolError.ts"

/**
 * The parameters of a statement, for `$1`, `$2` and so on.
 *
 * The driver chooses the type of a parameter by its value: `boolean`, whole numbers as `int4` or `int8`, other numbers as
 * `float8`, `bigint` as `int8`, a `Date` as `timestamptz`, bytes as `bytea`, an array as an array of these. Text has the type
 * that the statement wants. `PgTypes` of `@effect/sql-pg` names a type.
 *
 * Refused before the statement is sent: too many or too few values, `undefined` (give `null`), -0, and text that PostgreSQL
 * cannot store.
 */
export type Params = ReadonlyArray<unknown>

/** A row, with a property for each column. If several columns have one name, it has the last of them; `values` has all. */
export interface Row {
  readonly [column: string]: unknown
}

/** The effect of a statement. */
export interface RunResult {
  /** What the server has done, in its words: `INSERT`, `UPDATE`, `CREATE`. */
  readonly command: string
  /** Rows that it inserted, updated, deleted or returned. 0 for other statements. */
  readonly changes: number
}

/**
 * A connection to a PostgreSQL database.
 *
 * It runs one statement at a time; fibers that share it wait for each other. A text has exactly one statement. Statements are
 * prepared once for each text, so pass values as parameters.
 *
 * Fails with `SqlError` if the server refuses the statement, or if the connection is lost. Fails with `LeaseExpiredError`,
 * without any I/O, if the lease of the connection has ended. An interrupt cancels the statement on the server, and waits until
 * that is done, at most `cancelTimeout`: what it may have stored is in docs/postgres.md.
 */
export interface PgConnection {
  /** Runs one statement and returns its rows as objects. */
  readonly query: (sql: string, params?: Params) => Effect.Effect<ReadonlyArray<Row>, SqlError | LeaseExpiredError>
  /** Runs one statement and returns its rows as arrays, also of columns with equal names. */
  readonly values: (
    sql: string,
    params?: Params
  ) => Effect.Effect<ReadonlyArray<ReadonlyArray<unknown>>, SqlError | LeaseExpiredError>
  /** Runs one statement and returns what it did. Drops the rows that the statement returns. */
  readonly run: (sql: string, params?: Params) => Effect.Effect<RunResult, SqlError | LeaseExpiredError>
  /**
   * Runs one statement and returns its rows as a stream, for more rows than fit in memory. The server sends more only when they
   * are asked for.
   *
   * It has the connection until it ends: another statement on this connection is refused meanwhile, with a `SqlError`. A stream
   * that ends early cancels its statement.
   */
  readonly stream: (sql: string, params?: Params) => Stream.Stream<Row, SqlError | LeaseExpiredError>
  /** Whether a transaction is open, as far as the statements of this connection tell. */
  readonly isTransaction: Effect.Effect<boolean, SqlError | LeaseExpiredError>
  /** The number of the server's process, as `pg_stat_activity` has it (`pid`). Behind a pooler it is a number of the pooler. */
  readonly processId: Effect.Effect<number, SqlError | LeaseExpiredError>
}
