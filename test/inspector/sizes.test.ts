import { assert, describe, it } from "@effect/vitest"
import { Effect, Schedule } from "effect"
import { TestClock } from "effect/testing"
import * as Inspected from "../support/inspector.ts"
import { make } from "../support/pools.ts"

describe("would a bigger pool help?", () => {
  it.effect("is answered with the load that was recorded, for pools of a quarter to four times the size", () =>
    Effect.gen(function*() {
      const { pool } = yield* make({ max: 4, name: "orders" })
      const inspector = yield* Inspected.make({ watch: [pool] })
      // Ten callers a second, each for 300 ms: three connections are in use on average.
      yield* Effect.forkChild(Effect.repeat(
        Effect.forkDetach(pool.use(() => Effect.sleep("300 millis"))),
        Schedule.spaced("100 millis")
      ))
      yield* TestClock.adjust("2 minutes")
      const sizes = yield* inspector.sizes(0)
      assert.isUndefined(sizes.problem)
      assert.deepStrictEqual([sizes.pool, sizes.now, sizes.overMillis], ["orders", 4, 120_000])
      assert.approximately(sizes.perSecond, 10, 0.2)
      assert.deepStrictEqual(sizes.simulated.map(({ max }) => max), [1, 2, 3, 4, 5, 6, 8, 12, 16])
      const waits = sizes.simulated.map(({ p99 }) => p99)
      assert.deepStrictEqual(waits, waits.toSorted((a, b) => b - a), "more connections, shorter waits")
      assert.approximately(sizes.simulated[3]!.utilization, 0.75, 0.05)
      assert.isAbove(sizes.simulated[0]!.notServed, 0.5)
      assert.strictEqual(sizes.simulated.at(-1)!.notServed, 0)
      assert.strictEqual(sizes.simulatedWaitMillis, sizes.simulated[3]!.mean)
      assert.isAbove(sizes.limits.length, 0)
      // The same answer for a while, and the next page does not simulate again.
      assert.deepStrictEqual(yield* inspector.sizes(0), sizes)
      yield* TestClock.adjust("11 seconds")
      assert.notDeepEqual(yield* inspector.sizes(0), sizes)
    }))

  it.effect("is not answered for a pool so large that the answer would keep the process busy", () =>
    Effect.gen(function*() {
      const { pool } = yield* make({ max: 1001 })
      const inspector = yield* Inspected.make({ watch: [pool] })
      yield* TestClock.adjust("1 second")
      assert.include((yield* inspector.sizes(0)).problem, "max is 1001")
      yield* pool.resize({ max: 1000 })
      yield* TestClock.adjust("1 second")
      assert.include((yield* inspector.sizes(0)).problem, "max is 1001", "the last answer, for a while")
      yield* TestClock.adjust("11 seconds")
      assert.notInclude((yield* inspector.sizes(0)).problem, "max is")
    }))

  it.effect("says why there is no answer", () =>
    Effect.gen(function*() {
      const { pool } = yield* make()
      const inspector = yield* Inspected.make({ watch: [pool] })
      assert.strictEqual((yield* inspector.sizes(0)).problem, "nothing was recorded yet")
      yield* TestClock.adjust("11 seconds")
      assert.include((yield* inspector.sizes(0)).problem, "0 requests arrived")
      assert.strictEqual((yield* inspector.sizes(7)).problem, "there is no such pool")
    }))

  it.effect("is never answered for another pool than the one that was asked for", () =>
    Effect.gen(function*() {
      const { pool } = yield* make()
      const { ask } = yield* Inspected.make({ watch: [pool] })
      const others = [
        "?pool=-1",
        "?pool=0.5",
        "?pool=1e309",
        "?pool=NaN",
        "?pool=",
        "",
        "?pool=__proto__",
        "?pool[]=0",
        "?pool=0x0"
      ]
      for (const query of others) {
        assert.strictEqual((yield* ask(`/inspector/sizes${query}`)).status, 404, query)
      }
      assert.strictEqual((yield* ask("/inspector/sizes?pool=0")).status, 200)
    }))

  it.effect("does not blame metrics for leases that took no time", () =>
    Effect.gen(function*() {
      const { pool } = yield* make()
      const silent = yield* make({ metrics: false })
      const inspector = yield* Inspected.make({ watch: [pool, silent.pool] })
      yield* pool.use(() => Effect.void)
      yield* silent.pool.use(() => Effect.sleep("1 second")).pipe(Effect.forkChild)
      yield* TestClock.adjust("11 seconds")
      const { problem } = yield* inspector.sizes(0)
      assert.include(problem, "1 leases ended, which took no time")
      assert.notInclude(problem, "metrics")
      assert.include((yield* inspector.sizes(1)).problem, "metrics is false")
    }))
})
