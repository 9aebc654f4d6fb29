import { assert, describe, it } from "@effect/vitest"
import { Cause, Effect, Exit, Fiber, Scope, Stream } from "effect"
import { ConnectionFactory, ConnectionPool, type PoolEvent } from "effect-connection-pool"
import { PoolAssert } from "effect-connection-pool/testing"
import { TestClock } from "effect/testing"
import { borrow, type Connection, leaveRunning, make, type Pool, settle, shape } from "./support/pools.ts"

/** Every way in which a lease can end. */
const ends: Readonly<Record<string, (pool: Pool) => Effect.Effect<unknown, unknown>>> = {
  "whose effect succeeded": (pool) => pool.use((one) => one.start),
  "whose effect failed": (pool) => pool.use((one) => Effect.andThen(one.start, Effect.fail("no"))),
  "whose effect died": (pool) => pool.use((one) => Effect.andThen(one.start, Effect.die("no"))),
  "that was interrupted": (pool) =>
    Effect.gen(function*() {
      const fiber = yield* Effect.forkChild(pool.use((one) => Effect.andThen(one.start, Effect.never)))
      yield* settle
      yield* Fiber.interrupt(fiber)
    }),
  "whose effect timed out": (pool) =>
    Effect.gen(function*() {
      const fiber = yield* Effect.forkChild(
        Effect.timeout(pool.use((one) => Effect.andThen(one.start, Effect.never)), "1 second")
      )
      yield* TestClock.adjust("1 second")
      yield* Fiber.await(fiber)
    }),
  "whose synchronous function succeeded": (pool) => pool.useSync((one) => Effect.runSync(one.start)),
  "whose synchronous function threw": (pool) =>
    pool.useSync((one) => {
      Effect.runSync(one.start)
      throw new Error("no")
    }),
  "whose scope was closed": (pool) => Effect.scoped(Effect.flatMap(pool.acquire(), (one) => one.start)),
  "whose fiber was dropped": (pool) =>
    Effect.gen(function*() {
      const wrong = undefined as unknown as Effect.Effect<void>
      yield* Effect.forkDetach(pool.use((one) => Effect.flatMap(one.start, () => wrong)))
      yield* settle
      yield* pool.holders
      yield* settle
    })
}

/** The events from now on, as they come, without those of leases and of opening and closing. */
const record = Effect.fnUntraced(function*(pool: Pool) {
  const events: Array<PoolEvent.PoolEvent> = []
  yield* Effect.forkDetach(Stream.runForEach(pool.events, (event) => Effect.sync(() => void events.push(event))))
  yield* settle
  return events
})

describe("a connection on which something of its lease still runs", () => {
  for (const [how, end] of Object.entries(ends)) {
    it.effect(`is abandoned after a lease ${how}, and the caller goes on at once`, () =>
      Effect.gen(function*() {
        const { faulty, pool } = yield* make({ max: 1 })
        yield* faulty.settle.hold
        yield* Effect.exit(end(pool))
        assert.deepStrictEqual(yield* shape(pool), { abandoned: 1 })
        yield* PoolAssert.addUp(faulty, pool)
        const { abandonments, checkouts, returns, settlements } = yield* pool.stats
        assert.deepStrictEqual([checkouts, returns, abandonments, settlements], [1, 1, 1, 0])
        assert.deepStrictEqual(yield* pool.holders, [])
        yield* faulty.settle.open
        yield* settle
        assert.deepStrictEqual(yield* shape(pool), { idle: 1 })
        assert.strictEqual((yield* pool.stats).settlements, 1)
        yield* PoolAssert.nothingLeaked(faulty, pool)
      }))
  }

  it.effect("is abandoned again and again, and never twice for one lease", () =>
    Effect.gen(function*() {
      const { faulty, pool } = yield* make({ max: 1 })
      for (let lease = 1; lease <= 3; lease++) {
        yield* pool.use((one) => one.start)
        yield* pool.use((one) => one.run)
        const { abandonments, connects, settlements } = yield* pool.stats
        assert.deepStrictEqual([abandonments, settlements, connects], [lease, lease, 1])
      }
      yield* PoolAssert.nothingLeaked(faulty, pool)
    }))

  it.effect("is told as what runs on it, whose it was, and since when", () =>
    Effect.gen(function*() {
      const { faulty, pool } = yield* make({ max: 3 })
      yield* faulty.settle.hold
      const events = yield* record(pool)
      const first = yield* leaveRunning(pool, { label: "report" })
      yield* TestClock.adjust("2 seconds")
      const second = yield* leaveRunning(pool)
      yield* TestClock.adjust("1 second")
      const one = {
        connection: 1,
        label: "report",
        fiber: first.fiber.id,
        description: "what was started on connection 1"
      }
      const two = { connection: 2, fiber: second.fiber.id, description: "what was started on connection 2" }
      assert.deepStrictEqual(yield* pool.abandoned, [
        { ...one, abandonedMillis: 3000 },
        { ...two, abandonedMillis: 1000 }
      ])
      assert.deepStrictEqual(
        (yield* pool.connections).map(({ evictReason, id, idleMillis, state }) => [id, state, idleMillis, evictReason]),
        [[1, "abandoned", 3000, undefined], [2, "abandoned", 1000, undefined]]
      )
      yield* faulty.settle.fail()
      yield* faulty.settle.open
      yield* settle
      assert.deepStrictEqual(
        events.flatMap((event) =>
          event._tag === "ConnectionAbandoned"
            ? [[event._tag, event.abandoned]]
            : event._tag === "ConnectionSettled"
            ? [[event._tag, event.abandoned, event.error]]
            : []
        ),
        [
          ["ConnectionAbandoned", { ...one, abandonedMillis: 0 }],
          ["ConnectionAbandoned", { ...two, abandonedMillis: 0 }],
          ["ConnectionSettled", { ...one, abandonedMillis: 3000 }, undefined],
          ["ConnectionSettled", { ...two, abandonedMillis: 1000 }, undefined]
        ]
      )
      assert.deepStrictEqual(yield* pool.abandoned, [])
    }))

  it.effect("is reset when that has ended, then validated, and then lent", () =>
    Effect.gen(function*() {
      const { faulty, pool } = yield* make({ max: 1, maxAbandoned: 0 })
      yield* faulty.settle.hold
      yield* Effect.exit(pool.use((one) => Effect.andThen(one.start, Effect.andThen(one.soil, Effect.fail("no")))))
      const next = yield* borrow(pool)
      assert.deepStrictEqual(yield* shape(pool), { abandoned: 1, waiting: 1 })
      yield* faulty.settle.open
      yield* settle
      assert.strictEqual(next.connection!.id, 1)
      assert.deepStrictEqual((yield* faulty.log).map(({ operation }) => operation), [
        "connect",
        "begin lease",
        "start",
        "run",
        "end lease",
        "settle",
        "reset",
        "validate",
        "begin lease"
      ])
      yield* next.giveBack
      yield* PoolAssert.nothingLeaked(faulty, pool)
    }))

  it.effect("is idle from the moment at which that has ended", () =>
    Effect.gen(function*() {
      const { faulty, pool } = yield* make({ max: 1, idleTimeout: "1 minute" })
      yield* faulty.settle.hold
      yield* leaveRunning(pool)
      yield* TestClock.adjust("5 minutes")
      yield* faulty.settle.open
      yield* settle
      assert.deepStrictEqual(yield* shape(pool), { idle: 1 })
      yield* TestClock.adjust("59 seconds")
      assert.deepStrictEqual(yield* shape(pool), { idle: 1 })
      yield* TestClock.adjust("1 second")
      assert.deepStrictEqual(yield* shape(pool), {})
    }))

  it.effect("retires in time also if its lifetime ends after it has settled", () =>
    Effect.gen(function*() {
      const { faulty, pool } = yield* make({
        max: 1,
        driver: { withoutValidate: true },
        maxLifetime: "5 minutes",
        lifetimeJitter: 0,
        leakThreshold: "1 minute"
      })
      yield* faulty.settle.hold
      yield* leaveRunning(pool)
      yield* TestClock.adjust("2 minutes")
      yield* faulty.settle.open
      yield* TestClock.adjust("2 minutes")
      assert.deepStrictEqual(yield* shape(pool), { idle: 1 })
      yield* TestClock.adjust("1 minute")
      assert.deepStrictEqual(yield* shape(pool), {})
    }))

  it.effect("is no leak, and leaves no transaction open by mistake", () =>
    Effect.gen(function*() {
      const state = { isRunning: false }
      const factory = ConnectionFactory.make({
        connect: Effect.succeed({}),
        reset: () => Effect.void,
        isInTransaction: () => true,
        unfinished: () => state.isRunning ? { settled: Effect.sleep("10 minutes") } : undefined
      })
      const pool = yield* ConnectionPool.make({ factory, max: 1, leakThreshold: "1 minute" })
      const events: Array<string> = []
      yield* Effect.forkDetach(
        Stream.runForEach(pool.events, ({ _tag }) => Effect.sync(() => void events.push(_tag)))
      )
      yield* settle
      state.isRunning = true
      yield* pool.use(() => Effect.void)
      yield* TestClock.adjust("10 minutes")
      state.isRunning = false
      yield* pool.use(() => Effect.void)
      yield* settle
      assert.deepStrictEqual(events.filter((tag) => tag === "LeakSuspected" || tag === "TransactionLeftOpen"), [
        "TransactionLeftOpen"
      ])
      assert.strictEqual((yield* pool.stats).resets, 2)
    }))
})

/** What a driver can do wrong, or tell, about the end of what ran. */
const problems: Readonly<
  Record<string, { readonly settled: unknown; readonly message: string }>
> = {
  "if its driver could not see the end": { settled: Effect.fail(new Error("no answer")), message: "no answer" },
  "if its driver died of it": { settled: Effect.die(new Error("torn")), message: "torn" },
  "if its driver was interrupted": { settled: Effect.interrupt, message: "All fibers interrupted without error" },
  "if what its driver gave is no Effect": {
    settled: Promise.resolve(),
    message: "factory.unfinished: settled is an object (Promise), but must be an Effect"
  }
}

describe("an abandoned connection is evicted", () => {
  for (const [why, { message, settled }] of Object.entries(problems)) {
    it.effect(`${why}, and a waiter gets another`, () =>
      Effect.gen(function*() {
        let opened = 0
        let isRunning = true
        const unfinished = { settled: Effect.andThen(Effect.sleep("1 second"), settled as Effect.Effect<void>) }
        const factory = ConnectionFactory.make({
          connect: Effect.sync(() => ({ id: ++opened })),
          unfinished: ({ id }) =>
            id === 1 && isRunning
              ? why.endsWith("no Effect") ? { settled: settled as Effect.Effect<void> } : unfinished
              : undefined
        })
        const pool = yield* ConnectionPool.make({ factory, max: 1, maxAbandoned: 0 })
        const events: Array<PoolEvent.PoolEvent> = []
        yield* Effect.forkDetach(Stream.runForEach(pool.events, (event) => Effect.sync(() => void events.push(event))))
        yield* settle
        yield* pool.use(() => Effect.void)
        isRunning = false
        const next = yield* Effect.forkChild(pool.use(({ id }) => Effect.succeed(id)))
        yield* TestClock.adjust("1 second")
        assert.strictEqual(yield* Fiber.join(next), 2)
        const { evictions, settlements } = yield* pool.stats
        assert.deepStrictEqual([evictions.abandoned, settlements], [1, 1])
        const errors = events.flatMap((event) =>
          event._tag === "ConnectionSettled" || event._tag === "Evicted" ? [event.error] : []
        )
        assert.deepStrictEqual(errors.map((error) => (error as Error).message), [message, message])
      }))
  }

  it.effect("at once if its driver reports its death, and the wait for the end is interrupted", () =>
    Effect.gen(function*() {
      const { faulty, pool } = yield* make({ max: 1, maxAbandoned: 0 })
      yield* faulty.settle.hold
      yield* leaveRunning(pool)
      const next = yield* borrow(pool)
      yield* faulty.drop(1)
      yield* settle
      assert.strictEqual(next.connection!.id, 2)
      assert.strictEqual(yield* faulty.settle.waiting, 0)
      const { evictions, settlements } = yield* pool.stats
      assert.deepStrictEqual([evictions.dead, settlements], [1, 1])
      yield* next.giveBack
      yield* PoolAssert.nothingLeaked(faulty, pool)
    }))

  it.effect("when that has ended, if it is not alive then", () =>
    Effect.gen(function*() {
      const { faulty, pool } = yield* make({ max: 1 })
      yield* faulty.settle.hold
      yield* leaveRunning(pool)
      yield* faulty.kill(1)
      yield* settle
      assert.deepStrictEqual(yield* shape(pool), { abandoned: 1 })
      yield* faulty.settle.open
      yield* settle
      assert.deepStrictEqual(yield* shape(pool), {})
      assert.strictEqual((yield* pool.stats).evictions.dead, 1)
      yield* PoolAssert.allClosed(faulty, pool)
    }))

  const later: Readonly<
    Record<string, (pool: Pool, connection: Connection) => Effect.Effect<unknown>>
  > = {
    recycled: (pool) => pool.recycle,
    invalidated: (pool, connection) => pool.invalidate(connection),
    lifetime: () => TestClock.adjust("1 hour")
  }
  for (const [reason, act] of Object.entries(later)) {
    it.effect(`when that has ended, not sooner: ${reason}`, () =>
      Effect.gen(function*() {
        const { faulty, pool } = yield* make({ max: 1, maxLifetime: "30 minutes" })
        yield* faulty.settle.hold
        const { connection } = yield* leaveRunning(pool)
        yield* act(pool, connection!)
        yield* settle
        assert.deepStrictEqual(yield* shape(pool), { abandoned: 1 })
        yield* faulty.settle.open
        yield* settle
        assert.deepStrictEqual(yield* shape(pool), {})
        assert.strictEqual((yield* pool.stats).evictions[reason as "recycled"], 1)
        yield* PoolAssert.allClosed(faulty, pool)
      }))
  }

  it.effect("when that has ended, if it was its last use", () =>
    Effect.gen(function*() {
      const { faulty, pool } = yield* make({ max: 1, maxUses: 1 })
      yield* pool.use((one) => one.start)
      yield* settle
      assert.deepStrictEqual([(yield* pool.stats).evictions.uses, (yield* faulty.counters).closed], [1, 1])
    }))

  it.effect("if the driver throws when it is asked, at once", () =>
    Effect.gen(function*() {
      const factory = ConnectionFactory.make({
        connect: Effect.succeed({}),
        unfinished: () => {
          throw new Error("no")
        }
      })
      const pool = yield* ConnectionPool.make({ factory, max: 1 })
      assert.strictEqual(yield* pool.use(() => Effect.succeed(7)), 7)
      yield* settle
      const { abandonments, evictions, total } = yield* pool.stats
      assert.deepStrictEqual([abandonments, evictions.driver, total], [0, 1, 0])
    }))

  it.effect("and its driver must not use the pool meanwhile", () =>
    Effect.gen(function*() {
      let use: Effect.Effect<unknown, unknown> = Effect.void
      const exits: Array<Exit.Exit<unknown, unknown>> = []
      const factory = ConnectionFactory.make({
        connect: Effect.succeed({}),
        unfinished: () => {
          exits.push(Effect.runSyncExit(use))
          return undefined
        }
      })
      const pool = yield* ConnectionPool.make({ factory, max: 1 })
      use = pool.use(() => Effect.void)
      yield* pool.use(() => Effect.void)
      assert.deepStrictEqual(exits.map((exit) => Exit.isFailure(exit) && Cause.hasDies(exit.cause)), [true])
      assert.deepStrictEqual(yield* shape(pool), { idle: 1 })
    }))
})

describe("a scope of an acquire", () => {
  it.effect("that another fiber closes while something runs ends the lease, and the view of the connection", () =>
    Effect.gen(function*() {
      const { faulty, pool } = yield* make({ max: 1 })
      yield* faulty.settle.hold
      const scope = yield* Scope.make()
      const connection = yield* Scope.provide(pool.acquire(), scope)
      yield* connection.start
      yield* Scope.close(scope, Exit.void)
      assert.deepStrictEqual(yield* shape(pool), { abandoned: 1 })
      yield* PoolAssert.failsWith(connection.run, "LeaseExpiredError")
      yield* faulty.settle.open
      yield* settle
      yield* PoolAssert.nothingLeaked(faulty, pool)
    }))
})
