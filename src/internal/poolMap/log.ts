/** The log of a map of pools: the events that an operator should read, as text. */
import { Effect } from "effect"
import { counted } from "../../PoolError.ts"
import type { PoolMapEvent } from "../../PoolMapEvent.ts"
import { nameOf } from "../holder.ts"
import { causeText } from "../pool/causeText.ts"
import { listText } from "../structures/statementText.ts"
import { keyText } from "./view.ts"

/** The log message of an event, if it has one. */
export const logOf = <K>(event: PoolMapEvent<K>): Effect.Effect<void> | undefined => {
  switch (event._tag) {
    case "Opened":
      return Effect.logDebug(`the pool for ${keyText(event.key)} is open, after ${Math.round(event.tookMillis)} ms`)
    case "OpenFailed":
      return Effect.logWarning(`the pool for ${keyText(event.key)} could not be opened: ${causeText(event.error)}`)
    case "Evicted":
      return event.reason === "closed"
        ? Effect.logWarning(
          `the pool for ${keyText(event.key)} was shut down by others, and is opened again when needed`
        )
        : Effect.logDebug(`the pool for ${keyText(event.key)} is evicted: ${event.reason}`)
    case "Closed":
      return event.error === undefined
        ? undefined
        : Effect.logWarning(`the pool for ${keyText(event.key)} was closed with an error: ${causeText(event.error)}`)
    case "CloseOverdue":
      return Effect.logWarning(
        `the pool for ${keyText(event.key)} has not closed within ${Math.round(event.waitedMillis)} ms, and takes up ` +
          "room until it has"
      )
    case "Draining":
      return Effect.logDebug(`shutting down: ${counted(event.leases, "lease is", "leases are")} held`)
    case "Interrupting":
      return Effect.logWarning(
        `shutting down: fibers that still hold a pool are interrupted: ${
          listText(event.holders, ({ fiber, heldMillis, key, label }) =>
            `${nameOf({ label })} #${fiber} holds ${key} for ${Math.round(heldMillis)} ms`, "; ")
        }`
      )
    case "ShutDown":
      return Effect.logDebug("closed")
    default:
      return undefined
  }
}
