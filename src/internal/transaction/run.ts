/** One run of a transaction's body, or of the body of a transaction inside another. */
import { Context, Effect, type Fiber, type Scope } from "effect"
import type { SqlError } from "effect/sql/SqlError"
import type { PoolError } from "../../PoolError.ts"
import type { TransactionError, TransactionRollbackError } from "../../TransactionError.ts"
import type { Level } from "./level.ts"
import type { TransactionSettings } from "./options.ts"
import { sqlErrorOf } from "./sqlErrorOf.ts"

export type Restore = <A, E, R>(effect: Effect.Effect<A, E, R>) => Effect.Effect<A, E, R>

/** A run and its facts: `retry` makes a new one for each run. */
export class Run<C, Isolation extends string, E> {
  readonly fiber: Fiber.Fiber<unknown, unknown>
  readonly restore: Restore
  readonly settings: TransactionSettings<Isolation>
  /** For a transaction inside another: the level around it. */
  readonly outer: Level<C> | undefined
  /** For an outermost transaction: the scope that holds its connection, once it has one. */
  scope: Scope.Closeable | undefined = undefined
  /** The level of its body, once the transaction or the savepoint has begun. */
  level: Level<C> | undefined = undefined
  /** The failure of the transaction itself. It replaces the exit of the body. */
  failure: TransactionError | PoolError<E> | undefined = undefined
  isRolledBack = false
  /** The failure of its rollback, besides the failure that it was rolled back for. */
  rollbackFailure: TransactionRollbackError | undefined = undefined

  constructor(
    fiber: Fiber.Fiber<unknown, unknown>,
    restore: Restore,
    settings: TransactionSettings<Isolation>,
    outer: Level<C> | undefined
  ) {
    this.fiber = fiber
    this.restore = restore
    this.settings = settings
    this.outer = outer
  }

  /** Sets the failure of the transaction, unless it has one: the first failure counts. */
  fail(failure: TransactionError | PoolError<E>): Effect.Effect<never, SqlError> {
    this.failure ??= failure
    return Effect.fail(sqlErrorOf(failure))
  }
}

/** The run that a fiber is about to begin, for the functions that the machinery of `effect/sql` calls. An inner run hides the outer one. */
export const CurrentRun = Context.Reference<unknown>("effect-connection-pool/Transaction/Run", {
  defaultValue: () => undefined
})
