/** A long log of a writer in process: another thread moves it, so that the event loop does not stand still. */
import { assert, describe, it, vi } from "@effect/vitest"
import { Deferred, Effect, Fiber } from "effect"
import { SqlitePool, SqliteWorkerPool } from "effect-connection-pool/sqlite"
import { TestClock } from "effect/testing"
import { readFileSync } from "node:fs"
import { threads } from "../../src/sqlite/internal/file/checkpointThread.ts"
import { file } from "../support/files.ts"
import { functionsModule, heldStatement, soon } from "../support/held.ts"
import { logged } from "../support/logOfSqlite.ts"
import { settle } from "../support/pools.ts"

const megabyte = 1024 * 1024

/** The options of a database whose log grows until something moves it. */
const growing = { walAutocheckpoint: 0, journalSizeLimit: undefined, synchronous: "off", drainTimeout: 0 } as const

/** Writes rows that make the log as long as that. The log is not measured after every write, so time passes before. */
const grow = (pool: Pick<SqlitePool.SqlitePool, "sql">, megabytes: number) =>
  Effect.andThen(
    TestClock.adjust("1 second"),
    pool.sql`insert into t select randomblob(1000000) from (with recursive n(i) as (
      select 1 union all select i + 1 from n where i < ${megabytes}) select i from n)`
  )

/** How much of a log was moved to the file, and how long it is, in pages: SQLite keeps that in shared memory. */
const movedOf = (filename: string) => {
  const shared = readFileSync(`${filename}-shm`)
  return { pages: shared.readUInt32LE(16), moved: shared.readUInt32LE(96) }
}

/** What was moved when each thread had ended, in a scope. */
const watchThreads = (filename: string) =>
  Effect.gen(function*() {
    const ends: Array<{ readonly pages: number; readonly moved: number }> = []
    const { start } = threads
    const spy = vi.spyOn(threads, "start").mockImplementation((data) => {
      const thread = start(data)
      // Before the listener of the one who waits for it.
      thread.on("exit", () => ends.push(movedOf(filename)))
      return thread
    })
    yield* Effect.addFinalizer(() => Effect.sync(() => spy.mockRestore()))
    return ends
  })

const make = Effect.fnUntraced(function*(options?: Partial<SqlitePool.Options>) {
  const filename = yield* file
  const pool = yield* SqlitePool.make({ filename, ...growing, ...options })
  yield* pool.sql`create table t(a)`
  return { filename, pool, ends: yield* watchThreads(filename) }
})

describe("a long log", () => {
  it.effect("is moved by another thread before checkpoint cuts it back", () =>
    Effect.gen(function*() {
      const { ends, filename, pool } = yield* make({ walLimit: 1000 * megabyte })
      yield* grow(pool, 10)
      const { pages } = movedOf(filename)
      const passive = yield* pool.checkpoint("passive")
      assert.deepStrictEqual(passive, { isComplete: true, walPages: pages, movedPages: pages })
      assert.deepStrictEqual(ends, [{ pages, moved: pages }])
      assert.deepStrictEqual(yield* pool.checkpoint(), { isComplete: true, walPages: 0, movedPages: 0 })
      assert.strictEqual((yield* pool.stats).walBytes, 0)
      assert.deepStrictEqual(yield* pool.sql`select count(*) from t`.values, [[10]])
    }))

  it.effect("that is not so long needs no thread, nor does a writer that is in one", () =>
    Effect.gen(function*() {
      const { ends, pool } = yield* make({ walLimit: 1000 * megabyte })
      yield* grow(pool, 5)
      assert.isTrue((yield* pool.checkpoint()).isComplete)
      const filename = yield* file
      const other = yield* SqliteWorkerPool.make({ filename, ...growing, walLimit: 1000 * megabyte })
      yield* other.sql`create table t(a)`
      yield* grow(other, 10)
      assert.isTrue((yield* other.checkpoint()).isComplete)
      assert.deepStrictEqual(ends, [])
    }))

  it.effect("is moved by another thread when it has grown, once while a read pins it", () =>
    Effect.gen(function*() {
      const { ends, pool } = yield* make({ walLimit: 16 * megabyte })
      const gate = yield* Deferred.make<void>()
      const pinning = yield* Effect.forkChild(
        pool.snapshot(Effect.andThen(pool.sql`select count(*) from t`, Deferred.await(gate)))
      )
      yield* settle
      yield* grow(pool, 20)
      yield* soon(() => ends.length > 0)
      for (let turn = 0; turn < 10; turn++) {
        yield* settle
        yield* TestClock.adjust("1 second")
      }
      assert.strictEqual(ends.length, 1)
      assert.isBelow(ends[0]!.moved, ends[0]!.pages)
      yield* Deferred.succeed(gate, undefined)
      yield* Fiber.join(pinning)
      yield* TestClock.adjust("2 seconds")
      yield* settle
      assert.strictEqual((yield* pool.stats).walBytes, 0)
      yield* grow(pool, 20)
      yield* soon(() => ends.length > 1)
      yield* settle
      assert.strictEqual(ends[1]!.moved, ends[1]!.pages)
      assert.strictEqual((yield* pool.stats).walBytes, 0)
    }))

  it.effect("that a read on a worker pins is reported with that read, also when its caller has left", () =>
    Effect.gen(function*() {
      const { layer, lines } = yield* logged
      const reported = (hasLeft: boolean) =>
        Effect.gen(function*() {
          const { pool } = yield* make({ walLimit: megabyte, workers: 2, functionsModule })
          yield* grow(pool, 1)
          yield* pool.checkpoint()
          const held = yield* heldStatement
          const reading = yield* Effect.forkChild(
            pool.read((reader) => reader.values(`${held.sql} from t`), { execution: "worker", label: "report" })
          )
          yield* held.hasBegun
          if (hasLeft) yield* Fiber.interrupt(reading)
          lines.length = 0
          yield* grow(pool, 3)
          yield* settle
          yield* TestClock.adjust("2 seconds")
          yield* settle
          yield* held.letGo
          if (!hasLeft) yield* Fiber.join(reading)
          // The thread looks for a file, which is gone after the scope.
          while ((yield* pool.stats).workers!.idle === 0) yield* settle
          return lines.join("\n")
        }).pipe(Effect.scoped, Effect.provide(layer))
      const limit = "longer than walLimit, \\d+ bytes"
      assert.match(
        yield* reported(false),
        new RegExp(`${limit}: a read pins it: report \\(fiber #\\d+\\) has held .* \\(runs "select held`)
      )
      assert.match(
        yield* reported(true),
        new RegExp(`${limit}: a read whose caller has left pins it: report #\\d+, \\d+ ms ago \\(select held`)
      )
    }))
})
