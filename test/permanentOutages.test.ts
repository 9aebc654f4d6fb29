import { assert, describe, it } from "@effect/vitest"
import { Effect, type Fiber, Random } from "effect"
import { type PoolError } from "effect-connection-pool"
import { type FaultyFactory, PoolAssert } from "effect-connection-pool/testing"
import { TestClock } from "effect/testing"
import { borrow, make, type Pool, settle, shape } from "./support/pools.ts"

const refusedUse = (pool: Pool) => PoolAssert.failsWith(pool.use(() => Effect.void), "ConnectError")

/** Callers that come one every 10 ms, for ten seconds. Gives their answers. */
const thousandCallers = Effect.fnUntraced(function*(pool: Pool) {
  const callers: Array<Fiber.Fiber<PoolError.ConnectError<FaultyFactory.FaultyError>, unknown>> = []
  for (let caller = 0; caller < 1000; caller++) {
    callers.push(yield* Effect.forkChild(refusedUse(pool), { startImmediately: true }))
    yield* TestClock.adjust(10)
    assert.isDefined(callers.at(-1)!.pollUnsafe())
  }
})

describe("a connect that fails for good for ten seconds", () => {
  for (const how of ["fail", "die"] as const) {
    it.effect(`because it ${how}s, costs about ten attempts, however many callers ask, and each has an answer at once`, () =>
      Effect.gen(function*() {
        const { faulty, pool } = yield* make({ max: 10 })
        yield* faulty.connect[how](Infinity)
        yield* thousandCallers(pool)
        const { attempts } = yield* faulty.counters
        assert.isAtLeast(attempts, 8)
        assert.isAtMost(attempts, 12)
        const { connectErrors, refused } = yield* pool.stats
        assert.deepStrictEqual({ connectErrors, refused }, { connectErrors: 1000, refused: 0 })
        // The end of it is noticed by the first caller after the longest backoff.
        yield* faulty.connect.clear
        yield* TestClock.adjust("2 seconds")
        assert.strictEqual(yield* pool.use(() => Effect.succeed("served")), "served")
        assert.strictEqual((yield* faulty.counters).attempts, attempts + 1)
        yield* PoolAssert.nothingLeaked(faulty, pool)
      }).pipe(Random.withSeed("for good")))
  }

  it.effect("gives the callers within the backoff the reason and the attempts of the last failure", () =>
    Effect.gen(function*() {
      const { faulty, pool } = yield* make({ max: 2 })
      yield* faulty.connect.fail(Infinity)
      assert.strictEqual((yield* refusedUse(pool)).attempts, 1)
      // One failure may be chance: the next caller causes an attempt.
      const second = yield* refusedUse(pool)
      assert.strictEqual(second.attempts, 2)
      const third = yield* refusedUse(pool)
      assert.strictEqual(third.attempts, 2)
      assert.deepStrictEqual(third.reason, second.reason)
      assert.strictEqual((yield* faulty.counters).attempts, 2)
      yield* TestClock.adjust("200 millis")
      assert.strictEqual((yield* refusedUse(pool)).attempts, 3)
      yield* faulty.connect.clear
      yield* TestClock.adjust("2 seconds")
      yield* PoolAssert.nothingLeaked(faulty, pool)
    }))

  it.effect("lets the first caller after the backoff probe, and callers that come meanwhile share its answer", () =>
    Effect.gen(function*() {
      const { faulty, pool } = yield* make({ max: 4 })
      yield* faulty.connect.fail(2)
      yield* refusedUse(pool)
      yield* refusedUse(pool)
      yield* TestClock.adjust("200 millis")
      yield* faulty.connect.hold
      const callers = [yield* borrow(pool), yield* borrow(pool), yield* borrow(pool)]
      assert.deepStrictEqual(yield* shape(pool), { connecting: 1, waiting: 3 })
      yield* faulty.connect.open
      yield* settle
      assert.deepStrictEqual(callers.map((caller) => caller.connection !== undefined), [true, true, true])
      for (const caller of callers) yield* caller.giveBack
      yield* PoolAssert.nothingLeaked(faulty, pool)
    }))

  it.effect("does not turn away a caller that a connection in use can serve", () =>
    Effect.gen(function*() {
      const { faulty, pool } = yield* make({ max: 2, acquireTimeout: "1 minute" })
      const holder = yield* borrow(pool)
      yield* faulty.connect.fail(Infinity)
      const first = yield* borrow(pool)
      yield* TestClock.adjust("1 second")
      const second = yield* borrow(pool)
      assert.deepStrictEqual(yield* shape(pool), { inUse: 1, waiting: 2 })
      yield* holder.giveBack
      assert.isDefined(first.connection)
      yield* first.giveBack
      assert.isDefined(second.connection)
      yield* second.giveBack
      yield* faulty.connect.clear
      yield* PoolAssert.nothingLeaked(faulty, pool)
    }))

  it.effect("is over for callers as soon as min has a connection again, without a caller", () =>
    Effect.gen(function*() {
      const { faulty, pool } = yield* make({ min: 1, max: 2 })
      yield* faulty.connect.fail(Infinity)
      yield* pool.recycle
      yield* TestClock.adjust("10 seconds")
      yield* refusedUse(pool)
      assert.isAtMost((yield* faulty.counters).attempts, 14)
      yield* faulty.connect.clear
      yield* TestClock.adjust("2 seconds")
      assert.deepStrictEqual(yield* shape(pool), { idle: 1 })
      yield* PoolAssert.nothingLeaked(faulty, pool)
    }))
})
