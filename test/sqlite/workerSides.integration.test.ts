import { assert, describe, it } from "@effect/vitest"
import { Effect, Exit, Fiber, Queue, Stream } from "effect"
import { HealthChecker } from "effect-connection-pool"
import { SqliteConnection, SqlitePool } from "effect-connection-pool/sqlite"
import { PoolAssert } from "effect-connection-pool/testing"
import { TestClock } from "effect/testing"
import { renameSync } from "node:fs"
import { fileURLToPath } from "node:url"
import { Worker } from "node:worker_threads"
import { summaryOfSides } from "../support/health.ts"
import { functionsModule, heldStatement, soon } from "../support/held.ts"
import { settle } from "../support/pools.ts"
import { count, insert, make } from "../support/sqlitePools.ts"

const vec = fileURLToPath(import.meta.resolve("sqlite-vec-linux-x64/vec0.so"))

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
      const real = Worker.prototype.postMessage
      let messages = 0
      yield* Effect.acquireRelease(
        Effect.sync(() => {
          Worker.prototype.postMessage = function(this: Worker, ...args: Parameters<Worker["postMessage"]>) {
            messages++
            return real.apply(this, args)
          } as Worker["postMessage"]
        }),
        () =>
          Effect.sync(() => {
            Worker.prototype.postMessage = real
          })
      )
      const one = (n: number) => Effect.map(pool.sql`select ${n} as n from t`.values, ([row]) => row![0])
      const numbers = Array.from({ length: 200 }, (_, n) => n)
      assert.deepStrictEqual(yield* Effect.forEach(numbers, one, { concurrency: "unbounded" }), numbers)
      assert.isBelow(messages, 60)
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
    }), 60_000)
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

describe("a file with workers", () => {
  it.effect("that is moved ends all threads; nothing reads the old file, and it may come back", () =>
    Effect.gen(function*() {
      const { filename, pool } = yield* make({ execution: "worker", workers: 2, functionsModule })
      const held = yield* heldStatement
      yield* pool.read(count)
      const running = yield* Effect.forkChild(Effect.flip(pool.read((reader) => reader.values(held.sql))))
      yield* held.hasBegun
      renameSync(filename, `${filename}.moved`)
      yield* TestClock.adjust("1 second")
      const attempt = yield* Effect.forkChild(Effect.flip(pool.read(count)))
      yield* settle
      yield* TestClock.adjust("100 millis")
      assert.include((yield* Fiber.join(attempt)).message, "the file was there and is gone")
      assert.include((yield* Fiber.join(running)).message, "was moved, replaced or deleted")
      renameSync(`${filename}.moved`, filename)
      yield* TestClock.adjust("1 second")
      const again = yield* Effect.forkChild(pool.read(count))
      yield* settle
      yield* TestClock.adjust("100 millis")
      assert.strictEqual(yield* Fiber.join(again), 1)
    }))

  it.effect("has a third side in stats, in a shutdown, and for a health checker", () =>
    Effect.gen(function*() {
      const { pool } = yield* make({ workers: 1 })
      assert.deepStrictEqual(Object.keys(pool.sides), ["writer", "readers", "workers"])
      const health = yield* HealthChecker.make(pool, { interval: "1 second" })
      const report = yield* health.report
      assert.deepStrictEqual(summaryOfSides(report), ["healthy"])
      assert.strictEqual(report.sides?.["workers"]?.pool, "sqlite/workers")
      assert.strictEqual((yield* pool.stats).workers?.pool, "sqlite/workers")
      const reports = yield* pool.shutdown()
      assert.strictEqual(reports.workers?.returned, 0)
      const closed = yield* PoolAssert.failsWith(pool.read(count, onWorker), "PoolClosedError")
      assert.strictEqual(closed.pool, "sqlite/workers")
    }))

  it.effect("ends a stream on a worker that is older than maxReadAge", () =>
    Effect.gen(function*() {
      const { pool } = yield* make({ workers: 1, maxReadAge: "2 seconds" })
      const rows = "with recursive n(i) as (select 1 union all select i + 1 from n) select i from n"
      const pulled = yield* Queue.unbounded<unknown>()
      const stream = yield* Effect.forkChild(
        Effect.flip(Stream.runForEach(pool.stream(rows, [], onWorker), () =>
          Effect.andThen(Queue.offer(pulled, undefined), Effect.never)))
      )
      yield* Queue.take(pulled)
      yield* TestClock.adjust("2 seconds")
      yield* Fiber.interrupt(stream)
      const other = yield* Effect.forkChild(
        Effect.flip(Stream.runForEach(pool.stream(rows, [], onWorker), () =>
          Queue.offer(pulled, undefined)))
      )
      yield* Queue.take(pulled)
      yield* TestClock.adjust("2 seconds")
      const error = yield* Fiber.join(other)
      assert.strictEqual(error._tag, "LeaseExpiredError")
      assert.include(error.message, "maxReadAge")
    }))

  it.effect("reports slow statements of its workers, with their time in the thread", () =>
    Effect.gen(function*() {
      const { pool } = yield* make({ execution: "worker", workers: 1, slowStatement: 0 })
      yield* pool.sql`select count(*) as n from t`
      yield* pool.read((reader) => reader.values("select 1 from t"))
      yield* Stream.runDrain(pool.stream("select a from t"))
      const ofWorkers = (yield* pool.slowStatements).filter(({ pool }) => pool === "sqlite/workers")
      assert.deepStrictEqual(ofWorkers.map(({ text }) => text).toSorted(), [
        "select 1 from sqlite_schema limit 1",
        "select 1 from t",
        "select a from t",
        "select count(*) as n from t"
      ])
      for (const { lastMillis } of ofWorkers) assert.isAbove(lastMillis, 0)
    }))

  it.effect("has the SQL functions of a module in every thread, and prepares each connection", () =>
    Effect.gen(function*() {
      const opened: Array<boolean> = []
      const { pool } = yield* make({
        workers: 1,
        functionsModule,
        onOpen: (connection, { isReader, loadExtension }) =>
          Effect.sync(() => opened.push(isReader)).pipe(
            Effect.andThen(loadExtension(vec)),
            Effect.andThen(connection.exec("pragma recursive_triggers = on; create temp table own as select 7 as a"))
          )
      })
      for (const execution of ["in-process", "worker"] as const) {
        const values = (sql: string) => pool.read((reader) => reader.values(sql), { execution })
        assert.deepStrictEqual(
          yield* values("select twice(4), twice('a', 'b'), product(value) from generate_series(1, 4)").pipe(
            Effect.catch(() => values("select twice(4), twice('a', 'b'), product(value) from json_each('[1,2,3,4]')"))
          ),
          [[8, "abab", 24]]
        )
        assert.deepStrictEqual(yield* values("select is_main()"), [[execution === "in-process" ? 1 : 0]])
        assert.deepStrictEqual(yield* values("select a, typeof(vec_version()) from own"), [[7, "text"]])
        const error = yield* Effect.flip(values("select fail()"))
        assert.include(error.message, "not today")
        // A change of a lease is undone, and the connection is prepared again.
        yield* values("pragma recursive_triggers = off")
        assert.deepStrictEqual(yield* values("pragma recursive_triggers"), [[1]])
        assert.deepStrictEqual(yield* values("select a from own"), [[7]])
      }
      assert.isTrue(opened.slice(1).every((isReader) => isReader))
      assert.strictEqual(SqliteConnection.codeOf(yield* Effect.flip(pool.sql`select missing()`)), 1)
    }))

  it.effect("refuses a module of functions that cannot be loaded, or has none, and functions without a module", () =>
    Effect.gen(function*() {
      const attempt = (options: Partial<SqlitePool.Options>) =>
        Effect.map(PoolAssert.failsWith(Effect.scoped(make(options)), "PoolConfigError"), ({ message }) => message)
      assert.match(
        yield* attempt({ functionsModule: new URL("file:///nowhere.js") }),
        /functionsModule "file:\/\/\/nowhere.js" cannot be loaded: /
      )
      const empty = new URL("data:text/javascript,export const a = 1")
      assert.include(yield* attempt({ functionsModule: empty }), "exports neither functions nor aggregates")
      const wrong = new URL("data:text/javascript,export const functions = { f: 1 }")
      assert.include(yield* attempt({ functionsModule: wrong }), "functions.f is 1, but must be a function")
      assert.include(
        yield* attempt({ functionsModule: "./here.js" }),
        "functionsModule is \"./here.js\", but must be the URL"
      )
      const functions = { f: () => 1 }
      assert.include(yield* attempt({ functions, workers: 1 }), "left out with workers: a function cannot be sent")
      assert.include(yield* attempt({ functions, execution: "worker" }), "left out with execution: a function cannot")
      assert.include(yield* attempt({ functions, functionsModule }), "left out with functionsModule")
    }))
})
