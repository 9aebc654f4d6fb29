import { assert, describe, it } from "@effect/vitest"
import { ConfigProvider, Context, Effect, Fiber, Layer, Option, Stream } from "effect"
import { SqliteConnection, SqliteWorkerPool } from "effect-connection-pool/sqlite"
import { PoolAssert } from "effect-connection-pool/testing"
import type { SqlError } from "effect/sql/SqlError"
import { renameSync } from "node:fs"
import { file, judge } from "../support/files.ts"
import { functionsModule, heldStatement } from "../support/held.ts"
import { countMessages, interruptAtRandom, make, slowWrite, threadOf, turnsOf, until } from "../support/workerPools.ts"

describe("a writer in a thread", () => {
  it.live("stores single statements, with their results and errors", () =>
    Effect.gen(function*() {
      const { pool, rows } = yield* make()
      const { sql } = pool
      assert.deepStrictEqual(yield* sql`insert into t values (2) returning a`, [{ a: 2 }])
      assert.deepStrictEqual({ ...(yield* sql`insert into t values (3)`.raw) as object }, {
        changes: 1,
        lastInsertRowid: 3
      })
      const error = yield* Effect.flip(sql`insert into nowhere values (1)`)
      assert.strictEqual(error._tag, "SqlError")
      yield* pool.write((connection) => connection.exec("begin; insert into t values (4); commit"))
      assert.deepStrictEqual(rows(), [1, 2, 3, 4])
      const { changes } = yield* pool.write((connection) => connection.run("delete from t where a > 2"))
      assert.strictEqual(changes, 2)
    }).pipe(Effect.scoped))

  it.live(
    "tells each interrupted caller the truth: what it was told is not stored is not",
    () =>
      Effect.gen(function*() {
        const { other, pool } = yield* make({ synchronous: "off" })
        const { sql } = pool
        const runs = Number(process.env["WORKER_WRITES"] ?? 300)
        const stored = new Set<number>()
        const usual = yield* turnsOf(sql`insert into t values (2)`)
        const one = (n: number) =>
          interruptAtRandom(n, usual, Effect.tap(sql`insert into t values (${n})`, Effect.sync(() => stored.add(n))))
        yield* Effect.forEach(Array.from({ length: runs }, (_, at) => at + 10), one, { concurrency: 20 })
        yield* sql`insert into t values (-1)`
        const found = other.prepare("select a from t where a >= 10").all().map((row) => row["a"] as number)
        assert.deepStrictEqual(found.toSorted((a, b) => a - b), [...stored].toSorted((a, b) => a - b))
        assert.isAbove(found.length, 0)
        assert.isBelow(found.length, runs)
      }).pipe(Effect.scoped),
    120_000
  )

  it.live("does not hold up the event loop while SQLite writes", () =>
    Effect.gen(function*() {
      const { pool, rows } = yield* make()
      const fiber = yield* Effect.forkChild(pool.sql.unsafe(slowWrite(2_000_000)), { startImmediately: true })
      let turns = 0
      while (fiber.pollUnsafe() === undefined) {
        yield* Effect.promise(() => new Promise(setImmediate))
        turns++
      }
      assert.isAbove(turns, 100)
      assert.deepStrictEqual(rows(), [1, 2_000_000])
    }).pipe(Effect.scoped))

  it.live("is replaced when its thread ends, and tells whoever waits that nothing is stored", () =>
    Effect.gen(function*() {
      const { pool, rows } = yield* make({ functionsModule })
      const held = yield* heldStatement
      const { terminate } = yield* pool.write((connection) => Effect.succeed(threadOf(connection)))
      const fiber = yield* Effect.forkChild(pool.sql.unsafe(`insert into t ${held.sql}`), { startImmediately: true })
      yield* held.hasBegun
      yield* Effect.promise(() => terminate())
      const error = yield* Effect.flip(Fiber.join(fiber))
      assert.include(error.message, "has ended")
      assert.notInclude(error.message, "not known")
      yield* pool.sql`insert into t values (2)`
      assert.deepStrictEqual(rows(), [1, 2])
      assert.strictEqual((yield* pool.stats).writer.connects, 2)
    }).pipe(Effect.scoped))

  it.live("waits for the lock of another connection, for at most busyTimeout", () =>
    Effect.gen(function*() {
      const { other, pool, rows } = yield* make({ busyTimeout: "1 minute" })
      const messages = yield* countMessages
      const writes: ReadonlyArray<Effect.Effect<unknown, unknown>> = [
        pool.sql`insert into t values (2)`,
        pool.transaction(pool.sql`insert into t values (3)`)
      ]
      for (const write of writes) {
        other.exec("begin immediate")
        const before = messages()
        const fiber = yield* Effect.forkChild(write, { startImmediately: true })
        // It has met the lock, and was tried again.
        yield* until(() => messages() >= before + 3)
        assert.isUndefined(fiber.pollUnsafe())
        other.exec("rollback")
        yield* Fiber.join(fiber)
      }
      assert.deepStrictEqual(rows(), [1, 2, 3])
    }).pipe(Effect.scoped))

  it.live("fails with the error of SQLite when the lock stays", () =>
    Effect.gen(function*() {
      const { other, pool } = yield* make({ busyTimeout: 20 })
      other.exec("begin immediate")
      const error = yield* Effect.flip(pool.sql`insert into t values (2)`)
      assert.strictEqual(SqliteConnection.codeOf(error), 5)
      yield* PoolAssert.failsWith(pool.transaction(Effect.void), "TransactionBeginError")
      other.exec("rollback")
    }).pipe(Effect.scoped))

  it.live("refuses in a stream of sql what it refuses in a statement, and so do readers", () =>
    Effect.gen(function*() {
      const { pool } = yield* make({ workers: 1, execution: "worker" })
      const cases = ["pragma cache_size = 5", "select total_changes()", "explain pragma foreign_keys = off", "begin"]
      for (const text of cases) {
        const statement = pool.sql.unsafe(text)
        const [here, there] = yield* Effect.forEach([statement, Stream.runDrain(statement.stream)], (effect) =>
          PoolAssert.failsWith(effect as Effect.Effect<unknown, SqlError>, "SqlError"))
        assert.strictEqual(here!.reason._tag, "AuthorizationError", text)
        const [reasonHere, reasonThere] = [here!, there!].map(({ message }) =>
          message.slice(message.indexOf(":"))
        )
        assert.strictEqual(reasonThere, reasonHere)
      }
    }).pipe(Effect.scoped))

  it.live("runs a batch, and undoes it if a row fails", () =>
    Effect.gen(function*() {
      const { other, pool } = yield* make()
      yield* pool.write((connection) => connection.exec("create table b(id integer primary key, name text)"))
      const count = () => other.prepare("select count(*) as n from b").get()!["n"]
      const people = Array.from({ length: 5000 }, (_, id) => [id, `name ${id}`] as const)
      const progress = yield* Stream.runLast(pool.batch("insert into b values (?, ?)", people))
      assert.strictEqual(count(), 5000)
      const { changes, rows, stored } = Option.getOrThrow(progress)
      assert.deepStrictEqual({ changes, rows, stored }, { changes: 5000, rows: 5000, stored: 5000 })
      const twice = [...people.map(([id, name]) => [id + 10_000, name]), [3, "again"]]
      const error = yield* Effect.flip(Stream.runDrain(pool.batch("insert into b values (?, ?)", twice as never)))
      assert.strictEqual(error._tag, "BatchError")
      assert.strictEqual((error as { readonly row: number }).row, 5000)
      assert.strictEqual(count(), 5000)
      yield* Stream.runDrain(pool.batch([
        ["delete from b where id = :id", { id: 1 }],
        ["insert into b values (?, ?)", [-1, "Ada"]]
      ]))
      assert.strictEqual(count(), 5000)
    }).pipe(Effect.scoped))

  it.live("has the cache that a batch asks for until its transaction ends", () =>
    Effect.gen(function*() {
      const { pool } = yield* make()
      const settings = Effect.map(
        Effect.all([pool.sql`pragma cache_size`.values, pool.sql`pragma wal_autocheckpoint`.values]),
        (all) => all.flat(2)
      )
      const before = yield* pool.transaction(settings)
      const meanwhile = (end: Effect.Effect<void, string>) =>
        pool.transaction(Effect.gen(function*() {
          yield* Stream.runDrain(pool.batch("insert into t values (?)", [[2], [3]], { cacheSize: 12_345 }))
          const [cacheSize] = yield* settings
          yield* end
          return cacheSize
        }))
      assert.strictEqual(yield* meanwhile(Effect.void), -12_345)
      assert.deepStrictEqual(yield* pool.transaction(settings), before)
      assert.strictEqual(yield* Effect.flip(meanwhile(Effect.fail("no"))), "no")
      assert.deepStrictEqual(yield* pool.transaction(settings), before)
      assert.strictEqual((yield* pool.stats).writer.resets, 0)
    }).pipe(Effect.scoped))

  it.live("backs up, and cuts its log back", () =>
    Effect.gen(function*() {
      const { filename, pool } = yield* make()
      yield* pool.sql`insert into t values (2)`
      yield* Stream.runDrain(pool.backup(`${filename}.copy`))
      const copy = yield* judge(`${filename}.copy`)
      assert.strictEqual(copy.prepare("select count(*) as n from t").get()!["n"], 2)
      assert.isTrue((yield* pool.checkpoint()).isComplete)
      assert.strictEqual((yield* pool.stats).walBytes, 0)
    }).pipe(Effect.scoped))

  it.live("lends nothing of a lease to the next: transactions, settings and temporary tables end with it", () =>
    Effect.gen(function*() {
      const { pool, rows } = yield* make()
      yield* pool.write((connection) =>
        connection.exec("pragma recursive_triggers = on; create temporary table x(a); begin; insert into t values (2)")
      )
      const left = yield* pool.write((connection) =>
        Effect.all({
          isTransaction: connection.isTransaction,
          triggers: connection.values("pragma recursive_triggers"),
          temporary: connection.values("select count(*) from temp.sqlite_schema")
        })
      )
      assert.deepStrictEqual(left, { isTransaction: false, triggers: [[0]], temporary: [[0]] })
      assert.deepStrictEqual(rows(), [1])
    }).pipe(Effect.scoped))

  it.effect("refuses options that a thread cannot have", () =>
    Effect.gen(function*() {
      for (const [field, value] of [["aggregates", {}], ["functions", {}], ["readOnly", true]] as const) {
        const error = yield* Effect.flip(
          SqliteWorkerPool.make({ filename: "app.db", [field]: value } as SqliteWorkerPool.Options)
        )
        assert.strictEqual(error._tag, "PoolConfigError")
        assert.include(error.message, field)
      }
      const error = yield* Effect.flip(SqliteWorkerPool.make({ filename: ":memory:" }))
      assert.include(error.message, "filename")
    }).pipe(Effect.scoped))

  it.live("is made from the configuration, where what a thread cannot have is no option", () =>
    Effect.gen(function*() {
      const env = { DB_FILENAME: yield* file, DB_WORKERS: "1", DB_SYNCHRONOUS: "off" }
      const layerFor = (more: Record<string, string>) =>
        SqliteWorkerPool.layerConfig(SqliteWorkerPool.config("DB")).pipe(
          Layer.provide(ConfigProvider.layer(ConfigProvider.fromEnv({ env: { ...env, ...more } })))
        )
      const context = yield* Layer.build(layerFor({ DB_READ_ONLY: "true" }))
      const pool = Context.get(context, SqliteWorkerPool.SqliteWorkerPool)
      assert.deepStrictEqual(yield* pool.sql`select 1 as a`, [{ a: 1 }])
      assert.strictEqual((yield* pool.stats).workers?.max, 1)
      assert.deepStrictEqual(yield* pool.sql`pragma synchronous`.values, [[0]])
      const wrong = yield* Effect.flip(Layer.build(layerFor({ DB_WORKERS: "many" })))
      assert.strictEqual(wrong._tag, "ConfigError")
      assert.include(wrong.message, "DB_WORKERS")
    }).pipe(Effect.scoped))

  it.live("leaves a file that was replaced, with what its log holds, and opens the one at its path", () =>
    Effect.gen(function*() {
      const { filename, other, pool } = yield* make({ workers: 1, execution: "worker" })
      yield* pool.sql`insert into t values (2)`
      yield* pool.sql`select * from t`
      other.close()
      renameSync(filename, `${filename}.moved`)
      const next = yield* judge(
        `${filename}.next`,
        "pragma journal_mode = wal; create table t(a); insert into t values (7)"
      )
      next.close()
      renameSync(`${filename}.next`, filename)
      // The path is looked at every 50 ms. Until then, the file that was moved is read.
      const rows = Effect.filterOrFail(pool.sql`select a from t`, ([row]) => row?.["a"] !== 1)
      assert.deepStrictEqual(yield* Effect.eventually(rows), [{ a: 7 }])
      yield* pool.sql`insert into t values (8)`
      const moved = yield* judge(`${filename}.moved`)
      assert.strictEqual(moved.prepare("select count(*) as n from t").get()!["n"], 2)
    }).pipe(Effect.scoped))
})
