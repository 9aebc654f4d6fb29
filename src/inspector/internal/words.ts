/** What the page says of the events of pools, maps and hosts. */
import { causeText } from "../../internal/pool/causeText.ts"
import { type AnyHostEvent, sayingOf as sayingOfHosts } from "../../internal/pool/hostEvents.ts"
import { sayingOf, slowText } from "../../internal/pool/log.ts"
import { keyText } from "../../internal/poolMap/view.ts"
import { cutCopy, inOneLine } from "../../internal/structures/statementText.ts"
import { counted } from "../../PoolError.ts"
import type { PoolEvent } from "../../PoolEvent.ts"
import type { PoolMapEvent } from "../../PoolMapEvent.ts"
import type { Happening, Level } from "./contract.ts"

export type Words = Pick<Happening, "level" | "text">

/** The words for an event of a pool: those of its log, where it has some. */
export const ofPool = (event: PoolEvent): Words => {
  const said = sayingOf(event)
  if (said !== undefined) return words(levels[said.level], said.text)
  switch (event._tag) {
    case "StatementSlow":
      // The log has few of them, and the page all.
      return warning(slowText(event))
    case "AcquireTimedOut":
      return warning(`a caller got no connection in ${millis(event.waitedMillis)}`)
    case "Refused":
      return warning(`a caller was refused: ${counted(event.waiting, "caller waits", "callers wait")} already`)
    case "Disconnected":
      return quiet(`connection ${event.connection} is closed`)
    case "Checked":
      return event.failed > 0
        ? warning(`checked: ${event.failed} of ${event.failed + event.passed} idle connections do not work`)
        : quiet(`checked: ${counted(event.passed, "idle connection works", "idle connections work")}`)
    case "Missed":
      return info(
        `${counted(event.events, "event", "events")} came too fast, and ${event.events === 1 ? "is" : "are"} not here`
      )
    default:
      return quiet(event._tag)
  }
}

/** The words for an event of a map. */
export const ofMap = (event: PoolMapEvent<unknown>): Words => {
  switch (event._tag) {
    case "Opened":
      return quiet(`the pool of ${keyText(event.key)} is open, after ${millis(event.tookMillis)}`)
    case "OpenFailed":
      return warning(`the pool of ${keyText(event.key)} could not be opened: ${causeText(event.error)}`)
    case "Evicted":
      return quiet(`the pool of ${keyText(event.key)} leaves: ${event.reason}`)
    case "Closed":
      return event.error === undefined
        ? quiet(`the pool of ${keyText(event.key)} is closed`)
        : warning(`the pool of ${keyText(event.key)} was closed with an error: ${causeText(event.error)}`)
    case "CloseOverdue":
      return warning(`the pool of ${keyText(event.key)} is closing for ${millis(event.waitedMillis)} already`)
    case "TimedOut":
      return warning(`a caller of ${keyText(event.key)} got no pool in ${millis(event.waitedMillis)}`)
    case "Draining":
      return info(`shutting down: ${counted(event.leases, "lease is", "leases are")} held`)
    case "Interrupting":
      return warning(`shutting down: ${counted(event.holders.length, "fiber is", "fibers are")} interrupted`)
    case "ShutDown":
      return info("closed")
    case "Missed":
      return info(
        `${counted(event.events, "event", "events")} came too fast, and ${event.events === 1 ? "is" : "are"} not here`
      )
  }
}

/** The words for an event of the hosts of a database: those of its log. */
export const ofHosts = (event: AnyHostEvent): Words => {
  const { isWarning, text } = sayingOfHosts(event)
  return { level: isWarning ? "warning" : "info", text: inOneLine(text, mostOfText) }
}

const levels: Readonly<Record<"Debug" | "Info" | "Warn" | "Error", Level>> = {
  Debug: "quiet",
  Info: "info",
  Warn: "warning",
  Error: "error"
}

const words = (level: Level, text: string): Words => ({ level, text: cutCopy(text, mostOfText) })
const quiet = (text: string): Words => words("quiet", text)
const info = (text: string): Words => words("info", text)
const warning = (text: string): Words => words("warning", text)

const millis = (duration: number): string => `${Math.round(duration)} ms`

/** The most characters of the text of an event. */
const mostOfText = 3000
