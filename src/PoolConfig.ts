/** The options of a pool: what they mean, what they are if not given, and what they may be. */
import { Config, Duration, Option, Predicate, Result } from "effect"
import type { Settings } from "./internal/settings.ts"
import { type ConfigProblem, PoolConfigError } from "./PoolError.ts"

/**
 * Options of a pool, apart from its factory. All have defaults; what contradicts itself is refused with a
 * `PoolConfigError` before anything is opened.
 *
 * Durations are Effect's: `"5 seconds"`, a number of milliseconds, `Duration.minutes(1)`. `"Infinity"` (or `Infinity`
 * for a count) switches a limit off; zero and below are refused, except where the floor says otherwise.
 */
export interface PoolConfig {
  /** What the pool is called in errors, events, logs and metrics. Default `"pool"`. */
  readonly name?: string | undefined
  /** Connections to keep open, opened at the start and again after any failure. Default 0, floor 0. */
  readonly min?: number | undefined
  /** Connections at most, those being opened and closed included. Default 10, floor 1. */
  readonly max?: number | undefined
  /** The deadline of an acquire: queue, connect, validate and reset together. Default 30 seconds. */
  readonly acquireTimeout?: Duration.Input | undefined
  /**
   * Callers in line at most, those whose connection is being opened included; one more is refused at once. Default
   * `Infinity`, floor 1.
   */
  readonly maxWaiting?: number | undefined
  /** The deadline of one attempt to connect, at which its slot is free again. Default 10 seconds. */
  readonly connectTimeout?: Duration.Input | undefined
  /** Attempts to connect that may run at once. Default `Infinity` (which leaves `max`), floor 1. */
  readonly maxConnecting?: number | undefined
  /**
   * The pause after the first failed attempt; it doubles with each further one, and each pause is shortened by a
   * random part of up to a fifth. Default 100 milliseconds.
   */
  readonly connectBackoff?: Duration.Input | undefined
  /** The longest such pause. Default 5 seconds, floor `connectBackoff`. */
  readonly connectBackoffMax?: Duration.Input | undefined
  /** How long a connection beyond `min` may be idle before it is closed. Default 10 minutes. */
  readonly idleTimeout?: Duration.Input | undefined
  /** How long a connection may live; it is never lent past that, and closed when idle or returned. Default 30 minutes. */
  readonly maxLifetime?: Duration.Input | undefined
  /**
   * The part of `maxLifetime` by which a connection's own lifetime is shortened at random, so that connections opened
   * together do not expire together. Default 0.1, floor 0, below 1.
   */
  readonly lifetimeJitter?: number | undefined
  /** Leases after which a connection is closed. Default `Infinity`, floor 1. */
  readonly maxUses?: number | undefined
  /** How often an idle connection is validated to keep it alive. Needs a factory with `validate`. Default `Infinity`. */
  readonly keepalive?: Duration.Input | undefined
  /**
   * A connection idle for longer than this is validated before it is lent. Needs a factory with `validate`. Default 1
   * second, floor 0 (validate before every lease).
   */
  readonly validateAfterIdle?: Duration.Input | undefined
  /** The deadline of `validate`. Default 5 seconds. */
  readonly validateTimeout?: Duration.Input | undefined
  /** The deadline of `reset`. Default 5 seconds. */
  readonly resetTimeout?: Duration.Input | undefined
  /** The deadline of closing one connection, at which the pool gives it up. Default 5 seconds. */
  readonly closeTimeout?: Duration.Input | undefined
  /** How long a shutdown waits for leases before it interrupts those who hold them. Default 10 seconds, floor 0. */
  readonly drainTimeout?: Duration.Input | undefined
  /** A lease held for longer than this is reported as a possible leak. Default 1 minute. */
  readonly leakThreshold?: Duration.Input | undefined
  /**
   * Whether starting the pool waits until `min` connections are open, and fails if that cannot be (`"eager"`), or
   * opens them in the background (`"lazy"`). Default `"eager"`.
   */
  readonly start?: "eager" | "lazy" | undefined
}

type Rule =
  | { readonly kind: "name" }
  | { readonly kind: "start" }
  | { readonly kind: "fraction"; readonly default: number }
  | { readonly kind: "count"; readonly default: number; readonly floor: number; readonly finite?: true }
  | { readonly kind: "duration"; readonly default: Duration.Input; readonly zero?: true }

const rules = {
  name: { kind: "name" },
  min: { kind: "count", default: 0, floor: 0, finite: true },
  max: { kind: "count", default: 10, floor: 1, finite: true },
  acquireTimeout: { kind: "duration", default: "30 seconds" },
  maxWaiting: { kind: "count", default: Infinity, floor: 1 },
  connectTimeout: { kind: "duration", default: "10 seconds" },
  maxConnecting: { kind: "count", default: Infinity, floor: 1 },
  connectBackoff: { kind: "duration", default: "100 millis" },
  connectBackoffMax: { kind: "duration", default: "5 seconds" },
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
  start: { kind: "start" }
} as const satisfies { readonly [K in keyof Required<PoolConfig>]: Rule }

const fields = Object.keys(rules) as ReadonlyArray<keyof PoolConfig>

/**
 * Every option from the configuration, under a prefix: with `PoolConfig.config("DB")`, `DB_MAX=20`,
 * `DB_ACQUIRE_TIMEOUT=5 seconds`, `DB_START=lazy`. What is not set keeps its default; a value that cannot be parsed is a
 * `ConfigError`, one that is not allowed a `PoolConfigError` from the pool.
 *
 * ```ts
 * import { Effect } from "effect"
 * import { ConnectionPool, InMemoryConnection, PoolConfig } from "effect-connection-pool"
 *
 * export const program = Effect.gen(function*() {
 *   const config = yield* PoolConfig.config("DB")
 *   return yield* ConnectionPool.make({ factory: InMemoryConnection.factory(), ...config })
 * })
 * ```
 */
export const config = (prefix?: string): Config.Config<PoolConfig> => {
  const options: Record<string, Config.Config<Option.Option<unknown>>> = {}
  for (const field of fields) {
    options[field] = Config.option(fromEnvironment(rules[field], variable(field)))
  }
  const all = Config.map(Config.all(options), (values) => {
    const given: Record<string, unknown> = {}
    for (const field of fields) {
      const value = values[field]
      if (value !== undefined && Option.isSome(value)) given[field] = value.value
    }
    return given as PoolConfig
  })
  return prefix === undefined ? all : Config.nested(all, prefix)
}

const variable = (field: string): string => field.replaceAll(/[A-Z]/g, (letter) => `_${letter}`).toUpperCase()

const fromEnvironment = (rule: Rule, name: string): Config.Config<unknown> => {
  switch (rule.kind) {
    case "name":
      return Config.String(name)
    case "start":
      return Config.Literals(["eager", "lazy"], name)
    case "duration":
      return Config.Duration(name)
    case "count":
    case "fraction":
      return Config.Number(name)
  }
}

/**
 * Checks the options, all of them, and turns them into the numbers the pool works with.
 *
 * @internal
 */
export const resolve = (
  options: PoolConfig,
  canValidate: boolean
): Result.Result<Settings, PoolConfigError> => {
  const given = options as Readonly<Record<string, unknown>>
  const problems: Array<ConfigProblem> = []
  const refuse = (field: string, allowed: string) => problems.push({ field, value: show(given[field]), allowed })

  for (const field of Object.keys(options)) {
    if (!Object.hasOwn(rules, field)) refuse(field, `one of ${fields.join(", ")}`)
  }
  const name = options.name ?? "pool"
  if (!Predicate.isString(name) || name.trim() === "") refuse("name", "text that is not empty")
  const start = options.start ?? "eager"
  if (start !== "eager" && start !== "lazy") refuse("start", `"eager" or "lazy"`)

  const count = (field: keyof PoolConfig, rule: Rule & { readonly kind: "count" }): number => {
    const value = given[field] ?? rule.default
    const whole = Number.isSafeInteger(value) || (value === Infinity && rule.finite !== true)
    if (whole && (value as number) >= rule.floor) return value as number
    refuse(field, `a whole number of at least ${rule.floor}${rule.finite === true ? "" : ", or Infinity"}`)
    return rule.default
  }
  const millis = (field: keyof PoolConfig, rule: Rule & { readonly kind: "duration" }): number => {
    const value = toMillis(given[field] ?? rule.default)
    if (value !== undefined && (value > 0 || (value === 0 && rule.zero === true))) return value
    refuse(field, rule.zero === true ? "a duration of zero or more" : "a duration above zero, or Infinity")
    return toMillis(rule.default)!
  }
  const fraction = (field: keyof PoolConfig, rule: Rule & { readonly kind: "fraction" }): number => {
    const value = given[field] ?? rule.default
    if (Predicate.isNumber(value) && value >= 0 && value < 1) return value
    refuse(field, "a number from 0 to below 1")
    return rule.default
  }

  const settings: Settings = {
    name: String(name),
    start: start === "lazy" ? "lazy" : "eager",
    min: count("min", rules.min),
    max: count("max", rules.max),
    acquireTimeout: millis("acquireTimeout", rules.acquireTimeout),
    maxWaiting: count("maxWaiting", rules.maxWaiting),
    connectTimeout: millis("connectTimeout", rules.connectTimeout),
    maxConnecting: count("maxConnecting", rules.maxConnecting),
    connectBackoff: millis("connectBackoff", rules.connectBackoff),
    connectBackoffMax: millis("connectBackoffMax", rules.connectBackoffMax),
    idleTimeout: millis("idleTimeout", rules.idleTimeout),
    maxLifetime: millis("maxLifetime", rules.maxLifetime),
    lifetimeJitter: fraction("lifetimeJitter", rules.lifetimeJitter),
    maxUses: count("maxUses", rules.maxUses),
    keepalive: millis("keepalive", rules.keepalive),
    validateAfterIdle: canValidate ? millis("validateAfterIdle", rules.validateAfterIdle) : Infinity,
    validateTimeout: millis("validateTimeout", rules.validateTimeout),
    resetTimeout: millis("resetTimeout", rules.resetTimeout),
    closeTimeout: millis("closeTimeout", rules.closeTimeout),
    drainTimeout: millis("drainTimeout", rules.drainTimeout),
    leakThreshold: millis("leakThreshold", rules.leakThreshold)
  }
  if (problems.length === 0) {
    if (settings.min > settings.max) refuse("min", `at most max, which is ${settings.max}`)
    if (settings.connectBackoffMax < settings.connectBackoff) {
      if (given["connectBackoffMax"] === undefined) settings.connectBackoffMax = settings.connectBackoff
      else refuse("connectBackoffMax", `at least connectBackoff, which is ${settings.connectBackoff} ms`)
    }
    for (const field of ["keepalive", "validateAfterIdle"] as const) {
      if (!canValidate && given[field] !== undefined) refuse(field, "only given with a factory that has validate")
    }
  }
  const [first, ...rest] = problems
  return first === undefined
    ? Result.succeed(settings)
    : Result.fail(new PoolConfigError({ pool: settings.name, problems: [first, ...rest] }))
}

/**
 * Milliseconds, possibly negative, or nothing if this is no duration.
 *
 * @internal
 */
export const toMillis = (input: unknown): number | undefined => {
  if (Number.isNaN(input)) return undefined
  const duration = Duration.fromInput(input as Duration.Input)
  return Option.isSome(duration) ? Duration.toMillis(duration.value) : undefined
}

const show = (value: unknown): string => Predicate.isString(value) ? `"${value}"` : String(value)
