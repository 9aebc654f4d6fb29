import { assert, describe, it } from "@effect/vitest"
import { Effect, Exit, Fiber, Logger, Metric, Scope } from "effect"
import { HealthChecker, PoolMetrics } from "effect-connection-pool"
import { PoolAssert } from "effect-connection-pool/testing"
import { TestClock } from "effect/testing"
import { summary } from "./support/health.ts"
import { borrow, leaveRunning, make, settle, shape } from "./support/pools.ts"

const nobody = { returned: 0, interrupted: 0, revoked: 0, abandoned: [], closeTimeouts: 0 }

describe("a shutdown with abandoned connections", () => {
  it.effect("waits for them, and closes each when it has settled", () =>
    Effect.gen(function*() {
      const { faulty, pool } = yield* make({ max: 2, drainTimeout: "10 seconds" })
      yield* faulty.settle.hold
      const two = yield* Effect.forEach([1, 2], () => borrow(pool))
      for (const { connection, fiber } of two) {
        yield* connection!.start
        yield* Fiber.interrupt(fiber)
      }
      const closing = yield* Effect.forkChild(pool.shutdown())
      yield* TestClock.adjust("9 seconds")
      yield* faulty.settle.pass()
      yield* settle
      assert.deepStrictEqual(yield* shape(pool), { abandoned: 1 })
      assert.isUndefined(closing.pollUnsafe())
      yield* faulty.settle.open
      assert.deepStrictEqual(yield* Fiber.join(closing), nobody)
      yield* PoolAssert.allClosed(faulty, pool)
    }))

  it.effect("does not reset or validate what settles, but closes it", () =>
    Effect.gen(function*() {
      const { faulty, pool } = yield* make({ max: 1, drainTimeout: "10 seconds" })
      yield* faulty.settle.hold
      yield* Effect.exit(pool.use((one) => Effect.andThen(one.start, Effect.andThen(one.soil, Effect.fail("no")))))
      const closing = yield* Effect.forkChild(pool.shutdown())
      yield* settle
      yield* faulty.settle.open
      assert.deepStrictEqual(yield* Fiber.join(closing), nobody)
      const { resets, validations } = yield* faulty.counters
      assert.deepStrictEqual([resets, validations], [0, 0])
    }))

  it.effect("does not wait longer than drainTimeout, reports what still runs, and closes the connection", () =>
    Effect.gen(function*() {
      const { faulty, pool } = yield* make({ max: 2, drainTimeout: "10 seconds" })
      yield* faulty.settle.hang()
      const { fiber } = yield* leaveRunning(pool, { label: "report" })
      yield* TestClock.adjust("2 seconds")
      const closing = yield* Effect.forkChild(pool.shutdown())
      yield* TestClock.adjust("9999 millis")
      assert.isUndefined(closing.pollUnsafe())
      assert.deepStrictEqual(yield* shape(pool), { abandoned: 1 })
      yield* TestClock.adjust("1 millis")
      const report = yield* Fiber.join(closing)
      assert.deepStrictEqual(report, {
        ...nobody,
        abandoned: [{
          connection: 1,
          label: "report",
          fiber: fiber.id,
          description: "what was started on connection 1",
          abandonedMillis: 12_000
        }]
      })
      const { evictions, settlements } = yield* pool.stats
      assert.deepStrictEqual([evictions.shutdown, settlements], [1, 0])
      assert.strictEqual((yield* faulty.counters).unfinished, 0)
      yield* PoolAssert.allClosed(faulty, pool)
    }))

  it.effect("does not wait for their close longer than closeTimeout", () =>
    Effect.gen(function*() {
      const { faulty, pool } = yield* make({ max: 1, drainTimeout: "10 seconds", closeTimeout: "5 seconds" })
      yield* faulty.settle.hang(1, { uninterruptible: true })
      yield* faulty.disconnect.hang(1, { uninterruptible: true })
      yield* leaveRunning(pool)
      const closing = yield* Effect.forkChild(pool.shutdown())
      yield* TestClock.adjust("10 seconds")
      assert.deepStrictEqual(yield* shape(pool), { closing: 1 })
      yield* TestClock.adjust("5 seconds")
      const { abandoned, closeTimeouts } = yield* Fiber.join(closing)
      assert.deepStrictEqual([abandoned.length, closeTimeouts], [1, 1])
      assert.deepStrictEqual(yield* shape(pool), {})
    }))

  it.effect("does not wait at all without a drainTimeout", () =>
    Effect.gen(function*() {
      const { faulty, pool } = yield* make({ max: 1 })
      yield* faulty.settle.hold
      yield* leaveRunning(pool)
      const { abandoned } = yield* pool.shutdown({ drainTimeout: 0 })
      assert.strictEqual(abandoned.length, 1)
      yield* PoolAssert.allClosed(faulty, pool)
    }))

  it.effect("gives what runs after the interrupt of its holder the time of the cleanup, and no more", () =>
    Effect.gen(function*() {
      for (const millis of [4999, 5001]) {
        const { faulty, pool } = yield* make({ max: 2, drainTimeout: "10 seconds", closeTimeout: "5 seconds" })
        const holder = yield* borrow(pool)
        yield* holder.connection!.start
        const scope = yield* Scope.make()
        yield* Effect.flatMap(Scope.provide(pool.acquire(), scope), (one) => one.start)
        yield* faulty.settle.delay(millis)
        const closing = yield* Effect.forkChild(pool.shutdown())
        yield* TestClock.adjust("10 seconds")
        assert.deepStrictEqual(yield* shape(pool), { abandoned: 2 })
        yield* TestClock.adjust("5 seconds")
        const { abandoned, interrupted, revoked } = yield* Fiber.join(closing)
        assert.deepStrictEqual([interrupted, revoked, abandoned.length], [1, 1, millis > 5000 ? 2 : 0])
        yield* PoolAssert.allClosed(faulty, pool)
        yield* Scope.close(scope, Exit.void)
      }
    }))

  it.effect("gives what ran before the time of the cleanup too, if holders are interrupted", () =>
    Effect.gen(function*() {
      const { faulty, pool } = yield* make({ max: 2, drainTimeout: "10 seconds", closeTimeout: "5 seconds" })
      yield* faulty.settle.delay("12 seconds")
      yield* leaveRunning(pool)
      yield* Effect.forkDetach(pool.use(() => Effect.never))
      yield* settle
      const closing = yield* Effect.forkChild(pool.shutdown())
      yield* TestClock.adjust("11999 millis")
      assert.deepStrictEqual(yield* shape(pool), { abandoned: 1 })
      yield* TestClock.adjust("1 millis")
      assert.deepStrictEqual(yield* Fiber.join(closing), { ...nobody, interrupted: 1 })
      yield* PoolAssert.allClosed(faulty, pool)
    }))

  it.effect("reports what a lease leaves behind that is ended only when the time is over", () =>
    Effect.gen(function*() {
      const { faulty, pool } = yield* make({ max: 1, drainTimeout: "10 seconds", closeTimeout: "5 seconds" })
      yield* faulty.settle.hold
      const fiber = yield* Effect.forkDetach(
        Effect.uninterruptible(pool.use((one) => Effect.andThen(one.start, Effect.never)))
      )
      yield* settle
      const closing = yield* Effect.forkChild(pool.shutdown())
      yield* TestClock.adjust("15 seconds")
      const { abandoned, interrupted } = yield* Fiber.join(closing)
      assert.deepStrictEqual([interrupted, abandoned.map(({ fiber }) => fiber)], [1, [fiber.id]])
      yield* PoolAssert.allClosed(faulty, pool)
    }))

  it.effect("says in the log what it does not wait for", () =>
    Effect.gen(function*() {
      const lines: Array<string> = []
      const logger = Logger.make(({ message }) => void lines.push(String(message)))
      yield* Effect.provide(
        Effect.scoped(Effect.gen(function*() {
          const { faulty, pool } = yield* make({ max: 1 })
          yield* faulty.settle.hold
          yield* leaveRunning(pool, { label: "report" })
          yield* pool.shutdown()
        })),
        Logger.layer([logger])
      )
      assert.deepStrictEqual(lines.map((line) => line.replace(/#\d+/, "#?")), [
        "shutting down: what callers have left is still running, and is not waited for: connection 1: report #?, 0 ms ago " +
        "(what was started on connection 1)"
      ])
    }))
})

describe("an abandoned connection, for an operator:", () => {
  it.effect("a smaller max closes idle connections first, and the abandoned one when it has settled", () =>
    Effect.gen(function*() {
      const { faulty, pool } = yield* make({ min: 3, max: 3, maxAbandoned: 0 })
      yield* faulty.settle.hold
      yield* leaveRunning(pool)
      yield* pool.resize({ min: 0, max: 2 })
      yield* settle
      assert.deepStrictEqual(yield* shape(pool), { idle: 1, abandoned: 1 })
      yield* pool.resize({ max: 1 })
      yield* settle
      assert.deepStrictEqual(yield* shape(pool), { abandoned: 1 })
      yield* faulty.settle.open
      yield* settle
      assert.deepStrictEqual(yield* shape(pool), { idle: 1 })
      yield* PoolAssert.nothingLeaked(faulty, pool)
    }))

  it.effect("a smaller max leaves the connection that replaces it, until it has settled", () =>
    Effect.gen(function*() {
      const { faulty, pool } = yield* make({ min: 3, max: 3 })
      yield* faulty.settle.hold
      const left = yield* leaveRunning(pool)
      yield* pool.resize({ min: 0, max: 2 })
      yield* settle
      assert.deepStrictEqual(yield* shape(pool), { idle: 2, abandoned: 1 })
      yield* faulty.settle.open
      yield* settle
      assert.deepStrictEqual(yield* shape(pool), { idle: 2 })
      assert.isFalse((yield* pool.connections).some(({ id }) => id === left.connection!.id))
      yield* PoolAssert.nothingLeaked(faulty, pool)
    }))

  it.effect("a greater max lets waiters in", () =>
    Effect.gen(function*() {
      const { faulty, pool } = yield* make({ max: 1, maxAbandoned: 0 })
      yield* faulty.settle.hold
      yield* leaveRunning(pool)
      const next = yield* borrow(pool)
      assert.deepStrictEqual(yield* shape(pool), { abandoned: 1, waiting: 1 })
      yield* pool.resize({ max: 2 })
      yield* settle
      assert.strictEqual(next.connection?.id, 2)
      yield* next.giveBack
      yield* faulty.settle.open
      yield* settle
      yield* PoolAssert.nothingLeaked(faulty, pool)
    }))

  it.effect("a paused pool replaces none, and keeps those that settle", () =>
    Effect.gen(function*() {
      const { faulty, pool } = yield* make({ max: 1 })
      yield* faulty.settle.hold
      yield* leaveRunning(pool)
      yield* pool.pause
      const next = yield* borrow(pool)
      yield* TestClock.adjust("5 seconds")
      assert.deepStrictEqual(yield* shape(pool), { abandoned: 1, waiting: 1 })
      yield* faulty.settle.open
      yield* settle
      assert.deepStrictEqual(yield* shape(pool), { idle: 1, waiting: 1 })
      yield* pool.resume
      yield* settle
      assert.strictEqual(next.connection?.id, 1)
      yield* next.giveBack
      yield* PoolAssert.nothingLeaked(faulty, pool)
    }))

  it.effect("a check asks it nothing, opens nothing beside it, and is told of those that cannot be replaced", () =>
    Effect.gen(function*() {
      yield* TestClock.adjust("7 seconds")
      const { faulty, pool } = yield* make({ max: 2, name: "orders" })
      const checker = yield* HealthChecker.make(pool, { interval: "Infinity" })
      yield* faulty.settle.hold
      const [one, two] = [yield* borrow(pool), yield* borrow(pool)]
      yield* one.connection!.start
      yield* Fiber.interrupt(one.fiber)
      yield* TestClock.adjust("2 seconds")
      assert.deepStrictEqual(summary(yield* checker.check()), ["healthy"])
      yield* two.connection!.start
      yield* Fiber.interrupt(two.fiber)
      assert.deepStrictEqual(summary(yield* checker.check()), ["healthy"])
      yield* TestClock.adjust("1 second")
      const report = yield* checker.check()
      assert.deepStrictEqual([report.status, report.reasons], ["degraded", [
        { _tag: "ConnectionsAbandoned", abandoned: 2, maxAbandoned: 1, longestMillis: 3000 }
      ]])
      const { connectAttempts, validations } = yield* pool.stats
      assert.deepStrictEqual([connectAttempts, validations], [2, 0])
      yield* faulty.settle.open
      yield* settle
      assert.deepStrictEqual(summary(yield* checker.check()), ["healthy"])
      yield* PoolAssert.nothingLeaked(faulty, pool)
    }))

  it.effect("the metrics count it", () =>
    Effect.gen(function*() {
      const { faulty, pool } = yield* make({ max: 1, name: "left" })
      const metrics = PoolMetrics.of("left")
      yield* faulty.settle.hold
      yield* leaveRunning(pool)
      const gauge = Effect.map(Metric.value(metrics.count.abandoned), ({ value }) => value)
      const count = (counter: Metric.Counter<number>) => Effect.map(Metric.value(counter), ({ count }) => count)
      assert.deepStrictEqual([yield* gauge, yield* count(metrics.abandonments)], [1, 1])
      yield* faulty.settle.fail()
      yield* faulty.settle.open
      yield* settle
      assert.deepStrictEqual([yield* gauge, yield* count(metrics.abandonments)], [0, 1])
      yield* faulty.disconnect.hang()
      yield* pool.use(() => Effect.void)
      yield* pool.recycle
      yield* TestClock.adjust("5 seconds")
      assert.strictEqual(yield* count(metrics.closeTimeouts), 1)
    }))
})
