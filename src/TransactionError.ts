/**
 * How a transaction can end otherwise than its body did: a closed union of tagged errors, each with the pool, the part of
 * the transaction that failed, and the error of the database behind it.
 *
 * Nothing of the transaction is in the database then, with one exception that says so: `TransactionOutcomeUnknownError`.
 * What a statement does wrong is not here: that is its `SqlError`, and the body's to handle or to fail with.
 *
 * All of them can be caught, whatever else went wrong: that a rollback failed as well is attached, see `rollbackFailureOf`.
 */
import { Cause, Context, Predicate, Schema } from "effect"
import { SqlError } from "effect/sql/SqlError"

/**
 * The options ask for something that there is not, or that the transaction around this one is not: it can only become
 * what it was begun as. Nothing was done.
 */
export class TransactionOptionsError extends Schema.TaggedError<TransactionOptionsError>(
  "effect-connection-pool/TransactionOptionsError"
)("TransactionOptionsError", {
  pool: Schema.String,
  /** The option, such as `isolation` or `timeout`. */
  field: Schema.String,
  value: Schema.String,
  /** What is wrong, as in "readOnly is 7, but must be true or false". */
  problem: Schema.String
}) {
  override get message(): string {
    return `pool "${this.pool}": transaction: ${this.problem}`
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
 *
 * Where nobody can know whether the database has carried out the commit, it is `TransactionOutcomeUnknownError` instead.
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
 * The commit was sent, but its answer never came: the connection was lost meanwhile, or the deadline of the commit has
 * passed. The transaction may be committed, and it may not; nobody knows on this side.
 *
 * Look in the database before you run it again, or make it idempotent, with a key of its own that it writes: then running
 * it twice does no harm. A `retry` never runs it again. A database in this process, such as SQLite, always answers.
 */
export class TransactionOutcomeUnknownError extends Schema.TaggedError<TransactionOutcomeUnknownError>(
  "effect-connection-pool/TransactionOutcomeUnknownError"
)("TransactionOutcomeUnknownError", {
  pool: Schema.String,
  cause: SqlError
}) {
  override get message(): string {
    return `pool "${this.pool}": the commit was sent, but not answered, so the transaction is either committed or rolled back; ` +
      `look in the database before you run it again, or make it idempotent: ${this.cause.message}`
  }
}

/**
 * The transaction has ended before its body was done. All that it did until then is undone.
 *
 * Mostly the database has ended it: the disk is full, a statement says `ON CONFLICT ROLLBACK`, a trigger `RAISE(ROLLBACK)`.
 * A driver ends one that only reads for its age, or because its file was replaced; and one is lost whose connection does
 * not answer any more. `reason` says which, where the driver knows it.
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
  cause: Schema.optional(SqlError),
  /** Why, where that is known and is no error of a statement. */
  reason: Schema.optional(Schema.String)
}) {
  override get message(): string {
    const who = this.reason === undefined ? "the database has ended the transaction" : "the transaction has ended early"
    const when = this.statement === undefined ? "" : `, when it ran ${JSON.stringify(shortened(this.statement))}`
    const why = this.reason ?? this.cause?.message
    return `pool "${this.pool}": ${who}${when}${why === undefined ? "" : `: ${why}`} ` +
      "(nothing of it is stored; run all of it again)"
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
    return `pool "${this.pool}": ${
      shortened(this.operation)
    }: the transaction that this fiber is in has ended with its body, ` +
      "which the fiber has outlived; join the fiber within the body, or fork it outside the transaction"
  }
}

/** Who has the turn in a transaction: a fiber that has an inner transaction, or a stream, open in it. */
export const TurnHolder = Schema.Struct({
  /** The id of the fiber. */
  fiber: Schema.Number,
  /** What it does with it: a statement, or `transaction`. */
  operation: Schema.String,
  /** The `label` of its inner transaction; else the name of the span that the fiber is in. */
  label: Schema.optional(Schema.String),
  /** That span, to be found in a trace, if the fiber is in one. */
  span: Schema.optional(Schema.Struct({ traceId: Schema.String, spanId: Schema.String })),
  /** Milliseconds since it has the turn. */
  heldMillis: Schema.Number
})
export interface TurnHolder extends Schema.Schema.Type<typeof TurnHolder> {}

/**
 * A statement, or an inner transaction, did not get its turn within the deadline, because another fiber of the same
 * transaction has an inner transaction or a stream open. Nothing was done; the transaction goes on.
 *
 * Mostly those two wait for each other: a fiber waits in its inner transaction for one that can go on only when that is
 * over. Let the inner transaction end before you wait, or do both in the same fiber.
 */
export class TransactionTurnTimeoutError extends Schema.TaggedError<TransactionTurnTimeoutError>(
  "effect-connection-pool/TransactionTurnTimeoutError"
)("TransactionTurnTimeoutError", {
  pool: Schema.String,
  /** What was to be done: a statement, or `transaction`. */
  operation: Schema.String,
  /** How long it waited, in milliseconds. */
  waitedMillis: Schema.Number,
  /** The deadline it had, in milliseconds. */
  timeoutMillis: Schema.Number,
  holder: TurnHolder
}) {
  override get message(): string {
    const { fiber, heldMillis, label, operation } = this.holder
    const what = operation === "transaction" ? "an inner transaction" : JSON.stringify(shortened(operation))
    const name = label === undefined ? "" : `${JSON.stringify(label)}, `
    return `pool "${this.pool}": ${shortened(this.operation)}: no turn in the transaction within ${
      millis(this.timeoutMillis)
    }: another fiber (${name}fiber #${fiber}) has ${what} open in it, for ${millis(heldMillis)}; ` +
      "end that before you wait for others, or do both in one fiber"
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
  | TransactionOutcomeUnknownError
  | TransactionLostError
  | TransactionEndedError
  | TransactionTurnTimeoutError

/**
 * A transaction could not be rolled back. Its connection was taken out of the pool, and closing it rolls back.
 *
 * No caller fails with this: there was another failure before, and that is the one that counts. It is logged, and attached
 * to that failure, or to the interruption or the defect that ended the body: `rollbackFailureOf` finds it.
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

/**
 * The annotation of a cause with the rollback that failed besides. It stays with the cause through `Effect.exit`, `tapCause`
 * or `mapError`; `rollbackFailureOf` reads it.
 */
export class RollbackFailure extends Context.Service<RollbackFailure, TransactionRollbackError>()(
  "effect-connection-pool/TransactionError/RollbackFailure"
) {}

/** By the failures that they came with. */
const rollbackFailures = new WeakMap<object, TransactionRollbackError>()

/**
 * The failed rollback that came with a failure: of an error that was caught, or of a `Cause`. Nothing if the rollback
 * succeeded, and for an error that is no object.
 *
 * ```ts
 * import { Effect } from "effect"
 * import { type PoolError, TransactionError } from "effect-connection-pool"
 * import type { SqlError } from "effect/sql/SqlError"
 *
 * declare const booking: Effect.Effect<string, SqlError | TransactionError.TransactionError | PoolError.PoolError>
 *
 * export const answer = booking.pipe(
 *   Effect.catchTag("SqlError", (error) => {
 *     const rollbackFailure = TransactionError.rollbackFailureOf(error)
 *     return Effect.succeed(rollbackFailure === undefined ? "not booked" : `not booked: ${rollbackFailure.message}`)
 *   })
 * )
 * ```
 */
export const rollbackFailureOf = (failure: unknown): TransactionRollbackError | undefined => {
  if (!Cause.isCause(failure)) return Predicate.isObjectKeyword(failure) ? rollbackFailures.get(failure) : undefined
  const annotated = Context.getOrUndefined(Cause.annotations(failure), RollbackFailure)
  if (annotated !== undefined) return annotated
  for (const reason of failure.reasons) {
    const found = Cause.isFailReason(reason) ? rollbackFailureOf(reason.error) : undefined
    if (found !== undefined) return found
  }
  return undefined
}

/** @internal Attaches it: a second reason in the cause would keep `catch` and `retry` from the first. */
export const withRollbackFailure = <E>(
  cause: Cause.Cause<E>,
  rollbackFailure: TransactionRollbackError
): Cause.Cause<E> => {
  for (const reason of cause.reasons) {
    if (Cause.isFailReason(reason) && Predicate.isObjectKeyword(reason.error)) {
      rollbackFailures.set(reason.error, rollbackFailure)
    }
  }
  return Cause.annotate(cause, Context.make(RollbackFailure, rollbackFailure))
}

/** Whether it is one of the transaction errors. */
export const isTransactionError = (error: unknown): error is TransactionError =>
  error instanceof TransactionOptionsError || error instanceof TransactionBeginError ||
  error instanceof TransactionCommitError || error instanceof TransactionOutcomeUnknownError ||
  error instanceof TransactionLostError || error instanceof TransactionEndedError ||
  error instanceof TransactionTurnTimeoutError

/**
 * Whether a transaction that failed like this may succeed when all of it is run again: it has met a lock, or lost a race,
 * or the database did not answer when a transaction was begun. A dialect may know more such errors, and `retry` asks it.
 *
 * Looks behind errors of the application that have such an error for their `cause`, so a body may name its failures. It is
 * never so where the outcome is unknown.
 */
export const isCurable = (error: unknown): boolean => isCurableFor(undefined)(error)

/** @internal The rule, with what a dialect knows besides. */
export const isCurableFor = (ofDialect: ((error: SqlError) => boolean) | undefined) => (error: unknown): boolean => {
  let suspect = error
  let isSo: boolean | undefined
  for (let depth = 0; depth < 10 && typeof suspect === "object" && suspect !== null; depth++) {
    if (suspect instanceof TransactionOutcomeUnknownError) return false
    if (suspect instanceof SqlError) {
      const { reason } = suspect
      // The first counts; but behind it there may be one whose outcome is unknown.
      isSo ??= curable.has(reason._tag) || reason.cause instanceof ControlTimeout || ofDialect?.(suspect) === true
      suspect = reason.cause
    } else suspect = "cause" in suspect ? suspect.cause : undefined
  }
  return isSo === true
}

const curable: ReadonlySet<string> = new Set(["LockTimeoutError", "SerializationError", "DeadlockError"])

/**
 * @internal Behind the `SqlError` of a statement that begins or ends something and was not answered within its deadline.
 */
export class ControlTimeout extends Error {
  override readonly name = "ControlTimeout"
}

const nameAt = (depth: number): string => depth === 0 ? "transaction" : `transaction inside another (depth ${depth})`

const shortened = (text: string): string => text.length <= 100 ? text : `${text.slice(0, 100)}...`

const millis = (value: number): string => `${Math.round(value * 1000) / 1000} ms`
