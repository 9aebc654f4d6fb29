/** The options of a pool: what they mean, what they are if not given, and what they may be. */
import type { Config, Duration } from "effect"
import { fromEnvironment } from "./internal/options/environment.ts"
import { poolTable } from "./internal/options/pool.ts"
import type { Rule } from "./internal/options/rules.ts"

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
  /** The longest such pause, and so how long after an outage it may take to notice its end. Default 2 seconds, floor `connectBackoff`. */
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
  /**
   * Whether the pool shows its metrics (see `PoolMetrics`). Default `true`; switch it off for pools that are made under
   * ever new names, for what they have counted stays.
   */
  readonly metrics?: boolean | undefined
}

/** What one acquire may ask for. */
export interface AcquireOptions {
  /**
   * The deadline of this acquire instead of `acquireTimeout`. Zero: what can be had without waiting, or an error at once,
   * which is the timeout error if the caller could have waited. `Infinity`: none.
   */
  readonly timeout?: Duration.Input | undefined
  /**
   * What this caller is called in `holders`, leak reports and timeout errors. Default: the name of the span it is in
   * when it asks.
   */
  readonly label?: string | undefined
}

/** How idle connections are to be checked. */
export interface CheckOptions {
  /** Connections asked at the same time, at most. Default 1, floor 1. */
  readonly concurrency?: number | undefined
  /** How long each may take to answer. Default: `validateTimeout`. */
  readonly timeout?: Duration.Input | undefined
  /** Whether to open a connection if no other works. Default `true`. */
  readonly connect?: boolean | undefined
}

/** What one shutdown may ask for. */
export interface ShutdownOptions {
  /** How long it waits for leases, instead of `drainTimeout`. Zero: not at all. */
  readonly drainTimeout?: Duration.Input | undefined
}

/**
 * Every option from the configuration, under a prefix: with `PoolConfig.config("DB")`, `DB_MAX=20`,
 * `DB_ACQUIRE_TIMEOUT=5 seconds` (or `5s`), `DB_START=lazy`. What is not set keeps its default. All variables that
 * cannot be are listed in one `ConfigError`; what only contradicts another option, in the `PoolConfigError` of the pool.
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
export const config = (prefix?: string): Config.Config<PoolConfig> =>
  fromEnvironment(
    poolTable satisfies { readonly rules: { readonly [K in keyof Required<PoolConfig>]: Rule } },
    prefix
  )
