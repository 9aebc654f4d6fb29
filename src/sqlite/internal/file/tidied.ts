import { Effect } from "effect"

/**
 * Cleans up, and says in the log if that could not be done. A finalizer that dies would make a defect of the failure that
 * it comes with, which could then no longer be caught.
 */
export const tidied = (what: string, f: () => void): Effect.Effect<void> =>
  Effect.suspend(() => {
    try {
      f()
      return Effect.void
    } catch (thrown) {
      return Effect.logWarning(`could not remove ${what}: ${String(thrown)}`)
    }
  })
