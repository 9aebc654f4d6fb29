/**
 * Runs transactions through the machinery of `effect/sql`, so that what hangs on it works (callbacks after the commit,
 * reactivity, batching), and tells the truth about how they end, which that machinery cannot: it has one type of error, and
 * makes defects of failures during cleanup.
 *
 * So nothing that it calls here fails on its own account. It writes on the `Attempt` what happened, fails with a stand-in
 * where the machinery has to know, and `outcome` says in the end what came of it all.
 */
import { Cause, Context, Effect, Exit, type Fiber, identity, Scope } from "effect"
import { makeWithTransaction } from "effect/sql/SqlClient"
import type { SqlError } from "effect/sql/SqlError"
import type { ConnectionPool } from "../../ConnectionPool.ts"
import type { PoolError } from "../../PoolError.ts"
import type { Mode, Options, Transactor } from "../../Transaction.ts"
import {
  isCurableFor,
  TransactionBeginError,
  TransactionCommitError,
  type TransactionError,
  TransactionOutcomeUnknownError,
  TransactionRollbackError,
  withRollbackFailure
} from "../../TransactionError.ts"
import { toMillis } from "../options/duration.ts"
import { show } from "../options/rules.ts"
import * as Door from "../pool/door.ts"
import { heldByFiber } from "../pool/heldByFiber.ts"
import * as Control from "./controlDeadline.ts"
import { connectionOf, type Level, Running, type Setting } from "./level.ts"
import type { MakeOptions } from "./makeOptions.ts"
import { type Plan, planOf, problemOf, tableOf } from "./options.ts"
import { sqlErrorOf } from "./sqlErrorOf.ts"

type Restore = <A, E, R>(effect: Effect.Effect<A, E, R>) => Effect.Effect<A, E, R>

/** One run of a transaction or of a savepoint, and what is known of it. */
class Attempt<C, Isolation extends string, E> {
  readonly fiber: Fiber.Fiber<unknown, unknown>
  readonly restore: Restore
  readonly plan: Plan<Isolation>
  /** For a savepoint: where it is. */
  readonly outer: Level<C> | undefined
  /** For a transaction: what gives its connection back, once it has one. */
  scope: Scope.Closeable | undefined = undefined
  /** Once it has begun. */
  level: Level<C> | undefined = undefined
  /** What it fails with, however its body ended. */
  failure: TransactionError | PoolError<E> | undefined = undefined
  isRolledBack = false
  /** What went wrong besides, when it was rolled back. */
  rollbackFailure: TransactionRollbackError | undefined = undefined

  constructor(
    fiber: Fiber.Fiber<unknown, unknown>,
    restore: Restore,
    plan: Plan<Isolation>,
    outer: Level<C> | undefined
  ) {
    this.fiber = fiber
    this.restore = restore
    this.plan = plan
    this.outer = outer
  }

  /** Decides what it fails with; the first failure counts. */
  fail(failure: TransactionError | PoolError<E>): Effect.Effect<never, SqlError> {
    this.failure ??= failure
    return Effect.fail(sqlErrorOf(failure))
  }
}

/** The attempt that a fiber is about to make, for what is called on the way. Each replaces the one around it. */
const Current = Context.Reference<unknown>("effect-connection-pool/Transaction/Attempt", {
  defaultValue: () => undefined
})

export const make = <C, Isolation extends string, E, Own extends object>(
  options: MakeOptions<C, Isolation, E, Own>
): Transactor<C, Isolation, E, Own> => {
  const { dialect, name, pool, toSql, transactionService } = options
  const readers = options.readers ?? pool
  const controlTimeout = options.controlTimeout === undefined ? Infinity : toMillis(options.controlTimeout)
  if (controlTimeout === undefined || controlTimeout <= 0) {
    throw new TypeError(`controlTimeout is ${show(options.controlTimeout)}, but must be a duration above zero`)
  }
  const setting: Setting<C> = {
    pool: name,
    isTransaction: dialect.isTransaction,
    reasonOfLoss: dialect.reasonOfLoss,
    turnTimeoutMillis: Door.of(pool)?.acquireTimeoutMillis ?? Infinity
  }
  const isCurable = isCurableFor(dialect.isCurable)
  const allOptions = tableOf(dialect)
  /** By what the transaction service holds at that level: so whatever hides the service hides the level. */
  const levels = new WeakMap<object, Level<C>>()

  const levelOf = (fiber: Fiber.Fiber<unknown, unknown>): Level<C> | undefined => {
    const held = Context.getOrUndefined(fiber.context, transactionService)
    if (held === undefined) return undefined
    const level = levels.get(held)
    if (level === undefined) {
      throw new Error(`pool "${name}": the transaction service holds what is no transaction of its`)
    }
    return level
  }

  const withAttempt = <A, X, R>(
    f: (attempt: Attempt<C, Isolation, E>) => Effect.Effect<A, X, R>
  ): Effect.Effect<A, X, R> => Effect.withFiber((fiber) => f(fiber.getRef(Current) as Attempt<C, Isolation, E>))

  const poolFor = (mode: Mode): ConnectionPool<C, E> => mode.readOnly ? readers : pool

  // -------------------------------------------------------------------------------------------------------------------
  // What the database is told
  // -------------------------------------------------------------------------------------------------------------------

  /** One whose connection cannot be trusted any more: closing it undoes what is open on it. */
  const abandon = (connection: C, mode: Mode, running: Running<C> | undefined, error: SqlError | undefined) =>
    Effect.suspend(() => {
      if (running !== undefined) {
        running.isAbandoned = true
        running.lose(undefined, error, error === undefined ? "its driver died" : error.message)
      }
      return poolFor(mode).invalidate(connection)
    })

  /** Tells the database to begin or to end something. If it does not answer in time, or the driver dies, that costs the connection. */
  const control = (
    operation: string,
    statement: Effect.Effect<void, SqlError>,
    connection: C,
    mode: Mode,
    running: Running<C> | undefined,
    restore?: Restore
  ): Effect.Effect<void, SqlError> =>
    Effect.tapCause(Control.answered(operation, statement, controlTimeout, restore), (cause) => {
      const died = Cause.hasDies(cause)
      const error = died ? undefined : Control.toError(cause)
      return died || Control.isUnanswered(error) ? abandon(connection, mode, running, error) : Effect.void
    })

  const controlIn = (running: Running<C>, operation: string, statement: Effect.Effect<void, SqlError>) =>
    control(operation, statement, running.connection, running.mode, running)

  const begin = ({ plan, restore }: Attempt<C, Isolation, E>, connection: C): Effect.Effect<void, SqlError> => {
    // With a deadline it is run in a fiber of its own, which is not interrupted unless the caller may be.
    const waiting = controlTimeout === Infinity ? restore : Effect.interruptible
    const statement = dialect.begin(connection, plan.mode, plan.statement, waiting, plan.own as Own)
    return control("begin", statement, connection, plan.mode, undefined, restore)
  }

  /** Undoes a savepoint and all above it, and ends it. */
  const undo = (running: Running<C>, depth: number): Effect.Effect<void, SqlError> =>
    Effect.andThen(
      controlIn(running, "rollback to savepoint", dialect.rollbackTo(running.connection, depth)),
      controlIn(running, "release", dialect.release(running.connection, depth))
    )

  // -------------------------------------------------------------------------------------------------------------------
  // What the machinery calls
  // -------------------------------------------------------------------------------------------------------------------

  const acquireAndBegin = Effect.contextWith((context: Context.Context<Scope.Scope>) =>
    withAttempt((attempt) => {
      attempt.scope = Context.get(context, Scope.Scope) as Scope.Closeable
      const { label, mode, own, timeoutMillis } = attempt.plan
      const acquire = heldByFiber(poolFor(mode).acquire({ label, timeout: timeoutMillis }))
      return Effect.matchEffect(attempt.restore(acquire), {
        onFailure: (error) => attempt.fail(error),
        onSuccess: (connection) =>
          Effect.matchEffect(begin(attempt, connection), {
            onFailure: (cause) => attempt.fail(new TransactionBeginError({ pool: name, depth: 0, cause })),
            onSuccess: () => {
              const running = new Running(setting, connection, mode, own)
              const level = running.open(attempt.fiber)
              attempt.level = level
              // A fiber may have got hold of it that is not in the transaction, or in another one by now.
              const shared = connectionOf(mode, (fiber) => {
                const own = fiber && levelOf(fiber)
                return own?.running === running ? own : level
              })
              return Effect.succeed(toSql(shared))
            }
          })
      })
    })
  )

  const savepoint = withAttempt((attempt) => {
    const { running } = attempt.outer!
    const depth = attempt.outer!.depth + 1
    return Effect.matchEffect(controlIn(running, "savepoint", dialect.savepoint(running.connection, depth)), {
      onFailure: (cause) => attempt.fail(new TransactionBeginError({ pool: name, depth, cause })),
      onSuccess: () => {
        attempt.level = running.open(attempt.fiber)
        return Effect.void
      }
    })
  })

  /**
   * Ends the level with the last statement that its success takes, after it has undone what others still have open above
   * it. If that goes wrong, `undoing` undoes all of the level. Fails if the level has been ended from outside, or the
   * transaction is lost.
   */
  const conclude = (
    attempt: Attempt<C, Isolation, E>,
    level: Level<C>,
    last: Effect.Effect<void, SqlError>,
    undoing: Effect.Effect<void>,
    isUnknown: (cause: SqlError) => boolean
  ): Effect.Effect<void, SqlError> => {
    const refusal = level.refusal("transaction")
    const { above, depth, running } = level
    level.end()
    if (refusal !== undefined) return attempt.fail(refusal)
    const failed = (cause: SqlError) =>
      Effect.andThen(undoing, attempt.fail(new TransactionCommitError({ pool: name, depth, cause })))
    const ended = Effect.catch(last, (cause) =>
      isUnknown(cause)
        ? Effect.andThen(
          abandon(running.connection, running.mode, running, cause),
          attempt.fail(new TransactionOutcomeUnknownError({ pool: name, cause }))
        )
        : failed(cause))
    if (above === undefined) return ended
    return Effect.matchEffect(undo(running, above.depth), { onFailure: failed, onSuccess: () => ended })
  }

  const commit = withAttempt((attempt) => {
    const level = attempt.level!
    const { running } = level
    const last = controlIn(running, "commit", dialect.commit(running.connection))
    return Effect.tapCause(
      conclude(
        attempt,
        level,
        last,
        Effect.void,
        (cause) => Control.isUnanswered(cause) || dialect.commitOutcome?.(cause) === "unknown"
      ),
      // It is still open, perhaps: a deferred constraint leaves it so.
      () => rollBack(attempt, running)
    )
  })

  const rollback = withAttempt((attempt) =>
    Effect.suspend(() => {
      const level = attempt.level!
      level.end()
      return rollBack(attempt, level.running)
    })
  )

  const rollBack = (attempt: Attempt<C, Isolation, E>, running: Running<C>): Effect.Effect<void> =>
    Effect.suspend(() => {
      const { connection, mode } = running
      if (running.isAbandoned || !dialect.isTransaction(connection)) return Effect.void
      return Effect.catchCause(
        controlIn(running, "rollback", dialect.rollback(connection)),
        (cause) => Effect.andThen(noteRollbackFailure(attempt, 0, cause), poolFor(mode).invalidate(connection))
      )
    })

  const noteRollbackFailure = (
    attempt: Attempt<C, Isolation, E>,
    depth: number,
    cause: Cause.Cause<SqlError>
  ): Effect.Effect<void> => {
    const error = new TransactionRollbackError({ pool: name, depth, cause: Control.toError(cause) })
    attempt.rollbackFailure ??= error
    return Effect.annotateLogs(Effect.logWarning(error.message), "pool", name)
  }

  const rollbackSavepoint = withAttempt((attempt) =>
    Effect.suspend(() => {
      const level = attempt.level!
      attempt.isRolledBack = true
      const isUseless = level.refusal("transaction") !== undefined
      level.end()
      return isUseless ? Effect.void : undoOrLose(attempt, level)
    })
  )

  /** After this, the transaction is without what the savepoint did, or cannot be committed. */
  const undoOrLose = (attempt: Attempt<C, Isolation, E>, { depth, running }: Level<C>): Effect.Effect<void> =>
    Effect.suspend(() => {
      if (running.isAbandoned) return Effect.void
      return Effect.catchCause(undo(running, depth), (cause) => {
        running.lose(undefined, Control.toError(cause), undefined)
        return noteRollbackFailure(attempt, depth, cause)
      })
    })

  /** Called after a success, and once more after what the above has already ended. */
  const releaseSavepoint = withAttempt((attempt) =>
    Effect.suspend(() => {
      if (attempt.isRolledBack) return Effect.void
      const level = attempt.level!
      const { depth, running } = level
      const last = controlIn(running, "release", dialect.release(running.connection, depth))
      return conclude(attempt, level, last, undoOrLose(attempt, level), () => false)
    })
  )

  const machinery = makeWithTransaction({
    transactionService,
    spanAttributes: options.spanAttributes,
    acquireConnection: () => acquireAndBegin,
    begin: () => Effect.void,
    savepoint: () => savepoint,
    releaseSavepoint: () => releaseSavepoint,
    commit: () => commit,
    rollback: () => rollback,
    rollbackSavepoint: () => rollbackSavepoint
  })

  // -------------------------------------------------------------------------------------------------------------------
  // One run, and when there is another
  // -------------------------------------------------------------------------------------------------------------------

  const attempt = <A, X, R, X2>(
    effect: Effect.Effect<A, X, R>,
    plan: Plan<Isolation>,
    outer: Level<C> | undefined,
    present: (failure: TransactionError | PoolError<E>) => X2
  ): Effect.Effect<A, X | X2, R> =>
    Effect.uninterruptibleMask((restore) =>
      Effect.withFiber((fiber) => {
        const attempt = new Attempt<C, Isolation, E>(fiber, restore, plan, outer)
        const body = Effect.withFiber<A, X, R>((fiber) => {
          levels.set(Context.getUnsafe(fiber.context, transactionService), attempt.level!)
          return effect
        })
        const forget = fiber.addObserver(() => endedWithoutUnwinding(attempt))
        return Effect.flatMap(
          Effect.exit(Effect.provideService(machinery(restore(body)), Current, attempt)),
          (exit) => {
            forget()
            return outcome(attempt, exit, present)
          }
        )
      })
    )

  /**
   * A fiber that evaluates something that is no effect ends at once, without its finalizers. What it had open is ended here:
   * a transaction is rolled back; one around it cannot be committed, for what of it is done nobody can say.
   */
  const endedWithoutUnwinding = (attempt: Attempt<C, Isolation, E>): void => {
    const { level, outer, scope } = attempt
    level?.end()
    if (outer !== undefined) {
      return outer.running.lose(
        undefined,
        undefined,
        "the fiber of an inner transaction has evaluated something that is no Effect, and ended in the middle of it"
      )
    }
    if (scope === undefined) return
    const fork = Effect.runForkWith(attempt.fiber.context)
    if (level !== undefined) {
      const { connection, mode } = level.running
      // The pool takes the connection back at once: it is not lent with a rollback that is still under way.
      const ending = fork(rollBack(attempt, level.running))
      if (ending.pollUnsafe() === undefined) fork(poolFor(mode).invalidate(connection))
    }
    fork(Scope.close(scope, Exit.void))
  }

  const outermost = <A, X, R, X2>(
    effect: Effect.Effect<A, X, R>,
    plan: Plan<Isolation>,
    retry: Options["retry"],
    present: (failure: TransactionError | PoolError<E>) => X2
  ): Effect.Effect<A, X | X2, R> => {
    const once = attempt(effect, plan, undefined, present)
    return retry === undefined ? once : Effect.retry(once, { schedule: retry, while: isCurable })
  }

  const inner = <A, X, R, X2>(
    effect: Effect.Effect<A, X, R>,
    plan: Plan<Isolation>,
    outer: Level<C>,
    fiber: Fiber.Fiber<unknown, unknown>,
    present: (failure: TransactionError | PoolError<E>) => X2
  ): Effect.Effect<A, X | X2, R> => {
    const once = Effect.suspend(() => {
      const refusal = outer.refusal("transaction")
      return refusal === undefined ? attempt(effect, plan, outer, present) : Effect.fail(present(refusal))
    })
    if (outer.isOpen && outer.isBelow(fiber)) {
      return Effect.die(
        new Error(`pool "${name}": a transaction was begun at an outer level, from inside an inner one`)
      )
    }
    const { label, timeoutMillis = setting.turnTimeoutMillis } = plan
    return outer.take(once, { operation: "transaction", label, timeoutMillis }, present)
  }

  const run = <A, X, R, X2>(
    effect: Effect.Effect<A, X, R>,
    wanted: Options<Isolation>,
    present: (failure: TransactionError | PoolError<E>) => X2
  ): Effect.Effect<A, X | X2, R> =>
    Effect.withFiber((fiber) => {
      if (!Effect.isEffect(effect)) {
        return Effect.die(new TypeError(`pool "${name}": the body of a transaction is no Effect: ${show(effect)}`))
      }
      const outer = levelOf(fiber)
      const problem = wanted === noOptions ? undefined : problemOf(name, dialect, allOptions, wanted, outer?.running)
      if (problem !== undefined) return Effect.fail(present(problem))
      const plan = planOf(dialect, wanted, fiber, outer?.running)
      return outer === undefined
        ? outermost(effect, plan, wanted.retry, present)
        : inner(effect, plan, outer, fiber, present)
    })

  return {
    transaction: (effect, wanted) => run(effect, wanted === undefined ? noOptions : wanted, identity),
    withTransaction: (effect) => run(effect, noOptions, sqlErrorOf),
    connectionOf: (fiber) => {
      const level = levelOf(fiber)
      return level && connectionOf(level.running.mode, () => level)
    }
  }
}

const noOptions = {}

/** How the attempt ended, now that it has: what it failed with itself comes before what its body failed with. */
const outcome = <C, Isolation extends string, E, A, X, X2>(
  attempt: Attempt<C, Isolation, E>,
  exit: Exit.Exit<A, X | SqlError>,
  present: (failure: TransactionError | PoolError<E>) => X2
): Exit.Exit<A, X | X2> => {
  const { failure, rollbackFailure } = attempt
  // A stand-in only ever takes the place of the attempt's own failure.
  const own: Exit.Exit<A, X | X2> = failure === undefined ? exit as Exit.Exit<A, X> : Exit.fail(present(failure))
  if (Exit.isSuccess(own) || rollbackFailure === undefined) return own
  return Exit.failCause(withRollbackFailure(own.cause, rollbackFailure))
}
