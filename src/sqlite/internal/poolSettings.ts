/** The options of a SQLite pool: from the environment, and after they were checked. */
import { Config, Option, Predicate, Result } from "effect"
import * as PoolConfig from "../../PoolConfig.ts"
import { type ConfigProblem, PoolConfigError } from "../../PoolError.ts"
import * as Settings from "./settings.ts"

export interface PoolSettings {
  readonly name: string
  /** Of the connection that writes; those that read have the same. */
  readonly connection: Settings.Settings
  /** Those that both pools have in common. */
  readonly pool: PoolConfig.PoolConfig
  /** How long a reader beyond the first may be idle, in milliseconds. */
  readonly idleTimeout: number
  /** Readers at most. */
  readonly readers: number
  /** In bytes; `Infinity` for none. */
  readonly walLimit: number
  /** In milliseconds; `Infinity` for none. */
  readonly maxReadAge: number
  /** Whether one connection does everything, as in memory. */
  readonly isOneConnection: boolean
  /** For Effect's client. */
  readonly client: ClientSettings
}

export interface ClientSettings {
  readonly transformResultNames?: ((name: string) => string) | undefined
  readonly transformQueryNames?: ((name: string) => string) | undefined
  readonly spanAttributes?: Readonly<Record<string, unknown>> | undefined
  /** No option here: for those who come from another client. */
  readonly imitatesOneConnection?: boolean | undefined
}

/** Options of `PoolConfig` that are options here as well. */
const shared = [
  "name",
  "acquireTimeout",
  "maxWaiting",
  "idleTimeout",
  "closeTimeout",
  "drainTimeout",
  "leakThreshold"
] as const satisfies ReadonlyArray<keyof PoolConfig.PoolConfig>

/** Those of the connections that are not the pool's own business. */
const ofConnections = Settings.fields.filter((field) => field !== "readOnly" && field !== "journalMode")

const transforms = ["transformResultNames", "transformQueryNames"] as const

const ofClient = [...transforms, "spanAttributes"] as const satisfies ReadonlyArray<keyof ClientSettings>

const fields: ReadonlyArray<string> = [...ofConnections, ...shared, "readers", "walLimit", "maxReadAge", ...ofClient]

/** Less would be checkpointed all the time. */
const leastWalLimit = 1024 * 1024

/** Checks the options, all of them. */
export const resolve = (options: object): Result.Result<PoolSettings, PoolConfigError> => {
  const given = options as Readonly<Record<string, unknown>>
  const { problems: ofConnection, settings: connection } = Settings.check(pick(given, ofConnections))
  const pool: PoolConfig.PoolConfig = pick(given, shared)
  const checked = PoolConfig.resolve(pool, false)
  const problems: Array<ConfigProblem> = [
    ...Settings.unknownFields(options, fields),
    ...ofConnection,
    ...(Result.isFailure(checked) ? checked.failure.problems : [])
  ]
  const refuse = (field: string, allowed: string) =>
    problems.push({ field, value: Settings.show(given[field]), allowed })

  const readers = given["readers"] ?? 4
  if (!Number.isSafeInteger(readers) || (readers as number) < 1) refuse("readers", "a whole number of at least 1")
  const walLimit = given["walLimit"] ?? 64 * 1024 * 1024
  if (walLimit !== Infinity && !(Number.isSafeInteger(walLimit) && (walLimit as number) >= leastWalLimit)) {
    refuse("walLimit", `a whole number of at least ${leastWalLimit}, or Infinity`)
  }
  const maxReadAge = PoolConfig.toMillis(given["maxReadAge"] ?? "5 minutes")
  if (maxReadAge === undefined || maxReadAge <= 0) refuse("maxReadAge", "a duration above zero, or Infinity")

  for (const field of transforms) {
    if (given[field] !== undefined && typeof given[field] !== "function") refuse(field, "a function from name to name")
  }
  const attributes = given["spanAttributes"]
  if (attributes !== undefined && !Predicate.isObject(attributes)) refuse("spanAttributes", "a record")

  const name = typeof given["name"] === "string" && given["name"].trim() !== "" ? given["name"] : "sqlite"
  const [first, ...rest] = problems
  if (first !== undefined || Result.isFailure(checked)) {
    return Result.fail(new PoolConfigError({ pool: name, problems: [first!, ...rest] }))
  }
  const { idleTimeout } = checked.success
  const { idleTimeout: _idle, name: _name, ...common } = pool
  return Result.succeed({
    name,
    connection,
    pool: common,
    idleTimeout,
    readers: readers as number,
    walLimit: walLimit as number,
    maxReadAge: maxReadAge ?? 0,
    isOneConnection: connection.isMemory,
    client: pick(given, ofClient)
  })
}

const pick = (given: Readonly<Record<string, unknown>>, names: ReadonlyArray<string>): Record<string, unknown> =>
  Object.fromEntries(names.filter((name) => given[name] !== undefined).map((name) => [name, given[name]]))

/** Every option from the configuration. What is not set is left out, but there is no database without a file. */
export const config = (prefix: string | undefined): Config.Config<{ readonly filename: string }> => {
  const own: Record<string, Config.Config<Option.Option<unknown>>> = {}
  for (const [field, source] of Object.entries(sources)) {
    own[field] = Config.option(source(variable(field)))
  }
  const ours = Config.map(Config.all(own), (values) => {
    const given: Record<string, unknown> = {}
    for (const [field, value] of Object.entries(values)) if (Option.isSome(value)) given[field] = value.value
    return given
  })
  const parts = Config.all([Config.String("FILENAME"), ours, PoolConfig.config()])
  const all = Config.map(parts, ([filename, given, pool]) => ({
    filename,
    ...given,
    ...pick(pool as Record<string, unknown>, shared)
  }))
  return prefix === undefined ? all : Config.nested(all, prefix)
}

/** As `PoolConfig` names its own. */
const variable = (field: string): string => field.replaceAll(/[A-Z]/g, (letter) => `_${letter}`).toUpperCase()

/** How the options that `PoolConfig` does not know are read. */
const sources: Readonly<Record<string, (name: string) => Config.Config<unknown>>> = {
  synchronous: (name) => Config.Literals(Settings.synchronousModes, name),
  foreignKeys: Config.Boolean,
  journalSizeLimit: Config.Number,
  walAutocheckpoint: Config.Number,
  cacheSize: Config.Number,
  tempStore: (name) => Config.Literals(Settings.tempStores, name),
  pageSize: Config.Number,
  autoVacuum: (name) => Config.Literals(Settings.autoVacuumModes, name),
  trustedSchema: Config.Boolean,
  busyTimeout: Config.Duration,
  statementCacheSize: Config.Number,
  readers: Config.Number,
  walLimit: Config.Number,
  maxReadAge: Config.Duration
}
