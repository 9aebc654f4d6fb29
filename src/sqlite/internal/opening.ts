/** How a connection is opened and made clean: never waiting inside SQLite, and leaving nothing open that failed. */
import { Effect, type Scope } from "effect"
import { isSqlError, type SqlError } from "effect/sql/SqlError"
import { Handle } from "./handle.ts"
import { retryWhileLocked } from "./locks.ts"
import { openFailure, refuseReadOnlyFile } from "./openFailure.ts"
import type { Settings } from "./settings.ts"
import { refuseStrayLog } from "./strayLog.ts"

/**
 * Opens a database for the current scope, or until this fails. `isFirst` is whether nobody is known to have it open: then
 * the log beside it is looked at.
 */
export const open = (settings: Settings, isFirst: boolean): Effect.Effect<Handle, SqlError, Scope.Scope> =>
  Effect.uninterruptibleMask((restore) =>
    Effect.gen(function*() {
      if (isFirst && !settings.isMemory) yield* attempt(settings, () => refuseStrayLog(settings))
      const handle = yield* attempt(settings, () => new Handle(settings))
      const close = Effect.sync(() => handle.close())
      yield* Effect.addFinalizer(() => close)
      // The scope may live on.
      yield* Effect.onError(restore(configure(handle)), () => close)
      return handle
    })
  )

/** Ends the statements and the transaction that were left open, if any were, and undoes what an earlier user has set. */
export const reset = Effect.fnUntraced(function*(handle: Handle): Effect.fn.Return<void, SqlError> {
  const { settings } = handle
  // A rollback would not end them, and they would hold on to what they see.
  handle.closeCursors()
  yield* attempt(settings, () => handle.rollback("reset"))
  if (!handle.isAltered) return
  // What is in memory would be gone.
  if (settings.isMemory) return yield* attempt(settings, () => handle.configureSession())
  yield* attempt(settings, () => handle.reopen())
  yield* configure(handle)
})

const configure = (handle: Handle): Effect.Effect<void, SqlError> => {
  const { settings } = handle
  const once = attempt(settings, () => {
    handle.configure()
    if (!settings.isReadOnly && !settings.isMemory) refuseReadOnlyFile(settings)
  })
  return retryWhileLocked(once, settings.busyTimeout)
}

const attempt = <A>(settings: Settings, f: () => A): Effect.Effect<A, SqlError> =>
  Effect.try({ try: f, catch: (thrown) => isSqlError(thrown) ? thrown : openFailure(settings, thrown) })
