import { Effect } from "effect"
import type { Lent } from "./ledger.ts"

/** The least a caller can do with a connection, as the body of a `use`. */
export const touching = (lent: Lent): Effect.Effect<void> => {
  lent.enter()
  lent.leave()
  return Effect.void
}
