/**
 * Parameters on their way to a thread. They are copied when the statement is asked for, because it is sent later, and a
 * buffer that is a part of a larger one would be sent with all of that.
 */
import { describe, toSqlite, Unbindable } from "../connection/binding.ts"

/** A parameter that SQLite cannot store. The thread reports it where it would report it in process. */
interface UnbindableData {
  readonly unbindable: string
}

export const encodeParams = (params: unknown): unknown => {
  if (params === undefined) return undefined
  if (Array.isArray(params)) {
    const { length } = params
    const encoded: Array<unknown> = []
    for (let at = 0; at < length; at++) encoded.push(encodeValue(params[at]))
    return encoded
  }
  if (!isRecord(params)) return { unbindable: describe(params) }
  const record: Record<string, unknown> = Object.create(null) as Record<string, unknown>
  for (const key of Object.getOwnPropertyNames(params)) record[key] = encodeValue(params[key])
  return { record, hidden: Object.getOwnPropertyNames(params).filter((key) => !isEnumerable(params, key)) }
}

const isRecord = (params: unknown): params is Readonly<Record<string, unknown>> =>
  Object.prototype.toString.call(params) === "[object Object]"

const isEnumerable = (object: object, key: string): boolean => Object.prototype.propertyIsEnumerable.call(object, key)

const encodeValue = (value: unknown): unknown => {
  if (typeof value === "string" && value.isWellFormed() || typeof value === "number" && !Number.isNaN(value)) {
    return value
  }
  const stored = toSqlite(value)
  if (stored === undefined) return { unbindable: describe(value) } satisfies UnbindableData
  if (!ArrayBuffer.isView(stored)) return value
  const { buffer, byteLength, byteOffset } = stored
  return new Uint8Array(buffer, byteOffset, byteLength).slice()
}

/** The parameters in the thread. */
export const decodeParams = (encoded: unknown): unknown => {
  if (encoded === undefined) return undefined
  if (Array.isArray(encoded)) {
    for (let at = 0; at < encoded.length; at++) encoded[at] = decodeValue(encoded[at])
    return encoded
  }
  const { hidden, record, unbindable } = encoded as {
    readonly hidden?: ReadonlyArray<string>
    readonly record?: Record<string, unknown>
    readonly unbindable?: string
  }
  if (record === undefined) return new Unbindable(unbindable!)
  for (const key of Object.keys(record)) record[key] = decodeValue(record[key])
  for (const key of hidden!) Object.defineProperty(record, key, { enumerable: false })
  return record
}

const decodeValue = (value: unknown): unknown =>
  typeof value === "object" && value !== null && !ArrayBuffer.isView(value)
    ? new Unbindable((value as UnbindableData).unbindable)
    : value
