import { Deferred, Effect, Fiber } from "effect"
import { SqlitePool } from "effect-connection-pool/sqlite"
import { SqliteClient } from "effect-connection-pool/sqlite-node"
import { PoolAssert } from "effect-connection-pool/testing"
import { execFileSync } from "node:child_process"
import {
  chmodSync,
  closeSync,
  copyFileSync,
  existsSync,
  fstatSync,
  linkSync,
  mkdirSync,
  openSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
  truncateSync,
  writeFileSync
} from "node:fs"
import { join } from "node:path"
import { fileURLToPath } from "node:url"
import { file, folder, given, judge } from "../support/files.ts"
import { logged } from "../support/logOfSqlite.ts"
import { settle } from "../support/pools.ts"
import { count, elsewhere, insert, make, noticing, other, rowsIn, setup } from "../support/watchedFiles.ts"

/** What an operator does to a file from outside: a test for each row of the table in docs/sqlite.md. */
import { assert, describe, it } from "@effect/vitest"

describe("a file that is open and", () => {
  it.effect("is moved away takes its log along; nothing is made in its place, and it may come back", () =>
    Effect.gen(function*() {
      const filename = yield* file
      const moved = `${filename}.moved`
      const pool = yield* make(filename)
      yield* pool.write(insert)
      renameSync(filename, moved)
      const error = yield* PoolAssert.failsWith(noticing(pool.write(insert)), "ConnectError")
      assert.include(error.message, "the file was there and is gone")
      assert.isFalse(existsSync(filename) || existsSync(`${filename}-wal`))
      assert.strictEqual(rowsIn(moved), 1)
      renameSync(moved, filename)
      assert.strictEqual(yield* noticing(pool.read(count)), 1)
    }))

  it.effect("is moved away is in the log as the reason from the first line on", () =>
    Effect.gen(function*() {
      const { layer, lines } = yield* logged
      const filename = yield* file
      yield* Effect.gen(function*() {
        const pool = yield* make(filename)
        yield* pool.read(count)
        lines.length = 0
        renameSync(filename, `${filename}.moved`)
        yield* PoolAssert.failsWith(noticing(pool.write(insert)), "ConnectError")
      }).pipe(Effect.scoped, Effect.provide(layer))
      assert.include(lines[0] ?? "", `"${filename}" was moved, replaced or deleted: nothing is at its path any more`)
    }))

  for (const [kind, prepare] of [["is new", (path: string) => path], ["was there", given]] as const) {
    it.effect(`is moved away while it is being opened is not written to, if it ${kind}`, () =>
      Effect.gen(function*() {
        const filename = prepare(yield* file)
        const moved = `${filename}.moved`
        let opened = 0
        const pool = yield* SqlitePool.make({
          filename,
          drainTimeout: 0,
          onOpen: () => Effect.sync(() => opened++ === 0 && renameSync(filename, moved))
        })
        const create = pool.sql`create table if not exists u(a)`
        const error = yield* PoolAssert.failsWith(create, "SqlError")
        assert.include(error.message, "the file was there and is gone")
        assert.isFalse(existsSync(filename) || existsSync(`${filename}-wal`))
        renameSync(moved, filename)
        yield* noticing(create)
        const found = yield* judge(filename)
        assert.isDefined(found.prepare("select name from sqlite_schema where name = 'u'").get())
      }))
  }

  it.effect("is moved away with its log stays whole there", () =>
    Effect.gen(function*() {
      const filename = yield* file
      const moved = `${filename}.moved`
      const pool = yield* make(filename)
      yield* pool.write(insert)
      for (const end of ["", "-wal"]) renameSync(filename + end, moved + end)
      yield* PoolAssert.failsWith(noticing(pool.write(insert)), "ConnectError")
      assert.strictEqual(rowsIn(moved), 1)
    }))

  it.effect("is deleted is not made again, and the error says what was found", () =>
    Effect.gen(function*() {
      const filename = yield* file
      const pool = yield* make(filename)
      const gate = yield* Deferred.make<void>()
      const writing = yield* Effect.forkChild(
        pool.write((connection) => Effect.andThen(Deferred.await(gate), insert(connection)))
      )
      yield* settle
      rmSync(filename)
      yield* PoolAssert.failsWith(noticing(pool.read(count)), "ConnectError")
      yield* Deferred.succeed(gate, undefined)
      const error = yield* PoolAssert.failsWith(Fiber.join(writing), "LeaseExpiredError")
      assert.include(
        error.message,
        `the SQLite database "${filename}" was moved, replaced or deleted: nothing is at its path any more`
      )
      assert.isFalse(existsSync(filename))
    }))

  it.effect(
    "is replaced beside its old log, which another process has open, is refused until the log is gone",
    () =>
      Effect.gen(function*() {
        const filename = yield* file
        const pool = yield* make(filename)
        yield* pool.write(insert)
        const from = yield* other(filename, 7)
        yield* Effect.scoped(Effect.gen(function*() {
          yield* elsewhere(filename)
          renameSync(from, filename)
          for (const work of [Effect.asVoid(pool.write(insert)), Effect.asVoid(pool.read(count))]) {
            const error = yield* PoolAssert.failsWith(noticing(work), "ConnectError")
            assert.include(error.message, `cannot open the SQLite database "${filename}": `)
            assert.include(error.message, `"${filename}-wal" and "${filename}-shm" beside it belong to another file`)
            assert.include(error.message, "delete what is named here")
          }
        }))
        // The process that was killed has left it.
        yield* PoolAssert.failsWith(noticing(pool.read(count)), "ConnectError")
        rmSync(`${filename}-wal`)
        const error = yield* PoolAssert.failsWith(noticing(pool.read(count)), "ConnectError")
        assert.include(error.message, `"${filename}-shm" beside it belongs to another file`)
        rmSync(`${filename}-shm`)
        assert.strictEqual(yield* noticing(pool.read(count)), 7)
        yield* pool.shutdown()
        assert.strictEqual(rowsIn(filename), 7)
      }),
    120_000
  )

  for (const end of ["-wal", "-shm"]) {
    it.effect(`loses its ${end} loses nothing that was committed: the connections are closed, and others opened`, () =>
      Effect.gen(function*() {
        const filename = yield* file
        const pool = yield* make(filename)
        yield* pool.write(insert)
        yield* pool.read(count)
        const gate = yield* Deferred.make<void>()
        const reading = yield* Effect.forkChild(
          pool.read((reader) => Effect.andThen(Deferred.await(gate), reader.values("select 1")))
        )
        yield* settle
        rmSync(filename + end)
        yield* noticing(pool.write(insert))
        yield* Deferred.succeed(gate, undefined)
        const error = yield* PoolAssert.failsWith(Fiber.join(reading), "LeaseExpiredError")
        assert.include(
          error.message,
          `the SQLite database "${filename}" lost a file that belongs to it: "${filename}${end}" was moved, replaced or deleted`
        )
        assert.isTrue(existsSync(filename + end))
        assert.strictEqual(yield* noticing(pool.read(count)), 2)
        yield* pool.shutdown()
        assert.strictEqual(rowsIn(filename), 2)
      }))
  }

  it.effect(
    "loses its log, which another process has open too, loses nothing that was committed",
    () =>
      Effect.gen(function*() {
        const filename = yield* file
        const pool = yield* make(filename)
        yield* elsewhere(filename)
        yield* pool.write(insert)
        rmSync(`${filename}-wal`)
        assert.strictEqual(yield* noticing(pool.read(count)), 1)
      }),
    120_000
  )

  it.effect("has another log because its only connection was opened again is not given up", () =>
    Effect.gen(function*() {
      const filename = yield* file
      const pool = yield* make(filename)
      // As long as it is open, its number is not given to the next.
      const held = yield* Effect.acquireRelease(
        Effect.sync(() => openSync(`${filename}-wal`, "r")),
        (descriptor) => Effect.sync(() => closeSync(descriptor))
      )
      // Nobody else finds it, so that the connection is opened anew.
      yield* pool.write((connection) => connection.exec(`attach ':memory:' as more`))
      yield* settle
      assert.notStrictEqual(statSync(`${filename}-wal`).ino, fstatSync(held).ino)
      const gate = yield* Deferred.make<void>()
      const writing = yield* Effect.forkChild(
        pool.write((connection) => Effect.andThen(insert(connection), Deferred.await(gate)))
      )
      assert.strictEqual(yield* noticing(pool.read(count)), 1)
      yield* Deferred.succeed(gate, undefined)
      yield* Fiber.join(writing)
      assert.strictEqual((yield* pool.stats).writer.connects, 1)
    }))

  for (const readers of [0, 1]) {
    it.effect(`is emptied is left as it is, with ${readers} readers open, and refused until a database is there`, () =>
      Effect.gen(function*() {
        const filename = yield* file
        const pool = yield* make(filename)
        for (let at = 0; at < 20; at++) {
          yield* pool.write((connection) => connection.run("insert into t values (randomblob(3000))"))
        }
        if (readers > 0) yield* pool.read(count)
        truncateSync(filename)
        const error = yield* PoolAssert.failsWith(noticing(pool.write(insert)), "ConnectError")
        assert.include(error.message, "the file was emptied: put a database in its place")
        yield* PoolAssert.failsWith(noticing(pool.read(count)), "ConnectError")
        assert.strictEqual(statSync(filename).size, 0)
        const from = yield* other(filename, 7)
        rmSync(`${filename}-wal`, { force: true })
        rmSync(`${filename}-shm`, { force: true })
        copyFileSync(from, filename)
        assert.strictEqual(yield* noticing(pool.read(count)), 7)
      }))
  }

  it.effect(
    "is emptied, and filled in place, is refused as long as the log of what was there is there",
    () =>
      Effect.gen(function*() {
        const filename = yield* file
        const pool = yield* make(filename)
        for (let at = 0; at < 20; at++) {
          yield* pool.write((connection) => connection.run("insert into t values (randomblob(3000))"))
        }
        yield* elsewhere(filename)
        const from = yield* other(filename, 7)
        // One that copies takes its time.
        writeFileSync(filename, readFileSync(from).subarray(0, 100))
        yield* PoolAssert.failsWith(noticing(pool.write(insert)), "ConnectError")
        copyFileSync(from, filename)
        const error = yield* PoolAssert.failsWith(noticing(pool.read(count)), "ConnectError")
        assert.include(error.message, `"${filename}-wal" and "${filename}-shm" beside it belong to another file`)
      }),
    120_000
  )

  it.effect("is in a folder that is moved is gone, and whole where it is now", () =>
    Effect.gen(function*() {
      const home = yield* folder
      const path = join(home, "data")
      mkdirSync(path)
      const filename = join(path, "test.db")
      const pool = yield* make(filename)
      yield* pool.write(insert)
      renameSync(path, join(home, "elsewhere"))
      const error = yield* PoolAssert.failsWith(noticing(pool.write(insert)), "ConnectError")
      assert.include(error.message, "is gone")
      assert.strictEqual(rowsIn(join(home, "elsewhere", "test.db")), 1)
      renameSync(join(home, "elsewhere"), path)
      assert.strictEqual(yield* noticing(pool.read(count)), 1)
    }))

  it.effect("is in a folder that cannot be entered for a while is not called gone, and used again afterwards", () =>
    Effect.gen(function*() {
      const home = yield* folder
      const path = join(home, "data")
      mkdirSync(path)
      const filename = join(path, "test.db")
      const pool = yield* make(filename)
      yield* pool.write(insert)
      renameSync(path, join(home, "elsewhere"))
      // A link to itself: whatever is behind it cannot be known.
      symlinkSync("data", path)
      // The open connection goes on, because nothing says that its file is another one.
      yield* noticing(pool.write(insert))
      yield* pool.writer.recycle
      const error = yield* PoolAssert.failsWith(noticing(pool.write(insert)), "ConnectError")
      assert.include(error.message, `cannot open the SQLite database "${filename}"`)
      assert.notInclude(error.message, "is gone")
      rmSync(path)
      renameSync(join(home, "elsewhere"), path)
      assert.strictEqual(yield* noticing(pool.read(count)), 2)
    }))

  it.effect("is behind a link that is led to another file is left for that one, and both keep their logs", () =>
    Effect.gen(function*() {
      const home = yield* folder
      const link = join(home, "link.db")
      const [one, two] = [join(home, "one.db"), join(home, "two.db")]
      const running = yield* judge(two, `pragma journal_mode = wal; ${setup}`)
      symlinkSync("one.db", link)
      const pool = yield* make(link)
      const gate = yield* Deferred.make<void>()
      const writing = yield* Effect.forkChild(
        pool.write((connection) => Effect.andThen(Deferred.await(gate), insert(connection)))
      )
      yield* settle
      symlinkSync("two.db", `${link}.new`)
      renameSync(`${link}.new`, link)
      assert.strictEqual(yield* noticing(pool.read(count)), 1)
      yield* Deferred.succeed(gate, undefined)
      const error = yield* PoolAssert.failsWith(Fiber.join(writing), "LeaseExpiredError")
      assert.include(
        error.message,
        `the SQLite database "${link}" was moved, replaced or deleted: another file is at its path`
      )
      yield* noticing(pool.write(insert))
      running.exec("insert into t values (3)")
      assert.strictEqual(yield* noticing(pool.read(count)), 3)
      assert.strictEqual(rowsIn(one), 0)
    }))

  it.effect("is given a second name by a hard link goes on", () =>
    Effect.gen(function*() {
      const filename = yield* file
      const pool = yield* make(filename)
      linkSync(filename, `${filename}.hard`)
      yield* noticing(pool.write(insert))
      assert.strictEqual((yield* pool.stats).writer.connects, 1)
    }))

  it.effect(
    "may not be written any more is still written by the connections that are open; the next one says why not",
    (context) =>
      Effect.gen(function*() {
        const path = yield* folder
        chmodSync(path, 0o777)
        const script = fileURLToPath(new URL("../support/programs/permissions.ts", import.meta.url))
        const isRoot = process.getuid?.() === 0
        const told = yield* Effect.result(Effect.try(() =>
          execFileSync(process.execPath, [script, join(path, "test.db")], {
            encoding: "utf8",
            ...(isRoot ? { uid: 65_534, gid: 65_534 } : undefined)
          })
        ))
        if (told._tag === "Failure") {
          return context.skip("no unprivileged process can read this")
        }
        const [written, next] = JSON.parse(told.success.trim().split("\n").at(-1)!) as [string, string]
        assert.strictEqual(written, "written")
        assert.include(next, "the file is read-only")
      }),
    120_000
  )

  it.effect("has no log, because one connection does everything, is watched as well", () =>
    Effect.gen(function*() {
      const filename = yield* file
      const sql = yield* SqliteClient.make({ filename, disableWAL: true, drainTimeout: 0 })
      yield* sql.unsafe("create table t(a)")
      renameSync(filename, `${filename}.moved`)
      const error = yield* PoolAssert.failsWith(noticing(sql`insert into t values (1)`), "SqlError")
      assert.include(error.message, "the file was there and is gone")
      renameSync(`${filename}.moved`, filename)
      yield* noticing(sql`insert into t values (1)`)
      assert.strictEqual(rowsIn(filename), 1)
    }))
})
