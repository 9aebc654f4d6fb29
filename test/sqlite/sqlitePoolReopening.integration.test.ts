/** A pool that closes connections by itself does not take the end of its own log for the work of somebody else. */
import { assert, describe, it } from "@effect/vitest"
import { Context, Effect, Logger, Result, type Scope } from "effect"
import { ConnectionPool } from "effect-connection-pool"
import { type SqliteConnection, SqlitePool, type SqliteReader } from "effect-connection-pool/sqlite"
import { TestClock } from "effect/testing"
import { execFileSync } from "node:child_process"
import { existsSync, rmSync } from "node:fs"
import { SharedFile } from "../../src/sqlite/internal/file/connections.ts"
import * as PoolSettings from "../../src/sqlite/internal/options/pool.ts"
import { file, judge } from "../support/files.ts"
import { settle } from "../support/pools.ts"

type Pool = SqlitePool.SqlitePool

const insert = (connection: SqliteConnection.SqliteConnection) => connection.run("insert into t values (1)")

const count = (reader: SqliteReader.SqliteReader) =>
  Effect.map(reader.values("select count(*) from t"), (rows) => rows[0]![0])

/** Works as an application does, with pauses in which the pool becomes due to look at the file. */
const work = Effect.fnUntraced(function*(pool: Pool) {
  for (let at = 0; at < 5; at++) {
    yield* pool.read(count)
    yield* pool.write(insert)
    yield* settle
    yield* TestClock.adjust("70 millis")
    yield* settle
  }
})

const connects = (pool: Pool) =>
  Effect.map(pool.stats, ({ readers, writer }) => ({ readers: readers.connects, writer: writer.connects }))

/** Collects the warnings that a file was left. */
const watched = <A, E>(body: (warnings: Array<string>) => Effect.Effect<A, E, Scope.Scope>) => {
  const warnings: Array<string> = []
  const logger = Logger.make<unknown, void>(({ logLevel, message }) => {
    if (logLevel === "Warn" && String(message).endsWith("all connections to it are closed")) {
      warnings.push(String(message))
    }
  })
  return Effect.provide(Effect.scoped(body(warnings)), Logger.layer([logger]))
}

const make = Effect.fnUntraced(function*(options?: Partial<SqlitePool.Options>) {
  const filename = yield* file
  yield* Effect.scoped(judge(filename, "pragma journal_mode = wal; create table t(a)"))
  const pool = yield* SqlitePool.make({ filename, drainTimeout: 0, ...options })
  yield* pool.read(count)
  return { filename, pool }
})

/** One pool for all connections to a file, as there is where one connection does everything and where nobody writes. */
const oneSide = Effect.fnUntraced(function*(kind: "writer" | "reader") {
  const filename = yield* file
  yield* Effect.scoped(judge(filename, "pragma journal_mode = wal; create table t(a)"))
  const shared = new SharedFile(Result.getOrThrow(PoolSettings.resolve({ filename })), Context.empty())
  const factory = kind === "writer" ? shared.writerFactory : shared.readerFactory
  const pool = yield* ConnectionPool.make({ factory, max: 1, validateAfterIdle: Infinity })
  return { filename, pool, shared }
})

describe("a pool whose last connection closes", () => {
  const closings: ReadonlyArray<
    readonly [what: string, close: (pool: Pool) => Effect.Effect<unknown, unknown>, opened: readonly [number, number]]
  > = [
    ["the writer is recycled", (pool) => pool.writer.recycle, [1, 2]],
    ["the readers are recycled", (pool) => pool.readers.recycle, [2, 1]],
    ["both sides are recycled", (pool) => Effect.andThen(pool.readers.recycle, pool.writer.recycle), [2, 2]],
    [
      "the writer is invalidated after the readers were recycled",
      (pool) => Effect.andThen(pool.readers.recycle, pool.writer.use((kept) => pool.writer.invalidate(kept))),
      [2, 2]
    ],
    [
      "the readers were idle for too long and the writer is recycled",
      (pool) => Effect.andThen(TestClock.adjust("10 minutes"), pool.writer.recycle),
      [2, 2]
    ],
    [
      "the writer, alone, is opened anew by a reset and then recycled",
      (pool) =>
        pool.readers.recycle.pipe(
          Effect.andThen(pool.write((connection) => connection.exec("attach ':memory:' as more"))),
          Effect.andThen(settle),
          Effect.andThen(pool.writer.recycle)
        ),
      [2, 2]
    ]
  ]
  for (const [what, close, [readers, writer]] of closings) {
    it.effect(`because ${what} opens each connection once more, and warns of nothing`, () =>
      watched((warnings) =>
        Effect.gen(function*() {
          const { pool } = yield* make({ idleTimeout: "1 minute" })
          assert.deepStrictEqual(yield* connects(pool), { readers: 1, writer: 1 })
          yield* close(pool)
          yield* settle
          yield* work(pool)
          assert.deepStrictEqual(yield* connects(pool), { readers, writer })
          assert.deepStrictEqual(warnings, [])
          assert.strictEqual(yield* pool.read(count), 5)
        })
      ))
  }

  for (const kind of ["writer", "reader"] as const) {
    it.effect(`does so where every connection is a ${kind}`, () =>
      Effect.gen(function*() {
        const { pool, shared } = yield* oneSide(kind)
        for (let at = 1; at < 5; at++) {
          yield* pool.use(count)
          yield* TestClock.adjust("70 millis")
          yield* pool.use(count)
          assert.strictEqual((yield* pool.stats).connects, at)
          yield* pool.recycle
          yield* settle
        }
        assert.isUndefined(shared.takeLeft())
      }))
  }

  it.effect(
    "does so where another process deletes the log meanwhile, as the last one that has the file open",
    () =>
      Effect.gen(function*() {
        const { filename, pool, shared } = yield* oneSide("reader")
        yield* pool.use(count)
        yield* pool.recycle
        yield* settle
        assert.isTrue(existsSync(`${filename}-wal`))
        const script = `const { DatabaseSync } = require("node:sqlite")
        const database = new DatabaseSync(${JSON.stringify(filename)})
        database.exec("insert into t values (1)")
        database.close()`
        execFileSync(process.execPath, ["-e", script])
        assert.isFalse(existsSync(`${filename}-wal`))
        yield* TestClock.adjust("70 millis")
        assert.strictEqual(yield* pool.use(count), 1)
        assert.strictEqual((yield* pool.stats).connects, 2)
        assert.isUndefined(shared.takeLeft())
      }),
    120_000
  )

  for (const end of ["-wal", "-shm"]) {
    it.effect(`sees it if its ${end} is deleted after that, warns once, and settles`, () =>
      watched((warnings) =>
        Effect.gen(function*() {
          const { filename, pool } = yield* make()
          yield* pool.readers.recycle
          yield* pool.writer.recycle
          yield* settle
          yield* work(pool)
          rmSync(filename + end)
          yield* work(pool)
          const settled = yield* connects(pool)
          assert.strictEqual(warnings.length, 1)
          assert.include(warnings[0], `"${filename}${end}" was moved, replaced or deleted`)
          yield* work(pool)
          assert.deepStrictEqual(yield* connects(pool), settled)
          assert.strictEqual(warnings.length, 1)
          assert.strictEqual(yield* pool.read(count), 15)
        })
      ))
  }
})
