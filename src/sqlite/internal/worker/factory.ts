/** The factory of connections in threads. */
import { Effect, type Scope } from "effect"
import type { SqlError } from "effect/sql/SqlError"
import * as ConnectionFactory from "../../../ConnectionFactory.ts"
import { openFailure } from "../connection/openFailure.ts"
import { retryWhileLocked } from "../connection/retryWhileLocked.ts"
import { codeOf, toSqlError } from "../errors.ts"
import { Failure, isLock } from "../failures.ts"
import type { Settings } from "../options/connection.ts"
import { start, type Thread } from "./thread.ts"
import { control, WorkerLeased } from "./workerConnection.ts"

/**
 * Starts a thread and opens the database there, for the current scope. `isFirst` says that this process does not have the
 * database open. `died` is called if the thread ends by itself.
 */
export const open = (
  settings: Settings,
  isFirst: boolean,
  died: () => void = () => {}
): Effect.Effect<WorkerLeased, SqlError, Scope.Scope> =>
  Effect.gen(function*() {
    const thread = yield* Effect.acquireRelease(
      Effect.try({ try: () => start(settings, died), catch: (thrown) => failureOf(settings, thrown) }),
      close
    )
    const opened = Effect.callback<void, SqlError>((resume) => {
      thread.host.control("open", [isFirst], {
        rows: () => {},
        ended: () => resume(Effect.void),
        failed: (thrown) => resume(Effect.fail(failureOf(settings, thrown))),
        cancelled: () => {}
      })
    })
    yield* retryWhileLocked(opened, settings.busyTimeout)
    return new WorkerLeased(thread, 0, undefined)
  })

const failureOf = (settings: Settings, thrown: unknown): SqlError =>
  thrown instanceof Failure ? toSqlError(thrown) : openFailure(settings, thrown)

/**
 * Closes the database, and lets the thread end. If a statement still runs there, the caller of this decides how long it waits:
 * an interrupt ends the wait, and the thread ends after the statement.
 */
const close = ({ host, terminate }: Thread): Effect.Effect<void> =>
  Effect.suspend(() => {
    if (host.death !== undefined) return Effect.void
    host.cancelAll()
    const closed = Effect.callback<void>((resume) => {
      const done = () => resume(Effect.void)
      host.control("close", [], { rows: () => {}, ended: done, failed: done, cancelled: done })
    })
    return Effect.onInterrupt(Effect.interruptible(closed), () => Effect.sync(terminate))
  })

/** What still runs on a connection after its lease. It was cancelled when the lease ended. */
export const unfinished = ({ thread: { host } }: WorkerLeased): ConnectionFactory.Unfinished | undefined => {
  if (host.size === 0) return undefined
  const settled = Effect.callback<void>((resume) => {
    const forget = host.whenIdle(() => resume(Effect.void))
    return Effect.sync(forget)
  })
  const { description } = host
  return { settled, description }
}

/**
 * Makes a factory from the effect that opens a connection. With `waits`, a statement outside a transaction that meets the
 * lock of another process is tried again for `busyTimeout`.
 */
export const workerFactoryOf = (
  settings: Settings,
  waits: boolean,
  connect: (died: () => void) => Effect.Effect<WorkerLeased, SqlError, Scope.Scope>
): ConnectionFactory.ConnectionFactory<WorkerLeased, SqlError> =>
  ConnectionFactory.make<WorkerLeased, SqlError>({
    connect,
    isAlive: ({ thread: { host } }) => host.death === undefined && host.state.isUsable,
    needsReset: ({ thread: { host } }) => host.state.needsReset,
    isInTransaction: ({ thread: { host } }) => host.state.isTransaction,
    reset: ({ thread: { host } }) => control(host, "reset", "reset", []),
    beginLease: ({ thread }, pool) => new WorkerLeased(thread, waits ? settings.busyTimeout : 0, pool),
    endLease: (lent) => lent.expire(),
    unfinished,
    // There is no network that can break, so a failure says nothing about the connection. A thread that ends says so.
    judge: () => "healthy",
    isTransient: (error) => isLock(codeOf(error))
  })
