/** What statements change about their connection lasts, as where there is only one connection. */
import { assert, describe, it } from "@effect/vitest"
import { Context, Effect, Layer, Stream } from "effect"
import { SqlitePool } from "effect-connection-pool/sqlite"
import { SqliteClient } from "effect-connection-pool/sqlite-node"
import { PoolAssert } from "effect-connection-pool/testing"
import type { SqlError } from "effect/sql/SqlError"
import { existsSync, renameSync } from "node:fs"
import { DatabaseSync } from "node:sqlite"
import { Lasting } from "../../src/sqlite/internal/sql/lasting.ts"
import { file, folder } from "../support/files.ts"
import { open } from "../support/sqliteClient.ts"

/** A client, and the pool that it is on. */
const both = Effect.fnUntraced(function*(config?: Partial<SqliteClient.SqliteClientConfig>) {
  const filename = yield* file
  const context = yield* Layer.build(SqliteClient.layer({ filename, drainTimeout: 0, ...config }))
  const sql = Context.get(context, SqliteClient.SqliteClient)
  yield* sql`create table person(id integer primary key, name text not null)`
  return { filename: config?.filename ?? filename, sql, pool: Context.get(context, SqlitePool.SqlitePool) }
})

/** As a tool for migrations rebuilds a table that others refer to. */
const rebuild = Effect.fnUntraced(function*(sql: SqliteClient.SqliteClient) {
  yield* sql`create table shelf(id integer primary key, label text)`
  yield* sql`create table book(id integer primary key, shelf int references shelf(id) on delete cascade)`
  yield* sql`insert into shelf values (1, 'a')`
  yield* sql`insert into book values (10, 1), (11, 1), (12, 1)`
  yield* sql`pragma foreign_keys = off`
  yield* sql.withTransaction(Effect.gen(function*() {
    yield* sql`create table shelf2(id integer primary key, label text not null default '')`
    yield* sql`insert into shelf2 select * from shelf`
    yield* sql`drop table shelf`
    yield* sql`alter table shelf2 rename to shelf`
  }))
  yield* sql`pragma foreign_keys = on`
  return (yield* sql`select count(*) from book`.values)[0]![0]
})

const configs: ReadonlyArray<readonly [name: string, config: Partial<SqliteClient.SqliteClientConfig>]> = [
  ["a file", {}],
  ["memory", { filename: ":memory:" }],
  ["a file without WAL", { disableWAL: true }]
]

for (const [name, config] of configs) {
  describe(`with ${name}`, () => {
    it.effect("rows that refer to a table survive when it is rebuilt with foreign keys off", () =>
      Effect.gen(function*() {
        const sql = yield* open(config)
        assert.strictEqual(yield* rebuild(sql), 3)
        assert.deepStrictEqual(yield* sql`pragma foreign_keys`.values, [[1]])
        yield* sql`delete from shelf`
        assert.deepStrictEqual(yield* sql`select * from book`, [])
      }))

    it.effect("temporary tables stay when SQLite ends a transaction with foreign keys off by itself", () =>
      Effect.gen(function*() {
        const { pool, sql } = yield* both(config)
        yield* sql`create temp table mine(n)`
        yield* sql`insert into person values (1, 'Ada')`
        const ended = pool.transaction(
          Effect.andThen(sql`insert into mine values (1)`, sql`insert or rollback into person values (1, 'Grace')`),
          { foreignKeys: "off" }
        )
        yield* PoolAssert.failsWith(ended, "SqlError")
        yield* sql`insert into mine values (2)`
        assert.deepStrictEqual(yield* sql`select n from mine`.values, [[2]])
        assert.deepStrictEqual(yield* sql`pragma foreign_keys`.values, [[1]])
      }))

    it.effect("a pragma holds for writing and for reading until another changes it", () =>
      Effect.gen(function*() {
        const sql = yield* open(config)
        const like = sql`select 'a' like 'A'`.values
        assert.deepStrictEqual(yield* like, [[1]])
        yield* sql`pragma case_sensitive_like = on`
        assert.deepStrictEqual(yield* like, [[0]])
        assert.deepStrictEqual(yield* sql.withTransaction(like), [[0]])
        assert.deepStrictEqual(yield* Stream.runCollect(sql`select 'a' like 'A' as n`.stream), [{ n: 0 }])
        yield* sql`pragma cache_size = 77`
        assert.deepStrictEqual(yield* sql`pragma cache_size`.values, [[77]])
        yield* sql`pragma case_sensitive_like = off`
        assert.deepStrictEqual(yield* like, [[1]])
      }))

    it.effect("a database stays attached until it is detached, one in memory too", () =>
      Effect.gen(function*() {
        const sql = yield* open(config)
        const other = yield* file
        yield* sql`attach ${other} as other`
        yield* sql`create table other.note(text)`
        yield* sql`insert into other.note values ('kept')`
        assert.deepStrictEqual(yield* sql`select text from other.note`.values, [["kept"]])
        yield* sql`attach ':memory:' as scratch`
        yield* sql`create table scratch.note(text)`
        yield* sql.withTransaction(sql`insert into scratch.note values ('there')`)
        assert.deepStrictEqual(yield* sql`select text from scratch.note`.values, [["there"]])
        assert.deepStrictEqual(yield* sql`select text from other.note`.values, [["kept"]])
        yield* sql`detach scratch`
        yield* sql`detach other`
        assert.include((yield* Effect.flip(sql`select text from other.note`)).message, "no such table")
      }))

    it.effect("a temporary table stays, and hides another of its name, until it is dropped", () =>
      Effect.gen(function*() {
        const sql = yield* open(config)
        yield* sql`insert into person(name) values ('Ada')`
        const found = sql`select name from person`.values
        yield* sql`create temp table person(name)`
        yield* sql`insert into temp.person values ('nobody')`
        assert.deepStrictEqual(yield* found, [["nobody"]])
        assert.deepStrictEqual(yield* Stream.runCollect(sql`select name from person`.stream), [{ name: "nobody" }])
        assert.deepStrictEqual(yield* sql.withTransaction(found), [["nobody"]])
        yield* sql`drop table temp.person`
        assert.deepStrictEqual(yield* found, [["Ada"]])
      }))

    it.effect("the result of the last statement is remembered, in every way to ask for it", () =>
      Effect.gen(function*() {
        const sql = yield* open(config)
        yield* sql`insert into person(name) values ('Ada'), ('Grace')`
        assert.deepStrictEqual(yield* sql`select last_insert_rowid(), changes()`.values, [[2, 2]])
        // Its text hides it from all but SQLite.
        assert.deepStrictEqual(yield* sql`select changes /* not a call? */ ()`.values, [[2]])
        yield* sql`create view last as select last_insert_rowid() as id`
        assert.deepStrictEqual(yield* sql`select id from last`.values, [[2]])
      }))
  })
}

describe("with a file", () => {
  it.effect("reads do not wait for writers, whatever was set", () =>
    Effect.gen(function*() {
      const { pool, sql } = yield* both()
      yield* sql`pragma case_sensitive_like = on`
      yield* sql`pragma foreign_keys = off`
      yield* sql`attach ${yield* file} as other`
      yield* sql`create table other.note(text)`
      yield* pool.write(() => sql`select text from other.note where 'a' like 'A'`)
      // What only one connection has is read there: here, by its own line.
      yield* sql`create temp table own(a)`
      const error = yield* Effect.flip(pool.write(() => sql`select a from own`))
      assert.strictEqual(error._tag, "SqlError")
      yield* sql`drop table own`
      yield* pool.write(() => sql`select text from other.note`)
    }))

  it.effect("settings hold on every connection that is opened afterwards, but temporary ones do not", () =>
    Effect.gen(function*() {
      const { pool, sql } = yield* both()
      const other = yield* file
      yield* sql`pragma foreign_keys = off`
      yield* sql`pragma cache_size = 77`
      yield* sql`pragma cache_size = 78`
      yield* sql`attach ${other} as "the ""other"""`
      yield* sql`create table "the ""other""".note(text)`
      yield* sql`create temp table own(a)`
      yield* Effect.andThen(pool.writer.recycle, pool.readers.recycle)
      assert.deepStrictEqual(yield* sql`pragma foreign_keys`.values, [[0]])
      assert.deepStrictEqual(yield* sql`pragma cache_size`.values, [[78]])
      assert.deepStrictEqual(yield* sql`select text from "the ""other""".note`.values, [])
      assert.deepStrictEqual(yield* pool.read((reader) => reader.values("pragma cache_size")), [[78]])
      assert.include((yield* Effect.flip(sql`select a from own`)).message, "no such table: own")
    }))

  it.effect("a connection that is opened afterwards keeps what onOpen attaches, apart from what was detached", () =>
    Effect.gen(function*() {
      const [kept, dropped, later] = [yield* file, yield* file, yield* file]
      const { pool, sql } = yield* both({
        onOpen: (connection) =>
          Effect.andThen(
            connection.run("attach ? as kept", [kept]),
            connection.run("attach ? as dropped", [dropped])
          )
      })
      yield* sql`detach dropped`
      yield* sql`attach ${later} as later`
      yield* Effect.andThen(pool.writer.recycle, pool.readers.recycle)
      const attached = "select name, file from pragma_database_list where name not in ('main', 'temp') order by seq"
      const expected = [["kept", kept], ["later", later]]
      assert.deepStrictEqual(yield* pool.write((connection) => connection.values(attached)), expected)
      assert.deepStrictEqual(yield* pool.read((reader) => reader.values(attached)), expected)
    }))

  const gone: Record<string, { readonly file: typeof file; readonly isDetached: boolean }> = {
    "a file that was detached": { file, isDetached: true },
    "a database in memory": { file: Effect.succeed(":memory:"), isDetached: false }
  }
  for (const [which, { file: attached, isDetached }] of Object.entries(gone)) {
    it.effect(`a connection can be opened after settings of ${which}`, () =>
      Effect.gen(function*() {
        const { pool, sql } = yield* both({ acquireTimeout: "1 second" })
        yield* sql`attach ${yield* attached} as other`
        yield* sql`pragma other.cache_size = 77`
        yield* sql`pragma cache_size = 78`
        if (isDetached) yield* sql`detach ${"OTHER"}`
        yield* Effect.andThen(pool.writer.recycle, pool.readers.recycle)
        const size = "pragma cache_size"
        assert.deepStrictEqual(yield* pool.write((connection) => connection.values(size)), [[78]])
        assert.deepStrictEqual(yield* pool.read((reader) => reader.values(size)), [[78]])
      }))
  }

  it.effect("settings of an attached file hold for that file, and not for the next one of its name", () =>
    Effect.gen(function*() {
      const { pool, sql } = yield* both()
      const [first, second, third] = [yield* file, yield* file, yield* file]
      const sizes = Effect.gen(function*() {
        yield* Effect.andThen(pool.writer.recycle, pool.readers.recycle)
        const size = "pragma other.cache_size"
        const written = yield* pool.write((connection) => connection.values(size))
        assert.deepStrictEqual(yield* pool.read((reader) => reader.values(size)), written)
        return written
      })
      yield* sql`attach ${first} as other`
      const unset = yield* sizes
      yield* sql`pragma other.cache_size = 77`
      assert.deepStrictEqual(yield* sizes, [[77]])
      yield* sql`detach other`
      yield* sql`attach ${second} as other`
      assert.deepStrictEqual(yield* sizes, unset)
      yield* pool.write((connection) =>
        connection.exec(`detach other; attach '${third}' as other; pragma other.cache_size = 79`)
      )
      assert.deepStrictEqual(yield* sizes, [[79]])
    }))

  it("remembers no settings of what was detached, however many there were", () => {
    const lasting = new Lasting(false, false)
    const set = (schema: string | null) => lasting.set({ kind: "pragma", name: "cache_size", value: "1", schema })
    for (const schema of [null, "temp", "kept"]) set(schema)
    for (let n = 0; n < 1000; n++) {
      set(`n${n}`)
      lasting.attach(new Map([["kept", "/kept"]]), false)
    }
    assert.deepStrictEqual(Array.from(lasting.pragmas.keys()), ["cache_size", "temp.cache_size", "kept.cache_size"])
  })

  it.effect("a setting holds for a stream, also if that is the first read after it", () =>
    Effect.gen(function*() {
      const { sql } = yield* both()
      const like = Stream.runCollect(sql`select 'a' like 'A' as n`.stream)
      assert.deepStrictEqual(yield* like, [{ n: 1 }])
      yield* sql`pragma case_sensitive_like = on`
      assert.deepStrictEqual(yield* like, [{ n: 0 }])
    }))

  it.effect("without WAL, the one connection may have any journal mode, and so has the next", () =>
    Effect.gen(function*() {
      const { pool, sql } = yield* both({ disableWAL: true })
      yield* sql`pragma journal_mode = truncate`
      yield* sql`pragma locking_mode = exclusive`
      assert.strictEqual(yield* pool.writer.recycle, 1)
      assert.deepStrictEqual(yield* sql`pragma journal_mode`.values, [["truncate"]])
      assert.deepStrictEqual(yield* sql`pragma locking_mode`.values, [["exclusive"]])
    }))

  it.effect("an attached file that cannot be opened any more is a typed error", () =>
    Effect.gen(function*() {
      const { pool, sql } = yield* both({ acquireTimeout: "1 second" })
      const other = `${yield* folder}/sub.db`
      yield* sql`attach ${other} as other`
      yield* sql`create table other.note(text)`
      yield* sql`select text from other.note`
      renameSync(other, `${other}.away`)
      const directory = new DatabaseSync(`${other}.away`)
      directory.close()
      yield* pool.readers.recycle
      const error = yield* Effect.flip(sql`select text from other.note`)
      assert.include(error.message, "unable to open database")
      assert.isFalse(existsSync(other))
    }))

  it.effect("the changes of a lease of the pool to the connection that writes are permanent", () =>
    Effect.gen(function*() {
      const { pool, sql } = yield* both()
      yield* pool.write((connection) => connection.exec("pragma foreign_keys = off; create temp table own(a)"))
      assert.deepStrictEqual(yield* sql`pragma foreign_keys`.values, [[0]])
      assert.deepStrictEqual(yield* sql`select * from own`, [])
      // A reader is as it was.
      yield* pool.read((reader) => reader.query("pragma table_info(person)"))
      assert.strictEqual((yield* pool.stats).writer.resets, 0)
    }))

  it.effect("settings that would lock out the readers are refused", () =>
    Effect.gen(function*() {
      const sql = yield* open()
      for (const text of ["pragma journal_mode = delete", "pragma locking_mode = exclusive"]) {
        const changed: Effect.Effect<string, SqlError> = Effect.as(sql.unsafe(text), "not refused")
        const message = yield* Effect.catchReason(
          changed,
          "SqlError",
          "AuthorizationError",
          (reason) => Effect.succeed(reason.message)
        )
        assert.include(message, "disableWAL")
      }
      yield* sql`pragma journal_mode = wal`
      assert.deepStrictEqual(yield* sql`pragma journal_mode`.values, [["wal"]])
    }))

  it.effect("no spelling of busy_timeout makes SQLite wait", () =>
    Effect.gen(function*() {
      const { pool, sql } = yield* both()
      for (
        const text of [
          "/* x */ pragma busy_timeout = 700",
          "explain pragma busy_timeout = 700",
          "pragma main.busy_timeout(700)"
        ]
      ) {
        const error = yield* Effect.flip(sql.unsafe(text))
        assert.include(error.message, "busyTimeout")
      }
      assert.deepStrictEqual(yield* pool.writeSync((connection) => connection.valuesUnsafe("pragma busy_timeout")), [[
        0
      ]])
    }))

  it.effect("settings that SQLite ignores inside a transaction are refused, also in one begun by hand", () =>
    Effect.gen(function*() {
      const sql = yield* open()
      const off = sql`pragma foreign_keys = off`
      assert.include((yield* Effect.flip(sql.withTransaction(off))).message, "SQLite ignores this pragma inside")
      yield* sql`begin`
      assert.include((yield* Effect.flip(off)).message, "SQLite ignores this pragma inside")
      yield* sql`commit`
      yield* off
      yield* sql.withTransaction(off)
      assert.deepStrictEqual(yield* sql`pragma foreign_keys`.values, [[0]])
    }))

  it.effect("with readonly, settings hold on all connections, and settings that only one could have are refused", () =>
    Effect.gen(function*() {
      const { filename } = yield* open().pipe(Effect.map((sql) => sql.config))
      const other = yield* file
      const plain = new DatabaseSync(other)
      plain.exec("create table note(text)")
      plain.close()
      const sql = yield* SqliteClient.make({ filename, readonly: true, drainTimeout: 0 })
      const like = sql`select 'a' like 'A'`.values
      yield* like
      yield* sql`pragma case_sensitive_like = on`
      yield* sql`attach ${other} as other`
      const all = yield* Effect.all([like, sql`select * from other.note`.values, like], { concurrency: 3 })
      assert.deepStrictEqual(all, [[[0]], [], [[0]]])
      for (const text of ["create temp table own(a)", "attach ':memory:' as x"]) {
        assert.include((yield* Effect.flip(sql.unsafe(text))).message, "with readonly there are several connections")
      }
    }))
})
