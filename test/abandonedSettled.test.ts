/** What becomes of an abandoned connection when nothing runs on it any more. */
import { assert, describe, it } from "@effect/vitest"
import { Deferred, Effect } from "effect"
import { ConnectionFactory, ConnectionPool } from "effect-connection-pool"
import { PoolAssert } from "effect-connection-pool/testing"
import { TestClock } from "effect/testing"
import { borrow, make, settle, shape } from "./support/pools.ts"

describe("a connection that has settled", () => {
  it.effect("was in use until then, so a waiter gets it without a validation, however long that took", () =>
    Effect.gen(function*() {
      const { faulty, pool } = yield* make({ max: 1, maxAbandoned: 0, validateAfterIdle: "10 seconds" })
      yield* faulty.settle.hold
      yield* pool.use((one) => one.start)
      yield* TestClock.adjust("1 minute")
      const next = yield* borrow(pool)
      yield* faulty.settle.open
      yield* settle
      assert.deepStrictEqual([next.connection?.id, (yield* faulty.counters).validations], [1, 0])
      yield* next.giveBack
      yield* PoolAssert.nothingLeaked(faulty, pool)
    }))

  it.effect("is not reset if it leaves", () =>
    Effect.gen(function*() {
      const { faulty, pool } = yield* make({ max: 1 })
      yield* faulty.settle.hold
      yield* pool.use((one) => Effect.andThen(one.start, one.soil))
      yield* pool.recycle
      yield* faulty.settle.open
      yield* settle
      assert.deepStrictEqual(yield* shape(pool), {})
      const { evictions, resets } = yield* pool.stats
      assert.deepStrictEqual([evictions.recycled, resets, (yield* faulty.counters).resets], [1, 0, 0])
      yield* PoolAssert.allClosed(faulty, pool)
    }))

  it.effect("is idle at once if its driver has no reset", () =>
    Effect.gen(function*() {
      const over = yield* Deferred.make<void>()
      let isRunning = true
      const factory = ConnectionFactory.make({
        connect: Effect.succeed({}),
        unfinished: () => isRunning ? { settled: Deferred.await(over) } : undefined
      })
      const pool = yield* ConnectionPool.make({ factory, max: 1 })
      yield* pool.use(() => Effect.void)
      assert.deepStrictEqual(yield* shape(pool), { abandoned: 1 })
      isRunning = false
      yield* Deferred.succeed(over, undefined)
      yield* settle
      assert.deepStrictEqual([yield* shape(pool), (yield* pool.stats).resets], [{ idle: 1 }, 0])
    }))
})
