import { assert, describe, it } from "@effect/vitest"
import { Cause, Deferred, Effect, Exit, Fiber, Stream } from "effect"
import { SqliteConnection, SqlitePool, SqlitePoolError } from "effect-connection-pool/sqlite"
import { PoolAssert, Sweep } from "effect-connection-pool/testing"
import { SafeIntegers } from "effect/sql/SqlClient"
import { TestClock } from "effect/testing"
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs"
import { dirname, join } from "node:path"
import { Handle } from "../../src/sqlite/internal/connection/handle.ts"
import { elsewhere, file, folder, judge } from "../support/files.ts"
import { settle } from "../support/pools.ts"

const rows = 5000

const make = Effect.fnUntraced(function*(options?: Partial<SqlitePool.Options>) {
  const filename = yield* file
  const pool = yield* SqlitePool.make({ filename, drainTimeout: 0, ...options })
  yield* pool.write((connection) =>
    connection.exec(`
      create table t(a integer primary key, b);
      insert into t select value, randomblob(500) from generate`.replace(
      "generate",
      `(with recursive n(value) as (select 1 union all select value + 1 from n where value < ${rows}) select value from n)`
    ))
  )
  return { filename, pool }
})

const all = "select a from t order by a"

/** Nothing is left of a stream: its reader is back, and its cursor closed, or the table could not be dropped. */
const nothingLeft = Effect.fnUntraced(function*(pool: SqlitePool.SqlitePool) {
  yield* settle
  const { readers } = yield* pool.stats
  assert.deepStrictEqual([readers.inUse, readers.waiting], [0, 0])
  assert.isTrue((yield* pool.checkpoint()).isComplete)
})

describe("a stream of rows", () => {
  it.effect("gives all rows, and its reader back", () =>
    Effect.gen(function*() {
      const { pool } = yield* make()
      const found = yield* Stream.runCollect(pool.stream(all))
      assert.deepStrictEqual(found.map((row) => row["a"]), Array.from({ length: rows }, (_, at) => at + 1))
      const some = yield* Stream.runCollect(pool.stream("select a from t where a > ? order by a", [rows - 2]))
      assert.deepStrictEqual(some.map((row) => row["a"]), [rows - 1, rows])
      const big = yield* Stream.runCollect(pool.stream("select 1 as a")).pipe(Effect.provideService(SafeIntegers, true))
      assert.deepStrictEqual(big.map((row) => row["a"]), [1n])
      yield* nothingLeft(pool)
    }))

  it.effect("may be left after the first row, fail, die, or be interrupted", () =>
    Effect.gen(function*() {
      const { pool } = yield* make({ readers: 1 })
      const first = yield* Stream.runCollect(Stream.take(pool.stream(all), 1))
      assert.deepStrictEqual(first.map((row) => row["a"]), [1])
      yield* nothingLeft(pool)
      const failing = Stream.runForEach(pool.stream(all), () => Effect.fail("no"))
      assert.deepStrictEqual(yield* Effect.exit(failing), Exit.fail("no"))
      yield* nothingLeft(pool)
      const dying = Stream.runForEach(pool.stream(all), () => Effect.die("no"))
      assert.deepStrictEqual(yield* Effect.exit(dying), Exit.die("no"))
      yield* nothingLeft(pool)
      const begun = yield* Deferred.make<void>()
      const fiber = yield* Effect.forkChild(
        Stream.runForEach(pool.stream(all), () => Effect.andThen(Deferred.succeed(begun, undefined), Effect.never))
      )
      yield* Deferred.await(begun)
      assert.strictEqual((yield* pool.stats).readers.inUse, 1)
      // Its cursor holds on to the log.
      yield* pool.write((connection) => connection.run("delete from t where a = 1"))
      assert.isFalse((yield* pool.checkpoint()).isComplete)
      yield* Fiber.interrupt(fiber)
      yield* nothingLeft(pool)
      yield* pool.write((connection) => connection.exec("drop table t"))
    }))

  it.effect("fails with what is wrong with its statement, and refuses to write", () =>
    Effect.gen(function*() {
      const { pool } = yield* make()
      const nonsense = yield* PoolAssert.failsWith(Stream.runCollect(pool.stream("select nonsense")), "SqlError")
      assert.strictEqual(nonsense.message, "no such column: nonsense")
      const writing = yield* Effect.flip(Stream.runCollect(pool.stream("delete from t returning a")))
      assert.strictEqual(SqliteConnection.codeOf(writing), 8)
      const late = pool.stream("select abs(case when a < 600 then a else -9223372036854775808 end) as n from t")
      let before = 0
      const error = yield* Effect.flip(Stream.runForEach(late, () =>
        Effect.sync(() => {
          before++
        })))
      assert.include(error.message, "integer overflow")
      assert.strictEqual(before, 599)
      yield* nothingLeft(pool)
    }))

  it.effect("reads on only when rows are asked for, and sees one state", () =>
    Effect.gen(function*() {
      const { pool } = yield* make()
      const gate = yield* Deferred.make<void>()
      const seen: Array<unknown> = []
      const fiber = yield* Effect.forkChild(
        Stream.runForEach(pool.stream(all), (row) =>
          Effect.suspend(() => {
            seen.push(row["a"])
            return seen.length === 10 ? Deferred.await(gate) : Effect.void
          }))
      )
      yield* settle
      assert.strictEqual(seen.length, 10)
      yield* pool.write((connection) => connection.run("delete from t"))
      yield* Deferred.succeed(gate, undefined)
      yield* Fiber.join(fiber)
      assert.strictEqual(seen.length, rows)
      yield* nothingLeft(pool)
    }))

  it.effect("may be one of several, of the same statement, on as many readers", () =>
    Effect.gen(function*() {
      const { pool } = yield* make({ readers: 2 })
      const ends = yield* Effect.all(
        Array.from({ length: 5 }, () => Stream.runCount(pool.stream(all))),
        { concurrency: "unbounded" }
      )
      assert.deepStrictEqual(ends, [rows, rows, rows, rows, rows])
      const zipped = yield* Stream.runCollect(Stream.zip(pool.stream(all), pool.stream(all)))
      assert.strictEqual(zipped.length, rows)
      assert.isTrue(zipped.every(([left, right]) => left["a"] === right["a"]))
      yield* nothingLeft(pool)
    }))

  it.effect("is of the snapshot it is run in", () =>
    Effect.gen(function*() {
      const { pool } = yield* make({ readers: 1 })
      const counted = yield* pool.snapshot(Effect.gen(function*() {
        yield* elsewhere(pool.write((connection) => connection.run("delete from t")))
        const together = Stream.zip(pool.stream(all), pool.stream(all))
        return yield* Stream.runCount(together)
      }))
      assert.strictEqual(counted, rows)
      assert.strictEqual(yield* Stream.runCount(pool.stream(all)), 0)
      yield* nothingLeft(pool)
    }))

  it.effect("waits in line for its reader like any other, with its own deadline", () =>
    Effect.gen(function*() {
      const { pool } = yield* make({ readers: 1 })
      const gate = yield* Deferred.make<void>()
      yield* Effect.forkChild(pool.read(() => Deferred.await(gate)))
      yield* settle
      const late = Stream.runCount(pool.stream(all, undefined, { timeout: 0 }))
      yield* PoolAssert.failsWith(late, "AcquireTimeoutError")
      yield* Deferred.succeed(gate, undefined)
      yield* settle
      assert.strictEqual(yield* Stream.runCount(pool.stream(all)), rows)
    }))

  it.effect("loses nothing wherever it is interrupted", () =>
    Effect.gen(function*() {
      const { pool } = yield* make({ readers: 1 })
      yield* Stream.runDrain(pool.stream(all))
      const report = yield* Sweep.run({
        setup: Effect.void,
        scenario: () => Stream.runForEach(Stream.take(pool.stream(all), 600), () => Effect.void),
        check: () => nothingLeft(pool),
        budgets: [3, 60],
        turns: [0, 10]
      })
      assert.isAbove(report.interrupted, 50)
    }), 120_000)
})

describe("a backup", () => {
  it.effect("is a database of its own, with the state of its beginning, while others write", () =>
    Effect.gen(function*() {
      const { pool } = yield* make()
      const target = yield* file
      let steps = 0
      let writesMeanwhile = 0
      // A writer in a thread lets the backup go on. So the last writes may come after its end, but never before the copy is whole.
      const isWhole = Effect.scoped(Effect.gen(function*() {
        const other = yield* judge(target)
        assert.strictEqual(other.prepare("pragma integrity_check").get()!["integrity_check"], "ok")
        assert.strictEqual(other.prepare("select count(*) as n from t").get()!["n"], rows)
      }))
      yield* Stream.runForEach(pool.backup(target, { pagesPerStep: 10 }), (progress) =>
        Effect.gen(function*() {
          steps++
          assert.isAtMost(progress.remainingPages, progress.totalPages)
          if (existsSync(target)) yield* isWhole
          yield* pool.write((connection) => connection.run("insert into t(b) values (1)"))
          if (!existsSync(target)) writesMeanwhile++
        }))
      assert.isAbove(steps, 3)
      assert.isAbove(writesMeanwhile, 0)
      yield* isWhole
      yield* nothingLeft(pool)
      assert.deepStrictEqual(readdirSync(dirname(target)).filter((name) => name.includes("partial")), [])
    }))

  it.effect("tells how far it is, up to the end", () =>
    Effect.gen(function*() {
      const { pool } = yield* make()
      const told = yield* Stream.runCollect(pool.backup(yield* file))
      const last = told.at(-1)!
      assert.strictEqual(last.remainingPages, 0)
      assert.isAbove(last.totalPages, 500)
    }))

  it.effect("replaces an older one at once, and one that is interrupted leaves that as it was", () =>
    Effect.gen(function*() {
      const { pool } = yield* make()
      const target = yield* file
      writeFileSync(target, "an older one")
      const begun = yield* Deferred.make<void>()
      const fiber = yield* Effect.forkChild(
        Stream.runForEach(pool.backup(target, { pagesPerStep: 1 }), () => Deferred.succeed(begun, undefined))
      )
      yield* Deferred.await(begun)
      yield* Fiber.interrupt(fiber)
      const exit = yield* Fiber.await(fiber)
      assert.isTrue(Exit.isFailure(exit) && Cause.hasInterruptsOnly(exit.cause))
      assert.strictEqual(readFileSync(target, "utf8"), "an older one")
      assert.deepStrictEqual(readdirSync(dirname(target)), ["test.db"])
      yield* nothingLeft(pool)
      yield* Stream.runDrain(pool.backup(target))
      const other = yield* judge(target)
      assert.strictEqual(other.prepare("select count(*) as n from t").get()!["n"], rows)
    }))

  it.effect("that is interrupted stops after its next step", () =>
    Effect.gen(function*() {
      const { pool } = yield* make()
      const ends: Array<string> = []
      const real = Handle.prototype.backup
      yield* Effect.acquireRelease(
        Effect.sync(() => {
          Handle.prototype.backup = function(...args) {
            const copied = real.apply(this, args)
            copied.then(() => ends.push("complete"), () => ends.push("stopped"))
            return copied
          }
        }),
        () =>
          Effect.sync(() => {
            Handle.prototype.backup = real
          })
      )
      yield* Stream.runDrain(Stream.take(pool.backup(yield* file, { pagesPerStep: 1 }), 1))
      assert.deepStrictEqual(ends, ["stopped"])
    }))

  it.effect("may take longer than maxReadAge", () =>
    Effect.gen(function*() {
      const { pool } = yield* make({ maxReadAge: "1 second", leakThreshold: "Infinity" })
      const target = yield* file
      let hours = 0
      yield* Stream.runForEach(pool.backup(target, { pagesPerStep: 1 }), ({ remainingPages }) =>
        Effect.suspend(() => {
          if (remainingPages === 0 || hours === 3) return Effect.void
          hours++
          const more = pool.write((connection) => connection.run("insert into t(b) values (1)"))
          return Effect.andThen(TestClock.adjust("1 hour"), more)
        }))
      assert.strictEqual(hours, 3)
      const other = yield* judge(target)
      // It would have begun anew with what was written.
      assert.strictEqual(other.prepare("select count(*) as n from t").get()!["n"], rows)
    }))

  it.effect("fails with a typed error that says why, and leaves nothing", () =>
    Effect.gen(function*() {
      const { filename, pool } = yield* make()
      const path = yield* folder
      mkdirSync(join(path, "folder"))
      const used = join(path, "used.db")
      yield* judge(used, "pragma journal_mode = wal; create table t(a)")
      const cases: ReadonlyArray<readonly [target: string, text: string]> = [
        [join(path, "missing", "a.db"), `the folder "${join(path, "missing")}" does not exist`],
        [join(path, "folder"), "it is a folder: name the file in it"],
        [filename, "that is the database itself"],
        [used, "a database is in use at that path: it has a log beside it"]
      ]
      for (const [target, text] of cases) {
        const error = yield* PoolAssert.failsWith(Stream.runDrain(pool.backup(target)), "BackupError")
        assert.instanceOf(error, SqlitePoolError.BackupError)
        assert.include(error.message, `pool "sqlite": the backup to "${target}" failed: `)
        assert.include(error.message, text)
      }
      assert.deepStrictEqual(readdirSync(path).toSorted(), ["folder", "used.db", "used.db-shm", "used.db-wal"])
      yield* nothingLeft(pool)
    }))
})
