import { assert, describe, it } from "@effect/vitest"
import type { Scope } from "effect"
import { Effect } from "effect"
import { SqliteConnection } from "effect-connection-pool/sqlite"
import { type SqlError, UnknownError } from "effect/sql/SqlError"
import fs from "node:fs"
import { basename, dirname, join, relative } from "node:path"
import { file, folder, judge, openFiles } from "../support/files.ts"

const { open } = SqliteConnection

/** What a pragma says. */
const pragma = (connection: SqliteConnection.SqliteConnection, name: string) =>
  connection.valuesUnsafe(`pragma ${name}`)[0]?.[0]

const pragmas = (connection: SqliteConnection.SqliteConnection, ...names: ReadonlyArray<string>) =>
  Object.fromEntries(names.map((name) => [name, pragma(connection, name)]))

const session = ["cache_size", "temp_store", "trusted_schema", "busy_timeout"]

const writing = ["journal_mode", "synchronous", "foreign_keys", "journal_size_limit", "wal_autocheckpoint"]

describe("open", () => {
  it.effect("makes a database that is safe and does not hold up readers", () =>
    Effect.gen(function*() {
      const connection = yield* open({ filename: yield* file })
      assert.deepStrictEqual(pragmas(connection, ...writing, ...session), {
        journal_mode: "wal",
        synchronous: 1,
        foreign_keys: 1,
        journal_size_limit: 67_108_864,
        wal_autocheckpoint: 1000,
        cache_size: -8000,
        temp_store: 2,
        trusted_schema: 0,
        busy_timeout: 0
      })
    }))

  it.effect("makes the settings that are asked for", () =>
    Effect.gen(function*() {
      const filename = yield* file
      const connection = yield* open({
        filename,
        journalMode: "persist",
        synchronous: "extra",
        foreignKeys: false,
        journalSizeLimit: Infinity,
        walAutocheckpoint: 0,
        cacheSize: 1,
        tempStore: "file",
        pageSize: 8192,
        autoVacuum: "incremental",
        trustedSchema: true
      })
      assert.deepStrictEqual(pragmas(connection, ...writing, ...session, "page_size", "auto_vacuum"), {
        journal_mode: "persist",
        synchronous: 3,
        foreign_keys: 0,
        journal_size_limit: -1,
        wal_autocheckpoint: 0,
        cache_size: -1,
        temp_store: 1,
        trusted_schema: 1,
        busy_timeout: 0,
        page_size: 8192,
        auto_vacuum: 2
      })
    }))

  it.effect("gives a new file its page size and vacuum in WAL mode too", () =>
    Effect.gen(function*() {
      const connection = yield* open({ filename: yield* file, pageSize: 1024, autoVacuum: "full" })
      assert.deepStrictEqual(pragmas(connection, "page_size", "auto_vacuum", "journal_mode"), {
        page_size: 1024,
        auto_vacuum: 1,
        journal_mode: "wal"
      })
    }))

  it.effect("enforces foreign keys", () =>
    Effect.gen(function*() {
      const connection = yield* open({ filename: ":memory:" })
      connection.execUnsafe("create table p(id integer primary key); create table c(p references p)")
      const error = yield* Effect.flip(connection.run("insert into c values (1)"))
      assert.strictEqual(error.message, "FOREIGN KEY constraint failed")
    }))

  it.effect("makes a database in memory for each connection, and leaves it when that is closed", () =>
    Effect.gen(function*() {
      const [first, second] = [yield* open({ filename: ":memory:" }), yield* open({ filename: ":memory:" })]
      first.execUnsafe("create table t(a)")
      assert.strictEqual(pragma(first, "journal_mode"), "memory")
      assert.deepStrictEqual(second.valuesUnsafe("select count(*) from sqlite_schema"), [[0]])
      const explicit = yield* open({ filename: ":memory:", journalMode: "memory" })
      assert.strictEqual(pragma(explicit, "journal_mode"), "memory")
      assert.isFalse(fs.existsSync(":memory:"))
    }))

  it.effect("only reads if told so, and takes the file as it is", () =>
    Effect.gen(function*() {
      const filename = yield* file
      const other = yield* judge(filename, "create table t(a); insert into t values (1)")
      const connection = yield* open({ filename, readOnly: true, cacheSize: 500, pageSize: 1024 })
      assert.deepStrictEqual(connection.queryUnsafe("select * from t"), [{ a: 1 }])
      assert.deepStrictEqual(pragmas(connection, ...session, "journal_mode"), {
        cache_size: -500,
        temp_store: 2,
        trusted_schema: 0,
        busy_timeout: 0,
        journal_mode: "delete"
      })
      assert.strictEqual(SqliteConnection.codeOf(yield* Effect.flip(connection.run("delete from t"))), 8)
      assert.deepStrictEqual(other.prepare("select count(*) as count from t").get()?.["count"], 1)
    }))

  it.effect("takes a question mark or a percent sign in a name as it is", () =>
    Effect.gen(function*() {
      const path = join(yield* folder, "a?mode=ro&%20b.db")
      const connection = yield* open({ filename: path })
      connection.execUnsafe("create table t(a)")
      assert.isTrue(fs.existsSync(path))
    }))

  it.effect("keeps to the file meant when it was configured", () =>
    Effect.gen(function*() {
      const filename = yield* file
      const opening = open({ filename: relative(process.cwd(), filename) })
      const before = process.cwd()
      yield* Effect.acquireRelease(
        Effect.sync(() => process.chdir(dirname(dirname(filename)))),
        () => Effect.sync(() => process.chdir(before))
      )
      yield* opening
      assert.isTrue(fs.existsSync(filename))
    }))

  it.effect("does nothing before it is run", () =>
    Effect.gen(function*() {
      const filename = yield* file
      open({ filename })
      SqliteConnection.factory({ filename })
      assert.isFalse(fs.existsSync(filename))
    }))
})

describe("options", () => {
  const path = "a path or \":memory:\", not a URI"
  const duration = "a duration of zero or more, such as \"5 seconds\", or Infinity"
  const cases: ReadonlyArray<readonly [options: unknown, problem: string]> = [
    [{ filename: "" }, `filename is "", but must be ${path}`],
    [{ filename: " " }, `filename is " ", but must be ${path}`],
    [{ filename: "a\0b" }, `filename is "a\\u0000b", but must be ${path}`],
    [{}, `filename is not given: it must be ${path}`],
    [null, "options is null, but must be an object"],
    ["app.db", "options is \"app.db\", but must be an object"],
    [{ filename: new URL("file:///tmp/a") }, `filename is an object (URL), but must be ${path}`],
    [{ filename: "file:a?mode=memory" }, `filename is "file:a?mode=memory", but must be ${path}`],
    [
      { filename: ":memory:", readOnly: true },
      "readOnly is true, but must be false for \":memory:\", which nothing else could fill"
    ],
    [
      { filename: ":memory:", journalMode: "wal" },
      "journalMode is \"wal\", but must be \"memory\" for \":memory:\""
    ],
    [{ filename: "x", readOnly: 1 }, "readOnly is 1, but must be true or false"],
    [
      { filename: "x", journalMode: "WAL" },
      "journalMode is \"WAL\", but must be \"wal\", \"delete\", \"truncate\", \"persist\" or \"memory\""
    ],
    [{ filename: "x", synchronous: 1 }, "synchronous is 1, but must be \"off\", \"normal\", \"full\" or \"extra\""],
    [{ filename: "x", foreignKeys: "on" }, "foreignKeys is \"on\", but must be true or false"],
    [{ filename: "x", trustedSchema: "no" }, "trustedSchema is \"no\", but must be true or false"],
    [{ filename: "x", tempStore: "disk" }, "tempStore is \"disk\", but must be \"memory\" or \"file\""],
    [
      { filename: "x", autoVacuum: "some" },
      "autoVacuum is \"some\", but must be \"none\", \"full\" or \"incremental\""
    ],
    [
      { filename: "x", journalSizeLimit: -1 },
      "journalSizeLimit is -1, but must be a whole number of at least 0, or Infinity"
    ],
    [
      { filename: "x", walAutocheckpoint: Infinity },
      "walAutocheckpoint is Infinity, but must be a whole number from 0 to 2147483647"
    ],
    [{ filename: "x", cacheSize: 0 }, "cacheSize is 0, but must be a whole number from 1 to 2147483647"],
    [{ filename: "x", cacheSize: 2 ** 31 }, "cacheSize is 2147483648, but must be a whole number from 1 to 2147483647"],
    [
      { filename: "x", statementCacheSize: 1.5 },
      "statementCacheSize is 1.5, but must be a whole number from 0 to 2147483647"
    ],
    [
      { filename: "x", pageSize: 1000 },
      "pageSize is 1000, but must be 512, 1024, 2048, 4096, 8192, 16384, 32768 or 65536"
    ],
    [{ filename: "x", busyTimeout: -1 }, `busyTimeout is -1, but must be ${duration}`],
    [{ filename: "x", busyTimeout: "soon" }, `busyTimeout is "soon", but must be ${duration}`],
    [{ filename: "x", readonly: true }, "readonly is no option; did you mean readOnly?"],
    [{ filename: "x", [Symbol("cache")]: true }, "Symbol(cache) is no option; the options are filename, readOnly"],
    [
      {
        filename: "x",
        get cacheSize(): number {
          throw new Error("not here")
        }
      },
      "cacheSize cannot be read: not here"
    ]
  ]

  for (const [options, problem] of cases) {
    it.effect(`are refused: ${problem.slice(0, 80)}`, () =>
      Effect.gen(function*() {
        const error = yield* Effect.flip(open(options as SqliteConnection.Options))
        assert.instanceOf(error.reason, UnknownError)
        assert.strictEqual(error.reason.operation, "open")
        const { filename } = (options ?? {}) as { readonly filename?: unknown }
        const name = problem.startsWith("filename") || filename === undefined ? "" : ` ${JSON.stringify(filename)}`
        assert.include(error.message, `SQLite database${name}: ${problem}`)
        const { connect } = SqliteConnection.factory(options as SqliteConnection.Options)
        assert.deepStrictEqual(yield* Effect.flip(connect as Effect.Effect<unknown, SqlError, Scope.Scope>), error)
      }))
  }

  it.effect("are refused all at once", () =>
    Effect.gen(function*() {
      const error = yield* Effect.flip(open({ filename: "x", cacheSize: -1, pageSize: 3 }))
      assert.include(error.message, ": cacheSize is -1")
      assert.include(error.message, "; pageSize is 3")
    }))

  it.effect("may be given as undefined", () =>
    Effect.gen(function*() {
      const connection = yield* open({ filename: ":memory:", readOnly: undefined, pageSize: undefined })
      assert.deepStrictEqual(connection.valuesUnsafe("select 1"), [[1]])
    }))
})

describe("closing", () => {
  it.effect("closes the file, ends what is open, and leaves no log behind", () =>
    Effect.gen(function*() {
      const filename = yield* file
      const connection = yield* Effect.scoped(Effect.gen(function*() {
        const connection = yield* open({ filename })
        yield* connection.exec("create table t(a); begin; insert into t values (1)")
        assert.isTrue(fs.existsSync(`${filename}-wal`))
        return connection
      }))
      assert.strictEqual(openFiles(filename), 0)
      assert.deepStrictEqual(fs.readdirSync(dirname(filename)), [basename(filename)])
      assert.strictEqual((yield* Effect.flip(connection.query("select 1"))).message, "query: the connection is closed")
      const other = yield* judge(filename)
      assert.deepStrictEqual(other.prepare("select * from t").all(), [])
    }))

  it.effect("has SQLite renew its statistics", () =>
    Effect.gen(function*() {
      const filename = yield* file
      yield* Effect.scoped(Effect.gen(function*() {
        const connection = yield* open({ filename })
        yield* connection.exec(`
          create table t(a, b); create index i on t(a);
          with recursive n(x) as (select 1 union all select x + 1 from n where x < 1000) insert into t select x, x from n;
          begin`)
        yield* connection.query("select * from t where a = 1")
      }))
      const other = yield* judge(filename)
      assert.deepStrictEqual(other.prepare("select idx from sqlite_stat1").all().map((row) => row["idx"]), ["i"])
    }))

  it.effect("succeeds although others have a lock", () =>
    Effect.gen(function*() {
      const filename = yield* file
      const other = yield* judge(filename)
      yield* Effect.scoped(Effect.gen(function*() {
        const connection = yield* open({ filename })
        yield* connection.exec("create table t(a); create index i on t(a); insert into t values (1)")
        yield* connection.query("select * from t where a = 1")
        other.exec("begin immediate")
      }))
      other.exec("commit")
      assert.deepStrictEqual(other.prepare("select count(*) as count from t").get()?.["count"], 1)
    }))
})
