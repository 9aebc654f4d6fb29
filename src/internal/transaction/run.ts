/** One run of a transaction's body, or of the body of a transaction inside another. */
import { type Clock, type Context, Effect, type Exit, type Fiber, type Scope, type Tracer } from "effect"
import type { Connection } from "effect/sql/SqlConnection"
import type { SqlError } from "effect/sql/SqlError"
import type { ConnectionPool } from "../../ConnectionPool.ts"
import type { PoolError } from "../../PoolError.ts"
import type { TransactionError, TransactionRollbackError } from "../../TransactionError.ts"
import type { Asked } from "../pool/door.ts"
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
  /** The context of the fiber around the transaction. */
  readonly context: Context.Context<never>
  readonly clock: Clock.Clock
  /** Whether spans have times. */
  readonly isTimed: boolean
  span: Tracer.Span | undefined = undefined
  /** For an outermost transaction: its lease, or the scope that holds its connection, once it has asked for one. */
  lease: Asked<C, E> | undefined = undefined
  scope: Scope.Closeable | undefined = undefined
  /** For an outermost transaction: the pool that lends its connection, once it is asked for one. */
  lender: ConnectionPool<C, E> | undefined = undefined
  /** For an outermost transaction: the connection on which it is begun, once that has started. */
  begunOn: C | undefined = undefined
  /** The level of its body, once the transaction or the savepoint has begun. */
  level: Level<C> | undefined = undefined
  /** The connection for the statements of its body. */
  connection: Connection | undefined = undefined
  /** Whether its body runs now. */
  isInBody = false
  /** For an outermost transaction: whether its body has succeeded, so that the database was to commit it. */
  wasToCommit = false
  /** Stops watching whether the fiber has ended. */
  forget: (() => void) | undefined = undefined
  /** The failure of the transaction itself. It replaces the exit of the body. */
  failure: TransactionError | PoolError<E> | undefined = undefined
  isRolledBack = false
  /** The failure of its rollback, besides the failure that it was rolled back for. */
  rollbackFailure: TransactionRollbackError | undefined = undefined

  constructor(
    fiber: Fiber.Fiber<unknown, unknown>,
    restore: Restore,
    settings: TransactionSettings<Isolation>,
    outer: Level<C> | undefined,
    clock: Clock.Clock,
    isTimed: boolean
  ) {
    this.fiber = fiber
    this.restore = restore
    this.settings = settings
    this.outer = outer
    this.context = fiber.context
    this.clock = clock
    this.isTimed = isTimed
  }

  /** Sets the failure of the transaction, unless it has one: the first failure counts. */
  fail(failure: TransactionError | PoolError<E>): Effect.Effect<never, SqlError> {
    this.failure ??= failure
    return Effect.fail(sqlErrorOf(failure))
  }

  /** Ends the span, unless it has ended. */
  endSpan(exit: Exit.Exit<unknown, unknown>): void {
    const { clock, isTimed, span } = this
    if (span === undefined || span.status._tag === "Ended") return
    span.end(isTimed ? clock.currentTimeNanosUnsafe() : 0n, exit)
  }
}
