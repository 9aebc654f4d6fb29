import { assert, describe, it } from "@effect/vitest"
import { ConfigProvider, Effect, Exit, Fiber, Layer, Logger, Metric, Schedule, Schema, Scope, Stream } from "effect"
import { ConnectionPool, HealthChecker, HealthReport, PoolMetrics } from "effect-connection-pool"
import { FaultyFactory, PoolAssert } from "effect-connection-pool/testing"
import { TestClock } from "effect/testing"
import { summary } from "./support/health.ts"
import { make, settle } from "./support/pools.ts"

describe("a health checker as part of an application", () => {
  it.effect("stops with its scope, and leaves nothing behind", () =>
    Effect.gen(function*() {
      const { faulty, pool } = yield* make({ name: "stopping", min: 2, max: 2 })
      const scope = yield* Scope.make()
      const health = yield* Scope.provide(HealthChecker.make(pool), scope)
      yield* health.report
      const changes = yield* Effect.forkChild(Stream.runCollect(health.changes))
      yield* faulty.validate.hold
      const waiting = yield* Effect.forkChild(health.check())
      yield* settle
      yield* Scope.close(scope, Exit.void)
      yield* faulty.validate.open
      // Whoever had asked is answered all the same.
      assert.deepStrictEqual(summary(yield* Fiber.join(waiting)), ["healthy"])
      assert.deepStrictEqual((yield* Fiber.join(changes)).map(summary), [["healthy"]])
      const gauges = (yield* Metric.snapshot).filter(({ attributes, id }) =>
        id === "effect_connection_pool.health" && attributes?.["db.client.connection.pool.name"] === "stopping"
      )
      assert.deepStrictEqual(gauges, [])
      const { validations } = yield* faulty.counters
      yield* TestClock.adjust("1 hour")
      assert.strictEqual((yield* faulty.counters).validations, validations)
      assert.deepStrictEqual((yield* Stream.runCollect(health.changes)).map(summary), [["healthy"]])
      assert.deepStrictEqual(summary(yield* health.check()), ["healthy"])
      yield* PoolAssert.nothingLeaked(faulty, pool)
    }))

  it.effect("runs on any schedule, and after its end only on demand", () =>
    Effect.gen(function*() {
      const { faulty, pool } = yield* make({ min: 1, max: 1, idleTimeout: "Infinity" })
      const schedule = Schedule.max([Schedule.spaced("1 minute"), Schedule.recurs(2)])
      const health = yield* HealthChecker.make(pool, { schedule })
      yield* TestClock.adjust("1 second")
      assert.strictEqual((yield* faulty.counters).validations, 1)
      yield* TestClock.adjust("1 hour")
      assert.strictEqual((yield* faulty.counters).validations, 3)
      yield* health.check()
      assert.strictEqual((yield* faulty.counters).validations, 4)
    }))

  const ends = { dies: Effect.die(new Error("no schedule")), "is interrupted": Effect.interrupt }
  for (const [how, end] of Object.entries(ends)) {
    it.effect(`whose schedule ${how} says so, and still checks on demand`, () =>
      Effect.gen(function*() {
        const lines: Array<string> = []
        const logger = Logger.make(({ logLevel, message }) => {
          lines.push(`${logLevel} ${String((message as ReadonlyArray<unknown>)[0])}`)
        })
        const { pool } = yield* make({ name: "orders", min: 1, max: 1 })
        const schedule = Schedule.fromStep(Effect.succeed(() => end))
        const health = yield* HealthChecker.make(pool, { schedule }).pipe(Effect.provide(Logger.layer([logger])))
        yield* settle
        assert.deepStrictEqual(lines, [`Error the health checks of pool "orders" have stopped`])
        assert.deepStrictEqual(summary(yield* health.check()), ["healthy"])
      }))
  }

  it.effect("tells the readers of events, and an exporter", () =>
    Effect.gen(function*() {
      const { faulty, pool } = yield* make({ name: "orders", min: 1, max: 1 })
      const events: Array<unknown> = []
      yield* Effect.forkScoped(Stream.runForEach(pool.events, (event) =>
        Effect.sync(() => {
          if (event._tag === "HealthChanged") events.push([event.from, event.report.status])
          if (event._tag === "Checked") events.push([event.passed, event.failed, event.busy])
        })))
      yield* settle
      const health = yield* HealthChecker.make(pool)
      yield* health.report
      yield* faulty.kill(1)
      yield* faulty.connect.fail()
      yield* health.check()
      yield* settle
      assert.deepStrictEqual(events, [[1, 0, 0], [undefined, "healthy"], [0, 1, 0], ["healthy", "unhealthy"]])
      const shown = yield* Effect.forEach(["healthy", "degraded", "unhealthy"] as const, (status) =>
        Metric.value(PoolMetrics.health("orders", status)))
      assert.deepStrictEqual(
        shown.map(({ value }) =>
          value
        ),
        [0, 0, 1]
      )
    }))

  it.effect("is a layer beside the layer of any pool", () =>
    Effect.gen(function*() {
      const faulty = yield* FaultyFactory.make()
      class Db extends ConnectionPool.Service<Db, FaultyFactory.FaultyConnection, FaultyFactory.FaultyError>()("Db") {}
      class DbHealth extends HealthChecker.Service<DbHealth>()("DbHealth") {}
      const layer = DbHealth.layer(Db, { interval: "1 second" }).pipe(
        Layer.provideMerge(Db.layer({ factory: faulty.factory, min: 1, name: "layered" }))
      )
      yield* Effect.gen(function*() {
        const health = yield* DbHealth
        assert.strictEqual(health.pool, "layered")
        yield* TestClock.adjust("10 seconds")
        assert.strictEqual((yield* health.report).checkedAt.epochMilliseconds, 10_000)
      }).pipe(Effect.provide(layer))
      const { closed, opened } = yield* faulty.counters
      assert.deepStrictEqual([opened, closed], [1, 1])
    }))

  it.effect("reports what JSON can carry", () =>
    Effect.gen(function*() {
      const { faulty, pool } = yield* make({ name: "orders", min: 1, max: 1 })
      const health = yield* HealthChecker.make(pool)
      yield* health.report
      yield* TestClock.adjust("3 seconds")
      yield* faulty.sever(1)
      const report = yield* health.check()
      const encoded = Schema.encodeSync(HealthReport.HealthReport)(report)
      assert.deepStrictEqual(JSON.parse(JSON.stringify(encoded)), {
        pool: "orders",
        status: "degraded",
        reasons: [{ _tag: "ConnectionsFailed", checked: 1, failed: [{ connection: 1, reason: "invalid" }] }],
        checkedAt: "1970-01-01T00:00:03.000Z",
        lastSuccessAt: "1970-01-01T00:00:03.000Z",
        lastError: { at: "1970-01-01T00:00:03.000Z", error: "connection 1 failed its validation" },
        connections: { passed: 0, failed: 1, opened: 1, inUse: 0 }
      })
      assert.deepStrictEqual(Schema.decodeUnknownSync(HealthReport.HealthReport)(encoded), report)
    }))

  it.effect("reads its options from the environment, and lists all that cannot be", () =>
    Effect.gen(function*() {
      const read = (env: Record<string, string>) =>
        Effect.provideService(
          HealthChecker.config("DB_HEALTH"),
          ConfigProvider.ConfigProvider,
          ConfigProvider.fromEnv({ env })
        )
      const config = yield* read({
        DB_HEALTH_INTERVAL: "30s",
        DB_HEALTH_TIMEOUT: "2 seconds",
        DB_HEALTH_CONCURRENCY: "2",
        DB_HEALTH_CONNECT: "off"
      })
      assert.deepStrictEqual(Object.keys(config), ["interval", "timeout", "concurrency", "connect"])
      const { faulty, pool } = yield* make({ max: 1 })
      yield* HealthChecker.make(pool, config)
      yield* TestClock.adjust("1 minute")
      assert.strictEqual((yield* faulty.counters).attempts, 0)
      const error = yield* Effect.flip(read({ DB_HEALTH_INTERVAL: "often", DB_HEALTH_CONCURRENCY: "0" }))
      assert.deepStrictEqual(error.cause.message.split("\n"), [
        `DB_HEALTH_INTERVAL is "often", but must be a duration above zero, such as "5 seconds", or Infinity`,
        `DB_HEALTH_CONCURRENCY is 0, but must be a whole number of at least 1`
      ])
    }))

  it.effect("refuses invalid options", () =>
    Effect.gen(function*() {
      const { pool } = yield* make({ max: 1 })
      const options: HealthChecker.HealthOptions = {
        interval: "1 second",
        schedule: Schedule.forever,
        concurrency: 1.5,
        timeout: 0
      }
      const error = yield* PoolAssert.failsWith(HealthChecker.make(pool, options), "PoolConfigError")
      assert.deepStrictEqual(error.problems.map(({ field }) => field), ["timeout", "concurrency", "interval"])
      const second = yield* PoolAssert.failsWith(pool.check({ concurrency: 0, timeout: -1 }), "PoolConfigError")
      assert.deepStrictEqual(second.problems.map(({ field }) => field), ["concurrency", "timeout"])
    }))
})
