/**
 * Binds parameters exactly: SQLite stores the value that was given, or the statement does not run. `node:sqlite` alone
 * would store every number as a REAL, and a `NaN`, a `Date` or a missing parameter as NULL.
 */
import type { SQLInputValue } from "node:sqlite"
import { type Failure, invalidInput } from "../failures.ts"
import type { SqlText } from "../sql/scanner.ts"

/** The parameters of a statement, before the check: in order for `?`, by name for `:a`, `@a` and `$a`. */
export type Params = ReadonlyArray<unknown> | Readonly<Record<string, unknown>>

/** The arguments for `node:sqlite`: the values in order, or one record of all values. */
export type Bound = ReadonlyArray<SQLInputValue>

const none: Bound = []

/**
 * Turns parameters into the arguments for `node:sqlite`. Throws a `Failure` that names the first invalid parameter.
 */
export const bind = (operation: string, text: SqlText, params: Params | undefined): Bound => {
  if (text.isNamed) return [named(operation, text, params) as never]
  if (Array.isArray(params)) return positional(operation, text, params)
  return params === undefined && text.placeholders.length === 0 ? none : unordered(operation, text, params)
}

const positional = (operation: string, text: SqlText, params: ReadonlyArray<unknown>): Bound => {
  const { length } = text.placeholders
  if (params.length !== length) throw miscounted(operation, length, params.length)
  const bound: Array<SQLInputValue> = []
  for (let at = 0; at < length; at++) {
    const value = toSqlite(params[at])
    if (value === undefined) throw unbindable(operation, String(at + 1), params[at])
    bound.push(value)
  }
  return bound
}

/** Handles parameters that are no array, for a statement without named placeholders. */
const unordered = (operation: string, text: SqlText, params: unknown): Bound => {
  const { length } = text.placeholders
  if (params === undefined) throw miscounted(operation, length, 0)
  if (!isRecord(params)) throw noParams(operation, params)
  const [name] = Object.keys(params)
  if (length > 0) {
    throw invalidInput(operation, `${operation}: the placeholders have no names: pass an array, not a record`)
  }
  if (name !== undefined) throw unknownName(operation, name, text)
  return none
}

const named = (operation: string, text: SqlText, params: unknown): Record<string, SQLInputValue> => {
  if (text.isPositional) {
    throw invalidInput(operation, `${operation}: the placeholders are a mixture of ? and names: use one kind`)
  }
  if (params === undefined) throw missingName(operation, text.placeholders[0]!, [])
  if (Array.isArray(params)) {
    throw invalidInput(operation, `${operation}: the placeholders have names: pass a record, not an array`)
  }
  if (!isRecord(params)) throw noParams(operation, params)
  const bound: Record<string, SQLInputValue> = {}
  const used = new Set<string>()
  for (const placeholder of text.placeholders) {
    // All placeholders have names here: unnamed ones, also those that `select ?2` leaves out, make `isPositional` true.
    const name = placeholder!
    const key = Object.hasOwn(params, name) ? name : name.slice(1)
    if (!Object.hasOwn(params, key)) throw missingName(operation, name, strangersIn(params, text))
    if (used.has(key)) {
      throw invalidInput(
        operation,
        `${operation}: "${key}" is the name of several placeholders: write it with their prefixes`
      )
    }
    used.add(key)
    const value = toSqlite(params[key])
    if (value === undefined) throw unbindable(operation, name, params[key])
    bound[name] = value
  }
  for (const key of Object.keys(params)) {
    if (!used.has(key)) throw unknownName(operation, key, text)
  }
  return bound
}

const isRecord = (params: unknown): params is Readonly<Record<string, unknown>> =>
  Object.prototype.toString.call(params) === "[object Object]" && !(params instanceof Unbindable)

const maxInteger = 2n ** 63n - 1n
const minInteger = -(2n ** 63n)

/** The value that SQLite stores exactly; `undefined` if it cannot. */
export const toSqlite = (value: unknown): SQLInputValue | undefined => {
  switch (typeof value) {
    case "string":
      return value.isWellFormed() ? value : undefined
    case "number":
      // Only a bigint becomes an INTEGER, and an INTEGER has no -0.
      if (Number.isSafeInteger(value)) return Object.is(value, -0) ? value : BigInt(value)
      return Number.isNaN(value) ? undefined : value
    case "bigint":
      return value >= minInteger && value <= maxInteger ? value : undefined
    case "boolean":
      return value ? 1n : 0n
    case "object":
      if (value === null) return value
      // A buffer that was transferred to another thread looks empty.
      if (ArrayBuffer.isView(value)) {
        return value.byteLength === 0 && isDetached(value.buffer) ? undefined : value as Uint8Array
      }
      // `node:sqlite` would turn an empty `ArrayBuffer` into NULL.
      return value instanceof ArrayBuffer && !value.detached ? new Uint8Array(value) : undefined
    default:
      return undefined
  }
}

const isDetached = (buffer: ArrayBufferLike): boolean => buffer instanceof ArrayBuffer && buffer.detached

const miscounted = (operation: string, placeholders: number, params: number): Failure =>
  invalidInput(
    operation,
    `${operation}: ${counted(placeholders, "placeholder")} and ${counted(params, "parameter")}: ${
      params < placeholders
        ? `there is none for placeholder ${params + 1}`
        : `parameter ${placeholders + 1} has no placeholder`
    }`
  )

const counted = (count: number, what: string): string => `${count} ${what}${count === 1 ? "" : "s"}`

/** The parameters that have no placeholder: one of them may be a misspelt name. */
const strangersIn = (params: Readonly<Record<string, unknown>>, text: SqlText): ReadonlyArray<string> => {
  const names = new Set(text.placeholders.flatMap((name) => [name!, name!.slice(1)]))
  return Object.keys(params).filter((key) => !names.has(key))
}

const missingName = (operation: string, name: string, strangers: ReadonlyArray<string>): Failure =>
  invalidInput(
    operation,
    `${operation}: there is no parameter for the placeholder ${name}${
      strangers.length === 0 ? "" : `, and no placeholder for ${strangers.map((key) => JSON.stringify(key)).join(", ")}`
    }`
  )

const unknownName = (operation: string, name: string, text: SqlText): Failure =>
  invalidInput(
    operation,
    `${operation}: the parameter "${name}" has no placeholder: ${
      text.placeholders.length === 0
        ? "there are no placeholders"
        : `the placeholders are ${text.placeholders.join(", ")}`
    }`
  )

const noParams = (operation: string, params: unknown): Failure =>
  invalidInput(operation, `${operation}: the parameters are ${describe(params)}, but must be an array or a record`)

const unbindable = (operation: string, placeholder: string, value: unknown): Failure =>
  invalidInput(
    operation,
    `${operation}: parameter ${placeholder} is ${describe(value)}, but must be ${storable}`
  )

/** Stands for a value that SQLite cannot store, where the value itself cannot be: in a thread. */
export class Unbindable {
  readonly description: string

  constructor(description: string) {
    this.description = description
  }
}

/** What SQLite stores exactly. */
export const storable = "null, text, a number, a bigint of 64 bits, a boolean or bytes"

/** The text of a value that SQLite cannot store. */
export const describe = (value: unknown): string => {
  switch (typeof value) {
    case "string":
      return value.isWellFormed() ? "text" : "text with half a surrogate pair"
    case "bigint":
      return `the bigint ${value}`
    case "symbol":
    case "function":
      return `a ${typeof value}`
    case "object":
      if (value === null) return "null"
      if (value instanceof Unbindable) return value.description
      return isBytes(value) ? "bytes that were transferred away" : `an object (${nameOf(value)})`
    default:
      return String(value)
  }
}

const isBytes = (value: object): boolean => value instanceof ArrayBuffer || ArrayBuffer.isView(value)

const nameOf = (value: object): string =>
  "constructor" in value && typeof value.constructor === "function"
    ? value.constructor.name
    : "without a prototype"
