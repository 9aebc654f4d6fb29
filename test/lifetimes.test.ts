import { assert, describe, it } from "@effect/vitest"
import { Clock, Effect, Random } from "effect"
import { ConnectionPool, InMemoryConnection } from "effect-connection-pool"
import { FaultyFactory, PoolAssert } from "effect-connection-pool/testing"
import { TestClock } from "effect/testing"
import { borrow, make, settle, shape } from "./support/pools.ts"

describe("idleTimeout", () => {
  it.effect("closes what is idle for that long, down to min, longest idle first", () =>
    Effect.gen(function*() {
      const { faulty, pool } = yield* make({ min: 1, max: 4, idleTimeout: "1 minute", maxLifetime: "Infinity" })
      const leases = yield* Effect.forEach([1, 2, 3, 4], () => borrow(pool))
      for (const lease of leases) {
        yield* lease.giveBack
        yield* TestClock.adjust("10 seconds")
      }
      yield* TestClock.adjust("19 seconds")
      assert.deepStrictEqual(yield* shape(pool), { idle: 4 })
      yield* TestClock.adjust("1 second")
      assert.deepStrictEqual((yield* pool.connections).map((connection) => connection.id), [2, 3, 4])
      yield* TestClock.adjust("1 hour")
      assert.deepStrictEqual((yield* pool.connections).map((connection) => connection.id), [4])
      assert.strictEqual((yield* pool.stats).evictions.idle, 3)
      yield* PoolAssert.nothingLeaked(faulty, pool)
    }))

  it.effect("acts when it is the only option given", () =>
    Effect.gen(function*() {
      const { pool } = yield* make({ idleTimeout: "1 second" })
      yield* pool.use(() => Effect.void)
      yield* TestClock.adjust("1 second")
      assert.deepStrictEqual(yield* shape(pool), {})
    }))

  it.effect("closes a connection that was kept for min as soon as min does not need it", () =>
    Effect.gen(function*() {
      const { pool } = yield* make({ min: 1, max: 2, idleTimeout: "1 minute" })
      yield* TestClock.adjust("1 hour")
      const leases = [yield* borrow(pool), yield* borrow(pool)]
      yield* TestClock.adjust("2 minutes")
      yield* leases[0]!.giveBack
      assert.deepStrictEqual(yield* shape(pool), { idle: 1, inUse: 1 })
      yield* TestClock.adjust("1 minute")
      assert.deepStrictEqual(yield* shape(pool), { inUse: 1 })
      yield* leases[1]!.giveBack
      yield* pool.resize({ min: 0 })
      yield* TestClock.adjust("1 minute")
      assert.deepStrictEqual(yield* shape(pool), {})
    }))

  it.effect("closes connections that were kept for min as soon as a resize lowers min", () =>
    Effect.gen(function*() {
      const { faulty, pool } = yield* make({ min: 2, max: 2, idleTimeout: "1 minute", maxLifetime: "Infinity" })
      yield* TestClock.adjust("1 hour")
      assert.deepStrictEqual(yield* shape(pool), { idle: 2 })
      yield* pool.resize({ min: 0 })
      yield* TestClock.adjust("1 millis")
      assert.deepStrictEqual(yield* shape(pool), {})
      yield* PoolAssert.nothingLeaked(faulty, pool)
    }))

  it.effect("does not close connections that are used now and then", () =>
    Effect.gen(function*() {
      const { faulty, pool } = yield* make({ idleTimeout: "1 minute", validateAfterIdle: "1 hour" })
      for (let use = 0; use < 10; use++) {
        yield* pool.use(() => Effect.void)
        yield* TestClock.adjust("59 seconds")
      }
      assert.strictEqual((yield* faulty.counters).opened, 1)
    }))
})

describe("maxLifetime", () => {
  for (const withoutIsAlive of [false, true]) {
    it.effect(`retires an idle connection, and one in use when it comes back${withoutIsAlive ? ", also without isAlive" : ""}`, () =>
      Effect.gen(function*() {
        const { faulty, pool } = yield* make({
          max: 2,
          maxLifetime: "1 hour",
          lifetimeJitter: 0,
          idleTimeout: "1 day",
          driver: { withoutIsAlive }
        })
        const leases = [yield* borrow(pool), yield* borrow(pool)]
        yield* leases[0]!.giveBack
        yield* TestClock.adjust("59 minutes")
        assert.deepStrictEqual(yield* shape(pool), { idle: 1, inUse: 1 })
        yield* TestClock.adjust("1 minute")
        assert.deepStrictEqual(yield* shape(pool), { inUse: 1 })
        yield* leases[1]!.giveBack
        assert.deepStrictEqual(yield* shape(pool), {})
        assert.strictEqual((yield* pool.stats).evictions.lifetime, 2)
        yield* PoolAssert.nothingLeaked(faulty, pool)
      }))
  }

  it.effect("is kept on a pool that is never idle", () =>
    Effect.gen(function*() {
      const { pool } = yield* make({ max: 1, maxLifetime: "1 minute", lifetimeJitter: 0, acquireTimeout: "Infinity" })
      const seen = new Map<number, number>()
      const loop = Effect.gen(function*() {
        const start = yield* Clock.currentTimeMillis
        for (;;) {
          yield* pool.use((connection) =>
            Effect.gen(function*() {
              const now = yield* Clock.currentTimeMillis
              const since = seen.get(connection.id) ?? now
              seen.set(connection.id, since)
              assert.isBelow(now - since, 60_000)
              yield* Effect.sleep("700 millis")
            })
          )
          if ((yield* Clock.currentTimeMillis) - start > 600_000) return
        }
      })
      const loops = yield* Effect.forkChild(Effect.all([loop, loop, loop], { concurrency: "unbounded" }))
      yield* settle
      yield* TestClock.adjust("11 minutes")
      assert.isDefined(loops.pollUnsafe())
      assert.isAtLeast(seen.size, 10)
    }))

  it.effect("never lends an expired connection, even before any timer has had its turn", () =>
    Effect.gen(function*() {
      // A clock that goes on without waking anybody.
      let nanos = 0n
      const live = yield* Clock.Clock
      const clock: Clock.Clock = {
        ...live,
        currentTimeMillisUnsafe: () => Number(nanos / 1_000_000n),
        currentTimeMillis: Effect.sync(() => Number(nanos / 1_000_000n)),
        currentTimeNanosUnsafe: () => nanos,
        currentTimeNanos: Effect.sync(() => nanos),
        monotonicTimeNanosUnsafe: () => nanos,
        monotonicTimeNanos: Effect.sync(() => nanos),
        sleep: () => Effect.never
      }
      yield* Effect.gen(function*() {
        const { pool } = yield* make({ max: 1, maxLifetime: "1 minute", lifetimeJitter: 0, validateAfterIdle: "1 day" })
        assert.strictEqual(yield* pool.use((connection) => Effect.succeed(connection.id)), 1)
        nanos += 60_000_000_000n
        assert.strictEqual(yield* pool.use((connection) => Effect.succeed(connection.id)), 2)
        assert.strictEqual(yield* pool.useSync((connection) => connection.id), 2)
        nanos += 60_000_000_000n
        assert.strictEqual(yield* pool.useSync((connection) => connection.id), 3)
      }).pipe(Effect.scoped, Effect.provideService(Clock.Clock, clock))
    }))

  it.effect("is shortened for each connection by its own share of the jitter, decided once", () =>
    Effect.gen(function*() {
      const { pool } = yield* make({
        min: 0,
        max: 20,
        maxLifetime: "100 minutes",
        lifetimeJitter: 0.2,
        idleTimeout: "Infinity"
      })
      const leases = yield* Effect.forEach(Array.from({ length: 20 }), () => borrow(pool))
      for (const lease of leases) yield* lease.giveBack
      yield* TestClock.adjust("80 minutes")
      const sizes: Array<number> = []
      for (let minute = 0; minute < 20; minute++) {
        sizes.push((yield* pool.stats).idle)
        yield* TestClock.adjust("1 minute")
      }
      assert.strictEqual(sizes[0], 20)
      assert.isAbove(new Set(sizes).size, 8, "they leave one by one")
      assert.deepStrictEqual(yield* shape(pool), {})
    }).pipe(Random.withSeed("jitter")))

  it.effect("retires an idle connection when it is time, without any other timer", () =>
    Effect.gen(function*() {
      const { faulty, pool } = yield* make({
        min: 1,
        maxLifetime: "30 minutes",
        lifetimeJitter: 0,
        idleTimeout: "Infinity",
        leakThreshold: "Infinity"
      })
      yield* TestClock.adjust("29 minutes")
      assert.strictEqual((yield* pool.stats).evictions.lifetime, 0)
      yield* TestClock.adjust("1 minute")
      assert.strictEqual((yield* pool.stats).evictions.lifetime, 1)
      assert.deepStrictEqual(yield* shape(pool), { idle: 1 })
      yield* PoolAssert.nothingLeaked(faulty, pool)
    }))

  it.effect("opens another for min as soon as one has retired", () =>
    Effect.gen(function*() {
      const { faulty, pool } = yield* make({ min: 2, max: 2, maxLifetime: "1 hour", lifetimeJitter: 0 })
      yield* TestClock.adjust("1 hour")
      yield* settle
      assert.deepStrictEqual((yield* pool.connections).map((connection) => connection.id), [3, 4])
      yield* PoolAssert.nothingLeaked(faulty, pool)
    }))
})

describe("maxUses", () => {
  for (const withoutIsAlive of [false, true]) {
    it.effect(`retires a connection after that many leases${withoutIsAlive ? ", also without isAlive" : ""}`, () =>
      Effect.gen(function*() {
        const { faulty, pool } = yield* make({ max: 1, maxUses: 3, driver: { withoutIsAlive } })
        const ids: Array<number> = []
        for (let use = 0; use < 10; use++) ids.push(yield* pool.use((connection) => Effect.succeed(connection.id)))
        assert.deepStrictEqual(ids, [1, 1, 1, 2, 2, 2, 3, 3, 3, 4])
        assert.strictEqual((yield* pool.stats).evictions.uses, 3)
        yield* PoolAssert.nothingLeaked(faulty, pool)
      }))
  }

  it.effect("counts only leases that began, and no validations", () =>
    Effect.gen(function*() {
      const { pool } = yield* make({ max: 1, maxUses: 2, validateAfterIdle: 0, keepalive: "1 minute" })
      yield* pool.useSync((connection) => connection.id)
      yield* TestClock.adjust("9 minutes")
      assert.strictEqual(yield* pool.use((connection) => Effect.succeed(connection.id)), 1)
      assert.strictEqual(yield* pool.use((connection) => Effect.succeed(connection.id)), 2)
    }))
})

describe("keepalive", () => {
  it.effect("validates idle connections now and then, one at a time, and not those in use", () =>
    Effect.gen(function*() {
      const { faulty, pool } = yield* make({ min: 3, max: 4, keepalive: "1 minute" })
      const lease = yield* borrow(pool)
      yield* faulty.validate.delay("5 seconds")
      yield* TestClock.adjust("1 minute")
      assert.deepStrictEqual(yield* shape(pool), { idle: 1, validating: 1, inUse: 1 })
      yield* TestClock.adjust("4 seconds")
      assert.deepStrictEqual(yield* shape(pool), { idle: 1, validating: 1, inUse: 1 })
      yield* TestClock.adjust("1 second")
      assert.deepStrictEqual(yield* shape(pool), { idle: 1, validating: 1, inUse: 1 })
      yield* TestClock.adjust("5 seconds")
      assert.deepStrictEqual(yield* shape(pool), { idle: 2, inUse: 1 })
      assert.strictEqual((yield* faulty.counters).validations, 2)
      yield* TestClock.adjust("54 seconds")
      assert.strictEqual((yield* faulty.counters).validations, 2)
      yield* TestClock.adjust("1 second")
      assert.strictEqual((yield* faulty.counters).validations, 3)
      yield* TestClock.adjust("1 minute")
      yield* lease.giveBack
      yield* faulty.validate.clear
      yield* PoolAssert.nothingLeaked(faulty, pool)
    }))

  it.effect("replaces one that does not answer, and goes on to the next", () =>
    Effect.gen(function*() {
      const { faulty, pool } = yield* make({ min: 2, max: 2, keepalive: "1 minute" })
      yield* faulty.sever(1)
      yield* TestClock.adjust("1 minute")
      yield* settle
      assert.deepStrictEqual((yield* pool.connections).map((connection) => connection.id), [2, 3])
      assert.strictEqual((yield* faulty.counters).validations, 2)
      yield* PoolAssert.nothingLeaked(faulty, pool)
    }))

  it.effect("does not count as use: the connection stays in its place and becomes idle no later", () =>
    Effect.gen(function*() {
      const { pool } = yield* make({
        max: 3,
        keepalive: "1 minute",
        idleTimeout: "3 minutes",
        validateAfterIdle: "1 day"
      })
      const leases = yield* Effect.forEach([1, 2, 3], () => borrow(pool))
      for (const lease of leases) yield* lease.giveBack
      yield* TestClock.adjust("150 seconds")
      assert.strictEqual(yield* pool.use((connection) => Effect.succeed(connection.id)), 3)
      yield* TestClock.adjust("30 seconds")
      assert.deepStrictEqual((yield* pool.connections).map((connection) => connection.id), [3])
    }))

  it.effect("gives way to a caller: the connection that it has just validated is lent", () =>
    Effect.gen(function*() {
      const { faulty, pool } = yield* make({ max: 1, keepalive: "1 minute", validateAfterIdle: "1 day" })
      yield* pool.use(() => Effect.void)
      yield* faulty.validate.hold
      yield* TestClock.adjust("1 minute")
      const caller = yield* borrow(pool)
      assert.deepStrictEqual(yield* shape(pool), { validating: 1, waiting: 1 })
      yield* faulty.validate.open
      yield* settle
      assert.strictEqual(caller.connection?.id, 1)
    }))
})

describe("a long sleep", () => {
  it.effect("is followed by one orderly pass, and the floor", () =>
    Effect.gen(function*() {
      const { faulty, pool } = yield* make({ min: 2, max: 8, maxLifetime: "1 hour", idleTimeout: "10 minutes" })
      const leases = yield* Effect.forEach(Array.from({ length: 8 }), () => borrow(pool))
      for (const lease of leases) yield* lease.giveBack
      yield* TestClock.adjust("8 hours")
      yield* settle
      assert.deepStrictEqual(yield* shape(pool), { idle: 2 })
      const counters = yield* faulty.counters
      assert.strictEqual(counters.opened - counters.closed, 2)
      // The floor has been renewed a few times; nothing else was opened.
      assert.isAtMost(counters.opened, 8 + 2 * 10)
      yield* PoolAssert.nothingLeaked(faulty, pool)
    }))
})

describe("the wall clock", () => {
  it.effect("may jump without effect", () =>
    Effect.gen(function*() {
      const test = yield* TestClock.testClockWith(Effect.succeed)
      let jump = 0
      const clock: Clock.Clock = {
        ...likeClock(test),
        currentTimeMillisUnsafe: () => test.currentTimeMillisUnsafe() + jump,
        currentTimeMillis: Effect.sync(() => test.currentTimeMillisUnsafe() + jump)
      }
      yield* Effect.gen(function*() {
        const faulty = yield* FaultyFactory.make()
        const pool = yield* ConnectionPool.make({ factory: faulty.factory, min: 2, max: 2, drainTimeout: 0 })
        for (const hours of [1, -1, 24 * 365]) {
          jump = hours * 3_600_000
          yield* pool.use(() => Effect.void)
        }
        assert.deepStrictEqual((yield* pool.connections).map((connection) => connection.id), [1, 2])
        assert.strictEqual((yield* faulty.counters).validations, 0)
      }).pipe(Effect.scoped, Effect.provideService(Clock.Clock, clock))
    }))
})

describe("a synchronous body", () => {
  it.effect("that is slow keeps the waiters waiting until its end", () =>
    Effect.gen(function*() {
      const test = yield* TestClock.testClockWith(Effect.succeed)
      let passed = 0n
      const clock: Clock.Clock = {
        ...likeClock(test),
        monotonicTimeNanosUnsafe: () => test.monotonicTimeNanosUnsafe() + passed
      }
      yield* Effect.gen(function*() {
        const pool = yield* ConnectionPool.make({ factory: InMemoryConnection.factory(), max: 1, min: 1 })
        yield* pool.useSync(() => {
          Effect.runFork(pool.use(() => Effect.void))
          passed = 5_000_000n
        })
        const { averageWaitMillis, checkouts, maxWaitMillis } = yield* pool.stats
        assert.deepStrictEqual([checkouts, averageWaitMillis, maxWaitMillis], [2, 2.5, 5])
      }).pipe(Effect.scoped, Effect.provideService(Clock.Clock, clock))
    }))
})

/** The clock of the test, to be changed in parts. */
const likeClock = (clock: Clock.Clock): Clock.Clock => ({
  currentTimeMillisUnsafe: () => clock.currentTimeMillisUnsafe(),
  currentTimeMillis: clock.currentTimeMillis,
  currentTimeNanosUnsafe: () => clock.currentTimeNanosUnsafe(),
  currentTimeNanos: clock.currentTimeNanos,
  monotonicTimeNanosUnsafe: () => clock.monotonicTimeNanosUnsafe(),
  monotonicTimeNanos: clock.monotonicTimeNanos,
  sleep: (duration) => clock.sleep(duration)
})
