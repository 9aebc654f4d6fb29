/** The factory of connections in threads. */
import { Effect, type Scope } from "effect"
import { isSqlError, type SqlError } from "effect/sql/SqlError"
import * as ConnectionFactory from "../../../ConnectionFactory.ts"
import { Recorder } from "../../../internal/pool/recorder.ts"
import { Recording } from "../../../internal/pool/recording.ts"
import * as Alarm from "../../../internal/structures/timer.ts"
import { onOpenFailed, openFailure } from "../connection/openFailure.ts"
import { retryWhileLocked } from "../connection/retryWhileLocked.ts"
import { codeOf, toSqlError } from "../errors.ts"
import { Failure, isLock } from "../failures.ts"
import type { Settings } from "../options/connection.ts"
import type { ControlName, Controls } from "./protocol.ts"
import { start, type Thread } from "./thread.ts"
import { control, type OperationError, WorkerLeased } from "./workerConnection.ts"

/** Functions that are called as a thread comes and goes, and what is asked of it. */
export interface Hooks {
  /** The thread has ended by itself. */
  readonly died?: (() => void) | undefined
  /** The thread was started, and will open the file. */
  readonly started?: ((thread: Thread) => void) | undefined
  /** The thread is about to close the file. */
  readonly closing?: ((thread: Thread) => void) | undefined
  /** The thread does not have the file open any more, or is given up. */
  readonly closed?: ((thread: Thread) => void) | undefined
  /** How long a statement may run, in milliseconds. Default `Infinity`. */
  readonly statementTimeout?: number | undefined
}

/**
 * Starts a thread and opens the database there, for the current scope. `isFirst` says that this process does not have the
 * database open.
 */
export const open = (
  settings: Settings,
  isFirst: boolean,
  hooks: Hooks = {}
): Effect.Effect<WorkerLeased, SqlError, Scope.Scope> =>
  Effect.gen(function*() {
    const statements = yield* ConnectionFactory.Statements
    const recorder = statements instanceof Recording ? statements.recorder : Recorder.unread()
    const onDeath = () => hooks.died?.()
    let thread: Thread | undefined
    const alarm = Alarm.make(yield* Effect.context<never>(), () => thread?.host.checkTimeout())
    // A thread that works keeps the process alive, so the alarm need not.
    const set = (at: number) => alarm.set(at, false)
    yield* Effect.addFinalizer(() => Effect.sync(() => alarm.stop()))
    const started = yield* Effect.acquireRelease(
      Effect.try({
        try: () => {
          const { statementTimeout: millis = Infinity } = hooks
          const timeout = millis === Infinity ? undefined : { millis, now: alarm.now, set }
          thread = start(settings, { onDeath, recorder, timeout })
          hooks.started?.(thread)
          return thread
        },
        catch: (thrown) => failureOf(settings, thrown)
      }),
      (thread) => Effect.ensuring(close(thread, hooks), Effect.sync(() => hooks.closed?.(thread)))
    )
    const opened = asOpening(settings, started, "open", [isFirst, settings.onOpen !== undefined])
    yield* retryWhileLocked(opened, settings.busyTimeout)
    yield* prepare(settings, started)
    return new WorkerLeased(started, 0, undefined)
  })

/** Runs an operation that is a part of opening, and fails as opening does. */
const asOpening = <Name extends ControlName>(
  settings: Settings,
  { host }: Thread,
  name: Name,
  params: Parameters<Controls[Name]>
): Effect.Effect<unknown, SqlError> =>
  Effect.callback<unknown, SqlError>((resume) => {
    host.control(name, params, {
      rows: () => {},
      ended: (value) => resume(Effect.succeed(value)),
      failed: (thrown) => resume(Effect.fail(failureOf(settings, thrown))),
      cancelled: () => {}
    })
  })

/** Runs the `onOpen` of the application, if there is one. It runs in this thread, with a connection that is in the other. */
const prepare = (settings: Settings, thread: Thread): Effect.Effect<void, SqlError> =>
  Effect.suspend(() => {
    const { isReadOnly, onOpen } = settings
    if (onOpen === undefined) return Effect.void
    const connection = new WorkerLeased(thread, settings.busyTimeout, undefined)
    const loadExtension = (path: string) => Effect.asVoid(asOpening(settings, thread, "loadExtension", [path]))
    const prepared = onOpen(connection, { isReader: isReadOnly, loadExtension }).pipe(
      Effect.mapError((error) => isSqlError(error) ? error : onOpenFailed(settings, error)),
      Effect.ensuring(Effect.sync(() => connection.expire("onOpen has ended")))
    )
    const ended = asOpening(settings, thread, "endOpening", [])
    return Effect.andThen(prepared, Effect.asVoid(retryWhileLocked(ended, settings.busyTimeout)))
  })

/** Ends the transaction and the cursors of a lease, and undoes its changes. A connection that was opened anew is prepared. */
const reset = (settings: Settings, { thread }: WorkerLeased): Effect.Effect<void, OperationError> =>
  Effect.flatMap(
    control(thread.host, "reset", "reset", [settings.onOpen !== undefined]),
    (isNew) => isNew === true ? prepare(settings, thread) : Effect.void
  )

const failureOf = (settings: Settings, thrown: unknown): SqlError =>
  thrown instanceof Failure ? toSqlError(thrown) : openFailure(settings, thrown)

/**
 * Closes the database, and lets the thread end. If a statement still runs there, the caller of this decides how long it waits:
 * an interrupt ends the wait, and the thread ends after the statement.
 */
const close = (thread: Thread, hooks: Hooks): Effect.Effect<void> =>
  Effect.suspend(() => {
    const { host, terminate } = thread
    if (host.death !== undefined) return Effect.void
    hooks.closing?.(thread)
    host.cancelAll()
    const closed = Effect.callback<void>((resume) => {
      const done = () => resume(Effect.void)
      host.control("close", [], { rows: () => {}, ended: done, failed: done, cancelled: done })
    })
    return Effect.onInterrupt(Effect.interruptible(closed), () => Effect.sync(() => void terminate()))
  })

/** What still runs on a connection after its lease. It was cancelled when the lease ended. */
export const unfinished = ({ thread: { host } }: WorkerLeased): ConnectionFactory.Unfinished | undefined => {
  if (!host.isUnfinished) return undefined
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
    reset: (connection) => reset(settings, connection),
    beginLease: ({ thread }, pool) => new WorkerLeased(thread, waits ? settings.busyTimeout : 0, pool),
    endLease: (lent) => lent.expire(),
    unfinished,
    // There is no network that can break, so a failure says nothing about the connection. A thread that ends says so.
    judge: () => "healthy",
    isTransient: (error) => isLock(codeOf(error))
  })
