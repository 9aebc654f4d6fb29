/** Opens connections, and resets them for the next caller. Never waits inside SQLite. */
import { Effect, type Scope } from "effect"
import { isSqlError, type SqlError } from "effect/sql/SqlError"
import { noEffect } from "../../../internal/options/noEffect.ts"
import { causeText } from "../../../internal/pool/causeText.ts"
import { toSqlError } from "../errors.ts"
import { Failure } from "../failures.ts"
import type { OnOpen, Settings } from "../options/connection.ts"
import { nameOf } from "../options/nameOf.ts"
import { Handle } from "./handle.ts"
import { refuseIncomplete } from "./immutable.ts"
import { Leased } from "./leased.ts"
import { onOpenFailed, openFailure, refuseReadOnlyFile } from "./openFailure.ts"
import { retryWhileLocked } from "./retryWhileLocked.ts"
import { refuseStrayLog } from "./strayLog.ts"

/** Closes a database. Dies with the error of the close, which a pool reports. */
const closeHandle = (handle: Handle): Effect.Effect<void> => Effect.sync(() => handle.close())

/** Closes a database, and logs the error of the close. For a close after a failure, which a defect would hide. */
export const closeAndLog = (handle: Handle): Effect.Effect<void> =>
  Effect.catchDefect(
    closeHandle(handle),
    (defect) => Effect.logWarning(`${nameOf(handle.settings)} was closed with an error: ${causeText(defect)}`)
  )

/**
 * Opens a database, which is closed with the current scope, or at once if this fails. `isFirst` says that this process
 * does not have it open, so that the log beside it can be checked.
 */
export const open = (
  settings: Settings,
  isFirst: boolean,
  close = closeHandle
): Effect.Effect<Handle, SqlError, Scope.Scope> =>
  Effect.uninterruptibleMask((restore) =>
    Effect.gen(function*() {
      if (settings.isImmutable) yield* typed(settings, () => refuseIncomplete(settings))
      else if (isFirst && !settings.isMemory) yield* typed(settings, () => refuseStrayLog(settings))
      const handle = yield* typed(settings, () => new Handle(settings))
      yield* Effect.addFinalizer(() => close(handle))
      // The scope may stay open after a failure.
      yield* Effect.onError(restore(configure(handle)), () => closeAndLog(handle))
      return handle
    })
  )

/** Ends the cursors and the transaction that a lease has left open, and undoes its changes. */
export const reset = Effect.fnUntraced(function*(handle: Handle): Effect.fn.Return<void, SqlError> {
  const { settings } = handle
  // A rollback would not close the cursors, and they would still pin a state of the database.
  handle.closeCursors()
  yield* typed(settings, () => handle.rollback("reset"))
  // If SQLite has ended a transaction by itself, they are still off. To open the file again would lose what lasts.
  handle.session.resumeForeignKeys()
  if (!handle.session.isAltered) return
  // A database in memory would be lost if it was closed.
  if (settings.isMemory) return yield* typed(settings, () => handle.session.undo())
  yield* typed(settings, () => handle.reopen())
  yield* configure(handle)
})

const configure = Effect.fnUntraced(function*(handle: Handle): Effect.fn.Return<void, SqlError> {
  const { settings } = handle
  const once = typed(settings, () => {
    handle.configure()
    if (!settings.isReadOnly && !settings.isMemory) refuseReadOnlyFile(settings)
  })
  yield* retryWhileLocked(once, settings.busyTimeout)
  if (settings.onOpen !== undefined) yield* runOnOpen(handle, settings.onOpen)
  const ended = typed(settings, () => handle.endOpening())
  yield* retryWhileLocked(ended, settings.busyTimeout)
})

/** Runs the `onOpen` of the application. Its changes belong to the connection. */
const runOnOpen = (handle: Handle, onOpen: OnOpen): Effect.Effect<void, SqlError> =>
  Effect.suspend(() => {
    const { settings } = handle
    const connection = new Leased(handle, true, undefined)
    handle.session.beginOpening()
    const loadExtension = (path: string) => typed(settings, () => handle.loadExtension("loadExtension", path))
    const opening: unknown = onOpen(connection, { isReader: settings.isReadOnly, loadExtension })
    const checked = Effect.isEffect(opening)
      ? opening as ReturnType<OnOpen>
      : Effect.die(noEffect("onOpen returned", opening))
    return checked.pipe(
      Effect.mapError((error) => isSqlError(error) ? error : onOpenFailed(settings, error)),
      Effect.ensuring(Effect.sync(() => connection.expire("onOpen has ended")))
    )
  })

const typed = <A>(settings: Settings, f: () => A): Effect.Effect<A, SqlError> =>
  Effect.try({
    try: f,
    catch: (thrown) => thrown instanceof Failure ? toSqlError(thrown) : openFailure(settings, thrown)
  })
