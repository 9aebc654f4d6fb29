import { assert, describe, it } from "@effect/vitest"
import { Effect, Exit, Fiber, Result } from "effect"
import { PoolError } from "effect-connection-pool"
import { FaultyFactory, PoolAssert } from "effect-connection-pool/testing"
import { TestClock } from "effect/testing"
import { borrow, make, settle, shape } from "./support/pools.ts"

describe("the deadline of an acquire", () => {
  it.effect("covers the queue", () =>
    Effect.gen(function*() {
      const { faulty, pool } = yield* make({ max: 1, name: "orders", acquireTimeout: "2 seconds" })
      const holder = yield* borrow(pool, { label: "report" })
      yield* TestClock.adjust("5 seconds")
      const caller = yield* Effect.forkChild(PoolAssert.failsWith(pool.use(() => Effect.void), "AcquireTimeoutError"))
      yield* settle
      yield* TestClock.adjust("1999 millis")
      assert.isUndefined(caller.pollUnsafe())
      yield* TestClock.adjust("1 millis")
      const error = yield* Fiber.join(caller)
      assert.deepStrictEqual(
        { ...error },
        {
          ...new PoolError.AcquireTimeoutError({
            pool: "orders",
            phase: "queue",
            waitedMillis: 2000,
            timeoutMillis: 2000,
            occupancy: {
              max: 1,
              total: 1,
              connecting: 0,
              idle: 0,
              validating: 0,
              inUse: 1,
              resetting: 0,
              abandoned: 0,
              closing: 0,
              waiting: 1
            },
            holders: [{ connection: 1, label: "report", fiber: holder.fiber.id, heldMillis: 7000 }]
          })
        }
      )
      assert.strictEqual(
        error.message,
        `pool "orders": no connection within 2000 ms, waiting for one to be returned (1 of 1 in use, 1 waiting); ` +
          `held longest by report #${holder.fiber.id} for 7000 ms`
      )
      yield* holder.giveBack
      yield* PoolAssert.nothingLeaked(faulty, pool)
    }))

  it.effect("names the five leases that have lasted longest, the longest first", () =>
    Effect.gen(function*() {
      const { pool } = yield* make({ max: 7, acquireTimeout: "1 second" })
      const holders = []
      for (let holder = 1; holder <= 7; holder++) {
        holders.push(yield* borrow(pool, { label: `holder ${holder}` }))
        yield* TestClock.adjust("1 second")
      }
      const caller = yield* Effect.forkChild(PoolAssert.failsWith(pool.use(() => Effect.void), "AcquireTimeoutError"))
      yield* settle
      yield* TestClock.adjust("1 second")
      const error = yield* Fiber.join(caller)
      assert.deepStrictEqual(
        error.holders.map(({ heldMillis, label }) => [label, heldMillis]),
        [["holder 1", 8000], ["holder 2", 7000], ["holder 3", 6000], ["holder 4", 5000], ["holder 5", 4000]]
      )
      assert.strictEqual(error.occupancy.inUse, 7)
      for (const holder of holders) yield* holder.giveBack
    }))

  it.effect("covers connecting, and names the last failure", () =>
    Effect.gen(function*() {
      const { faulty, pool } = yield* make({ max: 1, acquireTimeout: "2 seconds", connectTimeout: "1 minute" })
      yield* faulty.connect.fail(1, { transient: true })
      const caller = yield* Effect.forkChild(PoolAssert.failsWith(pool.use(() => Effect.void), "AcquireTimeoutError"))
      yield* settle
      yield* faulty.connect.hold
      yield* TestClock.adjust("2 seconds")
      const error = yield* Fiber.join(caller)
      assert.strictEqual(error.phase, "connect")
      assert.strictEqual(error.waitedMillis, 2000)
      assert.deepStrictEqual(
        error.lastConnectError,
        new FaultyFactory.FaultyError({ operation: "connect", connection: 1, isTransient: true })
      )
      assert.include(error.message, "the last attempt to connect failed: FaultyError: connect of connection 1")
      yield* faulty.connect.open
      yield* PoolAssert.nothingLeaked(faulty, pool)
    }))

  it.effect("names the deadline of the last attempt to connect, if that was what it failed by", () =>
    Effect.gen(function*() {
      const { faulty, pool } = yield* make({
        max: 1,
        acquireTimeout: "1 second",
        connectTimeout: "300 millis",
        connectBackoff: "1 minute",
        connectBackoffMax: "1 minute"
      })
      yield* faulty.connect.hold
      const caller = yield* Effect.forkChild(PoolAssert.failsWith(pool.use(() => Effect.void), "AcquireTimeoutError"))
      yield* settle
      yield* TestClock.adjust("1 second")
      const { message } = yield* Fiber.join(caller)
      assert.include(message, "the last attempt to connect failed: Error: no answer within 300 ms")
      yield* faulty.connect.open
    }))

  it.effect("covers the pause between two attempts to connect", () =>
    Effect.gen(function*() {
      const { faulty, pool } = yield* make({ max: 1, acquireTimeout: "50 millis", connectBackoff: "1 second" })
      yield* faulty.connect.fail(1, { transient: true })
      const caller = yield* Effect.forkChild(PoolAssert.failsWith(pool.use(() => Effect.void), "AcquireTimeoutError"))
      yield* settle
      yield* TestClock.adjust("50 millis")
      assert.strictEqual((yield* Fiber.join(caller)).phase, "connect")
    }))

  it.effect("covers validating", () =>
    Effect.gen(function*() {
      const { faulty, pool } = yield* make({ max: 1, acquireTimeout: "2 seconds", validateTimeout: "1 minute" })
      yield* pool.use(() => Effect.void)
      yield* TestClock.adjust("10 seconds")
      yield* faulty.validate.hold
      const caller = yield* Effect.forkChild(PoolAssert.failsWith(pool.use(() => Effect.void), "AcquireTimeoutError"))
      yield* settle
      yield* TestClock.adjust("2 seconds")
      assert.strictEqual((yield* Fiber.join(caller)).phase, "validate")
      yield* faulty.validate.open
      yield* PoolAssert.nothingLeaked(faulty, pool)
    }))

  it.effect("covers several validations that fail one after the other", () =>
    Effect.gen(function*() {
      const { faulty, pool } = yield* make({ max: 1, acquireTimeout: "2 seconds", validateAfterIdle: 0 })
      yield* faulty.validate.fail(1000)
      yield* faulty.validate.delay("300 millis")
      const caller = yield* Effect.forkChild(PoolAssert.failsWith(pool.use(() => Effect.void), "AcquireTimeoutError"))
      yield* settle
      yield* TestClock.adjust("2 seconds")
      const error = yield* Fiber.join(caller)
      assert.strictEqual(error.waitedMillis, 2000)
      assert.strictEqual(error.phase, "validate")
      assert.isAbove((yield* pool.stats).evictions.invalid, 3)
    }))

  it.effect("covers resetting", () =>
    Effect.gen(function*() {
      const { faulty, pool } = yield* make({ max: 1, acquireTimeout: "2 seconds", resetTimeout: "1 minute" })
      yield* faulty.reset.hold
      yield* pool.use((connection) => connection.soil)
      const caller = yield* Effect.forkChild(PoolAssert.failsWith(pool.use(() => Effect.void), "AcquireTimeoutError"))
      yield* settle
      yield* TestClock.adjust("2 seconds")
      assert.strictEqual((yield* Fiber.join(caller)).phase, "reset")
      yield* faulty.reset.open
      yield* PoolAssert.nothingLeaked(faulty, pool)
    }))

  it.effect("covers a pause", () =>
    Effect.gen(function*() {
      const { pool } = yield* make({ acquireTimeout: "2 seconds" })
      yield* pool.pause
      const caller = yield* Effect.forkChild(PoolAssert.failsWith(pool.use(() => Effect.void), "AcquireTimeoutError"))
      yield* settle
      yield* TestClock.adjust("2 seconds")
      assert.strictEqual((yield* Fiber.join(caller)).phase, "pause")
    }))

  it.effect("names what each caller in line was waiting for", () =>
    Effect.gen(function*() {
      const { faulty, pool } = yield* make({
        max: 5,
        acquireTimeout: "10 seconds",
        connectTimeout: "1 minute",
        validateTimeout: "1 minute",
        resetTimeout: "1 minute"
      })
      const leases = [yield* borrow(pool), yield* borrow(pool), yield* borrow(pool)]
      yield* leases[0]!.giveBack
      yield* TestClock.adjust("2 seconds")
      yield* leases[1]!.connection!.soil
      yield* Effect.all([faulty.connect.hold, faulty.validate.hold, faulty.reset.hold])
      yield* leases[1]!.giveBack
      const callers: Array<Fiber.Fiber<PoolError.AcquireTimeoutError>> = []
      for (let caller = 0; caller < 6; caller++) {
        callers.push(
          yield* Effect.forkChild(PoolAssert.failsWith(pool.use(() => Effect.never), "AcquireTimeoutError"))
        )
        yield* settle
      }
      assert.deepStrictEqual(yield* shape(pool), {
        connecting: 2,
        validating: 1,
        inUse: 1,
        resetting: 1,
        waiting: 6
      })
      yield* TestClock.adjust("10 seconds")
      const errors = yield* Fiber.joinAll(callers)
      assert.deepStrictEqual(
        errors.map((error) => error.phase),
        ["validate", "reset", "connect", "connect", "queue", "queue"]
      )
      yield* Effect.all([faulty.connect.open, faulty.validate.open, faulty.reset.open])
      yield* leases[2]!.giveBack
      yield* PoolAssert.nothingLeaked(faulty, pool)
    }))

  it.effect("can be another one for each call, in any order", () =>
    Effect.gen(function*() {
      const { faulty, pool } = yield* make({ max: 1, acquireTimeout: "10 seconds" })
      const holder = yield* borrow(pool)
      const failed: Array<string> = []
      const wait = (timeout: string) =>
        Effect.forkChild(
          Effect.catch(
            pool.use(() => Effect.void, { timeout: timeout as "1 second" }),
            () => Effect.sync(() => void failed.push(timeout))
          )
        )
      const callers = [
        yield* wait("5 seconds"),
        yield* wait("1 second"),
        yield* wait("3 seconds"),
        yield* wait("0.5 seconds"),
        yield* wait("Infinity")
      ]
      yield* settle
      for (
        const expected of [
          ["0.5 seconds"],
          ["0.5 seconds", "1 second"],
          ["0.5 seconds", "1 second", "3 seconds"],
          ["0.5 seconds", "1 second", "3 seconds", "5 seconds"]
        ]
      ) {
        yield* TestClock.adjust(expected.at(-1) as "1 second")
        yield* settle
        assert.deepStrictEqual(failed.slice(0, expected.length), expected)
      }
      yield* TestClock.adjust("1 day")
      assert.strictEqual(failed.length, 4)
      yield* holder.giveBack
      yield* Fiber.joinAll(callers)
      assert.strictEqual((yield* pool.stats).timeouts, 4)
      yield* PoolAssert.nothingLeaked(faulty, pool)
    }))

  it.effect("of zero takes a connection without waiting, or fails at once", () =>
    Effect.gen(function*() {
      const { faulty, pool } = yield* make({ max: 1 })
      // Connecting takes no time here.
      yield* pool.use(() => Effect.void, { timeout: 0 })
      const holder = yield* borrow(pool)
      for (const timeout of [0, "0 seconds"] as const) {
        const error = yield* PoolAssert.failsWith(pool.use(() => Effect.void, { timeout }), "AcquireTimeoutError")
        assert.deepStrictEqual([error.waitedMillis, error.timeoutMillis], [0, 0])
      }
      // Not a turn later.
      const hasty = yield* Effect.forkChild(pool.use(() => Effect.void, { timeout: 0 }), { startImmediately: true })
      assert.isTrue(Exit.isFailure(hasty.pollUnsafe()!))
      yield* holder.giveBack
      yield* pool.use(() => Effect.void, { timeout: 0 })
      yield* PoolAssert.nothingLeaked(faulty, pool)
    }))

  it.effect("may be a fraction of a millisecond", () =>
    Effect.gen(function*() {
      const { pool } = yield* make({ max: 1 })
      yield* borrow(pool)
      const caller = yield* Effect.forkChild(Effect.result(pool.use(() => Effect.void, { timeout: "0.5 millis" })))
      yield* settle
      assert.isUndefined(caller.pollUnsafe())
      yield* TestClock.adjust("0.5 millis")
      assert.isTrue(Result.isFailure(yield* Fiber.join(caller)))
    }))

  it.effect("is not used up by callers that were served before it", () =>
    Effect.gen(function*() {
      const { pool } = yield* make({ max: 1, acquireTimeout: "2 seconds" })
      const holder = yield* borrow(pool)
      const caller = yield* borrow(pool)
      yield* TestClock.adjust("1 second")
      yield* holder.giveBack
      yield* TestClock.adjust("1 hour")
      assert.isUndefined(caller.fiber.pollUnsafe())
      assert.strictEqual((yield* pool.stats).timeouts, 0)
    }))

  it.effect("passes for many callers at once, and each gets exactly one error", () =>
    Effect.gen(function*() {
      const { faulty, pool } = yield* make({ max: 2, acquireTimeout: "1 second" })
      const holders = [yield* borrow(pool), yield* borrow(pool)]
      const callers = yield* Effect.forkChild(
        Effect.forEach(
          Array.from({ length: 1000 }),
          () => PoolAssert.failsWith(pool.use(() => Effect.void), "AcquireTimeoutError"),
          { concurrency: "unbounded" }
        )
      )
      yield* settle
      yield* TestClock.adjust("1 second")
      assert.strictEqual((yield* Fiber.join(callers)).length, 1000)
      const stats = yield* pool.stats
      assert.deepStrictEqual([stats.timeouts, stats.waiting], [1000, 0])
      for (const holder of holders) yield* holder.giveBack
      yield* PoolAssert.nothingLeaked(faulty, pool)
    }))
})
