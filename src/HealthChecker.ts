/**
 * Watches over a pool: has its idle connections checked on a schedule, and says how it is.
 *
 * A pool evicts what turns out to be broken without anybody watching. A checker finds it before a caller does, knows
 * whether the database can be reached when nobody asks, and gives a load balancer or an operator an answer.
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
  /** The pause between the end of a check and the next. Default 10 seconds. */
  readonly interval?: Duration.Input | undefined
  /**
   * How long one connection may take to answer; after that it has failed. A caller who needs a connection that is being
   * asked waits no longer than this for it. Default 5 seconds.
   */
  readonly timeout?: Duration.Input | undefined
  /** Connections asked at the same time, at most. One idle connection is always left to callers. Default 1, floor 1. */
  readonly concurrency?: number | undefined
  /**
   * Whether a check that finds no connection at all opens one (within `max`), to know whether the database can be
   * reached. Without that, an empty pool counts as healthy until an attempt to connect has failed. Default `true`.
   */
  readonly connect?: boolean | undefined
}

/** Options of a checker. */
export interface HealthOptions extends HealthConfig {
  /**
   * When to check again after a check; it is given the report. The first check comes at once, and when the schedule
   * ends, so do the checks. Instead of `interval`. Default: `Schedule.spaced(interval)`.
   */
  readonly schedule?: Schedule.Schedule<unknown, HealthReport> | undefined
}

/** What a checker needs of a pool: any `ConnectionPool` has it. */
export type WatchedPool = Pick<ConnectionPool<unknown, unknown>, "name" | "check">

/**
 * Several pools that do one job together, and get one checker: a `SqlitePool` is this, with its writer and its readers.
 * Each is checked as a pool alone is, all at the same time.
 */
export interface Sides {
  /** What they are called together. */
  readonly name: string
  /** The pools, each under the name that reports give its side. There has to be one at least. */
  readonly sides: Readonly<Record<string, WatchedPool>>
}

/** What a checker can watch: one pool, or several as one. */
export type Watched = WatchedPool | Sides

/** What a checker knows of its pool. */
export interface HealthChecker {
  /** What the pool is called, or the pools together. */
  readonly pool: string
  /** The last report. Before the first check has ended it waits for that, which its deadlines bound. */
  readonly report: Effect.Effect<HealthReport>
  /**
   * Checks now, and gives the report. A check that is under way already is shared. It takes at most `timeout` for each
   * idle connection, divided by `concurrency`, and `connectTimeout`; sides are checked at the same time. Interrupting it interrupts the wait only.
   */
  readonly check: Effect.Effect<HealthReport>
  /**
   * The report of each check that came to another conclusion than the one before: another status, or other reasons. A
   * reader gets the last one first, and the stream ends with the checker. One that is too slow misses some of them.
   */
  readonly changes: Stream.Stream<HealthReport>
}

/**
 * The options from the configuration: with `HealthChecker.config("DB_HEALTH")`, `DB_HEALTH_INTERVAL=30s`,
 * `DB_HEALTH_TIMEOUT=2 seconds`, `DB_HEALTH_CONCURRENCY=2`, `DB_HEALTH_CONNECT=off`. All variables that cannot be are
 * listed in one `ConfigError`.
 */
export const config = (prefix?: string): Config.Config<HealthConfig> => fromEnvironment(healthConfigTable, prefix)

/**
 * A checker for a pool, or for several as one, which checks until the current scope closes.
 *
 * A `SqlitePool` is given as it is: `HealthChecker.make(db)` watches its writer and its readers, and one report says how
 * the database is, and which side is not well.
 *
 * The first check begins at once; nothing waits for it. Each check asks every connection that is idle when it begins,
 * one after the other, whether it still works: `validate` of the factory, or `isAlive` where there is none. Connections
 * in use are left alone. What fails is evicted, and replaced if somebody waits or `min` asks for it. What the checks come
 * to is also an event of the pool (`HealthChanged`), a line in the log, and a metric (`PoolMetrics.health`).
 *
 * Fails with `PoolConfigError` if the options are invalid. Unlike an idle pool, a checker keeps the process alive until
 * its scope closes, as everything does that waits for the clock.
 *
 * ```ts
 * import { Effect, Schedule, Stream } from "effect"
 * import { ConnectionPool, HealthChecker, InMemoryConnection } from "effect-connection-pool"
 *
 * export const program = Effect.scoped(Effect.gen(function*() {
 *   const pool = yield* ConnectionPool.make({ factory: InMemoryConnection.factory(), max: 4 })
 *   const health = yield* HealthChecker.make(pool, { schedule: Schedule.jittered(Schedule.spaced("10 seconds")) })
 *   yield* Effect.forkScoped(Stream.runForEach(health.changes, (report) => Effect.log(report.status, report.reasons)))
 *   return yield* health.check
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
        // The checker was stopped in the middle of it: whoever waits finds out for himself.
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
    Effect.tapCause((cause) =>
      Cause.hasInterruptsOnly(cause)
        ? Effect.void
        : Effect.logError(`the health checks of pool "${name}" have stopped`, cause)
    ),
    Effect.forkIn(scope, { startImmediately: true })
  )
  return {
    pool: name,
    report: Effect.suspend(() => last === undefined ? check : Effect.succeed(last)),
    check,
    changes: Stream.fromPubSubTake(changes)
  }
})

const statuses: ReadonlyArray<HealthStatus> = ["healthy", "degraded", "unhealthy"]

/** One round of checks, and the last status of each name that metrics show. */
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
  // In memory, the only side has the name of the whole.
  for (const [, watch] of watches) for (const [pool, status] of watch.statuses) statuses.set(pool, status)
  return { check, statuses }
}

const resolve = (pool: Watched, options: HealthOptions) => {
  const { checked, problems } = Options.check(healthTable, options)
  const problem = problemOf(pool)
  if (problem !== undefined) problems.push(problem)
  return unless(nameOf(pool), problems, checked)
}

/** Why this cannot be watched, if it cannot. */
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

/** The name of what is to be watched, if it has one. */
const nameOf = (pool: unknown): string => {
  const name = Predicate.hasProperty(pool, "name") ? pool.name : undefined
  return Predicate.isString(name) ? name : "pool"
}

/** A service that is a checker: the class that `Service` makes. */
export interface ServiceClass<Self, Id extends string> extends Context.ServiceClass<Self, Id, HealthChecker> {
  /** The checker of a pool, or of a `SqlitePool`, as a layer: it checks for as long as the layer lives. */
  readonly layer: <PoolId>(
    pool: Context.Key<PoolId, Watched>,
    options?: HealthOptions | undefined
  ) => Layer.Layer<Self, PoolConfigError, PoolId>
  /** `layer`, with options from the configuration: `SessionsHealth.layerConfig(Sessions, HealthChecker.config("HEALTH"))`. */
  readonly layerConfig: <PoolId>(
    pool: Context.Key<PoolId, Watched>,
    config: Config.Wrap<HealthConfig>
  ) => Layer.Layer<Self, Config.ConfigError | PoolConfigError, PoolId>
}

/**
 * A checker as a service, one class for each pool that is watched, with a `layer` beside that of the pool.
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
