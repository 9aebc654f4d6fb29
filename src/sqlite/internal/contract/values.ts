/** Values that go into SQLite and come out of it. */

/** A value that a parameter can have. */
export type Param = null | string | number | bigint | boolean | ArrayBufferView | ArrayBuffer

/**
 * The parameters of a statement: in order for the placeholders `?` and `?1`, or by name for `:name`, `@name` and `$name`,
 * with or without the prefix.
 *
 * All are stored exactly, or refused before anything is run:
 *
 * - whole numbers (below 2^53) and bigints (of 64 bits) as INTEGER, other numbers as REAL, `Infinity` and -0 too
 * - booleans as the INTEGER 1 or 0
 * - text as TEXT, but not with half a surrogate pair in it
 * - bytes as BLOB: any view of an `ArrayBuffer`, or one as a whole
 * - `null` as NULL
 *
 * `undefined`, `NaN`, a `Date` or any other object, and a parameter too many or too few are errors.
 */
export type Params = ReadonlyArray<Param> | { readonly [name: string]: Param }

/**
 * A value in a row: bytes as `Uint8Array`, integers as `number`, or as `bigint` with `SafeIntegers`.
 *
 * Without `SafeIntegers`, an integer beyond 2^53 is an error; but in the rows that a statement gives which writes, it is a
 * `bigint`, for then all is done already.
 */
export type Value = null | string | number | bigint | Uint8Array

/**
 * A row: an object without a prototype, with a property for each column. Of several columns with the same name it has the
 * last; `values` has them all.
 */
export interface Row {
  readonly [column: string]: Value
}

/** The effect of a statement that returns no rows. */
export interface RunResult {
  /** Rows that it inserted, updated or deleted; not those that triggers or foreign keys did. 0 for other statements. */
  readonly changes: number
  /**
   * The rowid of the last row this connection has inserted; says something only right after an insert. A `bigint` with
   * `SafeIntegers`, and beyond 2^53.
   */
  readonly lastInsertRowid: number | bigint
}

/** The options of one synchronous operation. */
export interface SyncOptions {
  /** Whether integers come as `bigint`. Default false: as `number`; for those beyond 2^53 see `Value`. */
  readonly safeIntegers?: boolean | undefined
}
