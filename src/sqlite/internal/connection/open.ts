/** How a connection is opened and made clean: never waiting inside SQLite, and leaving nothing open that failed. */
import { Effect, type Scope } from "effect"
import { isSqlError, type SqlError } from "effect/sql/SqlError"
import type { SqliteConnection } from "../../SqliteConnection.ts"
import { refuseStrayLog } from "../file/strayLog.ts"
import { nameOf, type OnOpen, type Settings } from "../options/connection.ts"
import { Handle } from "./handle.ts"
import { onOpenFailed, openFailure, refuseReadOnlyFile } from "./openFailure.ts"
import { retryWhileLocked } from "./retryWhileLocked.ts"

/** A connection for `onOpen`, and what ends it. */
export type Lend = (handle: Handle) => { readonly connection: SqliteConnection; readonly end: () => void }

/** Closes a database. A pool hears what goes wrong, and reports it. */
const closeHandle = (handle: Handle): Effect.Effect<void> => Effect.sync(() => handle.close())

/** The same where a failure to close would make a defect of another failure. */
export const closeAndLog = (handle: Handle): Effect.Effect<void> =>
  Effect.catchDefect(
    closeHandle(handle),
    (defect) => Effect.logWarning(`${nameOf(handle.settings)} was closed with an error: ${String(defect)}`)
  )

/**
 * Opens a database for the current scope, or until this fails. `isFirst` is whether nobody is known to have it open: then
 * the log beside it is looked at.
 */
export const open = (
  settings: Settings,
  isFirst: boolean,
  lend: Lend,
  close = closeHandle
): Effect.Effect<Handle, SqlError, Scope.Scope> =>
  Effect.uninterruptibleMask((restore) =>
    Effect.gen(function*() {
      if (isFirst && !settings.isMemory) yield* attempt(settings, () => refuseStrayLog(settings))
      const handle = yield* attempt(settings, () => new Handle(settings))
      yield* Effect.addFinalizer(() => close(handle))
      // The scope may live on.
      yield* Effect.onError(restore(configure(handle, lend)), () => closeAndLog(handle))
      return handle
    })
  )

/** Ends the statements and the transaction that were left open, if any were, and undoes what an earlier user has set. */
export const reset = Effect.fnUntraced(function*(handle: Handle, lend: Lend): Effect.fn.Return<void, SqlError> {
  const { settings } = handle
  // A rollback would not end them, and they would hold on to what they see.
  handle.closeCursors()
  yield* attempt(settings, () => handle.rollback("reset"))
  if (!handle.isAltered) return
  // What is in memory would be gone.
  if (settings.isMemory) return yield* attempt(settings, () => handle.undo())
  yield* attempt(settings, () => handle.reopen())
  yield* configure(handle, lend)
})

const configure = Effect.fnUntraced(function*(handle: Handle, lend: Lend): Effect.fn.Return<void, SqlError> {
  const { settings } = handle
  const once = attempt(settings, () => {
    handle.configure()
    if (!settings.isReadOnly && !settings.isMemory) refuseReadOnlyFile(settings)
  })
  yield* retryWhileLocked(once, settings.busyTimeout)
  if (settings.onOpen !== undefined) yield* runOnOpen(handle, settings.onOpen, lend)
  const ended = attempt(settings, () => handle.endOpening())
  yield* retryWhileLocked(ended, settings.busyTimeout)
})

/** Has the application make the connection what it is to be whenever it is lent. */
const runOnOpen = (handle: Handle, onOpen: OnOpen, lend: Lend): Effect.Effect<void, SqlError> =>
  Effect.suspend(() => {
    const { settings } = handle
    const { connection, end } = lend(handle)
    handle.beginOpening()
    const loadExtension = (path: string) => attempt(settings, () => handle.loadExtension("loadExtension", path))
    return onOpen(connection, { isReader: settings.isReadOnly, loadExtension }).pipe(
      Effect.mapError((error) => isSqlError(error) ? error : onOpenFailed(settings, error)),
      Effect.ensuring(Effect.sync(end))
    )
  })

const attempt = <A>(settings: Settings, f: () => A): Effect.Effect<A, SqlError> =>
  Effect.try({ try: f, catch: (thrown) => isSqlError(thrown) ? thrown : openFailure(settings, thrown) })
