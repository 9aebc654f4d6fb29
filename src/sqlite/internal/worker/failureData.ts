/** Failures as data that a thread can send. An `Error` that is sent as it is loses its codes. */
import { show } from "../../../internal/options/show.ts"
import { Failure, type FailureKind } from "../failures.ts"

/** What was thrown. `value` is set for anything but an `Error`. */
export interface CauseData {
  readonly error?: {
    readonly name: string
    readonly message: string
    readonly stack: string | undefined
    /** `code`, `errcode`, `errstr` and other properties of an error of Node. */
    readonly properties: Readonly<Record<string, string | number | boolean>>
    readonly cause: CauseData | undefined
  }
  readonly value?: unknown
}

/** A failure. Without a kind, it is an error of Node that was thrown while a database was opened. */
export interface FailureData {
  readonly kind: FailureKind | "thrown"
  readonly operation: string
  readonly message: string
  readonly function: string | undefined
  readonly cause: CauseData
}

/** The data of what was thrown on a connection. */
export const encodeFailure = (thrown: unknown, operation: string): FailureData => {
  if (!(thrown instanceof Failure)) {
    return { kind: "thrown", operation, message: "", function: undefined, cause: encodeCause(thrown, 0) }
  }
  const { cause, function: name, kind, message } = thrown
  return { kind, operation: thrown.operation, message, function: name, cause: encodeCause(cause, 0) }
}

/** What was thrown on a connection, made of its data. */
export const decodeFailure = ({ cause, function: name, kind, message, operation }: FailureData): unknown => {
  const thrown = decodeCause(cause)
  return kind === "thrown" ? thrown : new Failure(kind, operation, message, thrown, name)
}

/** The number of causes behind causes that are kept. */
const deepest = 4

/** The data of a cause. A function of the application may throw an object whose properties throw. */
const encodeCause = (thrown: unknown, depth: number): CauseData => {
  try {
    return thrown instanceof Error ? encodeError(thrown, depth) : { value: sendable(thrown) }
  } catch {
    return { value: show(thrown) }
  }
}

const encodeError = (thrown: Error, depth: number): CauseData => {
  const { cause, message, name, stack } = thrown
  const properties: Record<string, string | number | boolean> = {}
  for (const [key, value] of Object.entries(thrown)) {
    if (typeof value === "string" || typeof value === "number" || typeof value === "boolean") properties[key] = value
  }
  return {
    error: {
      name: String(name),
      message: String(message),
      stack: typeof stack === "string" ? stack : undefined,
      properties,
      cause: cause === undefined || depth === deepest ? undefined : encodeCause(cause, depth + 1)
    }
  }
}

/** A value that can be sent: the value, or a text that says what it was. */
const sendable = (value: unknown): unknown => {
  if (typeof value !== "object" && typeof value !== "function" && typeof value !== "symbol") return value
  try {
    return structuredClone(value)
  } catch {
    return show(value)
  }
}

const decodeCause = ({ error, value }: CauseData): unknown => {
  if (error === undefined) return value
  const { cause, message, name, properties, stack } = error
  const Class = classes.get(name) ?? Error
  const made = new Class(message, cause === undefined ? undefined : { cause: decodeCause(cause) })
  if (made.name !== name) Object.defineProperty(made, "name", { value: name, configurable: true, writable: true })
  Object.defineProperty(made, "stack", { value: stack, configurable: true, writable: true })
  return Object.assign(made, properties)
}

const classes: ReadonlyMap<string, ErrorConstructor> = new Map([
  ["TypeError", TypeError],
  ["RangeError", RangeError],
  ["SyntaxError", SyntaxError]
])
