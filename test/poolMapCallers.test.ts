/** What callers of a map of pools get where nobody holds a pool, where a pool is lent on. */
import { assert, describe, it } from "@effect/vitest"
import { Effect, Fiber } from "effect"
import { PoolMapError } from "effect-connection-pool"
import { PoolAssert } from "effect-connection-pool/testing"
import { TestClock } from "effect/testing"
import { hold, makeMap, shapeOf } from "./support/poolMaps.ts"
import { settle } from "./support/pools.ts"

/** Has a caller wait until its deadline. Gives its error. */
const late = <A, E extends { readonly _tag: string }>(ask: Effect.Effect<A, E>) =>
  Effect.gen(function*() {
    const caller = yield* Effect.forkChild(Effect.flip(ask))
    yield* settle
    yield* TestClock.adjust("1 second")
    const error: { readonly _tag: string } = yield* Fiber.join(caller)
    return error instanceof PoolMapError.PoolMapTimeoutError ? error : assert.fail(error._tag)
  })

describe("a caller of a map of pools", () => {
  it.effect("that waits for a pool to open hears of no holder, and of its own leases that they may stand in the way", () =>
    Effect.gen(function*() {
      const { map, opening } = yield* makeMap({ max: 2, acquireTimeout: "1 second" })
      yield* opening.close
      const alone = yield* late(map.use("a", Effect.succeed))
      assert.strictEqual(alone.phase, "open")
      assert.notInclude(alone.message, "held longest")
      assert.notInclude(alone.message, "itself")
      yield* opening.open
      yield* settle
      const inside = map.use("a", () => Effect.andThen(opening.close, map.use("b", Effect.succeed)))
      const error = yield* late(inside)
      assert.deepStrictEqual([error.phase, error.ownLeases], ["open", 1])
      assert.match(error.message, /; this caller holds 1 lease of the map itself: end those first$/)
    }))

  it.effect("no longer counts a lease in which it was begun, once that has ended", () =>
    Effect.gen(function*() {
      const { map } = yield* makeMap({ max: 1, acquireTimeout: "1 second" })
      const begun = yield* map.use("a", () => Effect.forkDetach(Effect.delay(late(map.use("b", Effect.succeed)), 500)))
      const holder = yield* hold(map, "a")
      yield* TestClock.adjust("500 millis")
      yield* TestClock.adjust("1 second")
      const error = yield* Fiber.join(begun)
      assert.deepStrictEqual([error.phase, error.ownLeases], ["room", undefined])
      yield* holder.letGo
    }))

  it.effect("has an effect run with the services of a map that gives none", () =>
    Effect.gen(function*() {
      const { map } = yield* makeMap()
      assert.strictEqual(yield* map.provide("a", Effect.succeed(7)), 7)
      assert.deepStrictEqual(yield* shapeOf(map), { idle: 1 })
    }))
})

describe("the shutdown of a map of pools", () => {
  it.effect("whose options name no deadline waits for the drainTimeout of the map", () =>
    Effect.gen(function*() {
      const { map } = yield* makeMap({ drainTimeout: "5 seconds" })
      yield* hold(map, "a")
      const closing = yield* Effect.forkChild(map.shutdown({}))
      yield* TestClock.adjust("4999 millis")
      assert.isUndefined(closing.pollUnsafe())
      yield* TestClock.adjust("1 millis")
      assert.strictEqual((yield* Fiber.join(closing)).interrupted, 1)
    }))

  it.effect("closes a pool that has to make room and has no lease of the map, whoever else uses it", () =>
    Effect.gen(function*() {
      let isUsed = true
      const { log, map } = yield* makeMap({ max: 1, stateOf: () => isUsed ? "in use" : "idle" })
      const holder = yield* hold(map, "a")
      const refused = PoolAssert.failsWith(map.use("b", Effect.succeed), "PoolClosedError")
      const waiting = yield* Effect.forkChild(refused)
      yield* settle
      yield* TestClock.adjust("2 seconds")
      yield* holder.letGo
      assert.deepStrictEqual(log, ["opening a1", "open a1"])
      yield* map.shutdown()
      yield* Fiber.join(waiting)
      assert.deepStrictEqual(log, ["opening a1", "open a1", "closing a1", "closed a1"])
      isUsed = false
    }))
})
