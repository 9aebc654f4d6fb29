/** The errors that only a SQLite pool has, besides those of a connection and of a `ConnectionPool`. */
import { Schema } from "effect"
import { SqlError } from "effect/sql/SqlError"
import { cut } from "../internal/structures/statementText.ts"
import { functionMessage } from "./internal/failures.ts"

/**
 * A snapshot was held for longer than `maxReadAge`, and was ended: what has been read is of one state, but nothing more
 * can be read of it.
 *
 * As long as a snapshot is held, SQLite keeps everything that was written since, and its log grows without a bound. Read
 * less in one snapshot, or raise `maxReadAge`.
 */
export class SnapshotExpiredError extends Schema.TaggedError<SnapshotExpiredError>(
  "effect-connection-pool/sqlite/SnapshotExpiredError"
)("SnapshotExpiredError", {
  pool: Schema.String,
  /** How long it was held, in milliseconds. */
  heldMillis: Schema.Number,
  /** The limit, in milliseconds. */
  maxReadAgeMillis: Schema.Number
}) {
  override get message(): string {
    return `pool "${this.pool}": a snapshot was held for ${
      Math.round(this.heldMillis)
    } ms and ended, maxReadAge is ${this.maxReadAgeMillis} ms`
  }
}

/** A row whose foreign key points to no row of its parent. */
export const ForeignKeyViolation = Schema.Struct({
  table: Schema.String,
  /** Of a table that has rowids. */
  rowid: Schema.optional(Schema.Union([Schema.Number, Schema.BigInt])),
  /** The table that it points to. */
  parent: Schema.String,
  /** The columns of the foreign key. */
  columns: Schema.Array(Schema.String),
  /** The values in those columns, as SQL writes them: `7`, `'Ada'`. */
  values: Schema.optional(Schema.Array(Schema.String))
})
export interface ForeignKeyViolation extends Schema.Schema.Type<typeof ForeignKeyViolation> {}

/**
 * A transaction with `foreignKeys: "off"` would have left rows behind that point to no row of their parent, and was rolled
 * back. Rows that did so before it began are not counted.
 */
export class ForeignKeysViolatedError extends Schema.TaggedError<ForeignKeysViolatedError>(
  "effect-connection-pool/sqlite/ForeignKeysViolatedError"
)("ForeignKeysViolatedError", {
  pool: Schema.String,
  /** How many there are. */
  count: Schema.Number,
  /** The first of them; at most 20. */
  violations: Schema.Array(ForeignKeyViolation)
}) {
  override get message(): string {
    const shown = this.violations.slice(0, 5).map(({ columns, parent, rowid, table, values }) => {
      const row = rowid === undefined ? "" : `, rowid ${rowid}`
      const value = values === undefined ? "" : ` = ${values.map((value) => cut(value, 100)).join(", ")}`
      return `${table}(${columns.join(", ")})${value} points to no row of ${parent}${row}`
    })
    const others = this.count - shown.length
    return `pool "${this.pool}": the transaction violates foreign keys in ${this.count} ${
      this.count === 1 ? "row" : "rows"
    }, and was rolled back: ${shown.join("; ")}${others === 0 ? "" : `; and ${others} more`}`
  }
}

/**
 * A SQL function or aggregate of the application failed: it threw, or returned something that SQLite cannot store.
 *
 * The statement that called it fails with a `SqlError`, and this error is the `cause` of its `reason`. Nothing of the
 * statement is stored. An open transaction stays open.
 */
export class FunctionError extends Schema.TaggedError<FunctionError>("effect-connection-pool/sqlite/FunctionError")(
  "FunctionError",
  {
    /** The name in SQL. */
    function: Schema.String,
    /** What it threw. */
    cause: Schema.Defect()
  }
) {
  override get message(): string {
    return functionMessage(this.function, this.cause)
  }
}

/** A backup could not be written. */
export class BackupError extends Schema.TaggedError<BackupError>("effect-connection-pool/sqlite/BackupError")(
  "BackupError",
  {
    pool: Schema.String,
    /** The file that was to be written; it is as it was before. */
    target: Schema.String,
    cause: Schema.Defect()
  }
) {
  override get message(): string {
    const why = this.cause instanceof Error ? this.cause.message : String(this.cause)
    return `pool "${this.pool}": the backup to "${this.target}" failed: ${why}`
  }
}

/**
 * A row of a batch could not be run: SQLite refused it, its parameters are invalid, or the iterable that gives the rows threw.
 *
 * Its transaction was rolled back, so besides the first `stored` rows nothing of the batch is in the database. `cause.reason`
 * says what was wrong, as with every statement. To go on, mend the row, or leave it out, and run the batch from row `stored`
 * on. To keep rows that can be stored, use `insert or ignore`.
 */
export class BatchError extends Schema.TaggedError<BatchError>("effect-connection-pool/sqlite/BatchError")(
  "BatchError",
  {
    pool: Schema.String,
    /** The index of the row, from 0. */
    row: Schema.Number,
    /** How many rows are committed: 0, except with `commitEvery`. */
    stored: Schema.Number,
    cause: SqlError
  }
) {
  override get message(): string {
    const kept = this.stored === 0
      ? "nothing of the batch is stored"
      : `the first ${this.stored} ${this.stored === 1 ? "row is" : "rows are"} stored`
    return `pool "${this.pool}": row ${this.row} (from 0) of a batch failed, ${kept}: ${this.cause.message}`
  }
}
