/**
 * Answers `pragma busy_timeout`, which sets how long statements go on trying while another process has a lock.
 *
 * SQLite's own timeout stays 0, for SQLite would stop the event loop while it waits.
 */
import type { BusyTimeout, Query, Target } from "../../sqlite/internal/client/targets.ts"
import { busyTimeoutOf } from "../../sqlite/internal/sql/busyTimeout.ts"

/** A timeout that statements may change. */
export class LockTimeout implements BusyTimeout {
  millis: number

  constructor(millis: number) {
    this.millis = millis
  }
}

/** SQLite keeps it in 32 bits. */
const maxMillis = 2 ** 31 - 1

/** The pause between two tries may be as long as this, so a shorter timeout allows one try. */
const minMillis = 2

/** Puts the pragma before a target. The pragma answers what SQLite would. */
export const withBusyTimeout = (target: Target, timeout: LockTimeout): Target => {
  let saidMillis = Math.min(timeout.millis, maxMillis)
  return {
    run: (fiber, query, way) => {
      const found = busyTimeoutOf(query.text.sql)
      if (found === undefined) return target.run(fiber, query, way)
      if (found.millis !== undefined) {
        saidMillis = Math.min(Math.max(found.millis, 0), maxMillis)
        timeout.millis = saidMillis < minMillis ? 0 : saidMillis
      }
      const answer: Query = {
        text: { sql: `select ${saidMillis} as timeout`, kind: "read" },
        params: query.params
      }
      return target.run(fiber, answer, way)
    },
    stream: (query) => target.stream(query)
  }
}
