import { assert, describe, it } from "@effect/vitest"
import { Effect, Fiber, Queue, Stream } from "effect"
import { HealthChecker } from "effect-connection-pool"
import { SqliteConnection, type SqlitePool } from "effect-connection-pool/sqlite"
import { PoolAssert } from "effect-connection-pool/testing"
import { TestClock } from "effect/testing"
import { renameSync } from "node:fs"
import { fileURLToPath } from "node:url"
import type { WorkerLeased } from "../../src/sqlite/internal/worker/workerConnection.ts"
import { file } from "../support/files.ts"
import { summaryOfSides } from "../support/health.ts"
import { functionsModule, heldStatement } from "../support/held.ts"
import { reading } from "../support/observing.ts"
import { settle } from "../support/pools.ts"
import { count, insert, make } from "../support/sqlitePools.ts"
import * as Watched from "../support/watchedFiles.ts"

const onWorker = { execution: "worker" } as const

const vec = fileURLToPath(import.meta.resolve("sqlite-vec-linux-x64/vec0.so"))

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

  it.effect("that is replaced ends also idle threads in that very step, so that none of them is lent again", () =>
    Effect.gen(function*() {
      const { filename, pool } = yield* make({ execution: "worker", workers: 1 })
      const { thread } = (yield* pool.read(Effect.succeed)) as WorkerLeased
      const read = pool.readSync((reader) => reader.valuesUnsafe("select 1"))
      yield* read
      const death = () => thread.host.death?.message
      assert.isUndefined(death())
      renameSync(filename, `${filename}.moved`)
      yield* TestClock.adjust("1 second")
      // The reader that is lent now looks at the file.
      yield* Effect.forkChild(Effect.exit(read), { startImmediately: true })
      assert.include(death(), "was moved, replaced or deleted")
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

  it.effect("is not taken for one that has lost its log if the writer is opened anew while a thread starts", () =>
    Effect.gen(function*() {
      const { pool } = yield* make({ workers: 1 })
      const reading = yield* Effect.forkChild(pool.read(count, { execution: "worker" }), { startImmediately: true })
      for (let turn = 0; turn < 10; turn++) yield* Effect.yieldNow
      assert.strictEqual((yield* pool.stats).workers!.connecting, 1)
      // SQLite deletes the log with the last connection, and the next one makes another.
      yield* pool.writer.recycle
      yield* pool.write(insert)
      yield* TestClock.adjust("1 second")
      yield* pool.write(insert)
      yield* Fiber.join(reading)
      assert.strictEqual(yield* pool.read(count, { execution: "worker" }), 3)
      const { workers, writer } = yield* pool.stats
      assert.deepStrictEqual([workers!.connects, workers!.connectFailures, writer.connects], [1, 0, 2])
    }))

  it.effect("has the SQL functions of a module in every thread, and prepares each connection", () =>
    Effect.gen(function*() {
      const opened: Array<boolean> = []
      process.env["EFFECT_POOL_TEST_SETTING"] = "as here"
      yield* Effect.addFinalizer(() => Effect.sync(() => delete process.env["EFFECT_POOL_TEST_SETTING"]))
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
        assert.deepStrictEqual(yield* values("select environment('EFFECT_POOL_TEST_SETTING')"), [["as here"]])
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

describe("a file with a writer in process and readers in threads", () => {
  it.effect("that is replaced is opened once the threads do not need the log of the old one, which is deleted then", () =>
    Effect.gen(function*() {
      const filename = yield* file
      const pool = yield* Watched.make(filename, { workers: 1, execution: "worker", observeInterval: "20 millis" })
      yield* pool.write(Watched.insert)
      const results = yield* reading(pool.observe("select count(*) as n from t"))
      assert.deepEqual(yield* results.next, [{ n: 1 }])
      const another = yield* Watched.other(filename, 7)
      renameSync(another, filename)
      // The writer in process notices it.
      yield* TestClock.adjust("100 millis")
      assert.deepEqual(yield* results.next, [{ n: 7 }])
      yield* pool.shutdown()
      assert.strictEqual(Watched.rowsIn(filename), 7)
    }))
})
