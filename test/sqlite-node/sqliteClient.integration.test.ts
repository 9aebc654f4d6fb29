import { assert, describe, it } from "@effect/vitest"
import { Config, ConfigProvider, Effect, Exit, Fiber, Latch, Layer, Stream } from "effect"
import { SqlitePool } from "effect-connection-pool/sqlite"
import { SqliteClient, SqliteMigrator } from "effect-connection-pool/sqlite-node"
import { PoolAssert } from "effect-connection-pool/testing"
import * as Reactivity from "effect/reactivity/Reactivity"
import { SafeIntegers, SqlClient } from "effect/sql/SqlClient"
import { isSqlError } from "effect/sql/SqlError"
import { existsSync } from "node:fs"
import { dirname, join } from "node:path"
import { getLoadablePath } from "sqlite-vec"
import { file, folder, judge } from "../support/files.ts"
import { names, open } from "../support/sqliteClient.ts"

/** The service of `@effect/sql-sqlite-node` on the pool: everything that its client does, and what it does otherwise. */
import { SqliteClient as Original, SqliteMigrator as OriginalMigrator } from "@effect/sql-sqlite-node"

const { failsWith } = PoolAssert

/** An extension, and whether a connection has it. */
const vec = getLoadablePath()

const version = (sql: SqliteClient.SqliteClient) => sql`select vec_version() like 'v%' as ok`.values

describe("the service", () => {
  it("is that of @effect/sql-sqlite-node, so that either stands for the other", () => {
    assert.strictEqual(SqliteClient.SqliteClient.key, Original.SqliteClient.key)
    assert.strictEqual(SqliteClient.TypeId, Original.TypeId)
    // The compiler is the judge: what needs the one is content with a layer of the other.
    const needs: Effect.Effect<void, unknown, Original.SqliteClient> = Effect.asVoid(Original.SqliteClient)
    const closed: Effect.Effect<void, unknown> = Effect.provide(needs, SqliteClient.layer({ filename: "unused.db" }))
    const ours: Effect.Effect<void, unknown, SqliteClient.SqliteClient> = Effect.asVoid(SqliteClient.SqliteClient)
    const theirs: Effect.Effect<void, unknown> = Effect.provide(ours, Original.layer({ filename: "unused.db" }))
    assert.isDefined(closed)
    assert.isDefined(theirs)
  })

  it.effect("is there for code that asks for the original, for SqlClient and for the pool", () =>
    Effect.gen(function*() {
      const filename = yield* file
      const config = { filename, readers: 2 }
      yield* Effect.gen(function*() {
        const original = yield* Original.SqliteClient
        assert.strictEqual<unknown>(original, yield* SqliteClient.SqliteClient)
        assert.strictEqual<unknown>(original, yield* SqlClient)
        assert.strictEqual(original.config, config)
        yield* original`create table person(id integer primary key, name text not null)`
        const pool = yield* SqlitePool.SqlitePool
        assert.strictEqual(pool.filename, filename)
        assert.deepStrictEqual(yield* pool.read((reader) => reader.query("select * from person")), [])
      }).pipe(Effect.provide(SqliteClient.layer(config)))
    }))

  it.effect("takes its options from the configuration", () =>
    Effect.gen(function*() {
      const filename = yield* file
      const layer = SqliteClient.layerConfig({
        filename: Config.String("FILE"),
        prepareCacheSize: Config.Number("STATEMENTS")
      })
      const provider = (values: Record<string, string>) =>
        Layer.provide(layer, ConfigProvider.layer(ConfigProvider.fromUnknown(values)))
      const config = Effect.map(SqliteClient.SqliteClient, (sql) => sql.config)
      assert.deepStrictEqual(
        yield* Effect.provide(config, provider({ FILE: filename, STATEMENTS: "7" })),
        { filename, prepareCacheSize: 7 }
      )
      yield* failsWith(Effect.provide(config, provider({ FILE: filename })), "ConfigError")
      yield* failsWith(Effect.provide(config, provider({ FILE: filename, STATEMENTS: "-1" })), "PoolConfigError")
    }))

  it.effect("shares the application's Reactivity, so that queries hear of writes", () =>
    Effect.gen(function*() {
      const program = Effect.gen(function*() {
        const sql = yield* SqliteClient.SqliteClient
        yield* sql`create table person(id integer primary key, name text not null)`
        const latch = yield* Latch.make(false)
        const seen = yield* sql.reactive(["person"], Effect.tap(names(sql), latch.open)).pipe(
          Stream.take(2),
          Stream.runCollect,
          Effect.forkChild
        )
        yield* latch.await
        yield* Reactivity.mutation(sql`insert into person(name) values ('Ada')`, ["person"])
        return yield* Fiber.join(seen)
      })
      const layer = Layer.mergeAll(SqliteClient.layer({ filename: yield* file }), Reactivity.layer)
      assert.deepStrictEqual(yield* Effect.provide(program, layer), [[], ["Ada"]])
    }))
})

describe("statements", () => {
  it.effect("give rows, arrays, and what was done", () =>
    Effect.gen(function*() {
      const sql = yield* SqliteClient.make({ filename: yield* file })
      assert.deepStrictEqual(yield* sql`create table person(id integer primary key, name text)`.raw, {
        changes: 0,
        lastInsertRowid: 0
      })
      assert.deepStrictEqual(yield* sql`insert into person(name) values ('Ada')`, [])
      assert.deepStrictEqual(yield* sql`insert into person ${sql.insert({ name: "Bob" })}`.raw, {
        changes: 1,
        lastInsertRowid: 2
      })
      assert.deepStrictEqual(yield* sql`select id, name from person where id = ${1}`.values, [[1, "Ada"]])
      assert.deepStrictEqual(yield* sql`select id, name from person where id = ${2}`.valuesUnprepared, [[2, "Bob"]])
      assert.deepStrictEqual((yield* sql`select * from person where id = 1`.raw) as Array<object>, [{
        id: 1,
        name: "Ada"
      }])
      assert.deepStrictEqual(
        yield* Effect.provideService(sql`select id from person where id = 2`.values, SafeIntegers, true),
        [[2n]]
      )
      // Not there in the original.
      assert.deepStrictEqual(yield* Stream.runCollect(sql`select name from person`.stream), [
        { name: "Ada" },
        { name: "Bob" }
      ])
    }))

  it.effect("that read state that only the writer has run on the writer", () =>
    Effect.gen(function*() {
      const sql = yield* open()
      yield* sql`insert into person(name) values ('Ada'), ('Bob')`
      assert.deepStrictEqual(yield* sql`select last_insert_rowid(), changes() as n, total_changes()`.values, [[
        2,
        2,
        2
      ]])
      assert.deepStrictEqual(yield* Stream.runCollect(sql`select last_insert_rowid() as id`.stream), [{ id: 2 }])
      assert.deepStrictEqual(
        yield* sql.withTransaction(Effect.andThen(
          sql`insert into person(name) values ('Cleo')`,
          sql`select last_insert_rowid()`.values
        )),
        [[3]]
      )
    }))

  it.effect("translate names, if that is wanted", () =>
    Effect.gen(function*() {
      const sql = yield* SqliteClient.make({
        filename: yield* file,
        transformQueryNames: (name) => name.replace("firstName", "first_name"),
        transformResultNames: (name) => name.replace("first_name", "firstName")
      })
      yield* sql`create table person(first_name text)`
      yield* sql`insert into person ${sql.insert({ firstName: "Ada" })}`
      assert.deepStrictEqual(yield* sql`select * from person`, [{ firstName: "Ada" }])
      assert.deepStrictEqual(yield* sql.withoutTransforms()`select * from person`, [{ first_name: "Ada" }])
      assert.strictEqual(sql.withoutTransforms().config, sql.config)
    }))

  it.effect("fail with a typed error if they are built with updateValues, which SQLite does not have", () =>
    Effect.gen(function*() {
      const sql: SqlClient = yield* open()
      const update = sql`update person set name = data.name from ${
        sql.updateValues([{ id: 1, name: "Ada" }], "data")
      } where person.id = data.id`
      const error = yield* Effect.flip(update)
      assert.match(error.message, /syntax error/)
    }))

  it.effect("read while a transaction is open, and see what was before it", () =>
    Effect.gen(function*() {
      const sql = yield* open()
      const begun = yield* Latch.make(false)
      const finish = yield* Latch.make(false)
      const transaction = yield* Effect.forkChild(sql.withTransaction(Effect.gen(function*() {
        yield* sql`insert into person(name) values ('Ada')`
        yield* begun.open
        yield* finish.await
      })))
      yield* begun.await
      assert.deepStrictEqual(yield* names(sql), [])
      yield* finish.open
      yield* Fiber.join(transaction)
      assert.deepStrictEqual(yield* names(sql), ["Ada"])
    }))
})

describe("transactions", () => {
  it.effect("commit, roll back, and nest", () =>
    Effect.gen(function*() {
      const sql = yield* open()
      const add = (name: string) => sql`insert into person(name) values (${name})`
      yield* sql.withTransaction(add("Ada"))
      yield* add("nobody").pipe(Effect.andThen(Effect.fail("no")), sql.withTransaction, Effect.ignore)
      yield* sql.withTransaction(Effect.gen(function*() {
        yield* add("Bob")
        yield* add("nobody").pipe(Effect.andThen(Effect.fail("no")), sql.withTransaction, Effect.ignore)
      }))
      assert.deepStrictEqual(yield* names(sql), ["Ada", "Bob"])
    }))

  it.effect("take the lock when they begin, and fail with a typed error if another process has it", () =>
    Effect.gen(function*() {
      const filename = yield* file
      const sql = yield* open({ filename })
      const other = yield* SqliteClient.make({ filename, busyTimeout: 0 })
      const error = yield* sql.withTransaction(Effect.flip(other.withTransaction(Effect.void)))
      assert.strictEqual(error.reason._tag, "LockTimeoutError")
      assert.match((error.reason.cause as Error).message, /database is locked/)
    }))
})

describe("backup", () => {
  it.effect("copies the database and says how much it is", () =>
    Effect.gen(function*() {
      const sql = yield* open()
      yield* sql`insert into person(name) values ('Ada')`
      const target = `${sql.config.filename}.backup`
      const { remainingPages, totalPages } = yield* sql.backup(target)
      assert.isAbove(totalPages, 0)
      assert.strictEqual(remainingPages, 0)
      const copy = yield* judge(target)
      assert.deepStrictEqual(copy.prepare("select name from person").all().map((row) => row["name"]), ["Ada"])
    }))

  it.effect("copies a database in memory", () =>
    Effect.gen(function*() {
      const sql = yield* open({ filename: ":memory:" })
      const target = yield* file
      yield* sql.backup(target)
      const copy = yield* judge(target)
      assert.deepStrictEqual(copy.prepare("select count(*) as n from person").get()?.["n"], 0)
    }))

  it.effect("fails typed, with the reason, and leaves nothing", () =>
    Effect.gen(function*() {
      const sql = yield* open()
      const target = join(yield* folder, "missing", "copy.db")
      const error = yield* Effect.flip(sql.backup(target))
      assert.isTrue(isSqlError(error))
      assert.deepStrictEqual([error.reason._tag, error.reason.operation], ["UnknownError", "backup"])
      assert.include(error.message, target)
      assert.isFalse(existsSync(dirname(target)))
      assert.include((yield* Effect.flip(sql.backup(sql.config.filename))).message, "that is the database itself")
    }))
})

describe("a client whose scope has ended", () => {
  it.effect("fails to copy its database with the error of every other statement: it is closed", () =>
    Effect.gen(function*() {
      const sql = yield* Effect.scoped(open())
      const target = yield* file
      const error = yield* Effect.flip(sql.backup(target))
      assert.isTrue(isSqlError(error))
      assert.deepStrictEqual(error, yield* Effect.flip(sql`select 1`))
      assert.isFalse(existsSync(target))
    }))
})

describe("loadExtension", () => {
  it.effect("extends every connection, also those that are opened later", () =>
    Effect.gen(function*() {
      const layer = SqliteClient.layer({ filename: yield* file, readers: 2, idleTimeout: "1 minute" })
      yield* Effect.gen(function*() {
        const sql = yield* SqliteClient.SqliteClient
        const pool = yield* SqlitePool.SqlitePool
        // A reader that was opened before.
        yield* sql`select 1`
        yield* sql.loadExtension(vec)
        assert.deepStrictEqual(yield* version(sql), [[1]])
        assert.deepStrictEqual(yield* sql.withTransaction(version(sql)), [[1]])
        // Two at once: the second is opened anew.
        const read = (inner: Effect.Effect<unknown, unknown>) =>
          pool.read((reader) => Effect.andThen(reader.values("select vec_version()"), inner))
        yield* read(read(Effect.void))
        // One that somebody has altered is opened anew.
        yield* sql`pragma foreign_keys = off`
        assert.deepStrictEqual(yield* sql.withTransaction(version(sql)), [[1]])
      }).pipe(Effect.provide(layer))
    }))

  it.effect("extends the only connection in memory", () =>
    Effect.gen(function*() {
      const sql = yield* open({ filename: ":memory:" })
      yield* sql.loadExtension(vec)
      assert.deepStrictEqual(yield* version(sql), [[1]])
      // The database is still there.
      assert.deepStrictEqual(yield* names(sql), [])
    }))

  it.effect("fails typed, with SQLite's reason, and extends nothing", () =>
    Effect.gen(function*() {
      const sql = yield* open()
      const error = yield* Effect.flip(sql.loadExtension("/nowhere/extension"))
      assert.isTrue(isSqlError(error))
      assert.include(error.message, "/nowhere/extension")
      assert.deepStrictEqual(yield* names(sql), [])
      const refused = yield* Effect.flip(sql.withTransaction(sql.loadExtension(vec)))
      assert.include(refused.message, "not inside a transaction")
    }))

  it.effect("cannot be done through SQL", () =>
    Effect.gen(function*() {
      const sql = yield* open()
      yield* sql.loadExtension(vec)
      const error = yield* Effect.flip(sql`select load_extension(${vec})`)
      assert.match(error.message, /not authorized/)
    }))
})

describe("SqliteMigrator", () => {
  const migrations = (migrator: typeof OriginalMigrator | typeof SqliteMigrator) =>
    migrator.fromRecord({
      "1_person": Effect.gen(function*() {
        const sql = yield* SqlClient
        yield* sql`create table person(id integer primary key, name text not null)`
      })
    })

  it.effect("runs the migrations that have not run, like the original on the same client", () =>
    Effect.gen(function*() {
      const sql = yield* SqliteClient.make({ filename: yield* file })
      const run = SqliteMigrator.run({ loader: migrations(SqliteMigrator) })
      assert.deepStrictEqual(yield* Effect.provideService(run, SqlClient, sql), [[1, "person"]])
      const original = OriginalMigrator.run({ loader: migrations(OriginalMigrator) })
      assert.deepStrictEqual(yield* Effect.provideService(original, SqlClient, sql), [])
      assert.deepStrictEqual(yield* names(sql), [])
    }))

  it.effect("is a layer for services that need the tables", () =>
    Effect.gen(function*() {
      const database = SqliteClient.layer({ filename: yield* file })
      const migrated = Layer.provideMerge(SqliteMigrator.layer({ loader: migrations(SqliteMigrator) }), database)
      const rows = yield* Effect.provide(Effect.flatMap(SqliteClient.SqliteClient, names), migrated)
      assert.deepStrictEqual(rows, [])
    }))

  it.effect("fails typed while another has the lock", () =>
    Effect.gen(function*() {
      const filename = yield* file
      const sql = yield* SqliteClient.make({ filename })
      const holder = yield* SqliteClient.make({ filename, drainTimeout: 0 })
      yield* sql`pragma busy_timeout = 1`
      const migrate = (loader: SqliteMigrator.Loader) =>
        Effect.provideService(SqliteMigrator.run({ loader }), SqlClient, sql)
      yield* migrate(SqliteMigrator.fromRecord({}))
      yield* holder`begin immediate`
      const exit = yield* Effect.exit(migrate(SqliteMigrator.fromRecord({ "1_test": Effect.void })))
      assert.isTrue(Exit.isFailure(exit))
      const error = yield* Effect.flip(exit)
      assert.strictEqual(isSqlError(error) ? error.reason._tag : error._tag, "LockTimeoutError")
    }))
})
