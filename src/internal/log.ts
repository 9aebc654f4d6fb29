import { Effect } from "effect"
import { type HealthReport, type HealthStatus, reasonText } from "../HealthReport.ts"
import { describe, failureText, type Holder } from "../PoolError.ts"
import type { PoolEvent } from "../PoolEvent.ts"

/** What an operator should read of an event, if anything. */
export const logOf = (event: PoolEvent): Effect.Effect<void> | undefined => {
  switch (event._tag) {
    case "ConnectFailed":
      return Effect.logWarning(`connection ${event.connection} could not be opened: ${failureText(event.reason)}`)
    case "Evicted":
      switch (event.reason) {
        case "dead":
        case "invalid":
        case "reset":
        case "driver":
          return Effect.logWarning(`connection ${event.connection} is evicted: ${evictText[event.reason]}`)
        default:
          return Effect.logDebug(`connection ${event.connection} is evicted: ${event.reason}`)
      }
    case "Disconnected":
      return event.error === undefined
        ? undefined
        : Effect.logWarning(`connection ${event.connection} was closed with an error: ${describe(event.error)}`)
    case "Abandoned":
      return Effect.logWarning(`connection ${event.connection} did not close in time and was abandoned`)
    case "HealthChanged":
      return healthLog(event.from, event.report)
    case "LeakSuspected":
      return Effect.logWarning(`possible leak: ${holderText(event.holder)} and still does`)
    case "LeakReturned":
      return Effect.logWarning(`no leak after all: ${holderText(event.holder)} and has returned it`)
    default:
      return undefined
  }
}

const healthLog = (from: HealthStatus | undefined, { reasons, status }: HealthReport): Effect.Effect<void> => {
  const was = from === undefined || from === status ? "" : `, was ${from}`
  const why = reasons.length === 0 ? "" : `: ${reasons.map(reasonText).join("; ")}`
  const text = `health: ${status}${was}${why}`
  switch (status) {
    case "healthy":
      return from === undefined ? Effect.logDebug(text) : Effect.logInfo(text)
    case "degraded":
      return Effect.logWarning(text)
    case "unhealthy":
      return Effect.logError(text)
  }
}

const evictText = {
  dead: "it is no longer alive",
  invalid: "it failed its validation",
  reset: "it could not be reset",
  driver: "its driver threw when a lease began or ended"
}

const holderText = (holder: Holder): string =>
  `${holder.label ?? "a caller"} (fiber #${holder.fiber}) held connection ${holder.connection} for ${
    Math.round(holder.heldMillis)
  } ms`
