import { assert, describe, it } from "@effect/vitest"
import { Effect, Fiber } from "effect"
import { ConnectionFactory, ConnectionPool } from "effect-connection-pool"
import { FaultyFactory, PoolAssert } from "effect-connection-pool/testing"
import { TestClock } from "effect/testing"
import { borrow, type Connection, make, type Pool, settle, shape } from "./support/pools.ts"

const ways = {
  use: (pool: Pool) => pool.use(({ id }) => Effect.succeed(id)),
  useSync: (pool: Pool) => pool.useSync(({ id }) => id),
  acquire: (pool: Pool) => Effect.scoped(Effect.map(pool.acquire(), ({ id }) => id))
}

describe("a driver that reports the death of a connection", () => {
  it.effect("gets idle connections evicted at once, and min restored, without any caller", () =>
    Effect.gen(function*() {
      const { faulty, pool } = yield* make({ min: 4, max: 4, driver: { withoutIsAlive: true, withoutValidate: true } })
      for (const id of [1, 2, 3, 4]) yield* faulty.drop(id)
      yield* settle
      assert.deepStrictEqual((yield* pool.connections).map(({ id, state }) => [id, state]), [
        [5, "idle"],
        [6, "idle"],
        [7, "idle"],
        [8, "idle"]
      ])
      assert.strictEqual((yield* pool.stats).evictions.dead, 4)
      yield* PoolAssert.nothingLeaked(faulty, pool)
    }))

  it.effect("gets a connection in use evicted when it comes back, however its lease ended", () =>
    Effect.gen(function*() {
      const { faulty, pool } = yield* make({ max: 1, driver: { withoutIsAlive: true } })
      const holder = yield* borrow(pool)
      const next = yield* borrow(pool)
      yield* faulty.drop(1)
      assert.deepStrictEqual(yield* shape(pool), { inUse: 1, waiting: 1 })
      yield* holder.giveBack
      assert.strictEqual(next.connection?.id, 2)
      yield* next.giveBack
      assert.deepStrictEqual([(yield* pool.stats).evictions.dead, (yield* faulty.counters).resets], [1, 0])
      yield* PoolAssert.nothingLeaked(faulty, pool)
    }))

  for (const operation of ["validate", "reset"] as const) {
    it.effect(`does not have to wait for the end of a ${operation}`, () =>
      Effect.gen(function*() {
        const { faulty, pool } = yield* make({ max: 1, driver: { withoutIsAlive: true } })
        yield* faulty[operation].hang()
        yield* Effect.exit(pool.use((one) => operation === "reset" ? one.soil : Effect.die("no")))
        const next = yield* borrow(pool)
        assert.deepStrictEqual(yield* shape(pool), {
          [operation === "reset" ? "resetting" : "validating"]: 1,
          waiting: 1
        })
        yield* faulty.drop(1)
        yield* settle
        assert.strictEqual(next.connection?.id, 2)
        assert.strictEqual((yield* pool.stats).evictions.dead, 1)
        yield* next.giveBack
        yield* PoolAssert.nothingLeaked(faulty, pool)
      }))
  }

  it.effect("is heard in the middle of a round of checks", () =>
    Effect.gen(function*() {
      const { faulty, pool } = yield* make({ min: 2, max: 2 })
      yield* faulty.validate.hang(1)
      const check = yield* Effect.forkChild(pool.check())
      yield* settle
      yield* faulty.drop(1)
      const { failed, passed } = yield* Fiber.join(check)
      assert.deepStrictEqual([passed, failed], [1, [{ connection: 1, reason: "dead" }]])
      yield* settle
      assert.deepStrictEqual(yield* shape(pool), { idle: 2 })
      yield* PoolAssert.nothingLeaked(faulty, pool)
    }))

  it.effect("is ignored when it says so twice, or after the connection was closed, or the pool", () =>
    Effect.gen(function*() {
      const notices: Array<() => void> = []
      let closed = 0
      const factory = ConnectionFactory.make({
        connect: (died) =>
          Effect.acquireRelease(
            Effect.sync(() => ({ id: notices.push(died) })),
            () =>
              Effect.sync(() => {
                closed++
                // As the close event of a socket that is closed on purpose.
                for (const notice of notices) notice()
              })
          )
      })
      const pool = yield* ConnectionPool.make({ factory, min: 1, max: 2 })
      notices[0]!()
      notices[0]!()
      yield* settle
      notices[0]!()
      assert.deepStrictEqual(yield* shape(pool), { idle: 1 })
      assert.strictEqual((yield* pool.stats).evictions.dead, closed)
      yield* pool.shutdown()
      for (const notice of notices) notice()
      yield* settle
      const { disconnects, evictions, total } = yield* pool.stats
      assert.deepStrictEqual([total, disconnects, evictions.shutdown], [0, notices.length, 1])
    }))

  it.effect("may say so before the connection is open, and then it is never lent, nor opened again without a pause", () =>
    Effect.gen(function*() {
      let opened = 0
      const factory = ConnectionFactory.make({
        connect: (died) =>
          Effect.sync(() => {
            if (++opened < 1000) died()
            return { id: opened }
          })
      })
      const pool = yield* ConnectionPool.make({ factory, min: 1, max: 2, start: "lazy" })
      const waiting = yield* Effect.forkChild(
        PoolAssert.failsWith(pool.use(() => Effect.void, { timeout: "1 minute" }), "AcquireTimeoutError")
      )
      yield* TestClock.adjust("1 minute")
      yield* Fiber.join(waiting)
      assert.isAtMost(opened, 45)
      assert.strictEqual((yield* pool.stats).evictions.dead, opened)
    }))

  it.effect("may say so while the pool asks it something, and the answer counts no less", () =>
    Effect.gen(function*() {
      const notices: Array<() => void> = []
      let opened = 0
      const factory = ConnectionFactory.make({
        connect: (died) =>
          Effect.sync(() => {
            notices.push(died)
            return { id: ++opened }
          }),
        isAlive: ({ id }) => {
          if (id === 1) notices[0]!()
          return true
        }
      })
      const pool = yield* ConnectionPool.make({ factory, max: 1 })
      yield* Effect.exit(pool.use(() => Effect.void))
      yield* settle
      assert.strictEqual(yield* pool.use(({ id }) => Effect.succeed(id)), 2)
      yield* PoolAssert.failsWith(pool.use(() => Effect.fail({ _tag: "No" as const })), "No")
    }))

  it.effect("may say so from a synchronous lease", () =>
    Effect.gen(function*() {
      const { faulty, pool } = yield* make({ max: 1, driver: { withoutIsAlive: true } })
      yield* pool.useSync(({ id }) => Effect.runSync(faulty.drop(id)))
      assert.strictEqual(yield* pool.useSync(({ id }) => id), 2)
      yield* PoolAssert.nothingLeaked(faulty, pool)
    }))

  it.effect("reaches a connect that is an effect as a service, which does nothing outside a pool", () =>
    Effect.gen(function*() {
      const faulty = yield* FaultyFactory.make()
      const connection = yield* faulty.factory.connect
      yield* faulty.drop(connection.id)
      yield* PoolAssert.failsWith(connection.run, "FaultyError")
    }))
})

describe("idle connections that die without a word", () => {
  it.effect("count for min until a caller needs them, or keepalive validates them", () =>
    Effect.gen(function*() {
      const { faulty, pool } = yield* make({ min: 2, max: 2, keepalive: "1 minute" })
      yield* faulty.kill(1)
      yield* faulty.kill(2)
      yield* TestClock.adjust("59 seconds")
      assert.strictEqual((yield* faulty.counters).attempts, 2)
      yield* TestClock.adjust("1 second")
      yield* settle
      assert.deepStrictEqual(yield* shape(pool), { idle: 2 })
      assert.strictEqual((yield* faulty.counters).attempts, 4)
      yield* PoolAssert.nothingLeaked(faulty, pool)
    }))

  for (const [name, way] of Object.entries(ways)) {
    it.effect(`are replaced for min by the lease that finds one (${name}), although its close takes long`, () =>
      Effect.gen(function*() {
        const { faulty, pool } = yield* make({ min: 2, max: 3 })
        yield* faulty.disconnect.hold
        yield* faulty.connect.hold
        yield* faulty.kill(2)
        // The caller does not wait for the replacement, and does not open another.
        assert.strictEqual(yield* way(pool), 1)
        assert.deepStrictEqual(yield* shape(pool), { connecting: 1, idle: 1, closing: 1 })
        yield* faulty.connect.open
        yield* settle
        const { checkouts, connectAttempts, returns } = yield* pool.stats
        assert.deepStrictEqual([connectAttempts, checkouts, returns], [3, 1, 1])
        yield* faulty.disconnect.open
        yield* settle
        assert.deepStrictEqual(yield* shape(pool), { idle: 2 })
        yield* PoolAssert.nothingLeaked(faulty, pool)
      }))
  }

  it.effect("leave the order of arrival as it is: who finds one is served before who asks after it", () =>
    Effect.gen(function*() {
      const { faulty, pool } = yield* make({ min: 1, max: 2 })
      yield* faulty.disconnect.hold
      yield* faulty.kill(1)
      const finder = yield* borrow(pool)
      const next = yield* borrow(pool)
      assert.strictEqual(finder.connection?.id, 2)
      assert.deepStrictEqual(yield* shape(pool), { inUse: 1, closing: 1, waiting: 1 })
      yield* finder.giveBack
      assert.strictEqual(next.connection?.id, 2)
      yield* next.giveBack
      yield* faulty.disconnect.open
      yield* settle
      yield* PoolAssert.nothingLeaked(faulty, pool)
    }))
})

describe("an idle connection whose driver throws when it is lent", () => {
  for (const [name, way] of Object.entries(ways)) {
    it.effect(`is replaced for min by the lease that finds it (${name}), although its close takes long`, () =>
      Effect.gen(function*() {
        const faulty = yield* FaultyFactory.make()
        const factory = ConnectionFactory.make<Connection, FaultyFactory.FaultyError>({
          ...faulty.factory,
          beginLease: (connection, pool) => {
            if (connection.id === 2) throw new Error("no")
            return faulty.factory.beginLease!(connection, pool)
          }
        })
        const pool: Pool = yield* ConnectionPool.make({ factory, min: 2, max: 3, drainTimeout: 0 })
        yield* Effect.addFinalizer(() => Effect.andThen(faulty.connect.open, faulty.disconnect.open))
        yield* settle
        yield* faulty.disconnect.hold
        yield* faulty.connect.hold
        assert.strictEqual(yield* way(pool), 1)
        assert.deepStrictEqual(yield* shape(pool), { connecting: 1, idle: 1, closing: 1 })
        yield* faulty.connect.open
        yield* settle
        const { connectAttempts, evictions } = yield* pool.stats
        assert.deepStrictEqual([connectAttempts, evictions.driver], [3, 1])
        yield* faulty.disconnect.open
        yield* settle
        assert.deepStrictEqual(yield* shape(pool), { idle: 2 })
        yield* PoolAssert.nothingLeaked(faulty, pool)
      }))
  }
})
