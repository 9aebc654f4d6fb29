import { assert, describe, it } from "@effect/vitest"
import { Deferred, Effect, Fiber } from "effect"
import { HealthChecker } from "effect-connection-pool"
import { PoolAssert, Sweep } from "effect-connection-pool/testing"
import { TestClock } from "effect/testing"
import { open } from "./support/health.ts"
import { borrow, make, type Pool, settle, shape } from "./support/pools.ts"

describe("a check", () => {
  it.effect("waits for the check before it, so that not too many connections are validated at once", () =>
    Effect.gen(function*() {
      const { faulty, pool } = yield* make({ min: 4, max: 4 })
      yield* faulty.validate.hold
      const first = yield* Effect.forkChild(pool.check())
      yield* settle
      const second = yield* Effect.forkChild(pool.check())
      const third = yield* Effect.forkChild(pool.check({ concurrency: 2 }))
      yield* settle
      assert.deepStrictEqual(yield* shape(pool), { idle: 3, validating: 1 })
      // One that nobody waits for any more asks no others, and the next begins when it has its answer.
      yield* Fiber.interrupt(first)
      yield* Fiber.interrupt(second)
      yield* settle
      assert.deepStrictEqual(yield* shape(pool), { idle: 3, validating: 1 })
      yield* faulty.validate.pass()
      yield* settle
      assert.deepStrictEqual(yield* shape(pool), { idle: 2, validating: 2 })
      yield* faulty.validate.open
      const { busy, failed, passed } = yield* Fiber.join(third)
      assert.deepStrictEqual({ busy, failed, passed }, { busy: 0, failed: [], passed: 4 })
      assert.strictEqual((yield* faulty.counters).validations, 5)
      yield* PoolAssert.nothingLeaked(faulty, pool)
    }))

  it.effect("answers ten thousand callers that waited for the check before it at once", () =>
    Effect.gen(function*() {
      const { faulty, pool } = yield* make({ max: 1, driver: { withoutValidate: true } })
      yield* faulty.connect.hold
      const checks = yield* Effect.forEach(Array.from({ length: 10_000 }), () => Effect.forkChild(pool.check()))
      yield* settle
      yield* faulty.connect.open
      const reports = yield* Effect.forEach(checks, (check) => Fiber.join(check))
      assert.deepStrictEqual([reports[0]!.connected, reports.at(-1)!.passed], [true, 1])
      yield* PoolAssert.nothingLeaked(faulty, pool)
    }))

  it.effect("closes a connection that it finds at the end of its lifetime, and does not validate it", () =>
    Effect.gen(function*() {
      // It sleeps first, so that it wakes before the pool does.
      const start = yield* Deferred.make<Pool>()
      const check = yield* Effect.forkChild(
        Effect.andThen(
          Effect.sleep("1 hour"),
          Effect.flatMap(Deferred.await(start), (pool) => pool.check({ connect: false }))
        ),
        { startImmediately: true }
      )
      const { faulty, pool } = yield* make({
        max: 1,
        maxLifetime: "1 hour",
        lifetimeJitter: 0,
        idleTimeout: "Infinity"
      })
      yield* Deferred.succeed(start, pool)
      yield* pool.use(() => Effect.void)
      yield* TestClock.adjust("1 hour")
      const { busy, failed, passed } = yield* Fiber.join(check)
      assert.deepStrictEqual({ busy, failed, passed }, { busy: 0, failed: [], passed: 0 })
      assert.strictEqual((yield* pool.stats).evictions.lifetime, 1)
      assert.strictEqual((yield* faulty.counters).validations, 0)
    }))

  it.effect("takes turns with keepalive", () =>
    Effect.gen(function*() {
      const { faulty, pool } = yield* make({ min: 3, max: 3, keepalive: "1 minute", validateTimeout: "1 hour" })
      yield* faulty.validate.hold
      yield* TestClock.adjust("1 minute")
      assert.deepStrictEqual(yield* shape(pool), { idle: 2, validating: 1 })
      const check = yield* Effect.forkChild(pool.check())
      yield* settle
      assert.deepStrictEqual(yield* shape(pool), { idle: 2, validating: 1 })
      for (let answers = 0; answers < 3; answers++) {
        assert.deepStrictEqual(yield* shape(pool), { idle: 2, validating: 1 })
        yield* faulty.validate.pass()
        yield* settle
      }
      const { passed } = yield* Fiber.join(check)
      assert.strictEqual(passed, 2)
      yield* faulty.validate.open
      yield* TestClock.adjust("10 minutes")
      // Kept alive again after it.
      assert.isAtLeast((yield* faulty.counters).validations, 20)
      yield* PoolAssert.nothingLeaked(faulty, pool)
    }))

  it.effect("without a waiting caller lets keepalive have its turn", () =>
    Effect.gen(function*() {
      const { faulty, pool } = yield* make({
        max: 3,
        keepalive: "1 minute",
        validateTimeout: "1 hour",
        idleTimeout: "1 hour"
      })
      yield* open(pool, 3)
      yield* faulty.validate.hold
      const check = yield* Effect.forkChild(pool.check())
      yield* TestClock.adjust("5 minutes")
      yield* Fiber.interrupt(check)
      yield* faulty.validate.fail(1)
      yield* faulty.kill(1)
      yield* faulty.validate.pass()
      yield* settle
      assert.deepStrictEqual((yield* pool.stats).evictions.invalid, 1)
      assert.deepStrictEqual(yield* shape(pool), { idle: 1, validating: 1 })
    }))

  it.effect("skips connections that were lent before their turn came", () =>
    Effect.gen(function*() {
      const { faulty, pool } = yield* make({ min: 3, max: 3, validateAfterIdle: "Infinity" })
      yield* faulty.validate.hold
      const check = yield* Effect.forkChild(pool.check())
      yield* settle
      const lease = yield* borrow(pool)
      yield* faulty.validate.open
      const { busy, passed } = yield* Fiber.join(check)
      assert.deepStrictEqual({ busy, passed }, { busy: 1, passed: 2 })
      yield* lease.giveBack
      yield* PoolAssert.nothingLeaked(faulty, pool)
    }))

  it.effect("replaces dead connections while it still validates others", () =>
    Effect.gen(function*() {
      const { faulty, pool } = yield* make({ min: 2, max: 3, validateAfterIdle: "Infinity" })
      yield* faulty.kill(1)
      yield* faulty.validate.hold
      yield* faulty.disconnect.hold
      yield* faulty.connect.hold
      const check = yield* Effect.forkChild(pool.check())
      yield* settle
      assert.deepStrictEqual(yield* shape(pool), { connecting: 1, validating: 1, closing: 1 })
      yield* faulty.connect.open
      yield* faulty.validate.open
      yield* faulty.disconnect.open
      const { failed, passed } = yield* Fiber.join(check)
      assert.deepStrictEqual({ failed, passed }, { failed: [{ connection: 1, reason: "dead" }], passed: 1 })
      yield* PoolAssert.nothingLeaked(faulty, pool)
    }))

  it.effect("retires connections that are too old, and does not report that as a failure", () =>
    Effect.gen(function*() {
      const { faulty, pool } = yield* make({ min: 1, max: 1, maxLifetime: "1 minute", lifetimeJitter: 0 })
      yield* TestClock.adjust("59 seconds")
      yield* pool.pause
      const { failed, passed } = yield* pool.check()
      assert.deepStrictEqual({ failed, passed }, { failed: [], passed: 1 })
      yield* pool.resume
      yield* PoolAssert.nothingLeaked(faulty, pool)
    }))

  it.effect("of a database that hangs ends at the deadline of its attempt", () =>
    Effect.gen(function*() {
      const { faulty, pool } = yield* make({ max: 1, connectTimeout: "2 seconds" })
      yield* faulty.connect.hang()
      const check = yield* Effect.forkChild(pool.check())
      yield* TestClock.adjust("2 seconds")
      assert.deepStrictEqual(yield* Fiber.join(check), { passed: 0, failed: [], busy: 0, connected: false })
      assert.strictEqual((yield* pool.stats).connectTimeouts, 1)
      assert.deepStrictEqual(yield* pool.connections, [])
      yield* TestClock.adjust("1 second")
      yield* PoolAssert.nothingLeaked(faulty, pool, { hung: 1 })
    }))

  it.effect("that opens a connection leaves it to the first caller", () =>
    Effect.gen(function*() {
      const { faulty, pool } = yield* make({ max: 1 })
      yield* faulty.connect.hold
      const check = yield* Effect.forkChild(pool.check())
      yield* settle
      const caller = yield* borrow(pool)
      assert.deepStrictEqual(yield* shape(pool), { connecting: 1, waiting: 1 })
      yield* faulty.connect.open
      yield* settle
      assert.strictEqual(caller.connection?.id, 1)
      assert.strictEqual((yield* Fiber.join(check)).connected, true)
      yield* caller.giveBack
      yield* PoolAssert.nothingLeaked(faulty, pool)
    }))
})

describe("a checker that is interrupted", () => {
  it.effect(
    "anywhere, together with those who use the pool, loses nothing and answers again",
    () =>
      Effect.gen(function*() {
        const report = yield* Sweep.run({
          setup: Effect.gen(function*() {
            const world = yield* make({ min: 1, max: 2, validateAfterIdle: "Infinity" })
            yield* world.faulty.sever(1)
            return world
          }),
          scenario: ({ pool }) =>
            Effect.gen(function*() {
              const health = yield* HealthChecker.make(pool, { concurrency: 2 })
              yield* Effect.all([
                health.check(),
                Effect.ignore(pool.use((connection) => connection.run)),
                Effect.asVoid(pool.check()),
                Effect.ignore(pool.use((connection) => Effect.andThen(Effect.yieldNow, connection.run))),
                health.check()
              ], { concurrency: "unbounded" })
            }),
          check: ({ faulty, pool }) =>
            Effect.gen(function*() {
              yield* settle
              // A round that was given up does not hold up the next. That may find the broken one still.
              yield* pool.check()
              const { failed, passed } = yield* pool.check()
              assert.deepStrictEqual([failed.length, passed > 0], [0, true])
              yield* PoolAssert.nothingLeaked(faulty, pool)
            }),
          budgets: [3, 32],
          turns: [0, 16]
        })
        assert.isAbove(report.interrupted, report.cases / 4)
      }),
    120_000
  )
})

describe("the numbers of a check, at another time than the first", () => {
  it.effect("count only the callers that were turned away since the last check", () =>
    Effect.gen(function*() {
      const { pool } = yield* make({ max: 1, maxWaiting: 1 })
      yield* borrow(pool)
      yield* borrow(pool)
      yield* PoolAssert.failsWith(pool.use(() => Effect.void), "QueueFullError")
      yield* PoolAssert.failsWith(pool.use(() => Effect.void), "QueueFullError")
      const health = yield* HealthChecker.make(pool)
      yield* health.check()
      yield* PoolAssert.failsWith(pool.use(() => Effect.void), "QueueFullError")
      const { reasons } = yield* health.check()
      assert.deepStrictEqual(
        reasons.filter(({ _tag }) => _tag === "CallersTurnedAway"),
        [{ _tag: "CallersTurnedAway", timeouts: 0, refused: 1 }]
      )
    }))

  it.effect("say how long the first in line has waited, whenever it began", () =>
    Effect.gen(function*() {
      const { pool } = yield* make({ max: 1, acquireTimeout: "10 seconds" })
      yield* TestClock.adjust("1 minute")
      yield* borrow(pool)
      yield* borrow(pool)
      yield* TestClock.adjust("1 second")
      const health = yield* HealthChecker.make(pool)
      assert.deepStrictEqual((yield* health.check()).reasons, [])
      yield* TestClock.adjust("5 seconds")
      assert.deepStrictEqual((yield* health.check()).reasons, [
        { _tag: "CallersWaiting", waiting: 1, longestMillis: 6000 }
      ])
    }))

  it.effect("name the last of several connections that failed", () =>
    Effect.gen(function*() {
      const { faulty, pool } = yield* make({ min: 3, max: 3 })
      yield* settle
      yield* faulty.kill(1)
      yield* faulty.kill(3)
      const health = yield* HealthChecker.make(pool)
      assert.match(String((yield* health.check()).lastError?.error), /connection 3 /)
    }))
})
