import { assert, describe, it } from "@effect/vitest"
import { Cause, Deferred, Effect, Exit, Fiber, Scope } from "effect"
import type { FaultyFactory } from "effect-connection-pool/testing"
import { PoolAssert } from "effect-connection-pool/testing"
import { TestClock } from "effect/testing"
import { borrow, make, settle, shape } from "./support/pools.ts"

const nobody = { returned: 0, interrupted: 0, revoked: 0, abandoned: [], closeTimeouts: 0 }

describe("a shutdown", () => {
  it.effect("waits for leases, then interrupts who holds one, then takes what does not come back", () =>
    Effect.gen(function*() {
      const { faulty, pool } = yield* make({ max: 4, drainTimeout: "10 seconds", closeTimeout: "5 seconds" })
      const inTime = yield* borrow(pool)
      const cleanup: Array<string> = []
      const interruptible = yield* Effect.forkDetach(
        pool.use((connection) =>
          Effect.onInterrupt(Effect.never, () =>
            Effect.andThen(
              Effect.sleep("1 second"),
              Effect.matchEffect(connection.run, {
                onSuccess: () => Effect.sync(() => void cleanup.push("cleaned up")),
                onFailure: () => Effect.die("the connection was gone")
              })
            ))
        )
      )
      let stubborn: FaultyFactory.FaultyConnection | undefined
      const release = yield* Deferred.make<void>()
      const deaf = yield* Effect.forkDetach(
        Effect.uninterruptible(pool.use((connection) => {
          stubborn = connection
          return Deferred.await(release)
        }))
      )
      yield* settle
      const closing = yield* Effect.forkChild(pool.shutdown())
      yield* TestClock.adjust("9 seconds")
      yield* inTime.giveBack
      assert.deepStrictEqual(yield* shape(pool), { inUse: 2 })
      assert.isUndefined(interruptible.pollUnsafe())
      yield* TestClock.adjust("1 second")
      yield* TestClock.adjust("1 second")
      const exit = yield* Fiber.await(interruptible)
      assert.isTrue(Exit.isFailure(exit) && Cause.hasInterruptsOnly(exit.cause))
      assert.deepStrictEqual(cleanup, ["cleaned up"])
      assert.deepStrictEqual(yield* shape(pool), { inUse: 1 })
      yield* stubborn!.run
      yield* TestClock.adjust("4 seconds")
      assert.deepStrictEqual(yield* Fiber.join(closing), {
        returned: 1,
        interrupted: 2,
        revoked: 0,
        abandoned: [],
        closeTimeouts: 0
      })
      yield* PoolAssert.failsWith(stubborn!.run, "LeaseExpiredError")
      assert.strictEqual((yield* faulty.counters).closed, 3)
      yield* Deferred.succeed(release, undefined)
      yield* Fiber.await(deaf)
      assert.deepStrictEqual(yield* faulty.violations, [])
      const stats = yield* pool.stats
      assert.deepStrictEqual([stats.checkouts, stats.returns, stats.total], [3, 3, 0])
    }))

  it.effect("takes leases of scopes back, and leaves their fibers alone", () =>
    Effect.gen(function*() {
      const { faulty, pool } = yield* make({ max: 3, drainTimeout: "10 seconds", closeTimeout: "5 seconds" })
      const scope = yield* Scope.make()
      const taker = yield* Effect.forkDetach(
        Effect.flatMap(
          Scope.provide(pool.acquire(), scope),
          (connection) => Effect.as(Effect.sleep("1 hour"), connection)
        )
      )
      const inTime = yield* Scope.make()
      yield* Scope.provide(pool.acquire(), inTime)
      const user = yield* borrow(pool)
      yield* settle
      const closing = yield* Effect.forkChild(pool.shutdown())
      yield* TestClock.adjust("9 seconds")
      assert.deepStrictEqual(yield* shape(pool), { inUse: 3 })
      yield* Scope.close(inTime, Exit.void)
      yield* TestClock.adjust("1 second")
      assert.deepStrictEqual(yield* Fiber.join(closing), {
        returned: 1,
        interrupted: 1,
        revoked: 1,
        abandoned: [],
        closeTimeouts: 0
      })
      const exit = yield* Fiber.await(user.fiber)
      assert.isTrue(Exit.isFailure(exit) && Cause.hasInterruptsOnly(exit.cause))
      assert.isUndefined(taker.pollUnsafe())
      yield* TestClock.adjust("1 hour")
      const connection = yield* Fiber.join(taker)
      yield* PoolAssert.failsWith(connection.run, "LeaseExpiredError")
      yield* Scope.close(scope, Exit.void)
      assert.deepStrictEqual(yield* faulty.violations, [])
      const { checkouts, returns, total } = yield* pool.stats
      assert.deepStrictEqual({ checkouts, returns, total }, { checkouts: 3, returns: 3, total: 0 })
    }))

  it.effect("does not count the lease of a fiber that the runtime dropped", () =>
    Effect.gen(function*() {
      const { pool } = yield* make({ max: 1, drainTimeout: "10 seconds" })
      const wrong = Effect.flatMap(Effect.void, () => undefined as unknown as Effect.Effect<void>)
      yield* Fiber.await(yield* Effect.forkDetach(pool.use(() => wrong)))
      assert.deepStrictEqual(yield* pool.shutdown(), nobody)
    }))

  it.effect("tells a caller who was granted a connection that never reached it", () =>
    Effect.gen(function*() {
      const { faulty, pool } = yield* make({ max: 1, closeTimeout: "1 second" })
      const holder = yield* borrow(pool)
      const waiting = yield* Effect.forkDetach(Effect.uninterruptible(Effect.exit(pool.use(() => Effect.never))))
      yield* settle
      yield* holder.giveBack
      const closing = yield* Effect.forkChild(pool.shutdown())
      yield* TestClock.adjust("2 seconds")
      assert.deepStrictEqual(yield* Fiber.join(closing), { ...nobody, interrupted: 1 })
      assert.isUndefined(waiting.pollUnsafe())
      assert.strictEqual((yield* faulty.counters).closed, 1)
    }))
})
