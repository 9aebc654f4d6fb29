/** The options of a simulation: their rules, and the settings made from them. */
import { type Effect, Predicate, type Result } from "effect"
import type { PoolConfig } from "../../PoolConfig.ts"
import type { PoolConfigError } from "../../PoolError.ts"
import { poolTable } from "../options/pool.ts"
import { unless } from "../options/problems.ts"
import { check, type Checked, type Rules, table } from "../options/rules.ts"
import type { ArrivalSettings } from "./arrivals.ts"
import type { Progress } from "./contract.ts"
import { readArrivals, readService, readTimes, type ServiceSettings } from "./loadOptions.ts"
import { Reader } from "./reader.ts"
import type { TimeSettings } from "./times.ts"

/** The options of `run`, checked and complete. */
export interface Settings {
  readonly pool: PoolConfig & { readonly name: string; readonly min: number }
  readonly max: number
  readonly arrivals: ArrivalSettings
  readonly service: ServiceSettings
  readonly connect: TimeSettings
  readonly validate: TimeSettings
  readonly reset: TimeSettings | undefined
  readonly outages: ReadonlyArray<OutageSettings>
  readonly requests: number
  readonly durationMillis: number
  readonly warmUp: number
  readonly seed: number
  readonly onProgress: ((progress: Progress) => Effect.Effect<void>) | undefined
}

export interface OutageSettings {
  readonly fromMillis: number
  readonly toMillis: number
  readonly connect: "refused" | "hangs" | TimeSettings
  readonly drops: boolean
  readonly isTransient: boolean
}

/** The options of `suggest`, checked and complete. */
export interface SuggestSettings {
  readonly run: Settings
  readonly p99WaitMillis: number
  readonly upTo: number
}

const anything = { kind: "value", accepts: () => true, mustBe: "a value" } as const

const runRules = {
  pool: anything,
  arrivals: { ...anything, required: true, mustBe: "arrivals, such as PoolSimulation.poisson(100)" },
  service: { ...anything, required: true, mustBe: "times, such as PoolSimulation.exponential(\"20 millis\")" },
  connect: anything,
  validate: anything,
  reset: anything,
  outages: { kind: "value", accepts: Array.isArray, mustBe: "a list" },
  requests: { kind: "count", floor: 1, finite: true },
  duration: { kind: "duration", finite: true },
  // A `fraction` has a default. This one depends on other options.
  warmUp: {
    kind: "value",
    accepts: (value: unknown) => Predicate.isNumber(value) && value >= 0 && value < 1,
    mustBe: "a number from 0 to below 1"
  },
  seed: { kind: "count", default: 1, floor: 0, finite: true },
  onProgress: { kind: "value", accepts: Predicate.isFunction, mustBe: "a function that returns an Effect" }
} as const satisfies Rules

export const runTable = table(runRules)

export const suggestTable = table({
  ...runRules,
  p99Wait: { kind: "duration", zero: true, finite: true, required: true },
  upTo: { kind: "count", default: 256, floor: 1, ceiling: 10_000 }
})

/** Checks the options of `run`. */
export const resolveRun = (options: unknown): Result.Result<Settings, PoolConfigError> => {
  const { checked, problems } = check(runTable, options)
  const reader = new Reader()
  reader.problems.push(...problems)
  const settings = complete(reader, checked)
  return unless(settings.pool.name, reader.problems, settings)
}

/** Checks the options of `suggest`. */
export const resolveSuggest = (options: unknown): Result.Result<SuggestSettings, PoolConfigError> => {
  const { checked, problems } = check(suggestTable, options)
  const reader = new Reader()
  reader.problems.push(...problems)
  const run = complete(reader, checked)
  if (run.pool.min > checked.upTo && reader.problems.length === 0) {
    reader.refuse("upTo", checked.upTo, `at least pool.min, which is ${run.pool.min}`)
  }
  return unless(run.pool.name, reader.problems, {
    run,
    p99WaitMillis: checked.p99Wait,
    upTo: checked.upTo
  })
}

const complete = (reader: Reader, options: Checked<typeof runRules>): Settings => {
  const pool = reader.read("pool", poolTable, options.pool ?? {})
  const arrivals = readArrivals(reader, "arrivals", options.arrivals)
  const outages = ((options.outages ?? []) as ReadonlyArray<unknown>).map((outage, index) =>
    readOutage(reader, `outages[${index}]`, outage)
  )
  if (pool.connectTimeout === Infinity && outages.some(({ connect }) => connect === "hangs")) {
    reader.refuse("pool.connectTimeout", Infinity, "finite if an outage hangs: a connect attempt would last for ever")
  }
  const isRecorded = arrivals._tag === "Recorded"
  const isLimited = options.duration !== undefined || isRecorded
  return {
    pool: {
      ...(options.pool as PoolConfig | undefined),
      name: pool.name,
      min: pool.min,
      start: "lazy",
      metrics: false
    },
    max: pool.max,
    arrivals,
    service: readService(reader, "service", options.service),
    connect: readTimes(reader, "connect", options.connect ?? 0),
    validate: readTimes(reader, "validate", options.validate ?? 0),
    reset: options.reset === undefined ? undefined : readTimes(reader, "reset", options.reset),
    outages,
    requests: Math.min(
      options.requests ?? (isLimited ? Infinity : 20_000),
      isRecorded ? arrivals.times.length : Infinity
    ),
    durationMillis: options.duration ?? Infinity,
    warmUp: (options.warmUp ?? (outages.length > 0 || isRecorded ? 0 : 0.1)) as number,
    seed: options.seed,
    onProgress: options.onProgress as Settings["onProgress"]
  }
}

const outageTable = table({
  from: { kind: "duration", zero: true, finite: true, required: true },
  to: { kind: "duration", finite: true, required: true },
  connect: anything,
  drops: { kind: "flag" },
  isTransient: { kind: "flag", default: true }
}, [{
  fields: ["to", "from"],
  broken: ({ from, to }, other) => to <= from ? `later than ${other}, which is ${from} ms` : undefined
}])

const readOutage = (reader: Reader, path: string, outage: unknown): OutageSettings => {
  const { connect = "refused", drops, from, isTransient, to } = reader.read(path, outageTable, outage)
  const how = connect === "refused" || connect === "hangs" ? connect : readTimes(reader, `${path}.connect`, connect)
  return { fromMillis: from, toMillis: to, connect: how, drops: drops ?? Predicate.isString(how), isTransient }
}
