/**
 * The metrics of a pool: metrics of Effect, with the names of OpenTelemetry's conventions.
 *
 * Every pool reports its metrics, unless its option `metrics` is `false`. The exporter of the application (`OtlpMetrics`,
 * `PrometheusMetrics`, `Metric.snapshot`) exports them together with its other metrics. An exporter reads them from the pool
 * when it exports, so they make `use` only a few percent slower. `useSync` would become a fifth slower if it read the clock
 * once more. So while no caller waits, only every eighth call is timed, and it counts for the other seven.
 *
 * All metrics have the attribute `db.client.connection.pool.name`. Give each pool of an application a name of its own,
 * because the numbers of pools with the same name are added up. When a pool is closed, its gauges are removed. Its counters
 * and histograms stay, so that the last export has them, and a later pool of the same name adds to them.
 *
 * An UpDownCounter of OpenTelemetry is a gauge here. Effect has no such counter, and its exporters would tell Prometheus
 * that a counter that may also go down only grows.
 */
import { Metric } from "effect"
import type { EvictReason } from "./Connection.ts"
import type { HealthStatus } from "./HealthReport.ts"
import { bounds } from "./internal/structures/histogram.ts"
import { sizeBounds } from "./internal/structures/sizes.ts"
import type { PoolEvictReason } from "./PoolMapEvent.ts"

/** The states of connections in `db.client.connection.count`: the two of OpenTelemetry, and five others. */
export type CountedState = "idle" | "used" | "connecting" | "validating" | "resetting" | "abandoned" | "closing"

/** How an operation on a connection has ended: the values of the attribute `result`. */
export type OperationResult = "succeeded" | "failed"

/**
 * How a read on a connection that several share has ended: the values of the attribute `result`. After `refused`, `late` and
 * `lost`, it has run again on another connection.
 */
export type SharedReadResult = "answered" | "abandoned" | "refused" | "late" | "lost"

/** The metrics of one pool. Times are in seconds. */
export interface PoolMetrics {
  /**
   * `db.client.connection.count`: connections, by `db.client.connection.state`. Their sum is at most `max`, and
   * `maxAbandoned` more while connections are abandoned.
   */
  readonly count: { readonly [State in CountedState]: Metric.Gauge<number> }
  /** `db.client.connection.idle.max`: the maximum number of idle connections, which is `max`. */
  readonly idleMax: Metric.Gauge<number>
  /** `db.client.connection.idle.min`: `min`. */
  readonly idleMin: Metric.Gauge<number>
  /** `db.client.connection.max`: `max`. */
  readonly max: Metric.Gauge<number>
  /** `db.client.connection.pending_requests`: callers in line. */
  readonly pendingRequests: Metric.Gauge<number>
  /** `db.client.connection.timeouts`: callers that got no connection before their deadline. */
  readonly timeouts: Metric.Counter<number>
  /** `db.client.connection.create_time`: how long each connection took to open. */
  readonly createTime: Metric.Histogram<number>
  /** `db.client.connection.wait_time`: how long each caller that got a connection has waited. It is 0 for most. */
  readonly waitTime: Metric.Histogram<number>
  /** `db.client.connection.use_time`: how long each lease lasted. */
  readonly useTime: Metric.Histogram<number>

  /** `effect_connection_pool.connects`: connect attempts that have ended, by `result`. */
  readonly connects: { readonly [How in OperationResult | "timed_out"]: Metric.Counter<number> }
  /** `effect_connection_pool.validations`: validations that have ended, by `result`. */
  readonly validations: { readonly [How in OperationResult]: Metric.Counter<number> }
  /** `effect_connection_pool.resets`: resets that have ended, by `result`. */
  readonly resets: { readonly [How in OperationResult]: Metric.Counter<number> }
  /** `effect_connection_pool.evictions`: connections that left the pool, by `reason`. */
  readonly evictions: { readonly [Reason in EvictReason]: Metric.Counter<number> }
  /** `effect_connection_pool.leaks`: leases reported as possible leaks. */
  readonly leaks: Metric.Counter<number>
  /** `effect_connection_pool.refusals`: callers that were refused at once. */
  readonly refusals: Metric.Counter<number>
  /** `effect_connection_pool.close_timeouts`: connections that did not close within `closeTimeout`. */
  readonly closeTimeouts: Metric.Counter<number>
  /** `effect_connection_pool.abandonments`: leases that ended while something of them still ran. */
  readonly abandonments: Metric.Counter<number>

  /**
   * `effect_connection_pool.group_size`: the number of callers that were served together. Each of them also counts as
   * a lease, in `useTime` and `waitTime`. Only groups of two or more count. Only the pool of the SQLite connection that writes has groups.
   */
  readonly groupSize: Metric.Histogram<number>
  /** `effect_connection_pool.undone_groups`: groups that were undone. Their callers ran again one by one. */
  readonly undoneGroups: Metric.Counter<number>

  /**
   * `effect_connection_pool.log_size`: the size of SQLite's log (`-wal`) in bytes. Only the pool of the connection that writes
   * has it.
   */
  readonly logSize: Metric.Gauge<number>
  /** `effect_connection_pool.log_limit`: `walLimit` in bytes, the size above which the log is cut back. */
  readonly logLimit: Metric.Gauge<number>

  /** `effect_connection_pool.statement_time`: how long each statement took. Only pools with `slowStatement` have it. */
  readonly statementTime: Metric.Histogram<number>
  /**
   * `effect_connection_pool.slow_statements`: statements that took as long as `slowStatement`, or longer. Only pools with
   * that option have it.
   */
  readonly slowStatements: Metric.Counter<number>

  /**
   * `effect_connection_pool.shared_reads`: reads on connections that several share, by `result`, when they have ended. Only the
   * pool of such connections has it, of a PostgreSQL database with `sharedReads`.
   */
  readonly sharedReads: { readonly [How in SharedReadResult]: Metric.Counter<number> }
}

/** How a call of a map of pools was answered: the values of the attribute `result`. */
export type RequestResult = "hit" | "miss" | "open_failed" | "timed_out" | "refused" | "cancelled"

/** The metrics of a map of pools. They have the attribute `pool_map.name`. Times are in seconds. */
export interface PoolMapMetrics {
  /** `effect_connection_pool.map.count`: pools, by `state` (`idle`, `used`, `opening`, `closing`). Their sum is at most `max`. */
  readonly count: { readonly [State in "idle" | "inUse" | "opening" | "closing"]: Metric.Gauge<number> }
  /** `effect_connection_pool.map.max`: `max`. */
  readonly max: Metric.Gauge<number>
  /** `effect_connection_pool.map.pending_requests`: callers that wait for a pool. */
  readonly pendingRequests: Metric.Gauge<number>
  /** `effect_connection_pool.map.requests`: calls that were answered, by `result`. */
  readonly requests: { readonly [How in RequestResult]: Metric.Counter<number> }
  /** `effect_connection_pool.map.opens`: runs of `open` that have ended, by `result`. */
  readonly opens: { readonly [How in OperationResult | "timed_out"]: Metric.Counter<number> }
  /** `effect_connection_pool.map.evictions`: pools that left the map, by `reason`. */
  readonly evictions: { readonly [Reason in PoolEvictReason]: Metric.Counter<number> }
  /** `effect_connection_pool.map.open_time`: how long each pool took to open. */
  readonly openTime: Metric.Histogram<number>
  /** `effect_connection_pool.map.wait_time`: how long each caller has waited that got its pool, but did not find it open. */
  readonly waitTime: Metric.Histogram<number>
}

/** The upper bounds of the buckets of histograms of times, in seconds. */
export const boundaries: ReadonlyArray<number> = bounds.map((millis) => millis / 1000)

/**
 * Returns the metrics of the pool with this name. Read them with `Metric.value`.
 *
 * ```ts
 * import { Effect, Metric } from "effect"
 * import { ConnectionPool, InMemoryConnection, PoolMetrics } from "effect-connection-pool"
 *
 * export const program = Effect.scoped(Effect.gen(function*() {
 *   const pool = yield* ConnectionPool.make({ factory: InMemoryConnection.factory(), name: "sessions" })
 *   yield* pool.use((connection) => connection.get("user"))
 *   const { count, sum } = yield* Metric.value(PoolMetrics.of("sessions").useTime)
 *   yield* Effect.log(`${count} leases, ${sum} seconds`)
 * }))
 * ```
 */
export const of = (pool: string): PoolMetrics => {
  const { counter, gauge, histogram, sizes } = instruments({ "db.client.connection.pool.name": pool })
  const count = (state: CountedState) =>
    gauge(
      "db.client.connection.count",
      "{connection}",
      "The number of connections that are currently in the state described by the state attribute",
      { "db.client.connection.state": state }
    )
  const connects = (result: string) =>
    counter("effect_connection_pool.connects", "{attempt}", "Attempts to open a connection that have ended", { result })
  const validations = (result: OperationResult) =>
    counter("effect_connection_pool.validations", "{validation}", "Validations that have ended", { result })
  const sharedReads = (result: SharedReadResult) =>
    counter("effect_connection_pool.shared_reads", "{statement}", "Reads that have ended on shared connections", {
      result
    })
  const resets = (result: OperationResult) =>
    counter("effect_connection_pool.resets", "{reset}", "Resets that have ended", { result })
  const evictions = (reason: EvictReason) =>
    counter("effect_connection_pool.evictions", "{connection}", "Connections that left the pool", { reason })

  return {
    count: {
      idle: count("idle"),
      used: count("used"),
      connecting: count("connecting"),
      validating: count("validating"),
      resetting: count("resetting"),
      abandoned: count("abandoned"),
      closing: count("closing")
    },
    idleMax: gauge(
      "db.client.connection.idle.max",
      "{connection}",
      "The maximum number of idle open connections allowed"
    ),
    idleMin: gauge(
      "db.client.connection.idle.min",
      "{connection}",
      "The minimum number of idle open connections allowed"
    ),
    max: gauge("db.client.connection.max", "{connection}", "The maximum number of open connections allowed"),
    pendingRequests: gauge(
      "db.client.connection.pending_requests",
      "{request}",
      "The number of current pending requests for an open connection"
    ),
    timeouts: counter(
      "db.client.connection.timeouts",
      "{timeout}",
      "The number of connection timeouts that have occurred trying to obtain a connection from the pool"
    ),
    createTime: histogram("db.client.connection.create_time", "The time it took to create a new connection"),
    waitTime: histogram(
      "db.client.connection.wait_time",
      "The time it took to obtain an open connection from the pool"
    ),
    useTime: histogram(
      "db.client.connection.use_time",
      "The time between borrowing a connection and returning it to the pool"
    ),
    connects: { succeeded: connects("succeeded"), failed: connects("failed"), timed_out: connects("timed_out") },
    validations: { succeeded: validations("succeeded"), failed: validations("failed") },
    resets: { succeeded: resets("succeeded"), failed: resets("failed") },
    evictions: {
      idle: evictions("idle"),
      lifetime: evictions("lifetime"),
      uses: evictions("uses"),
      dead: evictions("dead"),
      invalid: evictions("invalid"),
      reset: evictions("reset"),
      fatal: evictions("fatal"),
      abandoned: evictions("abandoned"),
      invalidated: evictions("invalidated"),
      recycled: evictions("recycled"),
      excess: evictions("excess"),
      driver: evictions("driver"),
      shutdown: evictions("shutdown")
    },
    leaks: counter("effect_connection_pool.leaks", "{lease}", "Leases reported as possible leaks"),
    refusals: counter(
      "effect_connection_pool.refusals",
      "{request}",
      "Requests for a connection that were refused at once"
    ),
    closeTimeouts: counter(
      "effect_connection_pool.close_timeouts",
      "{connection}",
      "Connections that would not close in time"
    ),
    abandonments: counter(
      "effect_connection_pool.abandonments",
      "{lease}",
      "Leases that ended while something of them still ran"
    ),
    groupSize: sizes("effect_connection_pool.group_size", "Requests for a connection that were served together"),
    undoneGroups: counter(
      "effect_connection_pool.undone_groups",
      "{group}",
      "Groups that were undone, and whose requests were served one by one"
    ),
    logSize: gauge("effect_connection_pool.log_size", "By", "The size of the log of the database"),
    logLimit: gauge(
      "effect_connection_pool.log_limit",
      "By",
      "The size above which the log of the database is cut back"
    ),
    statementTime: histogram("effect_connection_pool.statement_time", "The time that statements took"),
    slowStatements: counter(
      "effect_connection_pool.slow_statements",
      "{statement}",
      "Statements that took as long as slowStatement, or longer"
    ),
    sharedReads: {
      answered: sharedReads("answered"),
      abandoned: sharedReads("abandoned"),
      refused: sharedReads("refused"),
      late: sharedReads("late"),
      lost: sharedReads("lost")
    }
  }
}

/** Returns the metrics of the map of pools with this name. */
export const ofMap = (map: string): PoolMapMetrics => {
  const { counter, gauge, histogram } = instruments({ "pool_map.name": map })
  const count = (state: string) =>
    gauge("effect_connection_pool.map.count", "{pool}", "The pools of the map that are in this state", { state })
  const requests = (result: RequestResult) =>
    counter("effect_connection_pool.map.requests", "{request}", "Requests for a pool that were answered", { result })
  const opens = (result: string) =>
    counter("effect_connection_pool.map.opens", "{attempt}", "Attempts to open a pool that have ended", { result })
  const evictions = (reason: PoolEvictReason) =>
    counter("effect_connection_pool.map.evictions", "{pool}", "Pools that left the map", { reason })
  return {
    count: { idle: count("idle"), inUse: count("used"), opening: count("opening"), closing: count("closing") },
    max: gauge("effect_connection_pool.map.max", "{pool}", "The maximum number of pools"),
    pendingRequests: gauge(
      "effect_connection_pool.map.pending_requests",
      "{request}",
      "The number of current pending requests for a pool"
    ),
    requests: {
      hit: requests("hit"),
      miss: requests("miss"),
      open_failed: requests("open_failed"),
      timed_out: requests("timed_out"),
      refused: requests("refused"),
      cancelled: requests("cancelled")
    },
    opens: { succeeded: opens("succeeded"), failed: opens("failed"), timed_out: opens("timed_out") },
    evictions: {
      idle: evictions("idle"),
      room: evictions("room"),
      invalidated: evictions("invalidated"),
      closed: evictions("closed"),
      shutdown: evictions("shutdown")
    },
    openTime: histogram("effect_connection_pool.map.open_time", "The time it took to open a pool"),
    waitTime: histogram("effect_connection_pool.map.wait_time", "The time it took to get a pool that was not open")
  }
}

/**
 * Returns the metric `effect_connection_pool.health`. It is 1 for the last status (`status`) that a `HealthChecker` gave the
 * pool, and 0 for the others.
 */
export const health = (pool: string, status: HealthStatus): Metric.Gauge<number> =>
  Metric.gauge("effect_connection_pool.health", {
    description: "1 for the present health status of the pool, 0 for the others",
    attributes: { "db.client.connection.pool.name": pool, status, unit: "1" }
  })

/** Makes metrics that all have these attributes, and their unit. */
const instruments = (named: Record<string, string>) => {
  const histogram = (unit: string, boundaries: ReadonlyArray<number>) => (name: string, description: string) =>
    Metric.histogram(name, { description, attributes: { ...named, unit }, boundaries })
  return {
    gauge: (name: string, unit: string, description: string, more?: Record<string, string>) =>
      Metric.gauge(name, { description, attributes: { ...named, ...more, unit } }),
    counter: (name: string, unit: string, description: string, more?: Record<string, string>) =>
      Metric.counter(name, { description, attributes: { ...named, ...more, unit }, incremental: true }),
    histogram: histogram("s", boundaries),
    sizes: histogram("{request}", sizeBounds)
  }
}
