/** What statements ask of their connection besides rows; and where they could not have it, that they are refused. */
import { assert, describe, it } from "@effect/vitest"
import { Effect, Stream, Tracer } from "effect"
import { SqliteConnection, SqlitePool } from "effect-connection-pool/sqlite"
import type { SqlError } from "effect/sql/SqlError"
import { existsSync } from "node:fs"
import { DatabaseSync } from "node:sqlite"
import { Authorizer } from "../../src/sqlite/internal/sql/authorizer.ts"
import type { Demand } from "../../src/sqlite/internal/sql/demands.ts"
import { Tables } from "../../src/sqlite/internal/sql/tables.ts"
import { file } from "../support/files.ts"

describe("a statement, when SQLite compiles it", () => {
  const schema = `create table t(a integer primary key, b);
    create trigger noted after insert on t begin update t set b = last_insert_rowid() where a = new.a; end;
    create temp table own(a);
    attach ':memory:' as other;`
  const cases: ReadonlyArray<readonly [sql: string, demands: ReadonlyArray<Demand>]> = [
    ["select a, 'pragma foreign_keys = off', \"b\" from t", []],
    ["select temp.own.a from temp.own", []],
    ["insert into own values (1)", []],
    ["insert into t(b) values ('last_insert_rowid()')", [
      { kind: "recall", name: "last_insert_rowid", source: "noted" }
    ]],
    ["select ':last_insert_rowid()'", []],
    ["create table temporal(temp_b)", []],
    ["create view v as select last_insert_rowid()", []],
    ["begin immediate", []],
    ["savepoint x", []],
    ["vacuum", []],
    ["pragma foreign_keys", [{ kind: "pragma", name: "foreign_keys", value: null, schema: null }]],
    ["pragma foreign_keys = off", [{ kind: "pragma", name: "foreign_keys", value: "off", schema: null }]],
    ["PRAGMA main.Cache_Size(-10)", [{ kind: "pragma", name: "cache_size", value: "-10", schema: "main" }]],
    ["/* x */ pragma \"foreign_keys\" -- x\n = 'off'", [
      { kind: "pragma", name: "foreign_keys", value: "off", schema: null }
    ]],
    ["explain pragma foreign_keys = off", [{ kind: "pragma", name: "foreign_keys", value: "off", schema: null }]],
    ["explain query plan pragma main.synchronous(off)", [
      { kind: "pragma", name: "synchronous", value: "off", schema: "main" }
    ]],
    ["attach ':memory:' as x", [{ kind: "attach", file: ":memory:" }]],
    ["attach ? as x", [{ kind: "attach", file: null }]],
    ["detach other", [{ kind: "detach", name: "other" }]],
    ["create temp table x(a)", [{ kind: "temporary" }]],
    ["CREATE TEMPORARY VIEW x as select 1", [{ kind: "temporary" }]],
    ["create table temp.x(a)", [{ kind: "temporary" }]],
    ["create table if not exists \"temp\".x(a)", [{ kind: "temporary" }]],
    ["create view [Temp] . x as select 1", [{ kind: "temporary" }]],
    ["create temp trigger x after insert on main.t begin select 1; end", [{ kind: "temporary" }]],
    ["create index temp.x on own(a)", [{ kind: "temporary" }]],
    ["create virtual table temp.x using fts5(a)", [{ kind: "temporary" }]],
    ["drop table own", [{ kind: "temporary", gone: "own" }]],
    ["alter table own rename to own2", [{ kind: "temporary", gone: "own" }]],
    ["select last_insert_rowid ()", [{ kind: "recall", name: "last_insert_rowid", source: null }]],
    ["select changes/* x */()", [{ kind: "recall", name: "changes", source: null }]],
    ["with x as (select total_changes()) select * from x", [{ kind: "recall", name: "total_changes", source: "x" }]],
    ["delete from t where a = last_insert_rowid()", [{ kind: "recall", name: "last_insert_rowid", source: null }]]
  ]
  for (const [sql, demands] of cases) {
    it(`asks for ${JSON.stringify(demands.map(({ kind }) => kind))}: ${JSON.stringify(sql)}`, () => {
      const database = new DatabaseSync(":memory:")
      const authorizer = new Authorizer(database)
      database.exec(schema)
      const found: Array<Demand> = []
      authorizer.prepare(sql, { demanded: (demand) => void found.push(demand) }, new Tables())
      assert.deepStrictEqual(found, demands)
      // Nobody is told of what is compiled for nobody.
      authorizer.prepare(sql, undefined, new Tables())
      assert.deepStrictEqual(found, demands)
      database.close()
    })
  }

  it("has no effect if a demand is refused", () => {
    const database = new DatabaseSync(":memory:")
    const authorizer = new Authorizer(database)
    const objection = new Error("no")
    const subject = {
      demanded: () => {
        throw objection
      }
    }
    try {
      authorizer.prepare("pragma foreign_keys = off", subject, new Tables())
      assert.fail("it was compiled")
    } catch (thrown) {
      assert.strictEqual(thrown, objection)
    }
    assert.deepStrictEqual({ ...database.prepare("pragma foreign_keys").get() }, { foreign_keys: 1 })
    assert.isUndefined(authorizer.subject)
    database.close()
  })
})

const make = Effect.fnUntraced(
  function*(options?: Partial<SqlitePool.Options> | { readonly filename: string | undefined }) {
    const filename = options?.filename ?? (yield* file)
    const pool = yield* SqlitePool.make({ drainTimeout: 0, ...options, filename })
    yield* pool.write((connection) =>
      connection.exec(`create table t(a integer primary key, b);
    create table child(t references t);
    create trigger noted after insert on t begin update t set b = last_insert_rowid() where a = new.a; end`)
    )
    return pool
  }
)

/** What can be changed about a connection, as it is when it is lent. */
const sessionOf = (connection: SqliteConnection.SqliteConnection) => ({
  foreignKeys: connection.valuesUnsafe("pragma foreign_keys"),
  synchronous: connection.valuesUnsafe("pragma synchronous"),
  cacheSize: connection.valuesUnsafe("pragma cache_size"),
  busyTimeout: connection.valuesUnsafe("pragma busy_timeout"),
  journalMode: connection.valuesUnsafe("pragma journal_mode"),
  databases: connection.valuesUnsafe("select name from pragma_database_list where name <> 'temp'"),
  temporary: connection.valuesUnsafe("select name from sqlite_temp_schema")
})

/** The message of a refusal, caught by its kind. */
const refusal = (effect: Effect.Effect<unknown, unknown>): Effect.Effect<string, SqlError> =>
  Effect.catchReason(
    Effect.as(effect as Effect.Effect<unknown, SqlError>, "not refused"),
    "SqlError",
    "AuthorizationError",
    (reason) => Effect.succeed(reason.message)
  )

describe("sql of a pool refuses", () => {
  const cases: ReadonlyArray<readonly [sql: string, way: string]> = [
    ["pragma foreign_keys = off", "transaction(effect, { foreignKeys: \"off\" })"],
    ["pragma main.foreign_keys(0)", "option foreignKeys"],
    ["explain pragma foreign_keys = off", "option foreignKeys"],
    ["pragma synchronous = full", "option synchronous"],
    ["pragma cache_size = 5", "option cacheSize"],
    ["pragma busy_timeout = 5000", "option busyTimeout"],
    ["pragma temp_store = file", "option tempStore"],
    ["pragma journal_mode = delete", "once the pool is closed, set it on a connection of its own"],
    ["pragma locking_mode = exclusive", "once the pool is closed, set it on a connection of its own"],
    ["pragma page_size = 8192", "option pageSize"],
    ["pragma recursive_triggers = on", "onOpen"],
    ["pragma defer_foreign_keys = on", "inside a transaction"],
    ["pragma forein_keys = off", "onOpen"],
    ["pragma writable_schema = on", "defensive"],
    ["pragma schema_version = 77", "defensive"],
    ["attach 'other.db' as other", "onOpen"],
    ["detach other", "onOpen"],
    ["create temp table x(a)", "one write or transaction"],
    ["create table temp.x as select * from t", "one write or transaction"],
    ["create temp view x as select 1", "one write or transaction"],
    ["create temp trigger x after insert on t begin select 1; end", "one write or transaction"],
    ["select last_insert_rowid()", "returning"],
    ["select changes/**/()", "returning"],
    ["select total_changes()", "returning"],
    ["insert into child values (last_insert_rowid())", "returning"],
    ["begin", "transaction"],
    ["commit", "transaction"],
    ["rollback", "transaction"],
    ["savepoint a", "transaction"],
    ["release a", "transaction"]
  ]
  for (const filename of [undefined, ":memory:"]) {
    for (const [text, way] of cases) {
      it.effect(`${text}${filename === undefined ? "" : ", in memory"}`, () =>
        Effect.gen(function*() {
          const pool = yield* make({ filename })
          const before = yield* pool.writeSync(sessionOf)
          const statement = pool.sql.unsafe(text)
          const doors: ReadonlyArray<Effect.Effect<unknown, SqlError>> = [
            statement,
            statement.values,
            statement.raw,
            statement.unprepared,
            Stream.runCollect(statement.stream),
            // As Effect's own statement, for somebody sees it.
            Effect.withTracer(statement, Tracer.make({ span: (options) => new Tracer.NativeSpan(options) }))
          ]
          // Twice: of a text that is known it is the same.
          for (const door of [...doors, ...doors]) {
            const message = yield* refusal(door)
            assert.include(message, JSON.stringify(text))
            assert.include(message, way)
          }
          const error = yield* Effect.flip(statement)
          assert.strictEqual(SqliteConnection.codeOf(error), 23)
          assert.isFalse(error.isRetryable)
          // Nothing was changed, and no connection was opened anew for it.
          assert.deepStrictEqual(yield* pool.writeSync(sessionOf), before)
          assert.deepStrictEqual(yield* pool.sql`select * from child`, [])
          assert.isFalse(existsSync("other.db"))
          const { readers, writer } = yield* pool.stats
          assert.deepStrictEqual([writer.disconnects, readers.disconnects], [0, 0])
        }))
    }
  }
})

describe("sql of a pool carries out", () => {
  const allowed = [
    // What asks.
    "pragma foreign_keys",
    "pragma cache_size",
    "pragma table_info(t)",
    "pragma foreign_key_check(child)",
    "select * from pragma_table_info('t')",
    "select * from pragma_foreign_keys",
    // What works on the file.
    "pragma user_version = 3",
    "pragma application_id = 4",
    "pragma wal_checkpoint(truncate)",
    "pragma optimize",
    "pragma incremental_vacuum(5)",
    "pragma integrity_check(10)",
    "vacuum",
    "analyze",
    "reindex",
    // What is so already.
    "pragma foreign_keys = on",
    "pragma foreign_keys = 1",
    "pragma journal_mode = WAL",
    "pragma synchronous = 1",
    "pragma synchronous = NORMAL",
    "pragma cache_size = -8000",
    "pragma temp_store = 2",
    "pragma busy_timeout = 0",
    "pragma locking_mode = normal",
    "pragma trusted_schema = off",
    "pragma query_only = 0",
    "pragma journal_size_limit = 67108864",
    "pragma wal_autocheckpoint = 1000",
    // The trigger asks for the row of this very statement.
    "insert into t(b) values (0)",
    "select 'last_insert_rowid()', 'pragma foreign_keys = off'"
  ]
  for (const text of allowed) {
    it.effect(text, () =>
      Effect.gen(function*() {
        const pool = yield* make()
        const before = yield* pool.writeSync(sessionOf)
        yield* pool.sql.unsafe(text)
        yield* pool.sql.unsafe(text)
        yield* Stream.runDrain(pool.sql.unsafe(text).stream)
        assert.deepStrictEqual(yield* pool.writeSync(sessionOf), before)
      }))
  }

  it.effect("no limit of the log where the option sets none, and refuses another limit", () =>
    Effect.gen(function*() {
      const pool = yield* make({ journalSizeLimit: Infinity })
      yield* pool.sql`pragma journal_size_limit = -1`
      assert.include(yield* refusal(pool.sql`pragma journal_size_limit = 5`), "use the option journalSizeLimit")
    }))

  it.effect("what was set in onOpen, and refuses what the option says", () =>
    Effect.gen(function*() {
      const pool = yield* make({
        onOpen: (connection) => connection.exec("pragma foreign_keys = off; pragma recursive_triggers = on")
      })
      yield* pool.sql`pragma foreign_keys = off`
      yield* pool.sql`pragma recursive_triggers = on`
      assert.include(yield* refusal(pool.sql`pragma foreign_keys = on`), "option foreignKeys")
    }))
})

describe("what the pool needs as it is", () => {
  it.effect("can be set on a connection of its own, once the pool is closed, as the refusal says", () =>
    Effect.gen(function*() {
      const filename = yield* file
      yield* Effect.scoped(Effect.gen(function*() {
        const pool = yield* make({ filename })
        assert.include(yield* refusal(pool.sql`pragma journal_mode = delete`), "SqliteConnection.open")
      }))
      const connection = yield* SqliteConnection.open({ filename, journalMode: "delete" })
      assert.deepStrictEqual(yield* connection.values("pragma journal_mode"), [["delete"]])
      yield* connection.exec("pragma locking_mode = exclusive; pragma journal_mode = truncate")
      assert.deepStrictEqual(yield* connection.values("pragma journal_mode"), [["truncate"]])
      assert.deepStrictEqual(yield* connection.values("pragma locking_mode"), [["exclusive"]])
    }))
})

describe("within a transaction", () => {
  it.effect("what SQLite ignores there is refused, through sql and through a connection, and what is so already is not", () =>
    Effect.gen(function*() {
      const pool = yield* make()
      const off = "pragma foreign_keys = off"
      const isRefused = (message: string) => assert.include(message, "SQLite ignores this pragma inside a transaction")
      yield* pool.transaction(Effect.gen(function*() {
        isRefused(yield* refusal(pool.sql.unsafe(off)))
        isRefused(yield* refusal(pool.sql.unsafe(off)))
        isRefused(yield* refusal(Stream.runDrain(pool.sql.unsafe(off).stream)))
        isRefused(yield* refusal(pool.write((connection) => connection.query(off))))
        isRefused(yield* refusal(pool.write((connection) => connection.exec(off))))
        yield* pool.sql`pragma foreign_keys = on`
      }))
      // A transaction by hand is one.
      yield* pool.write((connection) =>
        Effect.gen(function*() {
          yield* connection.exec("begin")
          isRefused(yield* refusal(connection.exec(off)))
          yield* connection.exec("commit")
          yield* connection.exec(off)
          yield* connection.exec("begin")
          yield* connection.exec(off)
          isRefused(yield* refusal(connection.exec("pragma foreign_keys = on")))
          yield* connection.exec("rollback")
        })
      )
      assert.deepStrictEqual(yield* pool.sql`pragma foreign_keys`.values, [[1]])
    }))

  it.effect("the rest has its effect for as long as the transaction runs, and is gone after it", () =>
    Effect.gen(function*() {
      const pool = yield* make()
      const other = yield* file
      const before = yield* pool.writeSync(sessionOf)
      yield* pool.transaction(Effect.gen(function*() {
        const { sql } = pool
        yield* sql`create temp table x(a)`
        yield* sql`insert into x values (1)`
        yield* sql`pragma cache_size = 5`
        yield* sql`attach ${other} as other`
        yield* sql`create table other.y(a)`
        yield* sql`insert into t(b) values (1)`
        assert.deepStrictEqual(yield* sql`select a from x`.values, [[1]])
        assert.deepStrictEqual(yield* sql`pragma cache_size`.values, [[5]])
        assert.deepStrictEqual(yield* sql`select last_insert_rowid(), changes()`.values, [[1, 1]])
      }))
      assert.deepStrictEqual(yield* pool.writeSync(sessionOf), before)
    }))

  it.effect("defer_foreign_keys holds until the commit, and costs no connection", () =>
    Effect.gen(function*() {
      const pool = yield* make()
      yield* pool.transaction(Effect.gen(function*() {
        yield* pool.sql`pragma defer_foreign_keys = on`
        yield* pool.sql`insert into child values (7)`
        yield* pool.sql`insert into t(a) values (7)`
      }))
      const { writer } = yield* pool.stats
      assert.deepStrictEqual([writer.resets, writer.connects], [0, 1])
      assert.deepStrictEqual(yield* pool.sql`pragma defer_foreign_keys`.values, [[0]])
    }))
})

describe("a lease", () => {
  it.effect("may read the schema again, and detach what it has attached by a parameter", () =>
    Effect.gen(function*() {
      for (const filename of [undefined, ":memory:"]) {
        const pool = yield* make({ ...(filename === undefined ? undefined : { filename }) })
        const attached = yield* pool.write((connection) =>
          Effect.gen(function*() {
            yield* connection.exec("pragma writable_schema = reset")
            yield* connection.exec("attach ':memory:' as scratch")
            yield* connection.run("detach ?", ["scratch"])
            return yield* connection.values("select name from pragma_database_list where name = 'scratch'")
          })
        )
        assert.deepStrictEqual(attached, [])
      }
    }))

  it.effect("may change its connection for as long as it lasts", () =>
    Effect.gen(function*() {
      const pool = yield* make()
      const before = yield* pool.writeSync(sessionOf)
      const changed = yield* pool.write((connection) =>
        Effect.sync(() => {
          connection.execUnsafe("pragma foreign_keys = off; create temp table x(a)")
          connection.runUnsafe("pragma cache_size = 7")
          return sessionOf(connection)
        })
      )
      assert.deepStrictEqual(changed, { ...before, foreignKeys: [[0]], cacheSize: [[7]], temporary: [["x"]] })
      assert.deepStrictEqual(yield* pool.writeSync(sessionOf), before)
    }))

  it.effect("does not allow later callers a statement that its connection has already prepared", () =>
    Effect.gen(function*() {
      // It is never opened anew, so that what is prepared stays so.
      const pool = yield* make({ filename: ":memory:" })
      const small = "pragma cache_size = 7"
      const off = "pragma foreign_keys = off"
      const before = yield* pool.writeSync(sessionOf)
      for (let round = 0; round < 2; round++) {
        yield* pool.write((connection) => Effect.andThen(connection.query(small), connection.query(off)))
        assert.deepStrictEqual(yield* pool.writeSync(sessionOf), before)
        assert.include(yield* refusal(pool.sql.unsafe(small)), "cacheSize")
        assert.include(yield* refusal(pool.transaction(pool.sql.unsafe(off))), "inside a transaction")
      }
    }))

  it.effect("sees a script stop at what is refused, with what came before it done", () =>
    Effect.gen(function*() {
      const pool = yield* make()
      yield* pool.write((connection) =>
        Effect.gen(function*() {
          const script = "insert into t(a) values (1); pragma writable_schema = on; insert into t(a) values (2)"
          assert.include(yield* refusal(connection.exec(script)), "defensive")
          assert.deepStrictEqual(yield* connection.values("select a from t"), [[1]])
        })
      )
    }))

  it.effect("in memory leaves neither attached databases nor temporary tables behind", () =>
    Effect.gen(function*() {
      const pool = yield* make({
        filename: ":memory:",
        onOpen: (connection) =>
          connection.exec("attach ':memory:' as kept; create temp table kept_t(a); pragma cache_size = 9")
      })
      const before = yield* pool.writeSync(sessionOf)
      assert.deepStrictEqual(before.temporary, [["kept_t"]])
      yield* pool.write((connection) =>
        connection.exec(`attach ':memory:' as x; pragma cache_size = 3; pragma foreign_keys = off;
          create temp table y(a); create index temp.i on y(a); create temp view v as select 1;
          create temp trigger r after insert on main.t begin select 1; end;
          create virtual table temp.f using fts5(a); insert into t(a) values (1)`)
      )
      assert.deepStrictEqual(yield* pool.writeSync(sessionOf), before)
      assert.deepStrictEqual(yield* pool.sql`select a from t`.values, [[1]])
    }))
})
