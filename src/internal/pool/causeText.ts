/** What an operator should read of somebody else's error in one line: what it is, and what caused it. */

/**
 * The names, messages and codes of an error and its causes, the outermost first: `SqlError: could not connect (caused by
 * Error: connect ECONNREFUSED 127.0.0.1:5432 [ECONNREFUSED])`.
 *
 * Nothing else of an error is shown, for its other fields may hold secrets, and neither are passwords in messages. The line
 * has a bounded length. Never throws, whatever the error is.
 */
export const causeText = (error: unknown): string => {
  const texts: Array<string> = []
  const seen = new Set<unknown>()
  for (let next = error; next !== undefined && texts.length < maxCauses && !seen.has(next); next = causeOf(next)) {
    seen.add(next)
    const text = textOf(next)
    // A wrapper that repeats what it wraps says nothing more.
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

/** A field of an error that is a text or a number, and says something. */
const wordOf = (error: object, field: string): string | undefined => {
  const value = read(error, field)
  if (typeof value !== "string" && typeof value !== "number") return undefined
  const word = clean(String(value))
  return word === "" ? undefined : word
}

/** One that stands for several, as Node's for all addresses of a host, is told by the first of them. */
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
    // A line of the log stays one line, and a terminal is not told what to do.
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
