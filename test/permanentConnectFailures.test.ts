import { assert, describe, it } from "@effect/vitest"
import { Effect, Fiber } from "effect"
import { PoolAssert } from "effect-connection-pool/testing"
import { TestClock } from "effect/testing"
import { borrow, make, settle, shape } from "./support/pools.ts"

/** Until an operation on a connection has taken too long to be counted on, and another connection is tried. */
const tooLong = TestClock.adjust("1500 millis")

describe("when connecting fails for good, a caller waits for", () => {
  for (const operation of ["reset", "validated"] as const) {
    it.effect(`the only connection while it is ${operation}`, () =>
      Effect.gen(function*() {
        const { faulty, pool } = yield* make({ max: 2, ...(operation === "validated" ? { validateAfterIdle: 0 } : {}) })
        const fault = operation === "reset" ? faulty.reset : faulty.validate
        const other = yield* borrow(pool)
        if (operation === "reset") yield* other.connection!.soil
        yield* fault.hold
        yield* other.giveBack
        yield* faulty.connect.fail(Infinity)
        const caller = yield* Effect.forkChild(pool.use(() => Effect.succeed("served")))
        yield* settle
        const list = operation === "reset" ? "resetting" : "validating"
        assert.deepStrictEqual(yield* shape(pool), { [list]: 1, waiting: 1 })
        yield* tooLong
        yield* settle
        assert.isAtLeast((yield* pool.stats).connectFailures, 1)
        assert.isUndefined(caller.pollUnsafe())
        yield* faulty.connect.clear
        yield* fault.open
        assert.strictEqual(yield* Fiber.join(caller), "served")
        yield* PoolAssert.nothingLeaked(faulty, pool)
      }))
  }

  it.effect("a connection that another caller has in use", () =>
    Effect.gen(function*() {
      const { faulty, pool } = yield* make({ max: 2 })
      const other = yield* borrow(pool)
      yield* faulty.connect.fail()
      const caller = yield* Effect.forkChild(pool.use(() => Effect.succeed("served")))
      yield* settle
      assert.isAtLeast((yield* pool.stats).connectFailures, 1)
      assert.isUndefined(caller.pollUnsafe())
      yield* other.giveBack
      assert.strictEqual(yield* Fiber.join(caller), "served")
      yield* PoolAssert.nothingLeaked(faulty, pool)
    }))

  for (const state of ["resetting", "validating"] as const) {
    it.effect(`the one that is ${state}, also if it holds all others itself`, () =>
      Effect.gen(function*() {
        const isResetting = state === "resetting"
        const { faulty, pool } = yield* make({ max: 3, ...(isResetting ? {} : { validateAfterIdle: 0 }) })
        const other = yield* borrow(pool)
        const caller = yield* Effect.forkChild(
          pool.use(() => Effect.delay(pool.use(() => Effect.succeed("served")), "10 millis"))
        )
        yield* settle
        if (isResetting) {
          yield* other.connection!.soil
          yield* faulty.reset.hold
        } else yield* faulty.validate.hold
        yield* other.giveBack
        yield* faulty.connect.fail(Infinity)
        yield* TestClock.adjust("10 millis")
        yield* settle
        assert.deepStrictEqual(yield* shape(pool), { inUse: 1, [state]: 1, waiting: 1 })
        yield* tooLong
        yield* settle
        assert.isAtLeast((yield* pool.stats).connectFailures, 1)
        assert.isUndefined(caller.pollUnsafe())
        yield* faulty.connect.clear
        yield* faulty.reset.open
        yield* faulty.validate.open
        assert.strictEqual(yield* Fiber.join(caller), "served")
        yield* PoolAssert.nothingLeaked(faulty, pool)
      }))
  }

  it.effect("nothing, if only the caller itself could return a connection", () =>
    Effect.gen(function*() {
      const { faulty, pool } = yield* make({ max: 2 })
      const caller = yield* Effect.forkChild(
        pool.use(() =>
          Effect.andThen(faulty.connect.fail(), PoolAssert.failsWith(pool.use(() => Effect.void), "ConnectError"))
        )
      )
      yield* settle
      assert.strictEqual((yield* Fiber.join(caller)).reason._tag, "ConnectFailed")
      yield* PoolAssert.nothingLeaked(faulty, pool)
    }))
})
