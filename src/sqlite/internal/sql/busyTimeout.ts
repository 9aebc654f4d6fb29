/** Statements that are a `pragma busy_timeout` and nothing else: https://sqlite.org/pragma.html#pragma_busy_timeout. */

/** What such a statement sets the timeout to, in milliseconds, if it sets one. Nothing for any other statement. */
export const busyTimeoutOf = (sql: string): { readonly millis: number | undefined } | undefined => {
  const found = busyTimeout.exec(sql)
  if (found === null) return undefined
  const [, assigned, called] = found
  const millis = assigned ?? called
  return { millis: millis === undefined ? undefined : Number(millis) }
}

const busyTimeout = /^\s*pragma\s+busy_timeout\s*(?:=\s*(-?\d+)|\(\s*(-?\d+)\s*\))?\s*;?\s*$/i
