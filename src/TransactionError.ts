/**
 * How a transaction can end otherwise than its body did: a closed union of tagged errors, each with the pool, the part of
 * the transaction that failed, and the error of the database behind it.
 *
 * Whichever of them a caller gets, nothing of the transaction is in the database. What a statement does wrong is not here:
 * that is its `SqlError`, and the body's to handle or to fail with.
 */
import { Schema } from "effect"
import { SqlError } from "effect/sql/SqlError"

/**
 * The options ask for something that there is not, or that the transaction around this one is not: it can only become
 * what it was begun as. Nothing was done.
 */
export class TransactionOptionsError extends Schema.TaggedError<TransactionOptionsError>(
  "effect-connection-pool/TransactionOptionsError"
)("TransactionOptionsError", {
  pool: Schema.String,
  /** The option: `isolation`, `readOnly` or `retry`. */
  field: Schema.String,
  value: Schema.String,
  allowed: Schema.String
}) {
  override get message(): string {
    return `pool "${this.pool}": transaction: ${this.field} is ${this.value}, allowed is ${this.allowed}`
  }
}

/**
 * The transaction, or the savepoint of an inner one, could not be begun. The body did not run.
 *
 * Mostly a lock: another process kept the database longer than the driver waits for it. A retry may help then, and
 * `isRetryable` says so.
 */
export class TransactionBeginError extends Schema.TaggedError<TransactionBeginError>(
  "effect-connection-pool/TransactionBeginError"
)("TransactionBeginError", {
  pool: Schema.String,
  /** 0 for a transaction, 1 for one inside it, and so on. */
  depth: Schema.Number,
  cause: SqlError
}) {
  /** Whether running the whole transaction again may succeed. */
  get isRetryable(): boolean {
    return isCurable(this.cause)
  }

  override get message(): string {
    return `pool "${this.pool}": could not begin the ${nameAt(this.depth)}: ${this.cause.message}`
  }
}

/**
 * The body succeeded, but its work could not be committed, and was rolled back: a deferred constraint that does not hold,
 * a full disk, a lock. For an inner transaction: its savepoint could not be released.
 */
export class TransactionCommitError extends Schema.TaggedError<TransactionCommitError>(
  "effect-connection-pool/TransactionCommitError"
)("TransactionCommitError", {
  pool: Schema.String,
  /** 0 for a transaction, 1 for one inside it, and so on. */
  depth: Schema.Number,
  cause: SqlError
}) {
  /** Whether running the whole transaction again may succeed. */
  get isRetryable(): boolean {
    return isCurable(this.cause)
  }

  override get message(): string {
    return `pool "${this.pool}": could not commit the ${
      nameAt(this.depth)
    }, which was rolled back: ${this.cause.message}`
  }
}

/**
 * The database has ended the transaction before its body was done: the disk is full, a statement says `ON CONFLICT
 * ROLLBACK`, a trigger `RAISE(ROLLBACK)`. All that the transaction did until then is undone.
 *
 * The statement that did it fails with its own error. Every later one, at any depth, gets this and is not run (it would
 * be on its own, and committed); and the transaction fails with it, unless the body has failed anyway.
 */
export class TransactionLostError extends Schema.TaggedError<TransactionLostError>(
  "effect-connection-pool/TransactionLostError"
)("TransactionLostError", {
  pool: Schema.String,
  /** What was run when it happened, as far as that is known. */
  statement: Schema.optional(Schema.String),
  /** What that failed with, if it failed. */
  cause: Schema.optional(SqlError)
}) {
  override get message(): string {
    const when = this.statement === undefined ? "" : `, when it ran ${JSON.stringify(shortened(this.statement))}`
    const why = this.cause === undefined ? "" : `: ${this.cause.message}`
    return `pool "${this.pool}": the database has ended the transaction${when}${why}`
  }
}

/**
 * Something was run in a transaction that had ended: a fiber that was forked in its body has outlived it. Nothing was done.
 *
 * A transaction ends with its body. What others still have open inside it then, a savepoint for instance, is undone.
 */
export class TransactionEndedError extends Schema.TaggedError<TransactionEndedError>(
  "effect-connection-pool/TransactionEndedError"
)("TransactionEndedError", {
  pool: Schema.String,
  /** What was asked for: a statement, or `transaction`. */
  operation: Schema.String
}) {
  override get message(): string {
    return `pool "${this.pool}": ${shortened(this.operation)}: the transaction that this fiber is in has ended`
  }
}

/**
 * What a transaction can fail with, besides what its body fails with and a `PoolError`.
 *
 * ```ts
 * import { Effect } from "effect"
 * import type { PoolError, TransactionError } from "effect-connection-pool"
 *
 * declare const booking: Effect.Effect<string, TransactionError.TransactionError | PoolError.PoolError>
 *
 * export const answer = booking.pipe(
 *   Effect.catchTags({
 *     TransactionBeginError: (error) => error.isRetryable ? Effect.succeed("busy, ask again") : Effect.die(error),
 *     TransactionCommitError: (error) => Effect.succeed(`not booked: ${error.cause.message}`)
 *   })
 * )
 * ```
 */
export type TransactionError =
  | TransactionOptionsError
  | TransactionBeginError
  | TransactionCommitError
  | TransactionLostError
  | TransactionEndedError

/**
 * A transaction could not be rolled back. Its connection was taken out of the pool, and closing it rolls back.
 *
 * No caller fails with this: there was another failure before, and that is the one that counts. It is logged, and the
 * cause of that failure carries it as a defect; but an interruption stays what it is.
 */
export class TransactionRollbackError extends Schema.TaggedError<TransactionRollbackError>(
  "effect-connection-pool/TransactionRollbackError"
)("TransactionRollbackError", {
  pool: Schema.String,
  /** 0 for a transaction, 1 for one inside it, and so on. */
  depth: Schema.Number,
  cause: SqlError
}) {
  override get message(): string {
    return `pool "${this.pool}": could not roll back the ${
      nameAt(this.depth)
    }, so its connection is closed: ${this.cause.message}`
  }
}

/** Whether it is one of the transaction errors. */
export const isTransactionError = (error: unknown): error is TransactionError =>
  error instanceof TransactionOptionsError || error instanceof TransactionBeginError ||
  error instanceof TransactionCommitError || error instanceof TransactionLostError ||
  error instanceof TransactionEndedError

/**
 * Whether a transaction that failed like this may succeed when all of it is run again: it has met a lock, or lost a race.
 *
 * Looks behind errors of the application that have such an error for their `cause`, so a body may name its failures.
 */
export const isCurable = (error: unknown): boolean => {
  let suspect = error
  for (let depth = 0; depth < 10 && typeof suspect === "object" && suspect !== null; depth++) {
    if (suspect instanceof SqlError) return curable.has(suspect.reason._tag)
    suspect = "cause" in suspect ? suspect.cause : undefined
  }
  return false
}

const curable: ReadonlySet<string> = new Set(["LockTimeoutError", "SerializationError", "DeadlockError"])

const nameAt = (depth: number): string => depth === 0 ? "transaction" : `transaction inside another (depth ${depth})`

const shortened = (text: string): string => text.length <= 100 ? text : `${text.slice(0, 100)}...`
