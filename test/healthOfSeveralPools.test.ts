import { assert, describe, it } from "@effect/vitest"
import { Context, Effect, Fiber, Layer, Metric, Schedule, Schema, Stream } from "effect"
import { HealthChecker, HealthReport, PoolMetrics } from "effect-connection-pool"
import { PoolAssert } from "effect-connection-pool/testing"
import { TestClock } from "effect/testing"
import { summaryOfSides } from "./support/health.ts"
import { borrow, make, settle, shape } from "./support/pools.ts"

/** Two pools with one checker, as those of a database that one connection writes and others read. */
const makeSides = Effect.gen(function*() {
  const writer = yield* make({ name: "shop/writer", min: 1, max: 1, acquireTimeout: "4 seconds" })
  const readers = yield* make({ name: "shop/readers", min: 2, max: 3, acquireTimeout: "4 seconds" })
  return { writer, readers, shop: { name: "shop", sides: { writer: writer.pool, readers: readers.pool } } }
})

describe("a health checker of several pools", () => {
  it.effect("gives one report, with the numbers of all and a report of each side", () =>
    Effect.gen(function*() {
      const { shop } = yield* makeSides
      const health = yield* HealthChecker.make(shop)
      const report = yield* health.report
      assert.strictEqual(health.pool, "shop")
      assert.deepStrictEqual([report.pool, report.status, report.reasons], ["shop", "healthy", []])
      assert.deepStrictEqual(report.connections, { passed: 3, failed: 0, opened: 0, inUse: 0 })
      assert.deepStrictEqual(
        Object.entries(report.sides ?? {}).map(([side, { connections, pool }]) => [side, pool, connections.passed]),
        [["writer", "shop/writer", 1], ["readers", "shop/readers", 2]]
      )
      const json = Schema.encodeSync(HealthReport.HealthReport)(report)
      assert.deepStrictEqual(Schema.decodeSync(HealthReport.HealthReport)(JSON.parse(JSON.stringify(json))), report)
    }))

  it.effect("says which side is not well, is as well as the worst, and puts it first", () =>
    Effect.gen(function*() {
      const { readers, shop, writer } = yield* makeSides
      const health = yield* HealthChecker.make(shop, { interval: "10 seconds" })
      const seen: Array<readonly [millis: number, ReadonlyArray<string>]> = []
      yield* Effect.forkScoped(Stream.runForEach(health.changes, (report) =>
        Effect.sync(() =>
          seen.push([report.checkedAt.epochMilliseconds, summaryOfSides(report)])
        )))
      yield* settle
      // One of the readers is lost, and replaced.
      yield* readers.faulty.sever(1)
      yield* TestClock.adjust("10 seconds")
      // The other side is lost and cannot be replaced.
      yield* writer.faulty.kill(1)
      yield* writer.faulty.connect.fail(10_000, { transient: true })
      yield* readers.faulty.sever(2)
      yield* TestClock.adjust("10 seconds")
      const lost = yield* health.report
      assert.deepStrictEqual(lost.reasons.at(-1), {
        _tag: "ConnectionsFailed",
        side: "readers",
        checked: 2,
        failed: [{ connection: 2, reason: "invalid" }]
      })
      assert.deepStrictEqual([lost.sides?.["writer"]?.status, lost.sides?.["readers"]?.status], [
        "unhealthy",
        "degraded"
      ])
      assert.match(
        HealthReport.reasonText(lost.reasons[0]!),
        /^writer: no connection can be opened, \d+ attempts? failed/
      )
      // The time at which both sides worked last, and the last thing that was wrong with either.
      assert.strictEqual(lost.lastSuccessAt?.epochMilliseconds, 10_000)
      assert.match(lost.lastError?.error ?? "", /^(writer|readers): /)
      assert.strictEqual(lost.lastError?.at.epochMilliseconds, 20_000)
      yield* writer.faulty.connect.clear
      yield* TestClock.adjust("20 seconds")
      assert.deepStrictEqual(seen, [
        [0, ["healthy"]],
        [10_000, ["degraded", "readers: ConnectionsFailed"]],
        [20_000, ["unhealthy", "writer: CannotConnect", "writer: ConnectionsFailed", "readers: ConnectionsFailed"]],
        [30_000, ["healthy"]]
      ])
      assert.deepStrictEqual([yield* shape(writer.pool), yield* shape(readers.pool)], [{ idle: 1 }, { idle: 2 }])
      yield* PoolAssert.nothingLeaked(writer.faulty, writer.pool)
      yield* PoolAssert.nothingLeaked(readers.faulty, readers.pool)
    }))

  it.effect("knows no time at which all worked, before each side has worked once", () =>
    Effect.gen(function*() {
      const { shop, writer } = yield* makeSides
      yield* writer.faulty.kill(1)
      yield* writer.faulty.connect.fail(10_000, { transient: true })
      const health = yield* HealthChecker.make(shop)
      const first = yield* health.report
      assert.strictEqual(first.status, "unhealthy")
      assert.isUndefined(first.sides?.["writer"]?.lastSuccessAt)
      assert.isDefined(first.sides?.["readers"]?.lastSuccessAt)
      assert.notProperty(first, "lastSuccessAt")
      yield* writer.faulty.connect.clear
      yield* TestClock.adjust("1 minute")
      assert.property(yield* health.check(), "lastSuccessAt")
    }))

  it.effect("tells a change from one side to the other, though status and kind of reason stay", () =>
    Effect.gen(function*() {
      const { readers, shop, writer } = yield* makeSides
      const health = yield* HealthChecker.make(shop)
      const seen: Array<ReadonlyArray<string>> = []
      yield* Effect.forkScoped(
        Stream.runForEach(health.changes, (report) => Effect.sync(() => seen.push(summaryOfSides(report))))
      )
      yield* settle
      yield* Effect.andThen(writer.pool.pause, health.check())
      yield* Effect.andThen(Effect.andThen(writer.pool.resume, readers.pool.pause), health.check())
      yield* readers.pool.resume
      yield* settle
      assert.deepStrictEqual(seen, [["healthy"], ["degraded", "writer: Paused"], ["degraded", "readers: Paused"]])
    }))

  it.effect("checks all sides at the same time: one that hangs delays no other, and ends at its deadline", () =>
    Effect.gen(function*() {
      const { readers, shop, writer } = yield* makeSides
      const health = yield* HealthChecker.make(shop, { timeout: "3 seconds", schedule: Schedule.recurs(0) })
      yield* health.report
      yield* writer.faulty.validate.hang()
      const before = (yield* readers.faulty.counters).validations
      const check = yield* Effect.forkChild(health.check())
      yield* settle
      assert.strictEqual((yield* readers.faulty.counters).validations, before + 2)
      yield* TestClock.adjust("2 seconds")
      assert.isUndefined(check.pollUnsafe())
      yield* TestClock.adjust("1 second")
      assert.deepStrictEqual(summaryOfSides(yield* Fiber.join(check)), ["degraded", "writer: ConnectionsFailed"])
    }))

  it.effect("sees callers wait on the side where they wait", () =>
    Effect.gen(function*() {
      const { shop, writer } = yield* makeSides
      const health = yield* HealthChecker.make(shop, { interval: "1 second" })
      const holder = yield* borrow(writer.pool)
      const late = yield* Effect.forkChild(Effect.flip(writer.pool.use(() => Effect.void)))
      yield* TestClock.adjust("3 seconds")
      assert.deepStrictEqual(summaryOfSides(yield* health.report), ["degraded", "writer: CallersWaiting"])
      yield* TestClock.adjust("1 second")
      assert.strictEqual((yield* Fiber.join(late))._tag, "AcquireTimeoutError")
      assert.deepStrictEqual(summaryOfSides(yield* health.check()), ["degraded", "writer: CallersTurnedAway"])
      yield* holder.giveBack
      yield* TestClock.adjust("5 seconds")
      assert.deepStrictEqual(summaryOfSides(yield* health.report), ["healthy"])
    }))

  it.effect("shows the status of each pool and of all together, until its scope closes", () =>
    Effect.gen(function*() {
      const { shop, writer } = yield* makeSides
      const shown = Effect.map(
        Effect.forEach(["shop", "shop/writer", "shop/readers"], (pool) =>
          Effect.map(Metric.value(PoolMetrics.health(pool, "degraded")), ({ value }) => value)),
        (values) =>
          values.join(" ")
      )
      yield* Effect.scoped(Effect.gen(function*() {
        const health = yield* HealthChecker.make(shop)
        yield* health.report
        assert.strictEqual(yield* shown, "0 0 0")
        yield* writer.pool.pause
        yield* health.check()
        assert.strictEqual(yield* shown, "1 1 0")
      }))
      assert.notInclude(JSON.stringify(yield* Metric.snapshot), "shop\",\"status")
    }))

  it.effect("is a layer beside theirs", () =>
    Effect.gen(function*() {
      const { shop } = yield* makeSides
      class Shop extends Context.Service<Shop, HealthChecker.Sides>()("test/Shop") {}
      class ShopHealth extends HealthChecker.Service<ShopHealth>()("test/ShopHealth") {}
      const layer = ShopHealth.layer(Shop, { interval: "1 second" }).pipe(Layer.provide(Layer.succeed(Shop, shop)))
      const report = yield* Effect.provide(Effect.flatMap(ShopHealth, ({ report }) => report), layer)
      assert.deepStrictEqual(summaryOfSides(report), ["healthy"])
    }))

  it.effect("without any pool is refused, with all other problems", () =>
    Effect.gen(function*() {
      const made = HealthChecker.make({ name: "nothing", sides: {} }, { concurrency: 0 })
      const error = yield* Effect.scoped(PoolAssert.failsWith(made, "PoolConfigError"))
      assert.strictEqual(error.pool, "nothing")
      assert.deepStrictEqual(error.problems.map(({ field }) => field).toSorted(), ["concurrency", "sides"])
    }))
})
