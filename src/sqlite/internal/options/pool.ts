/** The options of a SQLite pool: their rules, and the settings made from them. */
import { type Config, Equal, identity, Predicate, Result, Stream } from "effect"
import { callTable } from "../../../internal/options/call.ts"
import { fromEnvironment } from "../../../internal/options/environment.ts"
import { poolTable } from "../../../internal/options/pool.ts"
import { unless } from "../../../internal/options/problems.ts"
import { check, type Checked, problem, type Relation, type Rules, table } from "../../../internal/options/rules.ts"
import type * as PoolConfig from "../../../PoolConfig.ts"
import type { AcquireOptions } from "../../../PoolConfig.ts"
import type { PoolConfigError } from "../../../PoolError.ts"
import type { CheckpointMode } from "../contract/checkpoint.ts"
import type { ObserveOptions } from "../contract/observe.ts"
import type { Options as PoolOptions } from "../contract/poolOptions.ts"
import type { TransactionOptions } from "../contract/transaction.ts"
import * as Settings from "./connection.ts"
import { connectionTable, relationsOfReading } from "./connection.ts"
import { sharedNames } from "./functions.ts"

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

const { acquireTimeout, closeTimeout, drainTimeout, idleTimeout, leakThreshold, maxWaiting, slowStatement } =
  poolTable.rules

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

/** The options of a SQLite pool. */
export const sqlitePoolTable = table(rules, [
  { fields: ["aggregates", "functions"], broken: ({ aggregates, functions }) => sharedNames(functions, aggregates) },
  ...relationsOfReading,
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
    const settings = settingsOf(checked)
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
const temporaryTable = table({ ...ofTemporary, synchronous: { ...synchronous, default: "off" } }, [{
  fields: ["aggregates", "functions"],
  broken: ({ aggregates, functions }) => sharedNames(functions, aggregates)
}])

/** Checks the options of a database whose file is not known yet. */
export const resolveTemporary = (
  options: unknown
): Result.Result<(filename: string) => PoolSettings, PoolConfigError> => {
  const { checked, problems } = check(temporaryTable, options)
  return unless(
    checked.name,
    problems,
    (filename) => settingsOf({ ...checked, filename, readOnly: false, immutable: false })
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

const checkpointTable = table({ mode: { kind: "choice", of: ["passive", "full", "restart", "truncate"] } })

export const resolveCheckpoint = (pool: string, mode: CheckpointMode): Result.Result<CheckpointMode, PoolConfigError> =>
  unless(pool, check(checkpointTable, { mode }).problems, mode)

const observeTable = table({
  ...callTable.rules,
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
}

export const resolveObserve = <A>(
  pool: string,
  options: ObserveOptions<A> | undefined
): Result.Result<Observation<A>, PoolConfigError> => {
  const { checked, problems } = check(observeTable, options === undefined ? {} : options)
  const { label, timeout } = checked
  const distinct = checked.distinct as ObserveOptions<A>["distinct"]
  return unless(pool, problems, {
    acquire: { ...(label === undefined ? undefined : { label }), ...(timeout === undefined ? undefined : { timeout }) },
    isSame: distinct === true ? Equal.equals : distinct === false ? undefined : distinct
  })
}

/** The settings for checked options. */
export const settingsOf = (options: Checked<typeof sqlitePoolTable.rules>): PoolSettings => {
  const { acquireTimeout, closeTimeout, drainTimeout, leakThreshold, maxWaiting, slowStatement } = options
  const { groupCommit, idleTimeout, maxReadAge, name, observeInterval, readers, walLimit } = options
  const connection = Settings.settingsOf({ ...options, journalMode: "wal" }, false)
  const { spanAttributes, transformQueryNames, transformResultNames } = options as ClientSettings
  const tellReactivity = options.tellReactivity as PoolOptions["tellReactivity"]
  return {
    name,
    connection,
    pool: { acquireTimeout, closeTimeout, drainTimeout, leakThreshold, maxWaiting, slowStatement },
    idleTimeout,
    readers,
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
