import { assert, describe, it } from "@effect/vitest"
import { Effect, Fiber } from "effect"
import { PoolAssert } from "effect-connection-pool/testing"
import { TestClock } from "effect/testing"
import { borrow, make, type Pool, settle, shape } from "./support/pools.ts"

/** What can happen to a connection while a check asks it, and the reason for which it leaves if it answers well. */
const meanwhile: Record<string, readonly [happens: (pool: Pool) => Effect.Effect<unknown>, reason: Reason]> = {
  "is recycled": [(pool) => pool.recycle, "recycled"],
  "expires": [() => TestClock.adjust("4 seconds"), "lifetime"],
  "becomes one too many": [(pool) => Effect.orDie(pool.resize({ min: 0, max: 1 })), "excess"]
}
type Reason = "recycled" | "lifetime" | "excess"

describe("a connection that a check asks whether it works", () => {
  for (const [what, [happens, reason]] of Object.entries(meanwhile)) {
    for (const isWell of [true, false]) {
      it.effect(`and that ${what} meanwhile, is closed when it has answered ${isWell ? "well" : "badly"}`, () =>
        Effect.gen(function*() {
          const { faulty, pool } = yield* make({
            min: 3,
            max: 3,
            validateAfterIdle: "Infinity",
            maxLifetime: "4 seconds",
            lifetimeJitter: 0
          })
          yield* faulty.validate.hold
          if (!isWell) yield* faulty.validate.fail(2)
          const check = yield* Effect.forkChild(pool.check({ concurrency: 2 }))
          yield* settle
          assert.deepStrictEqual(yield* shape(pool), { idle: 1, validating: 2 })
          yield* happens(pool)
          yield* settle
          assert.strictEqual((yield* shape(pool))["validating"], 2)
          const before = (yield* pool.stats).evictions
          yield* faulty.validate.pass()
          yield* settle
          const after = (yield* pool.stats).evictions
          const why = isWell || reason === "recycled" ? reason : "invalid"
          assert.strictEqual(after[why] - before[why], 1)
          assert.isFalse((yield* pool.connections).some(({ id }) => id === 1))
          yield* faulty.validate.open
          yield* Fiber.join(check)
          yield* settle
          yield* PoolAssert.nothingLeaked(faulty, pool)
        }))
    }
  }

  it.effect("and that is invalidated meanwhile, is closed whatever it answers", () =>
    Effect.gen(function*() {
      const { faulty, pool } = yield* make({ min: 1, max: 1, validateAfterIdle: "Infinity" })
      const lent = yield* pool.use(Effect.succeed)
      yield* faulty.validate.hold
      const check = yield* Effect.forkChild(pool.check())
      yield* settle
      assert.isTrue(yield* pool.invalidate(lent))
      yield* faulty.validate.open
      yield* settle
      yield* Fiber.join(check)
      yield* settle
      assert.deepStrictEqual((yield* pool.connections).map(({ id, state }) => [id, state]), [[2, "idle"]])
      yield* PoolAssert.nothingLeaked(faulty, pool)
    }))

  it.effect("is closed at once by a shutdown, which ends the check", () =>
    Effect.gen(function*() {
      const { faulty, pool } = yield* make({ min: 2, max: 2, validateAfterIdle: "Infinity" })
      yield* faulty.validate.hold
      const check = yield* Effect.forkChild(pool.check())
      yield* settle
      yield* pool.shutdown()
      assert.deepStrictEqual(yield* Fiber.join(check), { passed: 0, failed: [], busy: 0, connected: undefined })
      yield* PoolAssert.allClosed(faulty, pool)
    }))
})

describe("a check that waits for an attempt to connect", () => {
  it.effect("takes the answer of that attempt, not of another that ends before", () =>
    Effect.gen(function*() {
      const { faulty, pool } = yield* make({ max: 3 })
      yield* faulty.connect.hold
      const callers = yield* Effect.forEach([1, 2], () => Effect.forkChild(pool.use(() => Effect.void)))
      yield* settle
      assert.deepStrictEqual(yield* shape(pool), { connecting: 2, waiting: 2 })
      const check = yield* Effect.forkChild(pool.check())
      yield* settle
      yield* faulty.connect.fail(1, { transient: true })
      yield* faulty.connect.pass()
      yield* settle
      assert.isUndefined(check.pollUnsafe())
      yield* faulty.connect.open
      yield* settle
      assert.strictEqual((yield* Fiber.join(check)).connected, true)
      yield* Fiber.awaitAll(callers)
    }))

  it.effect("waits in a full pool until a connection has closed, and an attempt can be made", () =>
    Effect.gen(function*() {
      const { faulty, pool } = yield* make({ max: 1 })
      yield* faulty.disconnect.hold
      yield* pool.use((connection) => pool.invalidate(connection))
      yield* settle
      assert.deepStrictEqual(yield* shape(pool), { closing: 1 })
      const check = yield* Effect.forkChild(pool.check())
      yield* settle
      assert.isUndefined(check.pollUnsafe())
      yield* faulty.disconnect.open
      yield* settle
      assert.strictEqual((yield* Fiber.join(check)).connected, true)
      yield* PoolAssert.nothingLeaked(faulty, pool)
    }))
})

describe("a lease that is out for less than leakThreshold", () => {
  it.effect("is not reported when the pool is looked after for another reason", () =>
    Effect.gen(function*() {
      const { pool } = yield* make({ max: 2, idleTimeout: "10 seconds", leakThreshold: "1 minute" })
      yield* TestClock.adjust("1 second")
      yield* pool.use(() => pool.use(() => Effect.void))
      yield* borrow(pool)
      yield* TestClock.adjust("59 seconds")
      assert.strictEqual((yield* pool.stats).leaks, 0)
      yield* TestClock.adjust("1 second")
      assert.strictEqual((yield* pool.stats).leaks, 1)
    }))
})
