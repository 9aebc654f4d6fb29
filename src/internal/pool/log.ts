/** The log of a pool: the events that an operator should read, as text. */
import { Effect, type LogLevel } from "effect"
import { type HealthReport, type HealthStatus, reasonText } from "../../HealthReport.ts"
import { type ConnectFailure, counted, failureCause, failureText, type Holder } from "../../PoolError.ts"
import type { PoolEvent } from "../../PoolEvent.ts"
import { leftText, nameOf, statementText } from "../holder.ts"
import { cut, inOneLine, listText } from "../structures/statementText.ts"
import { causeText } from "./causeText.ts"

/** What is said of an event in the log. */
export interface Said {
  readonly level: Extract<LogLevel.Severity, "Debug" | "Info" | "Warn" | "Error">
  readonly text: string
}

/** The log message of an event, if it has one. */
export const logOf = (event: PoolEvent): Effect.Effect<void> | undefined => {
  const said = sayingOf(event)
  return said && Effect.logWithLevel(said.level)(said.text)
}

const debug = (text: string): Said => ({ level: "Debug", text })
const info = (text: string): Said => ({ level: "Info", text })
const warning = (text: string): Said => ({ level: "Warn", text })

/** What is said of an event, if it is one that an operator should read. */
export const sayingOf = (event: PoolEvent): Said | undefined => {
  switch (event._tag) {
    case "ConnectFailed":
      return warning(`connection ${event.connection} could not be opened: ${connectText(event.reason)}`)
    case "Evicted":
      switch (event.reason) {
        case "dead":
        case "invalid":
        case "reset":
        case "fatal":
          return warning(`connection ${event.connection} is evicted: ${evictText[event.reason]}`)
        case "driver":
          return warning(`connection ${event.connection} is evicted: ${driverText(event.error)}`)
        case "abandoned":
          return warning(
            `connection ${event.connection} is evicted: the end of what a caller has left was not seen: ${
              causeText(event.error)
            }`
          )
        default:
          return debug(`connection ${event.connection} is evicted: ${event.reason}`)
      }
    case "Disconnected":
      return event.error === undefined
        ? undefined
        : warning(`connection ${event.connection} was closed with an error: ${causeText(event.error)}`)
    case "CloseTimedOut":
      return warning(`connection ${event.connection} did not close in time and was given up`)
    case "ConnectionAbandoned":
      return debug(
        `connection ${event.abandoned.connection} is abandoned: it still runs what a caller has left: ${
          leftText(event.abandoned)
        }`
      )
    case "ConnectionSettled":
      return event.error === undefined
        ? debug(`connection ${event.abandoned.connection} has settled: ${leftText(event.abandoned)}`)
        : undefined
    case "LeftRunning":
      return warning(
        `shutting down: what callers have left is still running, and is not waited for: ${
          listText(event.abandoned, (abandoned) => `connection ${abandoned.connection}: ${leftText(abandoned)}`, "; ")
        }`
      )
    case "HealthChanged":
      return healthSaid(event.from, event.report)
    case "LeakSuspected":
      return warning(`possible leak: ${holderText(event.holder)} and still does`)
    case "LeakReturned":
      return warning(`no leak after all: ${holderText(event.holder)} and has returned it`)
    case "StatementSlow":
      return event.isLogged ? warning(slowText(event)) : undefined
    case "TransactionLeftOpen":
      return warning(
        `a transaction was left open and is rolled back: ${holderText(event.holder)}, and has returned it without a ` +
          "commit; use `transaction`, which ends with its body, or end it before the lease ends"
      )
    case "Connected":
      return debug(`connection ${event.connection} is open, after ${Math.round(event.tookMillis)} ms`)
    case "Paused":
      return info("paused: callers wait")
    case "Resumed":
      return info("resumed")
    case "Resized":
      return info(`resized: min is ${event.min}, max is ${event.max}`)
    case "Recycled":
      return info(`recycled: ${counted(event.connections, "connection is", "connections are")} evicted`)
    case "Draining":
      return debug(`shutting down: ${counted(event.leases, "lease is", "leases are")} held`)
    case "Interrupting":
      return warning(
        `shutting down: fibers that still hold a connection are interrupted: ${
          listText(event.holders, holderText, "; ")
        }`
      )
    case "Closed":
      return debug("closed")
    default:
      return undefined
  }
}

const connectText = (reason: ConnectFailure<unknown>): string =>
  reason._tag === "ConnectTimedOut" ? failureText(reason) : causeText(failureCause(reason))

const healthSaid = (from: HealthStatus | undefined, { reasons, status }: HealthReport): Said => {
  const was = from === undefined || from === status ? "" : `, was ${from}`
  const why = reasons.length === 0 ? "" : `: ${reasons.map((reason) => inOneLine(reasonText(reason), 1000)).join("; ")}`
  const text = `health: ${status}${was}${why}`
  switch (status) {
    case "healthy":
      return from === undefined ? debug(text) : info(text)
    case "degraded":
      return warning(text)
    case "unhealthy":
      return { level: "Error", text }
  }
}

const evictText = {
  dead: "it is no longer alive",
  invalid: "it failed its validation",
  reset: "it could not be reset",
  fatal: "a lease ended with a failure that its driver calls fatal"
}

const driverText = (thrown: unknown): string => {
  const when = "its driver threw when a lease began or ended"
  return thrown === undefined ? when : `${causeText(thrown)} (${when})`
}

const holderText = (holder: Holder): string =>
  `${callerText(holder)} held connection ${holder.connection} for ${Math.round(holder.heldMillis)} ms${
    statementText(holder)
  }`

/** Who has a lease. */
export const callerText = ({ fiber, label, span }: Holder): string =>
  `${nameOf({ label }, "a caller")} (fiber #${fiber}${
    span === undefined ? "" : `, span ${span.spanId} of trace ${span.traceId}`
  })`

type Slow = Extract<PoolEvent, { readonly _tag: "StatementSlow" }>

/** What is said of a slow statement. */
export const slowText = (
  { advice, connection, holder, isBlocking, slowAfterMillis, text, tookMillis, unlogged }: Slow
): string => {
  const who = holder === undefined ? "the driver" : callerText(holder)
  const how = advice === undefined ? "" : ` (${advice})`
  const blocking = isBlocking ? `; nothing else in this process could run meanwhile${how}` : ""
  const others = unlogged === 0
    ? ""
    : `; ${counted(unlogged, "more was", "more were")} slow since the last such warning`
  return `slow statement: ${JSON.stringify(cut(text, 300))} of ${who} took ${
    Math.round(tookMillis)
  } ms on connection ` +
    `${connection} (slowStatement is ${slowAfterMillis} ms)${blocking}${others}`
}
