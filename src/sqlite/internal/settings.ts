/** The options of a connection after they were checked. */
import { Predicate, Result } from "effect"
import type { SqlError } from "effect/sql/SqlError"
import { resolve as absolute } from "node:path"
import * as PoolConfig from "../../PoolConfig.ts"
import type { ConfigProblem } from "../../PoolError.ts"
import { refused } from "./sqlError.ts"

export interface Settings {
  /** Absolute, or `:memory:`. */
  readonly filename: string
  readonly isMemory: boolean
  readonly isReadOnly: boolean
  /** Why a connection that only reads refuses to write, and what to do instead. Nothing: it was opened like that. */
  readonly refusal?: string | undefined
  /** Nothing: as it is. */
  readonly journalMode: JournalMode | undefined
  readonly synchronous: typeof synchronousModes[number]
  readonly foreignKeys: boolean
  /** In bytes; `Infinity` for none. */
  readonly journalSizeLimit: number
  /** In pages. */
  readonly walAutocheckpoint: number
  /** In KiB. */
  readonly cacheSize: number
  readonly tempStore: typeof tempStores[number]
  /** In bytes; nothing: as it is. */
  readonly pageSize: number | undefined
  /** Nothing: as it is. */
  readonly autoVacuum: typeof autoVacuumModes[number] | undefined
  readonly trustedSchema: boolean
  /** In milliseconds. */
  readonly busyTimeout: number
  readonly statementCacheSize: number
  /** What SQLite is extended by, on every connection that is opened from now on. Nothing: that is not allowed. */
  readonly extensions: Set<string> | undefined
}

/** Not `off`, in which there is no rollback; Node would not let SQLite do it either. */
const journalModes = ["wal", "delete", "truncate", "persist", "memory"] as const
export const synchronousModes = ["off", "normal", "full", "extra"] as const
export const tempStores = ["memory", "file"] as const
export const autoVacuumModes = ["none", "full", "incremental"] as const

type JournalMode = typeof journalModes[number]

/** The names of the options. */
export const fields: ReadonlyArray<string> = [
  "filename",
  "readOnly",
  "journalMode",
  "synchronous",
  "foreignKeys",
  "journalSizeLimit",
  "walAutocheckpoint",
  "cacheSize",
  "tempStore",
  "pageSize",
  "autoVacuum",
  "trustedSchema",
  "busyTimeout",
  "statementCacheSize"
]

/** SQLite keeps these numbers in 32 bits. */
const maxInt = 2 ** 31 - 1

/** Checks the options, all of them, and names what they come to. The file is the one meant now, wherever the process goes. */
export const resolve = (options: object): Result.Result<Settings, SqlError> => {
  const checked = check(options)
  const { settings } = checked
  const problems = [...unknownFields(options, fields), ...checked.problems]
  if (problems.length === 0) return Result.succeed(settings)
  const text = problems.map(({ allowed, field, value }) => `${field} is ${value}, allowed is ${allowed}`).join("; ")
  const name = (options as { readonly filename?: unknown }).filename
  return Result.fail(refused("open", `SQLite database ${show(name)}: ${text}`))
}

/** The options that there are not. */
export const unknownFields = (options: object, known: ReadonlyArray<string>): Array<ConfigProblem> =>
  Object.entries(options).filter(([field]) => !known.includes(field)).map(([field, value]) => ({
    field,
    value: show(value),
    allowed: `one of ${known.join(", ")}`
  }))

/** What the options come to, and what is wrong with them. Options that it does not know are left to the caller. */
export const check = (options: object): { readonly settings: Settings; readonly problems: Array<ConfigProblem> } => {
  const given = options as Readonly<Record<string, unknown>>
  const problems: Array<ConfigProblem> = []
  const refuse = (field: string, allowed: string) => problems.push({ field, value: show(given[field]), allowed })

  const flag = (field: string, standard: boolean): boolean => {
    const value = given[field] ?? standard
    if (Predicate.isBoolean(value)) return value
    refuse(field, "true or false")
    return standard
  }
  const choice = <const A extends string, B extends A | undefined>(
    field: string,
    values: ReadonlyArray<A>,
    standard: B
  ): A | B => {
    const value = given[field] ?? standard
    if (value === undefined || values.includes(value as A)) return value as A
    refuse(field, values.map((value) => `"${value}"`).join(", "))
    return standard
  }
  const count = (field: string, standard: number, floor: number, limit: number): number => {
    const value = given[field] ?? standard
    if (value === Infinity && limit === Infinity) return value
    if (Number.isSafeInteger(value) && (value as number) >= floor && (value as number) <= limit) return value as number
    refuse(
      field,
      `a whole number of at least ${floor}${limit === Infinity ? ", or Infinity" : ` and at most ${limit}`}`
    )
    return standard
  }

  const name = given["filename"]
  const filename = Predicate.isString(name) ? name : ""
  if (filename.trim() === "" || filename.includes("\0")) refuse("filename", "a path or \":memory:\"")
  // SQLite takes options out of such a name, of which some, as a shared cache, break what a pool relies on.
  if (filename.startsWith("file:")) refuse("filename", "a path or \":memory:\", not a URI")
  const isMemory = filename === ":memory:"
  const isReadOnly = flag("readOnly", false)
  if (isMemory && isReadOnly) refuse("readOnly", "false for \":memory:\", which nothing else could fill")
  const { pageSize } = given
  if (pageSize !== undefined && !pageSizes.has(pageSize)) refuse("pageSize", "a power of two from 512 to 65536")
  const timeout = PoolConfig.toMillis(given["busyTimeout"] ?? "5 seconds")
  if (timeout === undefined || timeout < 0) refuse("busyTimeout", "a duration of zero or more, or Infinity")

  const settings: Settings = {
    filename: isMemory ? filename : absolute(filename),
    isMemory,
    isReadOnly,
    journalMode: isMemory
      ? choice("journalMode", ["memory"], undefined)
      : choice("journalMode", journalModes, "wal"),
    synchronous: choice("synchronous", synchronousModes, "normal"),
    foreignKeys: flag("foreignKeys", true),
    journalSizeLimit: count("journalSizeLimit", 64 * 1024 * 1024, 0, Infinity),
    walAutocheckpoint: count("walAutocheckpoint", 1000, 0, maxInt),
    cacheSize: count("cacheSize", 8000, 1, maxInt),
    tempStore: choice("tempStore", tempStores, "memory"),
    pageSize: pageSize as number | undefined,
    autoVacuum: choice("autoVacuum", autoVacuumModes, undefined),
    trustedSchema: flag("trustedSchema", false),
    busyTimeout: timeout ?? 0,
    statementCacheSize: count("statementCacheSize", 200, 0, maxInt),
    extensions: undefined
  }
  return { settings, problems }
}

/** A database as it appears in messages. */
export const nameOf = (settings: Settings): string => `the SQLite database "${settings.filename}"`

const pageSizes: ReadonlySet<unknown> = new Set([512, 1024, 2048, 4096, 8192, 16_384, 32_768, 65_536])

/** A value as it appears in messages. */
export const show = (value: unknown): string => Predicate.isString(value) ? JSON.stringify(value) : String(value)
