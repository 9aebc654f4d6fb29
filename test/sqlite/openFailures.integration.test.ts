import { assert, describe, it } from "@effect/vitest"
import { Effect, Exit, Fiber, Result, Scope } from "effect"
import { SqliteConnection } from "effect-connection-pool/sqlite"
import { ConnectionError, LockTimeoutError, UnknownError } from "effect/sql/SqlError"
import { TestClock } from "effect/testing"
import { spawnSync } from "node:child_process"
import fs from "node:fs"
import { syncBuiltinESMExports } from "node:module"
import { dirname, join } from "node:path"
import { DatabaseSync } from "node:sqlite"
import { fileURLToPath } from "node:url"
import { openFailure } from "../../src/sqlite/internal/connection/openFailure.ts"
import { resolve } from "../../src/sqlite/internal/options/connection.ts"
import * as Process from "../support/childProcess.ts"
import { file, folder, judge, openFiles } from "../support/files.ts"

const { open } = SqliteConnection

/** What a pragma says. */
const pragma = (connection: SqliteConnection.SqliteConnection, name: string) =>
  connection.valuesUnsafe(`pragma ${name}`)[0]?.[0]

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
        `cannot open the SQLite database "${filename}": the journal mode stays "delete", but must be "wal"`
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
      yield* denying((path, mode) => !path.endsWith(".db") && mode !== fs.constants.X_OK)
      assert.include(
        yield* message({}, code(1544)),
        "SQLite needs files beside it, and the folder \"<folder>\" is read-only (SQL"
      )
      assert.include(
        yield* message({ readOnly: true }, code(1544)),
        "a database in WAL mode needs files beside it even to be read, and the folder \"<folder>\" is read-only; if " +
          "nothing changes the file, set immutable (SQL"
      )
      // A disk that is read-only has another code.
      assert.include(yield* message({ readOnly: true }, code(14)), "is read-only; if nothing changes the file, set imm")
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
          "to be read, and the folder \"<folder>/wal\" is read-only; if nothing changes the file, set immutable (attempt to write a readonly database, code 1544)",
        shut: "cannot open the SQLite database \"<folder>/shut/test.db\": this process may not open the file " +
          "(unable to open database file, code 14)",
        created:
          "cannot open the SQLite database \"<folder>/plain/new.db\": the folder \"<folder>/plain\" is read-only " +
          "(unable to open database file, code 14)"
      })
    }), 120_000)
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
      const openers = yield* Effect.forEach([1, 2, 3, 4], () => Process.run("opener", path, "20"))
      // All begin at about the same time.
      for (const opener of openers) yield* opener.says("ready")
      for (const opener of openers) yield* opener.sign
      for (const opener of openers) yield* opener.ended
      const other = yield* judge(join(path, "0.db"))
      assert.deepStrictEqual(other.prepare("select count(*) as count from t").get()?.["count"], 4)
      // Against one that hangs, not one on a machine that is busy.
    }), 300_000)
})
