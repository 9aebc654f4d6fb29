import { assert, describe, it } from "@effect/vitest"
import { Effect, Fiber, Logger, Random } from "effect"
import { ConnectionFactory, ConnectionPool } from "effect-connection-pool"
import { PoolAssert } from "effect-connection-pool/testing"
import { TestClock } from "effect/testing"
import { borrow, make, settle, shape } from "./support/pools.ts"

/** A database that is away until it `isBack`, and answers an attempt to connect after 20 ms, if at all. */
const outage = Effect.fnUntraced(
  function*(
    options: { readonly max: number; readonly min?: number; readonly warm: boolean; readonly hangs?: boolean }
  ) {
    const database = { isBack: options.warm, attempts: [] as Array<number>, now: 0, opened: 0, most: 0, running: 0 }
    const factory = ConnectionFactory.make<object, "refused">({
      connect: Effect.suspend(() => {
        database.attempts.push(database.now)
        database.most = Math.max(database.most, ++database.running)
        const answer = Effect.suspend(() =>
          database.isBack ? Effect.sync(() => ({ id: ++database.opened })) : Effect.fail("refused" as const)
        )
        const attempt = options.hangs === true && !database.isBack ? Effect.never : Effect.delay(answer, "20 millis")
        return Effect.ensuring(attempt, Effect.sync(() => void database.running--))
      }),
      isAlive: () => database.isBack,
      isTransient: () => true
    })
    const making = yield* Effect.forkChild(
      ConnectionPool.make({ factory, max: options.max, min: options.min ?? 0, start: "lazy" })
    )
    yield* settle
    const pool = yield* Fiber.join(making)
    const advance = (millis: number) =>
      Effect.gen(function*() {
        for (let passed = 0; passed < millis; passed += 10) {
          database.now += 10
          yield* TestClock.adjust(10)
        }
      })
    if (options.warm) {
      const warming = yield* Effect.forkChild(
        Effect.forEach(Array.from({ length: options.max }), () => pool.use(() => Effect.sleep(50)), {
          concurrency: "unbounded"
        })
      )
      yield* advance(100)
      yield* Fiber.join(warming)
      assert.strictEqual(database.opened, options.max)
      database.isBack = false
      database.attempts.length = 0
      database.most = 0
    }
    return { database, pool, advance }
  }
)

describe("an outage of ten seconds, with 100 waiting callers and max 8", () => {
  for (const [seed, warm] of [[1, true], [2, true], [3, true], [4, false], [5, false]] as const) {
    it.effect(
      `costs ${
        warm ? "a pool that was connected 7 to 10 attempts" : "a new pool those it began with and 7 to 10 more"
      } (${seed})`,
      () =>
        Effect.gen(function*() {
          const { advance, database, pool } = yield* outage({ max: 8, warm })
          let served = 0
          let firstAt = Infinity
          const began = database.now
          const use = Effect.tap(pool.use(() => Effect.sleep(5)), () =>
            Effect.sync(() => {
              served++
              firstAt = Math.min(firstAt, database.now)
            }))
          const callers = yield* Effect.forkChild(
            Effect.forEach(Array.from({ length: 100 }), () => use, { concurrency: "unbounded" })
          )
          yield* advance(10_000)
          const attempts = database.attempts.length - (warm ? 0 : 8)
          assert.isAtLeast(attempts, 7)
          assert.isAtMost(attempts, 10)
          assert.strictEqual(database.most, warm ? 1 : 8)
          assert.strictEqual(served, 0)
          // The end of the outage is noticed within the longest backoff, and then nobody waits for another.
          database.isBack = true
          yield* advance(2050)
          assert.strictEqual(database.opened, warm ? 16 : 8)
          yield* advance(200)
          yield* Fiber.join(callers)
          assert.strictEqual(served, 100)
          assert.isAtMost(firstAt - began - 10_000, 2050)
          yield* pool.shutdown()
        }).pipe(Random.withSeed(`outage ${seed}`)),
      120_000
    )
  }

  it.effect("is noticed to be over within connectBackoffMax by min alone", () =>
    Effect.gen(function*() {
      const { advance, database, pool } = yield* outage({ max: 8, min: 8, warm: false })
      yield* advance(10_000)
      assert.isAtMost(database.attempts.length, 8 + 10)
      database.isBack = true
      yield* advance(2100)
      assert.deepStrictEqual(yield* shape(pool), { idle: 8 })
      yield* pool.shutdown()
    }))
})

describe("a probe", () => {
  it.effect("without an answer within the present backoff gets another beside it, and one caller causes no more", () =>
    Effect.gen(function*() {
      const { faulty, pool } = yield* make({ max: 8, connectBackoff: "100 millis" })
      yield* faulty.connect.fail(1, { transient: true })
      const caller = yield* borrow(pool)
      yield* faulty.connect.hold
      yield* TestClock.adjust("100 millis")
      assert.deepStrictEqual(yield* shape(pool), { connecting: 1, waiting: 1 })
      // It began after 80 milliseconds at the earliest, and so does the next.
      yield* TestClock.adjust("59 millis")
      assert.deepStrictEqual(yield* shape(pool), { connecting: 1, waiting: 1 })
      yield* TestClock.adjust("41 millis")
      assert.deepStrictEqual(yield* shape(pool), { connecting: 2, waiting: 1 })
      yield* TestClock.adjust("5 seconds")
      assert.deepStrictEqual(yield* shape(pool), { connecting: 2, waiting: 1 })
      yield* faulty.connect.open
      yield* settle
      assert.isDefined(caller.connection)
      yield* caller.giveBack
      yield* PoolAssert.nothingLeaked(faulty, pool)
    }))

  it.effect("that succeeds lets all other attempts go at once", () =>
    Effect.gen(function*() {
      const { faulty, pool } = yield* make({ max: 8 })
      yield* faulty.connect.hold
      yield* faulty.connect.fail(8, { transient: true })
      for (let caller = 0; caller < 20; caller++) yield* borrow(pool)
      yield* faulty.connect.open
      yield* settle
      assert.deepStrictEqual(yield* shape(pool), { waiting: 20 })
      yield* faulty.connect.hold
      yield* TestClock.adjust("100 millis")
      assert.deepStrictEqual(yield* shape(pool), { connecting: 1, waiting: 20 })
      yield* faulty.connect.pass()
      yield* settle
      assert.deepStrictEqual(yield* shape(pool), { connecting: 7, inUse: 1, waiting: 19 })
    }))

  it.effect("never runs beside more than maxConnecting allows", () =>
    Effect.gen(function*() {
      const { faulty, pool } = yield* make({ max: 8, maxConnecting: 1, connectTimeout: "1 minute" })
      yield* faulty.connect.fail(1, { transient: true })
      for (let caller = 0; caller < 20; caller++) yield* borrow(pool)
      yield* faulty.connect.hold
      yield* TestClock.adjust("20 seconds")
      assert.deepStrictEqual(yield* shape(pool), { connecting: 1, waiting: 20 })
    }))

  it.effect("follows a lost connection, because the database may be away", () =>
    Effect.gen(function*() {
      const { faulty, pool } = yield* make({ min: 4, max: 4 })
      yield* faulty.connect.hold
      for (const id of [1, 2, 3, 4]) yield* faulty.drop(id)
      yield* settle
      assert.deepStrictEqual(yield* shape(pool), { connecting: 1 })
      yield* faulty.connect.pass()
      yield* settle
      assert.deepStrictEqual(yield* shape(pool), { connecting: 3, idle: 1 })
      yield* faulty.connect.open
      yield* settle
      assert.deepStrictEqual(yield* shape(pool), { idle: 4 })
      yield* PoolAssert.nothingLeaked(faulty, pool)
    }))

  it.effect("that fails for good fails all waiters at once", () =>
    Effect.gen(function*() {
      const { faulty, pool } = yield* make({ max: 8 })
      yield* faulty.connect.fail(1, { transient: true })
      const callers = yield* Effect.forkChild(
        Effect.forEach(
          Array.from({ length: 20 }),
          () => PoolAssert.failsWith(pool.use(() => Effect.void), "ConnectError"),
          { concurrency: "unbounded" }
        )
      )
      yield* settle
      yield* faulty.connect.fail()
      yield* TestClock.adjust("100 millis")
      for (const error of yield* Fiber.join(callers)) assert.strictEqual(error.reason._tag, "ConnectFailed")
      // Until the backoff is over, callers get the last answer.
      yield* TestClock.adjust("2 seconds")
      yield* PoolAssert.nothingLeaked(faulty, pool)
    }))
})

describe("the log of a failed attempt", () => {
  it.effect("names what caused it", () => {
    const lines: Array<string> = []
    return Effect.gen(function*() {
      const cause = Object.assign(new Error("connect ECONNREFUSED 127.0.0.1:5432"), { code: "ECONNREFUSED" })
      const pool = yield* ConnectionPool.make({
        factory: { connect: Effect.fail(new Error("Failed to connect", { cause })) }
      })
      yield* PoolAssert.failsWith(pool.use(() => Effect.void), "ConnectError")
      assert.deepStrictEqual(lines, [
        "connection 1 could not be opened: Error: Failed to connect (caused by Error: connect ECONNREFUSED 127.0.0.1:5432 [ECONNREFUSED])"
      ])
    }).pipe(Effect.provide(Logger.layer([Logger.make(({ message }) => void lines.push(String(message)))])))
  })
})
