import { assert, describe, it } from "@effect/vitest"
import { Effect, Fiber } from "effect"
import type { PoolError } from "effect-connection-pool"
import { ConnectionPool } from "effect-connection-pool"
import { SqliteConnection } from "effect-connection-pool/sqlite"
import { PoolAssert } from "effect-connection-pool/testing"
import { SqlError } from "effect/sql/SqlError"
import { TestClock } from "effect/testing"
import { readFileSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { file, folder, judge, openFiles } from "../support/files.ts"

const { factory } = SqliteConnection

/** A pool of one connection, so that every lease gets what the one before it left. */
const make = (options: SqliteConnection.Options) => ConnectionPool.make({ factory: factory(options), max: 1 })

describe("connecting", () => {
  const cases: ReadonlyArray<
    readonly [
      what: string,
      options: (folder: string) => SqliteConnection.Options,
      code: number | undefined,
      text: string
    ]
  > = [
    ["a folder that is missing", (folder) => ({ filename: join(folder, "missing", "a.db") }), 14, "does not exist"],
    ["a folder", (filename) => ({ filename }), 14, "it is a folder"],
    [
      "a file that is missing",
      (folder) => ({ filename: join(folder, "a"), readOnly: true }),
      14,
      "the file does not exist"
    ],
    ["what is no database", (folder) => ({ filename: join(folder, "junk") }), 26, "it is not a SQLite database"],
    ["what is corrupt", (folder) => ({ filename: join(folder, "corrupt") }), 11, "it is corrupt"],
    ["a URI", () => ({ filename: "file:a?mode=memory" }), undefined, "not a URI"],
    [
      "options that cannot be",
      (folder) => ({ filename: join(folder, "a"), cacheSize: -1 }),
      undefined,
      "cacheSize is -1"
    ]
  ]
  for (const [what, options, code, text] of cases) {
    it.effect(`to ${what} fails at once, and says why`, () =>
      Effect.gen(function*() {
        const path = yield* folder
        writeFileSync(join(path, "junk"), "junk".repeat(1000))
        yield* Effect.scoped(judge(join(path, "corrupt"), "create table t(a)"))
        writeFileSync(join(path, "corrupt"), readFileSync(join(path, "corrupt")).fill(0xff, 100, 4096))
        const pool = yield* make(options(path))
        const error = yield* PoolAssert.failsWith(pool.use(() => Effect.void), "ConnectError")
        assert.strictEqual(error.reason._tag, "ConnectFailed")
        const { error: cause } = error.reason as PoolError.ConnectFailed<SqlError>
        assert.instanceOf(cause, SqlError)
        assert.strictEqual(SqliteConnection.codeOf(cause), code)
        assert.include(cause.message, text)
        assert.include(error.message, cause.message)
        const eager = yield* Effect.flip(
          Effect.scoped(ConnectionPool.make({ factory: factory(options(path)), min: 1 }))
        )
        assert.deepStrictEqual(eager, error)
      }))
  }

  it.effect("to a file that others have locked goes on until the caller's deadline", () =>
    Effect.gen(function*() {
      const filename = yield* file
      const other = yield* judge(filename, "create table t(a); begin exclusive")
      const pool = yield* ConnectionPool.make({
        factory: factory({ filename, busyTimeout: "100 millis" }),
        max: 1,
        acquireTimeout: "2 seconds"
      })
      const late = yield* Effect.forkChild(PoolAssert.failsWith(pool.use(() => Effect.void), "AcquireTimeoutError"))
      yield* TestClock.adjust("2 seconds")
      const error = yield* Fiber.join(late)
      assert.strictEqual(error.phase, "connect")
      assert.strictEqual(SqliteConnection.codeOf(error.lastConnectError), 5)
      const inTime = yield* Effect.forkChild(pool.use((connection) => connection.values("select 1")))
      yield* TestClock.adjust("500 millis")
      other.exec("commit")
      yield* TestClock.adjust("1400 millis")
      assert.deepStrictEqual(yield* Fiber.join(inTime), [[1]])
    }))

  it.effect("that a shutdown cuts short leaves nothing open", () =>
    Effect.gen(function*() {
      const filename = yield* file
      const other = yield* judge(filename, "create table t(a); begin exclusive")
      const pool = yield* make({ filename })
      const fiber = yield* Effect.forkChild(Effect.exit(pool.use(() => Effect.void)))
      yield* TestClock.adjust("1 second")
      assert.strictEqual((yield* pool.stats).connecting, 1)
      yield* pool.shutdown()
      yield* Fiber.join(fiber)
      other.exec("commit")
      assert.strictEqual(openFiles(filename), 1)
    }))
})
