/** What an operator does to a file from outside: a test for each row of the table in docs/sqlite.md. */
import { assert, describe, it } from "@effect/vitest"
import { Deferred, Effect, Fiber, Stream } from "effect"
import { type SqliteConnection, SqlitePool, type SqliteReader } from "effect-connection-pool/sqlite"
import { SqliteClient } from "effect-connection-pool/sqlite-node"
import { PoolAssert } from "effect-connection-pool/testing"
import { TestClock } from "effect/testing"
import { execFileSync, spawn } from "node:child_process"
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
import { dirname, join } from "node:path"
import { DatabaseSync } from "node:sqlite"
import { fileURLToPath } from "node:url"
import { file, folder, judge } from "../support/files.ts"
import { settle } from "../support/pools.ts"

const setup = "create table t(a); insert into t values (1)"

const make = Effect.fnUntraced(function*(filename: string, options?: Partial<SqlitePool.Options>) {
  const pool = yield* SqlitePool.make({ filename, drainTimeout: 0, ...options })
  yield* pool.write((connection) => connection.exec(`create table if not exists t(a)`))
  return pool
})

const insert = (connection: SqliteConnection.SqliteConnection) => connection.run("insert into t values (1)")

const count = (reader: SqliteReader.SqliteReader) =>
  Effect.map(reader.values("select count(*) from t"), (rows) => rows[0]![0])

/** Time passes until the pool looks again, and for what tries again every millisecond. */
const noticing = <A, E>(effect: Effect.Effect<A, E>) =>
  Effect.gen(function*() {
    yield* TestClock.adjust("1 second")
    const fiber = yield* Effect.forkChild(effect)
    yield* settle
    yield* TestClock.adjust("100 millis")
    return yield* Fiber.join(fiber)
  })

/** Rows of a database that nobody has open, if it is whole. */
const rowsIn = (path: string): unknown => {
  const database = new DatabaseSync(path)
  try {
    assert.strictEqual(database.prepare("pragma integrity_check").get()!["integrity_check"], "ok")
    return database.prepare("select count(*) as n from t").get()!["n"]
  } finally {
    database.close()
  }
}

/** Another database beside the first, closed, with that many rows. */
const other = Effect.fnUntraced(function*(filename: string, rows: number, pageSize = 4096) {
  const path = join(dirname(filename), "other.db")
  const values = Array.from({ length: rows }, (_, at) => `(${at})`).join(", ")
  yield* Effect.scoped(
    judge(
      path,
      `pragma page_size = ${pageSize}; pragma journal_mode = wal; create table t(a); insert into t values ${values}`
    )
  )
  return path
})

/** A log that was left by a process that was killed, and the file it belongs to. */
const crashed = Effect.fnUntraced(function*(filename: string, pageSize = 4096) {
  const running = yield* file
  const database = yield* judge(running, `pragma page_size = ${pageSize}; pragma journal_mode = wal; ${setup}`)
  for (let at = 0; at < 50; at++) database.exec("insert into t values (randomblob(1000))")
  for (const end of ["", "-wal"]) copyFileSync(running + end, filename + end)
  return 51
})

/** Another process that has the file open, and does nothing. */
const elsewhere = (filename: string) =>
  Effect.acquireRelease(
    Effect.promise(async () => {
      const script = `const { DatabaseSync } = require("node:sqlite")
        const database = new DatabaseSync(${JSON.stringify(filename)})
        database.prepare("select count(*) from t").get()
        console.log("open")
        setInterval(() => {}, 1e6)`
      const child = spawn(process.execPath, ["-e", script], { stdio: ["ignore", "pipe", "inherit"] })
      await new Promise((resolve) => child.stdout.once("data", resolve))
      return child
    }),
    (child) =>
      Effect.promise(() =>
        new Promise<void>((resolve) => {
          if (child.exitCode !== null || child.signalCode !== null) return resolve()
          child.once("exit", () => resolve())
          child.kill("SIGKILL")
        })
      )
  )

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

  it.effect("is deleted is not made anew, and who works on it is told what was found", () =>
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

  for (const what of ["replaced", "deleted"]) {
    it.effect(`is ${what} during a transaction ends it with a typed error at its commit`, () =>
      Effect.gen(function*() {
        const filename = yield* file
        const pool = yield* make(filename)
        const from = yield* other(filename, 7)
        const body = Effect.gen(function*() {
          yield* pool.sql`insert into t values (1)`
          rmSync(filename)
          if (what === "replaced") renameSync(from, filename)
          yield* TestClock.adjust("1 second")
          yield* pool.sql`insert into t values (2)`
        })
        const error = yield* PoolAssert.failsWith(pool.transaction(body), "TransactionLostError")
        assert.include(error.message, `the SQLite database "${filename}" was moved, replaced or deleted`)
        if (what === "replaced") assert.strictEqual(yield* noticing(pool.read(count)), 7)
        else assert.isFalse(existsSync(filename))
      }))
  }

  it.effect("is replaced during a transaction that works on the only connection ends it at its commit", () =>
    Effect.gen(function*() {
      const filename = yield* file
      const sql = yield* SqliteClient.make({ filename, disableWAL: true, drainTimeout: 0 })
      yield* sql`create table t(a)`
      const from = yield* other(filename, 7)
      const body = Effect.gen(function*() {
        yield* sql`insert into t values (1)`
        renameSync(from, filename)
        yield* TestClock.adjust("1 second")
      })
      const error = yield* PoolAssert.failsWith(sql.withTransaction(body), "SqlError")
      assert.strictEqual((error.reason.cause as Error).name, "effect-connection-pool/TransactionLostError")
      assert.include(error.message, `the SQLite database "${filename}" was moved, replaced or deleted`)
    }))

  it.effect("is replaced by a folder says so, to who reads and to who writes", () =>
    Effect.gen(function*() {
      const filename = yield* file
      const pool = yield* make(filename)
      rmSync(filename)
      mkdirSync(filename)
      const ofReader = yield* PoolAssert.failsWith(noticing(pool.read(count)), "ConnectError")
      const ofWriter = yield* PoolAssert.failsWith(noticing(pool.write(insert)), "ConnectError")
      for (const { message } of [ofReader, ofWriter]) assert.include(message, "it is a folder")
    }))

  it.effect("is replaced without its log goes on with the other", () =>
    Effect.gen(function*() {
      const filename = yield* file
      const pool = yield* make(filename)
      const from = yield* other(filename, 7)
      for (const end of ["", "-wal", "-shm"]) rmSync(filename + end)
      renameSync(from, filename)
      assert.strictEqual(yield* noticing(pool.read(count)), 7)
      yield* noticing(pool.write(insert))
      yield* pool.shutdown()
      assert.strictEqual(rowsIn(filename), 8)
    }))

  it.effect("is replaced beside its old log is not destroyed by that: the log goes to its own file", () =>
    Effect.gen(function*() {
      const filename = yield* file
      const pool = yield* make(filename, { readers: 2 })
      for (let at = 0; at < 100; at++) {
        yield* pool.write((connection) => connection.run("insert into t values (randomblob(700))"))
      }
      yield* Stream.runDrain(pool.backup(`${filename}.backup`))
      yield* pool.write((connection) => connection.exec("create table u(a); delete from t where rowid % 2 = 0"))
      for (let at = 0; at < 300; at++) {
        yield* pool.write((connection) => connection.run("insert into t values (randomblob(700))"))
      }
      // There are still two names for the old one.
      linkSync(filename, `${filename}.old`)
      renameSync(`${filename}.backup`, filename)
      assert.isAbove(statSync(`${filename}-wal`).size, 0)
      assert.strictEqual(yield* noticing(pool.read(count)), 100)
      yield* noticing(pool.write(insert))
      yield* pool.shutdown()
      assert.strictEqual(rowsIn(filename), 101)
      assert.strictEqual(rowsIn(`${filename}.old`), 350)
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
    30_000
  )

  it.effect("is replaced beside its old log goes on if the old file comes back instead", () =>
    Effect.gen(function*() {
      const filename = yield* file
      const pool = yield* make(filename)
      yield* pool.write(insert)
      const from = yield* other(filename, 7)
      yield* elsewhere(filename)
      renameSync(filename, `${filename}.old`)
      renameSync(from, filename)
      yield* PoolAssert.failsWith(noticing(pool.read(count)), "ConnectError")
      renameSync(filename, from)
      renameSync(`${filename}.old`, filename)
      assert.strictEqual(yield* noticing(pool.read(count)), 1)
      assert.strictEqual(rowsIn(from), 7)
    }), 30_000)

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
    30_000
  )

  it.effect("has another log because its only connection was opened anew is not left for that", () =>
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
    30_000
  )

  it.effect("is overwritten in place is not noticed: SQLite says that it is malformed where it meets that", () =>
    Effect.gen(function*() {
      const filename = yield* file
      const pool = yield* make(filename)
      yield* pool.write(insert)
      yield* pool.checkpoint()
      const number = statSync(filename).ino
      const bytes = readFileSync(filename)
      writeFileSync(filename, bytes.fill(0xff, 4096))
      assert.strictEqual(statSync(filename).ino, number)
      yield* noticing(pool.write(() => Effect.void))
      const error = yield* PoolAssert.failsWith(noticing(pool.read(count)), "SqlError")
      assert.include(error.message, "malformed")
      assert.strictEqual((yield* pool.stats).writer.connects, 1)
    }))

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
    30_000
  )

  it.effect("has no log, for one connection does everything, is watched as well", () =>
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

describe("a file that is opened and", () => {
  it.effect("has the log beside it that a killed process has left has all of that", () =>
    Effect.gen(function*() {
      const filename = yield* file
      const rows = yield* crashed(filename)
      const pool = yield* make(filename)
      assert.strictEqual(yield* pool.read(count), rows)
    }))

  it.effect("has a log beside it whose pages have another size is refused, and stays as it is", () =>
    Effect.gen(function*() {
      const filename = yield* file
      yield* crashed(filename, 8192)
      copyFileSync(yield* other(filename, 7), filename)
      for (const wrong of [Effect.scoped(make(filename)), Effect.scoped(SqlitePool.make({ filename, readers: 1 }))]) {
        const error = yield* PoolAssert.failsWith(Effect.asVoid(wrong), "ConnectError")
        assert.include(error.message, `"${filename}-wal" is the log of another file, and would destroy this one`)
        assert.include(error.message, "it has pages of 8192 bytes, the file of 4096")
        assert.include(error.message, `Delete "${filename}-wal" and "${filename}-shm"`)
      }
      rmSync(`${filename}-wal`)
      const pool = yield* make(filename)
      assert.strictEqual(yield* pool.read(count), 7)
    }))

  it.effect("has another log beside it is destroyed by that: which log it is cannot be seen", () =>
    Effect.gen(function*() {
      const filename = yield* file
      const rows = yield* crashed(filename)
      copyFileSync(yield* other(filename, 7), filename)
      const pool = yield* make(filename)
      assert.strictEqual(yield* pool.read(count), rows)
    }))

  for (const what of ["is missing", "is empty"]) {
    it.effect(`${what} beside a log is refused, and the log stays`, () =>
      Effect.gen(function*() {
        const filename = yield* file
        yield* crashed(filename)
        if (what === "is missing") rmSync(filename)
        else truncateSync(filename)
        const error = yield* PoolAssert.failsWith(Effect.scoped(make(filename)), "ConnectError")
        assert.include(error.message, `there is no database, but the log of one, "${filename}-wal"`)
        assert.isAbove(statSync(`${filename}-wal`).size, 0)
        rmSync(`${filename}-wal`)
        const pool = yield* make(filename)
        assert.strictEqual(yield* pool.read(count), 0)
      }))
  }

  it.effect("has lost its log has lost what was in it, and its -shm nothing", () =>
    Effect.gen(function*() {
      const filename = yield* file
      const rows = yield* crashed(filename)
      writeFileSync(`${filename}-shm`, "junk")
      assert.strictEqual(yield* Effect.scoped(Effect.flatMap(make(filename), (pool) => pool.read(count))), rows)
      const late = yield* file
      yield* crashed(late)
      rmSync(`${late}-wal`)
      assert.strictEqual(yield* Effect.flatMap(make(late), (pool) => pool.read(count)), 0)
    }))

  it.effect("is a link to nothing is made where the link leads", () =>
    Effect.gen(function*() {
      const filename = yield* file
      symlinkSync("real.db", filename)
      const pool = yield* make(filename)
      yield* pool.write(insert)
      assert.isAbove((yield* pool.stats).walBytes, 0)
      yield* pool.shutdown()
      assert.strictEqual(rowsIn(join(dirname(filename), "real.db")), 1)
    }))
})
