import { assert, describe, it } from "@effect/vitest"
import { Effect, Exit, Fiber, Scope } from "effect"
import { PoolAssert } from "effect-connection-pool/testing"
import { TestClock } from "effect/testing"
import { borrow, make, settle, shape } from "./support/pools.ts"

/** The runtime drops a fiber that is given this, without running its finalizers. */
const wrong = Effect.flatMap(Effect.void, () => undefined as unknown as Effect.Effect<void>)

/** Those who await a fiber may hear of its end before the pool does. */
const run = (effect: Effect.Effect<unknown, unknown>) =>
  Effect.andThen(Effect.flatMap(Effect.forkDetach(effect), Fiber.await), settle)

describe("a lease of a scope whose fiber was dropped by the runtime", () => {
  it.effect("is ended at once, and a waiter is served", () =>
    Effect.gen(function*() {
      const { faulty, pool } = yield* make({ max: 1, acquireTimeout: "Infinity" })
      const gate = yield* Effect.forkDetach(Effect.never)
      const holder = yield* Effect.forkDetach(
        Effect.scoped(Effect.andThen(pool.acquire(), Effect.andThen(Fiber.await(gate), wrong)))
      )
      yield* settle
      const waiting = yield* borrow(pool)
      assert.isUndefined(waiting.connection)
      yield* Fiber.interrupt(gate)
      yield* Fiber.await(holder)
      yield* settle
      assert.isDefined(waiting.connection)
      yield* waiting.giveBack
      yield* PoolAssert.nothingLeaked(faulty, pool)
    }))

  it.effect("is also ended if its caller had waited for it", () =>
    Effect.gen(function*() {
      const { faulty, pool } = yield* make({ max: 1 })
      const holder = yield* borrow(pool)
      const caller = yield* Effect.forkDetach(Effect.scoped(Effect.andThen(pool.acquire(), wrong)))
      yield* settle
      yield* holder.giveBack
      yield* Fiber.await(caller)
      yield* PoolAssert.nothingLeaked(faulty, pool)
    }))

  it.effect("leaves a connection that is reset, and validated before the next lease", () =>
    Effect.gen(function*() {
      const { faulty, pool } = yield* make({ max: 1 })
      yield* run(Effect.scoped(Effect.flatMap(pool.acquire(), (connection) => Effect.andThen(connection.soil, wrong))))
      yield* settle
      const { resets, validations } = yield* faulty.counters
      assert.deepStrictEqual({ resets, validations }, { resets: 1, validations: 1 })
      yield* pool.use((connection) => connection.run)
      yield* pool.use((connection) => connection.run)
      assert.strictEqual((yield* faulty.counters).validations, 1)
      yield* PoolAssert.nothingLeaked(faulty, pool)
    }))

  it.effect("leaves a connection that is evicted if it is broken", () =>
    Effect.gen(function*() {
      const { faulty, pool } = yield* make({ max: 1 })
      yield* run(Effect.scoped(Effect.flatMap(pool.acquire(), ({ id }) => Effect.andThen(faulty.sever(id), wrong))))
      yield* pool.use((connection) => connection.run)
      assert.strictEqual((yield* pool.stats).evictions.invalid, 1)
      yield* PoolAssert.nothingLeaked(faulty, pool)
    }))

  it.effect("cannot be used any more, also if its connection is still referenced", () =>
    Effect.gen(function*() {
      const { pool } = yield* make({ max: 1 })
      let kept: Effect.Effect<void, { readonly _tag: string }> = Effect.void
      yield* run(Effect.scoped(Effect.flatMap(pool.acquire(), (connection) => {
        kept = connection.run
        return wrong
      })))
      yield* PoolAssert.failsWith(kept, "LeaseExpiredError")
    }))

  it.effect("is counted once, and its scope may still be closed", () =>
    Effect.gen(function*() {
      const { faulty, pool } = yield* make({ max: 2 })
      const scope = yield* Scope.make()
      yield* run(Effect.ensuring(Effect.andThen(Scope.provide(pool.acquire(), scope), wrong), Effect.void))
      assert.deepStrictEqual(yield* shape(pool), { idle: 1 })
      yield* Scope.close(scope, Exit.void)
      const { checkouts, returns } = yield* pool.stats
      assert.deepStrictEqual({ checkouts, returns }, { checkouts: 1, returns: 1 })
      yield* PoolAssert.nothingLeaked(faulty, pool)
    }))
})

describe("a lease of a scope whose fiber has ended in any other way", () => {
  const ends: Record<string, Effect.Effect<unknown, unknown>> = {
    "by succeeding": Effect.void,
    "by failing": Effect.fail("no"),
    "by dying": Effect.die("no"),
    "by an interrupt": Effect.interrupt,
    "by joining a fiber that was dropped": Effect.flatMap(Effect.forkDetach(wrong), Fiber.join)
  }
  for (const [how, end] of Object.entries(ends)) {
    it.effect(`goes on (${how})`, () =>
      Effect.gen(function*() {
        const { faulty, pool } = yield* make({ max: 1 })
        const scope = yield* Scope.make()
        yield* run(Effect.ensuring(Effect.andThen(Scope.provide(pool.acquire(), scope), end), Effect.void))
        yield* TestClock.adjust("1 minute")
        assert.deepStrictEqual(yield* shape(pool), { inUse: 1 })
        yield* Scope.close(scope, Exit.void)
        yield* PoolAssert.nothingLeaked(faulty, pool)
      }))
  }

  it.effect("leaves nothing with the fiber once it is over", () =>
    Effect.gen(function*() {
      const { pool } = yield* make({ max: 1 })
      const fiber = yield* Effect.withFiber((fiber) => Effect.succeed(fiber))
      const observers = () => (fiber as unknown as { readonly _observers?: ReadonlyArray<unknown> })._observers?.length
      // The first observer of all stays: see `Runtime.observe`.
      yield* Effect.scoped(pool.acquire())
      const before = observers()
      for (let times = 0; times < 100; times++) yield* Effect.scoped(pool.acquire())
      assert.strictEqual(observers(), before)
    }))
})

describe("a lease of use whose fiber was dropped by the runtime", () => {
  it.effect("is found while a caller waits, without a deadline and without another caller", () =>
    Effect.gen(function*() {
      const { faulty, pool } = yield* make({ max: 1, acquireTimeout: "Infinity" })
      const gate = yield* Effect.forkDetach(Effect.never)
      yield* Effect.forkDetach(pool.use(() => Effect.andThen(Fiber.await(gate), wrong)))
      yield* settle
      const waiting = yield* borrow(pool)
      yield* TestClock.adjust("1 hour")
      yield* Fiber.interrupt(gate)
      yield* settle
      assert.isUndefined(waiting.connection)
      yield* TestClock.adjust("1 minute")
      assert.isDefined(waiting.connection)
      yield* waiting.giveBack
      yield* PoolAssert.nothingLeaked(faulty, pool)
    }))

  it.effect("serves a caller at its deadline, although nobody has looked before", () =>
    Effect.gen(function*() {
      const { faulty, pool } = yield* make({
        max: 1,
        acquireTimeout: "300 millis",
        driver: { withoutReset: true, withoutValidate: true }
      })
      const gate = yield* Effect.forkDetach(Effect.never)
      yield* Effect.forkDetach(pool.use(() => Effect.andThen(Fiber.await(gate), wrong)))
      yield* settle
      const waiting = yield* borrow(pool)
      yield* Fiber.interrupt(gate)
      yield* settle
      assert.isUndefined(waiting.connection)
      yield* TestClock.adjust("300 millis")
      assert.isDefined(waiting.connection)
      yield* waiting.giveBack
      yield* PoolAssert.nothingLeaked(faulty, pool)
    }))
})
