import { assert, describe, it } from "@effect/vitest"
import { Effect, Fiber, Stream } from "effect"
import { HealthChecker, HealthReport } from "effect-connection-pool"
import { PoolAssert } from "effect-connection-pool/testing"
import { TestClock } from "effect/testing"
import { open, summary } from "./support/health.ts"
import { borrow, make, type Pool, settle, shape } from "./support/pools.ts"

describe("a health checker", () => {
  it.effect("watches a copy of a pool like the pool, and refuses a value that is no pool", () =>
    Effect.gen(function*() {
      const { pool } = yield* make({ max: 1 })
      const copy: Pool = { ...pool, acquire: (options) => pool.acquire(options) }
      const health = yield* HealthChecker.make(copy)
      yield* pool.pause
      assert.deepStrictEqual(summary(yield* health.check()), ["degraded", "Paused"])
      const { check, name } = pool
      const error = yield* PoolAssert.failsWith(HealthChecker.make({ name, check }), "PoolConfigError")
      assert.match(error.message, /pool is .*, but must be a ConnectionPool, or a record of several/)
    }))

  it.effect("finds connections that died while idle before a caller does, and has them replaced", () =>
    Effect.gen(function*() {
      const { faulty, pool } = yield* make({ min: 4, max: 4, validateAfterIdle: "Infinity" })
      const health = yield* HealthChecker.make(pool)
      assert.deepStrictEqual(summary(yield* health.report), ["healthy"])
      yield* faulty.sever(2)
      yield* faulty.kill(3)
      yield* TestClock.adjust("9 seconds")
      assert.deepStrictEqual((yield* pool.stats).evictions.invalid, 0)
      yield* TestClock.adjust("1 second")
      yield* settle
      const report = yield* health.report
      assert.deepStrictEqual(report.reasons, [{
        _tag: "ConnectionsFailed",
        checked: 4,
        failed: [{ connection: 2, reason: "invalid" }, { connection: 3, reason: "dead" }]
      }])
      assert.strictEqual(report.status, "degraded")
      assert.deepStrictEqual(report.connections, { passed: 2, failed: 2, opened: 0, inUse: 0 })
      assert.deepStrictEqual(yield* shape(pool), { idle: 4 })
      // Every caller gets one that works.
      yield* Effect.all(Array.from({ length: 4 }, () => pool.use((connection) => connection.run)), {
        concurrency: "unbounded"
      })
      yield* TestClock.adjust("10 seconds")
      assert.deepStrictEqual(summary(yield* health.report), ["healthy"])
      yield* PoolAssert.nothingLeaked(faulty, pool)
    }))

  it.effect("notices an outage and its end by itself, and says what it was", () =>
    Effect.gen(function*() {
      const { faulty, pool } = yield* make({ min: 2, max: 4 })
      const health = yield* HealthChecker.make(pool)
      const seen: Array<readonly [millis: number, ReadonlyArray<string>]> = []
      yield* Effect.forkScoped(Stream.runForEach(health.changes, (report) =>
        Effect.sync(() =>
          seen.push([report.checkedAt.epochMilliseconds, summary(report)])
        )))
      yield* settle
      yield* faulty.connect.fail(10_000, { transient: true })
      yield* faulty.sever(1)
      yield* faulty.kill(2)
      yield* TestClock.adjust("1 minute")
      const outage = yield* health.report
      assert.deepStrictEqual(summary(outage), ["unhealthy", "CannotConnect"])
      const [reason] = outage.reasons
      assert.strictEqual(reason?._tag === "CannotConnect" && reason.error.includes("was made to fail"), true)
      assert.strictEqual(outage.lastSuccessAt?.epochMilliseconds, 0)
      assert.include(outage.lastError?.error ?? "", "FaultyError")
      yield* faulty.connect.clear
      yield* TestClock.adjust("20 seconds")
      const after = yield* health.report
      assert.deepStrictEqual(summary(after), ["healthy"])
      // What it was is still there for who comes late.
      assert.isAtMost(after.lastError?.at.epochMilliseconds ?? Infinity, 70_000)
      assert.deepStrictEqual(seen, [
        [0, ["healthy"]],
        [10_000, ["unhealthy", "CannotConnect", "ConnectionsFailed"]],
        [20_000, ["unhealthy", "CannotConnect"]],
        [70_000, ["healthy"]]
      ])
      assert.deepStrictEqual(yield* shape(pool), { idle: 2 })
      yield* PoolAssert.nothingLeaked(faulty, pool)
    }))

  for (const how of ["hangs", "fails", "dies"] as const) {
    it.effect(`outlives a validation that ${how}`, () =>
      Effect.gen(function*() {
        const { faulty, pool } = yield* make({ min: 2, max: 2 })
        const health = yield* HealthChecker.make(pool, { interval: "10 seconds", timeout: "3 seconds" })
        yield* health.report
        yield* ({
          hangs: faulty.validate.hang(1, { uninterruptible: true }),
          fails: faulty.validate.fail(),
          dies: faulty.validate.die()
        })[how]
        yield* TestClock.adjust("10 seconds")
        if (how === "hangs") {
          assert.deepStrictEqual(yield* shape(pool), { idle: 1, validating: 1 })
          yield* TestClock.adjust("3 seconds")
        }
        yield* settle
        assert.deepStrictEqual(summary(yield* health.report), ["degraded", "ConnectionsFailed"])
        assert.deepStrictEqual(yield* shape(pool), { idle: 2 })
        yield* TestClock.adjust("10 seconds")
        assert.deepStrictEqual(summary(yield* health.report), ["healthy"])
        yield* PoolAssert.nothingLeaked(faulty, pool)
      }))
  }

  it.effect("opens a connection to know whether the database can be reached, if there is none", () =>
    Effect.gen(function*() {
      const { faulty, pool } = yield* make({ max: 2 })
      const health = yield* HealthChecker.make(pool)
      assert.deepStrictEqual(summary(yield* health.report), ["healthy"])
      assert.deepStrictEqual(yield* shape(pool), { idle: 1 })
      yield* faulty.kill(1)
      yield* faulty.connect.fail(1)
      assert.deepStrictEqual(summary(yield* health.check()), ["unhealthy", "CannotConnect", "ConnectionsFailed"])
      // During the pause after it, that attempt says enough.
      yield* health.check()
      assert.strictEqual((yield* faulty.counters).attempts, 2)
      yield* TestClock.adjust("10 seconds")
      assert.deepStrictEqual(summary(yield* health.report), ["healthy"])
      yield* PoolAssert.nothingLeaked(faulty, pool)
    }))

  it.effect("opens no connection if it may not, and reports what it knows", () =>
    Effect.gen(function*() {
      const { faulty, pool } = yield* make({ max: 2 })
      const health = yield* HealthChecker.make(pool, { connect: false })
      const report = yield* health.report
      assert.deepStrictEqual(summary(report), ["healthy"])
      assert.isUndefined(report.lastSuccessAt)
      assert.strictEqual((yield* faulty.counters).attempts, 0)
    }))

  it.effect("leaves connections in use alone, and judges a pool that is all in use by its numbers", () =>
    Effect.gen(function*() {
      const { faulty, pool } = yield* make({ max: 2, maxWaiting: 1 })
      const health = yield* HealthChecker.make(pool)
      yield* health.report
      yield* borrow(pool)
      const second = yield* borrow(pool)
      const report = yield* health.check()
      assert.deepStrictEqual([summary(report), report.connections], [
        ["healthy"],
        { passed: 0, failed: 0, opened: 0, inUse: 2 }
      ])
      assert.strictEqual((yield* faulty.counters).validations, 0)
      yield* Effect.forkChild(Effect.flip(pool.use(() => Effect.void, { timeout: "1 second" })))
      yield* settle
      yield* PoolAssert.failsWith(pool.use(() => Effect.void), "QueueFullError")
      yield* TestClock.adjust("5 seconds")
      const turnedAway = { _tag: "CallersTurnedAway", timeouts: 1, refused: 1 } as const
      assert.deepStrictEqual((yield* health.check()).reasons, [turnedAway])
      // It is not over as soon as nobody is turned away for a moment: callers who came together time out together.
      yield* TestClock.adjust("20 seconds")
      yield* PoolAssert.failsWith(pool.use(() => Effect.void, { timeout: 0 }), "AcquireTimeoutError")
      assert.deepStrictEqual((yield* health.check()).reasons, [{ ...turnedAway, timeouts: 2 }])
      yield* TestClock.adjust("29 seconds")
      assert.deepStrictEqual((yield* health.check()).reasons, [{ ...turnedAway, timeouts: 2 }])
      yield* TestClock.adjust("1 second")
      assert.deepStrictEqual(summary(yield* health.check()), ["healthy"])
      // Somebody holds one that works; that no other can be opened is bad, but not the end.
      yield* second.giveBack
      yield* faulty.kill(2)
      yield* faulty.connect.fail(1, { transient: true })
      assert.deepStrictEqual(summary(yield* health.check()), ["unhealthy", "CannotConnect", "ConnectionsFailed"])
      yield* faulty.connect.fail(1, { transient: true })
      assert.deepStrictEqual(summary(yield* health.check()), ["degraded", "CannotConnect"])
    }))

  it.effect("says that callers wait, once the first has waited for half of its time", () =>
    Effect.gen(function*() {
      const { pool } = yield* make({ max: 1, acquireTimeout: "10 seconds" })
      const health = yield* HealthChecker.make(pool)
      yield* health.report
      const holder = yield* borrow(pool)
      const waiting = yield* borrow(pool)
      yield* TestClock.adjust("5 seconds")
      assert.deepStrictEqual(summary(yield* health.check()), ["healthy"])
      yield* TestClock.adjust("2 seconds")
      const report = yield* health.check()
      assert.strictEqual(report.status, "degraded")
      assert.deepStrictEqual(report.reasons, [{ _tag: "CallersWaiting", waiting: 1, longestMillis: 7000 }])
      yield* holder.giveBack
      yield* waiting.giveBack
      assert.deepStrictEqual(summary(yield* health.check()), ["healthy"])
    }))

  it.effect("asks one connection at a time, and never the last one while another is asked", () =>
    Effect.gen(function*() {
      for (const [concurrency, most] of [[1, 1], [3, 3], [9, 4]] as const) {
        const { faulty, pool } = yield* make({ min: 5, max: 5 })
        yield* faulty.validate.hold
        const health = yield* HealthChecker.make(pool, { concurrency, timeout: "1 minute" })
        yield* settle
        assert.deepStrictEqual(yield* shape(pool), { idle: 5 - most, validating: most })
        // A caller is served at once.
        yield* pool.use(() => Effect.void, { timeout: 0 })
        let rounds = 0
        while ((yield* faulty.validate.waiting) > 0) {
          assert.isAtMost(yield* faulty.validate.waiting, most)
          yield* faulty.validate.pass()
          yield* settle
          rounds++
        }
        assert.strictEqual(rounds, 5)
        assert.deepStrictEqual((yield* health.report).connections, { passed: 5, failed: 0, opened: 0, inUse: 0 })
        yield* faulty.validate.open
        yield* PoolAssert.nothingLeaked(faulty, pool)
      }
    }))

  it.effect("gives the only connection to a caller as soon as it has answered", () =>
    Effect.gen(function*() {
      const { faulty, pool } = yield* make({ min: 1, max: 1 })
      yield* faulty.validate.hold
      const health = yield* HealthChecker.make(pool)
      const caller = yield* borrow(pool)
      assert.deepStrictEqual(yield* shape(pool), { validating: 1, waiting: 1 })
      yield* faulty.validate.open
      yield* settle
      assert.strictEqual(caller.connection?.id, 1)
      assert.deepStrictEqual((yield* health.report).connections, { passed: 1, failed: 0, opened: 0, inUse: 1 })
      const stats = yield* pool.stats
      // What it did is not a lease.
      assert.deepStrictEqual([stats.checkouts, stats.validations], [1, 1])
      yield* caller.giveBack
      yield* PoolAssert.nothingLeaked(faulty, pool)
    }))

  it.effect("leaves the order of idle connections, and their age, as they were", () =>
    Effect.gen(function*() {
      const { faulty, pool } = yield* make({ max: 4, idleTimeout: "1 minute", validateAfterIdle: "Infinity" })
      const leases = yield* Effect.forEach(Array.from({ length: 4 }), () => borrow(pool))
      for (const lease of leases) {
        yield* lease.giveBack
        yield* TestClock.adjust("1 second")
      }
      yield* HealthChecker.make(pool, { interval: "5 seconds" })
      yield* TestClock.adjust("20 seconds")
      assert.strictEqual(yield* pool.use((connection) => Effect.succeed(connection.id)), 4)
      yield* TestClock.adjust("36 seconds")
      const idle = (yield* pool.connections).filter(({ state }) => state === "idle").map(({ id }) => id)
      // At 60 seconds the first has been idle for a minute, however often it was asked.
      assert.deepStrictEqual(idle, [2, 3, 4])
      yield* PoolAssert.nothingLeaked(faulty, pool)
    }))

  it.effect("leaves the order as it is in the middle of a check as well", () =>
    Effect.gen(function*() {
      const { faulty, pool } = yield* make({ min: 3, max: 3, validateAfterIdle: "Infinity" })
      yield* faulty.validate.hold
      yield* HealthChecker.make(pool)
      yield* settle
      yield* faulty.validate.pass()
      yield* settle
      assert.deepStrictEqual(yield* shape(pool), { idle: 2, validating: 1 })
      const leases = [yield* borrow(pool), yield* borrow(pool)]
      // The second is being asked; the first, which has answered, goes out after the third.
      assert.deepStrictEqual(leases.map(({ connection }) => connection?.id), [3, 1])
    }))

  it.effect("shares a running check with all callers that ask for one", () =>
    Effect.gen(function*() {
      const { faulty, pool } = yield* make({ min: 2, max: 2 })
      yield* faulty.validate.hold
      const health = yield* HealthChecker.make(pool)
      const waiting = yield* Effect.forEach(Array.from({ length: 100 }), () => Effect.forkChild(health.check()))
      yield* settle
      yield* Fiber.interrupt(waiting[0]!)
      yield* faulty.validate.open
      const reports = yield* Effect.forEach(waiting.slice(1), (fiber) => Fiber.join(fiber))
      assert.strictEqual(new Set(reports).size, 1)
      assert.strictEqual((yield* faulty.counters).validations, 2)
      yield* PoolAssert.nothingLeaked(faulty, pool)
    }))

  it.effect("gives the first report, once it is there, to a reader who asks before", () =>
    Effect.gen(function*() {
      const { faulty, pool } = yield* make({ min: 2, max: 2 })
      yield* faulty.validate.hold
      const health = yield* HealthChecker.make(pool)
      const early = yield* Effect.forkChild(health.report)
      yield* settle
      assert.isUndefined(early.pollUnsafe())
      yield* faulty.validate.open
      const report = yield* Fiber.join(early)
      assert.deepStrictEqual([report.status, report.connections.passed], ["healthy", 2])
      assert.strictEqual(yield* health.report, report)
      assert.strictEqual((yield* faulty.counters).validations, 2)
    }))

  it.effect("checks a factory without validate through isAlive, and does not check one without both", () =>
    Effect.gen(function*() {
      const { faulty, pool } = yield* make({ min: 2, max: 2, driver: { withoutValidate: true } })
      const health = yield* HealthChecker.make(pool)
      yield* health.report
      yield* faulty.kill(2)
      assert.deepStrictEqual((yield* health.check()).reasons, [{
        _tag: "ConnectionsFailed",
        checked: 2,
        failed: [{ connection: 2, reason: "dead" }]
      }])
      assert.deepStrictEqual(yield* shape(pool), { idle: 2 })
      const silent = yield* make({ min: 1, driver: { withoutValidate: true, withoutIsAlive: true } })
      yield* silent.faulty.kill(1)
      assert.deepStrictEqual(summary(yield* (yield* HealthChecker.make(silent.pool)).check()), ["healthy"])
    }))

  it.effect("goes on during a pause, and says that it is one", () =>
    Effect.gen(function*() {
      const { faulty, pool } = yield* make({ min: 2, max: 2 })
      const health = yield* HealthChecker.make(pool)
      yield* health.report
      yield* pool.pause
      yield* faulty.kill(1)
      assert.deepStrictEqual(summary(yield* health.check()), ["degraded", "ConnectionsFailed", "Paused"])
      assert.deepStrictEqual(yield* shape(pool), { idle: 1 })
      yield* faulty.kill(2)
      // Nothing is opened during a pause, not to find out either.
      assert.deepStrictEqual(summary(yield* health.check()), ["unhealthy", "ConnectionsFailed", "Paused"])
      yield* pool.resume
      yield* settle
      assert.deepStrictEqual(summary(yield* health.check()), ["healthy"])
      yield* PoolAssert.nothingLeaked(faulty, pool)
    }))

  it.effect("meets a resize in the middle of a check", () =>
    Effect.gen(function*() {
      const { faulty, pool } = yield* make({ max: 4 })
      yield* open(pool, 4)
      yield* faulty.validate.hold
      const health = yield* HealthChecker.make(pool)
      yield* settle
      yield* pool.resize({ max: 2 })
      assert.deepStrictEqual(yield* shape(pool), { idle: 1, validating: 1 })
      yield* faulty.validate.open
      yield* settle
      assert.deepStrictEqual((yield* health.report).connections, { passed: 2, failed: 0, opened: 0, inUse: 0 })
      yield* pool.resize({ max: 8 })
      assert.deepStrictEqual(summary(yield* health.check()), ["healthy"])
      yield* PoolAssert.nothingLeaked(faulty, pool)
    }))

  it.effect("does not hold up a shutdown, and says that the pool is closed", () =>
    Effect.gen(function*() {
      const { faulty, pool } = yield* make({ min: 3, max: 3 })
      yield* faulty.validate.hang(9)
      const health = yield* HealthChecker.make(pool, { timeout: "1 hour" })
      const waiting = yield* Effect.forkChild(health.check())
      yield* settle
      yield* pool.shutdown()
      assert.deepStrictEqual(summary(yield* Fiber.join(waiting)), ["unhealthy", "Closed"])
      assert.deepStrictEqual(summary(yield* health.check()), ["unhealthy", "Closed"])
      yield* PoolAssert.allClosed(faulty, pool)
    }))
})

describe("the text of a reason", () => {
  it("has one of something, and several of it", () => {
    const texts = ([1, 2] as const).map((n) => [
      HealthReport.reasonText({ _tag: "CannotConnect", attempts: n, error: "no" }),
      HealthReport.reasonText({ _tag: "CallersTurnedAway", timeouts: n, refused: n }),
      HealthReport.reasonText({ _tag: "CallersWaiting", waiting: n, longestMillis: 5 }),
      HealthReport.reasonText({ _tag: "ConnectionsFailed", checked: n, failed: [{ connection: 1, reason: "dead" }] }),
      HealthReport.reasonText({ _tag: "ConnectionsAbandoned", abandoned: n, maxAbandoned: n - 1, longestMillis: 5.4 })
    ])
    assert.deepStrictEqual(texts, [
      [
        "no connection can be opened, 1 attempt failed: no",
        "1 caller timed out and 1 was refused lately",
        "1 caller waits, the first for 5 ms already",
        "1 of 1 idle connection failed the check",
        "1 connection still runs what callers have left, for 5 ms already, and 0 may be replaced (maxAbandoned)"
      ],
      [
        "no connection can be opened, 2 attempts failed: no",
        "2 callers timed out and 2 were refused lately",
        "2 callers wait, the first for 5 ms already",
        "1 of 2 idle connections failed the check",
        "2 connections still run what callers have left, the first for 5 ms already, and 1 may be replaced (maxAbandoned)"
      ]
    ])
  })
})
