/**
 * Pools by key, with a limit: a database for each customer, a pool for each shard.
 *
 * A pool is opened when it is asked for, and shared by all who ask for its key. It is closed after an idle time, or when
 * another key needs the room: the pool that was used least recently goes first, and never one that is in use. To read how
 * it works, begin with `internal/poolMap/state.ts`.
 */
import { type Config, Context, type Duration, Effect, Layer, Result, type Scope, type Stream } from "effect"
import { fromEnvironment, unwrap } from "./internal/options/environment.ts"
import { noEffect } from "./internal/options/noEffect.ts"
import { resolveShutdown } from "./internal/options/pool.ts"
import { poolMapConfigTable, resolve } from "./internal/options/poolMap.ts"
import { conditionOf } from "./internal/poolMap/condition.ts"
import * as Door from "./internal/poolMap/door.ts"
import { MapOfPools, type Pools } from "./internal/poolMap/map.ts"
import * as Outcomes from "./internal/poolMap/outcomes.ts"
import { type Entry, find, total } from "./internal/poolMap/state.ts"
import * as Use from "./internal/poolMap/use.ts"
import * as View from "./internal/poolMap/view.ts"
import type { AcquireOptions, ShutdownOptions } from "./PoolConfig.ts"
import type { PoolConfigError } from "./PoolError.ts"
import type { PoolMapError } from "./PoolMapError.ts"
import type { PoolMapEvent } from "./PoolMapEvent.ts"
import type { PoolInfo, PoolMapShutdownReport, PoolMapStats } from "./PoolMapStats.ts"

/** Options of a map that can be read from the environment. All have defaults. */
export interface PoolMapConfig {
  /** The name of the map in errors, logs and metrics. Default `"pools"`. */
  readonly name?: string | undefined
  /**
   * The maximum number of pools. Pools that are being opened or closed count too. Default 64, floor 1. A `SqlitePool`
   * that was read and written has five file descriptors, and a process often may have no more than 1024.
   */
  readonly max?: number | undefined
  /**
   * The deadline of a caller. It covers the line, the close of another pool, and the opening of its own. Default 30
   * seconds.
   */
  readonly acquireTimeout?: Duration.Input | undefined
  /** How long `open` may take; then it is interrupted, and those who wait fail. Default 1 minute. */
  readonly openTimeout?: Duration.Input | undefined
  /** How long a pool may be without a lease before it is closed. Default 10 minutes. */
  readonly idleTimeout?: Duration.Input | undefined
  /**
   * How long a pool may take to close; then it is reported. It counts against `max` until it is closed, but a shutdown
   * does not wait for it any longer. Default 30 seconds.
   */
  readonly closeTimeout?: Duration.Input | undefined
  /** How long a shutdown waits for leases before it interrupts their holders. Default 10 seconds, floor 0. */
  readonly drainTimeout?: Duration.Input | undefined
  /** Whether the map has metrics (see `PoolMetrics.ofMap`). Default `true`. */
  readonly metrics?: boolean | undefined
}

/** The options of a map. */
export interface Options<K, P, E = never, R = never, S = never> extends PoolMapConfig {
  /**
   * Opens the pool of a key, in a scope of its own. The end of that scope closes the pool. All that has to happen before
   * the pool is used belongs here: migrations, services on top of it.
   *
   * It runs in the background, with the services of the fiber that makes the map. An interrupted caller does not interrupt
   * it. Its failure is the answer to all who wait, and is not kept: the next caller has it run again.
   *
   * A key may come from outside. If it becomes a part of a path, use `SqlitePool.fileName`, and check that it is one of
   * your customers: else anybody makes files.
   */
  readonly open: (key: K) => Effect.Effect<P, E, R>
  /** The services that `provide` gives to an effect, such as `SqlitePool.services`. */
  readonly services?: ((pool: P) => Context.Context<S>) | undefined
  /**
   * Whether a pool has leases that the map does not know of, or was shut down. A pool with leases is not closed to make
   * room, nor after `idleTimeout`. A pool that was shut down is replaced when it is asked for.
   *
   * Default: `stateOf`. Set it for values of another kind. It must be fast and must not throw.
   */
  readonly stateOf?: ((pool: P) => "idle" | "in use" | "closed") | undefined
}

/**
 * Pools of type `P` by keys of type `K`. To open one fails with `E`. `S` are the services that `provide` gives.
 *
 * Keys are compared with `Equal`: text and numbers by their value, and records, arrays and `Data` by their contents. A key
 * must not change.
 *
 * There are never two pools of one key at once: while an old one is closed, those who ask for its key wait. There are never
 * more than `max` pools: who needs room waits in line, in order of arrival. If all pools are in use for a second while
 * somebody waits, one of them has to make room: it gets no new callers, and is closed when its leases end.
 */
export interface PoolMap<in out K, out P, out E = never, in out S = never> {
  /** The name of the map in errors, logs and metrics. */
  readonly name: string

  /**
   * Runs an effect with the pool of a key. The pool is not closed before the effect has ended.
   *
   * Waits until the pool is open, at most until the deadline. Fails with a `PoolMapError` if it gets no pool, besides the
   * failures of the effect. Do not keep the pool for longer than the effect: `stateOf` protects the leases of such a
   * pool, but between two leases it may be closed.
   *
   * Inside, the pool of the same key is always there. To ask for another key holds two pools at once: if `max` fibers do
   * that, they wait for each other until their deadlines, and `PoolMapTimeoutError` says so (`ownLeases`).
   */
  readonly use: <A, E2, R>(
    key: K,
    f: (pool: P) => Effect.Effect<A, E2, R>,
    options?: AcquireOptions | undefined
  ) => Effect.Effect<A, E2 | PoolMapError<E>, R>

  /** Leases the pool of a key to the current scope, until that closes. Waits and fails like `use`. */
  readonly get: (key: K, options?: AcquireOptions | undefined) => Effect.Effect<P, PoolMapError<E>, Scope.Scope>

  /**
   * Runs an effect with the services of a key: `services` of its pool. Choose it for code that asks for its database as
   * a service, such as the `SqlClient` of models and migrations. Waits and fails like `use`.
   *
   * A service that was built before, outside, keeps the database that it was built with. Build such services in `open`.
   */
  readonly provide: <A, E2, R>(
    key: K,
    effect: Effect.Effect<A, E2, R>,
    options?: AcquireOptions | undefined
  ) => Effect.Effect<A, E2 | PoolMapError<E>, Exclude<R, S>>

  /** Whether the pool of a key is open. */
  readonly has: (key: K) => Effect.Effect<boolean>

  /** The keys whose pools are open. */
  readonly keys: Effect.Effect<ReadonlyArray<K>>

  /** All pools and their states. */
  readonly pools: Effect.Effect<ReadonlyArray<PoolInfo<K>>>

  /** The numbers of the map at this moment. */
  readonly stats: Effect.Effect<PoolMapStats>

  /**
   * The events of the map, from the moment the stream is run until the map is closed. A slow reader misses events, and
   * gets their number in a `Missed` event. It never slows down the map.
   */
  readonly events: Stream.Stream<PoolMapEvent<K>>

  /**
   * Closes the pool of a key: at once, or when its last lease ends. Who asks for the key after that waits, and gets a new
   * pool. Use it after a change of what `open` reads, such as credentials or a file that was replaced. Does not wait.
   *
   * A pool that is being opened is closed too, and opened again for those who wait for it. Answers whether there was a
   * pool that was not closing already.
   */
  readonly invalidate: (key: K) => Effect.Effect<boolean>

  /**
   * Shuts the map down: refuses callers and waiters with `PoolClosedError`, closes the pools without a lease, and waits up
   * to `drainTimeout` for the leases. Then it interrupts the fibers that still run an effect of `use`, and ends the leases
   * of `get`. It waits up to `closeTimeout` for the cleanup of interrupted fibers, and up to `closeTimeout` for each pool.
   *
   * Interrupting it interrupts the wait, not the shutdown. A second call waits for the shutdown under way. The end of the
   * map's scope does the same.
   */
  readonly shutdown: {
    (): Effect.Effect<PoolMapShutdownReport>
    (options: ShutdownOptions | undefined): Effect.Effect<PoolMapShutdownReport, PoolConfigError>
  }
}

/**
 * Makes a map of pools for the current scope. The end of the scope shuts it down. Opens nothing.
 *
 * Fails with `PoolConfigError` if the options are invalid.
 *
 * ```ts
 * import { Effect } from "effect"
 * import { PoolMap } from "effect-connection-pool"
 * import { SqlitePool } from "effect-connection-pool/sqlite"
 *
 * export const program = Effect.scoped(Effect.gen(function*() {
 *   const customers = yield* PoolMap.make({
 *     name: "customers",
 *     max: 100,
 *     open: (id: string) => SqlitePool.make({ filename: `data/${SqlitePool.fileName(id)}.db`, name: "customer" })
 *   })
 *   return yield* customers.use("ada", (db) => db.sql`select name from user`)
 * }))
 * ```
 */
export const make = <K, P, E = never, R = never, S = never>(
  options: Options<K, P, E, R, S>
): Effect.Effect<PoolMap<K, P, E, S>, PoolConfigError, Exclude<R, Scope.Scope> | Scope.Scope> =>
  Effect.uninterruptible(Effect.gen(function*() {
    const settings = yield* Effect.fromResult(resolve(options))
    const { open, services, stateOf } = options
    const context = yield* Effect.context<Exclude<R, Scope.Scope> | Scope.Scope>()
    const map = new MapOfPools<K, P>(
      settings,
      { open: open as Pools<K, P>["open"], stateOf },
      context as Context.Context<never>
    )
    yield* Effect.addFinalizer(() => map.shutdown(settings.drainTimeoutMillis))
    return fromInternal<K, P, E, S>(map, services)
  }))

const fromInternal = <K, P, E, S>(
  map: MapOfPools<K, P>,
  services: ((pool: P) => Context.Context<S>) | undefined
): PoolMap<K, P, E, S> => {
  const { state } = map
  const { drainTimeoutMillis, name } = state.settings
  const use: PoolMap<K, P, E, S>["use"] = (key, f, options) => new Use.Use(map, key, f, options)
  return Door.add<PoolMap<K, P, E, S>>({
    name,
    use,
    get: (key, options) => Use.get(map, key, options),
    provide: <A, E2, R>(key: K, effect: Effect.Effect<A, E2, R>, options?: AcquireOptions) =>
      Effect.isEffect(effect)
        ? use(key, (pool) => {
          const context = services === undefined ? Context.empty() : services(pool)
          return Effect.provideContext(effect, context as Context.Context<S>)
        }, options)
        : Effect.die(noEffect("provide was given", effect)),
    has: (key) =>
      Effect.sync(() => {
        const list = find(state, key)?.list
        return list !== undefined && (list === state.idle || list === state.used || list === state.leaving)
      }),
    keys: Effect.sync(() => View.keys(state)),
    pools: Effect.sync(() => map.look((now) => View.pools(state, now))),
    stats: Effect.sync(() => map.look(() => View.stats(state))),
    events: map.events,
    invalidate: (key) => Effect.sync(() => map.change((now) => Outcomes.invalidate(state, key, now))),
    shutdown: (options?: ShutdownOptions) =>
      Effect.suspend(() => {
        if (options === undefined) return map.shutdown(drainTimeoutMillis)
        const checked = resolveShutdown(name, options)
        return Result.isFailure(checked)
          // Without options, it cannot fail.
          ? Effect.fail(checked.failure) as Effect.Effect<never>
          : map.shutdown(checked.success ?? drainTimeoutMillis)
      })
  }, {
    max: state.settings.max,
    pools: () => map.look(() => View.entries(state)) as ReadonlyArray<Door.WatchedPool>,
    numbers: () => map.look(() => ({ total: total(state), waiting: state.waiting })),
    isInUse: (pool) => View.isInUse(state, pool as Entry<K, P>),
    rankOf: (pool) => View.rankOf(state, pool as Entry<K, P>),
    infoOf: (pool) => View.infoOf(state, pool as Entry<K, P>, map.now())
  })
}

/**
 * Tells whether a pool has leases or callers in line, or was shut down: a `ConnectionPool`, or a value whose `sides` are
 * such pools, as a `SqlitePool` has. Any other value is idle.
 *
 * It is the default of the option of that name. Use it there if the pool is a part of the value that `open` returns.
 */
export const stateOf = (pool: unknown): "idle" | "in use" | "closed" => conditionOf(pool)()

/**
 * Reads the options from the configuration: with `PoolMap.config("CUSTOMERS")`, `CUSTOMERS_MAX=100`,
 * `CUSTOMERS_IDLE_TIMEOUT=5 minutes`, and so on. A variable that is not set keeps its default. One `ConfigError` lists all
 * invalid variables.
 */
export const config = (prefix?: string): Config.Config<PoolMapConfig> => fromEnvironment(poolMapConfigTable, prefix)

/** The options of `layerConfig`: those that are given in code, and the configuration of the others. */
export interface ConfigOptions<K, P, E, R, S> extends Pick<Options<K, P, E, R, S>, "open" | "services" | "stateOf"> {
  /** The options: all with `PoolMap.config`, or each with its own `Config`. */
  readonly config: Config.Wrap<PoolMapConfig>
}

/** The class that `Service` makes: a service that is a map of pools. */
export interface ServiceClass<Self, Id extends string, K, P, E, S>
  extends Context.ServiceClass<Self, Id, PoolMap<K, P, E, S>>
{
  /** The map as a layer: `make` with these options. The end of the layer shuts it down. */
  readonly layer: <R = never>(
    options: Options<K, P, E, R, S>
  ) => Layer.Layer<Self, PoolConfigError, Exclude<R, Scope.Scope>>
  /** The same layer, with options from the configuration. Fails with a `ConfigError` that lists every invalid variable. */
  readonly layerConfig: <R = never>(
    options: ConfigOptions<K, P, E, R, S>
  ) => Layer.Layer<Self, Config.ConfigError | PoolConfigError, Exclude<R, Scope.Scope>>
}

/**
 * Makes a class for a map of pools as a service, with a `layer` that provides it.
 *
 * ```ts
 * import { Effect } from "effect"
 * import { type PoolError, PoolMap } from "effect-connection-pool"
 * import { SqlitePool } from "effect-connection-pool/sqlite"
 * import { SqlClient, type SqlError } from "effect/sql"
 *
 * type OpenError = PoolError.PoolConfigError | PoolError.ConnectError<SqlError.SqlError>
 *
 * class Customers extends PoolMap.Service<Customers, string, SqlitePool.SqlitePool, OpenError,
 * SqlitePool.SqlitePool | SqlClient.SqlClient>()("app/Customers") {}
 *
 * export const Live = Customers.layer({
 *   open: (id) => SqlitePool.make({ filename: `data/${SqlitePool.fileName(id)}.db`, name: "customer" }),
 *   services: SqlitePool.services
 * })
 *
 * // Needs a `SqlClient`, and does not know of customers.
 * const users = Effect.flatMap(SqlClient.SqlClient, (sql) => sql`select name from user`)
 *
 * export const usersOf = (id: string) => Effect.flatMap(Customers, (customers) => customers.provide(id, users))
 * ```
 */
export const Service =
  <Self, K, P, E = never, S = never>() => <const Id extends string>(id: Id): ServiceClass<Self, Id, K, P, E, S> => {
    const service = Context.Service<Self, PoolMap<K, P, E, S>>()(id)
    return Object.assign(service, {
      layer: <R = never>(options: Options<K, P, E, R, S>) => Layer.effect(service, make(options)),
      layerConfig: <R = never>({ config, ...given }: ConfigOptions<K, P, E, R, S>) =>
        Layer.effect(
          service,
          Effect.flatMap(unwrap<PoolMapConfig>(config), (config) => make({ ...config, ...given }))
        )
    }) as unknown as ServiceClass<Self, Id, K, P, E, S>
  }
