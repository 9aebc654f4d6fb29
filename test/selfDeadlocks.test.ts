import { assert, describe, it } from "@effect/vitest"
import { Effect, Exit, Fiber, Latch, Scope } from "effect"
import { PoolAssert } from "effect-connection-pool/testing"
import { TestClock } from "effect/testing"
import { borrow, make, settle, shape } from "./support/pools.ts"
import { make as makeWords } from "./support/words.ts"

describe("a certain deadlock", () => {
  it.effect("is refused: the fiber holds all there is and asks for one more", () =>
    Effect.gen(function*() {
      const { faulty, pool } = yield* make({ max: 2, name: "orders" })
      const error = yield* PoolAssert.failsWith(
        pool.use(() => pool.use(() => pool.use(() => Effect.void))),
        "SelfDeadlockError"
      )
      const fiber = yield* Effect.fiberId
      assert.strictEqual(error.fiber, fiber)
      assert.strictEqual(
        error.message,
        `pool "orders": fiber ${fiber} holds all 2 connections and asked for another, so it would wait for itself: ` +
          "use the connection it has (a transaction shares it with all that runs inside), return one first, or raise max (2)"
      )
      yield* PoolAssert.nothingLeaked(faulty, pool)
    }))

  it.effect("is refused for every way to ask", () =>
    Effect.gen(function*() {
      const { pool } = yield* make({ max: 1 })
      yield* Effect.scoped(Effect.gen(function*() {
        yield* pool.acquire()
        yield* PoolAssert.failsWith(pool.acquire(), "SelfDeadlockError")
        yield* PoolAssert.failsWith(pool.useSync(() => 1), "SelfDeadlockError")
      }))
    }))

  it.effect("is refused inside a transaction, which has its connection until its body ends", () =>
    Effect.gen(function*() {
      const { pool, say, transaction, words } = yield* makeWords
      const asking = yield* Effect.forkChild(
        PoolAssert.failsWith(transaction(Effect.andThen(say("a"), pool.use(() => Effect.void))), "SelfDeadlockError")
      )
      yield* settle
      assert.isDefined(asking.pollUnsafe())
      yield* Fiber.join(asking)
      assert.deepStrictEqual(words.said, ["begin strict", "a", "rollback"])
    }))

  it.effect("is none where another fiber may close the scope of a lease: the caller waits", () =>
    Effect.gen(function*() {
      const { faulty, pool } = yield* make({ max: 1 })
      const scope = yield* Scope.make()
      const asking = yield* Effect.forkChild(
        Effect.andThen(Scope.provide(pool.acquire(), scope), pool.use(() => Effect.succeed("got it")))
      )
      yield* settle
      assert.deepStrictEqual(yield* shape(pool), { inUse: 1, waiting: 1 })
      yield* Scope.close(scope, Exit.void)
      assert.strictEqual(yield* Fiber.join(asking), "got it")
      yield* PoolAssert.nothingLeaked(faulty, pool)
    }))

  it.effect("is none where the lease is of a scope around that of the caller", () =>
    Effect.gen(function*() {
      const { faulty, pool } = yield* make({ max: 1 })
      const asking = yield* Effect.forkChild(
        Effect.scoped(Effect.andThen(
          pool.acquire(),
          PoolAssert.failsWith(Effect.scoped(pool.acquire({ timeout: "1 second" })), "AcquireTimeoutError")
        ))
      )
      yield* settle
      assert.deepStrictEqual(yield* shape(pool), { inUse: 1, waiting: 1 })
      yield* TestClock.adjust("1 second")
      assert.strictEqual((yield* Fiber.join(asking)).ownLeases, 1)
      yield* PoolAssert.nothingLeaked(faulty, pool)
    }))

  it.effect("is none for a fiber that only shares the scope of the one that holds all", () =>
    Effect.gen(function*() {
      const { faulty, pool } = yield* make({ max: 1 })
      const child = yield* Effect.scoped(Effect.gen(function*() {
        yield* pool.acquire()
        const child = yield* Effect.forkDetach(pool.use(() => Effect.succeed("got it")))
        yield* settle
        assert.deepStrictEqual(yield* shape(pool), { inUse: 1, waiting: 1 })
        return child
      }))
      assert.strictEqual(yield* Fiber.join(child), "got it")
      yield* PoolAssert.nothingLeaked(faulty, pool)
    }))

  it.effect("that is not certain shows in the timeout: it says how many leases the fiber holds itself", () =>
    Effect.gen(function*() {
      const { faulty, pool } = yield* make({ max: 2, name: "orders" })
      const scope = yield* Scope.make()
      const caller = yield* Effect.forkDetach(
        Effect.andThen(
          Effect.andThen(Scope.provide(pool.acquire(), scope), Scope.provide(pool.acquire(), scope)),
          PoolAssert.failsWith(pool.use(() => Effect.void, { timeout: "1 second" }), "AcquireTimeoutError")
        )
      )
      yield* settle
      yield* TestClock.adjust("1 second")
      const error = yield* Fiber.join(caller)
      assert.strictEqual(error.ownLeases, 2)
      assert.include(
        error.message,
        "; this fiber holds 2 of them itself: return what it holds before it asks, or do all in one lease"
      )
      yield* Scope.close(scope, Exit.void)
      yield* PoolAssert.nothingLeaked(faulty, pool)
    }))

  it.effect("is none while another fiber holds one of them", () =>
    Effect.gen(function*() {
      const { pool } = yield* make({ max: 2 })
      const other = yield* borrow(pool)
      const asking = yield* Effect.forkChild(pool.use(() => pool.use(() => Effect.succeed("got it"))))
      yield* settle
      yield* other.giveBack
      assert.strictEqual(yield* Fiber.join(asking), "got it")
    }))

  it.effect("is none either if that fiber has come later", () =>
    Effect.gen(function*() {
      const { pool } = yield* make({ max: 2 })
      const gate = yield* Latch.make()
      const asking = yield* Effect.forkChild(
        pool.use(() => Effect.andThen(gate.await, pool.use(() => Effect.succeed("got it"))))
      )
      yield* settle
      const other = yield* borrow(pool)
      yield* gate.open
      yield* settle
      yield* other.giveBack
      assert.strictEqual(yield* Fiber.join(asking), "got it")
    }))

  it.effect("is none while a connection is being reset that replaces an evicted one", () =>
    Effect.gen(function*() {
      const { faulty, pool } = yield* make({ max: 2 })
      const other = yield* borrow(pool)
      const gate = yield* Latch.make()
      const asking = yield* Effect.forkChild(pool.use((connection) =>
        Effect.gen(function*() {
          yield* gate.await
          yield* pool.invalidate(connection)
          return yield* pool.use(({ id }) => Effect.succeed(id))
        })
      ))
      yield* settle
      yield* faulty.reset.hold
      yield* other.giveBack
      yield* pool.resize({ max: 1 })
      yield* gate.open
      yield* settle
      assert.deepStrictEqual(yield* shape(pool), { inUse: 1, resetting: 1, waiting: 1 })
      yield* faulty.reset.open
      assert.strictEqual(yield* Fiber.join(asking), 1)
      yield* PoolAssert.nothingLeaked(faulty, pool)
    }))

  it.effect("is none while the pool can still grow", () =>
    Effect.gen(function*() {
      const { faulty, pool } = yield* make({ max: 2 })
      yield* faulty.connect.delay("1 second")
      const asking = yield* Effect.forkChild(pool.use(() => pool.use(() => Effect.succeed("got it"))))
      yield* settle
      yield* TestClock.adjust("2 seconds")
      assert.strictEqual(yield* Fiber.join(asking), "got it")
    }))
})
