import { assert, describe, it, vi } from "@effect/vitest"
import { Effect, Exit, Fiber, Latch, Scope, Stream } from "effect"
import { ConnectionPool, InMemoryConnection, PoolMap, type PoolMapEvent } from "effect-connection-pool"
import { PoolAssert } from "effect-connection-pool/testing"
import { TestClock } from "effect/testing"
import { hold, makeMap, OpenError, shapeOf, type TestMap } from "./support/poolMaps.ts"
import { settle } from "./support/pools.ts"

const statesOf = (map: Pick<TestMap["map"], "pools">) =>
  Effect.map(map.pools, (pools) => pools.map(({ key, state }) => `${key} ${state}`))

/** Asks for a key in a fiber of its own. */
const ask = <P, E>(map: PoolMap.PoolMap<string, P, E>, key: string) =>
  Effect.tap(Effect.forkDetach(map.use(key, Effect.succeed)), () => settle)

describe("a pool that nobody uses", () => {
  it.effect("is idle from the end of its last lease, and closes after the idle time", () =>
    Effect.gen(function*() {
      const { map } = yield* makeMap({ idleTimeout: "10 seconds" })
      const [one, two] = [yield* hold(map, "a"), yield* hold(map, "a")]
      yield* TestClock.adjust("15 seconds")
      yield* one.letGo
      yield* TestClock.adjust("4 seconds")
      yield* two.letGo
      yield* TestClock.adjust("3 seconds")
      assert.deepStrictEqual((yield* map.pools).map(({ ageMillis, idleMillis }) => [ageMillis, idleMillis]), [
        [22_000, 3000]
      ])
      yield* TestClock.adjust(6999)
      assert.deepStrictEqual(yield* map.keys, ["a"])
      yield* TestClock.adjust(1)
      assert.deepStrictEqual(yield* map.keys, [])
      assert.strictEqual((yield* map.stats).evictions.idle, 1)
    }))

  it.effect("closes at its own time, whenever the others were used", () =>
    Effect.gen(function*() {
      const { map } = yield* makeMap({ idleTimeout: "10 seconds" })
      for (const key of ["a", "b", "c"]) {
        yield* map.use(key, () => Effect.void)
        yield* TestClock.adjust("2 seconds")
      }
      // The first is used again, so it is the last.
      yield* map.use("a", () => Effect.void)
      const left: Array<ReadonlyArray<string>> = []
      for (const millis of [5999, 1, 1999, 1, 1999, 1]) {
        yield* TestClock.adjust(millis)
        left.push(yield* map.keys)
      }
      assert.deepStrictEqual(left, [["b", "c", "a"], ["c", "a"], ["c", "a"], ["a"], ["a"], []])
    }))
})

describe("a caller that waits for room while all pools are in use", () => {
  it.effect("has one pool make room after a second, and another after one more: the one that is held shortest", () =>
    Effect.gen(function*() {
      const { map } = yield* makeMap({ max: 3 })
      yield* TestClock.adjust("1 minute")
      const a = yield* hold(map, "a")
      yield* TestClock.adjust(300)
      const b = yield* hold(map, "b")
      yield* TestClock.adjust(100)
      // The longest lease of a pool counts.
      const again = yield* hold(map, "a")
      const c = yield* hold(map, "c")
      const second = yield* hold(map, "c")
      yield* ask(map, "d")
      yield* TestClock.adjust(500)
      yield* ask(map, "e")
      yield* TestClock.adjust(499)
      const used = ["a in use", "b in use", "c in use"]
      assert.deepStrictEqual(yield* statesOf(map), ["d waiting", "e waiting", ...used])
      yield* TestClock.adjust(1)
      const next = ["d waiting", "e waiting", "a in use", "b in use", "c leaving"]
      assert.deepStrictEqual(yield* statesOf(map), next)
      yield* TestClock.adjust(999)
      assert.deepStrictEqual(yield* statesOf(map), next)
      yield* TestClock.adjust(1)
      assert.deepStrictEqual(yield* statesOf(map), ["d waiting", "e waiting", "a in use", "c leaving", "b leaving"])
      yield* Effect.forEach([c, second], ({ letGo }) => letGo)
      // The pool of the first in line made room for the second at once.
      assert.deepStrictEqual(yield* map.keys, ["e", "a", "b"])
      yield* Effect.forEach([b, a, again], ({ letGo }) => letGo)
    }))

  it.effect("gives no way to itself earlier because another has waited before it", () =>
    Effect.gen(function*() {
      const { map } = yield* makeMap({ max: 1 })
      yield* TestClock.adjust("1 minute")
      const a = yield* hold(map, "a")
      yield* TestClock.adjust("5 seconds")
      yield* ask(map, "b")
      yield* TestClock.adjust(900)
      assert.deepStrictEqual(yield* statesOf(map), ["b waiting", "a in use"])
      yield* TestClock.adjust(100)
      assert.deepStrictEqual(yield* statesOf(map), ["b waiting", "a leaving"])
      yield* a.letGo
    }))

  it.effect("closes as many idle pools as there are keys in line, and no more", () =>
    Effect.gen(function*() {
      const { closing, log, map, take } = yield* makeMap({ max: 4 })
      for (const key of ["a", "b", "c", "d"]) yield* map.use(key, () => Effect.void)
      yield* take
      yield* closing.close
      yield* ask(map, "e")
      yield* ask(map, "e")
      yield* ask(map, "f")
      assert.deepStrictEqual(yield* take, ["closing a1", "closing b2"])
      yield* TestClock.adjust(999)
      assert.deepStrictEqual(log, [])
      yield* TestClock.adjust(1)
      assert.deepStrictEqual(yield* take, ["closing c3", "closing d4"])
    }))

  it.effect("does not count on the room of a pool whose key is asked for again", () =>
    Effect.gen(function*() {
      const { closing, map, take } = yield* makeMap({ max: 2 })
      for (const key of ["a", "b"]) yield* map.use(key, () => Effect.void)
      yield* closing.close
      yield* map.invalidate("a")
      yield* ask(map, "a")
      yield* take
      yield* ask(map, "c")
      assert.deepStrictEqual(yield* take, ["closing b2"])
    }))

  it.effect("keeps its place if another caller of its key, behind it, leaves", () =>
    Effect.gen(function*() {
      const { map } = yield* makeMap({ max: 1 })
      const a = yield* hold(map, "a")
      const order: Array<string> = []
      const callers = yield* Effect.forEach(
        ["b", "c", "b", "d"],
        (key) => Effect.forkChild(map.use(key, () => Effect.sync(() => order.push(key))))
      )
      yield* settle
      yield* Fiber.interrupt(callers[2]!)
      yield* a.letGo
      yield* Effect.forEach([0, 1, 3], (index) => Fiber.join(callers[index]!))
      assert.deepStrictEqual(order, ["b", "c", "d"])
    }))

  it.effect("lets a pool stay when it leaves, but not one that was invalidated", () =>
    Effect.gen(function*() {
      const { map } = yield* makeMap({ max: 2 })
      const [a, b] = [yield* hold(map, "a"), yield* hold(map, "b")]
      yield* map.invalidate("a")
      const waiting = yield* ask(map, "c")
      yield* TestClock.adjust("1 second")
      assert.deepStrictEqual(yield* statesOf(map), ["c waiting", "a leaving", "b leaving"])
      yield* Fiber.interrupt(waiting)
      assert.deepStrictEqual(yield* statesOf(map), ["b in use", "a leaving"])
      yield* Effect.forEach([a, b], ({ letGo }) => letGo)
      assert.deepStrictEqual(yield* statesOf(map), ["b idle"])
      const { invalidated, room } = (yield* map.stats).evictions
      assert.deepStrictEqual({ invalidated, room }, { invalidated: 1, room: 0 })
    }))
})

describe("a pool that was invalidated", () => {
  it.effect("closes once the last lease has ended that its map does not know of", () =>
    Effect.gen(function*() {
      let state: "in use" | "idle" = "in use"
      const { map, take } = yield* makeMap({ stateOf: () => state })
      yield* map.use("a", () => Effect.void)
      yield* take
      yield* map.invalidate("a")
      yield* TestClock.adjust("5 seconds")
      assert.deepStrictEqual(yield* take, [])
      state = "idle"
      yield* TestClock.adjust("100 millis")
      assert.deepStrictEqual(yield* take, ["closing a1", "closed a1"])
    }))
})

describe("callers whose deadlines come at one moment", () => {
  it.effect("all see the line as it was, and what each of them waited for", () =>
    Effect.gen(function*() {
      yield* TestClock.adjust("1 minute")
      const { closing, map, opening } = yield* makeMap({ max: 4, acquireTimeout: "4 seconds" })
      const holders = yield* Effect.forEach(["used", "leaving"], (key) => hold(map, key))
      yield* map.use("closing", () => Effect.void)
      yield* closing.close
      yield* Effect.forEach(["leaving", "closing"], map.invalidate)
      yield* opening.close
      const late = yield* Effect.forEach(["opening", "leaving", "closing", "room"], (key) =>
        Effect.forkDetach(PoolAssert.failsWith(map.use(key, Effect.succeed), "PoolMapTimeoutError")))
      yield* settle
      yield* TestClock.adjust(3999)
      assert.deepStrictEqual(
        late.map((fiber) =>
          fiber.pollUnsafe()
        ),
        Array(4).fill(undefined)
      )
      yield* TestClock.adjust(1)
      const errors = yield* Effect.forEach(late, Fiber.join)
      assert.deepStrictEqual(errors.map(({ phase }) => phase), ["open", "use", "close", "room"])
      for (const { occupancy, timeoutMillis, waitedMillis } of errors) {
        assert.deepStrictEqual([timeoutMillis, waitedMillis], [4000, 4000])
        assert.deepStrictEqual(occupancy, {
          max: 4,
          total: 4,
          opening: 1,
          idle: 0,
          inUse: 2,
          closing: 1,
          waiting: 4
        })
      }
      const { timeouts, waiting } = yield* map.stats
      assert.deepStrictEqual({ timeouts, waiting }, { timeouts: 4, waiting: 0 })
      yield* Effect.all([opening.open, closing.open])
      yield* Effect.forEach(holders, ({ letGo }) => letGo)
    }))

  it.effect("are all answered, however many wait for one pool", () =>
    Effect.gen(function*() {
      const { map, opening } = yield* makeMap()
      yield* opening.close
      const callers = yield* Effect.forEach(
        Array.from({ length: 300 }),
        () => Effect.forkChild(map.use("a", Effect.succeed))
      )
      yield* settle
      yield* opening.open
      const pools = yield* Effect.forEach(callers, Fiber.join)
      assert.deepStrictEqual(new Set(pools).size, 1)
      assert.deepStrictEqual(yield* shapeOf(map), { idle: 1 })
    }))
})

describe("a lease of a scope", () => {
  it.effect("outlives the fiber that asked for it, where one of use does not", () =>
    Effect.gen(function*() {
      const { map } = yield* makeMap()
      const scope = yield* Scope.make()
      yield* Fiber.join(yield* Effect.forkChild(Scope.provide(map.get("a"), scope)))
      assert.strictEqual((yield* map.stats).leases, 1)
      yield* map.invalidate("a")
      assert.deepStrictEqual(yield* statesOf(map), ["a leaving"])
      yield* Scope.close(scope, Exit.void)
      assert.deepStrictEqual(yield* statesOf(map), [])
    }))
})

describe("an open that was given up", () => {
  it.effect("may fail later, which counts for nothing, and is reported if its end goes wrong", () =>
    Effect.gen(function*() {
      const latch = yield* Latch.make(false)
      const events: Array<PoolMapEvent.PoolMapEvent<string>> = []
      const map = yield* PoolMap.make({
        openTimeout: "5 seconds",
        open: (_: string) =>
          Effect.andThen(
            Effect.addFinalizer(() => Effect.die(new Error("no end"))),
            Effect.uninterruptible(Effect.andThen(latch.await, Effect.fail(new OpenError("no start"))))
          )
      })
      yield* Effect.forkDetach(Stream.runForEach(map.events, (event) => Effect.sync(() => void events.push(event))))
      const late = yield* Effect.forkChild(PoolAssert.failsWith(map.use("a", Effect.succeed), "PoolOpenTimeoutError"))
      yield* settle
      yield* TestClock.adjust("5 seconds")
      yield* Fiber.join(late)
      yield* TestClock.adjust("2 seconds")
      yield* latch.open
      yield* settle
      const { closes, openErrors, openFailures, openTimeouts, total } = yield* map.stats
      assert.deepStrictEqual({ closes, openErrors, openFailures, openTimeouts, total }, {
        closes: 0,
        openErrors: 1,
        openFailures: 1,
        openTimeouts: 1,
        total: 0
      })
      assert.deepStrictEqual(events.map(({ _tag }) => _tag), ["OpenFailed", "Closed"])
      const closed = events[1]! as { readonly error: unknown; readonly tookMillis: number }
      assert.deepStrictEqual([String(closed.error), closed.tookMillis], ["Error: no end", 2000])
    }))

  it.effect("by invalidate counts as a failure, and closes without an event", () =>
    Effect.gen(function*() {
      const { map, opening } = yield* makeMap()
      const events: Array<string> = []
      yield* Effect.forkDetach(Stream.runForEach(map.events, ({ _tag }) => Effect.sync(() => void events.push(_tag))))
      yield* opening.close
      const caller = yield* ask(map, "a")
      yield* map.invalidate("a")
      yield* opening.open
      yield* Fiber.join(caller)
      yield* settle
      const { closes, evictions, openErrors, openFailures, opens } = yield* map.stats
      assert.deepStrictEqual({ closes, evictions: evictions.invalidated, openErrors, openFailures, opens }, {
        closes: 0,
        evictions: 0,
        openErrors: 0,
        openFailures: 1,
        opens: 1
      })
      assert.deepStrictEqual(events, ["Opened"])
    }))
})

describe("what a map takes a value for", () => {
  it.effect("is what its pool says, or the sides of it together", () =>
    Effect.gen(function*() {
      const pool = () => ConnectionPool.make({ factory: InMemoryConnection.factory(), max: 1, drainTimeout: 0 })
      const [writer, reader] = [yield* pool(), yield* pool()]
      const both = { sides: { writer, reader, more: 5, other: {} } }
      const scope = yield* Scope.make()
      const states = () => [writer, reader, both, { sides: { reader } }].map(PoolMap.stateOf)
      assert.deepStrictEqual(states(), ["idle", "idle", "idle", "idle"])
      yield* Scope.provide(writer.acquire(), scope)
      assert.deepStrictEqual(states(), ["in use", "idle", "in use", "idle"])
      yield* reader.shutdown()
      assert.deepStrictEqual(states(), ["in use", "closed", "closed", "closed"])
      yield* Scope.close(scope, Exit.void)
      assert.deepStrictEqual(states(), ["idle", "closed", "closed", "closed"])
      assert.deepStrictEqual(
        [5, null, undefined, "a", {}, { sides: 5 }, { sides: null }].map(PoolMap.stateOf),
        Array(7).fill("idle")
      )
    }))

  it.effect("is in use where a function of the user gives another answer", () =>
    Effect.gen(function*() {
      let answer: unknown = "busy"
      const { map } = yield* makeMap({ stateOf: () => answer as "idle" })
      yield* map.use("a", () => Effect.void)
      assert.deepStrictEqual(yield* statesOf(map), ["a in use"])
      answer = "idle"
      assert.deepStrictEqual(yield* statesOf(map), ["a idle"])
      answer = "closed"
      const again = yield* ask(map, "a")
      answer = "idle"
      assert.strictEqual((yield* Fiber.join(again)).number, 2)
    }))
})

describe("the timer of a map", () => {
  it.live("keeps the process only while somebody waits, or a pool opens or closes", () =>
    Effect.gen(function*() {
      const timers: Array<NodeJS.Timeout> = []
      const spy = vi.spyOn(globalThis, "setTimeout")
      yield* Effect.addFinalizer(() => Effect.sync(() => spy.mockRestore()))
      const { closing, map, opening } = yield* makeMap({ idleTimeout: "1 hour", openTimeout: "2 hours" })
      /** Whether the last timer that was set keeps the process. */
      const isKept = Effect.sync(() => {
        for (const { value } of spy.mock.results) timers.push(value as NodeJS.Timeout)
        return timers.at(-1)?.hasRef()
      })
      yield* map.use("a", () => Effect.void)
      assert.isFalse(yield* isKept)
      yield* opening.close
      const waiting = yield* Effect.forkDetach(Effect.exit(map.use("b", () => Effect.void)))
      yield* Effect.yieldNow
      assert.isTrue(yield* isKept)
      // The pool is still being opened, though nobody waits.
      yield* Fiber.interrupt(waiting)
      assert.isTrue(yield* isKept)
      yield* opening.open
      while ((yield* map.stats).opening > 0) yield* Effect.yieldNow
      assert.isFalse(yield* isKept)
      yield* closing.close
      yield* map.invalidate("b")
      assert.isTrue(yield* isKept)
      yield* closing.open
      while ((yield* map.stats).closing > 0) yield* Effect.yieldNow
      assert.isFalse(yield* isKept)
    }))
})
