/**
 * The SQLSTATE behind an error of any driver, and whether the server ends the session with it:
 * https://www.postgresql.org/docs/current/errcodes-appendix.html.
 */
import { Predicate } from "effect"
import { isSqlError } from "effect/sql/SqlError"

/** The SQLSTATE behind an error, or behind one of its causes. `undefined` if the server has not answered with an error. */
export const sqlStateOf = (error: unknown): string | undefined => textBehind(error, ["code", "sqlState"], isSqlState)

/** Whether a code is a SQLSTATE, and not one of Node's own, such as `EPIPE`. */
export const isSqlState = (code: string): boolean => /^(?!E)[0-9A-Z]{5}$/.test(code)

/** Finds a text in an error, or in one of its causes, by the names that it may have. */
export const textBehind = (
  error: unknown,
  names: ReadonlyArray<string>,
  accepts: (text: string) => boolean
): string | undefined => {
  let found = error
  for (let depth = 0; depth < maxDepth && Predicate.isObject(found); depth++) {
    for (const name of names) {
      const value = Predicate.hasProperty(found, name) ? found[name] : undefined
      if (Predicate.isString(value) && accepts(value)) return value
    }
    found = isSqlError(found) ? found.reason : Predicate.hasProperty(found, "cause") ? found.cause : undefined
  }
  return undefined
}

/** How many causes of an error are looked at. */
export const maxDepth = 10

/**
 * Whether the server ends the session with this SQLSTATE: class 08, shutdown and crash (57P01, 57P02), not yet up (57P03),
 * the database dropped (57P04), idle for too long (57P05), and a transaction that was idle or open for too long (25P03,
 * 25P04). Not 08P01: the server also answers it to a missing parameter, and goes on.
 */
export const endsSession = (state: string): boolean => /^(?:08(?!P01)...|57P0[1-5]|25P0[34])$/.test(state)
