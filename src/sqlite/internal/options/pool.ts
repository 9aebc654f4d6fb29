/** The options of a SQLite pool: their rules, and the settings made from them. */
import { type Config, Equal, identity, Predicate, Result, Stream } from "effect"
import { callTable } from "../../../internal/options/call.ts"
import { fromEnvironment } from "../../../internal/options/environment.ts"
import { poolTable } from "../../../internal/options/pool.ts"
import { unless } from "../../../internal/options/problems.ts"
import { check, type Checked, problem, type Relation, type Rules, table } from "../../../internal/options/rules.ts"
import type * as PoolConfig from "../../../PoolConfig.ts"
import type { AcquireOptions } from "../../../PoolConfig.ts"
import { PoolConfigError } from "../../../PoolError.ts"
import type { CheckpointMode } from "../contract/checkpoint.ts"
import type { Execution } from "../contract/execution.ts"
import type { ObserveOptions } from "../contract/observe.ts"
import type { Options as PoolOptions } from "../contract/poolOptions.ts"
import type { TransactionOptions } from "../contract/transaction.ts"
import * as Settings from "./connection.ts"
import { connectionTable, relationsOfReading } from "./connection.ts"
import { functionsModuleRule, sharedNames } from "./functions.ts"

export interface PoolSettings {
  readonly name: string
  /** The settings of the writer and of the readers. */
  readonly connection: Settings.Settings
  /** The options that both pools share. */
  readonly pool: PoolConfig.PoolConfig
  /** How long a reader may be idle, in milliseconds. */
  readonly idleTimeout: number
  /** The maximum number of readers. */
  readonly readers: number
  /** The maximum number of readers in threads. 0: there are none. */
  readonly workers: number
  /** The maximum number of abandoned readers in threads that are replaced. */
  readonly maxAbandoned: number
  /** Where statements run that only read. */
  readonly execution: Execution | "auto"
  /** How long a statement may run in a thread, in milliseconds; `Infinity` for no limit. */
  readonly statementTimeout: number
  /** The address of the module with the SQL functions. Not set: they are in no module. */
  readonly functionsModule: string | undefined
  /** Where the connection that writes is. */
  readonly writerExecution: Execution
  /** In bytes; `Infinity` for no limit. */
  readonly walLimit: number
  /** In milliseconds; `Infinity` for no limit. */
  readonly maxReadAge: number
  /** Whether one connection does everything, as for a database in memory. */
  readonly isOneConnection: boolean
  /** Whether those who write at the same time are committed together. */
  readonly groupCommit: boolean
  /** How often others are asked whether they have committed, in milliseconds, while somebody observes. */
  readonly observeInterval: number
  /** The keys of tables in Effect's `Reactivity`. Not set: it is not told of commits. */
  readonly tellReactivity: ((table: string) => unknown) | undefined
  /** The settings of Effect's client. */
  readonly client: ClientSettings
}

export interface ClientSettings {
  readonly transformResultNames?: ((name: string) => string) | undefined
  readonly transformQueryNames?: ((name: string) => string) | undefined
  readonly spanAttributes?: Readonly<Record<string, unknown>> | undefined
}

const { journalMode: _journalMode, ...ofConnections } = connectionTable.rules

const {
  acquireTimeout,
  closeTimeout,
  drainTimeout,
  idleTimeout,
  leakThreshold,
  maxAbandoned,
  maxWaiting,
  slowStatement
} = poolTable.rules

const isFunction = { kind: "value", accepts: Predicate.isFunction, mustBe: "a function from name to name" } as const

/** Whether a value is a plain record: no date, map or error. */
const isRecord = (value: unknown): boolean => Object.prototype.toString.call(value) === "[object Object]"

/** The options of a SQLite pool. */
const rules = {
  ...ofConnections,
  name: { kind: "text", default: "sqlite" },
  acquireTimeout,
  maxWaiting,
  idleTimeout,
  closeTimeout,
  drainTimeout,
  leakThreshold,
  slowStatement,
  readers: { kind: "count", default: 4, floor: 1, finite: true },
  workers: { kind: "count", default: 0, floor: 0, finite: true },
  maxAbandoned,
  execution: { kind: "choice", of: ["in-process", "worker", "auto"], default: "in-process" },
  statementTimeout: { kind: "duration", default: "Infinity" },
  functionsModule: functionsModuleRule,
  // With a lower limit, there would be a checkpoint all the time.
  walLimit: { kind: "bytes", default: 64 * 1024 * 1024, floor: 1024 * 1024 },
  maxReadAge: { kind: "duration", default: "5 minutes" },
  groupCommit: { kind: "flag", default: true },
  observeInterval: { kind: "duration", default: "100 millis" },
  tellReactivity: {
    kind: "value",
    accepts: (given) => typeof given === "boolean" || typeof given === "function",
    mustBe: "true, false, or a function from the name of a table to a key"
  },
  transformResultNames: isFunction,
  transformQueryNames: isFunction,
  spanAttributes: { kind: "value", accepts: isRecord, mustBe: "a record" }
} as const satisfies Rules

/** The options about writes. A database that is only read refuses them, because none of them could have an effect. */
const aboutWrites = [
  "synchronous",
  "foreignKeys",
  "journalSizeLimit",
  "walAutocheckpoint",
  "pageSize",
  "autoVacuum",
  "walLimit",
  "groupCommit"
] as const

type WithWorkers = Checked<Pick<typeof rules, "workers" | "execution">>

/** The number of workers. If statements run there, there are two, unless the application says how many. */
export const workersOf = ({ execution, workers }: WithWorkers, given: ReadonlySet<string>): number =>
  execution === "in-process" || given.has("workers") ? workers : 2

type WorkersRelation = {
  readonly fields: readonly ["workers" | "functions" | "aggregates", "execution" | "workers" | "functionsModule"]
  readonly broken: (checked: WithWorkers, other: string, given: ReadonlySet<string>) => string | undefined
}

/** The relations between the options about workers, and to those whose values cannot be sent to a thread. */
export const relationsOfWorkers: ReadonlyArray<WorkersRelation> = [
  {
    fields: ["workers", "execution"],
    broken: ({ execution, workers }, other, given) =>
      execution !== "in-process" && given.has("workers") && workers === 0
        ? `at least 1 with ${other} ${JSON.stringify(execution)}`
        : undefined
  },
  ...(["functions", "aggregates"] as const).flatMap((field): ReadonlyArray<WorkersRelation> => [
    {
      fields: [field, "functionsModule"],
      broken: (_, other, given) => given.has(field) && given.has(other) ? `left out with ${other}` : undefined
    },
    {
      fields: [field, "workers"],
      broken: (checked, other, given) =>
        given.has(field) && workersOf(checked, given) > 0
          ? `left out with ${
            given.has(other) ? other : "execution"
          }: a function cannot be sent to a thread, but a module ` +
            "with functions can be loaded there: give functionsModule"
          : undefined
    }
  ])
]

const whyInMemory = "which no other thread can read"

/** The relations between the options about workers and a database in memory. */
const relationsOfMemory: ReadonlyArray<Relation<typeof rules>> = [
  {
    fields: ["workers", "filename"],
    broken: ({ filename, workers }) =>
      filename === ":memory:" && workers > 0 ? `0 for ":memory:", ${whyInMemory}` : undefined
  },
  {
    fields: ["execution", "filename"],
    broken: ({ execution, filename }) =>
      filename === ":memory:" && execution !== "in-process" ? `"in-process" for ":memory:", ${whyInMemory}` : undefined
  }
]

/** The options of a SQLite pool. */
export const sqlitePoolTable = table(rules, [
  { fields: ["aggregates", "functions"], broken: ({ aggregates, functions }) => sharedNames(functions, aggregates) },
  ...relationsOfReading,
  ...relationsOfWorkers,
  ...relationsOfMemory,
  ...aboutWrites.map((field): Relation<typeof rules> => ({
    fields: [field, "readOnly"],
    broken: ({ immutable, readOnly }, other, given) =>
      (readOnly || immutable) && given.has(field)
        ? `left out with ${readOnly ? other : "immutable"}: nothing is written`
        : undefined
  }))
])

/** Checks all options. */
export const resolve = (options: unknown): Result.Result<PoolSettings, PoolConfigError> => {
  const { checked, given, problems } = check(sqlitePoolTable, options)
  return Result.map(unless(checked.name, problems, checked), (checked) => {
    const settings = settingsOf({ ...checked, workers: workersOf(checked, given) })
    if (!settings.connection.isReadOnly) return settings
    return {
      ...settings,
      // A database that is only read cannot cut its log back.
      walLimit: Infinity,
      // No log grows while a state is pinned of a file that does not change.
      maxReadAge: checked.immutable && !given.has("maxReadAge") ? Infinity : settings.maxReadAge
    }
  })
}

const { filename: _filename, immutable: _immutable, readOnly: _readOnly, synchronous, ...ofTemporary } = rules

// A temporary database does not have to survive a crash, so it does not wait for the disk.
const temporaryTable = table({ ...ofTemporary, synchronous: { ...synchronous, default: "off" } }, [
  { fields: ["aggregates", "functions"], broken: ({ aggregates, functions }) => sharedNames(functions, aggregates) },
  ...relationsOfWorkers
])

/** Checks the options of a database whose file is not known yet. */
export const resolveTemporary = (
  options: unknown
): Result.Result<(filename: string) => PoolSettings, PoolConfigError> => {
  const { checked, given, problems } = check(temporaryTable, options)
  const workers = workersOf(checked, given)
  return unless(
    checked.name,
    problems,
    (filename) => settingsOf({ ...checked, workers, filename, readOnly: false, immutable: false })
  )
}

/** SQLite counts pages in 32 bits. */
const maxPages = 2 ** 31 - 1

const backupTable = table({ pagesPerStep: { kind: "count", default: 1000, floor: 1, finite: true } })

/** Checks the options of a backup. Returns the number of pages that it copies in one step. */
export const resolveBackup = (pool: string, options: unknown): Result.Result<number, PoolConfigError> => {
  const { checked, problems } = check(backupTable, options === undefined ? {} : options)
  return unless(pool, problems, Math.min(checked.pagesPerStep, maxPages))
}

const batchTable = table({
  ...callTable.rules,
  commitEvery: { kind: "count", default: Infinity, floor: 1 },
  cacheSize: { kind: "count", floor: 1, ceiling: 2 ** 31 - 1 },
  foreignKeys: { kind: "choice", of: ["deferred"] }
})

/** The settings of one batch. */
export interface Batch {
  readonly commitEvery: number
  /** In KiB; not set for the default. */
  readonly cacheSize: number | undefined
  /** The options of its transactions. */
  readonly transaction: Pick<TransactionOptions, "timeout" | "label" | "foreignKeys">
}

/** Checks the options of a batch, and its rows. `isInside` says that it is part of a transaction. */
export const resolveBatch = (
  pool: string,
  options: unknown,
  rows: unknown,
  isInside: boolean
): Result.Result<Batch, PoolConfigError> => {
  const { checked, given, problems } = check(batchTable, options === undefined ? {} : options)
  const { cacheSize, commitEvery, foreignKeys, label, timeout } = checked
  if (isInside && given.has("commitEvery") && commitEvery !== Infinity) {
    problems.push(problem("commitEvery", commitEvery, "left out inside a transaction, which commits all or nothing"))
  }
  if (!isRows(rows)) {
    problems.push(problem("rows", rows, "an iterable or a Stream (`Stream.fromAsyncIterable` makes one)"))
  }
  return unless(pool, problems, {
    commitEvery,
    cacheSize,
    transaction: {
      ...(label === undefined ? undefined : { label }),
      ...(timeout === undefined ? undefined : { timeout }),
      ...(foreignKeys === undefined ? undefined : { foreignKeys: "deferred" })
    }
  })
}

const isRows = (rows: unknown): boolean =>
  Stream.isStream(rows) || Predicate.hasProperty(rows, Symbol.iterator) && !Predicate.isString(rows)

const readTable = table({
  ...callTable.rules,
  execution: { kind: "choice", of: ["in-process", "worker"] }
})

/** The settings of one read. */
export interface Read {
  /** The options of its acquire. */
  readonly acquire: AcquireOptions | undefined
  /** Not set: as the region or the database says. */
  readonly execution: Execution | undefined
}

/** Checks the options of a read. What its pool checks too is left to that. */
export const resolveRead = (pool: string, options: unknown): Result.Result<Read, PoolConfigError> => {
  if (options === undefined) return noOptions
  const { checked: { execution, label, timeout }, problems } = check(readTable, options)
  const acquire = {
    ...(label === undefined ? undefined : { label }),
    ...(timeout === undefined ? undefined : { timeout })
  }
  return unless(pool, problems, { acquire, execution })
}

const noOptions = Result.succeed<Read>({ acquire: undefined, execution: undefined })

/** The error of a read that has to run on a worker, where there is none. */
export const withoutWorkers = (pool: string, message: string): PoolConfigError =>
  new PoolConfigError({ pool, problems: [{ field: "execution", value: "\"worker\"", message }] })

const checkpointTable = table({ mode: { kind: "choice", of: ["passive", "full", "restart", "truncate"] } })

export const resolveCheckpoint = (pool: string, mode: CheckpointMode): Result.Result<CheckpointMode, PoolConfigError> =>
  unless(pool, check(checkpointTable, { mode }).problems, mode)

const observeTable = table({
  ...readTable.rules,
  distinct: {
    kind: "value",
    accepts: (given) => typeof given === "boolean" || typeof given === "function",
    mustBe: "true, false, or a function that compares two results"
  }
})

/** The settings of one observation. */
export interface Observation<A> {
  /** The options of each acquire. */
  readonly acquire: AcquireOptions
  /** Whether a result equals the one before. Not set: every result counts. */
  readonly isSame: ((a: A, b: A) => boolean) | undefined
  /** Not set: as the region or the database says. */
  readonly execution: Execution | undefined
}

export const resolveObserve = <A>(
  pool: string,
  options: ObserveOptions<A> | undefined
): Result.Result<Observation<A>, PoolConfigError> => {
  const { checked, problems } = check(observeTable, options === undefined ? {} : options)
  const { execution, label, timeout } = checked
  const distinct = checked.distinct as ObserveOptions<A>["distinct"]
  return unless(pool, problems, {
    acquire: { ...(label === undefined ? undefined : { label }), ...(timeout === undefined ? undefined : { timeout }) },
    isSame: distinct === true ? Equal.equals : distinct === false ? undefined : distinct,
    execution
  })
}

/** The settings for checked options. */
export const settingsOf = (options: Checked<typeof sqlitePoolTable.rules>): PoolSettings => {
  const { acquireTimeout, closeTimeout, drainTimeout, leakThreshold, maxWaiting, slowStatement } = options
  const { execution, groupCommit, idleTimeout, maxAbandoned, maxReadAge, name, observeInterval, readers } = options
  const { statementTimeout, walLimit, workers } = options
  const connection = Settings.settingsOf({ ...options, journalMode: "wal" }, false)
  const { spanAttributes, transformQueryNames, transformResultNames } = options as ClientSettings
  const tellReactivity = options.tellReactivity as PoolOptions["tellReactivity"]
  return {
    name,
    connection,
    pool: { acquireTimeout, closeTimeout, drainTimeout, leakThreshold, maxWaiting, slowStatement },
    idleTimeout,
    readers,
    workers,
    maxAbandoned,
    execution,
    statementTimeout,
    functionsModule: options.functionsModule as string | undefined,
    writerExecution: "in-process",
    walLimit,
    maxReadAge,
    isOneConnection: connection.isMemory,
    groupCommit,
    observeInterval,
    tellReactivity: typeof tellReactivity === "function"
      ? tellReactivity
      : tellReactivity === true
      ? identity
      : undefined,
    client: { spanAttributes, transformQueryNames, transformResultNames }
  }
}

/** Reads all options from the configuration. Variables that are not set are left out, but `FILENAME` is required. */
export const config = (prefix: string | undefined): Config.Config<{ readonly filename: string }> =>
  fromEnvironment(sqlitePoolTable, prefix) as Config.Config<{ readonly filename: string }>
