/**
 * Runs transactions through the machinery of `effect/sql`, so that what hangs on it works (callbacks after the commit,
 * reactivity, batching), and tells the truth about how they end, which that machinery cannot: it has one type of error, and
 * makes defects of failures during cleanup.
 *
 * So nothing that it calls here fails on its own account. It writes on the `Attempt` what happened, fails with a stand-in
 * where the machinery has to know, and `outcome` says in the end what came of it all.
 */
import { Cause, Context, Effect, Exit, type Fiber, identity, Predicate, Schedule } from "effect"
import { BeginTransaction, makeWithTransaction } from "effect/sql/SqlClient"
import {
  AuthenticationError,
  AuthorizationError,
  ConnectionError,
  isSqlError,
  SqlError,
  UnknownError
} from "effect/sql/SqlError"
import type { ConnectionPool } from "../ConnectionPool.ts"
import type { ConnectError, LeaseExpiredError, PoolError } from "../PoolError.ts"
import type { Dialect, MakeOptions, Mode, Options, Transactor } from "../Transaction.ts"
import {
  isCurable,
  TransactionBeginError,
  TransactionCommitError,
  type TransactionError,
  TransactionOptionsError,
  TransactionRollbackError
} from "../TransactionError.ts"
import { heldByFiber } from "./heldByFiber.ts"
import { type Level, Running, sessionOf } from "./level.ts"

type Restore = <A, E, R>(effect: Effect.Effect<A, E, R>) => Effect.Effect<A, E, R>

/** One run of a transaction or of a savepoint, and what is known of it. */
class Attempt<C, Isolation extends string, E> {
  readonly fiber: Fiber.Fiber<unknown, unknown>
  readonly restore: Restore
  readonly plan: Plan<Isolation>
  /** For a savepoint: where it is. */
  readonly outer: Level<C> | undefined
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
    return Effect.fail(toSqlError(failure))
  }
}

/** The attempt that a fiber is about to make, for what is called on the way. Each replaces the one around it. */
const Current = Context.Reference<unknown>("effect-connection-pool/Transaction/Attempt", {
  defaultValue: () => undefined
})

export const make = <C, Isolation extends string, E>(
  options: MakeOptions<C, Isolation, E>
): Transactor<C, Isolation, E> => {
  const { dialect, name, pool, toSql, transactionService } = options
  const readers = options.readers ?? pool
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

  const acquireAndBegin = withAttempt((attempt) =>
    Effect.matchEffect(attempt.restore(heldByFiber(poolFor(attempt.plan.mode).acquire)), {
      onFailure: (error) => attempt.fail(error),
      onSuccess: (connection) =>
        Effect.matchEffect(dialect.begin(connection, attempt.plan.mode, attempt.plan.statement, attempt.restore), {
          onFailure: (cause) => attempt.fail(new TransactionBeginError({ pool: name, depth: 0, cause })),
          onSuccess: () => {
            const running = new Running(name, connection, attempt.plan.mode, dialect.isTransaction)
            const level = running.open(attempt.fiber)
            attempt.level = level
            // A fiber may have got hold of it that is not in the transaction, or in another one by now.
            const session = sessionOf(attempt.plan.mode, (fiber) => {
              const own = fiber && levelOf(fiber)
              return own?.running === running ? own : level
            })
            return Effect.succeed(toSql(session))
          }
        })
    })
  )

  const poolFor = (mode: Mode): ConnectionPool<C, E> => mode.readOnly ? readers : pool

  const savepoint = withAttempt((attempt) => {
    const { running } = attempt.outer!
    const depth = attempt.outer!.depth + 1
    return Effect.matchEffect(dialect.savepoint(running.connection, depth), {
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
    undoing: Effect.Effect<void>
  ): Effect.Effect<void, SqlError> => {
    const refusal = level.refusal("transaction")
    const { above, depth, running } = level
    level.end()
    if (refusal !== undefined) return attempt.fail(refusal)
    return Effect.catch(
      above === undefined ? last : Effect.andThen(undo(running.connection, above.depth), last),
      (cause) => Effect.andThen(undoing, attempt.fail(new TransactionCommitError({ pool: name, depth, cause })))
    )
  }

  /** Undoes a savepoint and all above it, and ends it. */
  const undo = (connection: C, depth: number): Effect.Effect<void, SqlError> =>
    Effect.andThen(dialect.rollbackTo(connection, depth), dialect.release(connection, depth))

  const commit = withAttempt((attempt) => {
    const level = attempt.level!
    const { running } = level
    return Effect.tapCause(
      conclude(attempt, level, dialect.commit(running.connection), Effect.void),
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

  const rollBack = (attempt: Attempt<C, Isolation, E>, { connection, mode }: Running<C>): Effect.Effect<void> =>
    dialect.isTransaction(connection)
      ? Effect.catch(
        dialect.rollback(connection),
        (cause) => Effect.andThen(noteRollbackFailure(attempt, 0, cause), poolFor(mode).invalidate(connection))
      )
      : Effect.void

  const noteRollbackFailure = (attempt: Attempt<C, Isolation, E>, depth: number, cause: SqlError) => {
    const error = new TransactionRollbackError({ pool: name, depth, cause })
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
    Effect.catch(undo(running.connection, depth), (cause) => {
      running.lose(undefined, cause)
      return noteRollbackFailure(attempt, depth, cause)
    })

  /** Called after a success, and once more after what the above has already ended. */
  const releaseSavepoint = withAttempt((attempt) =>
    Effect.suspend(() => {
      const level = attempt.level!
      return attempt.isRolledBack
        ? Effect.void
        : conclude(attempt, level, dialect.release(level.running.connection, level.depth), undoOrLose(attempt, level))
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
        return Effect.flatMap(
          Effect.exit(Effect.provideService(machinery(restore(body)), Current, attempt)),
          (exit) => outcome(attempt, exit, present)
        )
      })
    )

  const outermost = <A, X, R, X2>(
    effect: Effect.Effect<A, X, R>,
    plan: Plan<Isolation>,
    retry: Schedule.Schedule<unknown> | undefined,
    present: (failure: TransactionError | PoolError<E>) => X2
  ): Effect.Effect<A, X | X2, R> => {
    const once = attempt(effect, plan, undefined, present)
    return retry === undefined ? once : Effect.retry(once, { schedule: retry, while: isCurable })
  }

  const inner = <A, X, R, X2>(
    effect: Effect.Effect<A, X, R>,
    outer: Level<C>,
    fiber: Fiber.Fiber<unknown, unknown>,
    present: (failure: TransactionError | PoolError<E>) => X2
  ): Effect.Effect<A, X | X2, R> => {
    const { mode } = outer.running
    const once = Effect.suspend(() => {
      const refusal = outer.refusal("transaction")
      return refusal === undefined
        ? attempt(effect, { mode: mode as Mode<Isolation>, statement: undefined }, outer, present)
        : Effect.fail(present(refusal))
    })
    if (outer.isOpen && outer.isBelow(fiber)) {
      return Effect.die(
        new Error(`pool "${name}": a transaction was begun at an outer level, from inside an inner one`)
      )
    }
    return outer.turn.take(once)
  }

  const run = <A, X, R, X2>(
    effect: Effect.Effect<A, X, R>,
    wanted: Options<Isolation>,
    present: (failure: TransactionError | PoolError<E>) => X2
  ): Effect.Effect<A, X | X2, R> =>
    Effect.withFiber((fiber) => {
      const outer = levelOf(fiber)
      const problem = problemOf(name, dialect, wanted, outer?.running.mode)
      if (problem !== undefined) return Effect.fail(present(problem))
      return outer === undefined
        ? outermost(effect, planOf(dialect, wanted, fiber), wanted.retry, present)
        : inner(effect, outer, fiber, present)
    })

  return {
    transaction: (effect, wanted) => run(effect, wanted ?? {}, identity),
    withTransaction: (effect) => run(effect, {}, toSqlError),
    session: (fiber) => {
      const level = levelOf(fiber)
      return level && sessionOf(level.running.mode, () => level)
    }
  }
}

/** What a transaction is begun as, and with which statement if that is the application's own. */
interface Plan<Isolation extends string> {
  readonly mode: Mode<Isolation>
  readonly statement: string | undefined
}

const planOf = <Isolation extends string>(
  dialect: Dialect<never, Isolation>,
  { isolation, readOnly }: Options<Isolation>,
  fiber: Fiber.Fiber<unknown, unknown>
): Plan<Isolation> => {
  // What this transaction asks for comes before what is provided for all.
  const statement = isolation === undefined && readOnly === undefined ? fiber.getRef(BeginTransaction) : undefined
  if (statement !== undefined) return { mode: dialect.modeOf(statement), statement }
  const [standard] = readOnly === true ? dialect.readOnlyIsolations : dialect.isolations
  return { mode: { isolation: isolation ?? standard, readOnly: readOnly === true }, statement }
}

/** What is wrong with the options, if anything is: the first thing found. */
const problemOf = <Isolation extends string>(
  pool: string,
  dialect: Dialect<never, Isolation>,
  wanted: Options<Isolation>,
  running: Mode | undefined
): TransactionOptionsError | undefined => {
  const refused = (field: string, value: unknown, allowed: string) =>
    new TransactionOptionsError({ pool, field, value: show(value), allowed })
  const { isolation, readOnly, retry } = wanted
  for (const [field, value] of Object.entries(wanted)) {
    if (!fields.includes(field)) return refused(field, value, `one of ${fields.join(", ")}`)
  }
  if (isolation !== undefined && !dialect.isolations.includes(isolation)) {
    return refused("isolation", isolation, dialect.isolations.map(show).join(", "))
  }
  if (readOnly !== undefined && !Predicate.isBoolean(readOnly)) return refused("readOnly", readOnly, "true or false")
  if (retry !== undefined && !Schedule.isSchedule(retry)) return refused("retry", retry, "a Schedule")
  if (running !== undefined) {
    if (isolation !== undefined && isolation !== running.isolation) {
      return refused("isolation", isolation, `${show(running.isolation)}, which the transaction around it has`)
    }
    if (readOnly !== undefined && readOnly !== running.readOnly) {
      return refused("readOnly", readOnly, `${show(running.readOnly)}, as for the transaction around it`)
    }
    return undefined
  }
  if (readOnly === true && isolation !== undefined && !dialect.readOnlyIsolations.includes(isolation)) {
    return refused("isolation", isolation, `${dialect.readOnlyIsolations.map(show).join(", ")} where readOnly is true`)
  }
  return undefined
}

const fields = ["isolation", "readOnly", "retry"]

const show = (value: unknown): string => Predicate.isString(value) ? JSON.stringify(value) : String(value)

/** How the attempt ended, now that it has: what it failed with itself comes before what its body failed with. */
const outcome = <C, Isolation extends string, E, A, X, X2>(
  attempt: Attempt<C, Isolation, E>,
  exit: Exit.Exit<A, X | SqlError>,
  present: (failure: TransactionError | PoolError<E>) => X2
): Exit.Exit<A, X | X2> => {
  const { failure, rollbackFailure } = attempt
  // A stand-in only ever takes the place of the attempt's own failure.
  const own: Exit.Exit<A, X | X2> = failure === undefined ? exit as Exit.Exit<A, X> : Exit.fail(present(failure))
  if (Exit.isSuccess(own) || rollbackFailure === undefined || Cause.hasInterruptsOnly(own.cause)) return own
  return Exit.failCause(Cause.combine(own.cause, Cause.die(rollbackFailure)))
}

/** An error as a client of `effect/sql` may fail with it. */
export const toSqlError = (error: SqlError | TransactionError | PoolError<unknown> | LeaseExpiredError): SqlError => {
  if (isSqlError(error)) return error
  const { message } = error
  switch (error._tag) {
    case "TransactionBeginError":
    case "TransactionCommitError":
      return error.cause
    // Another attempt may succeed.
    case "AcquireTimeoutError":
    case "QueueFullError":
      return new SqlError({ reason: new ConnectionError({ cause: error, message, operation: "acquire" }) })
    case "ConnectError": {
      const Reason = connectReason(error)
      return new SqlError({ reason: new Reason({ cause: error, message, operation: "acquire" }) })
    }
    case "PoolClosedError":
    case "SelfDeadlockError":
      return new SqlError({ reason: new UnknownError({ cause: error, message, operation: "acquire" }) })
    case "LeaseExpiredError":
      return new SqlError({ reason: new UnknownError({ cause: error, message, operation: error.operation }) })
    default:
      return new SqlError({ reason: new UnknownError({ cause: error, message, operation: "transaction" }) })
  }
}

/** Whoever catches it is to try again only where the driver says that this may help, or has said nothing. */
const connectReason = ({ reason }: ConnectError) => {
  if (reason._tag === "ConnectDied") return UnknownError
  if (reason._tag === "ConnectTimedOut" || !isSqlError(reason.error)) return ConnectionError
  switch (reason.error.reason._tag) {
    case "AuthenticationError":
      return AuthenticationError
    case "AuthorizationError":
      return AuthorizationError
    default:
      return reason.error.isRetryable ? ConnectionError : UnknownError
  }
}
