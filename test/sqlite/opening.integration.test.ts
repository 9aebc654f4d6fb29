import { assert, describe, it } from "@effect/vitest"
import { Effect, Exit, Fiber, Result, Scope } from "effect"
import { SqliteConnection } from "effect-connection-pool/sqlite"
import { ConnectionError, LockTimeoutError, type SqlError, UnknownError } from "effect/sql/SqlError"
import { TestClock } from "effect/testing"
import { spawn, spawnSync } from "node:child_process"
import fs from "node:fs"
import { syncBuiltinESMExports } from "node:module"
import { basename, dirname, join, relative } from "node:path"
import { DatabaseSync } from "node:sqlite"
import { fileURLToPath } from "node:url"
import { openFailure } from "../../src/sqlite/internal/connection/openFailure.ts"
import { resolve } from "../../src/sqlite/internal/options/connection.ts"
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

/**
 * Fails to open, leaves nothing open although the scope goes on, and answers with the error. As long as this process has
 * a lock on a file, SQLite really closes none of its descriptors: `unlock` ends that.
 */
const failing = (options: SqliteConnection.Options, unlock?: () => void) =>
  Effect.gen(function*() {
    const scope = yield* Effect.acquireRelease(Scope.make(), (scope) => Scope.close(scope, Exit.void))
    const before = openFiles(options.filename)
    const error = yield* Effect.flip(Scope.provide(open(options), scope))
    unlock?.()
    assert.strictEqual(openFiles(options.filename), before)
    assert.strictEqual(error.reason.operation, "open")
    return error
  })

describe("a database that cannot be opened", () => {
  it.effect("may have no folder", () =>
    Effect.gen(function*() {
      const filename = join(yield* folder, "missing", "test.db")
      const error = yield* failing({ filename })
      assert.instanceOf(error.reason, ConnectionError)
      assert.strictEqual(SqliteConnection.codeOf(error), 14)
      assert.strictEqual(
        error.message,
        `cannot open the SQLite database "${filename}": the folder "${dirname(filename)}" does not exist ` +
          "(unable to open database file, code 14)"
      )
    }))

  it.effect("may be a folder, or in what is no folder", () =>
    Effect.gen(function*() {
      const path = yield* folder
      assert.include((yield* failing({ filename: path })).message, `"${path}": it is a folder (unable`)
      fs.writeFileSync(join(path, "file"), "")
      const inside = yield* failing({ filename: join(path, "file", "test.db") })
      assert.include(inside.message, `"${join(path, "file")}" is not a folder (unable`)
    }))

  it.effect("may not exist, if it is only to be read", () =>
    Effect.gen(function*() {
      const filename = yield* file
      const error = yield* failing({ filename, readOnly: true })
      assert.instanceOf(error.reason, ConnectionError)
      assert.include(error.message, "the file does not exist, and a read-only connection does not create it (unable")
      assert.isFalse(fs.existsSync(filename))
    }))

  for (const readOnly of [false, true]) {
    it.effect(`may be no database${readOnly ? ", to be read" : ""}`, () =>
      Effect.gen(function*() {
        const filename = yield* file
        fs.writeFileSync(filename, "no database".repeat(1000))
        const error = yield* failing({ filename, readOnly })
        assert.instanceOf(error.reason, UnknownError)
        assert.strictEqual(SqliteConnection.codeOf(error), 26)
        assert.strictEqual(
          error.message,
          `cannot open the SQLite database "${filename}": it is not a SQLite database, or it is encrypted ` +
            "(file is not a database, code 26)"
        )
        assert.strictEqual(fs.readFileSync(filename, "utf8"), "no database".repeat(1000))
      }))

    it.effect(`may be corrupt${readOnly ? ", to be read" : ""}`, () =>
      Effect.gen(function*() {
        const filename = yield* file
        // Only the page of the schema; the header is as it should be.
        const bytes = yield* Effect.scoped(
          Effect.map(judge(filename, "create table t(a)"), () => fs.readFileSync(filename))
        )
        fs.writeFileSync(filename, bytes.fill(0xff, 100, 4096))
        const error = yield* failing({ filename, readOnly })
        assert.instanceOf(error.reason, UnknownError)
        assert.strictEqual(SqliteConnection.codeOf(error), 11)
        assert.include(error.message, `"${filename}": it is corrupt (database disk image is malformed, code 11)`)
      }))
  }

  it.effect("may not take the journal mode", () =>
    Effect.gen(function*() {
      const filename = yield* file
      const real = DatabaseSync.prototype.prepare
      yield* Effect.acquireRelease(
        Effect.sync(() => {
          DatabaseSync.prototype.prepare = function(sql, ...rest) {
            return real.call(this, sql.replace("= wal", "= delete"), ...rest)
          }
        }),
        () =>
          Effect.sync(() => {
            DatabaseSync.prototype.prepare = real
          })
      )
      const error = yield* failing({ filename })
      assert.strictEqual(
        error.message,
        `cannot open the SQLite database "${filename}": the journal mode stays "delete", wanted is "wal"`
      )
    }))

  it.effect("may fail in a way that SQLite has no code for", () =>
    Effect.gen(function*() {
      const bug = new TypeError("a bug")
      const real = DatabaseSync.prototype.exec
      yield* Effect.acquireRelease(
        Effect.sync(() => {
          DatabaseSync.prototype.exec = () => {
            throw bug
          }
        }),
        () =>
          Effect.sync(() => {
            DatabaseSync.prototype.exec = real
          })
      )
      const error = yield* failing({ filename: yield* file })
      assert.instanceOf(error.reason, UnknownError)
      assert.strictEqual(error.reason.cause, bug)
      assert.include(error.message, "(a bug)")
    }))
})

const code = (errcode: number) => Object.assign(new Error("SQLite's words"), { errcode })

describe("permissions", () => {
  /** Has the system say that this process may not. The one that runs the tests may be allowed everything. */
  const denying = (denied: (path: string, mode: number) => boolean) =>
    Effect.acquireRelease(
      Effect.sync(() => {
        const real = fs.accessSync
        fs.accessSync = (path, mode = 0) => {
          if (denied(String(path), mode)) throw new Error("EACCES")
          real(path, mode)
        }
        syncBuiltinESMExports()
        return real
      }),
      (real) =>
        Effect.sync(() => {
          fs.accessSync = real
          syncBuiltinESMExports()
        })
    )
  /** What is said of a code that SQLite would give on a file that is there. */
  const message = (options: Partial<SqliteConnection.Options>, thrown: unknown) =>
    Effect.gen(function*() {
      const filename = yield* file
      fs.writeFileSync(filename, "")
      const settings = Result.getOrThrow(resolve({ filename, ...options }))
      const { message } = openFailure(settings, thrown)
      return message.replaceAll(dirname(filename), "<folder>")
    })

  it.effect("may be missing for the file", () =>
    Effect.gen(function*() {
      yield* denying((path) => path.endsWith(".db"))
      assert.strictEqual(
        yield* message({}, code(8)),
        "cannot open the SQLite database \"<folder>/test.db\": the file is read-only (SQLite's words, code 8)"
      )
      assert.include(yield* message({}, code(14)), "this process may not open the file (SQLite's words, code 14)")
      assert.include(yield* message({ readOnly: true }, code(14)), "this process may not open the file")
      const filename = yield* file
      const error = yield* failing({ filename })
      assert.strictEqual(
        error.message,
        `cannot open the SQLite database "${filename}": the file is read-only; to read it, set readOnly`
      )
      yield* open({ filename, readOnly: true, busyTimeout: 0 })
    }))

  it.effect("may be missing for the folder", () =>
    Effect.gen(function*() {
      yield* denying((path) => !path.endsWith(".db"))
      assert.include(
        yield* message({}, code(1544)),
        "SQLite needs files beside it, and the folder \"<folder>\" is read-only (SQL"
      )
      assert.include(
        yield* message({ readOnly: true }, code(1544)),
        "a database in WAL mode needs files beside it even to be read, and the folder \"<folder>\" is read-only (SQL"
      )
      const missing = join(yield* folder, "new.db")
      assert.include(
        yield* message({ filename: missing }, code(14)),
        `the folder "${dirname(missing)}" is read-only (SQL`
      )
    }))

  it.effect("may not be what is wrong", () =>
    Effect.gen(function*() {
      assert.include(yield* message({}, code(14)), "\": it cannot be opened (SQL")
      assert.include(
        yield* message({ filename: join(yield* folder, "new.db") }, code(14)),
        "\": it cannot be created (SQL"
      )
      assert.include(yield* message({}, code(522)), "\": the disk, or the file system, failed (SQL")
      assert.include(yield* message({}, code(7)), "\": SQLite refused (SQL")
    }))

  it.live("are those of the process", (context) =>
    Effect.gen(function*() {
      const path = yield* folder
      const make = (name: string, setup: string) => {
        const parent = join(path, name)
        fs.mkdirSync(parent)
        const database = new DatabaseSync(join(parent, "test.db"))
        database.exec(setup)
        database.close()
        return parent
      }
      const logged = "create table t(a); pragma journal_mode = wal; insert into t values (1)"
      const [plain, wal, shut] = [
        make("plain", "create table t(a)"),
        make("wal", logged),
        make("shut", "create table t(a)")
      ]
      fs.chmodSync(path, 0o755)
      for (const parent of [plain, wal]) {
        fs.chmodSync(join(parent, "test.db"), 0o444)
        fs.chmodSync(parent, 0o555)
      }
      fs.chmodSync(join(shut, "test.db"), 0)
      const opener = fileURLToPath(new URL("../support/programs/unprivilegedConnection.ts", import.meta.url))
      const child = spawnSync(process.execPath, [opener, plain, wal, shut], {
        encoding: "utf8",
        ...(process.getuid?.() === 0 ? { uid: 65_534, gid: 65_534 } : undefined)
      })
      for (const parent of [plain, wal]) fs.chmodSync(parent, 0o755)
      if (child.status !== 0) return context.skip(`no unprivileged process can read this: ${child.stderr}`)
      assert.deepStrictEqual(JSON.parse(child.stdout.replaceAll(path, "<folder>")), {
        plain:
          "cannot open the SQLite database \"<folder>/plain/test.db\": SQLite needs files beside it, and the folder " +
          "\"<folder>/plain\" is read-only (attempt to write a readonly database, code 8)",
        plainDelete:
          "cannot open the SQLite database \"<folder>/plain/test.db\": the file is read-only; to read it, set readOnly",
        plainRead: "open",
        wal: "cannot open the SQLite database \"<folder>/wal/test.db\": SQLite needs files beside it, and the folder " +
          "\"<folder>/wal\" is read-only (attempt to write a readonly database, code 1544)",
        walRead:
          "cannot open the SQLite database \"<folder>/wal/test.db\": a database in WAL mode needs files beside it even " +
          "to be read, and the folder \"<folder>/wal\" is read-only (attempt to write a readonly database, code 1544)",
        shut: "cannot open the SQLite database \"<folder>/shut/test.db\": this process may not open the file " +
          "(unable to open database file, code 14)",
        created:
          "cannot open the SQLite database \"<folder>/plain/new.db\": the folder \"<folder>/plain\" is read-only " +
          "(unable to open database file, code 14)"
      })
    }), 30_000)
})

describe("a locked database", () => {
  /** Somebody else has it all to himself, and will not be in WAL mode. */
  const locked = (filename: string) => judge(filename, "create table if not exists t(a); begin exclusive")

  it.effect("is tried again until the lock is gone, without holding up anything", () =>
    Effect.gen(function*() {
      const filename = yield* file
      const other = yield* locked(filename)
      const fiber = yield* Effect.forkChild(open({ filename }))
      yield* TestClock.adjust("1 second")
      assert.isUndefined(fiber.pollUnsafe())
      other.exec("commit")
      yield* TestClock.adjust("2 millis")
      const connection = yield* Fiber.join(fiber)
      assert.strictEqual(pragma(connection, "journal_mode"), "wal")
    }))

  for (const readOnly of [false, true]) {
    it.effect(`is given up after busyTimeout${readOnly ? ", to be read" : ""}`, () =>
      Effect.gen(function*() {
        const filename = yield* file
        const other = yield* locked(filename)
        const options = { filename, readOnly, busyTimeout: "500 millis" } as const
        const fiber = yield* Effect.forkChild(failing(options, () => other.exec("commit")))
        yield* TestClock.adjust("499 millis")
        assert.isUndefined(fiber.pollUnsafe())
        yield* TestClock.adjust("3 millis")
        const error = yield* Fiber.join(fiber)
        assert.instanceOf(error.reason, LockTimeoutError)
        assert.strictEqual(SqliteConnection.codeOf(error), 5)
        assert.strictEqual(
          error.message,
          `cannot open the SQLite database "${filename}": another connection has had a lock on it for all of busyTimeout, ` +
            "500 ms (database is locked, code 5)"
        )
      }))
  }

  it.effect("is tried once if busyTimeout is zero", () =>
    Effect.gen(function*() {
      const filename = yield* file
      const other = yield* locked(filename)
      const error = yield* failing({ filename, busyTimeout: 0 }, () => other.exec("commit"))
      assert.instanceOf(error.reason, LockTimeoutError)
    }))

  it.effect("can be left alone: an interrupt ends the waiting, and nothing stays open", () =>
    Effect.gen(function*() {
      const filename = yield* file
      const other = yield* locked(filename)
      const before = openFiles(filename)
      const scope = yield* Effect.acquireRelease(Scope.make(), (scope) => Scope.close(scope, Exit.void))
      const fiber = yield* Effect.forkChild(Scope.provide(open({ filename }), scope))
      yield* TestClock.adjust("1 second")
      assert.strictEqual(openFiles(filename), before + 1)
      yield* Fiber.interrupt(fiber)
      other.exec("commit")
      assert.strictEqual(openFiles(filename), before)
    }))

  it.live("is opened by several processes that all create it", () =>
    Effect.gen(function*() {
      const path = yield* folder
      const opener = fileURLToPath(new URL("../support/programs/opener.ts", import.meta.url))
      const codes = yield* Effect.forEach([1, 2, 3, 4], () =>
        Effect.callback<string>((resume) => {
          const child = spawn(process.execPath, [opener, path, "20"], { stdio: ["pipe", "ignore", "pipe"] })
          let said = ""
          child.stderr.on("data", (data) => said += data)
          child.on("exit", (code) => resume(Effect.succeed(`${code}${said}`)))
          // All begin at about the same time.
          setTimeout(() => child.stdin.end(), 1000)
        }), { concurrency: "unbounded" })
      assert.deepStrictEqual(codes, ["0", "0", "0", "0"])
      const other = yield* judge(join(path, "0.db"))
      assert.deepStrictEqual(other.prepare("select count(*) as count from t").get()?.["count"], 4)
    }), 30_000)
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
