import { assert, describe, it } from "@effect/vitest"
import { Deferred, Effect, Fiber, Stream } from "effect"
import { SqliteConnection, SqlitePool } from "effect-connection-pool/sqlite"
import { PoolAssert } from "effect-connection-pool/testing"
import { TestClock } from "effect/testing"
import { DatabaseSync } from "node:sqlite"
import { file } from "../support/files.ts"
import { settle } from "../support/pools.ts"

const make = Effect.fnUntraced(function*(options?: Partial<SqlitePool.Options>) {
  const pool = yield* SqlitePool.make({ filename: ":memory:", drainTimeout: 0, ...options })
  yield* pool.write((connection) => connection.exec("create table t(a); insert into t values (1)"))
  return pool
})

const insert = (connection: SqliteConnection.SqliteConnection) => connection.run("insert into t values (1)")

describe("a database in memory", () => {
  it.effect("is the same for all readers and writers", () =>
    Effect.gen(function*() {
      const pool = yield* make({ readers: 8 })
      yield* Effect.forEach(Array.from({ length: 20 }), () => pool.write(insert), { concurrency: "unbounded" })
      const read = pool.read((reader) => reader.values("select count(*) from t"))
      const found = yield* Effect.forEach(Array.from({ length: 20 }), () => read, { concurrency: "unbounded" })
      assert.deepStrictEqual(new Set(found.map((rows) => rows[0]![0])), new Set([21]))
      assert.deepStrictEqual(
        yield* pool.readSync((reader) => reader.valuesUnsafe("select count(*) from t")),
        [[21]]
      )
      assert.deepStrictEqual(
        yield* pool.writeSync((connection) => connection.valuesUnsafe("delete from t returning 1")).pipe(
          Effect.map((rows) => rows.length)
        ),
        21
      )
      const { readers, walBytes, writer } = yield* pool.stats
      assert.deepStrictEqual([writer.connects, readers.connects, writer.pool, walBytes], [1, 1, "sqlite", 0])
      assert.strictEqual(pool.filename, ":memory:")
    }))

  it.effect("lets the holder of the connection do what it could do beside it in a file", () =>
    Effect.gen(function*() {
      const count = Effect.fnUntraced(function*(pool: SqlitePool.SqlitePool) {
        const { sql } = pool
        const inside = Effect.gen(function*() {
          const read = yield* pool.read((reader) => reader.values("select count(*) from t"))
          const [row] = yield* sql<{ readonly n: number }>`select count(*) as n from t`
          const streamed = yield* Stream.runCollect(sql`select count(*) as n from t`.stream)
          return [read[0]![0], row!.n, Array.from(streamed)[0]!["n"]]
        })
        const write = PoolAssert.failsWith(sql`insert into t values (9)`, "SqlError")
        return {
          reading: yield* pool.read(() =>
            Effect.gen(function*() {
              yield* sql`insert into t values (2)`
              yield* pool.write(insert)
              yield* pool.writeSync((connection) => connection.runUnsafe("insert into t values (3)"))
              return yield* inside
            })
          ),
          writing: yield* pool.write((connection) => Effect.andThen(insert(connection), inside)),
          // They would wait for themselves.
          refused: yield* pool.write(() => write).pipe(
            Effect.map((error) => (error.reason.cause as { readonly _tag: string })._tag)
          ),
          twice: yield* pool.write(() => PoolAssert.failsWith(pool.write(insert), "SelfDeadlockError")).pipe(
            Effect.map((error) => error._tag)
          ),
          within: yield* pool.read(() =>
            pool.write(() => PoolAssert.failsWith(pool.write(insert), "SelfDeadlockError"))
          )
            .pipe(Effect.map((error) => error._tag))
        }
      })
      const memory = yield* count(yield* make())
      const temporary = yield* SqlitePool.makeTemporary({ drainTimeout: 0 })
      yield* temporary.write((connection) => connection.exec("create table t(a); insert into t values (1)"))
      assert.deepStrictEqual(memory, yield* count(temporary))
      assert.deepStrictEqual(memory, {
        reading: [4, 4, 4],
        writing: [5, 5, 5],
        refused: "SelfDeadlockError",
        twice: "SelfDeadlockError",
        within: "SelfDeadlockError"
      })
    }))

  it.effect("rolls back what a caller leaves open, and keeps the rest", () =>
    Effect.gen(function*() {
      const pool = yield* make()
      yield* pool.write((connection) => connection.exec("begin; delete from t; drop table t"))
      yield* Effect.exit(
        pool.write((connection) => Effect.andThen(connection.exec("begin; delete from t"), Effect.die("no")))
      )
      assert.deepStrictEqual(yield* pool.read((reader) => reader.values("select a from t")), [[1]])
    }))

  it.effect("is there as long as the pool, whatever time passes", () =>
    Effect.gen(function*() {
      const pool = yield* make({ idleTimeout: "1 second" })
      yield* TestClock.adjust("3 days")
      assert.deepStrictEqual(yield* pool.read((reader) => reader.values("select a from t")), [[1]])
      assert.strictEqual((yield* pool.stats).writer.connects, 1)
    }))

  it.effect("is never replaced by an empty one", () =>
    Effect.gen(function*() {
      const pool = yield* make()
      // However the connection is lost: here it cannot be rolled back.
      const real = DatabaseSync.prototype.exec
      yield* Effect.acquireRelease(
        Effect.sync(() => {
          DatabaseSync.prototype.exec = function(sql) {
            if (sql === "rollback") throw Object.assign(new Error("disk I/O error"), { errcode: 266 })
            return real.call(this, sql)
          }
        }),
        () =>
          Effect.sync(() => {
            DatabaseSync.prototype.exec = real
          })
      )
      yield* pool.write((connection) => connection.exec("begin"))
      const error = yield* PoolAssert.failsWith(pool.read((reader) => reader.values("select 1")), "ConnectError")
      assert.include(error.message, "is gone with its connection")
      assert.strictEqual((yield* pool.stats).writer.connects, 1)
    }))

  it.effect("refuses writes of readers, and changes of SQLite's settings", () =>
    Effect.gen(function*() {
      const pool = yield* make()
      const refused = [
        "delete from t",
        "insert into t values (2) returning a",
        "with x as (select 1) delete from t",
        "with x as (select 1) replace into t select * from x",
        "-- a comment\n/* another */ update t set a = 2",
        "begin",
        "savepoint a",
        "pragma user_version = 3",
        "pragma query_only(1)",
        "pragma main.user_version=1",
        "pragma optimize",
        "pragma incremental_vacuum(3)",
        "explain query plan pragma query_only = 1",
        "vacuum",
        "attach ':memory:' as x"
      ]
      for (const sql of refused) {
        const attempts: ReadonlyArray<Effect.Effect<unknown, unknown>> = [
          pool.read((reader) => reader.query(sql)),
          pool.read((reader) => reader.values(sql)),
          pool.readSync((reader) => reader.queryUnsafe(sql)),
          pool.readSync((reader) => reader.valuesUnsafe(sql)),
          Stream.runCollect(pool.stream(sql)),
          pool.snapshot(pool.read((reader) => reader.query(sql))),
          pool.write(() => pool.read((reader) => reader.query(sql)))
        ]
        for (const attempt of attempts) {
          assert.strictEqual(SqliteConnection.codeOf(yield* Effect.flip(attempt)), 8, sql)
        }
      }
      const allowed = [
        "select 1",
        " ;; /* one */ -- two\n SELECT 1",
        "values (1)",
        "with x as (select 1) select * from x",
        "explain select 1",
        "explain query plan select 1",
        "pragma user_version",
        "pragma main.user_version",
        "pragma table_info(t)",
        "pragma integrity_check(10)"
      ]
      for (const sql of allowed) yield* pool.read((reader) => reader.query(sql))
      // More texts than are remembered.
      yield* pool.readSync((reader) => {
        for (let at = 0; at < 1500; at++) reader.valuesUnsafe(`select ${at}`)
      })
      assert.deepStrictEqual(yield* pool.read((reader) => reader.values("select a from t")), [[1]])
    }))

  it.effect("has a read within a read or a write see what that one sees, on the same connection", () =>
    Effect.gen(function*() {
      const pool = yield* make()
      const read = pool.read((reader) => reader.values("select count(*) from t"))
      const streamed = Effect.map(Stream.runCollect(pool.stream("select a from t")), (rows) => rows.length)
      const sync = pool.readSync((reader) => reader.valuesUnsafe("select count(*) from t"))
      const named = pool.readSync((reader) => reader.queryUnsafe("select a from t where a > ?", [1]))
      const inWrite = yield* pool.write((connection) =>
        Effect.gen(function*() {
          yield* connection.exec("begin; insert into t values (2)")
          const seen = [yield* read, yield* pool.read(() => read), yield* sync, yield* streamed, yield* named]
          yield* connection.exec("rollback")
          return seen
        })
      )
      assert.deepStrictEqual(inWrite, [[[2]], [[2]], [[2]], 2, [{ a: 2 }]])
      assert.deepStrictEqual(yield* pool.snapshot(Effect.all([read, pool.snapshot(read), sync])), [[[1]], [[1]], [[1]]])
      yield* PoolAssert.failsWith(pool.write(() => pool.write(insert)), "SelfDeadlockError")
      assert.strictEqual(SqliteConnection.codeOf(yield* Effect.flip(pool.snapshot(pool.write(insert)))), 8)
      assert.deepStrictEqual(yield* pool.transaction(Effect.andThen(pool.write(insert), read)), [[2]])
    }))

  it.effect("keeps writers out of a snapshot, and makes them wait", () =>
    Effect.gen(function*() {
      const pool = yield* make()
      const gate = yield* Deferred.make<void>()
      const read = pool.read((reader) => reader.values("select count(*) from t"))
      const fiber = yield* Effect.forkChild(
        pool.snapshot(Effect.gen(function*() {
          const before = yield* read
          yield* Deferred.await(gate)
          return [before, yield* read]
        }))
      )
      yield* settle
      const writer = yield* Effect.forkChild(pool.write(insert))
      yield* settle
      assert.isUndefined(writer.pollUnsafe())
      yield* Deferred.succeed(gate, undefined)
      assert.deepStrictEqual(yield* Fiber.join(fiber), [[[1]], [[1]]])
      yield* Fiber.join(writer)
      assert.deepStrictEqual(yield* read, [[2]])
    }))

  it.effect("is copied to a file by a backup, and has no log to move", () =>
    Effect.gen(function*() {
      const pool = yield* make()
      const target = yield* file
      yield* Stream.runDrain(pool.backup(target))
      const database = new DatabaseSync(target, { readOnly: true })
      assert.strictEqual(database.prepare("select count(*) as n from t").get()!["n"], 1)
      database.close()
      assert.deepStrictEqual(yield* pool.checkpoint(), { isComplete: true, walPages: 0, movedPages: 0 })
    }))

  it.effect("is gone at its end, and others are others", () =>
    Effect.gen(function*() {
      const pool = yield* make()
      const other = yield* make()
      yield* other.write(insert)
      assert.deepStrictEqual(yield* pool.read((reader) => reader.values("select count(*) from t")), [[1]])
      assert.deepStrictEqual(yield* pool.shutdown(), {
        readers: { returned: 0, interrupted: 0, revoked: 0, abandoned: [], closeTimeouts: 0 },
        writer: { returned: 0, interrupted: 0, revoked: 0, abandoned: [], closeTimeouts: 0 }
      })
      yield* PoolAssert.failsWith(pool.read(() => Effect.void), "PoolClosedError")
    }))
})
