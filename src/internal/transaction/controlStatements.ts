/**
 * The statements that begin and end transactions and savepoints, as a dialect spells them.
 *
 * A connection whose driver throws, dies, or does not answer within the deadline, cannot be trusted any more: it is
 * abandoned. The pool closes it, and closing it undoes the open transaction. The statement fails with a `SqlError`.
 */
import { Cause, Effect, Exit, type Fiber } from "effect"
import type { SqlError } from "effect/sql/SqlError"
import { isSuccess, withFiber, within } from "../runtime.ts"
import { answered, driverDied, isUnanswered, toError } from "./controlDeadline.ts"
import type { Dialect } from "./dialect.ts"
import type { Lender, OpenTransaction } from "./level.ts"
import type { Restore, Run } from "./run.ts"

export class ControlStatements<C, Isolation extends string, E, Own extends object> {
  readonly #dialect: Dialect<C, Isolation, Own>
  readonly #timeoutMillis: number

  constructor(dialect: Dialect<C, Isolation, Own>, timeoutMillis: number) {
    this.#dialect = dialect
    this.#timeoutMillis = timeoutMillis
  }

  /** Begins a transaction in the present step of the run's fiber, as far as possible. Returns what is left to do. */
  begin({ fiber, lender, restore, settings }: Run<C, Isolation, E>, connection: C): Effect.Effect<void, SqlError> {
    const { mode, own, statement } = settings
    // A statement with a deadline runs in a fiber of its own, which is interrupted only where the caller may be.
    const waiting = this.#timeoutMillis === Infinity ? restore : Effect.interruptible
    const begin = () => this.#dialect.begin(connection, mode, statement, waiting, own as Own)
    const answered = this.#answered(fiber, "begin", begin, connection, lender!, undefined, restore)
    if (isSuccess(answered)) return answered
    return Effect.tapCause(
      answered,
      // If the transaction was begun although the statement failed, nothing else would end it.
      () => this.isTransaction(connection) ? this.abandon(connection, lender!, undefined, undefined) : Effect.void
    )
  }

  /** Whether a transaction is open. If the driver throws, the answer is true. */
  isTransaction(connection: C): boolean {
    try {
      return this.#dialect.isTransaction(connection)
    } catch {
      return true
    }
  }

  /** Commits in the present step of a fiber, as far as possible. Returns what is left to do. */
  commit(transaction: OpenTransaction<C>, fiber: Fiber.Fiber<unknown, unknown>): Effect.Effect<void, SqlError> {
    const { connection, lender } = transaction
    const commit = () => this.#dialect.commit(connection)
    return this.#answered(fiber, "commit", commit, connection, lender, transaction, undefined)
  }

  rollback(transaction: OpenTransaction<C>): Effect.Effect<void, SqlError> {
    return this.#in(transaction, "rollback", () => this.#dialect.rollback(transaction.connection))
  }

  savepoint(transaction: OpenTransaction<C>, depth: number): Effect.Effect<void, SqlError> {
    return this.#in(transaction, "savepoint", () => this.#dialect.savepoint(transaction.connection, depth))
  }

  release(transaction: OpenTransaction<C>, depth: number): Effect.Effect<void, SqlError> {
    return this.#in(transaction, "release", () => this.#dialect.release(transaction.connection, depth))
  }

  /** Undoes a savepoint and the savepoints inside it, and ends them. */
  undo(transaction: OpenTransaction<C>, depth: number): Effect.Effect<void, SqlError> {
    const rollback = () => this.#dialect.rollbackTo(transaction.connection, depth)
    return Effect.andThen(
      this.#in(transaction, "rollback to savepoint", rollback),
      this.release(transaction, depth)
    )
  }

  /** Has the pool close a connection that cannot be trusted any more. */
  abandon(
    connection: C,
    lender: Lender<C>,
    transaction: OpenTransaction<C> | undefined,
    error: SqlError | undefined
  ): Effect.Effect<unknown> {
    return Effect.suspend(() => {
      if (transaction !== undefined) {
        transaction.isAbandoned = true
        transaction.lose(undefined, error, error === undefined ? "its driver died" : error.message)
      }
      return lender.invalidate(connection)
    })
  }

  #in(transaction: OpenTransaction<C>, operation: string, statement: () => Effect.Effect<void, SqlError>) {
    const { connection, lender } = transaction
    return withFiber((fiber) => this.#answered(fiber, operation, statement, connection, lender, transaction, undefined))
  }

  #answered(
    fiber: Fiber.Fiber<unknown, unknown>,
    operation: string,
    statement: () => Effect.Effect<void, SqlError>,
    connection: C,
    lender: Lender<C>,
    transaction: OpenTransaction<C> | undefined,
    restore: Restore | undefined
  ): Effect.Effect<void, SqlError> {
    // A database in this process answers in the present step.
    const given = this.#timeoutMillis === Infinity
      ? called(fiber, operation, statement)
      : answered(operation, withFiber((own) => called(own, operation, statement)), this.#timeoutMillis, restore)
    return isSuccess(given) ? given : this.#judged(operation, given, connection, lender, transaction, restore)
  }

  /** A control statement that may fail. */
  #judged(
    operation: string,
    answer: Effect.Effect<void, SqlError>,
    connection: C,
    lender: Lender<C>,
    transaction: OpenTransaction<C> | undefined,
    restore: Restore | undefined
  ): Effect.Effect<void, SqlError> {
    return Effect.catchCause(answer, (cause) => {
      // Only the caller of a begin can interrupt a statement: any other interrupt comes from the driver.
      if (Cause.hasDies(cause) || (restore === undefined && Cause.hasInterrupts(cause))) {
        return Effect.andThen(
          this.abandon(connection, lender, transaction, undefined),
          Effect.fail(driverDied(operation, cause))
        )
      }
      const given = Effect.failCause(cause)
      const error = toError(cause)
      return isUnanswered(error)
        ? Effect.andThen(this.abandon(connection, lender, transaction, error), given)
        : given
    })
  }
}

/** Calls a function of the dialect. It dies if the function throws, or returns something that is no effect. */
const called = <A, E>(
  fiber: Fiber.Fiber<unknown, unknown>,
  operation: string,
  f: () => Effect.Effect<A, E>
): Effect.Effect<A, E> => {
  try {
    const effect = f()
    return Effect.isEffect(effect)
      ? within(effect, fiber)
      : Effect.die(new TypeError(`the dialect's function for ${operation} returned no Effect`))
  } catch (thrown) {
    return Exit.die(thrown)
  }
}
