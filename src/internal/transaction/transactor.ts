/**
 * Runs transactions through the machinery of `effect/sql`, and reports how they end.
 *
 * With that machinery, callbacks after the commit, reactivity and batching work. But it has one type of error, and it
 * turns failures during cleanup into defects. So each function that it calls here notes its failure on the `Run`, and
 * fails with a stand-in if the machinery has to know of the failure. At the end, `outcomeOf` makes the exit for the
 * caller.
 */
import { Cause, Context, Effect, Exit, type Fiber, identity, Scope } from "effect"
import { makeWithTransaction } from "effect/sql/SqlClient"
import type { Connection } from "effect/sql/SqlConnection"
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
  TransactionRollbackError
} from "../../TransactionError.ts"
import { toMillis } from "../options/duration.ts"
import { show } from "../options/rules.ts"
import * as Door from "../pool/door.ts"
import { heldByFiber } from "../pool/heldByFiber.ts"
import { Attached, isSuccess, withFiber, within } from "../runtime.ts"
import { hasDied, isUnanswered, toError } from "./controlDeadline.ts"
import { ControlStatements } from "./controlStatements.ts"
import { connectionOf, type DatabaseSettings, type Level, OpenTransaction } from "./level.ts"
import type { MakeOptions } from "./makeOptions.ts"
import { problemOf, settingsOf, tableOf, type TransactionSettings } from "./options.ts"
import { outcomeOf } from "./outcome.ts"
import { CurrentRun, Run } from "./run.ts"
import { sqlErrorOf } from "./sqlErrorOf.ts"

export const make = <C, Isolation extends string, E, Own extends object>(
  options: MakeOptions<C, Isolation, E, Own>
): Transactor<C, Isolation, E, Own> => {
  const { dialect, name, pool, toSql, transactionService } = options
  const readers = options.readers ?? pool
  const controlTimeoutMillis = options.controlTimeout === undefined ? Infinity : toMillis(options.controlTimeout)
  if (controlTimeoutMillis === undefined || controlTimeoutMillis <= 0) {
    throw new TypeError(`controlTimeout is ${show(options.controlTimeout)}, but must be a duration above zero`)
  }
  const database: DatabaseSettings<C> = {
    pool: name,
    isTransaction: (connection) => control.isTransaction(connection),
    reasonOfLoss: dialect.reasonOfLoss && ((connection) => orElse(undefined, () => dialect.reasonOfLoss!(connection))),
    turnTimeoutMillis: Door.of(pool)?.acquireTimeoutMillis ?? Infinity
  }
  const isCurable = isCurableFor(dialect.isCurable && ((error) => orElse(false, () => dialect.isCurable!(error))))
  const optionsTable = tableOf(dialect)
  const poolFor = (mode: Mode): ConnectionPool<C, E> => mode.readOnly ? readers : pool
  const control = new ControlStatements(dialect, controlTimeoutMillis, poolFor)

  /** The levels, by the value of the transaction service at each level: code that hides the service hides the level. */
  const levels = new Attached<Level<C>>()

  const levelOf = (fiber: Fiber.Fiber<unknown, unknown>): Level<C> | undefined => {
    const held = Context.getOrUndefined(fiber.context, transactionService)
    if (held === undefined) return undefined
    const level = levels.get(held)
    if (level === undefined) {
      throw new Error(`pool "${name}": the transaction service of this fiber holds the transaction of another pool`)
    }
    return level
  }

  const withRun = <A, X, R>(
    f: (run: Run<C, Isolation, E>) => Effect.Effect<A, X, R>
  ): Effect.Effect<A, X, R> => withFiber((fiber) => f(fiber.getRef(CurrentRun) as Run<C, Isolation, E>))

  // -------------------------------------------------------------------------------------------------------------------
  // Functions that the machinery calls
  // -------------------------------------------------------------------------------------------------------------------

  /** In the present step where the connection and the database are there at once. */
  const acquireAndBegin = withRun((run) => {
    const { fiber, settings: { label, mode, timeoutMillis } } = run
    run.scope = Context.getUnsafe(fiber.context, Scope.Scope) as Scope.Closeable
    const acquire = heldByFiber(poolFor(mode).acquire({ label, timeout: timeoutMillis }))
    const acquired = within(acquire, fiber)
    return goOn(isSuccess(acquired) ? acquired : run.restore(acquired), {
      onFailure: (error) => run.fail(error),
      onSuccess: (connection) =>
        goOn(within(control.begin(run, connection), fiber), {
          onFailure: (cause) => run.fail(new TransactionBeginError({ pool: name, depth: 0, cause })),
          onSuccess: () => begun(run, connection)
        })
    })
  })

  const begun = (run: Run<C, Isolation, E>, connection: C): Effect.Effect<Connection, SqlError> => {
    const { mode, own } = run.settings
    const transaction = new OpenTransaction(database, connection, mode, own)
    const level = transaction.openLevel(run.fiber)
    run.level = level
    // The fiber that runs a statement may be in no transaction, or in another one by now.
    const joined = connectionOf(mode, (fiber) => {
      const own = fiber && levelOf(fiber)
      return own?.transaction === transaction ? own : level
    })
    try {
      return Effect.succeed(toSql(joined))
    } catch (thrown) {
      level.end()
      const cause = toError(Cause.die(thrown))
      return Effect.andThen(
        rollBack(run, transaction),
        run.fail(new TransactionBeginError({ pool: name, depth: 0, cause }))
      )
    }
  }

  const savepoint = withRun((run) => {
    const { transaction } = run.outer!
    const depth = run.outer!.depth + 1
    return goOn(within(control.savepoint(transaction, depth), run.fiber), {
      onFailure: (cause) => run.fail(new TransactionBeginError({ pool: name, depth, cause })),
      onSuccess: () => {
        run.level = transaction.openLevel(run.fiber)
        return Effect.void
      }
    })
  })

  /**
   * Ends the level of a run that succeeded. It first undoes the inner transactions that other fibers still have open,
   * then runs `last`, the statement that makes the success count. If one of the two fails, `undoing` undoes the whole
   * level. Fails if the level was ended before, or if the transaction is lost.
   */
  const conclude = (
    run: Run<C, Isolation, E>,
    level: Level<C>,
    last: Effect.Effect<void, SqlError>,
    undoing: Effect.Effect<void>,
    isUnknown: (cause: SqlError) => boolean
  ): Effect.Effect<void, SqlError> => {
    const refusal = level.refusal("transaction")
    const { above, depth, transaction } = level
    level.end()
    if (refusal !== undefined) return run.fail(refusal)
    const failed = (cause: SqlError) =>
      Effect.andThen(
        undoing,
        Effect.suspend(() => {
          // The driver may have taken the connection away instead of sending the statement.
          const reason = transaction.database.reasonOfLoss?.(transaction.connection)
          if (reason === undefined) return run.fail(new TransactionCommitError({ pool: name, depth, cause }))
          transaction.lose(undefined, undefined, reason)
          return run.fail(transaction.lost!)
        })
      )
    const end = () =>
      goOn(within(last, run.fiber), {
        onFailure: (cause) =>
          isUnknown(cause)
            ? Effect.andThen(
              control.abandon(transaction.connection, transaction.mode, transaction, cause),
              run.fail(new TransactionOutcomeUnknownError({ pool: name, cause }))
            )
            : failed(cause),
        onSuccess: () => Effect.void
      })
    if (above === undefined) return end()
    return Effect.matchEffect(control.undo(transaction, above.depth), { onFailure: failed, onSuccess: end })
  }

  const commit = withRun((run) => {
    const level = run.level!
    const isUnknown = (cause: SqlError) =>
      isUnanswered(cause) || hasDied(cause) || orElse("unknown", () => dialect.commitOutcome?.(cause)) === "unknown"
    const concluded = conclude(run, level, control.commit(level.transaction), Effect.void, isUnknown)
    // A commit that failed may leave the transaction open: a deferred constraint does.
    return isSuccess(concluded) ? concluded : Effect.tapCause(concluded, () => rollBack(run, level.transaction))
  })

  const rollback = withRun((run) =>
    Effect.suspend(() => {
      const level = run.level!
      level.end()
      return rollBack(run, level.transaction)
    })
  )

  const rollBack = (run: Run<C, Isolation, E>, transaction: OpenTransaction<C>): Effect.Effect<void> =>
    Effect.suspend(() => {
      const { connection, mode } = transaction
      if (transaction.isAbandoned || !control.isTransaction(connection)) return Effect.void
      return Effect.catchCause(
        control.rollback(transaction),
        (cause) => Effect.andThen(noteRollbackFailure(run, 0, cause), poolFor(mode).invalidate(connection))
      )
    })

  const noteRollbackFailure = (
    run: Run<C, Isolation, E>,
    depth: number,
    cause: Cause.Cause<SqlError>
  ): Effect.Effect<void> => {
    const error = new TransactionRollbackError({ pool: name, depth, cause: toError(cause) })
    run.rollbackFailure ??= error
    return Effect.annotateLogs(Effect.logWarning(error.message), "pool", name)
  }

  const rollbackSavepoint = withRun((run) =>
    Effect.suspend(() => {
      const level = run.level!
      run.isRolledBack = true
      const isUseless = level.refusal("transaction") !== undefined
      level.end()
      return isUseless ? Effect.void : undoOrLose(run, level)
    })
  )

  /** Undoes the work of a savepoint. If that fails, the transaction is lost: it cannot be committed any more. */
  const undoOrLose = (run: Run<C, Isolation, E>, { depth, transaction }: Level<C>): Effect.Effect<void> =>
    Effect.suspend(() => {
      if (transaction.isAbandoned) return Effect.void
      return Effect.catchCause(control.undo(transaction, depth), (cause) => {
        transaction.lose(undefined, toError(cause), undefined)
        return noteRollbackFailure(run, depth, cause)
      })
    })

  /** The machinery calls it after a success, and also after `rollbackSavepoint` has ended the savepoint. */
  const releaseSavepoint = withRun((run) =>
    Effect.suspend(() => {
      if (run.isRolledBack) return Effect.void
      const level = run.level!
      const last = control.release(level.transaction, level.depth)
      return conclude(run, level, last, undoOrLose(run, level), () => false)
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
  // Runs: the outermost transaction, its retries, and inner transactions
  // -------------------------------------------------------------------------------------------------------------------

  const runOnce = <A, X, R, X2>(
    effect: Effect.Effect<A, X, R>,
    settings: TransactionSettings<Isolation>,
    outer: Level<C> | undefined,
    present: (failure: TransactionError | PoolError<E>) => X2
  ): Effect.Effect<A, X | X2, R> =>
    Effect.uninterruptibleMask((restore) =>
      Effect.withFiber((fiber) => {
        const run = new Run<C, Isolation, E>(fiber, restore, settings, outer)
        const body = Effect.withFiber<A, X, R>((fiber) => {
          levels.set(Context.getUnsafe(fiber.context, transactionService), run.level!)
          return effect
        })
        const forget = fiber.addObserver(() => endedWithoutUnwinding(run))
        const ended = (exit: Exit.Exit<A, X | SqlError>) => {
          forget()
          return outcomeOf(run, exit, present)
        }
        return Effect.matchCauseEffect(Effect.provideService(machinery(restore(body)), CurrentRun, run), {
          onFailure: (cause) => ended(Exit.failCause(cause)),
          onSuccess: (value) => ended(Exit.succeed(value))
        })
      })
    )

  /**
   * Ends the transaction of a fiber that ended without its finalizers, because it evaluated something that is no
   * Effect. An outermost transaction is rolled back. An inner one makes the outer transaction lost: an unknown part of
   * the inner work is done, so the outer transaction cannot be committed.
   */
  const endedWithoutUnwinding = (run: Run<C, Isolation, E>): void => {
    const { level, outer, scope } = run
    level?.end()
    if (outer !== undefined) {
      return outer.transaction.lose(
        undefined,
        undefined,
        "the fiber of an inner transaction has evaluated something that is no Effect, and ended in the middle of it"
      )
    }
    if (scope === undefined) return
    const fork = Effect.runForkWith(run.fiber.context)
    if (level !== undefined) {
      const { connection, mode } = level.transaction
      // The pool takes the connection back at once, so it must not lend it while the rollback still runs.
      const ending = fork(rollBack(run, level.transaction))
      if (ending.pollUnsafe() === undefined) fork(poolFor(mode).invalidate(connection))
    }
    fork(Scope.close(scope, Exit.void))
  }

  const outermost = <A, X, R, X2>(
    effect: Effect.Effect<A, X, R>,
    settings: TransactionSettings<Isolation>,
    retry: Options["retry"],
    present: (failure: TransactionError | PoolError<E>) => X2
  ): Effect.Effect<A, X | X2, R> => {
    const once = runOnce(effect, settings, undefined, present)
    return retry === undefined ? once : Effect.retry(once, { schedule: retry, while: isCurable })
  }

  const inner = <A, X, R, X2>(
    effect: Effect.Effect<A, X, R>,
    settings: TransactionSettings<Isolation>,
    outer: Level<C>,
    fiber: Fiber.Fiber<unknown, unknown>,
    present: (failure: TransactionError | PoolError<E>) => X2
  ): Effect.Effect<A, X | X2, R> => {
    const once = Effect.suspend(() => {
      const refusal = outer.refusal("transaction")
      return refusal === undefined ? runOnce(effect, settings, outer, present) : Effect.fail(present(refusal))
    })
    if (outer.isOpen && outer.isBelow(fiber)) {
      return Effect.die(
        new Error(`pool "${name}": a transaction was begun at an outer level, from inside an inner one`)
      )
    }
    const { label, timeoutMillis = database.turnTimeoutMillis } = settings
    return outer.take(once, { operation: "transaction", label, timeoutMillis }, present)
  }

  const transact = <A, X, R, X2>(
    effect: Effect.Effect<A, X, R>,
    given: Options<Isolation>,
    present: (failure: TransactionError | PoolError<E>) => X2
  ): Effect.Effect<A, X | X2, R> =>
    Effect.withFiber((fiber) => {
      if (!Effect.isEffect(effect)) {
        return Effect.die(new TypeError(`pool "${name}": the body of a transaction is no Effect: ${show(effect)}`))
      }
      const outer = levelOf(fiber)
      let settings: TransactionSettings<Isolation>
      try {
        const problem = given === noOptions
          ? undefined
          : problemOf(name, dialect, optionsTable, given, outer?.transaction)
        if (problem !== undefined) return Effect.fail(present(problem))
        settings = settingsOf(dialect, given, fiber, outer?.transaction)
      } catch (thrown) {
        const depth = outer === undefined ? 0 : outer.depth + 1
        return Effect.fail(present(new TransactionBeginError({ pool: name, depth, cause: toError(Cause.die(thrown)) })))
      }
      return outer === undefined
        ? outermost(effect, settings, given.retry, present)
        : inner(effect, settings, outer, fiber, present)
    })

  return {
    transaction: (effect, given) => transact(effect, given === undefined ? noOptions : given, identity),
    withTransaction: (effect) => transact(effect, noOptions, sqlErrorOf),
    connectionOf: (fiber) => {
      const level = levelOf(fiber)
      return level && connectionOf(level.transaction.mode, () => level)
    }
  }
}

const noOptions = {}

/** `Effect.matchEffect`. What has succeeded already goes on in the present step. */
const goOn = <A, E, R, A2, E2, R2, A3, E3, R3>(
  effect: Effect.Effect<A, E, R>,
  { onFailure, onSuccess }: {
    readonly onFailure: (error: E) => Effect.Effect<A2, E2, R2>
    readonly onSuccess: (value: A) => Effect.Effect<A3, E3, R3>
  }
): Effect.Effect<A2 | A3, E2 | E3, R | R2 | R3> =>
  isSuccess(effect) ? onSuccess(effect.value) : Effect.matchEffect(effect, { onFailure, onSuccess })

/** Calls a function of the dialect. If it throws, the answer is `safe`. */
const orElse = <A, B>(safe: B, ask: () => A): A | B => {
  try {
    return ask()
  } catch {
    return safe
  }
}
