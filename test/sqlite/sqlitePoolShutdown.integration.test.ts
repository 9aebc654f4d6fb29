import { assert, describe, it } from "@effect/vitest"
import { Cause, Deferred, Effect, Exit, Fiber, Scope } from "effect"
import { SqlitePool } from "effect-connection-pool/sqlite"
import { PoolAssert } from "effect-connection-pool/testing"
import { existsSync } from "node:fs"
import { file, judge, openFiles } from "../support/files.ts"
import { settle } from "../support/pools.ts"
import { count, insert, make, table } from "../support/sqlitePools.ts"

describe("the end of a pool over a file", () => {
  it.effect("closes the readers first, and leaves nothing but the file", () =>
    Effect.gen(function*() {
      const filename = yield* file
      const scope = yield* Scope.make()
      const pool = yield* Scope.provide(SqlitePool.make({ filename }), scope)
      yield* table(pool)
      const gate = yield* Deferred.make<void>()
      const reading = yield* Effect.forEach(
        Array.from({ length: 3 }),
        () => Effect.forkChild(pool.read(() => Deferred.await(gate)))
      )
      yield* settle
      yield* Deferred.succeed(gate, undefined)
      yield* Effect.forEach(reading, Fiber.join)
      assert.strictEqual((yield* pool.stats).readers.idle, 3)
      assert.isTrue(existsSync(`${filename}-wal`))
      yield* Scope.close(scope, Exit.void)
      // A reader that closes last would leave them.
      assert.isFalse(existsSync(`${filename}-wal`))
      assert.isFalse(existsSync(`${filename}-shm`))
      assert.strictEqual(openFiles(filename), 0)
      yield* PoolAssert.failsWith(pool.read(count), "PoolClosedError")
      yield* PoolAssert.failsWith(pool.write(insert), "PoolClosedError")
      const other = yield* judge(filename)
      assert.deepStrictEqual(other.prepare("pragma integrity_check").get()!["integrity_check"], "ok")
      // Written by `pragma optimize`, on the way out.
      assert.strictEqual(other.prepare("select count(*) as n from t").get()!["n"], 1)
    }))

  it.effect("waits at its end for readers and writers, and reports that", () =>
    Effect.gen(function*() {
      const { pool } = yield* make({ drainTimeout: "10 seconds" })
      const gate = yield* Deferred.make<void>()
      const later = yield* Deferred.make<void>()
      const reader = yield* Effect.forkChild(pool.read((reader) => Effect.andThen(Deferred.await(gate), count(reader))))
      const writer = yield* Effect.forkChild(
        pool.write((connection) => Effect.andThen(Deferred.await(later), insert(connection)))
      )
      yield* settle
      const shutdown = yield* Effect.forkChild(pool.shutdown())
      yield* settle
      yield* Deferred.succeed(gate, undefined)
      yield* settle
      yield* Deferred.succeed(later, undefined)
      assert.deepStrictEqual(yield* Fiber.join(shutdown), {
        readers: { returned: 1, interrupted: 0, revoked: 0, abandoned: [], closeTimeouts: 0 },
        writer: { returned: 1, interrupted: 0, revoked: 0, abandoned: [], closeTimeouts: 0 }
      })
      assert.strictEqual(yield* Fiber.join(reader), 1)
      assert.deepStrictEqual(yield* Fiber.join(writer), { changes: 1, lastInsertRowid: 2 })
    }))

  it.effect("waits at a shutdown for as long as that asks, on both sides, and refuses what is no duration", () =>
    Effect.gen(function*() {
      const { pool } = yield* make({ drainTimeout: "10 seconds" })
      for (const use of [pool.read(() => Effect.never), pool.write(() => Effect.never)]) yield* Effect.forkChild(use)
      yield* settle
      const error = yield* Effect.flip(pool.shutdown({ drainTimeout: -1 }))
      assert.strictEqual(error._tag, "PoolConfigError")
      assert.include(error.message, "drainTimeout is -1")
      assert.strictEqual((yield* pool.stats).readers.inUse, 1)
      assert.deepStrictEqual(yield* pool.shutdown({ drainTimeout: 0 }), {
        readers: { returned: 0, interrupted: 1, revoked: 0, abandoned: [], closeTimeouts: 0 },
        writer: { returned: 0, interrupted: 1, revoked: 0, abandoned: [], closeTimeouts: 0 }
      })
    }))

  it.effect("rolls back at its end what is not committed, before it closes, and the fiber is interrupted", () =>
    Effect.gen(function*() {
      const filename = yield* file
      const scope = yield* Scope.make()
      const pool = yield* Scope.provide(SqlitePool.make({ filename, drainTimeout: 0 }), scope)
      yield* table(pool)
      const seen: Array<unknown> = []
      const fiber = yield* Effect.forkChild(
        pool.write((connection) =>
          Effect.andThen(connection.exec("begin immediate; insert into t values (2)"), Effect.never).pipe(
            Effect.onInterrupt(() => Effect.map(Effect.exit(connection.exec("rollback")), (exit) => seen.push(exit)))
          )
        )
      )
      yield* settle
      yield* Scope.close(scope, Exit.void)
      const exit = yield* Fiber.await(fiber)
      assert.isTrue(Exit.isFailure(exit) && Cause.hasInterruptsOnly(exit.cause))
      assert.deepStrictEqual(seen, [Exit.void])
      const other = yield* judge(filename, "begin immediate; rollback")
      assert.strictEqual(other.prepare("select count(*) as n from t").get()!["n"], 1)
    }))
})
