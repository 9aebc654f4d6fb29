import { assert, describe, it } from "@effect/vitest"
import { Effect, Exit, Fiber, Metric, Option, Tracer } from "effect"
import { PoolMap, type PoolMapStats, PoolMetrics } from "effect-connection-pool"
import { PoolAssert } from "effect-connection-pool/testing"
import { TestClock } from "effect/testing"
import { hold, makeMap, OpenError } from "./support/poolMaps.ts"
import { settle } from "./support/pools.ts"
import { tracing } from "./support/tracing.ts"

const pool = (
  key: string,
  state: PoolMapStats.PoolState,
  leases: number,
  waiting: number,
  ageMillis: number | undefined,
  idleMillis: number
) => ({ key, state, leases, waiting, ageMillis, idleMillis })

describe("the numbers of a map of pools", () => {
  const world = Effect.fnUntraced(function*(name: string) {
    yield* TestClock.adjust("1 minute")
    const test = yield* makeMap({ max: 5, name, openTimeout: "5 seconds" })
    const { closing, failures, map, opening } = test
    // Opened after 2 seconds for two callers; found open once; failed for two; not opened in time for one.
    yield* opening.close
    const two = yield* Effect.forEach([1, 2], () => Effect.forkChild(map.use("a", Effect.succeed)))
    yield* settle
    yield* TestClock.adjust("2 seconds")
    yield* opening.open
    yield* Effect.forEach(two, Fiber.join)
    yield* map.use("a", Effect.succeed)
    failures.push(new OpenError())
    yield* opening.close
    const failing = yield* Effect.forEach([1, 2], () => Effect.forkChild(Effect.exit(map.use("b", Effect.succeed))))
    yield* settle
    yield* opening.open
    yield* Effect.forEach(failing, Fiber.join)
    yield* opening.close
    const hanging = yield* Effect.forkChild(Effect.exit(map.use("c", Effect.succeed)))
    yield* settle
    yield* TestClock.adjust("5 seconds")
    yield* Fiber.join(hanging)
    yield* opening.open
    // One that is closing, two in use by three leases, one that opens for two; a third of these is interrupted.
    yield* map.use("d", Effect.succeed)
    yield* closing.close
    yield* map.invalidate("d")
    const holders = yield* Effect.forEach(["e", "e", "f"], (key) => hold(map, key))
    yield* opening.close
    const waiting = yield* Effect.forEach([1, 2, 3], () => Effect.forkDetach(map.use("g", Effect.succeed)))
    yield* settle
    yield* Fiber.interrupt(waiting[1]!)
    return { ...test, holders, waiting }
  })

  it.effect("are those of all that has happened, and of now", () =>
    Effect.gen(function*() {
      const { map } = yield* world("counted")
      assert.deepStrictEqual(yield* map.stats, {
        map: "counted",
        max: 5,
        total: 5,
        opening: 1,
        idle: 1,
        inUse: 2,
        closing: 1,
        waiting: 2,
        leases: 3,
        overdue: 0,
        hits: 2,
        misses: 5,
        openErrors: 3,
        timeouts: 0,
        refused: 0,
        cancelled: 1,
        maxWaitMillis: 2000,
        opens: 4,
        openFailures: 2,
        openTimeouts: 1,
        closes: 0,
        evictions: { idle: 0, room: 0, invalidated: 1, closed: 0, shutdown: 0 }
      })
    }))

  it.effect("are its metrics, one each", () =>
    Effect.gen(function*() {
      const { closing, holders, map, opening, waiting } = yield* world("measured")
      const metrics = PoolMetrics.ofMap("measured")
      const value = (metric: Metric.Metric<number, { readonly value: number } | { readonly count: number }>) =>
        Effect.map(Metric.value(metric), (state) => "value" in state ? state.value : state.count)
      const all = (
        record: Record<string, Metric.Metric<number, { readonly value: number } | { readonly count: number }>>
      ) => Effect.all(Object.fromEntries(Object.entries(record).map(([name, metric]) => [name, value(metric)])))
      assert.deepStrictEqual(yield* all(metrics.count), { idle: 1, inUse: 2, opening: 1, closing: 1 })
      assert.deepStrictEqual([yield* value(metrics.max), yield* value(metrics.pendingRequests)], [5, 2])
      const { count, max, sum } = yield* Metric.value(metrics.waitTime)
      assert.deepStrictEqual({ count, max, sum }, { count: 5, max: 2, sum: 4 })
      const opened = yield* Metric.value(metrics.openTime)
      assert.deepStrictEqual([opened.count, opened.max, opened.sum], [4, 2, 2])
      const shutdown = yield* Effect.forkChild(map.shutdown({ drainTimeout: "1 minute" }))
      yield* settle
      yield* Effect.all([closing.open, opening.open])
      yield* Effect.forEach(holders, ({ letGo }) => letGo)
      yield* Fiber.join(shutdown)
      yield* Effect.forEach(waiting, Fiber.await)
      assert.deepStrictEqual(yield* all(metrics.requests), {
        hit: 2,
        miss: 5,
        open_failed: 3,
        timed_out: 0,
        refused: 2,
        cancelled: 1
      })
      // The one that was opening was given up.
      assert.deepStrictEqual(yield* all(metrics.opens), { succeeded: 4, failed: 2, timed_out: 1 })
      assert.deepStrictEqual(yield* all(metrics.evictions), {
        idle: 0,
        room: 0,
        invalidated: 1,
        closed: 0,
        shutdown: 3
      })
    }))

  it.effect("has no metrics if they are off", () =>
    Effect.gen(function*() {
      const { map } = yield* makeMap({ name: "unmeasured", metrics: false })
      yield* map.use("a", Effect.succeed)
      const shown = (yield* Metric.snapshot).filter(({ attributes }) => attributes?.["pool_map.name"] === "unmeasured")
      assert.deepStrictEqual(shown, [])
    }))

  it.effect("tell of each pool its state, its callers, its age and how long it was idle", () =>
    Effect.gen(function*() {
      yield* TestClock.adjust("1 minute")
      const { closing, map, opening } = yield* makeMap({ max: 5 })
      yield* map.use("idle", Effect.succeed)
      yield* TestClock.adjust("1 second")
      const used = yield* Effect.forEach(["used", "used", "leaving"], (key) => hold(map, key))
      yield* map.use("closing", Effect.succeed)
      yield* TestClock.adjust("2 seconds")
      yield* closing.close
      yield* map.invalidate("closing")
      yield* map.invalidate("leaving")
      yield* opening.close
      yield* Effect.forEach(["opening", "opening", "leaving", "closing", "closing", "closing"], (key) =>
        Effect.forkDetach(Effect.exit(map.use(key, Effect.succeed))))
      yield* settle
      yield* TestClock.adjust(500)
      assert.deepStrictEqual(yield* map.pools, [
        pool("opening", "opening", 0, 2, undefined, 0),
        pool("idle", "idle", 0, 0, 3500, 3500),
        pool("used", "in use", 2, 0, 2500, 0),
        pool("leaving", "leaving", 1, 1, 2500, 0),
        pool("closing", "closing", 0, 3, 2500, 2500)
      ])
      assert.deepStrictEqual(yield* map.keys, ["idle", "used", "leaving"])
      yield* Effect.all([opening.open, closing.open])
      yield* Effect.forEach(used, ({ letGo }) =>
        letGo)
    }))
})

describe("the holders in the error of a caller", () => {
  it.effect("are the five longest leases, by label or span", () =>
    Effect.gen(function*() {
      yield* TestClock.adjust("1 minute")
      const { map } = yield* makeMap({ max: 2 })
      for (const [index, key] of ["a", "b", "a", "b", "a", "b", "a"].entries()) {
        yield* hold(map, key, index === 1 ? undefined : { label: `${key}${index}` })
        yield* TestClock.adjust("1 second")
      }
      const error = yield* PoolAssert.failsWith(
        map.use("c", Effect.succeed, { timeout: 0 }),
        "PoolMapTimeoutError"
      )
      assert.deepStrictEqual(
        error.holders.map(({ heldMillis, key, label }) => [key, label, heldMillis]),
        [
          ["\"a\"", "a0", 7000],
          ["\"b\"", undefined, 6000],
          ["\"a\"", "a2", 5000],
          ["\"b\"", "b3", 4000],
          ["\"a\"", "a4", 3000]
        ]
      )
      assert.isUndefined(error.ownLeases)
      const inside = Effect.withSpan(
        map.use("a", () => Effect.flip(map.use("c", Effect.succeed, { timeout: 0 }))),
        "import"
      )
      const { map: other } = yield* makeMap({ max: 1 })
      const named = yield* Effect.withSpan(
        other.use(
          "a",
          () => PoolAssert.failsWith(other.use("b", Effect.succeed, { timeout: 0 }), "PoolMapTimeoutError")
        ),
        "import"
      )
      assert.deepStrictEqual(named.holders.map(({ heldMillis, key, label }) => [key, label, heldMillis]), [
        ["\"a\"", "import", 0]
      ])
      assert.strictEqual((yield* inside)._tag, "PoolMapTimeoutError")
    }))

  it.effect("are five also if one pool has more than that", () =>
    Effect.gen(function*() {
      const { map } = yield* makeMap({ max: 2 })
      for (const key of ["a", "a", "a", "a", "a", "a", "b"]) {
        yield* hold(map, key)
        yield* TestClock.adjust("1 second")
      }
      const error = yield* PoolAssert.failsWith(map.use("c", Effect.succeed, { timeout: 0 }), "PoolMapTimeoutError")
      assert.deepStrictEqual(error.holders.map(({ heldMillis }) => heldMillis), [7000, 6000, 5000, 4000, 3000])
    }))

  it.effect("count its own leases once each, of all pools, also those it is only inside of", () =>
    Effect.gen(function*() {
      const { map } = yield* makeMap({ max: 2 })
      const error = yield* map.use("a", () =>
        map.use("b", () =>
          Effect.scoped(Effect.gen(function*() {
            yield* map.get("a")
            yield* map.invalidate("b")
            return yield* PoolAssert.failsWith(map.use("c", Effect.succeed, { timeout: 0 }), "PoolMapTimeoutError")
          }))))
      assert.strictEqual(error.ownLeases, 3)
      assert.match(
        error.message,
        /; this caller holds 3 leases of the map itself: end those before it asks for another pool, or raise max$/
      )
    }))
})

describe("the text of a key", () => {
  it.effect("is its JSON, at most 100 characters of it, and never throws", () =>
    Effect.gen(function*() {
      const map = yield* PoolMap.make({ max: 1, drainTimeout: 0, open: (key: unknown) => Effect.succeed(key) })
      yield* Effect.forkChild(map.use("holder", () => Effect.never))
      yield* settle
      const textOf = (key: unknown) =>
        Effect.map(
          PoolAssert.failsWith(map.use(key, Effect.succeed, { timeout: 0 }), "PoolMapTimeoutError"),
          (error) => error.key
        )
      assert.strictEqual(yield* textOf("a \"b\""), "\"a \\\"b\\\"\"")
      assert.strictEqual(yield* textOf(7), "7")
      assert.strictEqual(yield* textOf({ region: "eu", number: 1 }), "{\"region\":\"eu\",\"number\":1}")
      assert.strictEqual(yield* textOf("x".repeat(98)), `"${"x".repeat(98)}"`)
      assert.strictEqual(yield* textOf("x".repeat(99)), `"${"x".repeat(99)}...`)
      const rude = {
        toJSON: () => {
          throw new Error("no text")
        },
        toString: () => {
          throw new Error("no text")
        }
      }
      assert.include(["a key that cannot be printed", "[toString threw]"], yield* textOf(rude))
    }))
})

describe("the span of a wait for a pool", () => {
  it.effect("begins when the caller asks, and ends before its body begins; without a wait there is none", () =>
    Effect.gen(function*() {
      const { spans, tracer } = tracing()
      yield* Effect.provideService(
        Effect.gen(function*() {
          const { map, opening } = yield* makeMap({ name: "customers" })
          yield* opening.close
          const use = (name: string) =>
            Effect.withSpan(map.use("a", () => Effect.withSpan(Effect.sleep(70), "body")), name)
          const first = yield* Effect.forkChild(use("first"))
          yield* settle
          yield* TestClock.adjust(300)
          yield* opening.open
          yield* settle
          yield* TestClock.adjust(70)
          yield* Fiber.join(first)
          const second = yield* Effect.forkChild(use("second"))
          yield* settle
          yield* TestClock.adjust(70)
          yield* Fiber.join(second)
          const failed = yield* Effect.forkChild(Effect.exit(Effect.withSpan(
            map.use("b", Effect.succeed, { timeout: 5 }),
            "late"
          )))
          yield* opening.close
          yield* settle
          yield* TestClock.adjust(5)
          yield* Fiber.join(failed)
          yield* opening.open
        }),
        Tracer.Tracer,
        tracer
      )
      const told = spans.map(({ name, parent, status }) => [
        name,
        Option.match(parent, { onNone: () => undefined, onSome: (span) => span._tag === "Span" ? span.name : "?" }),
        status._tag === "Ended" ? Number(status.endTime - status.startTime) / 1e6 : "open",
        status._tag === "Ended" ? Exit.isSuccess(status.exit) : "open"
      ])
      assert.deepStrictEqual(told, [
        ["first", undefined, 370, true],
        ["PoolMap.acquire", "first", 300, true],
        ["body", "first", 70, true],
        ["second", undefined, 70, true],
        ["body", "second", 70, true],
        ["late", undefined, 5, false],
        ["PoolMap.acquire", "late", 5, false]
      ])
      assert.deepStrictEqual(Object.fromEntries(spans[1]!.attributes), {
        "pool_map.name": "customers",
        "pool_map.key": "\"a\""
      })
    }))
})
