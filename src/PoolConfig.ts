/** The options of a pool: their meaning, their defaults, and their limits. */
import type { Config, Duration } from "effect"
import { fromEnvironment } from "./internal/options/environment.ts"
import { poolTable } from "./internal/options/pool.ts"
import type { Rule } from "./internal/options/rules.ts"

/**
 * The options of a pool, without its factory. All have defaults. Invalid options are refused with a `PoolConfigError`
 * before anything is opened.
 *
 * Durations are Effect's: `"5 seconds"`, a number of milliseconds, `Duration.minutes(1)`. `"Infinity"` (or `Infinity`
 * for a count) turns a limit off. Zero and negative values are refused, unless the floor says otherwise.
 */
export interface PoolConfig {
  /** The name of the pool in errors, events, logs and metrics. Default `"pool"`. */
  readonly name?: string | undefined
  /**
   * The number of connections that are kept open. They are opened at the start, and again after a failure. Default 0,
   * floor 0.
   */
  readonly min?: number | undefined
  /**
   * The maximum number of connections. Connections that are being opened or closed count too, and abandoned ones. Default
   * 10, floor 1.
   */
  readonly max?: number | undefined
  /**
   * How many abandoned connections may be replaced, so that there are at most `max` and so many connections. A connection
   * is abandoned when its lease has ended and something of it still runs, such as a statement that was interrupted and
   * cannot be stopped. Only drivers that say so have such connections (`ConnectionFactory.unfinished`). Beyond this number,
   * callers wait until it ends. 0: abandoned connections are never replaced. Default 1, floor 0.
   */
  readonly maxAbandoned?: number | undefined
  /** The deadline of an acquire. It covers queue, connect, validate and reset together. Default 30 seconds. */
  readonly acquireTimeout?: Duration.Input | undefined
  /**
   * The maximum number of callers in line. Callers whose connection is being opened count too. One more caller is
   * refused at once. Default `Infinity`, floor 1.
   */
  readonly maxWaiting?: number | undefined
  /** The deadline of one connect attempt. After it, the attempt no longer counts against `max`. Default 10 seconds. */
  readonly connectTimeout?: Duration.Input | undefined
  /**
   * The maximum number of connect attempts that run at the same time. Default `Infinity` (so `max` is the limit), floor
   * 1.
   */
  readonly maxConnecting?: number | undefined
  /**
   * The backoff after the first failed connect attempt. It doubles with each further failure. Each backoff is shortened
   * by a random part of up to a fifth. Default 100 milliseconds.
   */
  readonly connectBackoff?: Duration.Input | undefined
  /**
   * The longest backoff, and so the longest time until the end of an outage is noticed. Default 2 seconds, floor
   * `connectBackoff`.
   */
  readonly connectBackoffMax?: Duration.Input | undefined
  /** How long a connection beyond `min` may be idle before it is closed. Default 10 minutes. */
  readonly idleTimeout?: Duration.Input | undefined
  /** How long a connection may live. After that it is not lent, and is closed when it is idle. Default 30 minutes. */
  readonly maxLifetime?: Duration.Input | undefined
  /**
   * The largest part of `maxLifetime` by which the lifetime of a connection is shortened at random, so that connections
   * that were opened together do not expire together. Default 0.1, floor 0, below 1.
   */
  readonly lifetimeJitter?: number | undefined
  /** The number of leases after which a connection is closed. Default `Infinity`, floor 1. */
  readonly maxUses?: number | undefined
  /**
   * How often an idle connection is validated to keep it alive. Needs a factory with `validate`. Default `Infinity`.
   */
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
  /** The deadline of closing one connection. After it, the pool gives the connection up. Default 5 seconds. */
  readonly closeTimeout?: Duration.Input | undefined
  /**
   * How long a shutdown waits for leases before it interrupts their holders, and for abandoned connections. Default 10
   * seconds, floor 0.
   */
  readonly drainTimeout?: Duration.Input | undefined
  /** A lease held for longer than this is reported as a possible leak. Default 1 minute. */
  readonly leakThreshold?: Duration.Input | undefined
  /**
   * A statement that takes this long, or longer, is slow: it is a `StatementSlow` event, a warning in the log, and part of
   * `slowStatements`. Zero: every statement is. Only the text of a statement is kept, never its parameters. It needs a
   * driver that reports its statements: those of this library do, and `SqlClientFactory` for any client. Default
   * `Infinity`: statements are not measured, and there is no list.
   */
  readonly slowStatement?: Duration.Input | undefined
  /**
   * How the pool starts. `"eager"`: it waits until `min` connections are open, and fails if they cannot be opened.
   * `"lazy"`: it opens them in the background. Default `"eager"`.
   */
  readonly start?: "eager" | "lazy" | undefined
  /**
   * Whether the pool has metrics (see `PoolMetrics`). Turn them off for pools with ever new names, because their counts
   * stay in memory. Default `true`.
   */
  readonly metrics?: boolean | undefined
}

/** The options of one acquire. */
export interface AcquireOptions {
  /**
   * The deadline of this acquire, instead of `acquireTimeout`. Zero: the caller does not wait, and fails at once if no
   * connection is free. `Infinity`: no deadline. Default: `acquireTimeout`.
   */
  readonly timeout?: Duration.Input | undefined
  /**
   * The name of this caller in `holders`, leak reports and timeout errors. Default: the name of the span in which it
   * asks.
   */
  readonly label?: string | undefined
}

/** The options of one check. */
export interface CheckOptions {
  /** The maximum number of connections that are validated at the same time. Default 1, floor 1. */
  readonly concurrency?: number | undefined
  /** How long each validation may take. Default: `validateTimeout`. */
  readonly timeout?: Duration.Input | undefined
  /** Whether to open a connection if no idle connection works. Default `true`. */
  readonly connect?: boolean | undefined
}

/** The options of one shutdown. */
export interface ShutdownOptions {
  /** How long it waits for leases. Zero: it does not wait. Default: `drainTimeout` of the pool. */
  readonly drainTimeout?: Duration.Input | undefined
}

/**
 * Reads all options from the configuration, under a prefix. With `PoolConfig.config("DB")` the variables are
 * `DB_MAX=20`, `DB_ACQUIRE_TIMEOUT=5 seconds` (or `5s`), `DB_START=lazy`. A variable that is not set keeps its default.
 * One `ConfigError` lists all invalid variables. An option that contradicts another one, which was given in code, is in
 * the `PoolConfigError` of the pool.
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
