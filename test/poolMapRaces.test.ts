import { assert, describe, it } from "@effect/vitest"
import { Effect, Exit, Fiber, Latch, Scope } from "effect"
import { ConnectionPool, InMemoryConnection, PoolMap } from "effect-connection-pool"
import { PoolAssert, Sweep } from "effect-connection-pool/testing"
import { TestClock } from "effect/testing"
import { hold, makeMap, OpenError, shapeOf } from "./support/poolMaps.ts"
import { settle } from "./support/pools.ts"

describe("a pool of a map that closes", () => {
  it.effect("is waited for by those who ask for its key, and then opened anew, once", () =>
    Effect.gen(function*() {
      const { closing, map, take } = yield* makeMap()
      yield* map.use("a", () => Effect.void)
      yield* closing.close
      assert.isTrue(yield* map.invalidate("a"))
      assert.isFalse(yield* map.invalidate("a"))
      const callers = yield* Effect.forEach([1, 2], () => Effect.forkChild(map.use("a", Effect.succeed)))
      assert.deepStrictEqual(yield* take, ["opening a1", "open a1", "closing a1"])
      assert.deepStrictEqual(yield* shapeOf(map), { closing: 1, waiting: 2 })
      yield* closing.open
      assert.deepStrictEqual((yield* Effect.forEach(callers, Fiber.join)).map(({ number }) => number), [2, 2])
      assert.deepStrictEqual(yield* take, ["closed a1", "opening a2", "open a2"])
    }))

  it.effect("leaves its room to those who asked before its key was asked for again", () =>
    Effect.gen(function*() {
      const { closing, map, take } = yield* makeMap({ max: 1 })
      yield* map.use("a", () => Effect.void)
      yield* closing.close
      const order: Array<string> = []
      const callers = yield* Effect.forEach(
        ["b", "a", "c"],
        (key) => Effect.forkChild(map.use(key, () => Effect.sync(() => order.push(key))))
      )
      yield* take
      yield* closing.open
      yield* Effect.forEach(callers, Fiber.join)
      assert.deepStrictEqual(order, ["b", "a", "c"])
    }))

  it.effect("reports an error of its close, and gives its room and its key back", () =>
    Effect.gen(function*() {
      let isBroken = true
      const map = yield* PoolMap.make({
        max: 1,
        open: (key: string) =>
          Effect.acquireRelease(Effect.succeed(key), () => isBroken ? Effect.die(new Error("no disk")) : Effect.void)
      })
      yield* map.use("a", () => Effect.void)
      assert.strictEqual(yield* map.use("b", Effect.succeed), "b")
      isBroken = false
      assert.strictEqual(yield* map.use("a", Effect.succeed), "a")
      assert.strictEqual((yield* map.stats).closes, 2)
    }))
})

describe("invalidate", () => {
  it.effect("closes a pool in use when its last lease ends, and others wait for the next one", () =>
    Effect.gen(function*() {
      const { map, take } = yield* makeMap()
      const [one, two] = [yield* hold(map, "a"), yield* hold(map, "a")]
      assert.isTrue(yield* map.invalidate("a"))
      const next = yield* Effect.forkChild(map.use("a", Effect.succeed))
      yield* one.letGo
      assert.deepStrictEqual(yield* take, ["opening a1", "open a1"])
      yield* two.letGo
      assert.strictEqual((yield* Fiber.join(next)).number, 2)
      assert.strictEqual((yield* map.stats).evictions.invalidated, 1)
    }))

  it.effect("leaves the pool to those who have it, and to all that they run inside", () =>
    Effect.gen(function*() {
      const { map } = yield* makeMap()
      const again = map.use("a", Effect.succeed, { timeout: 0 })
      const numbers = yield* map.use("a", () =>
        Effect.gen(function*() {
          yield* map.invalidate("a")
          const inside = yield* again
          const parallel = yield* Effect.all([again, Effect.andThen(Effect.yieldNow, again)], { concurrency: 2 })
          return [inside, ...parallel].map(({ number }) => number)
        }))
      assert.deepStrictEqual(numbers, [1, 1, 1])
      const scoped = yield* Effect.scoped(Effect.gen(function*() {
        const first = yield* map.get("a")
        yield* map.invalidate("a")
        return [first.number, (yield* again).number]
      }))
      assert.deepStrictEqual(scoped, [2, 2])
      // A fiber that has outlived the lease is not inside any more.
      const latch = yield* Latch.make(false)
      const outlived = yield* map.use("a", () =>
        Effect.forkDetach(Effect.andThen(latch.await, map.use("a", Effect.succeed))))
      const other = yield* hold(map, "a")
      yield* map.invalidate("a")
      yield* latch.open
      yield* settle
      assert.isUndefined(outlived.pollUnsafe())
      yield* other.letGo
      assert.strictEqual((yield* Fiber.join(outlived)).number, 4)
    }))

  it.effect("has a pool that is being opened opened again, for those who wait for it", () =>
    Effect.gen(function*() {
      const { map, opening, take } = yield* makeMap()
      yield* opening.close
      const caller = yield* Effect.forkChild(map.use("a", Effect.succeed))
      yield* settle
      assert.isTrue(yield* map.invalidate("a"))
      yield* opening.open
      assert.strictEqual((yield* Fiber.join(caller)).number, 2)
      assert.deepStrictEqual(yield* take, ["opening a1", "closing a1", "closed a1", "opening a2", "open a2"])
    }))

  it.effect("says no for a key that has no pool, or only waits for room", () =>
    Effect.gen(function*() {
      const { map } = yield* makeMap({ max: 1 })
      const a = yield* hold(map, "a")
      yield* Effect.forkChild(map.use("b", Effect.succeed))
      yield* settle
      assert.deepStrictEqual(yield* Effect.forEach(["b", "c"], map.invalidate), [false, false])
      yield* a.letGo
    }))
})

describe("a map with an open that hangs", () => {
  it.effect("ends it after openTimeout, tells all who wait, and keeps its room until it is gone", () =>
    Effect.gen(function*() {
      const latch = yield* Latch.make(false)
      let runs = 0
      const map = yield* PoolMap.make({
        max: 1,
        openTimeout: "5 seconds",
        name: "customers",
        // The first cannot be interrupted.
        open: (key: string) => ++runs === 1 ? Effect.uninterruptible(Effect.as(latch.await, key)) : Effect.succeed(key)
      })
      const callers = yield* Effect.forEach(
        [1, 2],
        () => Effect.forkChild(PoolAssert.failsWith(map.use("a", Effect.succeed), "PoolOpenTimeoutError"))
      )
      yield* settle
      yield* TestClock.adjust("5 seconds")
      const [error] = yield* Effect.forEach(callers, Fiber.join)
      assert.deepStrictEqual([error!.map, error!.key, error!.timeoutMillis], ["customers", `"a"`, 5000])
      const others = yield* Effect.forEach(["b", "a"], (key) => Effect.forkChild(map.use(key, Effect.succeed)))
      yield* TestClock.adjust("10 seconds")
      assert.deepStrictEqual(yield* shapeOf(map), { closing: 1, waiting: 2 })
      yield* latch.open
      assert.deepStrictEqual(yield* Effect.forEach(others, Fiber.join), ["b", "a"])
      const { openErrors, openFailures, openTimeouts, opens } = yield* map.stats
      assert.deepStrictEqual({ openErrors, openFailures, openTimeouts, opens }, {
        openErrors: 2,
        openFailures: 1,
        openTimeouts: 1,
        opens: 2
      })
    }))

  it.effect("lets a caller go at its own deadline, and goes on for the next", () =>
    Effect.gen(function*() {
      const { map, opening } = yield* makeMap({ acquireTimeout: "1 second" })
      yield* opening.close
      const late = yield* Effect.forkChild(PoolAssert.failsWith(map.use("a", Effect.succeed), "PoolMapTimeoutError"))
      yield* settle
      yield* TestClock.adjust("1 second")
      assert.strictEqual((yield* Fiber.join(late)).phase, "open")
      yield* opening.open
      yield* settle
      assert.strictEqual((yield* map.use("a", Effect.succeed)).number, 1)
    }))
})

describe("a pool with leases that its map does not know of", () => {
  const shards = (config: PoolMap.PoolMapConfig) =>
    PoolMap.make({
      ...config,
      open: (shard: string) =>
        ConnectionPool.make({ factory: InMemoryConnection.factory(), name: shard, max: 1, drainTimeout: 0 })
    })

  it.effect("is not closed to make room, and makes room as soon as they have ended", () =>
    Effect.gen(function*() {
      const map = yield* shards({ max: 1 })
      const kept = yield* map.use("a", Effect.succeed)
      const scope = yield* Scope.make()
      const connection = yield* Scope.provide(kept.acquire(), scope)
      const waiting = yield* Effect.forkChild(map.use("b", (pool) => Effect.succeed(pool.name)))
      yield* settle
      yield* TestClock.adjust("20 seconds")
      assert.isUndefined(waiting.pollUnsafe())
      yield* connection.set("still", "there")
      assert.deepStrictEqual(yield* shapeOf(map), { inUse: 1, waiting: 1 })
      assert.deepStrictEqual((yield* map.pools).map(({ state }) => state), ["waiting", "in use"])
      yield* Scope.close(scope, Exit.void)
      yield* TestClock.adjust("100 millis")
      assert.strictEqual(yield* Fiber.join(waiting), "b")
    }))

  it.effect("is closed by invalidate when they have ended, and has to make room only then", () =>
    Effect.gen(function*() {
      const map = yield* shards({ max: 1, acquireTimeout: "1 hour" })
      const scope = yield* Scope.make()
      const first = yield* map.use("a", (pool) => Effect.as(Scope.provide(pool.acquire(), scope), pool))
      assert.isTrue(yield* map.invalidate("a"))
      const next = yield* Effect.forkChild(map.use("a", Effect.succeed))
      yield* TestClock.adjust("1 minute")
      assert.deepStrictEqual((yield* map.pools).map(({ state, waiting }) => `${state} ${waiting}`), ["leaving 1"])
      assert.strictEqual((yield* first.stats).inUse, 1)
      yield* Scope.close(scope, Exit.void)
      yield* TestClock.adjust("100 millis")
      const second = yield* Fiber.join(next)
      assert.notStrictEqual(second, first)
      // Now one that has to make room while it has a lease of each kind.
      const other = yield* Scope.make()
      const holder = yield* hold(map, "a")
      yield* Scope.provide(second.acquire(), other)
      const waiting = yield* Effect.forkChild(map.use("b", (pool) => Effect.succeed(pool.name)))
      yield* TestClock.adjust("5 seconds")
      yield* holder.letGo
      yield* TestClock.adjust("5 seconds")
      assert.strictEqual((yield* second.stats).inUse, 1)
      assert.isUndefined(waiting.pollUnsafe())
      yield* Scope.close(other, Exit.void)
      yield* TestClock.adjust("100 millis")
      assert.strictEqual(yield* Fiber.join(waiting), "b")
    }))

  it.effect("is not closed for being idle, and nor is one whose callers wait", () =>
    Effect.gen(function*() {
      const map = yield* shards({ idleTimeout: "1 minute" })
      const kept = yield* map.use("a", Effect.succeed)
      yield* kept.pause
      const waiting = yield* Effect.forkChild(kept.use((connection) => connection.get("x"), { timeout: "1 hour" }))
      yield* settle
      yield* TestClock.adjust("150 seconds")
      assert.isTrue(yield* map.has("a"))
      yield* kept.resume
      yield* Fiber.join(waiting)
      yield* TestClock.adjust("1 minute")
      assert.isFalse(yield* map.has("a"))
    }))

  it.effect("is found by a function of the user, and is in use if that throws", () =>
    Effect.gen(function*() {
      let state: "idle" | "in use" | undefined = "in use"
      const { map } = yield* makeMap({
        max: 1,
        stateOf: () => {
          if (state === undefined) throw new Error("a bug")
          return state
        }
      })
      yield* map.use("a", () => Effect.void)
      yield* PoolAssert.failsWith(map.use("b", Effect.succeed, { timeout: 0 }), "PoolMapTimeoutError")
      state = undefined
      yield* PoolAssert.failsWith(map.use("b", Effect.succeed, { timeout: 0 }), "PoolMapTimeoutError")
      state = "idle"
      assert.strictEqual((yield* map.use("b", Effect.succeed)).key, "b")
    }))

  it.effect("is replaced if somebody has shut it down, but not before those who have it let it go", () =>
    Effect.gen(function*() {
      const map = yield* shards({})
      const dead = yield* map.use("a", Effect.succeed)
      yield* dead.shutdown()
      const next = yield* map.use("a", (pool) => Effect.as(pool.use((connection) => connection.get("x")), pool))
      assert.notStrictEqual(next, dead)
      const holder = yield* hold(map, "a")
      yield* next.shutdown()
      const waiting = yield* Effect.forkChild(map.use("a", Effect.succeed))
      yield* settle
      assert.isUndefined(waiting.pollUnsafe())
      yield* holder.letGo
      assert.notStrictEqual(yield* Fiber.join(waiting), next)
      assert.strictEqual((yield* map.stats).evictions.closed, 2)
    }))

  it.effect("is replaced if it was shut down while it had to make room, also if nobody waits for room any more", () =>
    Effect.gen(function*() {
      const map = yield* shards({ max: 1 })
      const holder = yield* hold(map, "a")
      const waiting = yield* Effect.forkChild(map.use("b", Effect.succeed))
      yield* settle
      yield* TestClock.adjust("2 seconds")
      yield* holder.pool!.shutdown()
      const next = yield* Effect.forkChild(map.use("a", Effect.succeed))
      yield* Fiber.interrupt(waiting)
      yield* settle
      assert.isUndefined(next.pollUnsafe())
      yield* holder.letGo
      assert.notStrictEqual(yield* Fiber.join(next), holder.pool)
      const { closed, room } = (yield* map.stats).evictions
      assert.deepStrictEqual({ closed, room }, { closed: 1, room: 0 })
    }))

  it.effect("stays with the leases that its map does not know of, if nobody waits for room any more", () =>
    Effect.gen(function*() {
      const map = yield* shards({ max: 1 })
      const holder = yield* hold(map, "a")
      const scope = yield* Scope.make()
      yield* Scope.provide(holder.pool!.acquire(), scope)
      const waiting = yield* Effect.forkChild(map.use("b", Effect.succeed))
      yield* settle
      yield* TestClock.adjust("2 seconds")
      yield* holder.letGo
      const states = Effect.map(
        map.pools,
        (pools) => pools.map(({ key, leases, state }) => `${key} ${state} ${leases}`)
      )
      assert.deepStrictEqual(yield* states, ["b waiting 0", "a leaving 0"])
      yield* Fiber.interrupt(waiting)
      assert.deepStrictEqual(yield* states, ["a in use 0"])
      yield* Scope.close(scope, Exit.void)
      assert.deepStrictEqual(yield* states, ["a idle 0"])
    }))

  it.effect("is given back if its fiber was dropped by the runtime", () =>
    Effect.gen(function*() {
      const { map } = yield* makeMap({ max: 1 })
      const dropped = yield* Effect.forkDetach(
        map.use("a", () => Effect.flatMap(Effect.yieldNow, () => "no effect" as unknown as Effect.Effect<void>))
      )
      yield* Fiber.await(dropped)
      const waiting = yield* Effect.forkChild(map.use("b", Effect.succeed))
      yield* settle
      yield* TestClock.adjust("100 millis")
      assert.strictEqual((yield* Fiber.join(waiting)).key, "b")
    }))
})

describe("an interrupt at any point of a map of pools loses nothing", () => {
  const body = Effect.andThen(Effect.yieldNow, Effect.yieldNow)
  type World = Effect.Success<ReturnType<typeof makeMap>>
  const scenarios: Record<string, (world: World) => Effect.Effect<unknown, unknown, Scope.Scope>> = {
    "use of a key, and of it again": ({ map }) => Effect.andThen(map.use("a", () => body), map.use("a", () => body)),
    "use behind others": ({ map }) =>
      Effect.andThen(
        Effect.forEach(["a", "b", "a", "c"], (key) => Effect.forkDetach(map.use(key, () => body))),
        map.use("d", () => body)
      ),
    "get of two keys": ({ map }) => Effect.andThen(map.get("a"), Effect.andThen(map.get("b"), body)),
    "services of a key": ({ map }) =>
      Effect.andThen(
        map.provide("a", body),
        Effect.all([map.provide("b", body), map.provide("c", body), map.provide("a", body)], { concurrency: 3 })
      ),
    "use of a key that closes": ({ closing, map }) =>
      Effect.gen(function*() {
        yield* map.use("a", () => Effect.void)
        yield* closing.close
        yield* map.invalidate("a")
        yield* Effect.forkDetach(Effect.andThen(Effect.repeat(Effect.yieldNow, { times: 4 }), closing.open))
        yield* map.use("a", () => body)
      }),
    "use of a key that cannot be opened": ({ failures, map }) =>
      Effect.gen(function*() {
        failures.push(new OpenError())
        yield* Effect.exit(map.use("a", () => body))
        yield* map.use("a", () => body)
      }),
    "use while it opens, and invalidate": ({ map, opening }) =>
      Effect.gen(function*() {
        yield* opening.close
        yield* Effect.forkDetach(Effect.andThen(Effect.repeat(Effect.yieldNow, { times: 4 }), opening.open))
        yield* Effect.forkDetach(Effect.andThen(Effect.yieldNow, map.invalidate("a")))
        yield* Effect.all([map.use("a", () => body), map.use("b", () => body)], { concurrency: 2 })
      })
  }
  for (const [name, scenario] of Object.entries(scenarios)) {
    it.effect(name, () =>
      Effect.gen(function*() {
        const report = yield* Sweep.run({
          setup: makeMap({ max: 2 }),
          scenario,
          check: ({ closing, failures, isOpen, map, most, opening }) =>
            Effect.gen(function*() {
              failures.length = 0
              yield* Effect.all([opening.open, closing.open])
              yield* settle
              yield* TestClock.adjust("2 seconds")
              const { leases, waiting, total, ...rest } = yield* map.stats
              assert.deepStrictEqual({ leases, waiting }, { leases: 0, waiting: 0 })
              assert.isAtMost(most(), 2)
              assert.strictEqual(total, rest.idle)
              // As many as there is room for, at once.
              yield* map.use("x", () => map.use("y", () => Effect.void, { timeout: 5000 }), { timeout: 5000 })
              yield* map.shutdown()
              assert.strictEqual(isOpen.size, 0)
            }).pipe(Effect.orDie),
          budgets: [3, 24],
          turns: [0, 24]
        })
        assert.isAbove(report.interrupted, 20)
        assert.isAbove(report.cases - report.interrupted, 20)
      }), 120_000)
  }
})
