import { assert, describe, it } from "@effect/vitest"
import { Context, Deferred, Effect, Exit, Fiber, Logger, Result } from "effect"
import { SqliteConnection, SqlitePool, type SqliteReader } from "effect-connection-pool/sqlite"
import { PoolAssert } from "effect-connection-pool/testing"
import { TestClock } from "effect/testing"
import { execFileSync } from "node:child_process"
import { chmodSync, mkdirSync, readFileSync, renameSync, rmSync, symlinkSync, writeFileSync } from "node:fs"
import { basename, dirname, join } from "node:path"
import { DatabaseSync, StatementSync } from "node:sqlite"
import { fileURLToPath } from "node:url"
import { SharedFile } from "../../src/sqlite/internal/file/connections.ts"
import * as PoolSettings from "../../src/sqlite/internal/options/pool.ts"
import { refusing } from "../support/database.ts"
import { file, folder, judge, openFiles } from "../support/files.ts"
import { settle } from "../support/pools.ts"

const make = Effect.fnUntraced(function*(options?: Partial<SqlitePool.Options>) {
  const filename = yield* file
  const pool = yield* SqlitePool.make({ filename, drainTimeout: 0, ...options })
  yield* pool.write((connection) => connection.exec("create table t(a); insert into t values (1)"))
  return { filename, pool }
})

const insert = (connection: SqliteConnection.SqliteConnection) => connection.run("insert into t values (1)")

const count = (reader: SqliteReader.SqliteReader) =>
  Effect.map(reader.values("select count(*) from t"), (rows) => rows[0]![0])

describe("a file that is no good", () => {
  const cases: ReadonlyArray<readonly [what: string, name: string, code: number, text: string]> = [
    ["a folder that is missing", "missing/a.db", 14, "does not exist"],
    ["a folder", "folder", 14, "it is a folder"],
    ["what is no folder", "junk/a.db", 14, "is not a folder"],
    ["what is no database", "junk", 26, "it is not a SQLite database"],
    ["a schema that is corrupt", "corrupt", 11, "it is corrupt"]
  ]
  for (const [what, name, code, text] of cases) {
    it.effect(`as ${what} is a typed error when the pool is made, and nothing is left open`, () =>
      Effect.gen(function*() {
        const path = yield* folder
        mkdirSync(join(path, "folder"))
        writeFileSync(join(path, "junk"), "junk".repeat(1000))
        yield* Effect.scoped(judge(join(path, "corrupt"), "create table t(a)"))
        writeFileSync(join(path, "corrupt"), readFileSync(join(path, "corrupt")).fill(0xff, 100, 4096))
        const filename = join(path, name)
        const error = yield* PoolAssert.failsWith(Effect.scoped(SqlitePool.make({ filename })), "ConnectError")
        assert.include(error.message, `pool "sqlite/writer": could not connect: `)
        assert.include(error.message, `cannot open the SQLite database "${filename}": `)
        assert.include(error.message, text)
        assert.strictEqual(error.reason._tag, "ConnectFailed")
        assert.strictEqual(SqliteConnection.codeOf(error.cause), code)
        assert.strictEqual(openFiles(path), 0)
      }))
  }

  it.effect("as one that may not be written says so", (context) =>
    Effect.gen(function*() {
      const path = yield* folder
      chmodSync(path, 0o755)
      for (const name of ["file", "folder"]) {
        mkdirSync(join(path, name))
        yield* Effect.scoped(judge(join(path, name, "test.db"), "create table t(a)"))
        chmodSync(join(path, name), 0o777)
        chmodSync(join(path, name, "test.db"), name === "file" ? 0o444 : 0o666)
      }
      chmodSync(join(path, "folder"), 0o555)
      const opener = fileURLToPath(new URL("../support/programs/unprivilegedPool.ts", import.meta.url))
      const isRoot = process.getuid?.() === 0
      const told = yield* Effect.result(Effect.try(() =>
        execFileSync(process.execPath, [opener, path], {
          encoding: "utf8",
          ...(isRoot ? { uid: 65_534, gid: 65_534 } : undefined)
        })
      ))
      chmodSync(join(path, "folder"), 0o755)
      if (told._tag === "Failure") return context.skip("no unprivileged process can read this")
      const [ofFile, ofFolder, ofNew] = JSON.parse(told.success.trim().split("\n").at(-1)!) as [string, string, string]
      assert.include(ofFile, "the file is read-only")
      assert.include(ofFolder, "is read-only")
      assert.include(ofNew, "is read-only")
    }), 120_000)

  it.effect("as one with a corrupt page is a typed error only for reads of that page", () =>
    Effect.gen(function*() {
      const filename = yield* file
      const setup = `create table t(a); insert into t values (1); create table u(a);
        insert into u select randomblob(900) from (with recursive n(x) as (select 1 union all select x + 1 from n where x < 50) select x from n)`
      const root = yield* Effect.scoped(Effect.gen(function*() {
        const database = yield* judge(filename, setup)
        return database.prepare("select rootpage from sqlite_schema where name = 'u'").get()!["rootpage"] as number
      }))
      const bytes = readFileSync(filename)
      writeFileSync(filename, bytes.fill(0xff, (root - 1) * 4096, root * 4096))
      const pool = yield* SqlitePool.make({ filename })
      const error = yield* PoolAssert.failsWith(pool.read((reader) => reader.query("select * from u")), "SqlError")
      assert.strictEqual(SqliteConnection.codeOf(error), 11)
      assert.include(error.message, "malformed")
      assert.strictEqual(yield* pool.read(count), 1)
      yield* pool.write(insert)
      assert.strictEqual(yield* pool.read(count), 2)
    }))

  it.effect("as a full disk is a typed error for writes; they leave nothing behind, and succeed again when there is space", () =>
    Effect.gen(function*() {
      const { filename, pool } = yield* make()
      const fill = (connection: SqliteConnection.SqliteConnection) =>
        Effect.gen(function*() {
          yield* connection.values("pragma max_page_count = 20")
          yield* connection.exec("begin immediate")
          for (let at = 0; at < 100; at++) yield* connection.run("insert into t values (randomblob(4000))")
          yield* connection.exec("commit")
        })
      const error = yield* PoolAssert.failsWith(pool.write(fill), "SqlError")
      assert.strictEqual(SqliteConnection.codeOf(error), 13)
      assert.strictEqual(yield* pool.read(count), 1)
      // Also where the body goes on as if nothing had been.
      yield* pool.write((connection) =>
        Effect.andThen(Effect.ignore(fill(connection)), Effect.ignore(connection.exec("commit")))
      )
      assert.strictEqual(yield* pool.read(count), 1)
      yield* pool.write(insert)
      assert.strictEqual(yield* pool.read(count), 2)
      const other = yield* judge(filename)
      assert.strictEqual(other.prepare("pragma integrity_check").get()!["integrity_check"], "ok")
    }))

  it.effect("as one that others have locked makes the start of the pool wait", () =>
    Effect.gen(function*() {
      const filename = yield* file
      const other = yield* judge(filename, "create table t(a); begin exclusive")
      const making = yield* Effect.forkChild(SqlitePool.make({ filename, busyTimeout: "100 millis" }))
      yield* TestClock.adjust("1 second")
      assert.isUndefined(making.pollUnsafe())
      other.exec("commit")
      yield* TestClock.adjust("2 seconds")
      const pool = yield* Fiber.join(making)
      assert.strictEqual(yield* pool.read(count), 0)
      // It would be locked for readers too, in another journal mode.
      const late = yield* file
      const holder = yield* judge(late, "create table t(a); begin exclusive")
      const failing = yield* Effect.forkChild(
        Effect.flip(Effect.scoped(SqlitePool.make({ filename: late, acquireTimeout: "3 seconds" })))
      )
      yield* TestClock.adjust("3 seconds")
      const error = yield* Fiber.join(failing)
      assert.strictEqual(error._tag, "ConnectError")
      holder.exec("rollback")
    }))
})

/** What is logged, as text. */
const logged = Effect.sync(() => {
  const lines: Array<string> = []
  const logger = Logger.make<unknown, void>(({ message }) => {
    lines.push(String(message))
  })
  return { lines, layer: Logger.layer([logger]) }
})

/** The database is put away, with all that belongs to it, as an operator may do it. */
const putAway = (filename: string) => {
  for (const suffix of ["", "-wal", "-shm"]) rmSync(filename + suffix, { force: true })
}

describe("a file that goes away", () => {
  it.effect("takes no more writes, and is not made anew; the pool goes on once it is there again", () =>
    Effect.gen(function*() {
      const { lines, layer } = yield* logged
      yield* Effect.provide(
        Effect.gen(function*() {
          const { filename, pool } = yield* make()
          assert.strictEqual(yield* pool.read(count), 1)
          const kept = join(dirname(filename), "kept.db")
          yield* pool.checkpoint()
          writeFileSync(kept, readFileSync(filename))
          putAway(filename)
          yield* TestClock.adjust("1 second")
          const error = yield* PoolAssert.failsWith(pool.write(insert), "ConnectError")
          assert.include(error.message, `cannot open the SQLite database "${filename}": the file was there and is gone`)
          yield* settle
          yield* PoolAssert.failsWith(pool.read(count), "ConnectError")
          assert.strictEqual(openFiles(filename), 0)
          assert.deepStrictEqual(yield* Effect.try(() => readFileSync(filename)).pipe(Effect.isFailure), true)
          renameSync(kept, filename)
          assert.deepStrictEqual(yield* pool.write(insert), { changes: 1, lastInsertRowid: 2 })
          assert.strictEqual(yield* pool.read(count), 2)
        }),
        layer
      )
      // Once for the connection that noticed it, and once for the database.
      const about = lines.filter((line) => line.includes("moved, replaced or deleted"))
      assert.deepStrictEqual(about.map((line) => line.includes("is evicted")), [true, false])
    }))

  it.effect("and is replaced by another is left by all, before the other is opened", () =>
    Effect.gen(function*() {
      const { filename, pool } = yield* make({ readers: 3 })
      const gate = yield* Deferred.make<void>()
      const idle = yield* Effect.forEach([1, 2, 3], () => Effect.forkChild(pool.read(() => Deferred.await(gate))))
      yield* settle
      yield* Deferred.succeed(gate, undefined)
      yield* Effect.forEach(idle, Fiber.join)
      assert.strictEqual((yield* pool.stats).readers.idle, 3)
      const other = join(dirname(filename), "other.db")
      yield* Effect.scoped(judge(other, "create table t(a); insert into t values (7), (8), (9)"))
      putAway(filename)
      renameSync(other, filename)
      yield* TestClock.adjust("1 second")
      // With one of each side: whoever comes first notices, and nobody gets a connection to the old one any more.
      assert.strictEqual(yield* waited(pool.read(count)), 3)
      yield* waited(pool.write(insert))
      assert.strictEqual(yield* waited(pool.read(count)), 4)
      const plain = new DatabaseSync(filename, { readOnly: true })
      assert.strictEqual(plain.prepare("select count(*) as n from t").get()!["n"], 4)
      assert.strictEqual(plain.prepare("pragma integrity_check").get()!["integrity_check"], "ok")
      plain.close()
    }))

  it.effect("ends what works on it, with a typed error, instead of losing what that writes", () =>
    Effect.gen(function*() {
      const { filename, pool } = yield* make()
      const gate = yield* Deferred.make<void>()
      const writing = yield* Effect.forkChild(pool.write((connection) =>
        Effect.gen(function*() {
          yield* connection.exec("begin immediate; insert into t values (2)")
          yield* Deferred.await(gate)
          yield* connection.exec("commit")
        })
      ))
      const reading = yield* Effect.forkChild(
        pool.snapshot(Effect.andThen(pool.read(count), Effect.andThen(Deferred.await(gate), pool.read(count))))
      )
      yield* settle
      const moved = join(dirname(filename), "moved.db")
      renameSync(filename, moved)
      yield* TestClock.adjust("1 second")
      const noticing = yield* Effect.forkChild(Effect.exit(pool.read(count)))
      yield* settle
      yield* Deferred.succeed(gate, undefined)
      yield* TestClock.adjust("1 second")
      yield* Fiber.join(noticing)
      const ofWriter = yield* Effect.flip(Fiber.join(writing))
      assert.strictEqual(ofWriter._tag, "LeaseExpiredError")
      assert.include(ofWriter.message, `the SQLite database "${filename}" was moved, replaced or deleted`)
      const ofReader = yield* PoolAssert.failsWith(Fiber.join(reading), "SqlError")
      assert.strictEqual((ofReader.reason.cause as Error).name, "effect-connection-pool/TransactionLostError")
      assert.include(
        ofReader.message,
        `pool "sqlite": the transaction has ended early: the SQLite database "${filename}" was moved, replaced or deleted`
      )
      renameSync(moved, filename)
      assert.strictEqual(yield* waited(pool.read(count)), 1)
    }))

  it.effect("only out of sight for a while, as the folder of it may be, is no reason to leave it", () =>
    Effect.gen(function*() {
      const { filename, pool } = yield* make()
      yield* pool.read(count)
      const folder = dirname(filename)
      const away = join(dirname(folder), `${basename(folder)}-away`)
      renameSync(folder, away)
      // The way to it leads nowhere, so that nothing can be said of the file.
      symlinkSync(folder, folder)
      yield* TestClock.adjust("1 second")
      assert.strictEqual(yield* pool.read(count), 1)
      rmSync(folder)
      renameSync(away, folder)
      yield* TestClock.adjust("1 second")
      yield* pool.write(insert)
      assert.strictEqual(yield* pool.read(count), 2)
      assert.strictEqual((yield* pool.stats).writer.connects, 1)
    }))

  it.effect("is not looked for before every statement", () =>
    Effect.gen(function*() {
      const { filename, pool } = yield* make()
      yield* TestClock.adjust("1 second")
      yield* pool.write(insert)
      const moved = `${filename}.moved`
      renameSync(filename, moved)
      // Within 50 ms nobody notices: that is the price of looking less often.
      yield* TestClock.adjust("49 millis")
      yield* pool.write(insert)
      yield* TestClock.adjust("1 millis")
      yield* PoolAssert.failsWith(pool.write(insert), "ConnectError")
      renameSync(moved, filename)
      const found = yield* judge(filename)
      assert.strictEqual(found.prepare("select count(*) as n from t").get()!["n"], 3)
    }))
})

describe("a failure of the disk", () => {
  it.effect("is a typed error, and the next one gets another connection", () =>
    Effect.gen(function*() {
      const { pool } = yield* make()
      assert.strictEqual(yield* pool.read(count), 1)
      yield* pool.write(insert)
      yield* refusing("select a as broken from t", 1, 778)
      const error = yield* Effect.flip(pool.read((reader) => reader.query("select a as broken from t")))
      assert.strictEqual(SqliteConnection.codeOf(error), 778)
      assert.strictEqual(yield* pool.read(count), 2)
      const { connects, evictions } = (yield* pool.stats).readers
      assert.deepStrictEqual([connects, evictions.dead], [2, 1])
    }))
})

/** For what waits a millisecond now and then. */
const waited = <A, E>(effect: Effect.Effect<A, E>) =>
  Effect.gen(function*() {
    const fiber = yield* Effect.forkChild(effect)
    yield* settle
    yield* TestClock.adjust("100 millis")
    return yield* Fiber.join(fiber)
  })

describe("a connection that is asked whether it works", () => {
  it.effect("does as long as it can read the file that is there, and locks do not count", () =>
    Effect.gen(function*() {
      const filename = yield* file
      const other = yield* judge(filename, "pragma journal_mode = wal; create table t(a); insert into t values (1)")
      const settings = Result.getOrThrow(PoolSettings.resolve({ filename }))
      const shared = new SharedFile(settings, Context.empty())
      for (const factory of [shared.writerFactory, shared.readerFactory]) {
        const connection = yield* factory.connect
        const works = factory.validate(connection)
        assert.isTrue(yield* works)
        other.exec("begin immediate; insert into t values (2)")
        assert.isTrue(yield* works)
        other.exec("rollback")
        const real = StatementSync.prototype.all
        for (const [errcode, answer] of [[5, true], [261, true], [11, false], [266, false]] as const) {
          StatementSync.prototype.all = () => {
            throw Object.assign(new Error("no"), { errcode })
          }
          const answered = yield* Effect.exit(factory.validate(connection))
          StatementSync.prototype.all = real
          assert.deepStrictEqual(answered, Exit.succeed(answer), String(errcode))
        }
      }
      const reader = yield* shared.readerFactory.connect
      renameSync(filename, `${filename}.moved`)
      assert.isFalse(yield* shared.readerFactory.validate(reader))
    }))

  it.effect("in memory is never evicted, not even by recycle or invalidate", () =>
    Effect.gen(function*() {
      const pool = yield* SqlitePool.make({ filename: ":memory:" })
      yield* pool.write((connection) => connection.exec("create table t(a); insert into t values (1)"))
      assert.strictEqual(yield* pool.writer.recycle, 0)
      assert.isFalse(yield* pool.readers.use((connection) => pool.readers.invalidate(connection)))
      assert.strictEqual(yield* pool.read(count), 1)
    }))
})
