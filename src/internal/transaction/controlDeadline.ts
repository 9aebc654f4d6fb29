/** The deadline of control statements: those that begin and end transactions. For databases outside of this process. */
import { Cause, Deferred, Effect, Exit, type Fiber } from "effect"
import { ConnectionError, isSqlError, SqlError, UnknownError } from "effect/sql/SqlError"
import { ControlTimeout } from "../../TransactionError.ts"

type Restore = <A, E, R>(effect: Effect.Effect<A, E, R>) => Effect.Effect<A, E, R>

/**
 * Waits for the answer of a control statement, at most for its deadline.
 *
 * The statement runs in a fiber of its own, because it may hang where nothing can interrupt it; then that fiber is left
 * behind. With `restore`, an interrupt of the caller is passed on to the statement, and the caller waits for its exit,
 * still within the deadline.
 */
export const answered = <A>(
  operation: string,
  statement: Effect.Effect<A, SqlError>,
  millis: number,
  restore: Restore | undefined
): Effect.Effect<A, SqlError> =>
  Effect.uninterruptible(Effect.gen(function*() {
    // With `restore`, only the parts that the statement marks can be interrupted.
    const running = yield* Effect.forkDetach(statement, {
      startImmediately: true,
      uninterruptible: restore !== undefined
    })
    const timer = yield* Effect.forkDetach(Effect.sleep(millis))
    const settled = Deferred.makeUnsafe<Exit.Exit<A, SqlError> | undefined>()
    const settle = (exit: Exit.Exit<A, SqlError> | undefined) => {
      Deferred.doneUnsafe(settled, Exit.succeed(exit))
    }
    running.addObserver(settle)
    timer.addObserver(() => settle(undefined))
    const exit = yield* restore === undefined ? Deferred.await(settled) : interruptibly(running, settled, restore)
    timer.interruptUnsafe()
    if (exit !== undefined) return yield* exit
    running.interruptUnsafe()
    return yield* Effect.fail(unanswered(operation, millis))
  }))

const interruptibly = <A>(
  running: Fiber.Fiber<A, SqlError>,
  settled: Deferred.Deferred<Exit.Exit<A, SqlError> | undefined>,
  restore: Restore
): Effect.Effect<Exit.Exit<A, SqlError> | undefined> =>
  Effect.flatMap(Effect.exit(restore(Deferred.await(settled))), (waited) => {
    if (Exit.isSuccess(waited)) return Effect.succeed(waited.value)
    running.interruptUnsafe()
    return Deferred.await(settled)
  })

const unanswered = (operation: string, millis: number): SqlError => {
  const message = `${operation} was not answered within ${millis} ms (controlTimeout), so its connection is closed`
  return new SqlError({ reason: new ConnectionError({ cause: new ControlTimeout(message), message, operation }) })
}

export const isUnanswered = (error: unknown): boolean =>
  isSqlError(error) && error.reason.cause instanceof ControlTimeout

/**
 * The failure of a control statement whose driver threw or died. It is unknown whether the database has carried it out.
 */
export const driverDied = (operation: string, cause: Cause.Cause<SqlError>): SqlError => {
  const defect = Cause.squash(cause)
  const message = `the driver died of ${operation}, so its connection is closed: ${textOf(defect)}`
  return new SqlError({ reason: new UnknownError({ cause: new DriverDied(defect), message, operation }) })
}

/** @internal The cause of the `SqlError` of a control statement whose driver threw or died. */
class DriverDied extends Error {
  override readonly name = "DriverDied"

  constructor(defect: unknown) {
    super(textOf(defect), { cause: defect })
  }
}

export const hasDied = (error: unknown): boolean => isSqlError(error) && error.reason.cause instanceof DriverDied

/** Turns the cause of a failed control statement into a `SqlError`. */
export const toError = (cause: Cause.Cause<SqlError>): SqlError => {
  const error = Cause.squash(cause)
  if (isSqlError(error)) return error
  return new SqlError({ reason: new UnknownError({ cause: error, message: textOf(error), operation: "transaction" }) })
}

/** The text of a thrown value. Never throws. */
const textOf = (thrown: unknown): string => {
  try {
    return String(thrown)
  } catch {
    return "something that has no text"
  }
}
