/** An error of a driver in one line for the log: the error and its causes. */

/**
 * The names, messages and codes of an error and its causes, the outermost first: `SqlError: could not connect (caused
 * by Error: connect ECONNREFUSED 127.0.0.1:5432 [ECONNREFUSED])`.
 *
 * Other fields are not shown, because they may hold secrets. Passwords in messages are hidden. The line has at most
 * `maxLength` characters. Never throws, whatever the error is.
 */
export const causeText = (error: unknown): string => {
  const texts: Array<string> = []
  const seen = new Set<unknown>()
  for (let next = error; next !== undefined && texts.length < maxCauses && !seen.has(next); next = causeOf(next)) {
    seen.add(next)
    const text = textOf(next)
    // A wrapper may repeat the text of its cause.
    if (text !== undefined && !texts.includes(text)) texts.push(text)
  }
  const [first = "an error that cannot be printed", ...causes] = texts
  return shorten(causes.length === 0 ? first : `${first} (caused by ${causes.join("; ")})`, maxLength)
}

const maxCauses = 8
const maxLength = 600
const maxMessageLength = 300

const textOf = (error: unknown): string | undefined => {
  if (typeof error === "symbol") return "a symbol"
  if (error === null || (typeof error !== "object" && typeof error !== "function")) return clean(String(error))
  const name = wordOf(error, "_tag") ?? wordOf(error, "name")
  const message = wordOf(error, "message")
  const code = wordOf(error, "code") ?? wordOf(error, "sqlState")
  const text = name === undefined || message === undefined || message === name ? message ?? name : `${name}: ${message}`
  if (code === undefined) return text
  return text === undefined ? code : `${text} [${code}]`
}

/** A field of an error, if it is a text that is not empty, or a number. */
const wordOf = (error: object, field: string): string | undefined => {
  const value = read(error, field)
  if (typeof value !== "string" && typeof value !== "number") return undefined
  const word = clean(String(value))
  return word === "" ? undefined : word
}

/** The cause of an error. For an error with several causes, as Node makes one for all addresses of a host: the first. */
const causeOf = (error: unknown): unknown => {
  if (error === null || (typeof error !== "object" && typeof error !== "function")) return undefined
  const cause = read(error, "cause") ?? read(error, "reason") ?? read(error, "error")
  if (cause !== undefined) return cause
  const errors = read(error, "errors")
  return typeof errors === "object" && errors !== null ? read(errors, "0") : undefined
}

const read = (value: object, field: string): unknown => {
  try {
    return Reflect.get(value, field) as unknown
  } catch {
    return undefined
  }
}

const clean = (text: string): string =>
  shorten(text.slice(0, 4 * maxMessageLength), 2 * maxMessageLength)
    // No line breaks, and no control characters that a terminal would obey.
    .replaceAll(/[\p{Cc}\p{Zl}\p{Zp}]+/gu, " ")
    .replaceAll(/(\/\/[^/\s:@]*):[^/\s@]*@/g, "$1:***@")
    .replaceAll(
      /\b(pass(?:word|wd|phrase)?|pwd|secret|token|api_?key)(\s*[=:]\s*)("[^"]*"|'[^']*'|[^\s,;&]+)/gi,
      "$1$2***"
    )
    .trim()
    .slice(0, maxMessageLength)

const shorten = (text: string, most: number): string =>
  text.length <= most ? text : `${text.slice(0, most - 1).toWellFormed()}…`
