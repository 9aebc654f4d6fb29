import { assert, describe, it } from "@effect/vitest"
import { Cause, Effect, Exit, Fiber, Stream } from "effect"
import { PoolAssert } from "effect-connection-pool/testing"
import { TestClock } from "effect/testing"
import { borrow, make, settle, shape } from "./support/pools.ts"

describe("the bound of the line", () => {
  it.effect("refuses one more at once", () =>
    Effect.gen(function*() {
      const { faulty, pool } = yield* make({ max: 1, maxWaiting: 10, name: "orders" })
      const holder = yield* borrow(pool)
      const callers: Array<Fiber.Fiber<void, unknown>> = []
      for (let caller = 0; caller < 10; caller++) callers.push(yield* Effect.forkChild(pool.use(() => Effect.void)))
      yield* settle
      const error = yield* PoolAssert.failsWith(pool.use(() => Effect.void), "QueueFullError")
      assert.strictEqual(error.maxWaiting, 10)
      assert.strictEqual(error.occupancy.waiting, 10)
      assert.strictEqual(
        error.message,
        `pool "orders": 10 callers wait already, which is maxWaiting (1 of 1 in use, 10 waiting)`
      )
      yield* PoolAssert.failsWith(pool.useSync(() => 1), "QueueFullError")
      yield* PoolAssert.failsWith(Effect.scoped(pool.acquire()), "QueueFullError")
      assert.strictEqual((yield* pool.stats).refused, 3)
      yield* holder.giveBack
      yield* Fiber.joinAll(callers)
      yield* PoolAssert.nothingLeaked(faulty, pool)
    }))

  it.effect("is an event as soon as a caller is refused, though nothing else happens in the pool", () =>
    Effect.gen(function*() {
      const { pool } = yield* make({ max: 1, maxWaiting: 1 })
      yield* borrow(pool)
      yield* Effect.forkChild(pool.use(() => Effect.void))
      yield* settle
      const seen: Array<string> = []
      yield* Effect.forkScoped(
        Stream.runForEach(pool.events, (event) => Effect.sync(() => seen.push(event._tag))),
        { startImmediately: true }
      )
      yield* settle
      const refused = [pool.use(() => Effect.void), pool.useSync(() => 1), Effect.scoped(pool.acquire())]
      for (const [index, caller] of refused.entries()) {
        yield* PoolAssert.failsWith(caller, "QueueFullError")
        yield* settle
        assert.deepStrictEqual(seen, Array.from({ length: index + 1 }, () => "Refused"))
      }
    }))

  it.effect("counts callers whose connection is being opened", () =>
    Effect.gen(function*() {
      const { faulty, pool } = yield* make({ max: 5, maxWaiting: 2 })
      yield* faulty.connect.hold
      yield* borrow(pool)
      yield* borrow(pool)
      yield* PoolAssert.failsWith(pool.use(() => Effect.void), "QueueFullError")
      yield* faulty.connect.open
    }))
})

describe("an interrupted caller", () => {
  it.effect("leaves the line, and costs no connection", () =>
    Effect.gen(function*() {
      const { faulty, pool } = yield* make({ max: 1 })
      const holder = yield* borrow(pool)
      const caller = yield* Effect.forkChild(pool.use(() => Effect.void))
      yield* settle
      yield* Fiber.interrupt(caller)
      assert.deepStrictEqual(yield* shape(pool), { inUse: 1 })
      yield* holder.giveBack
      const stats = yield* pool.stats
      assert.deepStrictEqual([stats.cancelled, stats.checkouts], [1, 1])
      yield* PoolAssert.nothingLeaked(faulty, pool)
    }))

  it.effect("passes on the connection that it was granted", () =>
    Effect.gen(function*() {
      const { faulty, pool } = yield* make({ max: 100 })
      const holders = yield* Effect.forEach(Array.from({ length: 100 }), () => borrow(pool))
      const served: Array<number> = []
      const callers: Array<Fiber.Fiber<unknown, unknown>> = []
      for (let caller = 0; caller < 110; caller++) {
        callers.push(
          yield* Effect.forkDetach(pool.use(() => Effect.andThen(Effect.sync(() => served.push(caller)), Effect.never)))
        )
      }
      yield* settle
      // A hundred are granted a connection in one turn, in which only some of them are woken.
      yield* Effect.sync(() => {
        for (const holder of holders) holder.fiber.interruptUnsafe()
        assert.isAbove(served.length, 0)
        assert.isBelow(served.length, 90)
        for (let caller = 90; caller < 100; caller++) callers[caller]!.interruptUnsafe()
      })
      yield* settle
      const expected = Array.from({ length: 110 }, (_, caller) => caller).filter((caller) =>
        caller < 90 || caller >= 100
      )
      assert.deepStrictEqual(served, expected)
      const stats = yield* pool.stats
      assert.deepStrictEqual([stats.cancelled, stats.inUse, stats.waiting], [10, 100, 0])
      for (const caller of callers) yield* Fiber.interrupt(caller)
      yield* PoolAssert.nothingLeaked(faulty, pool)
    }))

  it.effect("leaves its connection to the next waiter once it is open", () =>
    Effect.gen(function*() {
      const { faulty, pool } = yield* make({ max: 1 })
      yield* faulty.connect.delay("100 millis")
      for (let caller = 0; caller < 4; caller++) {
        const waiting = yield* Effect.forkChild(
          PoolAssert.failsWith(pool.use(() => Effect.void, { timeout: "20 millis" }), "AcquireTimeoutError")
        )
        yield* settle
        yield* TestClock.adjust("20 millis")
        yield* Fiber.join(waiting)
      }
      const last = yield* Effect.forkChild(pool.use(() => Effect.void, { timeout: "21 millis" }))
      yield* settle
      yield* TestClock.adjust("20 millis")
      yield* Fiber.join(last)
      assert.strictEqual((yield* faulty.counters).attempts, 1)
      yield* faulty.connect.delay(0)
      yield* PoolAssert.nothingLeaked(faulty, pool)
    }))

  it.effect("stays interrupted, and nothing else", () =>
    Effect.gen(function*() {
      const { pool } = yield* make({ max: 1 })
      yield* borrow(pool)
      const caller = yield* Effect.forkChild(pool.use(() => Effect.void))
      yield* settle
      yield* Fiber.interrupt(caller)
      const exit = yield* Fiber.await(caller)
      assert.isTrue(Exit.isFailure(exit) && Cause.hasInterruptsOnly(exit.cause))
    }))
})
