/** The password of one connect attempt. */
import { Effect, Predicate, Redacted } from "effect"
import { AuthenticationError, SqlError } from "effect/sql/SqlError"
import { isText } from "../sql/text.ts"
import { passwordFailed } from "./connectFailures.ts"

/** A password, or an effect that is run for each connect attempt. */
export type Password = Redacted.Redacted | Effect.Effect<Redacted.Redacted, unknown>

/** The password. Fails if its effect fails, or gives none. */
export const resolve = (password: Password | undefined): Effect.Effect<string | undefined, SqlError> => {
  if (password === undefined) return Effect.succeed(undefined)
  if (!Effect.isEffect(password)) return textOf(password)
  return Effect.flatMap(Effect.mapError(password, passwordFailed), textOf)
}

const textOf = (given: unknown): Effect.Effect<string, SqlError> =>
  Effect.suspend(() => {
    const text = valueOf(given)
    return Predicate.isString(text) && text !== "" && isText(text)
      ? Effect.succeed(text)
      : Effect.fail(invalid(given))
  })

const valueOf = (given: unknown): unknown => {
  try {
    return Redacted.isRedacted(given) ? Redacted.value(given) : undefined
  } catch {
    // It was wiped.
    return undefined
  }
}

const invalid = (given: unknown): SqlError => {
  const what = Redacted.isRedacted(given) ? "a Redacted without a text that can be sent" : "no Redacted"
  const message =
    `the effect of the option password gave ${what}, but must give a Redacted of text that is not empty ` +
    "and has no zero character"
  return new SqlError({
    reason: new AuthenticationError({ cause: new TypeError(message), message, operation: "connect" })
  })
}

/**
 * The forms of a password, in the order in which they are tried. A server that asks with SCRAM has kept the form of SASLprep
 * (https://www.rfc-editor.org/rfc/rfc4013) if there is one, and the driver sends a password as it is. Other methods want it as it is.
 */
export const formsOf = (password: string): ReadonlyArray<string> => {
  const prepared = password.replace(spaces, " ").replace(nothing, "").normalize("NFKC")
  return prepared === password || prepared === "" ? [password] : [prepared, password]
}

/** Spaces beyond ASCII (C.1.2 of RFC 3454). */
const spaces = /[\u00a0\u1680\u2000-\u200b\u202f\u205f\u3000]/g

/** What stands for nothing (B.1 of RFC 3454). */
// oxlint-disable-next-line no-misleading-character-class -- Each of these stands for itself, and joins nothing.
const nothing = /\u00ad|\u034f|\u1806|[\u180b-\u180d]|[\u200c\u200d]|\u2060|[\ufe00-\ufe0f]|\ufeff/g
