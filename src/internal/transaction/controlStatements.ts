/**
 * The statements that begin and end transactions and savepoints, as a dialect spells them.
 *
 * A connection whose driver throws, dies, or does not answer within the deadline, cannot be trusted any more: it is
 * abandoned. The pool closes it, and closing it undoes the open transaction. The statement fails with a `SqlError`.
 */
import { Cause, Effect, Exit, type Fiber } from "effect"
import type { SqlError } from "effect/sql/SqlError"
import type { ConnectionPool } from "../../ConnectionPool.ts"
import type { Mode } from "../../Transaction.ts"
import { isSuccess, withFiber, within } from "../runtime.ts"
import { answered, driverDied, isUnanswered, toError } from "./controlDeadline.ts"
import type { Dialect } from "./dialect.ts"
import type { OpenTransaction } from "./level.ts"
import type { Restore, Run } from "./run.ts"

export class ControlStatements<C, Isolation extends string, E, Own extends object> {
  readonly #dialect: Dialect<C, Isolation, Own>
  readonly #timeoutMillis: number
  readonly #poolFor: (mode: Mode) => ConnectionPool<C, E>

  constructor(
    dialect: Dialect<C, Isolation, Own>,
    timeoutMillis: number,
    poolFor: (mode: Mode) => ConnectionPool<C, E>
  ) {
    this.#dialect = dialect
    this.#timeoutMillis = timeoutMillis
    this.#poolFor = poolFor
  }

  /** Begins a transaction in the present step of the run's fiber, as far as possible. Returns what is left to do. */
  begin({ fiber, restore, settings }: Run<C, Isolation, E>, connection: C): Effect.Effect<void, SqlError> {
    const { mode, own, statement } = settings
    // A statement with a deadline runs in a fiber of its own, which is interrupted only where the caller may be.
    const waiting = this.#timeoutMillis === Infinity ? restore : Effect.interruptible
    const begin = () => this.#dialect.begin(connection, mode, statement, waiting, own as Own)
    const answered = this.#answered(fiber, "begin", begin, connection, mode, undefined, restore)
    if (isSuccess(answered)) return answered
    return Effect.tapCause(
      answered,
      // If the transaction was begun although the statement failed, nothing else would end it.
      () => this.isTransaction(connection) ? this.abandon(connection, mode, undefined, undefined) : Effect.void
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
    const { connection, mode } = transaction
    const commit = () => this.#dialect.commit(connection)
    return this.#answered(fiber, "commit", commit, connection, mode, transaction, undefined)
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
    mode: Mode,
    transaction: OpenTransaction<C> | undefined,
    error: SqlError | undefined
  ): Effect.Effect<void> {
    return Effect.suspend(() => {
      if (transaction !== undefined) {
        transaction.isAbandoned = true
        transaction.lose(undefined, error, error === undefined ? "its driver died" : error.message)
      }
      return this.#poolFor(mode).invalidate(connection)
    })
  }

  #in(transaction: OpenTransaction<C>, operation: string, statement: () => Effect.Effect<void, SqlError>) {
    const { connection, mode } = transaction
    return withFiber((fiber) => this.#answered(fiber, operation, statement, connection, mode, transaction, undefined))
  }

  #answered(
    fiber: Fiber.Fiber<unknown, unknown>,
    operation: string,
    statement: () => Effect.Effect<void, SqlError>,
    connection: C,
    mode: Mode,
    transaction: OpenTransaction<C> | undefined,
    restore: Restore | undefined
  ): Effect.Effect<void, SqlError> {
    // A database in this process answers in the present step.
    const given = this.#timeoutMillis === Infinity
      ? called(fiber, operation, statement)
      : answered(operation, withFiber((own) => called(own, operation, statement)), this.#timeoutMillis, restore)
    return isSuccess(given) ? given : this.#judged(operation, given, connection, mode, transaction, restore)
  }

  /** A control statement that may fail. */
  #judged(
    operation: string,
    answer: Effect.Effect<void, SqlError>,
    connection: C,
    mode: Mode,
    transaction: OpenTransaction<C> | undefined,
    restore: Restore | undefined
  ): Effect.Effect<void, SqlError> {
    return Effect.catchCause(answer, (cause) => {
      // Only the caller of a begin can interrupt a statement: any other interrupt comes from the driver.
      if (Cause.hasDies(cause) || (restore === undefined && Cause.hasInterrupts(cause))) {
        return Effect.andThen(
          this.abandon(connection, mode, transaction, undefined),
          Effect.fail(driverDied(operation, cause))
        )
      }
      const given = Effect.failCause(cause)
      const error = toError(cause)
      return isUnanswered(error)
        ? Effect.andThen(this.abandon(connection, mode, transaction, error), given)
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
