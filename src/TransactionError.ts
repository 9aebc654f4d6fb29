/**
 * The errors of transactions: a closed union of tagged errors, each with the pool, the part of the transaction that failed,
 * and the error of the database behind it.
 *
 * After each of them nothing of the transaction is in the database, with one exception: `TransactionOutcomeUnknownError`.
 * The failure of a statement is not among them: it is a `SqlError`, which the body handles or fails with.
 *
 * All of them can be caught, also when the rollback failed too: that failure is attached to them, see `rollbackFailureOf`.
 */
import { Cause, Context, Predicate, Schema } from "effect"
import { SqlError } from "effect/sql/SqlError"
import { cut, inOneLine, labelText } from "./internal/structures/statementText.ts"
import { ConfigProblem } from "./PoolError.ts"

/**
 * The options of the transaction are invalid: an option is unknown, is not what it must be, contradicts another, or differs
 * from the transaction around it. All problems are listed. Nothing was done.
 *
 * A transaction inside another has the isolation and the mode of the outer one, and may only name these.
 */
export class TransactionOptionsError extends Schema.TaggedError<TransactionOptionsError>(
  "effect-connection-pool/TransactionOptionsError"
)("TransactionOptionsError", {
  pool: Schema.String,
  problems: Schema.NonEmptyArray(ConfigProblem)
}) {
  /** The name of the first option that is wrong, such as `isolation` or `timeout`. */
  get field(): string {
    return this.problems[0].field
  }

  /** What was given for it. */
  get value(): string {
    return this.problems[0].value
  }

  override get message(): string {
    return `pool "${this.pool}": transaction: ${this.problems.map(({ message }) => message).join("; ")}`
  }
}

/**
 * The transaction, or the savepoint of an inner one, could not be begun. The body did not run.
 *
 * The usual reason is a lock: another process kept the database locked for longer than the driver waits. Then `isRetryable`
 * is true, and a retry may help.
 */
export class TransactionBeginError extends Schema.TaggedError<TransactionBeginError>(
  "effect-connection-pool/TransactionBeginError"
)("TransactionBeginError", {
  pool: Schema.String,
  /** 0 for a transaction, 1 for one inside it, and so on. */
  depth: Schema.Number,
  cause: SqlError
}) {
  /** Whether running the whole transaction again may succeed: `retry` would do it. */
  get isRetryable(): boolean {
    return isCurable(this.cause)
  }

  override get message(): string {
    return `pool "${this.pool}": could not begin the ${nameAt(this.depth)}: ${textOf(this.cause)}`
  }
}

/**
 * The body succeeded, but its work could not be committed and was rolled back. For an inner transaction: its savepoint could
 * not be released.
 *
 * The usual reasons are a deferred constraint that does not hold, a full disk, or a lock. If the database may have carried
 * out the commit, the error is `TransactionOutcomeUnknownError` instead.
 */
export class TransactionCommitError extends Schema.TaggedError<TransactionCommitError>(
  "effect-connection-pool/TransactionCommitError"
)("TransactionCommitError", {
  pool: Schema.String,
  /** 0 for a transaction, 1 for one inside it, and so on. */
  depth: Schema.Number,
  cause: SqlError
}) {
  /** Whether running the whole transaction again may succeed: `retry` would do it. */
  get isRetryable(): boolean {
    return isCurable(this.cause)
  }

  override get message(): string {
    return `pool "${this.pool}": could not commit the ${nameAt(this.depth)}, which was rolled back: ${
      textOf(this.cause)
    }`
  }
}

/**
 * The commit was sent, but its answer never came, so the transaction is either committed or rolled back.
 *
 * The connection was lost meanwhile, or the deadline of the commit has passed. Look in the database before you run the
 * transaction again, or make it idempotent: let it write a key of its own, then a second run does no harm. `retry` never runs
 * it again. A database in this process, such as SQLite, always answers.
 */
export class TransactionOutcomeUnknownError extends Schema.TaggedError<TransactionOutcomeUnknownError>(
  "effect-connection-pool/TransactionOutcomeUnknownError"
)("TransactionOutcomeUnknownError", {
  pool: Schema.String,
  cause: SqlError
}) {
  override get message(): string {
    return `pool "${this.pool}": the commit was sent, but not answered, so the transaction is either committed or rolled back; ` +
      `look in the database before you run it again, or make it idempotent: ${textOf(this.cause)}`
  }
}

/**
 * The transaction has ended before its body. All work of the transaction is undone.
 *
 * In most cases the database has ended it: the disk is full, a statement says `ON CONFLICT ROLLBACK`, a trigger
 * `RAISE(ROLLBACK)`. A driver ends a transaction that only reads because of its age, or because its file was replaced. A
 * transaction is also lost when its connection no longer answers. `reason` says which, if the driver knows it.
 *
 * The statement that ended the transaction fails with its own error. Every later statement, at any depth, fails with this
 * error and is not run: outside of the transaction it would be committed at once. The transaction fails with this error too,
 * unless its body fails with another.
 */
export class TransactionLostError extends Schema.TaggedError<TransactionLostError>(
  "effect-connection-pool/TransactionLostError"
)("TransactionLostError", {
  pool: Schema.String,
  /** The statement that ran when it happened, if that is known. */
  statement: Schema.optional(Schema.String),
  /** The error of that statement, if it failed. */
  cause: Schema.optional(SqlError),
  /** Why the transaction ended, if the driver knows it and it is not the error of a statement. */
  reason: Schema.optional(Schema.String)
}) {
  override get message(): string {
    const who = this.reason === undefined ? "the database has ended the transaction" : "the transaction has ended early"
    const when = this.statement === undefined ? "" : `, when it ran ${JSON.stringify(shortened(this.statement))}`
    const why = this.reason ?? (this.cause && textOf(this.cause))
    return `pool "${this.pool}": ${who}${when}${why === undefined ? "" : `: ${why}`} ` +
      "(nothing of it is stored; run all of it again)"
  }
}

/**
 * A fiber has outlived its transaction and tried to run a statement in it. Nothing was done.
 *
 * A transaction ends with its body. The inner transactions that other fibers still have open at that moment are undone.
 */
export class TransactionEndedError extends Schema.TaggedError<TransactionEndedError>(
  "effect-connection-pool/TransactionEndedError"
)("TransactionEndedError", {
  pool: Schema.String,
  /** The operation that was refused: a statement, or `transaction`. */
  operation: Schema.String
}) {
  override get message(): string {
    return `pool "${this.pool}": ${
      shortened(this.operation)
    }: the transaction that this fiber is in has ended with its body, ` +
      "which the fiber has outlived; join the fiber within the body, or fork it outside the transaction"
  }
}

/** The fiber that has the turn in a transaction: it has an inner transaction or a stream open. */
export const TurnHolder = Schema.Struct({
  /** The id of the fiber. */
  fiber: Schema.Number,
  /** What it does in its turn: a statement, or `transaction`. */
  operation: Schema.String,
  /** The `label` of its inner transaction; if it has none, the name of the span that the fiber is in. */
  label: Schema.optional(Schema.String),
  /** The span that the fiber is in, to find it in a trace. */
  span: Schema.optional(Schema.Struct({ traceId: Schema.String, spanId: Schema.String })),
  /** How long it has had the turn. */
  heldMillis: Schema.Number
})
export interface TurnHolder extends Schema.Schema.Type<typeof TurnHolder> {}

/**
 * A statement or an inner transaction did not get its turn within its deadline, because another fiber of the same transaction
 * has an inner transaction or a stream open. Nothing was done, and the transaction goes on.
 *
 * The usual reason is that two fibers wait for each other: one waits inside its inner transaction for a fiber that needs the
 * turn. End the inner transaction before you wait, or do both in the same fiber.
 */
export class TransactionTurnTimeoutError extends Schema.TaggedError<TransactionTurnTimeoutError>(
  "effect-connection-pool/TransactionTurnTimeoutError"
)("TransactionTurnTimeoutError", {
  pool: Schema.String,
  /** The operation that did not get its turn: a statement, or `transaction`. */
  operation: Schema.String,
  /** How long it waited. */
  waitedMillis: Schema.Number,
  /** Its deadline. */
  timeoutMillis: Schema.Number,
  holder: TurnHolder
}) {
  override get message(): string {
    const { fiber, heldMillis, label, operation } = this.holder
    const what = operation === "transaction" ? "an inner transaction" : JSON.stringify(shortened(operation))
    const name = label === undefined ? "" : `${JSON.stringify(labelText(label))}, `
    return `pool "${this.pool}": ${shortened(this.operation)}: no turn in the transaction within ${
      millis(this.timeoutMillis)
    }: another fiber (${name}fiber #${fiber}) has ${what} open in it, for ${Math.round(heldMillis)} ms; ` +
      "end that before you wait for others, or do both in one fiber"
  }
}

/**
 * All errors of a transaction, besides the failure of its body and a `PoolError`.
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
 * No caller fails with this error, because the failure before the rollback counts. This error is logged, and attached to that
 * failure, or to the interruption or the defect that ended the body: `rollbackFailureOf` finds it.
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
    return `pool "${this.pool}": could not roll back the ${nameAt(this.depth)}, so its connection is closed: ${
      textOf(this.cause)
    }`
  }
}

/**
 * The annotation of a cause with the failure of the rollback. It stays with the cause through `Effect.exit`, `tapCause` and
 * `mapError`; `rollbackFailureOf` reads it.
 */
export class RollbackFailure extends Context.Service<RollbackFailure, TransactionRollbackError>()(
  "effect-connection-pool/TransactionError/RollbackFailure"
) {}

/** The failed rollbacks, by the failures that they came with. */
const rollbackFailures = new WeakMap<object, TransactionRollbackError>()

/**
 * Gives the failed rollback that came with a failure: an error that was caught, or a `Cause`. Gives `undefined` if the rollback
 * succeeded, or if the error is not an object.
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

/** @internal Attaches a failed rollback to a cause. As a second reason of the cause it would keep `catch` and `retry` from the first. */
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

/** Whether a value is one of the transaction errors. */
export const isTransactionError = (error: unknown): error is TransactionError =>
  error instanceof TransactionOptionsError || error instanceof TransactionBeginError ||
  error instanceof TransactionCommitError || error instanceof TransactionOutcomeUnknownError ||
  error instanceof TransactionLostError || error instanceof TransactionEndedError ||
  error instanceof TransactionTurnTimeoutError

/**
 * Whether a transaction that failed with this error may succeed when all of it is run again: it met a lock, it lost a race, or
 * the database did not answer its begin. A dialect may know more such errors of statements; `retry` asks it too.
 *
 * It also looks at the `cause` of an error of the application, so a body may give its failures names of its own. It is false
 * where the outcome of the transaction is unknown.
 */
export const isCurable = (error: unknown): boolean => isCurableFor(undefined)(error)

/** @internal Makes `isCurable` for a dialect that knows more such errors. */
export const isCurableFor = (ofDialect: ((error: SqlError) => boolean) | undefined) => (error: unknown): boolean => {
  let suspect = error
  let isSo: boolean | undefined
  for (let depth = 0; depth < 10 && typeof suspect === "object" && suspect !== null; depth++) {
    if (suspect instanceof TransactionOutcomeUnknownError) return false
    if (suspect instanceof SqlError) {
      const { reason } = suspect
      // The first `SqlError` decides, unless an error behind it says that the outcome is unknown.
      isSo ??= curable.has(reason._tag) || reason.cause instanceof ControlTimeout || curableErrors.has(suspect) ||
        ofDialect?.(suspect) === true
      suspect = reason.cause
    } else suspect = "cause" in suspect ? suspect.cause : undefined
  }
  return isSo === true
}

/** The errors of control statements that their dialect calls curable. */
const curableErrors = new WeakSet<SqlError>()

/** @internal Notes that a dialect calls an error curable, so that the error of the transaction says so, too. */
export const noteCurable = (error: SqlError): void => void curableErrors.add(error)

const curable: ReadonlySet<string> = new Set(["LockTimeoutError", "SerializationError", "DeadlockError"])

/**
 * @internal The cause of the `SqlError` of a control statement that was not answered within its deadline.
 */
export class ControlTimeout extends Error {
  override readonly name = "ControlTimeout"
}

const nameAt = (depth: number): string => depth === 0 ? "transaction" : `transaction inside another (depth ${depth})`

/** The text of the error of a database in a message. */
const textOf = ({ message }: Error): string => cut(message, 1000)

const shortened = (text: string): string => inOneLine(text, 100)

const millis = (value: number): string => `${Math.round(value * 1000) / 1000} ms`
