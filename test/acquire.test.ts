import { assert, describe, it } from "@effect/vitest"
import { Cause, Effect, Exit, Fiber, Latch, Option, Result, Scheduler, Scope } from "effect"
import { ConnectionPool, PoolError } from "effect-connection-pool"
import { FaultyFactory, PoolAssert } from "effect-connection-pool/testing"
import { TestClock } from "effect/testing"
import { borrow, make, settle, shape } from "./support/pools.ts"

describe("lending", () => {
  it.effect("opens a connection for the first caller and lends it again to the next", () =>
    Effect.gen(function*() {
      const { faulty, pool } = yield* make({ max: 5 })
      assert.strictEqual(yield* pool.use((connection) => Effect.succeed(connection.id)), 1)
      assert.strictEqual(yield* pool.use((connection) => Effect.succeed(connection.id)), 1)
      assert.strictEqual((yield* faulty.counters).opened, 1)
      yield* PoolAssert.nothingLeaked(faulty, pool)
    }))

  it.effect("lends the connection returned last", () =>
    Effect.gen(function*() {
      const { pool } = yield* make({ max: 3 })
      const [first, second, third] = yield* Effect.all([borrow(pool), borrow(pool), borrow(pool)])
      yield* second.giveBack
      yield* first.giveBack
      yield* third.giveBack
      const order = [yield* borrow(pool), yield* borrow(pool), yield* borrow(pool)]
      assert.deepStrictEqual(order.map((lease) => lease.connection?.id), [3, 1, 2])
    }))

  it.effect("serves those who wait in the order in which they came, whoever gives up in between", () =>
    Effect.gen(function*() {
      const { faulty, pool } = yield* make({ max: 1 })
      const holder = yield* borrow(pool)
      const order: Array<number> = []
      const callers: Array<Fiber.Fiber<number, unknown>> = []
      for (let caller = 0; caller < 20; caller++) {
        callers.push(yield* Effect.forkChild(pool.use(() => Effect.sync(() => order.push(caller)))))
        yield* settle
      }
      for (const caller of [3, 4, 0, 19, 10]) yield* Fiber.interrupt(callers[caller]!)
      assert.deepStrictEqual(yield* shape(pool), { inUse: 1, waiting: 15 })
      yield* holder.giveBack
      yield* Fiber.awaitAll(callers)
      assert.deepStrictEqual(order, [1, 2, 5, 6, 7, 8, 9, 11, 12, 13, 14, 15, 16, 17, 18])
      yield* PoolAssert.nothingLeaked(faulty, pool)
    }))

  it.effect("never lets a newcomer overtake those who wait", () =>
    Effect.gen(function*() {
      const { pool } = yield* make({ max: 1 })
      const holder = yield* borrow(pool)
      const first = yield* borrow(pool)
      const order: Array<string> = []
      // The one who returns it asks again in the same step.
      yield* Effect.forkChild(
        Effect.andThen(holder.giveBack, pool.use(() => Effect.sync(() => order.push("newcomer"))))
      )
      yield* settle
      assert.isDefined(first.connection)
      order.push("first")
      yield* first.giveBack
      yield* settle
      assert.deepStrictEqual(order, ["first", "newcomer"])
    }))

  it.effect("hands a returned connection straight to the first in line", () =>
    Effect.gen(function*() {
      const { pool } = yield* make({ max: 1 })
      const holder = yield* borrow(pool)
      const next = yield* borrow(pool)
      yield* holder.giveBack
      assert.deepStrictEqual(yield* shape(pool), { inUse: 1 })
      assert.strictEqual(next.connection?.id, 1)
    }))

  it.effect("serves a caller from a return while a connection is being opened for it", () =>
    Effect.gen(function*() {
      const { faulty, pool } = yield* make({ max: 2 })
      const holder = yield* borrow(pool)
      yield* faulty.connect.hold
      const caller = yield* borrow(pool)
      assert.deepStrictEqual(yield* shape(pool), { connecting: 1, inUse: 1, waiting: 1 })
      yield* holder.giveBack
      assert.strictEqual(caller.connection?.id, 1)
      yield* faulty.connect.open
      yield* settle
      assert.deepStrictEqual(yield* shape(pool), { idle: 1, inUse: 1 })
    }))

  it.effect("drains ten thousand callers through four connections on a flat stack", () =>
    Effect.gen(function*() {
      const { faulty, pool } = yield* make({ max: 4, min: 4 })
      const order: Array<number> = []
      yield* Effect.forEach(
        Array.from({ length: 10_000 }, (_, caller) => caller),
        (caller) => pool.use(() => Effect.sync(() => order.push(caller))),
        { concurrency: "unbounded", discard: true }
      )
      assert.deepStrictEqual(order, order.toSorted((a, b) => a - b))
      const stats = yield* pool.stats
      assert.strictEqual(stats.checkouts, 10_000)
      assert.strictEqual(stats.returns, 10_000)
      yield* PoolAssert.nothingLeaked(faulty, pool)
    }))

  it.effect("lets the event loop have its turn while a long line is served", () =>
    Effect.gen(function*() {
      const { pool } = yield* make({ max: 1, min: 1 })
      const holder = yield* borrow(pool)
      const served: Array<number> = []
      const callers: Array<Fiber.Fiber<void, unknown>> = []
      for (let caller = 0; caller < 1000; caller++) {
        callers.push(yield* Effect.forkChild(pool.use(() => Effect.sync(() => void served.push(caller)))))
      }
      yield* settle
      yield* holder.giveBack
      // The one who returned the connection goes on long before the last of them is served.
      assert.isAbove(served.length, 0)
      assert.isBelow(served.length, 500)
      yield* Fiber.joinAll(callers)
      assert.strictEqual(served.length, 1000)
    }))
})

describe("the deadline of an acquire", () => {
  it.effect("covers the queue", () =>
    Effect.gen(function*() {
      const { faulty, pool } = yield* make({ max: 1, name: "orders", acquireTimeout: "2 seconds" })
      const holder = yield* borrow(pool, { label: "report" })
      yield* TestClock.adjust("5 seconds")
      const caller = yield* Effect.forkChild(PoolAssert.failsWith(pool.use(() => Effect.void), "AcquireTimeoutError"))
      yield* settle
      yield* TestClock.adjust("1999 millis")
      assert.isUndefined(caller.pollUnsafe())
      yield* TestClock.adjust("1 millis")
      const error = yield* Fiber.join(caller)
      assert.deepStrictEqual(
        { ...error },
        {
          ...new PoolError.AcquireTimeoutError({
            pool: "orders",
            phase: "queue",
            waitedMillis: 2000,
            timeoutMillis: 2000,
            occupancy: {
              max: 1,
              total: 1,
              connecting: 0,
              idle: 0,
              validating: 0,
              inUse: 1,
              resetting: 0,
              closing: 0,
              waiting: 1
            },
            holders: [{ connection: 1, label: "report", fiber: holder.fiber.id, heldMillis: 7000 }]
          })
        }
      )
      assert.strictEqual(
        error.message,
        `pool "orders": no connection within 2000 ms, waiting for one to be returned (1 of 1 in use, 1 waiting); ` +
          `held longest by report #${holder.fiber.id} for 7000 ms`
      )
      yield* holder.giveBack
      yield* PoolAssert.nothingLeaked(faulty, pool)
    }))

  it.effect("covers connecting, and names the last failure", () =>
    Effect.gen(function*() {
      const { faulty, pool } = yield* make({ max: 1, acquireTimeout: "2 seconds", connectTimeout: "1 minute" })
      yield* faulty.connect.fail(1, { transient: true })
      const caller = yield* Effect.forkChild(PoolAssert.failsWith(pool.use(() => Effect.void), "AcquireTimeoutError"))
      yield* settle
      yield* faulty.connect.hold
      yield* TestClock.adjust("2 seconds")
      const error = yield* Fiber.join(caller)
      assert.strictEqual(error.phase, "connect")
      assert.strictEqual(error.waitedMillis, 2000)
      assert.deepStrictEqual(
        error.lastConnectError,
        new FaultyFactory.FaultyError({ operation: "connect", connection: 1, isTransient: true })
      )
      assert.include(error.message, "the last attempt to connect failed: FaultyError: connect of connection 1")
      yield* faulty.connect.open
      yield* PoolAssert.nothingLeaked(faulty, pool)
    }))

  it.effect("covers the pause between two attempts to connect", () =>
    Effect.gen(function*() {
      const { faulty, pool } = yield* make({ max: 1, acquireTimeout: "50 millis", connectBackoff: "1 second" })
      yield* faulty.connect.fail(1, { transient: true })
      const caller = yield* Effect.forkChild(PoolAssert.failsWith(pool.use(() => Effect.void), "AcquireTimeoutError"))
      yield* settle
      yield* TestClock.adjust("50 millis")
      assert.strictEqual((yield* Fiber.join(caller)).phase, "connect")
    }))

  it.effect("covers validating", () =>
    Effect.gen(function*() {
      const { faulty, pool } = yield* make({ max: 1, acquireTimeout: "2 seconds", validateTimeout: "1 minute" })
      yield* pool.use(() => Effect.void)
      yield* TestClock.adjust("10 seconds")
      yield* faulty.validate.hold
      const caller = yield* Effect.forkChild(PoolAssert.failsWith(pool.use(() => Effect.void), "AcquireTimeoutError"))
      yield* settle
      yield* TestClock.adjust("2 seconds")
      assert.strictEqual((yield* Fiber.join(caller)).phase, "validate")
      yield* faulty.validate.open
      yield* PoolAssert.nothingLeaked(faulty, pool)
    }))

  it.effect("covers one validation after the other that fails", () =>
    Effect.gen(function*() {
      const { faulty, pool } = yield* make({ max: 1, acquireTimeout: "2 seconds", validateAfterIdle: 0 })
      yield* faulty.validate.fail(1000)
      yield* faulty.validate.delay("300 millis")
      const caller = yield* Effect.forkChild(PoolAssert.failsWith(pool.use(() => Effect.void), "AcquireTimeoutError"))
      yield* settle
      yield* TestClock.adjust("2 seconds")
      const error = yield* Fiber.join(caller)
      assert.strictEqual(error.waitedMillis, 2000)
      assert.strictEqual(error.phase, "validate")
      assert.isAbove((yield* pool.stats).evictions.invalid, 3)
    }))

  it.effect("covers resetting", () =>
    Effect.gen(function*() {
      const { faulty, pool } = yield* make({ max: 1, acquireTimeout: "2 seconds", resetTimeout: "1 minute" })
      yield* faulty.reset.hold
      yield* pool.use((connection) => connection.soil)
      const caller = yield* Effect.forkChild(PoolAssert.failsWith(pool.use(() => Effect.void), "AcquireTimeoutError"))
      yield* settle
      yield* TestClock.adjust("2 seconds")
      assert.strictEqual((yield* Fiber.join(caller)).phase, "reset")
      yield* faulty.reset.open
      yield* PoolAssert.nothingLeaked(faulty, pool)
    }))

  it.effect("covers a pause", () =>
    Effect.gen(function*() {
      const { pool } = yield* make({ acquireTimeout: "2 seconds" })
      yield* pool.pause
      const caller = yield* Effect.forkChild(PoolAssert.failsWith(pool.use(() => Effect.void), "AcquireTimeoutError"))
      yield* settle
      yield* TestClock.adjust("2 seconds")
      assert.strictEqual((yield* Fiber.join(caller)).phase, "pause")
    }))

  it.effect("names what each caller in line was waiting for", () =>
    Effect.gen(function*() {
      const { faulty, pool } = yield* make({
        max: 5,
        acquireTimeout: "10 seconds",
        connectTimeout: "1 minute",
        validateTimeout: "1 minute",
        resetTimeout: "1 minute"
      })
      const leases = [yield* borrow(pool), yield* borrow(pool), yield* borrow(pool)]
      yield* leases[0]!.giveBack
      yield* TestClock.adjust("2 seconds")
      yield* leases[1]!.connection!.soil
      yield* Effect.all([faulty.connect.hold, faulty.validate.hold, faulty.reset.hold])
      yield* leases[1]!.giveBack
      const callers: Array<Fiber.Fiber<PoolError.AcquireTimeoutError>> = []
      for (let caller = 0; caller < 6; caller++) {
        callers.push(
          yield* Effect.forkChild(PoolAssert.failsWith(pool.use(() => Effect.never), "AcquireTimeoutError"))
        )
        yield* settle
      }
      assert.deepStrictEqual(yield* shape(pool), {
        connecting: 2,
        validating: 1,
        inUse: 1,
        resetting: 1,
        waiting: 6
      })
      yield* TestClock.adjust("10 seconds")
      const errors = yield* Fiber.joinAll(callers)
      assert.deepStrictEqual(
        errors.map((error) => error.phase),
        ["validate", "reset", "connect", "connect", "queue", "queue"]
      )
      yield* Effect.all([faulty.connect.open, faulty.validate.open, faulty.reset.open])
      yield* leases[2]!.giveBack
      yield* PoolAssert.nothingLeaked(faulty, pool)
    }))

  it.effect("can be another one for each call, in any order", () =>
    Effect.gen(function*() {
      const { faulty, pool } = yield* make({ max: 1, acquireTimeout: "10 seconds" })
      const holder = yield* borrow(pool)
      const failed: Array<string> = []
      const wait = (timeout: string) =>
        Effect.forkChild(
          Effect.catch(
            pool.use(() => Effect.void, { timeout: timeout as "1 second" }),
            () => Effect.sync(() => void failed.push(timeout))
          )
        )
      const callers = [
        yield* wait("5 seconds"),
        yield* wait("1 second"),
        yield* wait("3 seconds"),
        yield* wait("0.5 seconds"),
        yield* wait("Infinity")
      ]
      yield* settle
      for (
        const expected of [
          ["0.5 seconds"],
          ["0.5 seconds", "1 second"],
          ["0.5 seconds", "1 second", "3 seconds"],
          ["0.5 seconds", "1 second", "3 seconds", "5 seconds"]
        ]
      ) {
        yield* TestClock.adjust(expected.at(-1) as "1 second")
        yield* settle
        assert.deepStrictEqual(failed.slice(0, expected.length), expected)
      }
      yield* TestClock.adjust("1 day")
      assert.strictEqual(failed.length, 4)
      yield* holder.giveBack
      yield* Fiber.joinAll(callers)
      assert.strictEqual((yield* pool.stats).timeouts, 4)
      yield* PoolAssert.nothingLeaked(faulty, pool)
    }))

  it.effect("of zero takes what can be had without waiting, or fails at once", () =>
    Effect.gen(function*() {
      const { faulty, pool } = yield* make({ max: 1 })
      // Connecting takes no time here.
      yield* pool.use(() => Effect.void, { timeout: 0 })
      const holder = yield* borrow(pool)
      for (const timeout of [0, "0 seconds"] as const) {
        const error = yield* PoolAssert.failsWith(pool.use(() => Effect.void, { timeout }), "AcquireTimeoutError")
        assert.deepStrictEqual([error.waitedMillis, error.timeoutMillis], [0, 0])
      }
      // Not a turn later.
      const hasty = yield* Effect.forkChild(pool.use(() => Effect.void, { timeout: 0 }), { startImmediately: true })
      assert.isTrue(Exit.isFailure(hasty.pollUnsafe()!))
      yield* holder.giveBack
      yield* pool.use(() => Effect.void, { timeout: 0 })
      yield* PoolAssert.nothingLeaked(faulty, pool)
    }))

  it.effect("may be a fraction of a millisecond", () =>
    Effect.gen(function*() {
      const { pool } = yield* make({ max: 1 })
      yield* borrow(pool)
      const caller = yield* Effect.forkChild(Effect.result(pool.use(() => Effect.void, { timeout: "0.5 millis" })))
      yield* settle
      assert.isUndefined(caller.pollUnsafe())
      yield* TestClock.adjust("0.5 millis")
      assert.isTrue(Result.isFailure(yield* Fiber.join(caller)))
    }))

  it.effect("is not spent by those who were served before it", () =>
    Effect.gen(function*() {
      const { pool } = yield* make({ max: 1, acquireTimeout: "2 seconds" })
      const holder = yield* borrow(pool)
      const caller = yield* borrow(pool)
      yield* TestClock.adjust("1 second")
      yield* holder.giveBack
      yield* TestClock.adjust("1 hour")
      assert.isUndefined(caller.fiber.pollUnsafe())
      assert.strictEqual((yield* pool.stats).timeouts, 0)
    }))

  it.effect("passes for many at once, each told so exactly once", () =>
    Effect.gen(function*() {
      const { faulty, pool } = yield* make({ max: 2, acquireTimeout: "1 second" })
      const holders = [yield* borrow(pool), yield* borrow(pool)]
      const callers = yield* Effect.forkChild(
        Effect.forEach(
          Array.from({ length: 1000 }),
          () => PoolAssert.failsWith(pool.use(() => Effect.void), "AcquireTimeoutError"),
          { concurrency: "unbounded" }
        )
      )
      yield* settle
      yield* TestClock.adjust("1 second")
      assert.strictEqual((yield* Fiber.join(callers)).length, 1000)
      const stats = yield* pool.stats
      assert.deepStrictEqual([stats.timeouts, stats.waiting], [1000, 0])
      for (const holder of holders) yield* holder.giveBack
      yield* PoolAssert.nothingLeaked(faulty, pool)
    }))
})

describe("the bound of the line", () => {
  it.effect("refuses one more at once", () =>
    Effect.gen(function*() {
      const { faulty, pool } = yield* make({ max: 1, maxWaiting: 10, name: "orders" })
      const holder = yield* borrow(pool)
      const callers: Array<Fiber.Fiber<void, unknown>> = []
      for (let caller = 0; caller < 10; caller++) callers.push(yield* Effect.forkChild(pool.use(() => Effect.void)))
      yield* settle
      const error = yield* PoolAssert.failsWith(pool.use(() => Effect.void), "QueueFullError")
      assert.strictEqual(error.maxWaiting, 10)
      assert.strictEqual(error.occupancy.waiting, 10)
      assert.strictEqual(
        error.message,
        `pool "orders": 10 callers wait already, which is maxWaiting (1 of 1 in use, 10 waiting)`
      )
      yield* PoolAssert.failsWith(pool.useSync(() => 1), "QueueFullError")
      yield* PoolAssert.failsWith(Effect.scoped(pool.acquire()), "QueueFullError")
      assert.strictEqual((yield* pool.stats).refused, 3)
      yield* holder.giveBack
      yield* Fiber.joinAll(callers)
      yield* PoolAssert.nothingLeaked(faulty, pool)
    }))

  it.effect("counts those whose connection is being opened", () =>
    Effect.gen(function*() {
      const { faulty, pool } = yield* make({ max: 5, maxWaiting: 2 })
      yield* faulty.connect.hold
      yield* borrow(pool)
      yield* borrow(pool)
      yield* PoolAssert.failsWith(pool.use(() => Effect.void), "QueueFullError")
      yield* faulty.connect.open
    }))
})

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
          "use the connection it has, return one first, or raise max (2)"
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

  it.effect("that is not certain is told by the timeout: how many leases the fiber holds itself", () =>
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

  it.effect("is none either if that one has come later", () =>
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

  it.effect("is none while one is on its way back that takes the place of one that leaves", () =>
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

describe("an interrupted caller", () => {
  it.effect("leaves the line, and costs no connection", () =>
    Effect.gen(function*() {
      const { faulty, pool } = yield* make({ max: 1 })
      const holder = yield* borrow(pool)
      const caller = yield* Effect.forkChild(pool.use(() => Effect.void))
      yield* settle
      yield* Fiber.interrupt(caller)
      assert.deepStrictEqual(yield* shape(pool), { inUse: 1 })
      yield* holder.giveBack
      const stats = yield* pool.stats
      assert.deepStrictEqual([stats.cancelled, stats.checkouts], [1, 1])
      yield* PoolAssert.nothingLeaked(faulty, pool)
    }))

  it.effect("passes on what it had been granted", () =>
    Effect.gen(function*() {
      const { faulty, pool } = yield* make({ max: 100 })
      const holders = yield* Effect.forEach(Array.from({ length: 100 }), () => borrow(pool))
      const served: Array<number> = []
      const callers: Array<Fiber.Fiber<unknown, unknown>> = []
      for (let caller = 0; caller < 110; caller++) {
        callers.push(
          yield* Effect.forkDetach(pool.use(() => Effect.andThen(Effect.sync(() => served.push(caller)), Effect.never)))
        )
      }
      yield* settle
      // A hundred are granted a connection in one turn, in which only some of them are woken.
      yield* Effect.sync(() => {
        for (const holder of holders) holder.fiber.interruptUnsafe()
        assert.isAbove(served.length, 0)
        assert.isBelow(served.length, 90)
        for (let caller = 90; caller < 100; caller++) callers[caller]!.interruptUnsafe()
      })
      yield* settle
      const expected = Array.from({ length: 110 }, (_, caller) => caller).filter((caller) =>
        caller < 90 || caller >= 100
      )
      assert.deepStrictEqual(served, expected)
      const stats = yield* pool.stats
      assert.deepStrictEqual([stats.cancelled, stats.inUse, stats.waiting], [10, 100, 0])
      for (const caller of callers) yield* Fiber.interrupt(caller)
      yield* PoolAssert.nothingLeaked(faulty, pool)
    }))

  it.effect("leaves its connection to whoever waits next, once it is open", () =>
    Effect.gen(function*() {
      const { faulty, pool } = yield* make({ max: 1 })
      yield* faulty.connect.delay("100 millis")
      for (let caller = 0; caller < 4; caller++) {
        const waiting = yield* Effect.forkChild(
          PoolAssert.failsWith(pool.use(() => Effect.void, { timeout: "20 millis" }), "AcquireTimeoutError")
        )
        yield* settle
        yield* TestClock.adjust("20 millis")
        yield* Fiber.join(waiting)
      }
      const last = yield* Effect.forkChild(pool.use(() => Effect.void, { timeout: "21 millis" }))
      yield* settle
      yield* TestClock.adjust("20 millis")
      yield* Fiber.join(last)
      assert.strictEqual((yield* faulty.counters).attempts, 1)
      yield* faulty.connect.delay(0)
      yield* PoolAssert.nothingLeaked(faulty, pool)
    }))

  it.effect("stays interrupted, and nothing else", () =>
    Effect.gen(function*() {
      const { pool } = yield* make({ max: 1 })
      yield* borrow(pool)
      const caller = yield* Effect.forkChild(pool.use(() => Effect.void))
      yield* settle
      yield* Fiber.interrupt(caller)
      const exit = yield* Fiber.await(caller)
      assert.isTrue(Exit.isFailure(exit) && Cause.hasInterruptsOnly(exit.cause))
    }))
})

describe("the kinds of a lease", () => {
  it.effect("acquire holds a connection for its scope", () =>
    Effect.gen(function*() {
      const { faulty, pool } = yield* make({ max: 1 })
      yield* Effect.scoped(Effect.gen(function*() {
        const connection = yield* pool.acquire()
        yield* connection.run
        assert.deepStrictEqual(yield* shape(pool), { inUse: 1 })
      }))
      assert.deepStrictEqual(yield* shape(pool), { idle: 1 })
      yield* PoolAssert.nothingLeaked(faulty, pool)
    }))

  it.effect("acquire outlives the fiber that asked", () =>
    Effect.gen(function*() {
      const { pool } = yield* make({ max: 1 })
      const scope = yield* Effect.scope
      const connection = yield* Fiber.join(yield* Effect.forkChild(pool.acquire()))
      yield* settle
      yield* TestClock.adjust("2 hours")
      yield* connection.run
      assert.deepStrictEqual(yield* shape(pool), { inUse: 1 })
      assert.strictEqual(scope.state._tag, "Open")
    }))

  it.effect("acquire that fails leaves nothing in the scope", () =>
    Effect.gen(function*() {
      const { pool } = yield* make({ max: 1 })
      yield* borrow(pool)
      yield* Effect.scoped(Effect.gen(function*() {
        const scope = yield* Effect.scope
        for (let caller = 0; caller < 100; caller++) {
          yield* PoolAssert.failsWith(pool.acquire({ timeout: 0 }), "AcquireTimeoutError")
        }
        assert.strictEqual(scope.state._tag, "Empty")
      }))
    }))

  it.effect("acquire in a scope that is closed already returns the connection at once", () =>
    Effect.gen(function*() {
      const { faulty, pool } = yield* make({ max: 1 })
      const scope = yield* Effect.scoped(Effect.scope)
      const connection = yield* Effect.provideService(pool.acquire(), Scope.Scope, scope)
      yield* PoolAssert.failsWith(connection.run, "LeaseExpiredError")
      yield* PoolAssert.nothingLeaked(faulty, pool)
    }))

  it.effect("acquire in a scope that ends at any point of it keeps nothing", () =>
    Effect.gen(function*() {
      for (let budget = 3; budget < 10; budget++) {
        const { faulty, pool } = yield* make({ max: 2, min: 1 })
        for (let turns = 0; turns < 8; turns++) {
          const scope = yield* Scope.make()
          const ending = Effect.andThen(Effect.repeat(Effect.yieldNow, { times: turns }), Scope.close(scope, Exit.void))
          const end = yield* Effect.forkDetach(ending, { startImmediately: true })
          yield* Effect.provideService(Scope.provide(pool.acquire(), scope), Scheduler.MaxOpsBeforeYield, budget)
          yield* Fiber.join(end)
        }
        yield* PoolAssert.nothingLeaked(faulty, pool)
      }
    }))

  it.effect("acquire whose scope ends while it waits keeps its place, and returns what it gets at once", () =>
    Effect.gen(function*() {
      const { faulty, pool } = yield* make({ max: 1 })
      const holder = yield* borrow(pool)
      const scope = yield* Scope.make()
      const waiting = yield* Effect.forkChild(Scope.provide(pool.acquire(), scope))
      const late = yield* Effect.forkChild(Effect.flip(Scope.provide(pool.acquire({ timeout: "1 second" }), scope)))
      yield* settle
      yield* Scope.close(scope, Exit.void)
      assert.deepStrictEqual(yield* shape(pool), { inUse: 1, waiting: 2 })
      yield* TestClock.adjust("1 second")
      assert.strictEqual((yield* Fiber.join(late))._tag, "AcquireTimeoutError")
      yield* holder.giveBack
      yield* PoolAssert.failsWith((yield* Fiber.join(waiting)).run, "LeaseExpiredError")
      yield* PoolAssert.nothingLeaked(faulty, pool)
    }))

  it.effect("useSync runs a function, and waits for its turn like use", () =>
    Effect.gen(function*() {
      const { faulty, pool } = yield* make({ max: 1 })
      assert.strictEqual(yield* pool.useSync((connection) => connection.id), 1)
      const holder = yield* borrow(pool)
      const caller = yield* Effect.forkChild(pool.useSync((connection) => `connection ${connection.id}`))
      yield* settle
      yield* holder.giveBack
      assert.strictEqual(yield* Fiber.join(caller), "connection 1")
      yield* PoolAssert.nothingLeaked(faulty, pool)
    }))

  it.effect("useSync fails with what catch makes of a throw, at once or after a wait", () =>
    Effect.gen(function*() {
      const { faulty, pool } = yield* make({ max: 1 })
      const failing = pool.useSync({
        try: (): number => {
          throw new Error("no such table")
        },
        catch: (thrown) => ({ _tag: "Sql", message: (thrown as Error).message }) as const
      })
      assert.deepStrictEqual(yield* Effect.flip(failing), { _tag: "Sql", message: "no such table" })
      const holder = yield* borrow(pool)
      const caller = yield* Effect.forkChild(Effect.flip(failing))
      yield* settle
      yield* holder.giveBack
      assert.deepStrictEqual(yield* Fiber.join(caller), { _tag: "Sql", message: "no such table" })
      assert.strictEqual(yield* pool.useSync({ try: () => 5, catch: () => "never" }), 5)
      yield* PoolAssert.nothingLeaked(faulty, pool)
    }))

  it.effect("useSync that throws dies, and returns the connection", () =>
    Effect.gen(function*() {
      const { faulty, pool } = yield* make({ max: 1 })
      const boom = new Error("boom")
      const throwing = pool.useSync(() => {
        throw boom
      })
      assert.deepStrictEqual(yield* Effect.exit(throwing), Exit.die(boom))
      const holder = yield* borrow(pool)
      const caller = yield* Effect.forkChild(throwing)
      yield* settle
      yield* holder.giveBack
      assert.deepStrictEqual(yield* Fiber.await(caller), Exit.die(boom))
      yield* PoolAssert.nothingLeaked(faulty, pool)
    }))
})

describe("statistics", () => {
  it.effect("count every acquire once, and measure the wait", () =>
    Effect.gen(function*() {
      const { pool } = yield* make({ max: 1, min: 1, name: "orders" })
      const holder = yield* borrow(pool)
      const waiting = yield* Effect.forkChild(pool.use(() => Effect.void))
      yield* settle
      yield* TestClock.adjust("3 seconds")
      yield* holder.giveBack
      yield* Fiber.join(waiting)
      yield* pool.use(() => Effect.void)
      const stats = yield* pool.stats
      assert.deepStrictEqual(
        [stats.pool, stats.min, stats.max, stats.utilization, stats.checkouts, stats.returns],
        ["orders", 1, 1, 0, 3, 3]
      )
      assert.deepStrictEqual([stats.averageWaitMillis, stats.maxWaitMillis], [1000, 3000])
    }))

  it.effect("can be read as often as one likes while the pool is busy", () =>
    Effect.gen(function*() {
      const { pool } = yield* make({ max: 4 })
      let reads = 0
      yield* Effect.all([
        Effect.forEach(Array.from({ length: 1000 }), () => pool.use(() => Effect.yieldNow), {
          concurrency: "unbounded",
          discard: true
        }),
        Effect.forEach(
          Array.from({ length: 100_000 }),
          () =>
            Effect.map(pool.stats, (stats) => {
              reads++
              assert.isTrue(stats.total <= stats.max)
            }),
          { discard: true }
        )
      ], { concurrency: 2 })
      assert.strictEqual(reads, 100_000)
      assert.strictEqual((yield* pool.stats).checkouts, 1000)
    }))
})

describe("Service", () => {
  class Orders extends ConnectionPool.Service<
    Orders,
    FaultyFactory.FaultyConnection,
    FaultyFactory.FaultyError
  >()("test/Orders") {}
  class Users extends ConnectionPool.Service<
    Users,
    FaultyFactory.FaultyConnection,
    FaultyFactory.FaultyError
  >()("test/Users") {}

  it.effect("provides pools side by side, each closed with its layer", () =>
    Effect.gen(function*() {
      const orders = yield* FaultyFactory.make()
      const users = yield* FaultyFactory.make()
      const names = yield* Effect.gen(function*() {
        const pool = yield* Orders
        yield* pool.use((connection) => connection.run)
        return [pool.name, (yield* Users).name]
      }).pipe(
        Effect.provide(Orders.layer({ factory: orders.factory, name: "orders" })),
        Effect.provide(Users.layer({ factory: users.factory, name: "users", min: 2 }))
      )
      assert.deepStrictEqual(names, ["orders", "users"])
      assert.deepStrictEqual((yield* orders.counters).closed, 1)
      assert.deepStrictEqual((yield* users.counters).closed, 2)
    }))

  it.effect("fails the layer with what makes the pool fail", () =>
    Effect.gen(function*() {
      const faulty = yield* FaultyFactory.make()
      const badOptions = Effect.asVoid(Orders).pipe(Effect.provide(Orders.layer({ factory: faulty.factory, max: 0 })))
      assert.strictEqual((yield* PoolAssert.failsWith(badOptions, "PoolConfigError")).field, "max")
      yield* faulty.connect.fail(10)
      const noConnection = Effect.asVoid(Orders).pipe(
        Effect.provide(Orders.layer({ factory: faulty.factory, min: 2 }))
      )
      yield* PoolAssert.failsWith(noConnection, "ConnectError")
      assert.isTrue(Option.isNone(yield* Effect.serviceOption(Orders)))
    }))
})

describe("whoever watches a fiber of a caller", () => {
  it.effect("and throws, harms neither the one who returns a connection nor the next in line", () =>
    Effect.gen(function*() {
      const { pool } = yield* make({ max: 1 })
      const holder = yield* borrow(pool)
      const watched = yield* Effect.forkDetach(pool.use(() => Effect.void))
      const next = yield* Effect.forkDetach(pool.use(() => Effect.succeed("served")))
      yield* settle
      watched.addObserver(() => {
        throw new Error("thrown by a watcher")
      })
      const uncaught: Array<unknown> = []
      const listeners = process.listeners("uncaughtException")
      process.removeAllListeners("uncaughtException")
      process.on("uncaughtException", (thrown) => uncaught.push(thrown))
      yield* holder.giveBack
      assert.strictEqual(yield* Fiber.join(next), "served")
      yield* Effect.promise(() => new Promise<void>((resolve) => void setImmediate(resolve)))
      process.removeAllListeners("uncaughtException")
      for (const listener of listeners) process.on("uncaughtException", listener)
      assert.deepStrictEqual(uncaught.map(String), ["Error: thrown by a watcher"])
    }))
})
