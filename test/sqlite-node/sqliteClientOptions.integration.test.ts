import { assert, describe, it } from "@effect/vitest"
import { Context, Effect, Fiber, Latch, Layer, Stream } from "effect"
import { SqlitePool } from "effect-connection-pool/sqlite"
import { SqliteClient } from "effect-connection-pool/sqlite-node"
import { PoolAssert } from "effect-connection-pool/testing"
import { existsSync, mkdirSync } from "node:fs"
import { join } from "node:path"
import { DatabaseSync } from "node:sqlite"
import { getLoadablePath } from "sqlite-vec"
import { file, folder, judge } from "../support/files.ts"
import { settle } from "../support/pools.ts"
import { names, open } from "../support/sqliteClient.ts"

const { failsWith } = PoolAssert

/** An extension, and whether a connection has it. */
const vec = getLoadablePath()

const version = (sql: SqliteClient.SqliteClient) => sql`select vec_version() like 'v%' as ok`.values

describe("options", () => {
  it.effect("a database that is only read refuses writes, and has transactions", () =>
    Effect.gen(function*() {
      const filename = yield* file
      yield* Effect.scoped(Effect.asVoid(open({ filename })))
      const other = yield* judge(filename, "insert into person(name) values ('Ada')")
      const sql = yield* SqliteClient.make({ filename, readonly: true, readers: 2 })
      assert.deepStrictEqual(yield* names(sql), ["Ada"])
      const error = yield* Effect.flip(sql`insert into person(name) values ('Bob')`)
      assert.match(error.message, /^execute: "insert .*": pool "sqlite" was opened read-only, so it cannot write$/)
      assert.strictEqual(error.reason._tag, "AuthorizationError")
      const within = yield* Effect.flip(sql.withTransaction(sql`insert into person(name) values ('Bob')`))
      assert.strictEqual(within.message, error.message)
      // A snapshot.
      const begun = yield* Latch.make(false)
      const finish = yield* Latch.make(false)
      const transaction = yield* Effect.forkChild(sql.withTransaction(Effect.gen(function*() {
        yield* begun.open
        yield* finish.await
        return yield* names(sql)
      })))
      yield* begun.await
      other.exec("insert into person(name) values ('Bob')")
      // Beside it, on another connection.
      assert.deepStrictEqual(yield* names(sql), ["Ada", "Bob"])
      yield* finish.open
      assert.deepStrictEqual(yield* Fiber.join(transaction), ["Ada"])
      yield* sql.loadExtension(vec)
      assert.deepStrictEqual(yield* version(sql), [[1]])
    }))

  it.effect("a database that is only read refuses the writes of its pool, for the same reason in each way", () =>
    Effect.gen(function*() {
      const filename = yield* file
      yield* Effect.scoped(Effect.asVoid(open({ filename })))
      const context = yield* Layer.build(SqliteClient.layer({ filename, readonly: true, drainTimeout: 0 }))
      const pool = Context.get(context, SqlitePool.SqlitePool)
      const count = "select count(*) from person"
      assert.deepStrictEqual(yield* pool.writeSync((connection) => connection.valuesUnsafe(count)), [[0]])
      const insert = "insert into person(name) values ('Ada')"
      const refusals = {
        writeSync: failsWith(pool.writeSync((connection) => connection.runUnsafe(insert)), "SqlError"),
        write: failsWith(pool.write((connection) => connection.run(insert)), "SqlError"),
        "read in a transaction": failsWith(pool.transaction(pool.read((reader) => reader.query(insert))), "SqlError")
      }
      for (const [way, refusal] of Object.entries(refusals)) {
        const { message, reason } = yield* refusal
        assert.strictEqual(reason._tag, "AuthorizationError", way)
        assert.match(message, /pool "sqlite" was opened read-only, so it cannot write$/, way)
      }
    }))

  it.effect("without WAL there is one connection, and the journal stays as it is", () =>
    Effect.gen(function*() {
      const filename = yield* file
      const sql = yield* open({ filename, disableWAL: true, busyTimeout: 0 })
      assert.deepStrictEqual(yield* sql`pragma journal_mode`.values, [["delete"]])
      assert.isFalse(existsSync(`${filename}-wal`))
      yield* sql.withTransaction(sql`insert into person(name) values ('Ada')`)
      // A read that is under way would keep a write on another connection from its commit.
      yield* sql`with n(n) as (select 1 union all select n + 1 from n limit 1000)
        insert into person(name) select 'x' from n`
      const reading = yield* Latch.make(false)
      const readOn = yield* Latch.make(false)
      const rows = yield* Effect.forkChild(
        sql`select id from person`.stream.pipe(
          Stream.mapEffect((row) => Effect.as(Effect.andThen(reading.open, readOn.await), row)),
          Stream.runCount
        )
      )
      yield* reading.await
      const writing = yield* Effect.forkChild(sql.withTransaction(sql`insert into person(name) values ('Bob')`))
      yield* settle
      assert.isUndefined(writing.pollUnsafe())
      yield* readOn.open
      assert.strictEqual(yield* Fiber.join(rows), 1001)
      yield* Fiber.join(writing)
      yield* sql.loadExtension(vec)
      assert.deepStrictEqual(yield* version(sql), [[1]])
      const plain = new DatabaseSync(filename, { readOnly: true })
      assert.strictEqual(plain.prepare("select count(*) as n from person").get()?.["n"], 1002)
      plain.close()
    }))

  it.effect("that are invalid are reported under the names that the caller uses", () =>
    Effect.gen(function*() {
      const wrong = { filename: ":memory:", readonly: true, prepareCacheSize: -1, disableWAL: "yes" } as never
      const error = yield* Effect.flip(SqliteClient.make(wrong))
      assert.strictEqual(error._tag, "PoolConfigError")
      assert.deepStrictEqual(
        error._tag === "PoolConfigError" ? error.problems.map(({ field, value }) => [field, value]) : [],
        [["prepareCacheSize", "-1"], ["disableWAL", "\"yes\""], ["readonly", "true"]]
      )
      const flag = yield* Effect.flip(SqliteClient.make({ filename: "x.db", readonly: 1 } as never))
      assert.include(flag.message, "readonly is 1, but must be true or false")
      const unknown = yield* Effect.flip(SqliteClient.make({ filename: "x.db", cache: 1 } as never))
      assert.include(unknown.message, "cache is no option; the options are filename")
    }))

  it.effect("of a file that cannot be opened are a typed error", () =>
    Effect.gen(function*() {
      const path = yield* folder
      mkdirSync(join(path, "folder.db"))
      yield* failsWith(SqliteClient.make({ filename: join(path, "missing", "test.db") }), "ConnectError")
      yield* failsWith(SqliteClient.make({ filename: join(path, "folder.db") }), "ConnectError")
      yield* failsWith(SqliteClient.make({ filename: join(path, "none.db"), readonly: true }), "ConnectError")
    }))

  it.effect("pragma busy_timeout says and sets how long to wait for the lock of another", () =>
    Effect.gen(function*() {
      const sql = yield* open()
      assert.deepStrictEqual(yield* sql`pragma busy_timeout`, [{ timeout: 5000 }])
      assert.deepStrictEqual(yield* sql`PRAGMA busy_timeout = 250;`, [{ timeout: 250 }])
      assert.deepStrictEqual(yield* sql`pragma busy_timeout(300)`.values, [[300]])
      assert.deepStrictEqual(yield* sql.withTransaction(sql`pragma busy_timeout`.values), [[300]])
      assert.deepStrictEqual(yield* sql`pragma busy_timeout = -1`.values, [[0]])
      assert.deepStrictEqual((yield* sql`pragma busy_timeout`.raw) as Array<object>, [{ timeout: 0 }])
      assert.deepStrictEqual(yield* sql`pragma busy_timeout`.valuesUnprepared, [[0]])
      assert.deepStrictEqual(yield* sql`pragma busy_timeout`.unprepared, [{ timeout: 0 }])
      const other = yield* judge(sql.config.filename)
      other.exec("begin immediate")
      // In virtual time, a wait would never end.
      for (const wait of [0, 1]) {
        yield* sql`pragma busy_timeout = ${sql.literal(String(wait))}`
        const error = yield* Effect.flip(sql`insert into person(name) values ('Ada')`)
        assert.strictEqual(error.reason._tag, "LockTimeoutError")
        const begin = yield* Effect.flip(sql.withTransaction(Effect.void))
        assert.strictEqual(begin.reason._tag, "LockTimeoutError")
      }
      const infinite = yield* SqliteClient.make({ filename: ":memory:", busyTimeout: Infinity })
      assert.deepStrictEqual(yield* infinite`pragma busy_timeout`.values, [[2 ** 31 - 1]])
    }))
})
