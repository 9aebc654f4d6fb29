import { assert, describe, it } from "@effect/vitest"
import { Cause, Effect, Exit, Fiber, Scheduler, Scope } from "effect"
import { ConnectionPool, PoolError } from "effect-connection-pool"
import { FaultyFactory, PoolAssert } from "effect-connection-pool/testing"
import { TestClock } from "effect/testing"
import { vi } from "vitest"
import { borrow, make, type Pool, settle, shape } from "./support/pools.ts"

const nobody = { returned: 0, interrupted: 0, revoked: 0, abandoned: [], closeTimeouts: 0 }

describe("shutdown", () => {
  it.effect("of an idle pool closes all connections and is done", () =>
    Effect.gen(function*() {
      const { faulty, pool } = yield* make({ min: 3, max: 3 })
      assert.deepStrictEqual(yield* pool.shutdown(), nobody)
      assert.strictEqual((yield* faulty.counters).closed, 3)
      assert.deepStrictEqual(yield* shape(pool), {})
    }))

  it.effect("refuses new callers, and callers in line at once", () =>
    Effect.gen(function*() {
      const { pool } = yield* make({ max: 1, name: "orders" })
      const lease = yield* borrow(pool)
      const waiting = yield* Effect.forkChild(
        Effect.all(
          [pool.use(() => Effect.void), pool.useSync(() => 1), Effect.scoped(pool.acquire())].map((acquire) =>
            PoolAssert.failsWith(Effect.asVoid(acquire), "PoolClosedError")
          ),
          { concurrency: "unbounded" }
        )
      )
      yield* settle
      const closing = yield* Effect.forkChild(pool.shutdown({ drainTimeout: "1 minute" }))
      yield* settle
      const wayOut =
        "and does not lend any more: ask before its shutdown begins, or let its scope or layer live for longer"
      for (const error of yield* Fiber.join(waiting)) {
        assert.strictEqual(error.message, `pool "orders" is shutting down ${wayOut}`)
      }
      yield* PoolAssert.failsWith(pool.use(() => Effect.void), "PoolClosedError")
      assert.isUndefined(closing.pollUnsafe())
      yield* lease.giveBack
      assert.deepStrictEqual(yield* Fiber.join(closing), { ...nobody, returned: 1 })
      const late = yield* PoolAssert.failsWith(pool.use(() => Effect.void), "PoolClosedError")
      assert.strictEqual(late.message, `pool "orders" is closed ${wayOut}`)
      assert.strictEqual((yield* pool.stats).refused, 5)
    }))

  it.effect("whose options name no deadline waits for the drainTimeout of the pool", () =>
    Effect.gen(function*() {
      const { pool } = yield* make({ max: 1, drainTimeout: "5 seconds" })
      yield* borrow(pool)
      const closing = yield* Effect.forkChild(pool.shutdown({}))
      yield* TestClock.adjust("4999 millis")
      assert.isUndefined(closing.pollUnsafe())
      yield* TestClock.adjust("1 millis")
      assert.deepStrictEqual(yield* Fiber.join(closing), { ...nobody, interrupted: 1 })
    }))

  it.effect("ends in bounded time with everything hanging at once", () =>
    Effect.gen(function*() {
      const { faulty, pool } = yield* make({
        max: 5,
        drainTimeout: "10 seconds",
        closeTimeout: "5 seconds",
        connectTimeout: "1 hour",
        validateTimeout: "1 hour",
        resetTimeout: "1 hour"
      })
      const leases = yield* Effect.forEach([1, 2, 3, 4], () => borrow(pool))
      yield* leases[0]!.giveBack
      yield* TestClock.adjust("2 seconds")
      yield* Effect.all([
        faulty.connect.hang(9, { uninterruptible: true }),
        faulty.validate.hang(9, { uninterruptible: true }),
        faulty.disconnect.hang(9, { uninterruptible: true })
      ])
      yield* borrow(pool)
      yield* borrow(pool)
      yield* faulty.reset.hang(9, { uninterruptible: true })
      yield* leases[1]!.giveBack
      yield* Effect.forkDetach(Effect.uninterruptible(pool.use(() => Effect.never)))
      yield* settle
      assert.deepStrictEqual(yield* shape(pool), {
        connecting: 1,
        validating: 1,
        inUse: 2,
        resetting: 1,
        waiting: 3
      })
      const closing = yield* Effect.forkChild(pool.shutdown())
      yield* TestClock.adjust("10 seconds")
      yield* TestClock.adjust("5 seconds")
      yield* TestClock.adjust("5 seconds")
      const report = yield* Fiber.join(closing)
      assert.deepStrictEqual(report, { returned: 0, interrupted: 2, revoked: 0, abandoned: [], closeTimeouts: 5 })
      assert.deepStrictEqual(yield* shape(pool), {})
    }))

  it.effect("waits until a connect that cannot be interrupted has ended, and closes what it opened", () =>
    Effect.gen(function*() {
      const { faulty, pool } = yield* make({ max: 1 })
      yield* faulty.connect.hold
      const waiting = yield* borrow(pool)
      const closing = yield* Effect.forkChild(pool.shutdown())
      yield* settle
      assert.isDefined(waiting.fiber.pollUnsafe())
      assert.deepStrictEqual(yield* shape(pool), { closing: 1 })
      assert.isUndefined(closing.pollUnsafe())
      yield* faulty.connect.open
      assert.deepStrictEqual(yield* Fiber.join(closing), nobody)
      const { closed, opened } = yield* faulty.counters
      assert.deepStrictEqual([opened, closed], [1, 1])
      const stats = yield* pool.stats
      assert.deepStrictEqual([stats.connectAttempts, stats.connects, stats.connectFailures], [1, 0, 1])
    }))

  it.effect("reports connections that would not close", () =>
    Effect.gen(function*() {
      const { faulty, pool } = yield* make({ min: 3, max: 3, closeTimeout: "5 seconds" })
      yield* faulty.disconnect.hang(2)
      const closing = yield* Effect.forkChild(pool.shutdown())
      yield* TestClock.adjust("5 seconds")
      assert.deepStrictEqual(yield* Fiber.join(closing), { ...nobody, closeTimeouts: 2 })
      assert.strictEqual((yield* faulty.counters).closed, 1)
    }))

  it.effect("does not report connections that did not close before it began", () =>
    Effect.gen(function*() {
      const { faulty, pool } = yield* make({ min: 1, max: 1, closeTimeout: "5 seconds" })
      yield* faulty.disconnect.hang()
      yield* pool.recycle
      yield* TestClock.adjust("5 seconds")
      assert.strictEqual((yield* pool.stats).closeTimeouts, 1)
      assert.deepStrictEqual(yield* pool.shutdown(), nobody)
    }))

  it.effect("may be called again, during and after", () =>
    Effect.gen(function*() {
      const { faulty, pool } = yield* make({ max: 1 })
      const lease = yield* borrow(pool)
      const first = yield* Effect.forkChild(pool.shutdown({ drainTimeout: "1 minute" }))
      yield* settle
      const second = yield* Effect.forkChild(pool.shutdown())
      yield* settle
      yield* lease.giveBack
      const report = { ...nobody, returned: 1 }
      assert.deepStrictEqual(
        [yield* Fiber.join(first), yield* Fiber.join(second), yield* pool.shutdown()],
        [report, report, report]
      )
      assert.strictEqual((yield* faulty.counters).closed, 1)
    }))

  it.effect("goes on when its caller is interrupted", () =>
    Effect.gen(function*() {
      const { faulty, pool } = yield* make({ max: 1 })
      const lease = yield* borrow(pool)
      const first = yield* Effect.forkChild(pool.shutdown({ drainTimeout: "1 minute" }))
      yield* settle
      yield* Fiber.interrupt(first)
      yield* PoolAssert.failsWith(pool.use(() => Effect.void), "PoolClosedError")
      yield* lease.giveBack
      assert.deepStrictEqual(yield* pool.shutdown(), { ...nobody, returned: 1 })
      assert.strictEqual((yield* faulty.counters).closed, 1)
    }))

  it.effect("with a drain timeout of zero interrupts at once", () =>
    Effect.gen(function*() {
      const { pool } = yield* make({ max: 2, drainTimeout: "1 hour" })
      yield* borrow(pool)
      yield* borrow(pool)
      const closing = yield* Effect.forkChild(pool.shutdown({ drainTimeout: 0 }))
      yield* TestClock.adjust(0)
      assert.deepStrictEqual(yield* Fiber.join(closing), { ...nobody, interrupted: 2 })
    }))

  it.effect("ends although an observer of a fiber that it interrupts throws", () =>
    Effect.gen(function*() {
      const { faulty, pool } = yield* make({ max: 1 })
      const thrown = yield* Effect.sync(() => {
        const seen: Array<unknown> = []
        const later = vi.spyOn(globalThis, "queueMicrotask").mockImplementation((f) => {
          try {
            f()
          } catch (error) {
            seen.push(error)
          }
        })
        return { seen, restore: () => later.mockRestore() }
      })
      yield* Effect.addFinalizer(() => Effect.sync(thrown.restore))
      const boom = new Error("boom")
      const holder = yield* Effect.forkDetach(pool.use(() => Effect.never))
      yield* settle
      holder.addObserver(() => {
        throw boom
      })
      assert.deepStrictEqual(yield* pool.shutdown(), {
        returned: 0,
        interrupted: 1,
        revoked: 0,
        abandoned: [],
        closeTimeouts: 0
      })
      assert.deepStrictEqual(thrown.seen, [boom])
      assert.deepStrictEqual(yield* shape(pool), {})
      assert.strictEqual((yield* faulty.counters).closed, 1)
    }))

  it.effect("of a pool that is still starting ends the start", () =>
    Effect.gen(function*() {
      const faulty = yield* FaultyFactory.make({ interruptibleConnect: true })
      yield* faulty.connect.hold
      const scope = yield* Scope.make()
      const starting = yield* Effect.forkDetach(
        Scope.provide(ConnectionPool.make({ factory: faulty.factory, min: 1, acquireTimeout: "Infinity" }), scope)
      )
      yield* settle
      yield* Scope.close(scope, Exit.void)
      const exit = yield* Fiber.await(starting)
      assert.isTrue(Exit.isFailure(exit) && Cause.hasInterruptsOnly(exit.cause))
      const { closed, opened } = yield* faulty.counters
      assert.strictEqual(closed, opened)
    }))

  it.effect("is what the end of the scope does", () =>
    Effect.gen(function*() {
      const faulty = yield* FaultyFactory.make()
      const scope = yield* Scope.make()
      const pool = yield* Scope.provide(
        ConnectionPool.make({ factory: faulty.factory, min: 2, drainTimeout: "3 seconds" }),
        scope
      )
      const lease = yield* borrow(pool)
      const closing = yield* Effect.forkChild(Scope.close(scope, Exit.void))
      yield* settle
      assert.isUndefined(closing.pollUnsafe())
      yield* TestClock.adjust("3 seconds")
      yield* Fiber.join(closing)
      const exit = yield* Fiber.await(lease.fiber)
      assert.isTrue(Exit.isFailure(exit) && Cause.hasInterruptsOnly(exit.cause))
      const { closed, opened } = yield* faulty.counters
      assert.deepStrictEqual([opened, closed], [2, 2])
      yield* PoolAssert.failsWith(pool.use(() => Effect.void), "PoolClosedError")
    }))

  it.effect("shows true numbers on its way", () =>
    Effect.gen(function*() {
      const { faulty, pool } = yield* make({ max: 3 })
      const leases = yield* Effect.forEach([1, 2, 3], () => borrow(pool))
      yield* leases[0]!.giveBack
      yield* faulty.disconnect.hold
      const closing = yield* Effect.forkChild(pool.shutdown({ drainTimeout: "1 minute" }))
      yield* settle
      assert.deepStrictEqual(yield* shape(pool), { inUse: 2, closing: 1 })
      yield* leases[1]!.giveBack
      assert.deepStrictEqual(yield* shape(pool), { inUse: 1, closing: 2 })
      yield* PoolAssert.addUp(faulty, pool)
      yield* faulty.disconnect.open
      yield* settle
      assert.deepStrictEqual(yield* shape(pool), { inUse: 1 })
      yield* leases[2]!.giveBack
      assert.deepStrictEqual(yield* Fiber.join(closing), { ...nobody, returned: 3 - 1 })
      const stats = yield* pool.stats
      assert.deepStrictEqual([stats.total, stats.connects, stats.disconnects], [0, 3, 3])
    }))

  const calls = {
    use: (pool: Pool, body: Effect.Effect<void>) => pool.use(() => body),
    useSync: (pool: Pool, body: Effect.Effect<void>) => pool.useSync(() => Effect.runSync(body)),
    acquire: (pool: Pool, body: Effect.Effect<void>) => Effect.scoped(Effect.tap(pool.acquire(), () => body))
  }

  for (const [name, call] of Object.entries(calls)) {
    it.effect(`takes back a connection that was granted to a caller that has not gone on yet (${name})`, () =>
      Effect.gen(function*() {
        const { pool } = yield* make({ max: 1, drainTimeout: "1 second", closeTimeout: "1 second" })
        // The fiber is woken, but has to let others go first until it is told to go on.
        let isHeld = false
        const held: Array<() => void> = []
        const scheduler: Scheduler.Scheduler = {
          executionMode: "async",
          shouldYield: () => isHeld,
          makeDispatcher: () => ({
            scheduleTask: (task) => void (isHeld ? held.push(task) : setImmediate(task)),
            flush: () => {}
          })
        }
        let ran = false
        const body = Effect.sync(() => {
          ran = true
        })
        let exit: Exit.Exit<unknown, unknown> | undefined
        const caller = Effect.map(Effect.exit(call(pool, body)), (ended) => {
          exit = ended
        })
        const holder = yield* borrow(pool)
        yield* Effect.forkDetach(
          Effect.provideService(Effect.uninterruptible(caller), Scheduler.Scheduler, scheduler)
        )
        yield* settle
        isHeld = true
        yield* holder.giveBack
        yield* settle
        assert.strictEqual(held.length, 1)
        const closing = yield* Effect.forkChild(pool.shutdown())
        yield* TestClock.adjust("3 seconds")
        yield* Fiber.join(closing)
        isHeld = false
        for (const task of held) task()
        yield* settle
        assert.deepStrictEqual(
          yield* Effect.flip(exit!),
          new PoolError.PoolClosedError({ pool: "pool", phase: "closed" })
        )
        assert.isFalse(ran)
      }))
  }
})
