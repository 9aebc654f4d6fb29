import { assert, describe, it } from "@effect/vitest"
import { Effect, Fiber, Scheduler } from "effect"
import { ConnectionPool } from "effect-connection-pool"
import { PoolAssert } from "effect-connection-pool/testing"
import { TestClock } from "effect/testing"
import { borrow, make, settle, shape } from "./support/pools.ts"

describe("invalidate", () => {
  it.effect("closes an idle connection at once", () =>
    Effect.gen(function*() {
      const { faulty, pool } = yield* make()
      const kept = yield* pool.use((connection) => Effect.succeed(connection))
      assert.isTrue(yield* pool.invalidate(kept))
      assert.deepStrictEqual(yield* shape(pool), {})
      assert.isFalse(yield* pool.invalidate(kept))
      yield* PoolAssert.nothingLeaked(faulty, pool)
    }))

  it.effect("closes one in use when it comes back", () =>
    Effect.gen(function*() {
      const { faulty, pool } = yield* make({ max: 1 })
      const lease = yield* borrow(pool)
      const waiting = yield* borrow(pool)
      assert.isTrue(yield* pool.invalidate(lease.connection!))
      assert.isTrue(yield* pool.invalidate(lease.connection!))
      assert.deepStrictEqual(yield* shape(pool), { inUse: 1, waiting: 1 })
      assert.deepStrictEqual((yield* pool.connections).map((connection) => connection.evictReason), ["invalidated"])
      yield* lease.giveBack
      assert.strictEqual(waiting.connection?.id, 2)
      yield* waiting.giveBack
      yield* PoolAssert.nothingLeaked(faulty, pool)
    }))

  const open = <C>(connections: ReadonlyArray<C>, wrap?: (connection: C) => C) => {
    let next = 0
    return ConnectionPool.make({
      factory: {
        connect: Effect.sync(() => connections[next++]!),
        ...(wrap === undefined ? undefined : { beginLease: wrap })
      },
      max: connections.length,
      min: connections.length,
      start: "eager"
    })
  }

  it.effect("knows a connection that is a primitive, also one that is not equal to itself", () =>
    Effect.gen(function*() {
      for (const connection of [NaN, 0, "", null, undefined, Symbol("connection")] as const) {
        const pool = yield* open<unknown>([connection])
        assert.isTrue(yield* pool.invalidate(connection))
        yield* Effect.yieldNow
        assert.strictEqual((yield* pool.stats).evictions.invalidated, 1)
      }
      const pool = yield* open<unknown>([0, NaN])
      assert.isFalse(yield* pool.invalidate(-0))
      assert.isFalse(yield* pool.invalidate(undefined))
    }))

  it.effect("of a value that stands for several connections evicts them all, because any may be broken", () =>
    Effect.gen(function*() {
      const one = {}
      const pool = yield* open<object>([one, one, {}])
      yield* pool.use(() => Effect.map(pool.invalidate(one), (has) => assert.isTrue(has)))
      assert.strictEqual((yield* pool.stats).evictions.invalidated, 2)
    }))

  it.effect("knows a lent connection during its lease and after it, but not a closed or a foreign one", () =>
    Effect.gen(function*() {
      const pool = yield* open<object>([{}], () => ({}))
      const lent = yield* pool.use((lent) =>
        Effect.as(pool.use(() => Effect.void, { timeout: 0 }).pipe(Effect.exit), lent)
      )
      assert.isFalse(yield* pool.invalidate({}))
      assert.isTrue(yield* pool.invalidate(lent))
      yield* Effect.yieldNow
      assert.isFalse(yield* pool.invalidate(lent))
      const next = yield* open<object>([{}], () => ({}))
      yield* next.use((lent) =>
        Effect.gen(function*() {
          assert.isTrue(yield* next.invalidate(lent))
          // It has it, still, and evicts it once.
          assert.isTrue(yield* next.invalidate(lent))
        })
      )
      assert.strictEqual((yield* next.stats).evictions.invalidated, 1)
    }))

  it.effect("does nothing to a connection that is not the pool's", () =>
    Effect.gen(function*() {
      const { pool } = yield* make()
      const { pool: other } = yield* make()
      const foreign = yield* other.use((connection) => Effect.succeed(connection))
      yield* pool.use(() => Effect.void)
      assert.isFalse(yield* pool.invalidate(foreign))
      assert.deepStrictEqual(yield* shape(pool), { idle: 1 })
    }))
})

describe("recycle", () => {
  it.effect("closes the idle now and the others when they come back, and opens new ones", () =>
    Effect.gen(function*() {
      const { faulty, pool } = yield* make({ min: 2, max: 4 })
      const leases = [yield* borrow(pool), yield* borrow(pool), yield* borrow(pool)]
      yield* leases[0]!.giveBack
      assert.strictEqual(yield* pool.recycle, 3)
      yield* settle
      assert.deepStrictEqual(
        (yield* pool.connections).map(({ evictReason, generation, state }) => [state, generation, evictReason]),
        [["idle", 2, undefined], ["idle", 2, undefined], ["in use", 1, "recycled"], ["in use", 1, "recycled"]]
      )
      for (const lease of leases.slice(1)) yield* lease.giveBack
      yield* settle
      assert.deepStrictEqual(yield* shape(pool), { idle: 2 })
      assert.strictEqual((yield* pool.stats).evictions.recycled, 3)
      yield* PoolAssert.nothingLeaked(faulty, pool)
    }))

  it.effect("does not lend connections that were being opened, validated or reset before it", () =>
    Effect.gen(function*() {
      const { faulty, pool } = yield* make({ max: 3 })
      const leases = [yield* borrow(pool), yield* borrow(pool)]
      yield* leases[0]!.giveBack
      yield* TestClock.adjust("10 seconds")
      yield* Effect.all([faulty.connect.hold, faulty.validate.hold, faulty.reset.hold])
      yield* leases[1]!.connection!.soil
      yield* leases[1]!.giveBack
      const callers = yield* Effect.forEach([1, 2, 3], () => borrow(pool))
      assert.deepStrictEqual(yield* shape(pool), { connecting: 1, validating: 1, resetting: 1, waiting: 3 })
      assert.strictEqual(yield* pool.recycle, 3)
      yield* Effect.all([faulty.connect.open, faulty.validate.open, faulty.reset.open])
      yield* settle
      assert.isTrue(callers.every((caller) => caller.connection!.id > 3))
      for (const caller of callers) yield* caller.giveBack
      yield* PoolAssert.nothingLeaked(faulty, pool)
    }))
})

describe("pause", () => {
  it.effect("stops lending and opening, not returning; resume serves those in line first", () =>
    Effect.gen(function*() {
      const { faulty, pool } = yield* make({ max: 2 })
      const lease = yield* borrow(pool)
      yield* pool.pause
      yield* pool.pause
      const order: Array<number> = []
      const callers: Array<Fiber.Fiber<number, unknown>> = []
      for (let caller = 0; caller < 3; caller++) {
        callers.push(yield* Effect.forkChild(pool.use(() => Effect.sync(() => order.push(caller)))))
        yield* settle
      }
      yield* lease.giveBack
      assert.deepStrictEqual(yield* shape(pool), { idle: 1, waiting: 3 })
      yield* pool.resume
      yield* pool.resume
      yield* Fiber.joinAll(callers)
      assert.deepStrictEqual(order, [0, 1, 2])
      yield* PoolAssert.nothingLeaked(faulty, pool)
    }))

  it.effect("leaves the restoring of min to resume", () =>
    Effect.gen(function*() {
      const { faulty, pool } = yield* make({ min: 2, max: 2 })
      yield* pool.pause
      yield* pool.recycle
      yield* TestClock.adjust("1 minute")
      assert.deepStrictEqual(yield* shape(pool), {})
      yield* pool.resume
      yield* settle
      assert.deepStrictEqual(yield* shape(pool), { idle: 2 })
      yield* PoolAssert.nothingLeaked(faulty, pool)
    }))

  it.effect("keeps connections that were being opened for the waiters", () =>
    Effect.gen(function*() {
      const { faulty, pool } = yield* make({ max: 1 })
      yield* faulty.connect.hold
      const caller = yield* borrow(pool)
      yield* pool.pause
      yield* faulty.connect.open
      yield* settle
      assert.deepStrictEqual(yield* shape(pool), { idle: 1, waiting: 1 })
      yield* pool.resume
      yield* settle
      assert.strictEqual(caller.connection?.id, 1)
    }))
})

describe("resize", () => {
  it.effect("up serves waiters at once", () =>
    Effect.gen(function*() {
      const { faulty, pool } = yield* make({ max: 1 })
      const leases = yield* Effect.forEach([1, 2, 3], () => borrow(pool))
      assert.deepStrictEqual(yield* shape(pool), { inUse: 1, waiting: 2 })
      yield* pool.resize({ max: 3 })
      yield* settle
      assert.deepStrictEqual(yield* shape(pool), { inUse: 3 })
      for (const lease of leases) yield* lease.giveBack
      yield* PoolAssert.nothingLeaked(faulty, pool)
    }))

  it.effect("down closes idle connections at once, and those in use as they come back", () =>
    Effect.gen(function*() {
      const { faulty, pool } = yield* make({ max: 6 })
      const leases = yield* Effect.forEach([1, 2, 3, 4, 5, 6], () => borrow(pool))
      yield* leases[0]!.giveBack
      yield* leases[1]!.giveBack
      yield* pool.resize({ max: 3 })
      assert.deepStrictEqual(yield* shape(pool), { inUse: 4 })
      assert.strictEqual((yield* pool.stats).max, 3)
      yield* leases[2]!.giveBack
      assert.deepStrictEqual(yield* shape(pool), { inUse: 3 })
      yield* leases[3]!.giveBack
      assert.deepStrictEqual(yield* shape(pool), { idle: 1, inUse: 2 })
      yield* leases[4]!.giveBack
      yield* leases[5]!.giveBack
      assert.strictEqual((yield* pool.stats).evictions.excess, 3)
      yield* PoolAssert.nothingLeaked(faulty, pool)
    }))

  it.effect("down does not keep what is still being opened", () =>
    Effect.gen(function*() {
      const { faulty, pool } = yield* make({ max: 3 })
      yield* faulty.connect.hold
      const callers = yield* Effect.forEach([1, 2, 3], () => borrow(pool))
      yield* pool.resize({ max: 1 })
      yield* faulty.connect.open
      yield* settle
      assert.deepStrictEqual(yield* shape(pool), { inUse: 1, waiting: 2 })
      for (const caller of callers) yield* caller.giveBack
      yield* PoolAssert.nothingLeaked(faulty, pool)
    }))

  it.effect("of min opens the missing connections", () =>
    Effect.gen(function*() {
      const { pool } = yield* make({ max: 5 })
      yield* pool.resize({ min: 3 })
      yield* settle
      assert.deepStrictEqual(yield* shape(pool), { idle: 3 })
      assert.strictEqual((yield* pool.stats).min, 3)
    }))

  it.effect("changes only the options that it names, when it is run", () =>
    Effect.gen(function*() {
      const { pool } = yield* make({ min: 1, max: 2 })
      yield* Effect.all([pool.resize({ max: 20 }), pool.resize({ min: 4 })])
      const { max, min } = yield* pool.stats
      assert.deepStrictEqual([min, max], [4, 20])
    }))

  it.effect("does not undo another that came between", () =>
    Effect.gen(function*() {
      for (let operations = 3; operations <= 12; operations++) {
        for (let turns = 0; turns < 6; turns++) {
          const { pool } = yield* make({ max: 4 })
          const resizing = yield* Effect.forkDetach(
            Effect.provideService(pool.resize({ min: 1 }), Scheduler.MaxOpsBeforeYield, operations)
          )
          for (let turn = 0; turn < turns; turn++) yield* Effect.yieldNow
          yield* pool.resize({ max: 9 })
          yield* Fiber.join(resizing)
          const { max, min } = yield* pool.stats
          assert.deepStrictEqual({ max, min }, { max: 9, min: 1 })
        }
      }
    }))

  it.effect("to invalid values is refused and changes nothing", () =>
    Effect.gen(function*() {
      const { pool } = yield* make({ min: 1, max: 2 })
      for (const bounds of [{ max: 0 }, { min: -1 }, { min: 3 }, { max: 1.5 }, { min: 2, max: 1 }]) {
        yield* PoolAssert.failsWith(pool.resize(bounds), "PoolConfigError")
      }
      const error = yield* PoolAssert.failsWith(pool.resize({ maxx: 3 } as never), "PoolConfigError")
      assert.deepStrictEqual(error.problems, [
        { field: "maxx", value: "3", message: "maxx is no option; did you mean max?" }
      ])
      const { max, min } = yield* pool.stats
      assert.deepStrictEqual([min, max], [1, 2])
    }))
})
