import { assert, describe, it } from "@effect/vitest"
import { Effect, Fiber } from "effect"
import { PoolAssert } from "effect-connection-pool/testing"
import { TestClock } from "effect/testing"
import { borrow, make, settle, shape } from "./support/pools.ts"

describe("isAlive", () => {
  it.effect("evicts a connection that died while idle, before it is lent", () =>
    Effect.gen(function*() {
      const { faulty, pool } = yield* make({ max: 1 })
      yield* pool.use(() => Effect.void)
      yield* faulty.kill(1)
      assert.strictEqual(yield* pool.use((connection) => Effect.as(connection.run, connection.id)), 2)
      assert.strictEqual((yield* pool.stats).evictions.dead, 1)
      yield* PoolAssert.nothingLeaked(faulty, pool)
    }))

  it.effect("evicts a connection that died while it was lent, when it comes back", () =>
    Effect.gen(function*() {
      const { faulty, pool } = yield* make({ max: 1 })
      const lease = yield* borrow(pool)
      const waiting = yield* borrow(pool)
      yield* faulty.kill(1)
      yield* PoolAssert.failsWith(lease.connection!.run, "FaultyError")
      yield* lease.giveBack
      assert.strictEqual(waiting.connection?.id, 2)
      yield* waiting.giveBack
      yield* PoolAssert.nothingLeaked(faulty, pool)
    }))

  it.effect("goes on to the next when half of them are dead", () =>
    Effect.gen(function*() {
      const { faulty, pool } = yield* make({ min: 6, max: 6 })
      for (const id of [6, 5, 4]) yield* faulty.kill(id)
      assert.strictEqual(yield* pool.use((connection) => Effect.as(connection.run, connection.id)), 3)
      yield* settle
      assert.deepStrictEqual(yield* shape(pool), { idle: 6 })
      yield* PoolAssert.nothingLeaked(faulty, pool)
    }))

  it.effect("serves ten callers with ten connections if each comes back broken", () =>
    Effect.gen(function*() {
      for (const max of [1, 2]) {
        const { faulty, pool } = yield* make({ max })
        const ids = yield* Effect.forEach(
          Array.from({ length: 10 }),
          () => pool.use((connection) => Effect.as(faulty.kill(connection.id), connection.id)),
          { concurrency: "unbounded" }
        )
        assert.deepStrictEqual(ids.toSorted((a, b) => a - b), [1, 2, 3, 4, 5, 6, 7, 8, 9, 10])
        assert.isAtMost((yield* faulty.counters).mostOpen, max)
        yield* PoolAssert.nothingLeaked(faulty, pool)
      }
    }))
})

describe("validate", () => {
  it.effect("is asked only of a connection that was idle for validateAfterIdle", () =>
    Effect.gen(function*() {
      const { faulty, pool } = yield* make({ max: 1, validateAfterIdle: "30 seconds" })
      yield* pool.use(() => Effect.void)
      yield* TestClock.adjust("29 seconds")
      yield* pool.use(() => Effect.void)
      assert.strictEqual((yield* faulty.counters).validations, 0)
      yield* TestClock.adjust("30 seconds")
      yield* pool.use(() => Effect.void)
      assert.strictEqual((yield* faulty.counters).validations, 1)
      yield* PoolAssert.nothingLeaked(faulty, pool)
    }))

  it.effect("is not asked after a lease, however long, nor after a reset: both were use enough", () =>
    Effect.gen(function*() {
      const { faulty, pool } = yield* make({ max: 1, validateAfterIdle: "30 seconds", resetTimeout: "5 minutes" })
      yield* pool.use(() => TestClock.adjust("1 minute"))
      yield* pool.use((connection) => connection.soil)
      assert.strictEqual((yield* faulty.counters).validations, 0)
      yield* faulty.reset.hold
      yield* pool.use((connection) => connection.soil)
      yield* TestClock.adjust("1 minute")
      yield* faulty.reset.open
      yield* settle
      yield* pool.use(() => Effect.void)
      assert.deepStrictEqual([(yield* faulty.counters).opened, (yield* faulty.counters).validations], [1, 0])
      yield* PoolAssert.nothingLeaked(faulty, pool)
    }))

  it.effect("is asked before every lease if that is zero, also when one caller hands over to the next", () =>
    Effect.gen(function*() {
      const { faulty, pool } = yield* make({ max: 1, validateAfterIdle: 0 })
      yield* Effect.all(Array.from({ length: 5 }, () => pool.use((connection) => connection.run)), {
        concurrency: "unbounded"
      })
      assert.strictEqual((yield* faulty.counters).validations, 5)
      const log = yield* faulty.log
      const kinds = log.map((entry) => entry.operation).filter((kind) => kind !== "run" && kind !== "end lease")
      assert.deepStrictEqual(kinds.slice(1), Array.from({ length: 10 }, (_, i) => i % 2 ? "begin lease" : "validate"))
      yield* PoolAssert.nothingLeaked(faulty, pool)
    }))

  for (const how of ["says no", "fails", "dies", "hangs"] as const) {
    it.effect(`that ${how} costs the connection, and the same acquire goes on with another`, () =>
      Effect.gen(function*() {
        const { faulty, pool } = yield* make({ max: 1, validateTimeout: "3 seconds" })
        yield* pool.use(() => Effect.void)
        yield* TestClock.adjust("10 seconds")
        yield* ({
          "says no": faulty.sever(1),
          fails: faulty.validate.fail(),
          dies: faulty.validate.die(),
          hangs: faulty.validate.hang(1, { uninterruptible: true })
        })[how]
        const caller = yield* borrow(pool)
        if (how === "hangs") {
          assert.deepStrictEqual(yield* shape(pool), { validating: 1, waiting: 1 })
          yield* TestClock.adjust("3 seconds")
        }
        assert.strictEqual(caller.connection?.id, 2)
        assert.strictEqual((yield* pool.stats).evictions.invalid, 1)
        yield* caller.giveBack
        yield* PoolAssert.nothingLeaked(faulty, pool)
      }))
  }

  it.effect("that hangs does not keep others from connections that are well", () =>
    Effect.gen(function*() {
      const { faulty, pool } = yield* make({ min: 3, max: 3, validateTimeout: "1 minute" })
      yield* TestClock.adjust("10 seconds")
      yield* faulty.validate.hang()
      const first = yield* borrow(pool)
      const second = yield* borrow(pool)
      assert.deepStrictEqual([first.connection?.id, second.connection?.id], [2, undefined])
      // For more than a second nobody waits for what hangs.
      yield* TestClock.adjust("1 second")
      assert.strictEqual(second.connection?.id, 1)
      assert.deepStrictEqual(yield* shape(pool), { validating: 1, inUse: 2 })
      yield* first.giveBack
      yield* second.giveBack
      yield* TestClock.adjust("1 minute")
      yield* PoolAssert.nothingLeaked(faulty, pool)
    }))

  it.effect("that hangs does not delay callers even if an earlier one hangs as well", () =>
    Effect.gen(function*() {
      const { faulty, pool } = yield* make({ min: 2, max: 4, validateTimeout: "1 minute" })
      yield* TestClock.adjust("10 seconds")
      yield* faulty.validate.hang(2)
      const first = yield* borrow(pool)
      yield* TestClock.adjust("500 millis")
      const second = yield* borrow(pool)
      assert.deepStrictEqual(yield* shape(pool), { validating: 2, waiting: 2 })
      yield* TestClock.adjust("500 millis")
      assert.deepStrictEqual([first.connection?.id, second.connection?.id], [3, undefined])
      yield* TestClock.adjust("500 millis")
      assert.strictEqual(second.connection?.id, 4)
      yield* first.giveBack
      yield* second.giveBack
      yield* TestClock.adjust("1 minute")
      yield* PoolAssert.nothingLeaked(faulty, pool)
    }))

  it.effect("goes on for the next caller when its caller gives up", () =>
    Effect.gen(function*() {
      const { faulty, pool } = yield* make({ max: 1 })
      yield* pool.use(() => Effect.void)
      yield* TestClock.adjust("10 seconds")
      yield* faulty.validate.hold
      const caller = yield* borrow(pool)
      yield* Fiber.interrupt(caller.fiber)
      const next = yield* borrow(pool)
      yield* faulty.validate.open
      yield* settle
      assert.strictEqual(next.connection?.id, 1)
      assert.strictEqual((yield* faulty.counters).validations, 1)
    }))

  it.effect("is not asked without a caller, and its connection is idle again if the caller gives up", () =>
    Effect.gen(function*() {
      const { faulty, pool } = yield* make({ max: 1 })
      yield* pool.use(() => Effect.void)
      yield* TestClock.adjust("9 minutes")
      assert.strictEqual((yield* faulty.counters).validations, 0)
      yield* faulty.validate.hold
      yield* Fiber.interrupt((yield* borrow(pool)).fiber)
      yield* faulty.validate.open
      yield* settle
      assert.deepStrictEqual(yield* shape(pool), { idle: 1 })
      yield* PoolAssert.nothingLeaked(faulty, pool)
    }))

  it.effect("finds all idle connections dead, one after the other, and opens a new one", () =>
    Effect.gen(function*() {
      const { faulty, pool } = yield* make({ min: 0, max: 4 })
      const leases = yield* Effect.forEach([1, 2, 3, 4], () => borrow(pool))
      for (const lease of leases) yield* lease.giveBack
      yield* TestClock.adjust("10 seconds")
      for (const id of [1, 2, 3, 4]) yield* faulty.sever(id)
      assert.strictEqual(yield* pool.use((connection) => Effect.as(connection.run, connection.id)), 5)
      yield* PoolAssert.nothingLeaked(faulty, pool)
    }))
})

describe("reset", () => {
  it.effect("makes a connection clean before the next lease", () =>
    Effect.gen(function*() {
      const { faulty, pool } = yield* make({ max: 1 })
      yield* faulty.reset.hold
      yield* pool.use((connection) => connection.soil)
      const waiting = yield* borrow(pool)
      assert.deepStrictEqual(yield* shape(pool), { resetting: 1, waiting: 1 })
      yield* faulty.reset.open
      yield* settle
      assert.strictEqual(waiting.connection?.id, 1)
      yield* waiting.giveBack
      yield* PoolAssert.nothingLeaked(faulty, pool)
    }))

  it.effect("does not delay the caller that returned the connection", () =>
    Effect.gen(function*() {
      const { faulty, pool } = yield* make({ max: 1 })
      yield* faulty.reset.hold
      yield* pool.use((connection) => connection.soil)
      yield* faulty.reset.open
      yield* settle
      yield* PoolAssert.nothingLeaked(faulty, pool)
    }))

  it.effect("asks the connection, not how the body ended", () =>
    Effect.gen(function*() {
      const { faulty, pool } = yield* make({ max: 1 })
      yield* Effect.exit(pool.use(() => Effect.fail("but clean")))
      assert.strictEqual((yield* faulty.counters).resets, 0)
      yield* Effect.exit(pool.use((connection) => Effect.andThen(connection.soil, Effect.fail("and soiled"))))
      yield* pool.use((connection) => connection.soil)
      assert.strictEqual((yield* faulty.counters).resets, 2)
      yield* PoolAssert.nothingLeaked(faulty, pool)
    }))

  for (const how of ["fails", "dies", "hangs"] as const) {
    it.effect(`that ${how} costs the connection`, () =>
      Effect.gen(function*() {
        const { faulty, pool } = yield* make({ max: 1, resetTimeout: "3 seconds" })
        yield* ({
          fails: faulty.reset.fail(),
          dies: faulty.reset.die(),
          hangs: faulty.reset.hang(1, { uninterruptible: true })
        })[how]
        yield* pool.use((connection) => connection.soil)
        const caller = yield* borrow(pool)
        if (how === "hangs") yield* TestClock.adjust("3 seconds")
        assert.strictEqual(caller.connection?.id, 2)
        assert.strictEqual((yield* pool.stats).evictions.reset, 1)
        yield* caller.giveBack
        yield* PoolAssert.nothingLeaked(faulty, pool)
      }))
  }

  it.effect("that fails gets its waiters another connection before the old one is closed", () =>
    Effect.gen(function*() {
      const { faulty, pool } = yield* make({ max: 2 })
      yield* faulty.reset.hold
      yield* faulty.disconnect.hold
      yield* pool.use((connection) => connection.soil)
      yield* faulty.reset.fail()
      const lease = yield* borrow(pool)
      assert.deepStrictEqual(yield* shape(pool), { resetting: 1, waiting: 1 })
      yield* TestClock.adjust("5 seconds")
      assert.deepStrictEqual(yield* shape(pool), { inUse: 1, closing: 1 })
      assert.strictEqual(lease.connection?.id, 2)
    }))

  it.effect("does not run for a connection that is evicted anyway", () =>
    Effect.gen(function*() {
      const { faulty, pool } = yield* make({ max: 1 })
      yield* pool.use((connection) => Effect.andThen(connection.soil, pool.invalidate(connection)))
      assert.strictEqual((yield* faulty.counters).resets, 0)
      assert.strictEqual((yield* faulty.counters).closed, 1)
      yield* PoolAssert.nothingLeaked(faulty, pool)
    }))

  it.effect("does not run for a connection that was granted but never used", () =>
    Effect.gen(function*() {
      const { faulty, pool } = yield* make({ max: 1 })
      const holder = yield* borrow(pool)
      const waiting = yield* Effect.forkChild(pool.use(() => Effect.void))
      yield* settle
      yield* Effect.sync(() => {
        holder.fiber.interruptUnsafe()
        waiting.interruptUnsafe()
      })
      yield* Fiber.await(waiting)
      assert.strictEqual((yield* faulty.counters).resets, 0)
      yield* PoolAssert.nothingLeaked(faulty, pool)
    }))
})

describe("closing", () => {
  it.effect("counts against max until it has ended", () =>
    Effect.gen(function*() {
      const { faulty, pool } = yield* make({ max: 1 })
      yield* pool.use(() => Effect.void)
      yield* faulty.disconnect.hold
      yield* pool.recycle
      const waiting = yield* borrow(pool)
      assert.deepStrictEqual(yield* shape(pool), { closing: 1, waiting: 1 })
      yield* faulty.disconnect.open
      yield* settle
      assert.strictEqual(waiting.connection?.id, 2)
      assert.strictEqual((yield* faulty.counters).mostOpen, 1)
      yield* waiting.giveBack
      yield* PoolAssert.nothingLeaked(faulty, pool)
    }))

  it.effect("that hangs gives its slot back at closeTimeout", () =>
    Effect.gen(function*() {
      const { faulty, pool } = yield* make({ max: 1, closeTimeout: "3 seconds" })
      yield* pool.use(() => Effect.void)
      yield* faulty.disconnect.hang()
      yield* pool.recycle
      const waiting = yield* borrow(pool)
      yield* TestClock.adjust("3 seconds")
      assert.strictEqual(waiting.connection?.id, 2)
      assert.strictEqual((yield* pool.stats).closeTimeouts, 1)
    }))

  it.effect("that fails or dies still counts as done", () =>
    Effect.gen(function*() {
      const { faulty, pool } = yield* make({ max: 1 })
      for (const fault of [faulty.disconnect.fail(), faulty.disconnect.die()]) {
        yield* fault
        yield* pool.use(() => Effect.void)
        yield* pool.recycle
        assert.deepStrictEqual(yield* shape(pool), {})
      }
      yield* PoolAssert.nothingLeaked(faulty, pool)
    }))
})
