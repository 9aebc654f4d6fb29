import { assert, describe, it } from "@effect/vitest"
import { Effect, Exit, Fiber, Queue, Scope, Stream } from "effect"
import { SqlitePool } from "effect-connection-pool/sqlite"
import { PoolAssert } from "effect-connection-pool/testing"
import { TestClock } from "effect/testing"
import { functionsModule, heldStatement, soon } from "../support/held.ts"
import { settle } from "../support/pools.ts"
import { count, insert, make } from "../support/sqlitePools.ts"
import { countMessages } from "../support/workerPools.ts"

const onWorker = { execution: "worker" } as const

const workersOf = (pool: SqlitePool.SqlitePool) => pool.workers ?? assert.fail("no workers")

const statsOf = (pool: SqlitePool.SqlitePool) => workersOf(pool).stats

/** Waits in real time until the statistics of the workers are as they should be. */
const until = (pool: SqlitePool.SqlitePool, is: (stats: Effect.Success<ReturnType<typeof statsOf>>) => boolean) =>
  soon(() => is(Effect.runSync(statsOf(pool))))

describe("the line of the workers", () => {
  it.effect("has its own deadline, and an error that names it and the statement that it waits for", () =>
    Effect.gen(function*() {
      const { pool } = yield* make({ name: "books", workers: 1, functionsModule })
      const held = yield* heldStatement
      const running = yield* Effect.forkChild(
        pool.read((reader) => reader.values(held.sql), { ...onWorker, label: "report" })
      )
      yield* held.hasBegun
      const waiting = yield* Effect.forkChild(Effect.flip(pool.read(count, { ...onWorker, timeout: "1 second" })))
      const ofSql = yield* Effect.forkChild(Effect.flip(SqlitePool.onWorker(pool.sql`select count(*) from t`)))
      // The other lines go on.
      assert.strictEqual(yield* pool.read(count), 1)
      yield* pool.write(insert)
      yield* TestClock.adjust("1 second")
      const error = yield* Fiber.join(waiting)
      assert.strictEqual(error._tag, "AcquireTimeoutError")
      assert.include(error.message, "books/workers")
      assert.include(error.message, "report")
      assert.include(error.message, "select held(")
      assert.include(error.message, "workers")
      yield* TestClock.adjust("30 seconds")
      assert.include((yield* Fiber.join(ofSql)).message, "books/workers")
      yield* held.letGo
      assert.deepStrictEqual(yield* Fiber.join(running), [[1]])
      const { idle, inUse, timeouts } = yield* statsOf(pool)
      assert.deepStrictEqual({ idle, inUse, timeouts }, { idle: 1, inUse: 0, timeouts: 2 })
    }))

  it.effect("refuses a fiber that would wait for itself", () =>
    Effect.gen(function*() {
      const { pool } = yield* make({ workers: 1 })
      const inner = pool.read(() => pool.read(count, onWorker), onWorker)
      const error = yield* PoolAssert.failsWith(inner, "SelfDeadlockError")
      assert.include(error.message, "workers")
      // A reader in process is of another line.
      assert.strictEqual(yield* pool.read(() => pool.read(count), onWorker), 1)
    }))

  it.effect("carries many statements with few messages, and counts each as a lease", () =>
    Effect.gen(function*() {
      const { pool } = yield* make({ execution: "worker", workers: 1 })
      yield* pool.read(count)
      const before = yield* statsOf(pool)
      const messages = yield* countMessages
      const one = (n: number) => Effect.map(pool.sql`select ${n} as n from t`.values, ([row]) => row![0])
      const numbers = Array.from({ length: 200 }, (_, n) => n)
      assert.deepStrictEqual(yield* Effect.forEach(numbers, one, { concurrency: "unbounded" }), numbers)
      assert.isBelow(messages(), 60)
      const after = yield* statsOf(pool)
      assert.strictEqual(after.checkouts - before.checkouts, 200)
      assert.strictEqual(after.returns - before.returns, 200)
      assert.deepStrictEqual([after.idle, after.total, after.waiting, after.abandonments], [1, 1, 0, 0])
    }))

  it.effect("does not keep a statement behind a slow one, if another worker is free", () =>
    Effect.gen(function*() {
      const { pool } = yield* make({ execution: "worker", workers: 2, functionsModule })
      const held = yield* heldStatement
      const { sql } = pool
      // Both workers are there, and idle.
      yield* Effect.all([pool.read(() => pool.read(count))])
      const slow = yield* Effect.forkChild(sql.unsafe(held.sql).values)
      const quick = yield* Effect.forEach([1, 2, 3, 4, 5], (n) => Effect.forkChild(sql`select ${n} as n`.values))
      yield* held.hasBegun
      yield* TestClock.adjust(10)
      // Whoever was sent behind the slow one goes to the other worker as soon as that is free.
      yield* sql`select count(*) from t`
      assert.deepStrictEqual(yield* Effect.forEach(quick, Fiber.join), [1, 2, 3, 4, 5].map((n) => [[n]]))
      assert.isUndefined(slow.pollUnsafe())
      yield* held.letGo
      assert.deepStrictEqual(yield* Fiber.join(slow), [[1]])
      const { checkouts, returns } = yield* statsOf(pool)
      assert.strictEqual(checkouts, returns)
    }))
})

describe("a statement on a worker whose caller has gone", () => {
  it.effect("keeps its worker, which counts until the statement ends, and is replaced within maxAbandoned", () =>
    Effect.gen(function*() {
      const { pool } = yield* make({ workers: 1, maxAbandoned: 1, functionsModule })
      const [one, two] = [yield* heldStatement, yield* heldStatement]
      const events = yield* Queue.unbounded<string>()
      yield* Effect.forkChild(Stream.runForEach(workersOf(pool).events, ({ _tag }) => Queue.offer(events, _tag)))
      yield* settle
      const leave = Effect.fnUntraced(function*(statement: typeof one) {
        const fiber = yield* Effect.forkChild(pool.read((reader) => reader.values(statement.sql), onWorker))
        yield* statement.hasBegun
        yield* Fiber.interrupt(fiber)
      })
      yield* leave(one)
      const [abandoned] = yield* workersOf(pool).abandoned
      assert.strictEqual(abandoned?.description, one.sql)
      const next = yield* Effect.forkChild(leave(two))
      // A replacement is opened when the statement has run on for as long as opening took.
      yield* settle
      yield* TestClock.adjust("1 second")
      yield* Fiber.join(next)
      const { abandoned: left, total } = yield* statsOf(pool)
      assert.deepStrictEqual([left, total], [2, 2])
      // Beyond that, callers wait.
      const late = yield* Effect.forkChild(Effect.flip(pool.read(count, { ...onWorker, timeout: "10 seconds" })))
      yield* settle
      yield* TestClock.adjust("10 seconds")
      assert.strictEqual((yield* Fiber.join(late))._tag, "AcquireTimeoutError")
      assert.strictEqual((yield* statsOf(pool)).total, 2)
      yield* one.letGo
      yield* two.letGo
      yield* until(pool, ({ abandoned, closing, total }) => abandoned === 0 && closing === 0 && total === 1)
      assert.strictEqual(yield* pool.read(count, onWorker), 1)
      const tags = yield* Queue.takeAll(events)
      for (const tag of ["ConnectionAbandoned", "ConnectionSettled"]) {
        assert.strictEqual(tags.filter((one) => one === tag).length, 2, tag)
      }
    }))

  it.effect("is left behind by a shutdown within its deadline, which names it", () =>
    Effect.gen(function*() {
      const { pool } = yield* make({ workers: 1, functionsModule, closeTimeout: "1 second" })
      const held = yield* heldStatement
      const fiber = yield* Effect.forkChild(pool.read((reader) => reader.values(held.sql), onWorker))
      yield* held.hasBegun
      const closing = yield* Effect.forkChild(pool.shutdown({ drainTimeout: "2 seconds" }))
      yield* settle
      yield* TestClock.adjust("2 seconds")
      yield* settle
      yield* TestClock.adjust("2 seconds")
      const { workers } = yield* Fiber.join(closing)
      assert.strictEqual(workers?.interrupted, 1)
      assert.deepStrictEqual(workers?.abandoned.map(({ description }) => description), [held.sql])
      assert.isTrue(Exit.hasInterrupts(yield* Fiber.await(fiber)))
    }))

  it.effect("fails for a fiber that still waits for it when a shutdown takes its lease back", () =>
    Effect.gen(function*() {
      const { pool } = yield* make({ workers: 1, functionsModule, closeTimeout: "1 second" })
      const held = yield* heldStatement
      const scope = yield* Scope.make()
      const reader = yield* Scope.provide(workersOf(pool).acquire(), scope)
      const waiting = yield* Effect.forkChild(Effect.flip(reader.values(held.sql)))
      yield* held.hasBegun
      const closing = yield* Effect.forkChild(pool.shutdown({ drainTimeout: 0 }))
      yield* settle
      const error = yield* Fiber.join(waiting)
      assert.strictEqual(error._tag, "LeaseExpiredError")
      yield* TestClock.adjust("2 seconds")
      yield* settle
      yield* TestClock.adjust("2 seconds")
      assert.strictEqual((yield* Fiber.join(closing)).workers?.revoked, 1)
    }))

  it.effect("leaves no numbers wrong, whatever is interrupted when", () =>
    Effect.gen(function*() {
      const { pool } = yield* make({ execution: "worker", workers: 2 })
      const { sql } = pool
      let seed = 7
      const random = (below: number) => {
        seed = (seed * 16807) % 2147483647
        return seed % below
      }
      for (let round = 0; round < 60; round++) {
        const fibers = yield* Effect.forEach(
          Array.from({ length: 20 }, (_, n) => n),
          (n) =>
            Effect.forkChild(
              n % 5 === 0
                ? pool.read((reader) => reader.values("select ?", [n]))
                : sql`select ${n} as n from t`.values
            )
        )
        const turns = random(40)
        for (let turn = 0; turn < turns; turn++) yield* Effect.yieldNow
        const gone = fibers.filter(() => random(3) === 0)
        yield* Effect.forEach(gone, Fiber.interrupt, { concurrency: "unbounded" })
        for (const [n, fiber] of fibers.entries()) {
          const exit = yield* Fiber.await(fiber)
          if (!gone.includes(fiber)) assert.deepStrictEqual(exit, Exit.succeed([[n]]))
        }
      }
      yield* until(pool, ({ abandoned, inUse, resetting }) => abandoned + inUse + resetting === 0)
      const { cancelled, checkouts, returns, waiting } = yield* statsOf(pool)
      assert.deepStrictEqual([returns, waiting], [checkouts, 0])
      assert.isAtMost(checkouts + cancelled, 60 * 20)
      assert.strictEqual(yield* pool.read(count), 1)
    }), 120_000)
})

describe("statementTimeout", () => {
  it.effect("fails a statement that runs for too long, and not those in line", () =>
    Effect.gen(function*() {
      const { pool } = yield* make({
        execution: "worker",
        workers: 1,
        maxAbandoned: 0,
        statementTimeout: "2 seconds",
        functionsModule
      })
      const held = yield* heldStatement
      const slow = yield* Effect.forkChild(Effect.flip(pool.sql.unsafe(held.sql)))
      const next = yield* Effect.forkChild(pool.sql`select count(*) from t`.values)
      yield* held.hasBegun
      yield* TestClock.adjust("1999 millis")
      assert.isUndefined(slow.pollUnsafe())
      yield* TestClock.adjust("1 millis")
      const { message, reason } = yield* Fiber.join(slow)
      assert.strictEqual(reason._tag, "StatementTimeoutError")
      assert.include(message, "it ran for longer than statementTimeout, 2000 ms, and was cancelled")
      yield* settle
      yield* TestClock.adjust("5 seconds")
      assert.isUndefined(next.pollUnsafe())
      assert.strictEqual((yield* statsOf(pool)).abandoned, 1)
      yield* held.letGo
      assert.deepStrictEqual(yield* Fiber.join(next), [[1]])
    }))
})

describe("a thread that ends by itself", () => {
  it.effect("fails the statement that it ran, and is replaced", () =>
    Effect.gen(function*() {
      const { pool } = yield* make({ execution: "worker", workers: 1, functionsModule })
      const crash = yield* Effect.forkChild(Effect.flip(pool.sql`select crash()`))
      // Those that were sent with it, but have not run, run on the next one.
      const others = yield* Effect.forEach([1, 2, 3], (n) => Effect.forkChild(pool.sql`select ${n} as n`.values))
      const error = yield* Fiber.join(crash)
      assert.strictEqual(error.reason._tag, "ConnectionError")
      assert.include(error.message, "has ended with code 3")
      assert.deepStrictEqual(yield* Effect.forEach(others, Fiber.join), [[[1]], [[2]], [[3]]])
      const read = Effect.flip(pool.read((reader) => reader.values("select crash()")))
      assert.strictEqual((yield* read)._tag, "SqlError")
      assert.strictEqual(yield* pool.read(count), 1)
      const { connects, evictions, total } = yield* statsOf(pool)
      assert.deepStrictEqual([connects, evictions.dead, total], [3, 2, 1])
    }))
})
