/**
 * The transactions of a database: how each is begun, concluded and undone, and when it is run again.
 *
 * `Machinery` runs the bodies. Each function that it calls here notes its failure on the `Run`, and fails with a stand-in,
 * because the spans of transactions have the errors of `effect/sql`. At the end, `outcomeOf` makes the exit for the caller.
 */
import { Cause, Context, Effect, Exit, type Fiber, identity, Scope } from "effect"
import { BeginTransaction } from "effect/sql/SqlClient"
import type { SqlError } from "effect/sql/SqlError"
import type { ConnectionPool } from "../../ConnectionPool.ts"
import type { Options, Transactor } from "../../Transaction.ts"
import {
  isCurableFor,
  noteCurable,
  TransactionBeginError,
  TransactionCommitError,
  TransactionOutcomeUnknownError,
  TransactionRollbackError
} from "../../TransactionError.ts"
import { disown } from "../marks.ts"
import { toMillis } from "../options/duration.ts"
import { show } from "../options/rules.ts"
import * as Door from "../pool/door.ts"
import { heldByFiber } from "../pool/heldByFiber.ts"
import { isSuccess, OwnStep, within } from "../runtime.ts"
import { inOneLine } from "../structures/statementText.ts"
import { hasDied, isUnanswered, toError } from "./controlDeadline.ts"
import { ControlStatements } from "./controlStatements.ts"
import { connectionOf, type DatabaseSettings, type Level, OpenTransaction } from "./level.ts"
import { Machinery, type Present } from "./machinery.ts"
import type { MakeOptions } from "./makeOptions.ts"
import { problemOf, settingsOf, standardOf, tableOf, type TransactionSettings } from "./options.ts"
import type { Run } from "./run.ts"
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
  /** The error of a control statement, for the error of its transaction, which says whether a rerun may help. */
  const known = (cause: SqlError): SqlError => {
    if (isCurable(cause)) noteCurable(cause)
    return cause
  }
  const optionsTable = tableOf(dialect)
  const standard = standardOf(dialect)
  const control = new ControlStatements<C, Isolation, E, Own>(dialect, controlTimeoutMillis)

  const writing: Lending<C, E> = { pool, ask: Door.askOf(pool) }
  const reading: Lending<C, E> = { pool: readers, ask: Door.askOf(readers) }
  const lendingFor = (
    fiber: Fiber.Fiber<unknown, unknown>,
    { mode, statement }: TransactionSettings<Isolation>
  ): Lending<C, E> => {
    const other = options.poolOf?.(fiber, mode, statement)
    if (other !== undefined) return { pool: other, ask: Door.askOf(other) }
    return mode.readOnly ? reading : writing
  }

  const levelOf = (fiber: Fiber.Fiber<unknown, unknown>): Level<C> | undefined => {
    const held = Context.getOrUndefined(fiber.context, transactionService)
    if (held === undefined) return undefined
    const level = machinery.levelOf(held)
    if (level === undefined) {
      throw new Error(`pool "${name}": the transaction service of this fiber holds the transaction of another pool`)
    }
    return level
  }

  // -------------------------------------------------------------------------------------------------------------------
  // Functions that the machinery calls
  // -------------------------------------------------------------------------------------------------------------------

  /** In the present step where the connection and the database are there at once. */
  const acquireAndBegin = (run: Run<C, Isolation, E>): Effect.Effect<void, SqlError> => {
    const { fiber, settings } = run
    const { label, timeoutMillis } = settings
    const options = label === undefined && timeoutMillis === undefined ? undefined : { label, timeout: timeoutMillis }
    const { ask, pool } = lendingFor(fiber, settings)
    run.lender = pool
    const connection = ask === undefined
      ? Scope.provide(heldByFiber(pool.acquire(options)), run.scope = Scope.makeUnsafe())
      : (run.lease = ask(fiber, options)).connection
    return goOn(isSuccess(connection) ? connection : run.restore(connection), {
      onFailure: (error) => run.fail(error),
      onSuccess: (connection) => beginOn(run, connection)
    })
  }

  const beginOn = (run: Run<C, Isolation, E>, connection: C): Effect.Effect<void, SqlError> => {
    run.begunOn = connection
    return goOn(control.begin(run, connection), {
      onFailure: (cause) => run.fail(new TransactionBeginError({ pool: name, depth: 0, cause: known(cause) })),
      onSuccess: () => begun(run, connection)
    })
  }

  const begun = (run: Run<C, Isolation, E>, connection: C): Effect.Effect<void, SqlError> => {
    const { mode, own } = run.settings
    const transaction = new OpenTransaction(database, run.lender!, connection, mode, own)
    const level = transaction.openLevel(run.fiber)
    run.level = level
    // The fiber that runs a statement may be in no transaction, or in another one by now.
    const joined = connectionOf(transaction, (fiber) => {
      const own = fiber && levelOf(fiber)
      return own?.transaction === transaction ? own : level
    })
    try {
      run.connection = toSql(joined)
      return Effect.void
    } catch (thrown) {
      level.end()
      const cause = toError(Cause.die(thrown))
      return Effect.andThen(
        rollBack(run, transaction),
        run.fail(new TransactionBeginError({ pool: name, depth: 0, cause }))
      )
    }
  }

  const savepoint = (run: Run<C, Isolation, E>): Effect.Effect<void, SqlError> => {
    const { transaction } = run.outer!
    const depth = run.outer!.depth + 1
    return goOn(within(control.savepoint(transaction, depth), run.fiber), {
      onFailure: (cause) => run.fail(new TransactionBeginError({ pool: name, depth, cause: known(cause) })),
      onSuccess: () => {
        run.level = transaction.openLevel(run.fiber)
        run.connection = Context.getUnsafe(run.context, transactionService)[0]
        return Effect.void
      }
    })
  }

  /**
   * Ends the level of a run that succeeded. It first undoes the inner transactions that other fibers still have open,
   * then runs `last`, the statement that makes the success count. If one of the two fails, `undoing` undoes the whole
   * level. Fails if the level was ended before, or if the transaction is lost.
   */
  const conclude = (
    run: Run<C, Isolation, E>,
    level: Level<C>,
    last: () => Effect.Effect<void, SqlError>,
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
          if (reason === undefined) {
            return run.fail(new TransactionCommitError({ pool: name, depth, cause: known(cause) }))
          }
          transaction.lose(undefined, undefined, reason)
          return run.fail(transaction.lost!)
        })
      )
    const end = () =>
      goOn(last(), {
        onFailure: (cause) =>
          isUnknown(cause)
            ? Effect.andThen(
              control.abandon(transaction.connection, transaction.lender, transaction, cause),
              run.fail(new TransactionOutcomeUnknownError({ pool: name, cause }))
            )
            : failed(cause),
        onSuccess: () => Effect.void
      })
    if (above === undefined) return end()
    return Effect.matchEffect(control.undo(transaction, above.depth), { onFailure: failed, onSuccess: end })
  }

  const commit = (run: Run<C, Isolation, E>): Effect.Effect<void, SqlError> => {
    const level = run.level!
    const isUnknown = (cause: SqlError) =>
      isUnanswered(cause) || hasDied(cause) || orElse("unknown", () => dialect.commitOutcome?.(cause)) === "unknown"
    const concluded = conclude(run, level, () => control.commit(level.transaction, run.fiber), Effect.void, isUnknown)
    // A commit that failed may leave the transaction open: a deferred constraint does.
    return isSuccess(concluded) ? concluded : Effect.tapCause(concluded, () => rollBack(run, level.transaction))
  }

  const rollback = (run: Run<C, Isolation, E>): Effect.Effect<void> => {
    const level = run.level!
    level.end()
    return rollBack(run, level.transaction)
  }

  const rollBack = (run: Run<C, Isolation, E>, transaction: OpenTransaction<C>): Effect.Effect<void> =>
    Effect.suspend(() => {
      const { connection, lender } = transaction
      if (transaction.isAbandoned || !control.isTransaction(connection)) return Effect.void
      return Effect.catchCause(
        control.rollback(transaction),
        (cause) => Effect.andThen(noteRollbackFailure(run, 0, cause), lender.invalidate(connection))
      )
    })

  const noteRollbackFailure = (
    run: Run<C, Isolation, E>,
    depth: number,
    cause: Cause.Cause<SqlError>
  ): Effect.Effect<void> => {
    const error = new TransactionRollbackError({ pool: name, depth, cause: toError(cause) })
    run.rollbackFailure ??= error
    return Effect.annotateLogs(Effect.logWarning(inOneLine(error.message, 1000)), "pool", name)
  }

  const rollbackSavepoint = (run: Run<C, Isolation, E>): Effect.Effect<void> => {
    const level = run.level!
    const isUseless = level.refusal("transaction") !== undefined
    level.end()
    return isUseless ? Effect.void : undoOrLose(run, level)
  }

  /** Undoes the work of a savepoint. If that fails, the transaction is lost: it cannot be committed any more. */
  const undoOrLose = (run: Run<C, Isolation, E>, { depth, transaction }: Level<C>): Effect.Effect<void> =>
    Effect.suspend(() => {
      if (transaction.isAbandoned) return Effect.void
      return Effect.catchCause(control.undo(transaction, depth), (cause) => {
        transaction.lose(undefined, toError(cause), undefined)
        return noteRollbackFailure(run, depth, cause)
      })
    })

  /** A failure here is a defect for the span of the savepoint, as with `effect/sql`. The caller gets the failure itself. */
  const releaseSavepoint = (run: Run<C, Isolation, E>): Effect.Effect<void> => {
    const level = run.level!
    const last = () => within(control.release(level.transaction, level.depth), run.fiber)
    const concluded = conclude(run, level, last, undoOrLose(run, level), () => false)
    return isSuccess(concluded) ? concluded : Effect.orDie(concluded)
  }

  /**
   * Ends the transaction of a fiber that ended without its finalizers, because it evaluated something that is no
   * Effect. An outermost transaction is rolled back. An inner one makes the outer transaction lost: an unknown part of
   * the inner work is done, so the outer transaction cannot be committed.
   */
  const endedWithoutUnwinding = (run: Run<C, Isolation, E>): void => {
    const { lease, level, outer, scope } = run
    level?.end()
    if (outer !== undefined) {
      return outer.transaction.lose(
        undefined,
        undefined,
        "the fiber of an inner transaction has evaluated something that is no Effect, and ended in the middle of it"
      )
    }
    const fork = Effect.runForkWith(run.fiber.context)
    if (level !== undefined) {
      const { connection, lender } = level.transaction
      // The pool takes the connection back at once, so it must not lend it while the rollback still runs.
      const ending = fork(rollBack(run, level.transaction))
      if (ending.pollUnsafe() === undefined) fork(lender.invalidate(connection))
    } else if (run.begunOn !== undefined && control.isTransaction(run.begunOn)) {
      fork(run.lender!.invalidate(run.begunOn))
    }
    lease?.end()
    if (scope !== undefined) fork(Scope.close(scope, Exit.void))
  }

  const machinery = new Machinery<C, Isolation, E>(transactionService, options.spanAttributes, {
    begin: (run) => run.outer === undefined ? acquireAndBegin(run) : savepoint(run),
    conclude: (run) => run.outer === undefined ? commit(run) : releaseSavepoint(run),
    undo: (run) => run.outer === undefined ? rollback(run) : rollbackSavepoint(run),
    dropped: endedWithoutUnwinding
  })

  // -------------------------------------------------------------------------------------------------------------------
  // Runs: the outermost transaction, its retries, and inner transactions
  // -------------------------------------------------------------------------------------------------------------------

  const inner = <A, X, R, X2>(
    effect: Effect.Effect<A, X, R>,
    settings: TransactionSettings<Isolation>,
    outer: Level<C>,
    fiber: Fiber.Fiber<unknown, unknown>,
    present: Present<E, X2>
  ): Effect.Effect<A, X | X2, R> => {
    const once = Effect.suspend(() => {
      const refusal = outer.refusal("transaction")
      return refusal === undefined ? machinery.run(effect, settings, outer, present) : Effect.fail(present(refusal))
    })
    if (outer.isOpen && outer.isBelow(fiber)) {
      return Effect.die(
        new Error(`pool "${name}": a transaction was begun at an outer level, from inside an inner one`)
      )
    }
    const { label, timeoutMillis = database.turnTimeoutMillis } = settings
    return outer.take(once, { operation: "transaction", label, timeoutMillis }, present)
  }

  class Transact<A, X, R, X2> extends OwnStep<A, X | X2, R> {
    readonly #effect: Effect.Effect<A, X, R>
    readonly #given: Options<Isolation>
    readonly #present: Present<E, X2>

    constructor(effect: Effect.Effect<A, X, R>, given: Options<Isolation>, present: Present<E, X2>) {
      super()
      this.#effect = effect
      this.#given = given
      this.#present = present
    }

    step(fiber: Fiber.Fiber<unknown, unknown>): Effect.Effect<A, X | X2, R> {
      const effect = this.#effect
      const given = this.#given
      const present = this.#present
      if (!Effect.isEffect(effect)) {
        disown(effect)
        return Effect.die(new TypeError(`pool "${name}": the body of a transaction is no Effect: ${show(effect)}`))
      }
      const outer = levelOf(fiber)
      let settings: TransactionSettings<Isolation>
      try {
        const problem = given === noOptions
          ? undefined
          : problemOf(name, dialect, optionsTable, given, outer?.transaction)
        if (problem !== undefined) return Effect.fail(present(problem))
        // Most transactions have no options.
        settings = given === noOptions && outer === undefined && fiber.getRef(BeginTransaction) === undefined
          ? standard
          : settingsOf(dialect, given, fiber, outer?.transaction)
      } catch (thrown) {
        const depth = outer === undefined ? 0 : outer.depth + 1
        return Effect.fail(present(new TransactionBeginError({ pool: name, depth, cause: toError(Cause.die(thrown)) })))
      }
      if (outer !== undefined) return inner(effect, settings, outer, fiber, present)
      const once = machinery.run(effect, settings, undefined, present)
      // Without a retry it begins in the present step.
      return given.retry === undefined
        ? once.step(fiber)
        : Effect.retry(once, { schedule: given.retry, while: isCurable })
    }
  }

  return {
    transaction: (effect, given) => new Transact(effect, given === undefined ? noOptions : given, identity),
    withTransaction: (effect) => new Transact(effect, noOptions, sqlErrorOf),
    afterCommit: machinery.afterCommit,
    connectionOf: (fiber) => {
      const level = levelOf(fiber)
      return level && connectionOf(level.transaction, () => level)
    }
  }
}

const noOptions = {}

/** A pool that lends connections to transactions, and how to ask it for one without a scope. */
interface Lending<C, E> {
  readonly pool: ConnectionPool<C, E>
  readonly ask: Door.Ask<C, E> | undefined
}

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
