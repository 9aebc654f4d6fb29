/** The options of a connection: their rules, and the settings made from them. */
import { Predicate, Result } from "effect"
import type { SqlError } from "effect/sql/SqlError"
import { resolve as absolute } from "node:path"
import { check, type Checked, type Rules, show, table } from "../../../internal/options/rules.ts"
import type * as Contract from "../contract/connectionOptions.ts"
import { toSqlError } from "../errors.ts"
import { invalidInput } from "../failures.ts"
import type { Lasting } from "../sql/lasting.ts"
import { functionRules, type FunctionSettings, type FunctionsModule, functionsOf, sharedNames } from "./functions.ts"

export interface Settings {
  /** Absolute, or `:memory:`. */
  readonly filename: string
  readonly isMemory: boolean
  readonly isReadOnly: boolean
  /** Whether nobody changes the file, so that SQLite needs no locks and no files beside it. Then it is only read. */
  readonly isImmutable: boolean
  /** Why a connection that only reads refuses a write. Not set: it was opened with `readOnly`. */
  readonly refusal?: string | undefined
  /** Not set: the mode of the file is kept. */
  readonly journalMode: Options["journalMode"] | undefined
  readonly synchronous: Options["synchronous"]
  readonly foreignKeys: boolean
  /** In bytes; `Infinity` for no limit. */
  readonly journalSizeLimit: number
  /** In pages. */
  readonly walAutocheckpoint: number
  /** In KiB. */
  readonly cacheSize: number
  readonly tempStore: Options["tempStore"]
  /** In bytes. Not set: the size of the file is kept. */
  readonly pageSize: number | undefined
  /** Not set: the mode of the file is kept. */
  readonly autoVacuum: Options["autoVacuum"]
  readonly trustedSchema: boolean
  /** In milliseconds. */
  readonly busyTimeout: number
  readonly statementCacheSize: number
  /** Extensions that every new connection loads. Not set: extensions are not allowed. */
  readonly extensions: Set<string> | undefined
  /** The lasting changes of statements. Not set: changes are undone when a lease ends. */
  readonly lasting: Lasting | undefined
  /** The SQL functions of the application, on every connection. */
  readonly functions: ReadonlyArray<FunctionSettings> | undefined
  /** Where they are, if they are in a module. */
  readonly functionsFrom?: FunctionsModule | undefined
  /** Runs with each connection before it is lent for the first time. */
  readonly onOpen: OnOpen | undefined
}

export type OnOpen = Exclude<Contract.Options["onOpen"], undefined>

/** SQLite keeps these numbers in 32 bits. */
const maxInt = 2 ** 31 - 1

const rules = {
  filename: {
    kind: "text",
    required: true,
    // A URI can have options of SQLite that break a pool, such as a shared cache.
    accepts: (name) => name.trim() !== "" && !name.includes("\0") && !name.startsWith("file:"),
    mustBe: "a path or \":memory:\", not a URI"
  },
  readOnly: { kind: "flag", default: false },
  immutable: { kind: "flag", default: false },
  // Without `off`, which has no rollback. Node forbids it too.
  journalMode: { kind: "choice", of: ["wal", "delete", "truncate", "persist", "memory"], default: "wal" },
  synchronous: { kind: "choice", of: ["off", "normal", "full", "extra"], default: "normal" },
  foreignKeys: { kind: "flag", default: true },
  journalSizeLimit: { kind: "bytes", default: 64 * 1024 * 1024, floor: 0 },
  walAutocheckpoint: { kind: "count", default: 1000, floor: 0, ceiling: maxInt },
  cacheSize: { kind: "count", default: 8000, floor: 1, ceiling: maxInt },
  tempStore: { kind: "choice", of: ["memory", "file"], default: "memory" },
  pageSize: { kind: "choice", of: [512, 1024, 2048, 4096, 8192, 16_384, 32_768, 65_536] },
  autoVacuum: { kind: "choice", of: ["none", "full", "incremental"] },
  trustedSchema: { kind: "flag", default: false },
  busyTimeout: { kind: "duration", default: "5 seconds", zero: true },
  statementCacheSize: { kind: "count", default: 200, floor: 0, ceiling: maxInt },
  ...functionRules,
  onOpen: { kind: "value", accepts: Predicate.isFunction, mustBe: "a function that returns an effect" }
} as const satisfies Rules

interface Reading {
  readonly filename: string
  readonly readOnly: boolean
  readonly immutable: boolean
}

type ReadingRelation = {
  readonly fields: readonly ["readOnly" | "immutable", "filename" | "immutable"]
  readonly broken: (checked: Reading, other: string, given: ReadonlySet<string>) => string | undefined
}

const notInMemory = "false for \":memory:\", which nothing else could fill"

/** The relations between the options of a database that is only read. */
export const relationsOfReading: ReadonlyArray<ReadingRelation> = [
  {
    fields: ["readOnly", "filename"],
    broken: ({ filename, readOnly }) => readOnly && filename === ":memory:" ? notInMemory : undefined
  },
  {
    fields: ["immutable", "filename"],
    broken: ({ filename, immutable }) => immutable && filename === ":memory:" ? notInMemory : undefined
  },
  {
    fields: ["readOnly", "immutable"],
    broken: ({ immutable, readOnly }, other, given) =>
      immutable && !readOnly && given.has("readOnly") ? `true or left out with ${other}` : undefined
  }
]

/** The options of a connection. */
export const connectionTable = table(rules, [
  ...relationsOfReading,
  {
    fields: ["journalMode", "filename"],
    broken: ({ filename, journalMode }, _, given) =>
      given.has("journalMode") && journalMode !== "memory" && filename === ":memory:"
        ? "\"memory\" for \":memory:\""
        : undefined
  },
  { fields: ["aggregates", "functions"], broken: ({ aggregates, functions }) => sharedNames(functions, aggregates) }
])

type Options = Checked<typeof rules>

/** Checks all options, and returns the settings or an error that lists every problem. */
export const resolve = (options: unknown): Result.Result<Settings, SqlError> => {
  const { checked, given, problems } = check(connectionTable, options)
  if (problems.length === 0) return Result.succeed(settingsOf(checked, given.has("journalMode")))
  const name = given.has("filename") ? ` ${show(checked.filename)}` : ""
  return Result.fail(
    toSqlError(invalidInput("open", `SQLite database${name}: ${problems.map(({ message }) => message).join("; ")}`))
  )
}

/** The path of a file. If the folder of this process is gone: as it was given, and opening says that there is no folder. */
const fromHere = (filename: string): string => {
  try {
    return absolute(filename)
  } catch {
    return filename
  }
}

/** The settings for checked options. The path becomes absolute, so a later change of folder has no effect. */
export const settingsOf = (options: Options, hasJournalMode: boolean): Settings => {
  const { autoVacuum, busyTimeout, cacheSize, foreignKeys, journalSizeLimit, pageSize, statementCacheSize } = options
  const { filename, immutable, journalMode, readOnly, synchronous, tempStore, trustedSchema, walAutocheckpoint } =
    options
  const isMemory = filename === ":memory:"
  return {
    filename: isMemory ? filename : fromHere(filename),
    isMemory,
    isReadOnly: readOnly || immutable,
    isImmutable: immutable,
    journalMode: readOnly || immutable || (isMemory && !hasJournalMode) ? undefined : journalMode,
    synchronous,
    foreignKeys,
    journalSizeLimit,
    walAutocheckpoint,
    cacheSize,
    tempStore,
    pageSize,
    autoVacuum,
    trustedSchema,
    busyTimeout,
    statementCacheSize,
    extensions: undefined,
    lasting: undefined,
    functions: functionsOf(options.functions, options.aggregates),
    onOpen: options.onOpen as OnOpen | undefined
  }
}
