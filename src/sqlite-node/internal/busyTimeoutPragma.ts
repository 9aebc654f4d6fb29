/** For how long what starts work goes on trying while another process has a lock, where an application may change that. */
import type { Place } from "../../sqlite/internal/client/targets.ts"
import type { Text } from "../../sqlite/internal/sql/statementKind.ts"

export class LockTimeout {
  /** In milliseconds. */
  millis: number

  constructor(millis: number) {
    this.millis = millis
  }
}

/** SQLite keeps it in 32 bits. */
const longest = 2 ** 31 - 1

/** The pause between two attempts may be as long as this, so less than that is one attempt. In milliseconds. */
const shortest = 2

/**
 * The same place, where `pragma busy_timeout` says and sets the timeout: SQLite's own stays 0, for it would stop the event
 * loop. What it answers is what SQLite would.
 */
export const withBusyTimeout = (place: Place, timeout: LockTimeout): Place => {
  let said = Math.min(timeout.millis, longest)
  return {
    run: (fiber, query, action) => {
      const found = busyTimeout.exec(query.text.sql)
      if (found === null) return place.run(fiber, query, action)
      const [, assigned, called] = found
      const wanted = assigned ?? called
      if (wanted !== undefined) {
        said = Math.min(Math.max(Number(wanted), 0), longest)
        timeout.millis = said < shortest ? 0 : said
      }
      const text: Text = { sql: `select ${said} as timeout`, kind: "read" }
      return place.run(fiber, { text, params: query.params }, action)
    },
    stream: (sql, params) => place.stream(sql, params)
  }
}

const busyTimeout = /^\s*pragma\s+busy_timeout\s*(?:=\s*(-?\d+)|\(\s*(-?\d+)\s*\))?\s*;?\s*$/i
