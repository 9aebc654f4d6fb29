/**
 * Answers `pragma busy_timeout`, which sets how long a statement is retried while another process has a lock.
 *
 * SQLite's own timeout stays 0, because SQLite would stop the event loop while it waits.
 */
import type { Query, Target } from "../../sqlite/internal/client/targets.ts"
import type { BusyTimeout } from "../../sqlite/internal/connection/retryWhileLocked.ts"
import { busyTimeoutOf } from "../../sqlite/internal/sql/busyTimeout.ts"

/** A timeout that statements may change. */
export class LockTimeout implements BusyTimeout {
  millis: number

  constructor(millis: number) {
    this.millis = millis
  }
}

/** SQLite keeps the timeout in 32 bits. */
const maxMillis = 2 ** 31 - 1

/** The time between two tries may be as long as this, so a shorter timeout means: try once. */
const minMillis = 2

/** Lets a target answer the pragma as SQLite would. */
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
        text: {
          ...query.text,
          sql: `select ${saidMillis} as timeout`,
          kind: "read",
          changesRows: false,
          isStatement: true
        },
        params: query.params
      }
      return target.run(fiber, answer, way)
    },
    stream: (query) => target.stream(query)
  }
}
