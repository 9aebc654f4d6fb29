/** Slow statements of SQLite. A SQL function lets time pass on the clock of the pool, while the statement runs. */
import { assert, describe, it } from "@effect/vitest"
import { Effect, Fiber, Stream } from "effect"
import { ConnectionPool } from "effect-connection-pool"
import { SqliteConnection, SqlitePool } from "effect-connection-pool/sqlite"
import { SqliteClient } from "effect-connection-pool/sqlite-node"
import { PoolAssert } from "effect-connection-pool/testing"
import { SqlClient } from "effect/sql"
import { TestClock } from "effect/testing"
import { file } from "../support/files.ts"
import { settle } from "../support/pools.ts"
import { onWorkClock, type Slow, slowOf, type WorkClock } from "../support/slowStatements.ts"

/** A database with a table, whose function `work(millis)` takes that long. Statements of 100 ms and more are slow. */
const make = Effect.fnUntraced(function*(clock: WorkClock, options?: Partial<SqlitePool.Options>) {
  const filename = yield* file
  const pool = yield* SqlitePool.make({
    filename,
    name: "app",
    slowStatement: "100 millis",
    drainTimeout: 0,
    functions: { work: (millis) => clock.work(Number(millis)) },
    ...options
  })
  yield* pool.sql`create table t(a)`
  return pool
})

/** The slow statements so far: pool and text. */
const listed = (pool: SqlitePool.SqlitePool) =>
  Effect.map(pool.slowStatements, (list) => list.map(({ pool, text }) => [pool, text]))

const textsOf = (events: ReadonlyArray<Slow>) => events.map(({ text, tookMillis }) => [text, tookMillis])

const read = (n: number) => `select work(250), ${n}`

const write = (n: number) => `insert into t select work(250) + ${n}`

/** The statement of a holder, without its time. */
const last = (text: string) => ({ text, isRunning: false })

describe("statements of SQLite", () => {
  for (const [where, options] of [["a file", {}], ["memory", { filename: ":memory:" }]] as const) {
    it.effect(`are seen with their text and their side, however they run, in ${where}`, () =>
      onWorkClock((clock) =>
        Effect.gen(function*() {
          const pool = yield* make(clock, options)
          const { sql } = pool
          const [reads, writes] = where === "memory" ? ["app", "app"] : ["app/readers", "app/writer"]
          const seen = (text: string, side: string, effect: Effect.Effect<unknown, unknown>) =>
            Effect.gen(function*() {
              yield* effect
              const last = (yield* pool.slowStatements).find((its) => its.text === text)
              assert.deepStrictEqual([last?.pool, last?.lastMillis], [side, 250], text)
            })
          yield* seen(read(1), reads, sql.unsafe(read(1)))
          yield* seen(read(2), reads, sql.unsafe(read(2)).values)
          yield* seen(read(3), reads, sql.unsafe(read(3)).raw)
          yield* seen(read(4), reads, pool.read((reader) => reader.query(read(4))))
          yield* seen(read(5), reads, pool.readSync((reader) => reader.valuesUnsafe(read(5))))
          yield* seen(read(6), reads, pool.snapshot(sql.unsafe(read(6))))
          yield* seen(read(7), reads, Stream.runDrain(pool.stream(read(7))))
          yield* seen(read(8), reads, Stream.runDrain(sql.unsafe(read(8)).stream))
          yield* seen(write(1), writes, sql.unsafe(write(1)))
          yield* seen(write(2), writes, sql.unsafe(`${write(2)}`).raw)
          yield* seen(write(3), writes, pool.write((connection) => connection.run(write(3))))
          yield* seen(write(4), writes, pool.writeSync((connection) => connection.runUnsafe(write(4))))
          yield* seen(write(5), writes, pool.transaction(sql.unsafe(write(5))))
          yield* seen(write(6), writes, pool.transaction(pool.transaction(pool.write((it) => it.run(write(6))))))
          yield* seen(write(7), writes, sql.withTransaction(sql.unsafe(write(7))))
          yield* seen(
            write(8),
            writes,
            Effect.scoped(Effect.flatMap(sql.reserve, (it) => it.execute(write(8), [], undefined)))
          )
          yield* seen(`${write(9)}; select 1`, writes, pool.write((it) => it.exec(`${write(9)};\n select 1`)))
          assert.deepStrictEqual(
            (yield* pool.slowStatements).map(({ runs }) => runs),
            Array.from({ length: 17 }, () => 1)
          )
        })
      ))
  }

  it.effect("count if they fail, and not for the time in line", () =>
    onWorkClock((clock) =>
      Effect.gen(function*() {
        const pool = yield* make(clock, {
          functions: {
            work: (millis) => clock.work(Number(millis)),
            fail: () => {
              clock.work(300)
              throw new Error("no")
            }
          }
        })
        const { sql } = pool
        yield* Effect.flip(sql`select fail()`)
        yield* Effect.flip(sql`insert into t values (fail())`)
        yield* Effect.flip(Stream.runDrain(pool.stream("select fail(), 1")))
        const holder = yield* Effect.forkChild(pool.write(() => Effect.never), { startImmediately: true })
        const waiting = yield* Effect.forkChild(sql`insert into t values (1)`, { startImmediately: true })
        yield* TestClock.adjust("5 seconds")
        yield* Fiber.interrupt(holder)
        yield* Fiber.join(waiting)
        assert.sameDeepMembers(yield* listed(pool), [
          ["app/readers", "select fail()"],
          ["app/writer", "insert into t values (fail())"],
          ["app/readers", "select fail(), 1"]
        ])
      })
    ))

  it.effect("that are read row by row take as long as SQLite works, and not as long as their reader", () =>
    onWorkClock((clock) =>
      Effect.gen(function*() {
        const pool = yield* make(clock)
        const slow = yield* slowOf(pool.readers)
        const numbers = "with recursive n(i) as (select 1 union all select i + 1 from n where i < 300)"
        yield* pool.stream(`${numbers} select work(1) from n`).pipe(
          Stream.runForEach(() => Effect.sync(() => clock.work(1000)))
        )
        const cut = pool.stream(`${numbers} select work(2) from n`).pipe(Stream.take(1), Stream.runDrain)
        yield* cut
        assert.deepStrictEqual(
          (yield* slow).map(({ isBlocking, text, tookMillis }) => [text, tookMillis, isBlocking]),
          [
            [`${numbers} select work(1) from n`, 300, false],
            [`${numbers} select work(2) from n`, 512, false]
          ]
        )
      })
    ))

  it.effect("of a group are each their own caller's, and the commit of all is a statement", () =>
    onWorkClock((clock) =>
      Effect.gen(function*() {
        const pool = yield* make(clock)
        const { sql } = pool
        const slow = yield* slowOf(pool.writer)
        const holder = yield* Effect.forkChild(pool.write(() => settle), { startImmediately: true })
        const fibers: Array<Fiber.Fiber<unknown, unknown>> = []
        for (const millis of [100, 200, 300]) {
          fibers.push(
            yield* Effect.forkChild(sql.unsafe(`insert into t select work(${millis})`), { startImmediately: true })
          )
        }
        yield* Fiber.join(holder)
        yield* Fiber.joinAll(fibers)
        const events = yield* slow
        assert.deepStrictEqual(textsOf(events), [100, 200, 300].map((n) => [`insert into t select work(${n})`, n]))
        assert.deepStrictEqual(events.map(({ holder }) => holder?.fiber), fibers.map(({ id }) => id))
      })
    ))

  it.effect("are seen after a lease has altered its connection, and the connection was opened anew", () =>
    onWorkClock((clock) =>
      Effect.gen(function*() {
        const pool = yield* make(clock)
        yield* pool.write((connection) => connection.exec("pragma recursive_triggers = on"))
        yield* pool.write((connection) => connection.run("insert into t select work(100)"))
        yield* pool.writer.recycle
        yield* pool.write((connection) => connection.run("insert into t select work(200)"))
        assert.deepStrictEqual(yield* listed(pool), [
          ["app/writer", "insert into t select work(200)"],
          ["app/writer", "insert into t select work(100)"]
        ])
      })
    ))

  it.effect("are seen in a pool of SqliteConnection, and in the client of sqlite-node", () =>
    onWorkClock((clock) =>
      Effect.gen(function*() {
        const options = {
          filename: yield* file,
          functions: { work: (millis: unknown) => clock.work(Number(millis)) }
        }
        const pool = yield* ConnectionPool.make({
          factory: SqliteConnection.factory(options),
          slowStatement: "100 millis"
        })
        yield* pool.use((connection) => connection.query("select work(100)"))
        assert.deepStrictEqual((yield* pool.slowStatements).map(({ text }) => text), ["select work(100)"])
        const texts = Effect.gen(function*() {
          const sql = yield* SqlClient.SqlClient
          yield* sql`select work(100)`
          const { slowStatements } = yield* SqlitePool.SqlitePool
          return (yield* slowStatements).map(({ text }) => text)
        }).pipe(Effect.provide(SqliteClient.layer({ ...options, slowStatement: 100 })))
        assert.deepStrictEqual(yield* texts, ["select work(100)"])
      })
    ))

  it.effect("say how they would run on a worker, if they held up the process and could run there", () =>
    onWorkClock((clock) =>
      Effect.gen(function*() {
        const adviceOf = (
          side: "readers" | "writer",
          options: Partial<SqlitePool.Options>,
          statement = side === "readers" ? read(1) : write(1)
        ) =>
          Effect.gen(function*() {
            const pool = yield* make(clock, options)
            const slow = yield* slowOf(pool[side])
            yield* pool.sql.unsafe(statement)
            const [event] = yield* slow
            assert.strictEqual(event?.text, statement)
            return event?.advice
          })
        // The clock that a module of functions could move is in another thread.
        const onWorker = "run it on a worker: `SqlitePool.onWorker`, or `{ execution: \"worker\" }`"
        const module = " and its functions in a `functionsModule`"
        const every = { slowStatement: 0, functions: undefined }
        assert.strictEqual(yield* adviceOf("readers", { ...every, workers: 1 }, "select 1"), onWorker)
        const opened = `${onWorker}, after you have opened the database with \`workers\``
        assert.strictEqual(yield* adviceOf("readers", every, "select 1"), opened)
        assert.strictEqual(yield* adviceOf("readers", {}), `${opened}${module}`)
        const writer = "run it on a worker: open the database with `SqliteWorkerPool`"
        assert.strictEqual(yield* adviceOf("writer", every, "insert into t values (1)"), writer)
        assert.strictEqual(yield* adviceOf("writer", {}), `${writer}${module}`)
        assert.isUndefined(yield* adviceOf("writer", { filename: ":memory:" }))
        const pool = yield* make(clock)
        const slow = yield* slowOf(pool.readers)
        yield* Stream.runDrain(pool.stream(read(1)))
        assert.deepStrictEqual((yield* slow).map(({ advice, isBlocking }) => [advice, isBlocking]), [[
          undefined,
          false
        ]])
      })
    ))

  it.effect("are not measured without slowStatement", () =>
    onWorkClock((clock) =>
      Effect.gen(function*() {
        const pool = yield* make(clock, { slowStatement: undefined })
        const slow = yield* slowOf(pool.readers)
        yield* pool.sql`select work(60000)`
        assert.deepStrictEqual(yield* slow, [])
        assert.deepStrictEqual(yield* pool.slowStatements, [])
        assert.strictEqual((yield* pool.stats).readers.slowStatements, 0)
      })
    ))
})

describe("the holder of a connection of SQLite", () => {
  const statementOf = (pool: SqlitePool.SqlitePool, side: "writer" | "readers") =>
    Effect.map(pool[side].holders, ([holder]) => holder?.statement)

  it.effect("is shown with the statement that it ran last, also without slowStatement", () =>
    onWorkClock((clock) =>
      Effect.gen(function*() {
        const pool = yield* make(clock, { slowStatement: undefined })
        const { sql } = pool
        yield* pool.transaction(Effect.gen(function*() {
          assert.deepStrictEqual(yield* statementOf(pool, "writer"), last("begin immediate"))
          yield* sql`insert into t values (${1})`
          assert.deepStrictEqual(yield* statementOf(pool, "writer"), last("insert into t values (?)"))
          yield* Effect.exit(pool.transaction(Effect.fail("no")))
          assert.deepStrictEqual(yield* statementOf(pool, "writer"), last("release effect_pool_1"))
        }))
        yield* pool.snapshot(Effect.gen(function*() {
          assert.deepStrictEqual(yield* statementOf(pool, "readers"), last("begin"))
          yield* sql`select a from t`
          assert.deepStrictEqual(yield* statementOf(pool, "readers"), last("select a from t"))
        }))
        yield* pool.write((connection) =>
          Effect.gen(function*() {
            assert.isUndefined(yield* statementOf(pool, "writer"))
            yield* connection.exec("insert into t values (2);\ninsert into t values (3)")
            const script = last("insert into t values (2); insert into t values (3)")
            assert.deepStrictEqual(yield* statementOf(pool, "writer"), script)
            yield* PoolAssert.failsWith(connection.run("insert into nothing values (1)"), "SqlError")
            assert.deepStrictEqual(yield* statementOf(pool, "writer"), last("insert into nothing values (1)"))
          })
        )
      })
    ))

  it.effect("is shown with the stream that it reads, for as long as that is open", () =>
    onWorkClock((clock) =>
      Effect.gen(function*() {
        const pool = yield* make(clock, { slowStatement: undefined })
        yield* pool.read((reader) =>
          Effect.gen(function*() {
            const numbers =
              "with recursive n(i) as (select 1 union all select i + 1 from n where i < 600) select i from n"
            yield* reader.stream(numbers).pipe(
              Stream.take(1),
              Stream.runForEach(() =>
                Effect.gen(function*() {
                  yield* TestClock.adjust("1 second")
                  yield* reader.query("select 3")
                  assert.deepStrictEqual(yield* statementOf(pool, "readers"), {
                    text: numbers,
                    isRunning: true,
                    ranMillis: 1000
                  })
                })
              )
            )
            assert.deepStrictEqual(yield* statementOf(pool, "readers"), { text: numbers, isRunning: false })
          })
        )
      })
    ))

  it.effect("is named with its statement by the timeout of another caller", () =>
    onWorkClock((clock) =>
      Effect.gen(function*() {
        const pool = yield* make(clock)
        const sleeping = pool.transaction(Effect.andThen(pool.sql`insert into t values (work(40))`, Effect.never))
        yield* Effect.forkChild(sleeping, { startImmediately: true })
        const late = yield* Effect.forkChild(
          Effect.catchTag(pool.write(() => Effect.void, { timeout: "1 second" }), "AcquireTimeoutError", Effect.succeed)
        )
        yield* TestClock.adjust("1 second")
        const error = yield* Fiber.join(late)
        assert.match(String(error?.message), / ms \(last ran "insert into t values \(work\(40\)\)", for 40 ms\)$/)
      })
    ))
})
