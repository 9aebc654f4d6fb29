/** Cleanup in finalizers that must not die. */
import { Effect } from "effect"
import { causeText } from "../../../internal/pool/causeText.ts"

/**
 * Runs a cleanup, and logs its error. If a finalizer died, the failure that came before it could not be caught any
 * more.
 */
export const tidied = (what: string, f: () => void): Effect.Effect<void> =>
  Effect.suspend(() => {
    try {
      f()
      return Effect.void
    } catch (thrown) {
      return Effect.logWarning(`could not remove ${what}: ${causeText(thrown)}`)
    }
  })
