import { assert, describe, it } from "@effect/vitest"
import { Effect, Layer, Metric, Scope } from "effect"
import { ConnectionPool, InMemoryConnection, PoolMetrics } from "effect-connection-pool"
import { HttpClient, HttpClientResponse } from "effect/http"
import { OtlpExporter, OtlpMetrics, OtlpSerialization, PrometheusMetrics } from "effect/observability"
import { TestClock } from "effect/testing"
import { borrow, make, settle } from "./support/pools.ts"

/** A registry of its own, so that no other test counts in it. */
const isolated = <A, E, R>(effect: Effect.Effect<A, E, R>): Effect.Effect<A, E, R> =>
  Effect.suspend(() => Effect.provideService(effect, Metric.MetricRegistry, new Map()))

const name = "db.client.connection.pool.name"

/** What OpenTelemetry's semantic conventions say, metric by metric. */
const conventions: ReadonlyArray<readonly [metric: string, unit: string, kind: "gauge" | "sum" | "histogram"]> = [
  ["db.client.connection.count", "{connection}", "gauge"],
  ["db.client.connection.idle.max", "{connection}", "gauge"],
  ["db.client.connection.idle.min", "{connection}", "gauge"],
  ["db.client.connection.max", "{connection}", "gauge"],
  ["db.client.connection.pending_requests", "{request}", "gauge"],
  ["db.client.connection.timeouts", "{timeout}", "sum"],
  ["db.client.connection.create_time", "s", "histogram"],
  ["db.client.connection.wait_time", "s", "histogram"],
  ["db.client.connection.use_time", "s", "histogram"]
]

/** A pool with something in every metric: 1 idle, 2 in use, 1 in line; leases of 4 and 0 seconds; one timeout. */
const busy = Effect.gen(function*() {
  const { faulty, pool } = yield* make({ name: "orders", min: 2, max: 3, validateAfterIdle: "Infinity" })
  yield* faulty.connect.delay(250)
  const first = yield* borrow(pool)
  const second = yield* borrow(pool)
  const third = yield* borrow(pool)
  const fourth = yield* borrow(pool)
  const late = yield* Effect.forkChild(Effect.flip(pool.use(() => Effect.void, { timeout: "3 seconds" })))
  yield* TestClock.adjust("4 seconds")
  yield* first.giveBack
  yield* third.giveBack
  yield* borrow(pool)
  yield* borrow(pool)
  yield* Effect.forkChild(pool.use(() => Effect.void))
  yield* settle
  return { pool, late, second, fourth }
})

describe("metrics", () => {
  it.effect("are those of OpenTelemetry, and say what the pool says", () =>
    isolated(Effect.gen(function*() {
      const { pool } = yield* busy
      const metrics = PoolMetrics.of("orders")
      const stats = yield* pool.stats
      const of = <S>(metric: Metric.Metric<never, S>) => Metric.value(metric)
      assert.deepStrictEqual(
        yield* Effect.all({
          idle: of(metrics.count.idle),
          used: of(metrics.count.used),
          max: of(metrics.max),
          idleMax: of(metrics.idleMax),
          idleMin: of(metrics.idleMin),
          pending: of(metrics.pendingRequests)
        }),
        {
          idle: { value: 0 },
          used: { value: 3 },
          max: { value: 3 },
          idleMax: { value: 3 },
          idleMin: { value: 2 },
          pending: { value: 2 }
        }
      )
      assert.deepStrictEqual(yield* of(metrics.timeouts), { count: 1, incremental: true })
      assert.strictEqual(stats.timeouts, 1)
      assert.deepStrictEqual(yield* of(metrics.connects.succeeded), { count: 3, incremental: true })
    })))

  it.effect("measure times in seconds", () =>
    isolated(Effect.gen(function*() {
      yield* busy
      const metrics = PoolMetrics.of("orders")
      const times = yield* Effect.all({
        create: Metric.value(metrics.createTime),
        wait: Metric.value(metrics.waitTime),
        use: Metric.value(metrics.useTime)
      })
      const found = Object.entries(times).map(([name, { count, max, min, sum }]) => [name, { count, min, max, sum }])
      assert.deepStrictEqual(Object.fromEntries(found), {
        // Two were opened by an eager start, at once.
        create: { count: 3, min: 0, max: 0.25, sum: 0.25 },
        // Two found an idle one, one waited for the third to be opened, and the fourth for 4 seconds.
        wait: { count: 5, min: 0, max: 4, sum: 4.25 },
        use: { count: 2, min: 3.75, max: 4, sum: 7.75 }
      })
      const buckets = new Map(times.wait.buckets)
      assert.deepStrictEqual([buckets.get(0.0001), buckets.get(0.1), buckets.get(0.5), buckets.get(5)], [3, 3, 4, 5])
      assert.deepStrictEqual(times.wait.buckets.map(([bound]) => bound), [...PoolMetrics.boundaries])
    })))

  it.effect("come out of the OTLP exporter under their names, with unit and pool", () =>
    isolated(Effect.gen(function*() {
      const bodies: Array<Exported> = []
      const client = HttpClient.make((request) =>
        Effect.sync(() => {
          if (request.body._tag === "Uint8Array") bodies.push(JSON.parse(new TextDecoder().decode(request.body.body)))
          return HttpClientResponse.fromWeb(request, new Response("{}"))
        })
      )
      yield* busy
      const exporter = OtlpMetrics.layer({
        url: "http://collector/v1/metrics",
        resource: { serviceName: "shop" }
      }).pipe(
        Layer.provide([OtlpSerialization.layerJson, Layer.succeed(HttpClient.HttpClient, client)])
      )
      const services = yield* Layer.build(exporter)
      yield* Effect.provide(Effect.flatMap(OtlpExporter.Flusher, (flusher) => flusher.flush), services)
      const exported = bodies.at(-1)!.resourceMetrics[0]!.scopeMetrics[0]!.metrics
      for (const [metric, unit, kind] of conventions) {
        const found = exported.find((one) => one.name === metric) ?? assert.fail(`${metric} is missing`)
        assert.strictEqual(found.unit, unit, metric)
        const points = found[kind]?.dataPoints ?? assert.fail(`${metric} is no ${kind}`)
        for (const point of points) assert.strictEqual(attributes(point)[name], "orders", metric)
      }
      const find = (metric: string, where: Readonly<Record<string, string>> = {}) => {
        const found = exported.find((one) => one.name === metric)!
        return (found.gauge ?? found.sum ?? found.histogram)!.dataPoints.find((point) =>
          Object.entries(where).every(([key, value]) => attributes(point)[key] === value)
        )!
      }
      const states = { used: 3, idle: 0, connecting: 0, validating: 0, resetting: 0, closing: 0 }
      for (const [state, value] of Object.entries(states)) {
        const point = find("db.client.connection.count", { "db.client.connection.state": state })
        assert.strictEqual(point.asDouble, value, state)
      }
      assert.strictEqual(find("db.client.connection.timeouts").asDouble, 1)
      const wait = find("db.client.connection.wait_time")
      assert.deepStrictEqual([wait.count, wait.sum, wait.explicitBounds], [5, 4.25, [...PoolMetrics.boundaries]])
      assert.strictEqual(wait.bucketCounts?.reduce((sum, count) => sum + count, 0), 5)
      assert.strictEqual(find("effect_connection_pool.evictions", { reason: "idle" }).asDouble, 0)
    })))

  it.effect("come out of the Prometheus exporter, each under one type, with the labels of OpenTelemetry", () =>
    isolated(Effect.gen(function*() {
      yield* busy
      const { samples, types } = parsePrometheus(yield* PrometheusMetrics.format())
      const kinds = { gauge: "gauge", sum: "counter", histogram: "histogram" }
      for (const [metric, , kind] of conventions) {
        assert.strictEqual(types.get(metric.replaceAll(".", "_")), kinds[kind], metric)
      }
      const pool = `db_client_connection_pool_name="orders"`
      assert.strictEqual(samples.get(`db_client_connection_count{${pool},db_client_connection_state="used"}`), 3)
      assert.strictEqual(samples.get(`db_client_connection_count{${pool},db_client_connection_state="idle"}`), 0)
      assert.strictEqual(samples.get(`db_client_connection_max{${pool}}`), 3)
      assert.strictEqual(samples.get(`db_client_connection_pending_requests{${pool}}`), 2)
      assert.strictEqual(samples.get(`db_client_connection_timeouts{${pool}}`), 1)
      assert.strictEqual(samples.get(`db_client_connection_use_time_sum{${pool}}`), 7.75)
      assert.strictEqual(samples.get(`db_client_connection_use_time_count{${pool}}`), 2)
      assert.strictEqual(samples.get(`db_client_connection_use_time_bucket{${pool},le="5"}`), 2)
      assert.strictEqual(samples.get(`db_client_connection_use_time_bucket{${pool},le="1"}`), 0)
      assert.strictEqual(samples.get(`effect_connection_pool_connects{${pool},result="succeeded"}`), 3)
    })))

  it.effect("also count connects, validations, resets, evictions and leaks, for which OpenTelemetry has no names", () =>
    isolated(Effect.gen(function*() {
      const { faulty, pool } = yield* make({
        name: "orders",
        max: 1,
        maxWaiting: 1,
        connectTimeout: "1 second",
        leakThreshold: "10 seconds",
        validateAfterIdle: "1 minute"
      })
      yield* faulty.connect.fail()
      yield* Effect.exit(pool.use(() => Effect.void))
      yield* faulty.connect.hang()
      yield* Effect.forkChild(pool.use(() => Effect.void))
      yield* TestClock.adjust("5 seconds")
      yield* pool.use((connection) => connection.soil)
      yield* faulty.reset.fail()
      yield* pool.use((connection) => connection.soil)
      yield* pool.use(() => Effect.void)
      yield* TestClock.adjust("2 minutes")
      yield* faulty.validate.fail()
      yield* pool.use(() => Effect.void)
      yield* TestClock.adjust("2 minutes")
      const leak = yield* borrow(pool)
      yield* TestClock.adjust("20 seconds")
      yield* leak.giveBack
      const { connects, evictions, leaks, resets, validations } = PoolMetrics.of("orders")
      const count = (counter: Metric.Counter<number>) => Effect.map(Metric.value(counter), ({ count }) => count)
      assert.deepStrictEqual(
        yield* Effect.all({
          opened: count(connects.succeeded),
          failed: count(connects.failed),
          timedOut: count(connects.timed_out),
          valid: count(validations.succeeded),
          invalid: count(validations.failed),
          reset: count(resets.succeeded),
          unclean: count(resets.failed),
          leaks: count(leaks),
          evictedInvalid: count(evictions.invalid),
          evictedReset: count(evictions.reset)
        }),
        {
          opened: 3,
          failed: 1,
          timedOut: 1,
          valid: 1,
          invalid: 1,
          reset: 1,
          unclean: 1,
          leaks: 1,
          evictedInvalid: 1,
          evictedReset: 1
        }
      )
    })))

  it.effect("of pools of one name are added up, and what they counted outlives them", () =>
    isolated(Effect.gen(function*() {
      const open = ConnectionPool.make({ factory: InMemoryConnection.factory(), name: "twins", min: 1, max: 2 })
      const metrics = PoolMetrics.of("twins")
      const read = Effect.gen(function*() {
        const { count } = yield* Metric.value(metrics.connects.succeeded)
        const { count: leases } = yield* Metric.value(metrics.useTime)
        const gauges = (yield* Metric.snapshot).filter((one) => one.type === "Gauge").map((one) => one.id)
        return [count, leases, gauges.length > 0 ? (yield* Metric.value(metrics.max)).value : "none"]
      })
      const scope = yield* Scope.make()
      const first = yield* Scope.provide(open, scope)
      yield* first.use(() => Effect.void)
      assert.deepStrictEqual(yield* read, [1, 1, 2])
      yield* Effect.scoped(Effect.gen(function*() {
        const second = yield* open
        yield* second.use(() => Effect.void)
        yield* second.use(() => Effect.void)
        assert.deepStrictEqual(yield* read, [2, 3, 4])
      }))
      assert.deepStrictEqual(yield* read, [2, 3, 2])
      yield* first.shutdown()
      assert.deepStrictEqual(yield* read, [2, 3, "none"])
      yield* Effect.scoped(
        Effect.andThen(
          open,
          Effect.flatMap(read, (found) => Effect.sync(() => assert.deepStrictEqual(found, [3, 3, 2])))
        )
      )
    })))

  it.effect("of pools of different names stand beside each other", () =>
    isolated(Effect.gen(function*() {
      for (const name of ["left", "right"]) {
        const pool = yield* ConnectionPool.make({ factory: InMemoryConnection.factory(), name })
        yield* pool.use(() => Effect.void)
      }
      const pools = (yield* Metric.snapshot).filter((one) => one.id === "db.client.connection.use_time").map((one) => [
        one.attributes?.[name],
        one.type === "Histogram" ? one.state.count : undefined
      ])
      assert.deepStrictEqual(pools, [["left", 1], ["right", 1]])
    })))

  it.effect("carry what the application attaches to all its metrics", () =>
    isolated(Effect.gen(function*() {
      yield* ConnectionPool.make({ factory: InMemoryConnection.factory(), name: "orders" })
      const max = (yield* Metric.snapshot).find((one) => one.id === "db.client.connection.max")!
      assert.deepStrictEqual(max.attributes, { [name]: "orders", unit: "{connection}", region: "north" })
    })).pipe(Effect.provideService(Metric.CurrentMetricAttributes, { region: "north" })))

  it.effect("are not shown if the option metrics is false", () =>
    isolated(Effect.gen(function*() {
      const pool = yield* ConnectionPool.make({ factory: InMemoryConnection.factory(), metrics: false })
      yield* pool.use(() => Effect.void)
      yield* pool.useSync(() => 1)
      assert.deepStrictEqual(yield* Metric.snapshot, [])
    })))

  it.effect("measure synchronous use and leases that a shutdown takes back as well", () =>
    isolated(Effect.gen(function*() {
      const { pool } = yield* make({ name: "orders", max: 2, closeTimeout: "1 second" })
      yield* pool.useSync(() => undefined)
      const { useTime } = PoolMetrics.of("orders")
      assert.strictEqual((yield* Metric.value(useTime)).count, 1)
      yield* Effect.forkDetach(pool.use(() => Effect.uninterruptible(Effect.never)))
      yield* settle
      yield* Effect.forkChild(pool.shutdown({ drainTimeout: "2 seconds" }))
      yield* TestClock.adjust("10 seconds")
      const { count, sum } = yield* Metric.value(useTime)
      assert.deepStrictEqual({ count, sum }, { count: 2, sum: 3 })
    })))
})

interface Point {
  readonly attributes: ReadonlyArray<{ readonly key: string; readonly value: { readonly stringValue?: string } }>
  readonly asDouble?: number
  readonly count?: number
  readonly sum?: number
  readonly bucketCounts?: ReadonlyArray<number>
  readonly explicitBounds?: ReadonlyArray<number>
}

interface Exported {
  readonly resourceMetrics: ReadonlyArray<{
    readonly scopeMetrics: ReadonlyArray<{
      readonly metrics: ReadonlyArray<
        & { readonly name: string; readonly unit: string }
        & { readonly [Kind in "gauge" | "sum" | "histogram"]?: { readonly dataPoints: ReadonlyArray<Point> } }
      >
    }>
  }>
}

const attributes = (point: Point): Readonly<Record<string, string | undefined>> =>
  Object.fromEntries(point.attributes.map(({ key, value }) => [key, value.stringValue]))

/** Reads the text format of Prometheus; fails on a line that is none, and on a name that has two types. */
const parsePrometheus = (text: string) => {
  const types = new Map<string, string>()
  const samples = new Map<string, number>()
  for (const line of text.trim().split("\n")) {
    const type = /^# TYPE ([a-zA-Z_:][\w:]*) (counter|gauge|histogram|summary)$/.exec(line)
    if (type !== null) {
      assert.isFalse(types.has(type[1]!), line)
      types.set(type[1]!, type[2]!)
      continue
    }
    if (line.startsWith("# HELP ")) continue
    const sample = /^([a-zA-Z_:][\w:]*(?:\{(?:[a-zA-Z_]\w*="(?:[^"\\]|\\.)*",?)*\})?) (\S+)$/.exec(line) ??
      assert.fail(`no sample: ${line}`)
    assert.isFalse(samples.has(sample[1]!), line)
    samples.set(sample[1]!, Number(sample[2]))
  }
  return { samples, types }
}
