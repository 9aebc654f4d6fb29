/**
 * A pool of connections: it opens them, lends each to one caller at a time, validates them, and closes old ones.
 *
 * `make` makes a pool for a scope. `Service` makes it a service with a layer. The guide says what a pool promises. To
 * read how it works, begin with `internal/pool/state.ts`.
 */
import { Config, Context, Effect, Layer, Result, type Scope, type Stream } from "effect"
import type { ConnectionInfo } from "./Connection.ts"
import type { ConnectionFactory } from "./ConnectionFactory.ts"
import type { ConnectionStats, ShutdownReport, SlowStatement } from "./ConnectionStats.ts"
import type { CheckReport } from "./HealthReport.ts"
import { unwrap } from "./internal/options/environment.ts"
import * as PoolOptions from "./internal/options/pool.ts"
import * as Door from "./internal/pool/door.ts"
import type { Driver, Member } from "./internal/pool/groups.ts"
import * as internal from "./internal/pool/pool.ts"
import * as View from "./internal/pool/view.ts"
import type { AcquireOptions, CheckOptions, PoolConfig, ShutdownOptions } from "./PoolConfig.ts"
import type { AbandonedConnection, ConnectError, Holder, PoolConfigError, PoolError } from "./PoolError.ts"
import type { PoolEvent } from "./PoolEvent.ts"

export type { ShutdownReport } from "./ConnectionStats.ts"
export type { AcquireOptions, CheckOptions, ShutdownOptions } from "./PoolConfig.ts"

/**
 * A pool of connections of type `C`, whose driver fails to connect with `E`.
 *
 * Any number of fibers may use it at once. Waiting callers are served strictly in the order in which they asked.
 */
export interface ConnectionPool<in out C, out E = never> {
  /** The name of the pool in errors, events, logs and metrics. */
  readonly name: string

  /**
   * Runs an effect with a connection, and returns the connection however the effect ends.
   *
   * Choose `acquire` instead if the connection has to outlive one effect, and `useSync` if the work is synchronous.
   * Waits in line until a connection is free, at most until the deadline. Interrupting the wait loses no connection.
   * Fails with a `PoolError` if it gets no connection, besides the failures of the effect.
   */
  readonly use: <A, E2, R>(
    f: (connection: C) => Effect.Effect<A, E2, R>,
    options?: AcquireOptions | undefined
  ) => Effect.Effect<A, E2 | PoolError<E>, R>

  /**
   * Returns an Effect that runs a synchronous function with a connection. It takes about half the time of `use`: choose
   * it for drivers that are synchronous anyway.
   *
   * An error that the function throws is a defect. With `{ try, catch }`, as in `Effect.try`, `catch` turns it into a
   * failure. An Effect or a promise that it returns is a defect, for nothing would wait for it. The function cannot be
   * interrupted. It must not keep the connection.
   */
  readonly useSync: {
    <A>(f: (connection: C) => A, options?: AcquireOptions | undefined): Effect.Effect<A, PoolError<E>>
    <A, E2>(
      f: { readonly try: (connection: C) => A; readonly catch: (thrown: unknown) => E2 },
      options?: AcquireOptions | undefined
    ): Effect.Effect<A, E2 | PoolError<E>>
  }

  /** Leases a connection to the current scope, until that closes. Waits and fails like `use`. */
  readonly acquire: (options?: AcquireOptions | undefined) => Effect.Effect<C, PoolError<E>, Scope.Scope>

  /** The numbers of the pool at this moment. Cheap: read them as often as you like. */
  readonly stats: Effect.Effect<ConnectionStats>

  /** All connections and their states. */
  readonly connections: Effect.Effect<ReadonlyArray<ConnectionInfo>>

  /** The leases that are held now: by whom, for how long, and which statement each runs. The longest comes first. */
  readonly holders: Effect.Effect<ReadonlyArray<Holder>>

  /**
   * The connections that are abandoned now: what still runs on them after its lease, and whose lease that was. The one that
   * was abandoned first comes first.
   */
  readonly abandoned: Effect.Effect<ReadonlyArray<AbandonedConnection>>

  /**
   * The slow statements since the pool was made, by their texts: at most 100, those that took longest in total first. Set
   * `slowStatement` for it; without that it is empty. If another text is slow when there are 100, the one with the smallest
   * total goes.
   */
  readonly slowStatements: Effect.Effect<ReadonlyArray<SlowStatement>>

  /**
   * The events of the pool, from the moment the stream is run until the pool is closed. A slow reader misses events,
   * and gets their number in a `Missed` event. It never slows down the pool.
   */
  readonly events: Stream.Stream<PoolEvent>

  /**
   * Validates every idle connection now, one after the other. It evicts those that do not work; they are replaced if a
   * caller waits or `min` asks for it. Connections in use are left alone.
   *
   * Callers come first: they may take idle connections meanwhile, and a connection that has answered goes to the first
   * waiter. Checks of one pool wait for each other. If no connection works, or there is none, it opens one to find out
   * whether the database can be reached, and waits for that connect attempt. Interrupting it ends the round. Choose
   * `HealthChecker` for checks on a schedule, and for a judgement. Fails with `PoolConfigError` if the options are
   * invalid.
   */
  readonly check: (options?: CheckOptions | undefined) => Effect.Effect<CheckReport, PoolConfigError>

  /**
   * Evicts one connection: at once if it is idle, else when it comes back. Use it for a connection that is broken.
   *
   * Answers whether the pool has this connection: `false` if it is closed or closing, or if it is no connection of this
   * pool. If several connections are the same value, it evicts all of them.
   */
  readonly invalidate: (connection: C) => Effect.Effect<boolean>

  /**
   * Evicts all connections, idle ones at once and others when they come back, and opens new ones as needed.
   *
   * Use it after a failover, or after a change of credentials. Answers with the number of connections. Does not wait
   * for them.
   */
  readonly recycle: Effect.Effect<number>

  /**
   * Stops lending: callers wait in line until `resume`, at most until their deadlines. Leases go on and end as usual.
   * No connection is opened.
   */
  readonly pause: Effect.Effect<void>

  /** Lends again after `pause`, to the waiters first. */
  readonly resume: Effect.Effect<void>

  /**
   * Changes `min` and `max`. Connections beyond the new `max` are closed: idle ones at once, longest idle first, others
   * when they come back. No lease is interrupted. Does not wait for them.
   */
  readonly resize: (bounds: {
    readonly min?: number | undefined
    readonly max?: number | undefined
  }) => Effect.Effect<void, PoolConfigError>

  /**
   * Shuts the pool down: refuses callers and waiters with `PoolClosedError`, and waits up to `drainTimeout` for leases.
   * Then it interrupts the fibers that still run an effect of `use`, and ends the leases of `acquire` without
   * interrupting their fibers. It waits up to `closeTimeout` for the cleanup of interrupted fibers, and then ends their
   * leases too. It closes every connection, with up to `closeTimeout` for each.
   *
   * It waits for abandoned connections as long as for leases, then reports what still runs on them, and closes them.
   *
   * It takes at most `drainTimeout` and twice `closeTimeout`. Interrupting it interrupts the wait, not the shutdown. A
   * second call waits for the shutdown under way. The end of the pool's scope does the same.
   */
  readonly shutdown: {
    (): Effect.Effect<ShutdownReport>
    (options: ShutdownOptions | undefined): Effect.Effect<ShutdownReport, PoolConfigError>
  }
}

/** The options of a pool and its factory. */
export interface Options<C, E, R> extends PoolConfig {
  readonly factory: ConnectionFactory<C, E, R>
}

/**
 * Makes a pool for the current scope. The end of the scope shuts it down.
 *
 * Fails with `PoolConfigError` if the options are invalid, before anything is opened. With `start: "eager"` it waits
 * for `min` connections, at most for `acquireTimeout`. If they cannot be opened, it fails with `ConnectError`, and
 * leaves nothing open.
 *
 * ```ts
 * import { Effect } from "effect"
 * import { ConnectionPool, InMemoryConnection } from "effect-connection-pool"
 *
 * export const program = Effect.scoped(Effect.gen(function*() {
 *   const pool = yield* ConnectionPool.make({ factory: InMemoryConnection.factory(), max: 4 })
 *   yield* pool.use((connection) => connection.set("greeting", "hello"))
 *   return yield* pool.use((connection) => connection.get("greeting"), { timeout: "1 second" })
 * }))
 * ```
 */
export const make = <C, E = never, R = never>(
  options: Options<C, E, R>
): Effect.Effect<
  ConnectionPool<C, E>,
  PoolConfigError | ConnectError<E>,
  Exclude<R, Scope.Scope> | Scope.Scope
> =>
  Effect.uninterruptibleMask((restore) =>
    Effect.gen(function*() {
      const settings = PoolOptions.resolve(options)
      if (Result.isFailure(settings)) return yield* settings.failure
      const { factory } = options
      const context = yield* Effect.context<Exclude<R, Scope.Scope> | Scope.Scope>()
      const pool = new internal.Pool<C, E>(
        settings.success,
        // Each connection has its own scope. All other services are in the context.
        factory as ConnectionFactory<C, E, never>,
        context as Context.Context<never>
      )
      const shutdown = pool.shutdown(settings.success.drainTimeoutMillis)
      yield* Effect.addFinalizer(() => shutdown)
      yield* Effect.onError(restore(pool.start()), () => shutdown)
      return fromInternal(pool)
    })
  )

const fromInternal = <C, E>(pool: internal.Pool<C, E>): ConnectionPool<C, E> => {
  const { settings } = pool.state
  const acquire = (options?: AcquireOptions) => pool.acquire(options)
  return Door.add<ConnectionPool<C, E>>({
    name: settings.name,
    use: (f, options) => pool.use(f, options),
    useSync: <A, E2>(
      f: ((connection: C) => A) | { readonly try: (connection: C) => A; readonly catch: (thrown: unknown) => E2 },
      options?: AcquireOptions
    ) =>
      typeof f === "function"
        ? pool.useSync<A, never>(f, undefined, options)
        : pool.useSync(f.try, f.catch, options),
    acquire,
    stats: Effect.sync(() => pool.look(() => View.stats(pool.state))),
    connections: Effect.sync(() => pool.look((now) => View.connections(pool.state, now))),
    holders: Effect.sync(() => pool.look((now) => View.holders(pool.state, now, Infinity))),
    abandoned: Effect.sync(() => pool.look((now) => View.abandoned(pool.state, now, Infinity))),
    slowStatements: Effect.sync(() => pool.look((now) => pool.state.slow?.list(settings.name, now) ?? [])),
    events: pool.eventStream(true),
    check: (options) =>
      Effect.suspend(() => {
        const checked = PoolOptions.resolveCheck(settings.name, options === undefined ? {} : options)
        return Result.isFailure(checked) ? Effect.fail(checked.failure) : Effect.map(pool.check(checked.success), lean)
      }),
    invalidate: (connection) => Effect.sync(() => pool.invalidate(connection)),
    recycle: Effect.sync(() => pool.recycle()),
    pause: Effect.sync(() => pool.pause()),
    resume: Effect.sync(() => pool.resume()),
    resize: (bounds) =>
      Effect.suspend(() => {
        const checked = PoolOptions.resolveBounds(settings.name, settings, bounds)
        if (Result.isFailure(checked)) return Effect.fail(checked.failure)
        // In the same step as the check, so that no other resize comes between the two.
        pool.resize(checked.success.min, checked.success.max)
        return Effect.void
      }),
    shutdown: (options?: ShutdownOptions) =>
      Effect.suspend(() => {
        if (options === undefined) return pool.shutdown(settings.drainTimeoutMillis)
        const checked = PoolOptions.resolveShutdown(settings.name, options)
        return Result.isFailure(checked)
          // Without options, it cannot fail.
          ? Effect.fail(checked.failure) as Effect.Effect<never>
          : pool.shutdown(checked.success ?? settings.drainTimeoutMillis)
      })
  }, {
    acquire,
    ask: (fiber, options) => pool.ask(fiber, options),
    announce: (event) => pool.announce(event),
    condition: () => View.condition(pool.state),
    happenings: pool.eventStream(false),
    stats: () => pool.look(() => View.stats(pool.state)),
    inspect: () => pool.look((now) => View.inspection(pool.state, now)),
    observe: (most) => pool.look((now) => View.observation(pool.state, now, most)),
    holders: (most) => pool.look((now) => View.holders(pool.state, now, most)),
    abandoned: (most) => pool.look((now) => View.abandoned(pool.state, now, most)),
    showLog: (log) => pool.showLog(log),
    holderOf: (connection) => pool.look((now) => View.holderOfConnection(pool.state, connection as C, now)),
    check: (settings) => pool.check(settings),
    group: ((driver: Driver<C, Member<C>>) => pool.group(driver)) as unknown as Door.MakeGroup,
    showGroups: () => pool.showGroups(),
    pipeline: (() => pool.pipeline()) as unknown as Door.MakePipeline,
    acquireTimeoutMillis: settings.acquireTimeoutMillis,
    whenShutDown: (f) => pool.whenShutDown(f),
    sizedBy: (option) => {
      pool.state.sizeOption = option
    },
    adviseOnSlow: (advice) => {
      pool.state.slowAdvice = advice
    }
  })
}

const lean = ({ busy, connected, failed, passed }: CheckReport): CheckReport => ({ passed, failed, busy, connected })

/** The class that `Service` makes: a service that is a pool. */
export interface ServiceClass<Self, Id extends string, C, E>
  extends Context.ServiceClass<Self, Id, ConnectionPool<C, E>>
{
  /** The pool as a layer: `make` with these options. The end of the layer shuts it down. */
  readonly layer: <R = never>(
    options: Options<C, E, R>
  ) => Layer.Layer<Self, PoolConfigError | ConnectError<E>, Exclude<R, Scope.Scope>>
  /**
   * The same layer, with options from the configuration. Fails with a `ConfigError` that lists every missing or invalid
   * variable.
   */
  readonly layerConfig: <R = never>(
    options: ConfigOptions<C, E, R>
  ) => Layer.Layer<Self, Config.ConfigError | PoolConfigError | ConnectError<E>, Exclude<R, Scope.Scope>>
}

/** A factory, and the configuration of its pool. */
export interface ConfigOptions<C, E, R> {
  /** The factory, or a `Config` that makes it. */
  readonly factory: ConnectionFactory<C, E, R> | Config.Config<ConnectionFactory<C, E, R>>
  /** The options: all with `PoolConfig.config`, or each with its own `Config`. */
  readonly config: Config.Wrap<PoolConfig>
}

/**
 * Makes a class for a pool as a service, with a `layer` that provides it. Each pool of an application has its own
 * class.
 *
 * ```ts
 * import { Effect } from "effect"
 * import { ConnectionPool, InMemoryConnection } from "effect-connection-pool"
 *
 * export class Sessions extends ConnectionPool.Service<Sessions,
 * InMemoryConnection.InMemoryConnection>()("app/Sessions") {}
 *
 * export const program = Effect.gen(function*() {
 *   const sessions = yield* Sessions
 *   return yield* sessions.use((connection) => connection.get("user"))
 * }).pipe(Effect.provide(Sessions.layer({ factory: InMemoryConnection.factory(), max: 4 })))
 * ```
 *
 * With options from the environment (`SESSIONS_MAX`, `SESSIONS_ACQUIRE_TIMEOUT` and so on), or some of them:
 *
 * ```ts
 * import { Config } from "effect"
 * import { ConnectionPool, InMemoryConnection, PoolConfig } from "effect-connection-pool"
 *
 * class Sessions extends ConnectionPool.Service<Sessions, InMemoryConnection.InMemoryConnection>()("app/Sessions") {}
 *
 * const factory = InMemoryConnection.factory()
 * export const Configured = Sessions.layerConfig({ factory, config: PoolConfig.config("SESSIONS") })
 * export const WithMax = Sessions.layerConfig({ factory, config: { max: Config.Int("MAX_SESSIONS") } })
 * ```
 */
export const Service = <Self, C, E = never>() => <const Id extends string>(id: Id): ServiceClass<Self, Id, C, E> => {
  const service = Context.Service<Self, ConnectionPool<C, E>>()(id)
  return Object.assign(service, {
    layer: <R = never>(options: Options<C, E, R>) => Layer.effect(service, make(options)),
    layerConfig: <R = never>({ config, factory }: ConfigOptions<C, E, R>) => {
      const options = Config.all([
        unwrap<PoolConfig>(config),
        Config.isConfig(factory) ? factory : Config.succeed(factory)
      ])
      return Layer.effect(service, Effect.flatMap(options, ([config, factory]) => make({ ...config, factory })))
    }
  }) as unknown as ServiceClass<Self, Id, C, E>
}
