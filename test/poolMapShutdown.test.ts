import { assert, describe, it } from "@effect/vitest"
import { Effect, Exit, Fiber, Latch, Metric, Scope } from "effect"
import { PoolMap, PoolMetrics } from "effect-connection-pool"
import { PoolAssert, Sweep } from "effect-connection-pool/testing"
import { TestClock } from "effect/testing"
import { hold, makeMap } from "./support/poolMaps.ts"
import { settle } from "./support/pools.ts"

describe("the shutdown of a map of pools", () => {
  it.effect("refuses callers and waiters, closes what is idle or opens, and waits for leases", () =>
    Effect.gen(function*() {
      const { isOpen, map, opening } = yield* makeMap({ max: 3, name: "customers", drainTimeout: "10 seconds" })
      yield* map.use("idle", () => Effect.void)
      const holder = yield* hold(map, "used")
      yield* opening.close
      const refused = yield* Effect.forEach(
        ["opening", "opening", "no room"],
        (key) => Effect.forkChild(PoolAssert.failsWith(map.use(key, Effect.succeed), "PoolClosedError"))
      )
      yield* settle
      const shutdown = yield* Effect.forkChild(map.shutdown())
      const errors = yield* Effect.forEach(refused, Fiber.join)
      assert.deepStrictEqual(
        errors.map(({ phase, pool }) => [pool, phase]),
        Array(3).fill(["customers", "shutting down"])
      )
      yield* settle
      assert.deepStrictEqual(Array.from(isOpen), ["used"])
      const late = yield* PoolAssert.failsWith(map.use("used", Effect.succeed), "PoolClosedError")
      assert.strictEqual(late.phase, "shutting down")
      yield* TestClock.adjust("9 seconds")
      assert.isUndefined(shutdown.pollUnsafe())
      yield* holder.letGo
      assert.deepStrictEqual(yield* Fiber.join(shutdown), { returned: 1, interrupted: 0, revoked: 0, closeTimeouts: 0 })
      assert.strictEqual(isOpen.size, 0)
      assert.strictEqual((yield* PoolAssert.failsWith(map.use("a", Effect.succeed), "PoolClosedError")).phase, "closed")
      assert.strictEqual((yield* map.stats).refused, 5)
    }))

  it.effect("refuses all who wait, whatever they wait for, and gives each pool the reason that it leaves for", () =>
    Effect.gen(function*() {
      const { closing, isOpen, map, opening } = yield* makeMap({ max: 4, drainTimeout: "10 seconds" })
      const holders = yield* Effect.forEach(["used", "leaving"], (key) => hold(map, key))
      yield* map.use("closing", () => Effect.void)
      yield* closing.close
      yield* Effect.forEach(["leaving", "closing"], map.invalidate)
      yield* opening.close
      const keys = ["opening", "leaving", "closing", "room"]
      const waiting = yield* Effect.forEach(
        keys,
        (key) => Effect.forkChild(PoolAssert.failsWith(map.use(key, Effect.succeed), "PoolClosedError"))
      )
      yield* settle
      const shutdown = yield* Effect.forkChild(map.shutdown())
      yield* Effect.forEach(waiting, Fiber.join)
      const { evictions, openFailures, refused, waiting: left } = yield* map.stats
      assert.deepStrictEqual({ openFailures, refused, left }, { openFailures: 1, refused: 4, left: 0 })
      assert.deepStrictEqual([evictions.invalidated, evictions.shutdown], [1, 0])
      yield* Effect.all([opening.open, closing.open])
      yield* Effect.forEach(holders, ({ letGo }) => letGo)
      assert.deepStrictEqual(yield* Fiber.join(shutdown), { returned: 2, interrupted: 0, revoked: 0, closeTimeouts: 0 })
      const after = (yield* map.stats).evictions
      assert.deepStrictEqual([after.invalidated, after.shutdown], [2, 1])
      assert.strictEqual(isOpen.size, 0)
    }))

  it.effect("counts leases by how they ended, and ends as soon as the last has", () =>
    Effect.gen(function*() {
      const { map } = yield* makeMap({ closeTimeout: "5 seconds" })
      const returned = yield* Effect.forEach(["a", "a", "b"], (key) => hold(map, key))
      yield* Effect.forEach(["b", "c", "c", "d"], (key) => hold(map, key))
      const scope = yield* Scope.make()
      yield* Effect.forEach(["a", "b", "c"], (key) => Scope.provide(map.get(key), scope))
      const report = yield* Effect.forkChild(map.shutdown({ drainTimeout: "3 seconds" }))
      yield* settle
      yield* Effect.forEach(returned, ({ letGo }) => letGo)
      yield* TestClock.adjust(2999)
      assert.strictEqual((yield* map.stats).leases, 7)
      yield* TestClock.adjust(1)
      assert.deepStrictEqual(yield* Fiber.join(report), { returned: 3, interrupted: 4, revoked: 3, closeTimeouts: 0 })
      const { leases, total } = yield* map.stats
      assert.deepStrictEqual({ leases, total }, { leases: 0, total: 0 })
      yield* Scope.close(scope, Exit.void)
    }))

  it.effect("interrupts those who use a pool for too long, and ends the leases of scopes", () =>
    Effect.gen(function*() {
      const { isOpen, map } = yield* makeMap()
      const user = yield* hold(map, "a")
      const scope = yield* Scope.make()
      yield* Scope.provide(map.get("b"), scope)
      const report = yield* Effect.forkChild(map.shutdown({ drainTimeout: "3 seconds" }))
      yield* settle
      yield* TestClock.adjust("3 seconds")
      assert.deepStrictEqual(yield* Fiber.join(report), { returned: 0, interrupted: 1, revoked: 1, closeTimeouts: 0 })
      assert.isTrue(Exit.hasInterrupts(yield* Fiber.await(user.fiber)))
      assert.strictEqual(isOpen.size, 0)
      yield* Scope.close(scope, Exit.void)
      assert.strictEqual((yield* map.stats).leases, 0)
    }))

  it.effect("ends in bounded time: it closes a pool under a holder that will not end, and gives up a close that hangs", () =>
    Effect.gen(function*() {
      const { closing, isOpen, map } = yield* makeMap({ closeTimeout: "5 seconds" })
      const latch = yield* Latch.make(false)
      const stubborn = yield* Effect.forkDetach(map.use("a", () => Effect.uninterruptible(latch.await)))
      yield* map.use("b", () => Effect.void)
      yield* closing.close
      const report = yield* Effect.forkChild(map.shutdown())
      yield* settle
      // 5 seconds for the cleanup of the holder, and 5 for the close of its pool.
      yield* TestClock.adjust(9999)
      assert.isUndefined(report.pollUnsafe())
      yield* TestClock.adjust(1)
      assert.deepStrictEqual(yield* Fiber.join(report), { returned: 0, interrupted: 1, revoked: 0, closeTimeouts: 2 })
      // Both go on, and harm nothing when they end.
      yield* Effect.all([closing.open, latch.open])
      yield* Fiber.await(stubborn)
      yield* settle
      assert.strictEqual(isOpen.size, 0)
    }))

  it.effect("goes on if its caller is interrupted, and is one for all who ask for it", () =>
    Effect.gen(function*() {
      const { map } = yield* makeMap()
      const holder = yield* hold(map, "a")
      const first = yield* Effect.forkChild(map.shutdown({ drainTimeout: "5 seconds" }))
      yield* settle
      yield* Fiber.interrupt(first)
      const second = yield* Effect.forkChild(map.shutdown())
      yield* settle
      yield* holder.letGo
      assert.strictEqual((yield* Fiber.join(second)).returned, 1)
      const error = yield* PoolAssert.failsWith(map.shutdown({ drainTimeout: -1 }), "PoolConfigError")
      assert.strictEqual(
        error.message,
        `pool "pools": drainTimeout is -1, but must be a duration of zero or more, such as "5 seconds", or Infinity`
      )
    }))

  it.effect("comes with the end of the scope, and waits until all pools are closed", () =>
    Effect.gen(function*() {
      const closed: Array<string> = []
      yield* Effect.scoped(Effect.gen(function*() {
        const map = yield* PoolMap.make({
          open: (key: string) =>
            Effect.acquireRelease(
              Effect.void,
              () => Effect.andThen(Effect.yieldNow, Effect.sync(() => closed.push(key)))
            )
        })
        yield* Effect.forEach(["a", "b"], (key) => map.use(key, () => Effect.void))
      }))
      assert.deepStrictEqual(closed, ["a", "b"])
    }))
})

describe("the options of a map of pools", () => {
  it.effect("are checked all at once, and a misspelt one is named", () =>
    Effect.gen(function*() {
      const options = { max: 0, idleTimout: 5, open: Effect.void, stateOf: 1 } as unknown as PoolMap.Options<
        string,
        void
      >
      const error = yield* PoolAssert.failsWith(PoolMap.make(options), "PoolConfigError")
      assert.strictEqual(
        error.message,
        "pool \"pools\": idleTimout is no option; did you mean idleTimeout?; max is 0, but must be a whole number of at least 1" +
          "; open is an object, but must be a function from a key to an Effect that opens its pool" +
          "; stateOf is 1, but must be a function from a pool to \"idle\", \"in use\" or \"closed\""
      )
    }).pipe(Effect.scoped))

  it.effect("of one call are checked, and nothing is done", () =>
    Effect.gen(function*() {
      const { log, map } = yield* makeMap()
      const wrong = { timout: 5 } as unknown as { readonly timeout: number }
      for (const call of [map.use("a", Effect.succeed, wrong), Effect.scoped(map.get("a", wrong))]) {
        const error = yield* PoolAssert.failsWith(call, "PoolConfigError")
        assert.strictEqual(error.message, `pool "pools": timout is no option; did you mean timeout?`)
      }
      assert.deepStrictEqual(log, [])
    }))
})

describe("the metrics of a map of pools", () => {
  it.effect("are those of its stats, and its counts stay when it is closed", () =>
    Effect.gen(function*() {
      const metrics = PoolMetrics.ofMap("metered")
      const value = (metric: Metric.Metric<number, { readonly value: number } | { readonly count: number }>) =>
        Effect.map(Metric.value(metric), (state) => "value" in state ? state.value : state.count)
      const scope = yield* Scope.make()
      const { map } = yield* Scope.provide(makeMap({ max: 1, name: "metered" }), scope)
      yield* map.use("a", () => Effect.void)
      yield* map.use("a", () => Effect.void)
      const holder = yield* hold(map, "b")
      const late = yield* Effect.forkChild(PoolAssert.failsWith(map.use("c", Effect.succeed), "PoolMapTimeoutError"))
      yield* settle
      assert.deepStrictEqual(
        yield* Effect.forEach([metrics.count.inUse, metrics.count.idle, metrics.max, metrics.pendingRequests], value),
        [1, 0, 1, 1]
      )
      yield* TestClock.adjust("30 seconds")
      yield* Fiber.join(late)
      yield* holder.letGo
      yield* Scope.close(scope, Exit.void)
      const { evictions, opens, requests } = metrics
      assert.deepStrictEqual(
        yield* Effect.forEach(
          [requests.hit, requests.miss, requests.timed_out, opens.succeeded, evictions.room, evictions.shutdown],
          value
        ),
        [1, 2, 1, 2, 1, 1]
      )
      const { count, sum } = yield* Metric.value(metrics.openTime)
      assert.deepStrictEqual([count, sum], [2, 0])
      const shown = (yield* Metric.snapshot).filter(({ attributes }) => attributes?.["pool_map.name"] === "metered")
      assert.isFalse(shown.some(({ id }) => id === "effect_connection_pool.map.count"))
    }))
})

describe("an interrupted shutdown of a map", () => {
  const body = Effect.andThen(Effect.yieldNow, Effect.yieldNow)

  it.effect("has begun or has not, and a second one completes it", () =>
    Effect.gen(function*() {
      let begun = 0
      const report = yield* Sweep.run({
        setup: makeMap({ max: 2, drainTimeout: "1 second" }),
        scenario: ({ map }) =>
          Effect.gen(function*() {
            yield* Effect.forEach(["a", "b", "c", "a"], (key) => Effect.forkDetach(map.use(key, () => body)))
            yield* Effect.forkDetach(Effect.scoped(Effect.andThen(map.get("d"), body)))
            yield* Effect.yieldNow
            yield* map.shutdown()
          }),
        check: ({ isOpen, map, most }) =>
          Effect.gen(function*() {
            const answer = yield* Effect.forkChild(Effect.result(map.use("e", () => Effect.void)))
            const closing = yield* Effect.forkChild(map.shutdown())
            yield* TestClock.adjust("40 seconds")
            yield* Fiber.join(closing)
            if ((yield* Fiber.join(answer))._tag === "Failure") begun++
            const { leases, total, waiting } = yield* map.stats
            assert.deepStrictEqual({ leases, total, waiting }, { leases: 0, total: 0, waiting: 0 })
            assert.deepStrictEqual([isOpen.size, most() <= 2], [0, true])
          }),
        budgets: [3, 24],
        turns: [0, 16]
      })
      assert.isAbove(report.interrupted, 20)
      assert.isAbove(begun, 20)
    }), 120_000)

  it.effect("by the end of its scope closes each pool once, wherever its users are", () =>
    Effect.gen(function*() {
      let open = 0
      let opened = 0
      const report = yield* Sweep.run({
        setup: Effect.void,
        scenario: () =>
          Effect.gen(function*() {
            const map = yield* PoolMap.make({
              max: 2,
              drainTimeout: 0,
              open: (key: string) =>
                Effect.acquireRelease(
                  Effect.sync(() => {
                    open++
                    opened++
                    return key
                  }),
                  () => Effect.andThen(Effect.yieldNow, Effect.sync(() => open--))
                )
            })
            yield* Effect.forEach(["a", "b", "c", "a", "d"], (key) => map.use(key, () => body), { concurrency: 5 })
          }),
        check: () => Effect.sync(() => assert.strictEqual(open, 0)),
        budgets: [3, 24],
        turns: [0, 16]
      })
      assert.isAbove(report.interrupted, 20)
      assert.isAbove(opened, report.cases)
    }), 120_000)
})
