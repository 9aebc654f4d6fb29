import { assert, describe, it } from "@effect/vitest"
import { Deferred, Effect, Exit, Fiber, Schema, Stream } from "effect"
import { type SqlitePool, SqlitePoolError } from "effect-connection-pool/sqlite"
import { PoolAssert } from "effect-connection-pool/testing"
import { TestClock } from "effect/testing"
import { readdirSync, readFileSync, renameSync, statSync, writeFileSync } from "node:fs"
import { basename, dirname } from "node:path"
import { Handle } from "../../src/sqlite/internal/connection/handle.ts"
import { make, nothingLeft, read, rows, unhandled } from "../support/backups.ts"
import { file, openFiles } from "../support/files.ts"
import { settle } from "../support/pools.ts"

/** A copy that has begun, and goes on for as long as the test likes: its next step waits for the test. */
const begun = Effect.fnUntraced(function*(pool: SqlitePool.SqlitePool, target: string) {
  const first = yield* Deferred.make<void>()
  const fiber = yield* Effect.forkDetach(
    Stream.runForEach(pool.backup(target, { pagesPerStep: 1 }), () => Deferred.succeed(first, undefined))
  )
  yield* Deferred.await(first)
  return fiber
})

describe("a backup whose pool", () => {
  it.effect("is shut down ends for its reader, with a typed error, and leaves nothing", () =>
    Effect.gen(function*() {
      const { pool } = yield* make({ readers: 1 })
      const target = yield* file
      const fiber = yield* begun(pool, target)
      yield* pool.shutdown()
      const error = yield* PoolAssert.failsWith(Fiber.join(fiber), "PoolClosedError")
      assert.strictEqual(error.pool, "sqlite/readers")
      assert.deepStrictEqual(readdirSync(dirname(target)), [])
    }))

  it.effect("ends with its scope ends for its reader too", () =>
    Effect.gen(function*() {
      const target = yield* file
      const fiber = yield* Effect.scoped(Effect.gen(function*() {
        const { pool } = yield* make()
        return yield* begun(pool, target)
      }))
      yield* PoolAssert.failsWith(Fiber.join(fiber), "PoolClosedError")
      assert.deepStrictEqual(readdirSync(dirname(target)), [])
    }))

  it.effect("is shut down while it waits for a reader fails like any other waiter", () =>
    Effect.gen(function*() {
      const { pool } = yield* make({ readers: 1 })
      const target = yield* file
      const holder = yield* Effect.forkChild(pool.read(() => Effect.never))
      yield* settle
      const fiber = yield* Effect.forkDetach(Stream.runDrain(pool.backup(target)))
      yield* settle
      yield* pool.shutdown()
      yield* PoolAssert.failsWith(Fiber.join(fiber), "PoolClosedError")
      yield* Fiber.await(holder)
    }))

  it.effect("lends no reader in time fails as an acquire does", () =>
    Effect.gen(function*() {
      const { pool } = yield* make({ acquireTimeout: "1 second" })
      yield* pool.readers.pause
      const fiber = yield* Effect.forkDetach(Stream.runDrain(pool.backup(yield* file)))
      yield* settle
      yield* TestClock.adjust("1 second")
      yield* PoolAssert.failsWith(Fiber.join(fiber), "AcquireTimeoutError")
      yield* pool.readers.resume
      yield* Stream.runDrain(pool.backup(yield* file))
    }))

  it.effect("pauses, or evicts its reader, goes on to its end", () =>
    Effect.gen(function*() {
      const { pool } = yield* make({ readers: 1 })
      const target = yield* file
      let steps = 0
      yield* Stream.runForEach(pool.backup(target, { pagesPerStep: 100 }), () => {
        steps++
        return steps === 1 ? Effect.andThen(pool.readers.recycle, pool.readers.pause) : Effect.void
      })
      assert.strictEqual(read(target), rows)
      yield* pool.readers.resume
      yield* nothingLeft(pool)
    }))

  it.effect("finds another file at the place of the database ends with a typed error that says so", () =>
    Effect.gen(function*() {
      const { filename, pool } = yield* make()
      const target = yield* file
      const fiber = yield* begun(pool, target)
      renameSync(filename, `${filename}.moved`)
      yield* TestClock.adjust("1 second")
      yield* Effect.exit(pool.write(() => Effect.void))
      const error = yield* PoolAssert.failsWith(Fiber.join(fiber), "LeaseExpiredError")
      assert.include(error.message, "was moved, replaced or deleted")
      assert.deepStrictEqual(readdirSync(dirname(target)), [])
      assert.strictEqual(openFiles(filename), 0)
    }))
})

describe("a backup that goes wrong in its thread", () => {
  const planted = (thrown: () => Promise<number>) =>
    Effect.acquireRelease(
      Effect.sync(() => {
        const real = Handle.prototype.backup
        Handle.prototype.backup = thrown
        return real
      }),
      (real) =>
        Effect.sync(() => {
          Handle.prototype.backup = real
        })
    )

  for (
    const [how, thrown] of [
      ["at once", () => {
        throw new RangeError("planted")
      }],
      ["later", () => Promise.reject(new RangeError("planted"))]
    ] as const
  ) {
    it.effect(`${how} ends its reader with a typed error, and gives the connection back`, () =>
      Effect.gen(function*() {
        const { told } = yield* unhandled
        const { pool } = yield* make()
        yield* planted(thrown)
        const error = yield* PoolAssert.failsWith(Stream.runDrain(pool.backup(yield* file)), "BackupError")
        assert.include(error.message, "planted")
        yield* nothingLeft(pool)
        yield* Effect.promise(() => new Promise((resolve) => setImmediate(resolve)))
        assert.deepStrictEqual(told, [])
      }))
  }
})

describe("the reader of a backup", () => {
  it.effect("may stop at any of its steps: nothing is left, and the next backup is whole", () =>
    Effect.gen(function*() {
      const { pool } = yield* make()
      const target = yield* file
      for (const at of [1, 2, 3, 5, 8, 13]) {
        yield* Stream.runDrain(Stream.take(pool.backup(target, { pagesPerStep: 1 }), at))
        assert.deepStrictEqual(readdirSync(dirname(target)), [])
        yield* nothingLeft(pool)
      }
      yield* Stream.runDrain(pool.backup(target))
      assert.strictEqual(read(target), rows)
    }))

  it.effect("may be interrupted after any number of turns: there is nothing, or a whole copy", () =>
    Effect.gen(function*() {
      const { pool } = yield* make({ readers: 1 })
      const target = yield* file
      for (let turns = 0; turns < 40; turns++) {
        const fiber = yield* Effect.forkChild(Stream.runDrain(pool.backup(target, { pagesPerStep: 200 })))
        for (let turn = 0; turn < turns; turn++) yield* Effect.yieldNow
        yield* Fiber.interrupt(fiber)
        const exit = yield* Fiber.await(fiber)
        const found = readdirSync(dirname(target))
        assert.deepStrictEqual(found, Exit.isSuccess(exit) || found.length > 0 ? [basename(target)] : [])
        if (found.length > 0) assert.isAbove(statSync(target).size, 0)
        assert.strictEqual((yield* pool.stats).readers.inUse, 0)
      }
      yield* nothingLeft(pool)
    }))

  it.effect("finds what was there before, if it was a backup that failed", () =>
    Effect.gen(function*() {
      const { pool } = yield* make()
      const target = yield* file
      writeFileSync(target, "an older one")
      const fiber = yield* begun(pool, target)
      yield* pool.shutdown()
      yield* PoolAssert.failsWith(Fiber.join(fiber), "PoolClosedError")
      assert.strictEqual(readFileSync(target, "utf8"), "an older one")
      assert.deepStrictEqual(readdirSync(dirname(target)), [basename(target)])
    }))
})

describe("the error of a backup", () => {
  it.effect("says why it failed, also where that was no error, or is one no more after a trip as JSON", () =>
    Effect.gen(function*() {
      const says = "pool \"app\": the backup to \"copy.db\" failed: no space"
      for (const cause of [new Error("no space"), "no space"]) {
        const error = new SqlitePoolError.BackupError({ pool: "app", target: "copy.db", cause })
        assert.strictEqual(error.message, says)
        const codec = Schema.toCodecJson(SqlitePoolError.BackupError)
        const json = JSON.stringify(yield* Schema.encodeEffect(codec)(error))
        assert.strictEqual((yield* Schema.decodeUnknownEffect(codec)(JSON.parse(json))).message, says)
      }
    }))
})
