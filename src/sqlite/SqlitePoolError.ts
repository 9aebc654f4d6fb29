/** What a SQLite pool can fail with, besides what a connection and a `ConnectionPool` can. */
import { Schema } from "effect"

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
