import { assert, describe, it } from "@effect/vitest"
import { Effect, Fiber, Latch } from "effect"
import { PoolAssert } from "effect-connection-pool/testing"
import { TestClock } from "effect/testing"
import { hold, makeMap, shapeOf, type TestMap } from "./support/poolMaps.ts"
import { settle } from "./support/pools.ts"

const touch = ({ map }: TestMap, ...keys: ReadonlyArray<string>) =>
  Effect.forEach(keys, (key) => Effect.andThen(map.use(key, () => Effect.void), TestClock.adjust("1 second")))

describe("room in a map of pools", () => {
  it.effect("is made by closing the pool that was used least recently, before the new one opens", () =>
    Effect.gen(function*() {
      const test = yield* makeMap({ max: 3 })
      yield* touch(test, "a", "b", "c", "a")
      yield* test.take
      yield* touch(test, "d", "e")
      assert.deepStrictEqual(yield* test.take, [
        "closing b2",
        "closed b2",
        "opening d4",
        "open d4",
        "closing c3",
        "closed c3",
        "opening e5",
        "open e5"
      ])
      assert.deepStrictEqual(yield* test.map.keys, ["a", "d", "e"])
      assert.strictEqual(test.most(), 3)
      assert.strictEqual((yield* test.map.stats).evictions.room, 2)
    }))

  it.effect("is never made by closing a pool in use", () =>
    Effect.gen(function*() {
      const test = yield* makeMap({ max: 2 })
      const a = yield* hold(test.map, "a")
      yield* touch(test, "b", "c", "d")
      assert.deepStrictEqual(yield* test.map.keys, ["d", "a"])
      yield* a.letGo
      assert.strictEqual(test.log.filter((entry) => entry === "closing a1").length, 0)
    }))

  it.effect("goes to those who wait in order of arrival, each key once", () =>
    Effect.gen(function*() {
      const { map, take } = yield* makeMap({ max: 1 })
      const a = yield* hold(map, "a")
      const order: Array<string> = []
      const callers = yield* Effect.forEach(
        ["b", "c", "b", "d"],
        (key, index) => Effect.forkChild(map.use(key, () => Effect.sync(() => order.push(`${key}${index}`))))
      )
      yield* settle
      assert.deepStrictEqual(yield* shapeOf(map), { inUse: 1, waiting: 4, leases: 1 })
      yield* a.letGo
      yield* Effect.forEach(callers, Fiber.join)
      assert.deepStrictEqual(order, ["b0", "b2", "c1", "d3"])
      assert.deepStrictEqual(
        (yield* take).filter((entry) => entry.startsWith("open ")),
        ["open a1", "open b2", "open c3", "open d4"]
      )
    }))

  it.effect("does not come earlier to a caller because another one of its key has left the line", () =>
    Effect.gen(function*() {
      const { map } = yield* makeMap({ max: 1 })
      const a = yield* hold(map, "a")
      const order: Array<string> = []
      const [first, ...others] = yield* Effect.forEach(
        ["b", "c", "d", "b"],
        (key) => Effect.forkChild(map.use(key, () => Effect.sync(() => order.push(key))))
      )
      yield* settle
      yield* Fiber.interrupt(first!)
      yield* a.letGo
      yield* Effect.forEach(others, Fiber.join)
      assert.deepStrictEqual(order, ["c", "d", "b"])
    }))

  it.effect("is refused at the deadline, with an error that says who has the pools", () =>
    Effect.gen(function*() {
      const { map } = yield* makeMap({ max: 2, name: "customers", acquireTimeout: "5 seconds" })
      yield* hold(map, "ada", { label: "report" })
      yield* TestClock.adjust("1 second")
      const second = yield* hold(map, "bob")
      const late = yield* Effect.forkChild(PoolAssert.failsWith(map.use("cy", Effect.succeed), "PoolMapTimeoutError"))
      yield* settle
      yield* TestClock.adjust("5 seconds")
      const error = yield* Fiber.join(late)
      const { key, occupancy, phase, timeoutMillis, waitedMillis } = error
      assert.deepStrictEqual({ key, occupancy, phase, timeoutMillis, waitedMillis }, {
        key: `"cy"`,
        phase: "room",
        waitedMillis: 5000,
        timeoutMillis: 5000,
        occupancy: { max: 2, total: 2, opening: 0, idle: 0, inUse: 2, closing: 0, waiting: 1 }
      })
      assert.match(
        error.message,
        /^map "customers": no pool for "cy" within 5000 ms, waiting for a pool that is not in use, to close it \(2 of 2 in use, 1 waiting\); held longest by report #\d+ \("ada"\) for 6000 ms, fiber #\d+ \("bob"\) for 5000 ms$/
      )
      assert.deepStrictEqual(yield* shapeOf(map), { inUse: 2, leases: 2 })
      yield* second.letGo
      assert.strictEqual((yield* map.use("cy", Effect.succeed)).key, "cy")
    }))

  it.effect("does not wait with a timeout of zero, but gives a pool that is open", () =>
    Effect.gen(function*() {
      const { map } = yield* makeMap({ max: 1 })
      yield* hold(map, "a")
      const error = yield* PoolAssert.failsWith(map.use("b", Effect.succeed, { timeout: 0 }), "PoolMapTimeoutError")
      assert.strictEqual(error.waitedMillis, 0)
      assert.strictEqual((yield* map.use("a", Effect.succeed, { timeout: 0 })).key, "a")
      assert.deepStrictEqual(yield* shapeOf(map), { inUse: 1, leases: 1 })
    }))

  it.effect("is named in the error of a caller that holds a pool itself, also in a fiber of its own", () =>
    Effect.gen(function*() {
      const { map } = yield* makeMap({ max: 1, acquireTimeout: "1 second" })
      const nested = map.use("a", () => Effect.all([Effect.void, map.use("b", Effect.succeed)], { concurrency: 2 }))
      const caller = yield* Effect.forkChild(PoolAssert.failsWith(nested, "PoolMapTimeoutError"))
      const scoped = Effect.scoped(Effect.andThen(map.get("a"), map.use("b", Effect.succeed)))
      yield* settle
      yield* TestClock.adjust("1 second")
      const error = yield* Fiber.join(caller)
      assert.strictEqual(error.ownLeases, 1)
      assert.match(
        error.message,
        /; this caller holds 1 lease of the map itself: end those before it asks for another pool, or raise max$/
      )
      const other = yield* Effect.forkChild(PoolAssert.failsWith(scoped, "PoolMapTimeoutError"))
      yield* settle
      yield* TestClock.adjust("1 second")
      assert.strictEqual((yield* Fiber.join(other)).ownLeases, 1)
    }))

  it.effect("comes to a key although others are in use all the time", () =>
    Effect.gen(function*() {
      const { map, most } = yield* makeMap({ max: 2 })
      // Of each of two keys there is always a lease, and each lease is short.
      const busy = (key: string) =>
        Effect.forEach([0, 25], (delay) =>
          Effect.forkChild(
            Effect.delay(Effect.forever(map.use(key, () => Effect.sleep(50)).pipe(Effect.orDie)), delay)
          ))
      const fibers = (yield* Effect.forEach(["a", "b"], busy)).flat()
      yield* TestClock.adjust("1 second")
      const late = yield* Effect.forkChild(map.use("c", Effect.succeed))
      yield* settle
      yield* TestClock.adjust("900 millis")
      assert.isUndefined(late.pollUnsafe())
      yield* TestClock.adjust("300 millis")
      assert.strictEqual((yield* Fiber.join(late)).key, "c")
      // Both go on, and none has failed.
      yield* TestClock.adjust("3 seconds")
      for (const fiber of fibers) assert.isUndefined(fiber.pollUnsafe())
      assert.strictEqual(most(), 2)
      yield* Fiber.interruptAll(fibers)
    }))

  it.effect("that a pool in use had to make stays with it if nobody waits any more", () =>
    Effect.gen(function*() {
      const { map, take } = yield* makeMap({ max: 1 })
      const a = yield* hold(map, "a")
      const waiting = yield* Effect.forkChild(map.use("b", Effect.succeed))
      yield* settle
      yield* TestClock.adjust("2 seconds")
      const behind = yield* Effect.forkChild(map.use("a", Effect.succeed))
      yield* settle
      assert.deepStrictEqual((yield* map.pools).map(({ key, state, waiting }) => `${key} ${state} ${waiting}`), [
        "b waiting 1",
        "a leaving 1"
      ])
      yield* Fiber.interrupt(waiting)
      assert.strictEqual((yield* Fiber.join(behind)).number, 1)
      yield* a.letGo
      assert.deepStrictEqual(yield* take, ["opening a1", "open a1"])
    }))

  it.effect("of a pool that is slow to close is made elsewhere too", () =>
    Effect.gen(function*() {
      const { closing, map, take } = yield* makeMap({ max: 2 })
      yield* map.use("a", () => Effect.void)
      yield* TestClock.adjust("1 second")
      yield* map.use("b", () => Effect.void)
      yield* take
      yield* closing.close
      const waiting = yield* Effect.forkChild(map.use("c", Effect.succeed))
      assert.deepStrictEqual(yield* take, ["closing a1"])
      yield* TestClock.adjust("999 millis")
      assert.deepStrictEqual(yield* take, [])
      yield* TestClock.adjust("1 millis")
      assert.deepStrictEqual(yield* take, ["closing b2"])
      yield* closing.open
      assert.strictEqual((yield* Fiber.join(waiting)).key, "c")
    }))

  it.effect("is not given back before a pool is closed, however long that takes", () =>
    Effect.gen(function*() {
      const { closing, map, take } = yield* makeMap({ max: 1, closeTimeout: "5 seconds", acquireTimeout: "1 minute" })
      yield* map.use("a", () => Effect.void)
      yield* closing.close
      const other = yield* Effect.forkChild(map.use("b", Effect.succeed))
      const again = yield* Effect.forkChild(map.use("a", Effect.succeed))
      yield* settle
      yield* TestClock.adjust("30 seconds")
      assert.deepStrictEqual(yield* take, ["opening a1", "open a1", "closing a1"])
      const { closing: closingNow, overdue } = yield* map.stats
      assert.deepStrictEqual({ closingNow, overdue }, { closingNow: 1, overdue: 1 })
      yield* TestClock.adjust("30 seconds")
      const error = yield* PoolAssert.failsWith(Fiber.join(again), "PoolMapTimeoutError")
      assert.strictEqual(error.phase, "close")
      yield* PoolAssert.failsWith(Fiber.join(other), "PoolMapTimeoutError")
      yield* closing.open
      yield* settle
      assert.strictEqual((yield* map.use("a", Effect.succeed)).number, 2)
    }))

  it.effect("is freed after the idle time, by one timer, and an ask in the same step finds the pool or waits for its end", () =>
    Effect.gen(function*() {
      const { log, map } = yield* makeMap({ idleTimeout: "10 seconds" })
      yield* map.use("a", () => Effect.void)
      yield* TestClock.adjust("5 seconds")
      yield* map.use("b", () => Effect.void)
      const asks = yield* Effect.forkChild(Effect.delay(map.use("a", Effect.succeed), "5 seconds"))
      const latch = yield* Latch.make(false)
      const late = yield* Effect.forkChild(Effect.andThen(latch.await, map.use("a", Effect.succeed)))
      yield* settle
      yield* TestClock.adjust("5 seconds")
      yield* latch.open
      const found = [yield* Fiber.join(asks), yield* Fiber.join(late)]
      assert.strictEqual(found[0]!.number, found[1]!.number)
      assert.isAbove(log.indexOf("open a3") === -1 ? Infinity : log.indexOf("open a3"), log.indexOf("closed a1"))
      yield* TestClock.adjust("5 seconds")
      assert.deepStrictEqual(yield* map.keys, ["a"])
      yield* TestClock.adjust("5 seconds")
      assert.deepStrictEqual(yield* map.keys, [])
    }))
})
