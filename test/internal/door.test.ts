/** What only other modules of this library may do with a pool. */
import { assert, describe, it } from "@effect/vitest"
import { Effect, Exit, Fiber, Logger, Metric } from "effect"
import { ConnectionFactory, ConnectionPool, PoolEvent } from "effect-connection-pool"
import { PoolAssert } from "effect-connection-pool/testing"
import * as Door from "../../src/internal/pool/door.ts"
import * as GroupDriver from "../support/groupDriver.ts"
import { borrow, make, settle, shape } from "../support/pools.ts"

describe("a connection that a fiber asks for without a scope", () => {
  it.effect("is held until the lease is ended, once", () =>
    Effect.gen(function*() {
      const { faulty, pool } = yield* make({ min: 1, max: 1 })
      yield* settle
      yield* Effect.withFiber((fiber) =>
        Effect.gen(function*() {
          const asked = Door.askOf(pool)!(fiber, { label: "report" })
          // It is there in the step in which the fiber has asked.
          assert.isTrue(Exit.isExit(asked.connection))
          assert.strictEqual((yield* asked.connection).id, 1)
          assert.deepStrictEqual((yield* pool.holders).map(({ fiber: id, label }) => [id, label]), [[
            fiber.id,
            "report"
          ]])
          asked.end(Exit.void)
          asked.end(Exit.void)
          assert.deepStrictEqual(yield* shape(pool), { idle: 1 })
        })
      )
      yield* PoolAssert.nothingLeaked(faulty, pool)
    }))

  it.effect("is waited for in line if none is idle, and goes on to the next if the wait is ended", () =>
    Effect.gen(function*() {
      const { faulty, pool } = yield* make({ min: 1, max: 1 })
      yield* settle
      const lease = yield* borrow(pool)
      const got: Array<string> = []
      const asker = (name: string) =>
        Effect.withFiber((fiber) => {
          const asked = Door.askOf(pool)!(fiber, undefined)
          return Effect.onExit(
            Effect.tap(asked.connection, () => Effect.sync(() => got.push(name))),
            (exit) => Effect.sync(() => asked.end(exit))
          )
        })
      const first = yield* Effect.forkChild(asker("first"))
      const second = yield* Effect.forkChild(asker("second"))
      const third = yield* Effect.forkChild(asker("third"))
      yield* settle
      assert.deepStrictEqual(yield* shape(pool), { inUse: 1, waiting: 3 })
      yield* Fiber.interrupt(first)
      assert.deepStrictEqual(yield* shape(pool), { inUse: 1, waiting: 2 })
      yield* lease.giveBack
      yield* Fiber.joinAll([second, third])
      assert.deepStrictEqual([got, yield* shape(pool)], [["second", "third"], { idle: 1 }])
      assert.strictEqual((yield* pool.stats).cancelled, 1)
      yield* PoolAssert.nothingLeaked(faulty, pool)
    }))

  it.effect("is not lent with invalid options", () =>
    Effect.gen(function*() {
      const { faulty, pool } = yield* make({ min: 1, max: 1 })
      yield* settle
      const asked = yield* Effect.withFiber((fiber) => Effect.succeed(Door.askOf(pool)!(fiber, { timeout: -1 })))
      yield* PoolAssert.failsWith(asked.connection, "PoolConfigError")
      asked.end(Exit.void)
      assert.deepStrictEqual([yield* shape(pool), (yield* pool.stats).checkouts], [{ idle: 1 }, 0])
      yield* PoolAssert.nothingLeaked(faulty, pool)
    }))

  it.effect("is not lent if its driver throws when the lease begins: then it is evicted", () =>
    Effect.gen(function*() {
      let mistakes = 1
      const factory = ConnectionFactory.make({
        connect: Effect.succeed({}),
        beginLease: (connection) => {
          if (mistakes-- > 0) throw new Error("the driver has a bug")
          return connection
        }
      })
      const pool = yield* ConnectionPool.make({ factory, min: 1, max: 1, drainTimeout: 0 })
      yield* Effect.withFiber((fiber) => {
        const asked = Door.askOf(pool)!(fiber, undefined)
        assert.isFalse(Exit.isExit(asked.connection))
        // It waits for the next one.
        return Effect.ensuring(asked.connection, Effect.sync(() => asked.end()))
      })
      const { checkouts, evictions } = yield* pool.stats
      assert.deepStrictEqual([checkouts, evictions.driver], [1, 1])
    }))
})

describe("the holder of a connection", () => {
  it.effect("is known while the lease lasts, and only then", () =>
    Effect.gen(function*() {
      const { faulty, pool } = yield* make({ max: 1 })
      const { holderOf } = Door.of(pool)!
      const lease = yield* borrow(pool, { label: "report" })
      assert.deepStrictEqual(holderOf(lease.connection), {
        connection: 1,
        label: "report",
        fiber: lease.fiber.id,
        heldMillis: 0
      })
      yield* lease.giveBack
      assert.isUndefined(holderOf(lease.connection))
      assert.isUndefined(holderOf({}))
      yield* PoolAssert.nothingLeaked(faulty, pool)
    }))
})

describe("an event of another module", () => {
  it.effect("is an event of the pool until it is closed", () =>
    Effect.gen(function*() {
      const lines: Array<string> = []
      const logger = Logger.make(({ message }) => void lines.push(String(message)))
      yield* Effect.gen(function*() {
        const { pool } = yield* make({ max: 1 })
        const { announce } = Door.of(pool)!
        announce(PoolEvent.Recycled({ connections: 1 }))
        yield* pool.shutdown()
        announce(PoolEvent.Recycled({ connections: 2 }))
        yield* settle
      }).pipe(Effect.provide(Logger.layer([logger])))
      assert.deepStrictEqual(lines, ["recycled: 1 connection is evicted"])
    }))
})

describe("the metrics of groups", () => {
  it.effect("are there for a pool with metrics only", () =>
    Effect.gen(function*() {
      const ofGroups = Effect.map(
        Metric.snapshot,
        (all) =>
          all.filter(({ id }) => id.includes("group")).map(({ attributes }) =>
            attributes?.["db.client.connection.pool.name"]
          )
      )
      yield* GroupDriver.make({ name: "without", metrics: false })
      assert.deepStrictEqual(yield* ofGroups, [])
      yield* GroupDriver.make({ name: "with" })
      assert.deepStrictEqual(yield* ofGroups, ["with", "with"])
    }).pipe(Effect.provideService(Metric.MetricRegistry, new Map())))
})
