/** Replacements of abandoned connections: how many, when, and which of them leave again. */
import { assert, describe, it } from "@effect/vitest"
import { Effect, Fiber } from "effect"
import { PoolAssert } from "effect-connection-pool/testing"
import { TestClock } from "effect/testing"
import { borrow, leaveRunning, make, settle, shape } from "./support/pools.ts"

describe("replacements that are still being opened", () => {
  it.effect("leave one by one, the newest first, as the connections settle that they were to replace", () =>
    Effect.gen(function*() {
      const { faulty, pool } = yield* make({ max: 2, maxAbandoned: 2 })
      yield* faulty.settle.hold
      const two = yield* Effect.forEach([1, 2], () => borrow(pool))
      for (const { connection, fiber } of two) {
        yield* connection!.start
        yield* Fiber.interrupt(fiber)
      }
      yield* faulty.connect.hold
      const callers = yield* Effect.forEach([1, 2], () => borrow(pool))
      assert.deepStrictEqual(yield* shape(pool), { connecting: 2, abandoned: 2, waiting: 2 })
      const leaving = Effect.map(
        pool.connections,
        (all) => all.filter(({ evictReason }) => evictReason === "excess").map(({ id }) => id)
      )
      yield* faulty.settle.pass()
      yield* settle
      assert.deepStrictEqual(yield* leaving, [4])
      yield* faulty.settle.pass()
      yield* settle
      assert.deepStrictEqual(yield* leaving, [3, 4])
      assert.deepStrictEqual(callers.map(({ connection }) => connection?.id), [1, 2])
      yield* faulty.connect.open
      yield* settle
      assert.deepStrictEqual(yield* shape(pool), { inUse: 2 })
      assert.strictEqual((yield* pool.stats).evictions.excess, 2)
      for (const caller of callers) yield* caller.giveBack
      yield* PoolAssert.nothingLeaked(faulty, pool)
    }))
})

describe("a replacement", () => {
  it.effect("is opened in time, also if the pool has nothing else to look after before that", () =>
    Effect.gen(function*() {
      const { faulty, pool } = yield* make({ max: 1 })
      yield* faulty.connect.delay("300 millis")
      const opening = yield* Effect.forkChild(pool.use(() => Effect.void))
      yield* TestClock.adjust("300 millis")
      yield* Fiber.join(opening)
      yield* faulty.settle.hold
      yield* leaveRunning(pool)
      const next = yield* borrow(pool)
      yield* TestClock.adjust("299 millis")
      assert.deepStrictEqual(yield* shape(pool), { abandoned: 1, waiting: 1 })
      yield* TestClock.adjust("1 millis")
      assert.deepStrictEqual(yield* shape(pool), { connecting: 1, abandoned: 1, waiting: 1 })
      yield* TestClock.adjust("300 millis")
      yield* next.giveBack
      yield* Effect.all([faulty.connect.clear, faulty.settle.open])
      yield* settle
      yield* PoolAssert.nothingLeaked(faulty, pool)
    }))
})

describe("more abandoned connections than a smaller max allows", () => {
  it.effect("leave when they settle, until max and the replacements of the others allow the rest", () =>
    Effect.gen(function*() {
      const { faulty, pool } = yield* make({ max: 3, maxAbandoned: 1 })
      yield* faulty.settle.hold
      for (let left = 0; left < 3; left++) yield* leaveRunning(pool)
      yield* pool.resize({ max: 1 })
      const shapes: Array<Record<string, number>> = []
      for (let left = 0; left < 3; left++) {
        yield* faulty.settle.pass()
        yield* settle
        shapes.push(yield* shape(pool))
      }
      assert.deepStrictEqual(shapes, [{ abandoned: 2 }, { idle: 1, abandoned: 1 }, { idle: 1 }])
      assert.strictEqual((yield* pool.stats).evictions.excess, 2)
      yield* PoolAssert.nothingLeaked(faulty, pool)
    }))
})

describe("a caller who cannot be served, as the error tells it,", () => {
  it.effect("has waited for what runs, while that may not be replaced yet", () =>
    Effect.gen(function*() {
      const { faulty, pool } = yield* make({ max: 1 })
      yield* faulty.connect.delay("5 seconds")
      const opening = yield* Effect.forkChild(pool.use(() => Effect.void))
      yield* TestClock.adjust("5 seconds")
      yield* Fiber.join(opening)
      yield* faulty.settle.hold
      yield* leaveRunning(pool)
      const failing = yield* Effect.forkChild(
        PoolAssert.failsWith(pool.use(() => Effect.void, { timeout: "999 millis" }), "AcquireTimeoutError")
      )
      yield* TestClock.adjust("999 millis")
      assert.strictEqual((yield* Fiber.join(failing)).phase, "abandoned")
    }))

  it.effect("has waited for a connection, if its replacement cannot be opened", () =>
    Effect.gen(function*() {
      const { faulty, pool } = yield* make({ max: 1, connectBackoff: "1 minute", connectBackoffMax: "1 minute" })
      yield* faulty.settle.hold
      yield* leaveRunning(pool)
      yield* faulty.connect.fail(Infinity)
      const failing = yield* Effect.forkChild(
        PoolAssert.failsWith(pool.use(() => Effect.void, { timeout: "10 seconds" }), "AcquireTimeoutError")
      )
      yield* TestClock.adjust("10 seconds")
      const error = yield* Fiber.join(failing)
      assert.deepStrictEqual([error.phase, error.occupancy.abandoned, error.abandoned?.length], ["connect", 1, 1])
    }))

  it.effect("is told of the five that run longest", () =>
    Effect.gen(function*() {
      const { faulty, pool } = yield* make({ max: 7, maxAbandoned: 0 })
      yield* faulty.settle.hold
      for (let left = 1; left <= 7; left++) {
        yield* leaveRunning(pool)
        yield* TestClock.adjust("1 second")
      }
      const error = yield* PoolAssert.failsWith(pool.use(() => Effect.void, { timeout: 0 }), "AcquireTimeoutError")
      assert.deepStrictEqual(
        error.abandoned?.map(({ abandonedMillis, connection }) => [connection, abandonedMillis]),
        [[1, 7000], [2, 6000], [3, 5000], [4, 4000], [5, 3000]]
      )
      assert.include(error.message, "7 of 7 still run what callers have left: ")
      assert.strictEqual((yield* pool.abandoned).length, 7)
    }))
})
