/** Statements that are a `pragma busy_timeout` and nothing else: https://sqlite.org/pragma.html#pragma_busy_timeout. */

/** Reads such a statement: the milliseconds that it sets, if it sets any. Returns nothing for every other statement. */
export const busyTimeoutOf = (sql: string): { readonly millis: number | undefined } | undefined => {
  const found = busyTimeout.exec(sql)
  if (found === null) return undefined
  const [, assigned, called] = found
  const millis = assigned ?? called
  return { millis: millis === undefined ? undefined : Number(millis) }
}

const busyTimeout = /^\s*pragma\s+busy_timeout\s*(?:=\s*(-?\d+)|\(\s*(-?\d+)\s*\))?\s*;?\s*$/i
