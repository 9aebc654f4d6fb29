/** The ends of batches: interrupts at every point, shutdowns, killed processes, and the work after a long batch. */
import { assert, describe, it, vi } from "@effect/vitest"
import { Effect, Exit, Fiber, Stream } from "effect"
import type { SqlitePool } from "effect-connection-pool/sqlite"
import { PoolAssert, Sweep } from "effect-connection-pool/testing"
import fs from "node:fs"
import { syncBuiltinESMExports } from "node:module"
import { DatabaseSync } from "node:sqlite"
import { Worker } from "node:worker_threads"
import { Bulk } from "../../src/sqlite/internal/connection/bulk.ts"
import { threads } from "../../src/sqlite/internal/file/checkpointThread.ts"
import * as batches from "../support/batches.ts"
import * as Process from "../support/childProcess.ts"
import { judge, openFiles } from "../support/files.ts"
import { settle } from "../support/pools.ts"

const { countOf, insert, isWhole, make, people, several } = batches

/** A batch that has begun its transaction, and waits for ever for its last rows. */
const begun = Effect.fnUntraced(function*(pool: SqlitePool.SqlitePool, rows: number) {
  let hasBegun = false
  const waiting = Stream.unwrap(Effect.suspend(() => {
    hasBegun = true
    return Effect.never as Effect.Effect<Stream.Stream<[number, string]>>
  }))
  const given = Stream.concat(Stream.fromIterable(people(rows)), waiting)
  const fiber = yield* Effect.forkDetach(Stream.runDrain(pool.batch(insert, given)))
  while (!hasBegun) yield* Effect.yieldNow
  return fiber
})

interface World {
  readonly pool: SqlitePool.SqlitePool
  readonly run: Effect.Effect<void, unknown>
  /** The numbers of rows that may be there afterwards. */
  readonly counts: ReadonlyArray<number>
}

const worlds: Record<string, (pool: SqlitePool.SqlitePool) => Omit<World, "pool">> = {
  "of an array": (pool) => ({ run: Stream.runDrain(pool.batch(insert, people(30))), counts: [0, 30] }),
  "of a stream": (pool) => {
    const piece = (from: number) => Stream.unwrap(Effect.as(Effect.yieldNow, Stream.fromIterable(people(10, from))))
    const rows = Stream.flatMap(Stream.make(0, 10, 20), piece)
    return { run: Stream.runDrain(pool.batch(insert, rows)), counts: [0, 30] }
  },
  "that commits in between": (pool) => ({
    run: Stream.runDrain(pool.batch(insert, people(30), { commitEvery: 10 })),
    counts: [0, 10, 20, 30]
  }),
  "in a transaction": (pool) => ({
    run: pool.transaction(Effect.andThen(Effect.yieldNow, Stream.runDrain(pool.batch(insert, people(30))))),
    counts: [0, 30]
  }),
  "of which only the beginning is read": (pool) => ({
    run: Stream.runDrain(Stream.take(pool.batch(insert, people(30), { commitEvery: 10 }), 1)),
    counts: [0, 10, 20, 30]
  })
}

describe("an interrupt of a batch", () => {
  for (const [name, world] of Object.entries(worlds)) {
    it.effect(`${name} stores whole transactions or nothing, at every point`, () =>
      Effect.gen(function*() {
        const seen = new Set<number>()
        const { interrupted } = yield* Sweep.run<World, void, unknown, never, unknown, never>({
          setup: Effect.map(make(), ({ pool }) => ({ pool, ...world(pool) })) as Effect.Effect<World>,
          scenario: ({ run }) => run,
          check: Effect.fnUntraced(function*({ counts, pool }, exit) {
            const count = yield* countOf(pool)
            seen.add(count)
            assert.include(counts, count)
            if (Exit.isSuccess(exit) && counts.length === 2) assert.strictEqual(count, 30)
            yield* isWhole(pool, count)
          }),
          budgets: [3, 8],
          turns: [0, 35]
        })
        assert.isAbove(interrupted, 20)
        assert.isAtLeast(seen.size, 2)
      }), 300_000)
  }

  it.effect("that is long undoes everything, and its settings too", () =>
    Effect.gen(function*() {
      for (let turns = 0; turns < 12; turns++) {
        const { pool } = yield* make()
        const fiber = yield* Effect.forkDetach(Stream.runDrain(pool.batch(insert, people(5 * several))))
        for (let turn = 0; turn < turns; turn++) yield* Effect.yieldNow
        yield* Fiber.interrupt(fiber)
        const count = yield* countOf(pool)
        assert.include([0, 5 * several], count)
        yield* isWhole(pool, count)
      }
    }), 120_000)

  it.effect("that waits for its rows undoes them", () =>
    Effect.gen(function*() {
      const { pool } = yield* make()
      const fiber = yield* begun(pool, 2 * several)
      assert.strictEqual((yield* pool.stats).writer.inUse, 1)
      yield* Fiber.interrupt(fiber)
      yield* isWhole(pool, 0)
    }))
})

describe("a batch whose pool", () => {
  it.effect("is shut down fails with a typed error, and nothing of it is stored", () =>
    Effect.gen(function*() {
      const { filename, pool } = yield* make()
      const fiber = yield* begun(pool, 2 * several)
      const { writer } = yield* pool.shutdown()
      assert.deepStrictEqual([writer.returned, writer.interrupted], [0, 1])
      const error = yield* Effect.flip(Fiber.join(fiber))
      assert.include(["PoolClosedError", "TransactionLostError"], (error as { readonly _tag: string })._tag)
      const other = yield* judge(filename)
      assert.strictEqual(other.prepare("select count(*) as n from person").get()?.["n"], 0)
    }))

  it.effect("is shut down while it waits in line fails like any other caller", () =>
    Effect.gen(function*() {
      const { pool } = yield* make()
      const holder = yield* Effect.forkChild(pool.write(() => Effect.never))
      yield* settle
      const fiber = yield* Effect.forkDetach(Stream.runDrain(pool.batch(insert, people(3))))
      yield* settle
      yield* pool.shutdown()
      yield* PoolAssert.failsWith(Fiber.join(fiber), "PoolClosedError")
      yield* Fiber.await(holder)
    }))

  it.effect("recycles its connections goes on, and the next caller has a new connection", () =>
    Effect.gen(function*() {
      const { pool } = yield* make()
      const rows = Stream.concat(
        Stream.fromIterable(people(2 * several)),
        Stream.unwrap(Effect.as(pool.writer.recycle, Stream.fromIterable(people(5, 2 * several))))
      )
      const before = (yield* pool.stats).writer.connects
      yield* Stream.runDrain(pool.batch(insert, rows))
      yield* isWhole(pool, 2 * several + 5)
      assert.strictEqual((yield* pool.stats).writer.connects, before + 1)
    }))
})

describe("a process that is killed in a batch", () => {
  it.live("has stored nothing of it, and the file is whole", () =>
    Effect.gen(function*() {
      const { filename, pool } = yield* make()
      const child = yield* Process.run("batch", filename)
      yield* child.says("running")
      yield* child.kill
      yield* isWhole(pool, 0)
    }), 120_000)
})

describe("after a long batch", () => {
  const name = "x".repeat(500)
  const rows = Array.from({ length: 2 * several }, (_, id): [number, string] => [id, name])
  const updates = rows.map(([id]) => ["y".repeat(500), id])
  const bytesOfRows = rows.length * name.length

  for (const synchronous of ["off", "normal", "full"] as const) {
    it.effect(`its log is in the file, and no thread or descriptor is left (${synchronous})`, () =>
      Effect.gen(function*() {
        const { bytes, filename, pool } = yield* make({ synchronous })
        yield* countOf(pool)
        const before = openFiles(filename)
        yield* Stream.runDrain(pool.batch(insert, rows))
        assert.isAbove(bytes(), bytesOfRows)
        yield* isWhole(pool, rows.length)
        yield* Stream.runDrain(pool.batch("update person set name = name || ? where id = ?", updates))
        yield* isWhole(pool, rows.length)
        // To close it would drop the locks of the others, so SQLite keeps one and uses it again.
        assert.isAtMost(openFiles(filename), before + 1)
      }))
  }

  it.effect("that was a part of a transaction too", () =>
    Effect.gen(function*() {
      const { bytes, pool } = yield* make()
      yield* pool.transaction(
        Effect.andThen(Stream.runDrain(pool.batch(insert, rows)), pool.sql`delete from person where id = 0`)
      )
      assert.isAbove(bytes(), bytesOfRows)
      yield* isWhole(pool, rows.length - 1)
    }))

  it.effect("that is found to have ended only after its last commit too", () =>
    Effect.gen(function*() {
      const { bytes, pool } = yield* make()
      // The iterable gives no row more, but has not said that it ends when all rows are committed.
      const count = 20 * 1024
      const some = function*() {
        for (let id = 0; id < count; id++) yield [id, name]
      }
      const reports = yield* Stream.runCollect(pool.batch(insert, some(), { commitEvery: count }))
      assert.deepStrictEqual([reports.at(-1)?.rows, reports.at(-1)?.stored], [count, count])
      assert.isAbove(bytes(), count * name.length)
      yield* isWhole(pool, count)
    }))

  it.effect("a log beyond half of walLimit is cut back at once", () =>
    Effect.gen(function*() {
      const { pool } = yield* make({ walLimit: 2 ** 20 })
      yield* Stream.runDrain(pool.batch(insert, rows))
      assert.strictEqual((yield* pool.stats).walBytes, 0)
      yield* isWhole(pool, rows.length)
    }))

  it.effect("the log stays while a snapshot needs it, and the snapshot sees no row", () =>
    Effect.gen(function*() {
      const { bytes, pool } = yield* make()
      yield* Stream.runDrain(pool.batch(insert, [[-1, "before"]]))
      yield* pool.snapshot(Effect.gen(function*() {
        assert.strictEqual(yield* countOf(pool), 1)
        yield* Effect.promise(() => Effect.runPromise(Stream.runDrain(pool.batch(insert, rows))))
        assert.isBelow(bytes(), bytesOfRows)
        assert.strictEqual(yield* countOf(pool), 1)
      }))
      yield* isWhole(pool, rows.length + 1)
    }))

  it.effect("that commits in between, its log is moved to the file once, at its end", () =>
    Effect.gen(function*() {
      const { bytes, pool } = yield* make()
      const start = vi.spyOn(threads, "start")
      yield* Effect.addFinalizer(() => Effect.sync(() => start.mockRestore()))
      const more = [...rows, ...rows.map(([id]): [number, string] => [id + rows.length, name])]
      yield* Stream.runDrain(pool.batch(insert, more, { commitEvery: rows.length }))
      assert.strictEqual(start.mock.calls.length, 1)
      assert.isAbove(bytes(), 2 * bytesOfRows)
      yield* isWhole(pool, more.length)
    }))

  it.effect("a cache whose size was set in pages is so large again, and was no larger meanwhile", () =>
    Effect.gen(function*() {
      const { pool } = yield* make({ onOpen: (connection) => connection.exec("pragma cache_size = 500") })
      const size = pool.write((connection) => connection.values("pragma cache_size"))
      assert.deepStrictEqual(yield* size, [[500]])
      const last = ["insert into person(id, name) select -1, cache_size from pragma_cache_size"] as const
      yield* Stream.runDrain(pool.batch([...rows.map((row) => [insert, row] as const), last]))
      assert.deepStrictEqual(yield* pool.sql`select name from person where id = -1`.values, [["-2000"]])
      assert.deepStrictEqual(yield* size, [[500]])
    }))

  it.effect("no checkpoint is done where the application does them itself", () =>
    Effect.gen(function*() {
      const { bytes, pool } = yield* make({ walAutocheckpoint: 0 })
      yield* Stream.runDrain(pool.batch(insert, rows))
      assert.isBelow(bytes(), bytesOfRows)
    }))

  it.effect("a thread that does not start or fails is no failure: SQLite does its work with the next commit", () =>
    Effect.gen(function*() {
      const failing: Array<() => unknown> = [
        () => {
          throw Object.assign(new Error("Access to this API has been restricted"), { code: "ERR_ACCESS_DENIED" })
        },
        () => new Worker("throw new Error('no thread')", { eval: true }),
        () => new Worker("process.exit(3)", { eval: true })
      ]
      for (const start of failing) {
        const { bytes, pool } = yield* make()
        const on = vi.spyOn(threads, "start").mockImplementationOnce(start as never)
        yield* Stream.runDrain(pool.batch(insert, rows))
        on.mockRestore()
        assert.isBelow(bytes(), bytesOfRows)
        yield* pool.sql`insert into person(id, name) values (-1, 'Ada')`
        assert.isAbove(bytes(), bytesOfRows)
        yield* isWhole(pool, rows.length + 1)
      }
    }))

  it.effect("a log that cannot be opened before the commit is no failure: the commit brings it to the disk", () =>
    Effect.gen(function*() {
      const { filename, pool } = yield* make({ synchronous: "full" })
      const real = fs.open
      const refused: Array<unknown> = []
      yield* Effect.acquireRelease(
        Effect.sync(() => {
          Object.assign(fs, {
            open: (path: string, _: unknown, done: (failure: Error) => void) => {
              refused.push(path)
              setImmediate(() => done(Object.assign(new Error("too many open files"), { code: "EMFILE" })))
            }
          })
          syncBuiltinESMExports()
        }),
        () =>
          Effect.sync(() => {
            Object.assign(fs, { open: real })
            syncBuiltinESMExports()
          })
      )
      yield* Stream.runDrain(pool.batch(insert, rows))
      assert.deepStrictEqual(refused, [`${fs.realpathSync(filename)}-wal`])
      yield* isWhole(pool, rows.length)
    }))

  it.effect("settings that cannot be changed are no failure", () =>
    Effect.gen(function*() {
      const { pool } = yield* make()
      const begin = vi.spyOn(Bulk.prototype, "begin").mockImplementation(() => {
        throw new Error("no")
      })
      yield* Effect.addFinalizer(() => Effect.sync(() => begin.mockRestore()))
      yield* Stream.runDrain(pool.batch(insert, rows))
      begin.mockRestore()
      yield* isWhole(pool, rows.length)
    }))

  it.effect("settings that cannot be restored cost the connection its database handle, not its settings", () =>
    Effect.gen(function*() {
      const { pool } = yield* make()
      const { exec } = DatabaseSync.prototype
      let refused = 0
      const spy = vi.spyOn(DatabaseSync.prototype, "exec").mockImplementation(function(this: DatabaseSync, sql) {
        if (sql.includes("wal_autocheckpoint = 1000") && refused === 0 && !sql.includes("synchronous")) {
          refused++
          throw new Error("no")
        }
        return exec.call(this, sql)
      })
      yield* Effect.addFinalizer(() => Effect.sync(() => spy.mockRestore()))
      yield* Stream.runDrain(pool.batch(insert, rows))
      assert.strictEqual(refused, 1)
      yield* isWhole(pool, rows.length)
    }))
})
