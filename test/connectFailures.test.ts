import { assert, describe, it } from "@effect/vitest"
import { Effect, Fiber, Random } from "effect"
import { ConnectionFactory, ConnectionPool, type PoolError } from "effect-connection-pool"
import { FaultyFactory, PoolAssert } from "effect-connection-pool/testing"
import { TestClock } from "effect/testing"
import { borrow, make, settle, shape } from "./support/pools.ts"

const refused = (connection: number, isTransient: boolean) =>
  new FaultyFactory.FaultyError({ operation: "connect", connection, isTransient })

describe("a connect that fails for good", () => {
  it.effect("fails all waiters at once, with the driver's error", () =>
    Effect.gen(function*() {
      const { faulty, pool } = yield* make({ max: 1, name: "orders" })
      yield* faulty.connect.hold
      yield* faulty.connect.fail(1)
      const callers: Array<Fiber.Fiber<PoolError.ConnectError<FaultyFactory.FaultyError>>> = []
      for (let caller = 0; caller < 3; caller++) {
        callers.push(yield* Effect.forkChild(PoolAssert.failsWith(pool.use(() => Effect.void), "ConnectError")))
      }
      yield* settle
      yield* faulty.connect.open
      const errors = yield* Fiber.joinAll(callers)
      for (const error of errors) {
        assert.deepStrictEqual(error.reason, { _tag: "ConnectFailed", error: refused(1, false) })
        assert.deepStrictEqual(error.cause, refused(1, false))
        assert.strictEqual(
          error.message,
          `pool "orders": could not connect: FaultyError: connect of connection 1 was made to fail`
        )
      }
      assert.strictEqual((yield* pool.stats).connectErrors, 3)
      yield* PoolAssert.nothingLeaked(faulty, pool)
    }))

  it.effect("does not fail waiters that a live connection can serve", () =>
    Effect.gen(function*() {
      const { faulty, pool } = yield* make({ max: 2 })
      const holder = yield* borrow(pool)
      yield* faulty.connect.fail(1)
      const caller = yield* borrow(pool)
      assert.deepStrictEqual(yield* shape(pool), { inUse: 1, waiting: 1 })
      yield* holder.giveBack
      assert.strictEqual(caller.connection?.id, 1)
    }))

  it.effect("fails waiters whose only live connection is being evicted", () =>
    Effect.gen(function*() {
      const { faulty, pool } = yield* make({ max: 2 })
      const holder = yield* borrow(pool)
      yield* pool.recycle
      yield* faulty.connect.fail(1)
      yield* PoolAssert.failsWith(pool.use(() => Effect.void), "ConnectError")
      yield* holder.giveBack
      yield* PoolAssert.nothingLeaked(faulty, pool)
    }))

  it.effect("is one attempt for each caller after the backoff, and none of them costs a slot", () =>
    Effect.gen(function*() {
      const { faulty, pool } = yield* make({ max: 2 })
      yield* faulty.connect.fail(19)
      for (let caller = 0; caller < 19; caller++) {
        yield* PoolAssert.failsWith(pool.use((connection) => connection.run), "ConnectError")
        yield* TestClock.adjust("2 seconds")
      }
      yield* pool.use((connection) => connection.run)
      assert.strictEqual((yield* faulty.counters).attempts, 20)
      yield* PoolAssert.nothingLeaked(faulty, pool)
    }))

  it.effect("may be a defect of the driver, and is then told as one", () =>
    Effect.gen(function*() {
      const { faulty, pool } = yield* make()
      yield* faulty.connect.die()
      const error = yield* PoolAssert.failsWith(pool.use(() => Effect.void), "ConnectError")
      assert.strictEqual(error.reason._tag, "ConnectDied")
      assert.include(error.message, "could not connect: Error: connect of connection 1 was made to die")
      yield* PoolAssert.nothingLeaked(faulty, pool)
    }))

  it.effect("can be told apart by its reason", () =>
    Effect.gen(function*() {
      const { faulty, pool } = yield* make()
      yield* faulty.connect.fail()
      const caught = yield* pool.use(() => Effect.succeed("connected")).pipe(
        Effect.catchReason("ConnectError", "ConnectFailed", ({ error }) => Effect.succeed(error.connection))
      )
      assert.strictEqual(caught, 1)
    }))

  it.effect("counts as one together with the attempts that ran beside it", () =>
    Effect.gen(function*() {
      const { faulty, pool } = yield* make({ max: 3 })
      yield* faulty.connect.hold
      yield* faulty.connect.fail(3)
      const callers: Array<Fiber.Fiber<PoolError.ConnectError<FaultyFactory.FaultyError>>> = []
      for (let caller = 0; caller < 3; caller++) {
        callers.push(yield* Effect.forkChild(PoolAssert.failsWith(pool.use(() => Effect.void), "ConnectError")))
      }
      yield* settle
      yield* faulty.connect.open
      const errors = yield* Fiber.joinAll(callers)
      assert.deepStrictEqual(errors.map((error) => error.attempts), [1, 1, 1])
      yield* settle
      yield* faulty.connect.fail()
      const next = yield* PoolAssert.failsWith(pool.use(() => Effect.void), "ConnectError")
      assert.strictEqual(next.attempts, 4)
      assert.include(next.message, "could not connect after 4 attempts")
    }))

  it.effect("is also a connect whose isTransient throws", () =>
    Effect.gen(function*() {
      const factory = ConnectionFactory.make<number, string>({
        connect: Effect.fail("no"),
        isTransient: () => {
          throw new Error("a bug in the driver")
        }
      })
      const pool = yield* ConnectionPool.make({ factory })
      yield* PoolAssert.failsWith(pool.use(() => Effect.void), "ConnectError")
    }))
})

describe("a connect that fails for good in a fiber that holds a connection", () => {
  it.effect("reaches it at once, if nothing but its own connection is left", () =>
    Effect.gen(function*() {
      const { faulty, pool } = yield* make({ max: 2 })
      const nested = pool.use(() =>
        Effect.andThen(faulty.connect.fail(), PoolAssert.failsWith(pool.use(() => Effect.void), "ConnectError"))
      )
      assert.strictEqual((yield* nested).attempts, 1)
      yield* PoolAssert.nothingLeaked(faulty, pool)
    }))
})

describe("a connect that fails for now", () => {
  it.effect("is tried again, after growing pauses, until it succeeds", () =>
    Effect.gen(function*() {
      const { faulty, pool } = yield* make({ max: 1, connectBackoff: "100 millis", connectBackoffMax: "1 second" })
      yield* faulty.connect.fail(6, { transient: true })
      const caller = yield* borrow(pool)
      const pauses: Array<number> = []
      let attempts = 1
      for (let millis = 1; caller.connection === undefined; millis++) {
        yield* TestClock.adjust("1 millis")
        const now = (yield* faulty.counters).attempts
        if (now === attempts) continue
        assert.strictEqual(now, attempts + 1)
        attempts = now
        pauses.push(millis)
        millis = 0
      }
      assert.strictEqual(attempts, 7)
      const expected = [100, 200, 400, 800, 1000, 1000]
      for (const [index, pause] of pauses.entries()) {
        assert.isAtLeast(pause, expected[index]! * 0.8)
        assert.isAtMost(pause, expected[index]!)
      }
      assert.isAbove(new Set(pauses.slice(-2)).size, 1)
      yield* caller.giveBack
      yield* PoolAssert.nothingLeaked(faulty, pool)
    }).pipe(Random.withSeed("pauses")))

  it.effect("makes a bounded number of attempts until the caller's deadline, and is named by the error", () =>
    Effect.gen(function*() {
      const { faulty, pool } = yield* make({ max: 4 })
      yield* faulty.connect.fail(1_000_000, { transient: true })
      const callers = yield* Effect.forkChild(
        Effect.forEach(
          Array.from({ length: 50 }),
          () => PoolAssert.failsWith(pool.use(() => Effect.void), "AcquireTimeoutError"),
          { concurrency: "unbounded" }
        )
      )
      yield* settle
      yield* TestClock.adjust("30 seconds")
      for (const error of yield* Fiber.join(callers)) {
        assert.instanceOf(error.lastConnectError, FaultyFactory.FaultyError)
      }
      // Four at once, and then one after the other: at 0.1, 0.3, 0.7, 1.5, 3.1 seconds, and every two seconds.
      assert.isAtMost((yield* faulty.counters).attempts, 4 + 5 + 17)
      const { attempts } = yield* faulty.counters
      yield* TestClock.adjust("1 hour")
      assert.strictEqual((yield* faulty.counters).attempts, attempts, "nobody waits any more")
      yield* pool.shutdown()
    }))

  it.effect("leaves waiters in line if a returned connection can serve them", () =>
    Effect.gen(function*() {
      const { faulty, pool } = yield* make({ max: 2 })
      const holder = yield* borrow(pool)
      yield* faulty.connect.fail(100, { transient: true })
      const caller = yield* borrow(pool)
      yield* TestClock.adjust("5 seconds")
      yield* holder.giveBack
      assert.strictEqual(caller.connection?.id, 1)
    }))

  it.effect("starts over with short pauses once an attempt has succeeded", () =>
    Effect.gen(function*() {
      const { faulty, pool } = yield* make({ max: 2, connectBackoff: "100 millis" })
      yield* faulty.connect.fail(4, { transient: true })
      const first = yield* borrow(pool)
      yield* TestClock.adjust("2 seconds")
      assert.isDefined(first.connection)
      yield* faulty.connect.fail(1, { transient: true })
      const second = yield* borrow(pool)
      yield* TestClock.adjust("100 millis")
      assert.isDefined(second.connection)
    }))
})
