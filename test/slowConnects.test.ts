import { assert, describe, it } from "@effect/vitest"
import { Effect, Fiber } from "effect"
import { ConnectionFactory, ConnectionPool } from "effect-connection-pool"
import { PoolAssert } from "effect-connection-pool/testing"
import { TestClock } from "effect/testing"
import { borrow, make, settle, shape } from "./support/pools.ts"

describe("a connect that hangs", () => {
  it.effect("does not stop another", () =>
    Effect.gen(function*() {
      const { faulty, pool } = yield* make({ max: 2 })
      yield* faulty.connect.hang(1, { uninterruptible: true })
      const first = yield* borrow(pool)
      const second = yield* borrow(pool)
      assert.deepStrictEqual([first.connection?.id, second.connection?.id], [2, undefined])
      yield* first.giveBack
      assert.strictEqual(second.connection?.id, 2)
      yield* second.giveBack
      // Given up before the end of the test, whose shutdown would wait for it otherwise.
      yield* TestClock.adjust("10 seconds")
    }))

  it.effect("gives its slot back at connectTimeout, and is closed at once should it succeed after all", () =>
    Effect.gen(function*() {
      const { faulty, pool } = yield* make({ max: 1, connectTimeout: "3 seconds", connectBackoff: "1 second" })
      yield* faulty.connect.hold
      const caller = yield* borrow(pool)
      yield* TestClock.adjust("3 seconds")
      assert.deepStrictEqual(yield* shape(pool), { waiting: 1 })
      yield* TestClock.adjust("1 second")
      assert.deepStrictEqual(yield* shape(pool), { connecting: 1, waiting: 1 })
      assert.strictEqual(yield* faulty.connect.waiting, 2)
      yield* faulty.connect.pass(1)
      yield* settle
      assert.strictEqual(caller.connection?.id, 2)
      yield* faulty.connect.open
      yield* settle
      const counters = yield* faulty.counters
      assert.deepStrictEqual([counters.opened, counters.closed], [2, 1])
      assert.deepStrictEqual(yield* shape(pool), { inUse: 1 })
      yield* caller.giveBack
      yield* PoolAssert.nothingLeaked(faulty, pool)
    }))

  it.effect("frees its slot at connectTimeout although its resources are not released", () =>
    Effect.gen(function*() {
      let attempts = 0
      const factory = ConnectionFactory.make({
        connect: Effect.suspend(() =>
          ++attempts > 1
            ? Effect.succeed(attempts)
            : Effect.andThen(Effect.acquireRelease(Effect.void, () => Effect.never), Effect.never)
        )
      })
      const pool = yield* ConnectionPool.make({ factory, max: 1, connectTimeout: "3 seconds" })
      const caller = yield* Effect.forkChild(pool.use((connection) => Effect.succeed(connection)))
      yield* settle
      yield* TestClock.adjust("3 seconds")
      assert.deepStrictEqual(yield* shape(pool), { waiting: 1 })
      yield* TestClock.adjust("100 millis")
      assert.strictEqual(yield* Fiber.join(caller), 2)
    }))

  it.effect("is interrupted at connectTimeout, if it can be", () =>
    Effect.gen(function*() {
      const { faulty, pool } = yield* make({
        max: 1,
        connectTimeout: "3 seconds",
        driver: { interruptibleConnect: true }
      })
      yield* faulty.connect.hold
      yield* borrow(pool)
      yield* TestClock.adjust("3 seconds")
      assert.strictEqual(yield* faulty.connect.waiting, 0)
      yield* faulty.connect.open
    }))

  it.effect("does not delay a caller who could be served by another attempt", () =>
    Effect.gen(function*() {
      const { faulty, pool } = yield* make({ max: 3, connectTimeout: "1 minute" })
      yield* faulty.connect.hang()
      const first = yield* borrow(pool)
      const second = yield* borrow(pool)
      assert.deepStrictEqual([first.connection?.id, second.connection?.id], [2, undefined])
      // The attempt it waits for was overtaken by a later one, and has run for a second.
      yield* TestClock.adjust("999 millis")
      assert.deepStrictEqual(yield* shape(pool), { connecting: 1, inUse: 1, waiting: 1 })
      yield* TestClock.adjust("1 millis")
      assert.strictEqual(second.connection?.id, 3)
      yield* TestClock.adjust("1 minute")
      yield* first.giveBack
      yield* second.giveBack
      yield* PoolAssert.nothingLeaked(faulty, pool)
    }))

  it.effect("that is only slow has no other opened beside it", () =>
    Effect.gen(function*() {
      const { faulty, pool } = yield* make({ max: 5 })
      yield* faulty.connect.delay("5 seconds")
      const callers = [yield* borrow(pool), yield* borrow(pool)]
      yield* TestClock.adjust("5 seconds")
      assert.deepStrictEqual(callers.map((caller) => caller.connection?.id), [1, 2])
      assert.strictEqual((yield* faulty.counters).attempts, 2)
    }))

  it.effect("leaves room for others when all that were allowed at once hang", () =>
    Effect.gen(function*() {
      const { faulty, pool } = yield* make({ max: 5, maxConnecting: 2, connectTimeout: "3 seconds" })
      yield* faulty.connect.hang(2)
      const callers = [yield* borrow(pool), yield* borrow(pool), yield* borrow(pool)]
      yield* TestClock.adjust("3 seconds")
      yield* TestClock.adjust("100 millis")
      assert.deepStrictEqual(callers.map((caller) => caller.connection !== undefined), [true, true, true])
    }))
})
