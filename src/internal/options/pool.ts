/** The options of a pool and of its functions: their rules, and the settings made from them. */
import { Effect, Predicate, type Result } from "effect"
import type { ConnectionFactory } from "../../ConnectionFactory.ts"
import type { ConfigProblem, PoolConfigError } from "../../PoolError.ts"
import { unless } from "./problems.ts"
import { check, problem, table } from "./rules.ts"
import type { RoundSettings, Settings } from "./settings.ts"

export const poolTable = table({
  name: { kind: "text", default: "pool" },
  min: { kind: "count", default: 0, floor: 0, finite: true },
  max: { kind: "count", default: 10, floor: 1, finite: true },
  maxAbandoned: { kind: "count", default: 1, floor: 0, finite: true },
  acquireTimeout: { kind: "duration", default: "30 seconds" },
  maxWaiting: { kind: "count", default: Infinity, floor: 1 },
  connectTimeout: { kind: "duration", default: "10 seconds" },
  maxConnecting: { kind: "count", default: Infinity, floor: 1 },
  connectBackoff: { kind: "duration", default: "100 millis", finite: true },
  connectBackoffMax: { kind: "duration", default: "2 seconds", finite: true },
  idleTimeout: { kind: "duration", default: "10 minutes" },
  maxLifetime: { kind: "duration", default: "30 minutes" },
  lifetimeJitter: { kind: "fraction", default: 0.1 },
  maxUses: { kind: "count", default: Infinity, floor: 1 },
  keepalive: { kind: "duration", default: "Infinity" },
  validateAfterIdle: { kind: "duration", default: "1 second", zero: true },
  validateTimeout: { kind: "duration", default: "5 seconds" },
  resetTimeout: { kind: "duration", default: "5 seconds" },
  closeTimeout: { kind: "duration", default: "5 seconds" },
  drainTimeout: { kind: "duration", default: "10 seconds", zero: true },
  leakThreshold: { kind: "duration", default: "1 minute" },
  slowStatement: { kind: "duration", default: "Infinity", zero: true },
  start: { kind: "choice", of: ["eager", "lazy"], default: "eager" },
  metrics: { kind: "flag", default: true }
}, [
  {
    fields: ["min", "max"],
    broken: ({ max, min }, other) => min > max ? `at most ${other}, which is ${max}` : undefined
  },
  {
    fields: ["connectBackoffMax", "connectBackoff"],
    // If `connectBackoffMax` is not given, it grows with `connectBackoff`.
    broken: ({ connectBackoff, connectBackoffMax }, other, given) =>
      connectBackoffMax < connectBackoff && given.has("connectBackoffMax")
        ? `at least ${other}, which is ${connectBackoff} ms`
        : undefined
  }
])

const canValidate = (factory: unknown): boolean => (factory as { readonly validate?: unknown }).validate !== undefined

const withValidate = (field: "keepalive" | "validateAfterIdle") => ({
  fields: [field, "factory"] as const,
  broken: ({ factory }: { readonly factory: unknown }, _: string, given: ReadonlySet<string>) =>
    given.has(field) && !canValidate(factory) ? "left out: the factory has no validate" : undefined
})

/** The options of `make`: the options of a pool, and its factory. */
const madeOf = table({
  ...poolTable.rules,
  factory: {
    kind: "value",
    accepts: (factory: unknown) => Effect.isEffect((factory as { readonly connect: unknown }).connect),
    mustBe: "a ConnectionFactory, whose connect is an effect",
    required: true
  }
}, [...poolTable.relations, withValidate("keepalive"), withValidate("validateAfterIdle")])

/** The functions that a factory may have. */
const functionsOfFactory = [
  "isAlive",
  "validate",
  "reset",
  "needsReset",
  "isInTransaction",
  "beginLease",
  "endLease",
  "unfinished",
  "judge",
  "isTransient"
] satisfies ReadonlyArray<Exclude<keyof ConnectionFactory<unknown>, "connect">>

/** The problems of the parts of a factory that are given and are no functions. */
const problemsOfFactory = (factory: unknown): ReadonlyArray<ConfigProblem> => {
  if (!Predicate.isObject(factory)) return []
  const parts = factory as Partial<ConnectionFactory<unknown>>
  return functionsOfFactory.flatMap((part) => {
    const given: unknown = parts[part]
    return given === undefined || Predicate.isFunction(given) ? [] : [problem(`factory.${part}`, given, "a function")]
  })
}

/** Checks the options of `make`, and turns them into settings. */
export const resolve = (options: unknown): Result.Result<Settings, PoolConfigError> => {
  const { checked, problems } = check(madeOf, options)
  problems.push(...problemsOfFactory(checked.factory))
  const { lifetimeJitter, max, maxAbandoned, maxConnecting, maxUses, maxWaiting, metrics, min, name, start } = checked
  return unless(name, problems, {
    name,
    start,
    metrics,
    min,
    max,
    maxAbandoned,
    maxWaiting,
    maxConnecting,
    maxUses,
    lifetimeJitter,
    acquireTimeoutMillis: checked.acquireTimeout,
    connectTimeoutMillis: checked.connectTimeout,
    connectBackoffMillis: checked.connectBackoff,
    idleTimeoutMillis: checked.idleTimeout,
    maxLifetimeMillis: checked.maxLifetime,
    keepaliveMillis: checked.keepalive,
    validateTimeoutMillis: checked.validateTimeout,
    resetTimeoutMillis: checked.resetTimeout,
    closeTimeoutMillis: checked.closeTimeout,
    drainTimeoutMillis: checked.drainTimeout,
    leakThresholdMillis: checked.leakThreshold,
    slowStatementMillis: checked.slowStatement,
    connectBackoffMaxMillis: Math.max(checked.connectBackoff, checked.connectBackoffMax),
    validateAfterIdleMillis: problems.length > 0 || canValidate(checked.factory) ? checked.validateAfterIdle : Infinity
  })
}

/** Checks new bounds for a pool. A bound that is not given stays as it is. */
export const resolveBounds = (
  pool: string,
  now: { readonly min: number; readonly max: number },
  bounds: unknown
): Result.Result<{ readonly min: number; readonly max: number }, PoolConfigError> => {
  const { max, min } = poolTable.rules
  const { checked, problems } = check(
    table({ min: { ...min, default: now.min }, max: { ...max, default: now.max } }, [{
      fields: ["min", "max"],
      broken: ({ max, min }, other) => min > max ? `at most ${other}, which is ${max}` : undefined
    }]),
    bounds
  )
  return unless(pool, problems, checked)
}

const checkTable = table({
  concurrency: { kind: "count", default: 1, floor: 1, finite: true },
  timeout: { kind: "duration" },
  connect: { kind: "flag", default: true }
})

/** Checks the options of a round. */
export const resolveCheck = (pool: string, options: unknown): Result.Result<RoundSettings, PoolConfigError> => {
  const { checked: { concurrency, connect, timeout }, problems } = check(checkTable, options)
  return unless(pool, problems, { concurrency, timeoutMillis: timeout, mayConnect: connect })
}

const shutdownTable = table({ drainTimeout: { kind: "duration", zero: true } })

/** Checks the options of a shutdown. Returns `drainTimeout` in milliseconds, if it is given. */
export const resolveShutdown = (pool: string, options: unknown): Result.Result<number | undefined, PoolConfigError> => {
  const { checked, problems } = check(shutdownTable, options)
  return unless(pool, problems, checked.drainTimeout)
}
