/** For how long what starts work goes on trying while another process has a lock, where an application may change that. */
import { Effect } from "effect"
import type { Connection } from "effect/sql/SqlConnection"

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
 * The same connection, on which `pragma busy_timeout` says and sets the timeout: SQLite's own stays 0, for it would stop
 * the event loop. What it answers is what SQLite would.
 */
export const withBusyTimeout = (connection: Connection, timeout: LockTimeout): Connection => {
  let said = Math.min(timeout.millis, longest)
  const translated = <A extends ReadonlyArray<unknown>, B>(
    run: (sql: string, ...rest: A) => B,
    suspend: (make: () => B) => B
  ) =>
  (sql: string, ...rest: A): B => {
    const found = busyTimeout.exec(sql)
    if (found === null) return run(sql, ...rest)
    return suspend(() => {
      const [, assigned, called] = found
      const wanted = assigned ?? called
      if (wanted !== undefined) {
        said = Math.min(Math.max(Number(wanted), 0), longest)
        timeout.millis = said < shortest ? 0 : said
      }
      return run(`select ${said} as timeout`, ...rest)
    })
  }
  return {
    ...connection,
    execute: translated(connection.execute, Effect.suspend),
    executeUnprepared: translated(connection.executeUnprepared, Effect.suspend),
    executeRaw: translated(connection.executeRaw, Effect.suspend),
    executeValues: translated(connection.executeValues, Effect.suspend),
    executeValuesUnprepared: translated(connection.executeValuesUnprepared, Effect.suspend)
  }
}

const busyTimeout = /^\s*pragma\s+busy_timeout\s*(?:=\s*(-?\d+)|\(\s*(-?\d+)\s*\))?\s*;?\s*$/i
