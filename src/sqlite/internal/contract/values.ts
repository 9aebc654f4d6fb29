/** Values that go into SQLite and come out of it. */

/** A value that a parameter can have. */
export type Param = null | string | number | bigint | boolean | ArrayBufferView | ArrayBuffer

/**
 * The parameters of a statement. They are given in order for the placeholders `?` and `?1`, or by name for `:name`, `@name`
 * and `$name`, with or without the prefix.
 *
 * Every value is stored exactly, or refused before the statement runs:
 *
 * - whole numbers (below 2^53) and bigints (of 64 bits) as INTEGER, other numbers as REAL, `Infinity` and -0 too
 * - booleans as the INTEGER 1 or 0
 * - text as TEXT, but not with half a surrogate pair in it
 * - bytes as BLOB: a whole `ArrayBuffer`, or any view of one
 * - `null` as NULL
 *
 * `undefined`, `NaN`, a `Date` and any other object are errors, and so are too many or too few parameters.
 */
export type Params = ReadonlyArray<Param> | { readonly [name: string]: Param }

/**
 * A value in a row: bytes as `Uint8Array`, integers as `number`, or as `bigint` with `SafeIntegers`.
 *
 * Without `SafeIntegers`, an integer beyond 2^53 is an error. In the rows that a statement returns after writing, it is a
 * `bigint` instead, because the write is done already.
 */
export type Value = null | string | number | bigint | Uint8Array

/**
 * A row: an object without a prototype, with a property for each column. If several columns have the same name, it has only
 * the last of them. `values` has them all.
 */
export interface Row {
  readonly [column: string]: Value
}

/** The effect of a statement that returns no rows. */
export interface RunResult {
  /** Rows that it inserted, updated or deleted, without those changed by triggers or foreign keys. 0 for other statements. */
  readonly changes: number
  /**
   * The rowid of the last row that this connection has inserted. Use it only directly after an insert. It is a `bigint` with
   * `SafeIntegers`, and if it is beyond 2^53.
   */
  readonly lastInsertRowid: number | bigint
}

/** The options of one synchronous operation. */
export interface SyncOptions {
  /** Whether integers are returned as `bigint`. Default false: as `number`. For integers beyond 2^53, see `Value`. */
  readonly safeIntegers?: boolean | undefined
}
