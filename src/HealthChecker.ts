/**
 * Checks the idle connections of a pool on a schedule, and reports the health of the pool.
 *
 * A pool without a checker evicts a broken connection when a caller would get it. A checker finds it earlier, knows
 * whether the database can be reached while nobody uses the pool, and gives a load balancer or an operator an answer.
 */
import {
  Cause,
  type Config,
  Context,
  DateTime,
  Deferred,
  type Duration,
  Effect,
  Exit,
  Layer,
  Metric,
  Predicate,
  PubSub,
  Schedule,
  type Scope,
  Stream,
  type Take
} from "effect"
import type { ConnectionPool } from "./ConnectionPool.ts"
import type { HealthReport, HealthStatus } from "./HealthReport.ts"
import { fromEnvironment, unwrap } from "./internal/options/environment.ts"
import { healthConfigTable, healthTable } from "./internal/options/health.ts"
import { unless } from "./internal/options/problems.ts"
import * as Options from "./internal/options/rules.ts"
import * as Door from "./internal/pool/door.ts"
import { combine, isSame, judge, type Judgement } from "./internal/pool/health.ts"
import type { ConfigProblem, PoolConfigError } from "./PoolError.ts"
import * as PoolEvent from "./PoolEvent.ts"
import * as PoolMetrics from "./PoolMetrics.ts"

/** Options of a checker that can be read from the environment. All have defaults. */
export interface HealthConfig {
  /** The time between the end of a check and the next check. Default 10 seconds. */
  readonly interval?: Duration.Input | undefined
  /**
   * How long the validation of one connection may take; after that it has failed. A caller waits no longer than this
   * for a connection that is validated. Default 5 seconds.
   */
  readonly timeout?: Duration.Input | undefined
  /**
   * The maximum number of connections that are validated at the same time. One idle connection is always left for
   * callers. Default 1, floor 1.
   */
  readonly concurrency?: number | undefined
  /**
   * Whether a check that finds no connection opens one (within `max`), to know whether the database can be reached.
   * Without it, an empty pool counts as healthy until a connect attempt has failed. Default `true`.
   */
  readonly connect?: boolean | undefined
}

/** Options of a checker. */
export interface HealthOptions extends HealthConfig {
  /**
   * When to check again after a check, instead of `interval`. Its input is the report. The first check begins at once.
   * When the schedule ends, no more checks begin. Default: `Schedule.spaced(interval)`.
   */
  readonly schedule?: Schedule.Schedule<unknown, HealthReport> | undefined
}

/** The part of a pool that a checker needs. Every `ConnectionPool` has it. */
export type WatchedPool = Pick<ConnectionPool<unknown, unknown>, "name" | "check">

/**
 * Several pools with one checker, such as a `SqlitePool` with its writer and its readers. All are checked at the same
 * time.
 */
export interface Sides {
  /** The name of all pools together. */
  readonly name: string
  /** The pools by the names of their sides in reports. There must be at least one. */
  readonly sides: Readonly<Record<string, WatchedPool>>
}

/** One pool, or several pools that are watched together. */
export type Watched = WatchedPool | Sides

/** The checker of a pool. */
export interface HealthChecker {
  /** The name of the pool, or of the pools that are watched together. */
  readonly pool: string
  /** The last report. Before the first check has ended, it waits for that check, whose time is limited. */
  readonly report: Effect.Effect<HealthReport>
  /**
   * Checks now, and returns the report. If a check is under way already, it waits for that one. A check takes at most
   * `timeout` for each idle connection, divided by `concurrency`, and `connectTimeout`; sides are checked at the same
   * time. Interrupting it interrupts the wait only.
   */
  readonly check: () => Effect.Effect<HealthReport>
  /**
   * The reports of checks whose status or reasons differ from those of the check before. A reader gets the last report
   * first. The stream ends with the checker. A slow reader misses some reports.
   */
  readonly changes: Stream.Stream<HealthReport>
}

/**
 * The options from the configuration: with `HealthChecker.config("DB_HEALTH")`, `DB_HEALTH_INTERVAL=30s`,
 * `DB_HEALTH_TIMEOUT=2 seconds`, `DB_HEALTH_CONCURRENCY=2`, `DB_HEALTH_CONNECT=off`. One `ConfigError` lists all
 * invalid variables.
 */
export const config = (prefix?: string): Config.Config<HealthConfig> => fromEnvironment(healthConfigTable, prefix)

/**
 * Makes a checker for a pool, or for several pools together. It checks until the current scope closes.
 *
 * Give it a `SqlitePool` as it is: `HealthChecker.make(db)` watches the writer and the readers. One report has the
 * health of the database, and names the side of each problem.
 *
 * The first check begins at once, and `make` does not wait for it. A check asks every connection that is idle when it
 * begins: `validate` of the factory, or `isAlive` if there is none. It does not touch connections in use. Connections
 * that fail are evicted, and replaced if a caller waits or `min` requires it. A change of health is also an event of
 * the pool (`HealthChanged`), a line in the log, and a metric (`PoolMetrics.health`).
 *
 * Fails with `PoolConfigError` if the options are invalid. A checker keeps the process alive until its scope closes,
 * unlike an idle pool.
 *
 * ```ts
 * import { Effect, Schedule, Stream } from "effect"
 * import { ConnectionPool, HealthChecker, InMemoryConnection } from "effect-connection-pool"
 *
 * export const program = Effect.scoped(Effect.gen(function*() {
 *   const pool = yield* ConnectionPool.make({ factory: InMemoryConnection.factory(), max: 4 })
 *   const health = yield* HealthChecker.make(pool, { schedule: Schedule.jittered(Schedule.spaced("10 seconds")) })
 *   yield* Effect.forkScoped(Stream.runForEach(health.changes, (report) => Effect.log(report.status, report.reasons)))
 *   return yield* health.check()
 * }))
 * ```
 */
export const make = Effect.fnUntraced(function*(
  pool: Watched,
  options: HealthOptions = {}
): Effect.fn.Return<HealthChecker, PoolConfigError, Scope.Scope> {
  const settings = yield* Effect.fromResult(resolve(pool, options))
  const { name } = pool
  const schedule = settings.schedule as HealthOptions["schedule"]
  const scope = yield* Effect.scope
  const changes = yield* PubSub.sliding<Take.Take<HealthReport>>({ capacity: 16, replay: 1 })
  const watch = "sides" in pool ? watchSides(pool, settings) : watchPool(pool, settings)
  let last: HealthReport | undefined
  let underWay: Deferred.Deferred<HealthReport> | undefined

  const once = Effect.gen(function*() {
    const before = last
    const report = last = yield* watch.check
    if (before === undefined || !isSame(before, report)) yield* PubSub.publish(changes, [report])
    return report
  })

  const check: Effect.Effect<HealthReport> = Effect.suspend(() => {
    if (underWay !== undefined) return Deferred.await(underWay)
    const deferred = Deferred.makeUnsafe<HealthReport>()
    underWay = deferred
    const begun = Effect.map(Effect.forkIn(once, scope, { startImmediately: true }), (fiber) => {
      fiber.addObserver((exit) => {
        underWay = undefined
        // If the checker was stopped during the check, each waiting fiber runs the check itself.
        Deferred.doneUnsafe(deferred, Exit.isFailure(exit) && Cause.hasInterruptsOnly(exit.cause) ? once : exit)
      })
    })
    return Effect.andThen(Effect.uninterruptible(begun), Deferred.await(deferred))
  })

  const services = yield* Effect.context<never>()
  const shown = Array.from(watch.statuses).flatMap(([name, statusOf]) =>
    statuses.map((status) =>
      Metric.registerUnsafe(PoolMetrics.health(name, status), services, {
        get: () => ({ value: statusOf() === status ? 1 : 0 }),
        update: () => {},
        modify: () => {}
      })
    )
  )
  yield* Effect.addFinalizer(() =>
    Effect.suspend(() => {
      for (const gauge of shown) gauge.remove()
      return PubSub.end(changes, Exit.void)
    })
  )
  yield* Effect.repeat(check, schedule ?? Schedule.spaced(settings.interval)).pipe(
    // The end of the scope is no such cause: an interrupted fiber runs no handlers.
    Effect.tapCause((cause) => Effect.logError(`the health checks of pool "${name}" have stopped`, cause)),
    Effect.forkIn(scope, { startImmediately: true })
  )
  return {
    pool: name,
    report: Effect.suspend(() => last === undefined ? check : Effect.succeed(last)),
    check: () => check,
    changes: Stream.fromPubSubTake(changes)
  }
})

const statuses: ReadonlyArray<HealthStatus> = ["healthy", "degraded", "unhealthy"]

/** A check of one or several pools, and the last status for each name in the metrics. */
interface Watch {
  readonly check: Effect.Effect<HealthReport>
  readonly statuses: ReadonlyMap<string, () => HealthStatus | undefined>
}

type Settings = Options.Checked<typeof healthTable.rules>

const watchPool = (
  pool: WatchedPool,
  { concurrency, connect, timeout }: Settings
): Watch => {
  const { announce, check: round } = Door.of(pool)!
  let last: Judgement | undefined
  const check = Effect.gen(function*() {
    const check = yield* round({ concurrency, timeoutMillis: timeout, mayConnect: connect })
    const before = last
    last = judge(check, before, yield* DateTime.now)
    const { report } = last
    if (before === undefined || !isSame(before.report, report)) {
      announce(PoolEvent.HealthChanged({ from: before?.report.status, report }))
    }
    return report
  })
  return { check, statuses: new Map([[pool.name, () => last?.report.status]]) }
}

const watchSides = ({ name, sides }: Sides, settings: Settings): Watch => {
  const watches = Object.entries(sides).map(([side, pool]) => [side, watchPool(pool, settings)] as const)
  let last: HealthReport | undefined
  const check = Effect.map(
    Effect.forEach(watches, ([side, { check }]) => Effect.map(check, (report) => [side, report] as const), {
      concurrency: "unbounded"
    }),
    (reports) => last = combine(name, Object.fromEntries(reports))
  )
  const statuses = new Map([[name, () => last?.status]])
  // For a database in memory, the only side has the name of the database.
  for (const [, watch] of watches) for (const [pool, status] of watch.statuses) statuses.set(pool, status)
  return { check, statuses }
}

const resolve = (pool: Watched, options: HealthOptions) => {
  const { checked, problems } = Options.check(healthTable, options)
  const problem = problemOf(pool)
  if (problem !== undefined) problems.push(problem)
  return unless(nameOf(pool), problems, checked)
}

/** The problem of a value that cannot be watched; `undefined` if it can. */
const problemOf = (pool: unknown): ConfigProblem | undefined => {
  const noPool = Options.problem("pool", pool, "a ConnectionPool, or a record of several")
  if (!Predicate.isObject(pool)) return noPool
  if (!("sides" in pool)) return Door.of(pool) === undefined ? noPool : undefined
  const { sides } = pool
  const pools = Predicate.isObject(sides) ? Object.values(sides) : []
  if (pools.length === 0) return Options.problem("sides", sides, "a record with at least one pool")
  if (pools.some((side) => !Predicate.isObject(side) || Door.of(side) === undefined)) return noPool
  return Predicate.hasProperty(pool, "name") && Predicate.isString(pool.name)
    ? undefined
    : Options.problem("name", (pool as { readonly name?: unknown }).name, "text that is not empty")
}

/** The name of the value to watch, for errors; `pool` if it has none. */
const nameOf = (pool: unknown): string => {
  const name = Predicate.hasProperty(pool, "name") ? pool.name : undefined
  return Predicate.isString(name) ? name : "pool"
}

/** The class that `Service` makes: a service that is a checker. */
export interface ServiceClass<Self, Id extends string> extends Context.ServiceClass<Self, Id, HealthChecker> {
  /** The checker of a pool, or of a `SqlitePool`, as a layer. It checks while the layer lives. */
  readonly layer: <PoolId>(
    pool: Context.Key<PoolId, Watched>,
    options?: HealthOptions | undefined
  ) => Layer.Layer<Self, PoolConfigError, PoolId>
  /**
   * The same layer, with options from the configuration:
   * `SessionsHealth.layerConfig(Sessions, HealthChecker.config("HEALTH"))`.
   */
  readonly layerConfig: <PoolId>(
    pool: Context.Key<PoolId, Watched>,
    config: Config.Wrap<HealthConfig>
  ) => Layer.Layer<Self, Config.ConfigError | PoolConfigError, PoolId>
}

/**
 * Makes a class for a checker as a service. Each pool that is watched has its own class.
 *
 * ```ts
 * import { Effect, Layer } from "effect"
 * import { ConnectionPool, HealthChecker, InMemoryConnection } from "effect-connection-pool"
 *
 * class Sessions extends ConnectionPool.Service<Sessions, InMemoryConnection.InMemoryConnection>()("app/Sessions") {}
 * class SessionsHealth extends HealthChecker.Service<SessionsHealth>()("app/SessionsHealth") {}
 *
 * export const layer = SessionsHealth.layer(Sessions, { interval: "30 seconds" }).pipe(
 *   Layer.provideMerge(Sessions.layer({ factory: InMemoryConnection.factory(), name: "sessions" }))
 * )
 *
 * export const isReady = Effect.gen(function*() {
 *   const health = yield* SessionsHealth
 *   return (yield* health.report).status !== "unhealthy"
 * })
 * ```
 */
export const Service = <Self>() => <const Id extends string>(id: Id): ServiceClass<Self, Id> => {
  const service = Context.Service<Self, HealthChecker>()(id)
  return Object.assign(service, {
    layer: <PoolId>(pool: Context.Key<PoolId, Watched>, options?: HealthOptions) =>
      Layer.effect(service, Effect.flatMap(pool, (pool) => make(pool, options))),
    layerConfig: <PoolId>(pool: Context.Key<PoolId, Watched>, config: Config.Wrap<HealthConfig>) =>
      Layer.effect(
        service,
        Effect.flatMap(unwrap<HealthConfig>(config), (options) => Effect.flatMap(pool, (pool) => make(pool, options)))
      )
  }) as unknown as ServiceClass<Self, Id>
}
