import { assert, describe, it } from "@effect/vitest"
import { Effect, Stream } from "effect"
import { SqliteClient } from "effect-connection-pool/sqlite-node"
import { PoolAssert } from "effect-connection-pool/testing"
import { TestClock } from "effect/testing"
import { existsSync, linkSync, mkdirSync, readFileSync, renameSync, rmSync, statSync, writeFileSync } from "node:fs"
import { file } from "../support/files.ts"
import { count, elsewhere, insert, make, noticing, other, rowsIn } from "../support/watchedFiles.ts"

describe("a file that is open and", () => {
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

  it.effect("is replaced by a folder causes an error that says so, for readers and for writers", () =>
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
    }), 120_000)

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
})
