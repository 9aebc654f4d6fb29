import { assert, describe, it } from "@effect/vitest"
import { Cause, Data, Effect, Exit, Fiber, Scope } from "effect"
import { type ConnectionFactory, ConnectionPool } from "effect-connection-pool"
import { type FaultyFactory, PoolAssert } from "effect-connection-pool/testing"
import { TestClock } from "effect/testing"
import { borrow, type Connection, make, type Pool, settle, shape } from "./support/pools.ts"

class Lost extends Data.TaggedError("Lost")<{}> {}
class Wrong extends Data.TaggedError("Wrong")<{}> {}

/** Every way in which a lease can end that did not succeed, on a connection that was lost under it. */
const ends: Readonly<
  Record<string, (pool: Pool, lose: (connection: Connection) => Effect.Effect<void>) => Effect.Effect<unknown, unknown>>
> = {
  "whose effect failed": (pool, lose) => pool.use((one) => Effect.andThen(lose(one), Effect.fail("no"))),
  "whose effect died": (pool, lose) => pool.use((one) => Effect.andThen(lose(one), Effect.die("no"))),
  "whose effect was interrupted from inside": (pool, lose) =>
    pool.use((one) => Effect.andThen(lose(one), Effect.interrupt)),
  "whose function threw": (pool, lose) =>
    pool.use((one) => {
      Effect.runSync(lose(one))
      throw new Error("no")
    }),
  "that was given no effect": (pool, lose) =>
    pool.use((one) => {
      Effect.runSync(lose(one))
      return undefined as never
    }),
  "whose synchronous function threw": (pool, lose) =>
    pool.useSync((one) => {
      Effect.runSync(lose(one))
      throw new Error("no")
    }),
  "whose synchronous function failed": (pool, lose) =>
    pool.useSync({
      try: (one) => {
        Effect.runSync(lose(one))
        throw new Error("no")
      },
      catch: () => "no"
    }),
  "whose scope failed": (pool, lose) =>
    Effect.scoped(Effect.andThen(Effect.flatMap(pool.acquire(), lose), Effect.fail("no"))),
  "whose scope died": (pool, lose) =>
    Effect.scoped(Effect.andThen(Effect.flatMap(pool.acquire(), lose), Effect.die("no")))
}

describe("a connection after a lease", () => {
  for (const [how, end] of Object.entries(ends)) {
    it.effect(`${how} is validated before the next lease`, () =>
      Effect.gen(function*() {
        const { faulty, pool } = yield* make({ max: 1, driver: { withoutIsAlive: true } })
        const exit = yield* Effect.exit(end(pool, (one) => faulty.sever(one.id)))
        assert.isTrue(Exit.isFailure(exit))
        assert.strictEqual(yield* pool.use((one) => Effect.as(one.run, one.id)), 2)
        assert.deepStrictEqual(
          [(yield* faulty.counters).validations, (yield* pool.stats).evictions.invalid],
          [1, 1]
        )
        yield* PoolAssert.nothingLeaked(faulty, pool)
      }))

    it.effect(`${how}, after a wait for it, is validated before the next lease`, () =>
      Effect.gen(function*() {
        const { faulty, pool } = yield* make({ max: 1, driver: { withoutIsAlive: true } })
        const holder = yield* borrow(pool)
        const ending = yield* Effect.forkChild(Effect.exit(end(pool, (one) => faulty.sever(one.id))))
        const next = yield* borrow(pool)
        yield* holder.giveBack
        assert.isTrue(Exit.isFailure(yield* Fiber.join(ending)))
        yield* settle
        assert.strictEqual(next.connection?.id, 2)
        yield* next.giveBack
        yield* PoolAssert.nothingLeaked(faulty, pool)
      }))

    it.effect(`${how} is kept if it still works, and is not lent before that is known`, () =>
      Effect.gen(function*() {
        const { faulty, pool } = yield* make({ max: 1 })
        yield* faulty.validate.hold
        yield* Effect.exit(end(pool, () => Effect.void))
        const next = yield* borrow(pool)
        assert.deepStrictEqual(yield* shape(pool), { validating: 1, waiting: 1 })
        yield* faulty.validate.open
        yield* settle
        assert.strictEqual(next.connection?.id, 1)
        yield* next.giveBack
        // Once is enough.
        yield* pool.use(() => Effect.void)
        assert.strictEqual((yield* faulty.counters).validations, 1)
        yield* PoolAssert.nothingLeaked(faulty, pool)
      }))
  }

  it.effect("whose fiber was interrupted is validated before the next lease", () =>
    Effect.gen(function*() {
      const { faulty, pool } = yield* make({ max: 1, driver: { withoutIsAlive: true } })
      const holder = yield* borrow(pool)
      const next = yield* borrow(pool)
      yield* faulty.sever(1)
      yield* Fiber.interrupt(holder.fiber)
      yield* settle
      assert.strictEqual(next.connection?.id, 2)
      yield* next.giveBack
      yield* PoolAssert.nothingLeaked(faulty, pool)
    }))

  it.effect("that succeeded is not validated, and neither is one whose lease was granted but did not begin", () =>
    Effect.gen(function*() {
      const { faulty, pool } = yield* make({ max: 1 })
      yield* pool.use((one) => one.run)
      yield* pool.useSync(() => {})
      yield* Effect.scoped(pool.acquire())
      const scope = yield* Scope.make()
      yield* Scope.provide(pool.acquire(), scope)
      const waiting = yield* Effect.forkChild(pool.use(() => Effect.void))
      yield* settle
      yield* Effect.sync(() => {
        Effect.runFork(Scope.close(scope, Exit.void))
        waiting.interruptUnsafe()
      })
      yield* Fiber.await(waiting)
      assert.strictEqual((yield* faulty.counters).validations, 0)
      yield* PoolAssert.nothingLeaked(faulty, pool)
    }))

  it.effect("that failed is reset first, if it has to be, and then validated", () =>
    Effect.gen(function*() {
      const { faulty, pool } = yield* make({ max: 1 })
      yield* Effect.exit(pool.use((one) => Effect.andThen(one.soil, Effect.fail("no"))))
      yield* settle
      const kinds = (yield* faulty.log).map(({ operation }) => operation)
      assert.deepStrictEqual(kinds, ["connect", "begin lease", "run", "end lease", "reset", "validate"])
      assert.deepStrictEqual(yield* shape(pool), { idle: 1 })
      yield* PoolAssert.nothingLeaked(faulty, pool)
    }))

  it.effect("that failed is evicted when its validation hangs for too long, and other callers are served after a second", () =>
    Effect.gen(function*() {
      const { faulty, pool } = yield* make({ max: 2, validateTimeout: "5 seconds" })
      yield* faulty.validate.hang(1, { uninterruptible: true })
      yield* Effect.exit(pool.use(() => Effect.fail("no")))
      const next = yield* borrow(pool)
      assert.deepStrictEqual(yield* shape(pool), { validating: 1, waiting: 1 })
      yield* TestClock.adjust("1 second")
      assert.strictEqual(next.connection?.id, 2)
      yield* TestClock.adjust("4 seconds")
      assert.deepStrictEqual(yield* shape(pool), { inUse: 1 })
      yield* next.giveBack
      yield* PoolAssert.nothingLeaked(faulty, pool)
    }))

  it.effect("that failed is closed, not validated, if the pool is closed meanwhile", () =>
    Effect.gen(function*() {
      const { faulty, pool } = yield* make({ max: 1 })
      yield* faulty.validate.hold
      yield* Effect.exit(pool.use(() => Effect.fail("no")))
      yield* pool.shutdown()
      yield* PoolAssert.allClosed(faulty, pool)
    }))

  it.effect("that failed is kept if its driver can neither validate nor judge", () =>
    Effect.gen(function*() {
      const { faulty, pool } = yield* make({ max: 1, driver: { withoutValidate: true } })
      for (let use = 0; use < 20; use++) yield* Effect.exit(pool.use(() => Effect.fail("no")))
      assert.strictEqual(yield* pool.use((one) => Effect.succeed(one.id)), 1)
      yield* PoolAssert.nothingLeaked(faulty, pool)
    }))
})

describe("judge", () => {
  const judge = (failure: Cause.Cause<unknown>): ConnectionFactory.Verdict => {
    const fail = failure.reasons.find(Cause.isFailReason)
    return fail?.error instanceof Lost ? "fatal" : fail?.error instanceof Wrong ? "healthy" : "suspect"
  }
  for (const withoutValidate of [false, true]) {
    const driver: FaultyFactory.Options = { judge, withoutIsAlive: true, withoutValidate }
    it.effect(`that calls a failure fatal has the connection evicted at once, ${withoutValidate ? "without" : "with"} validate`, () =>
      Effect.gen(function*() {
        const { faulty, pool } = yield* make({ max: 1, driver })
        yield* PoolAssert.failsWith(pool.use(() => Effect.fail(new Lost())), "Lost")
        assert.strictEqual(yield* pool.use((one) => Effect.succeed(one.id)), 2)
        yield* PoolAssert.failsWith(
          pool.useSync({ try: () => JSON.parse("{"), catch: () => new Lost() }),
          "Lost"
        )
        assert.strictEqual(yield* pool.use((one) => Effect.succeed(one.id)), 3)
        yield* PoolAssert.failsWith(Effect.scoped(Effect.andThen(pool.acquire(), Effect.fail(new Lost()))), "Lost")
        assert.strictEqual(yield* pool.use((one) => Effect.succeed(one.id)), 4)
        assert.strictEqual((yield* pool.stats).evictions.fatal, 3)
        assert.strictEqual((yield* faulty.counters).validations, 0)
        yield* PoolAssert.nothingLeaked(faulty, pool)
      }))
  }

  it.effect("that calls a failure healthy spares the connection", () =>
    Effect.gen(function*() {
      const { faulty, pool } = yield* make({ max: 1, driver: { judge } })
      yield* PoolAssert.failsWith(pool.use(() => Effect.fail(new Wrong())), "Wrong")
      assert.strictEqual(yield* pool.use((one) => Effect.succeed(one.id)), 1)
      assert.strictEqual((yield* faulty.counters).validations, 0)
      yield* PoolAssert.nothingLeaked(faulty, pool)
    }))

  it.effect("that throws costs the connection, and must not use the pool", () =>
    Effect.gen(function*() {
      const inside: { pool?: Pool } = {}
      const judge = () => Effect.runSync(Effect.orDie(inside.pool!.use(() => Effect.succeed("healthy" as const))))
      const { faulty, pool } = yield* make({ max: 1, driver: { judge } })
      inside.pool = pool
      yield* PoolAssert.failsWith(pool.use(() => Effect.fail(new Wrong())), "Wrong")
      assert.strictEqual(yield* pool.use((one) => Effect.succeed(one.id)), 2)
      assert.strictEqual((yield* pool.stats).evictions.driver, 1)
      yield* PoolAssert.nothingLeaked(faulty, pool)
    }))

  it.effect("is not asked after a success", () =>
    Effect.gen(function*() {
      let asked = 0
      const { faulty, pool } = yield* make({
        driver: {
          judge: () => {
            asked++
            return "healthy"
          }
        }
      })
      yield* pool.use((one) => one.run)
      yield* pool.useSync(() => {})
      yield* Effect.scoped(pool.acquire())
      assert.strictEqual(asked, 0)
      yield* Effect.exit(pool.use(() => Effect.die("no")))
      assert.strictEqual(asked, 1)
      yield* PoolAssert.nothingLeaked(faulty, pool)
    }))
})

describe("under load that never lets a connection be idle", () => {
  for (const callers of [1, 16]) {
    it.effect(`${callers} at a time, dead connections are gone after a failure each`, () =>
      Effect.gen(function*() {
        let opened = 0
        const max = 4
        const pool = yield* ConnectionPool.make({
          factory: {
            connect: Effect.sync(() => ({ id: ++opened })),
            validate: ({ id }) => Effect.succeed(id > max)
          },
          min: max,
          max
        })
        let failed = 0
        const use = Effect.catch(
          pool.use(({ id }) => Effect.andThen(Effect.yieldNow, id <= max ? Effect.fail("lost") : Effect.void)),
          () => Effect.sync(() => void failed++)
        )
        yield* Effect.forEach(Array.from({ length: 10_000 }), () => use, { concurrency: callers, discard: true })
        assert.isAtMost(failed, max)
        assert.isAtLeast(failed, 1)
        assert.isAtMost(opened, 2 * max)
      }))
  }
})
