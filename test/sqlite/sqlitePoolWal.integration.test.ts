import { assert, describe, it } from "@effect/vitest"
import { Deferred, Effect, Fiber, Metric, Stream } from "effect"
import { PoolMetrics } from "effect-connection-pool"
import { type SqliteConnection, SqlitePool } from "effect-connection-pool/sqlite"
import { TestClock } from "effect/testing"
import { statSync, symlinkSync } from "node:fs"
import { dirname, join } from "node:path"
import { Handle } from "../../src/sqlite/internal/connection/handle.ts"
import { invalidInput } from "../../src/sqlite/internal/failures.ts"
import { elsewhere, file, judge } from "../support/files.ts"
import { logged, make } from "../support/logOfSqlite.ts"
import { settle } from "../support/pools.ts"

/** A row that takes a page. */
const insert = (connection: SqliteConnection.SqliteConnection) =>
  connection.run("insert into t values (1, randomblob(3000))")

const count = (pool: SqlitePool.SqlitePool) =>
  pool.read((reader) => Effect.map(reader.values("select count(*) from t"), ([row]) => row![0] as number))

const megabyte = 1024 * 1024

describe("the log", () => {
  it.effect("stays below walLimit while others read all the time", () =>
    Effect.gen(function*() {
      const walLimit = megabyte
      const { pool, wal } = yield* make({ walLimit })
      const look = pool.read((reader) => reader.values("select a from t limit 1"))
      // Overlapping snapshots: there is always one that reads in the log.
      let snapshots = 0
      const reader = Effect.forever(
        pool.snapshot(Effect.andThen(look, Effect.andThen(Effect.sleep("3 millis"), look))).pipe(
          Effect.tap(() =>
            Effect.sync(() => {
              snapshots++
            })
          )
        )
      )
      const readers = []
      for (let at = 0; at < 3; at++) {
        readers.push(yield* Effect.forkChild(reader))
        yield* TestClock.adjust("1 millis")
      }
      let longest = 0
      const write = Effect.tap(pool.write(insert), () =>
        Effect.sync(() => {
          longest = Math.max(longest, wal())
        }))
      const writing = yield* Effect.forkChild(
        Effect.repeat(Effect.andThen(Effect.repeat(write, { times: 19 }), Effect.sleep("1 millis")), { times: 99 })
      )
      while (writing.pollUnsafe() === undefined) yield* TestClock.adjust("1 millis")
      yield* Fiber.join(writing)
      yield* Fiber.interruptAll(readers)
      // Without care it would have all of what was written, some 25 MB.
      assert.isAtMost(longest, walLimit)
      assert.isAbove(longest, walLimit / 2)
      assert.isAbove(snapshots, 50)
      assert.strictEqual(yield* count(pool), 2000)
      const { readers: ofReaders, writer } = yield* pool.stats
      assert.deepStrictEqual([ofReaders.timeouts, writer.timeouts], [0, 0])
    }), 120_000)

  it.effect("is cut back when the reader that pinned it has ended, and is reported until then", () =>
    Effect.gen(function*() {
      const { lines, layer } = yield* logged
      yield* Effect.provide(
        Effect.gen(function*() {
          const { pool, wal } = yield* make({ walLimit: megabyte })
          const gate = yield* Deferred.make<void>()
          const report = pool.snapshot(Effect.andThen(count(pool), Deferred.await(gate)), { label: "report" })
          const fiber = yield* Effect.forkChild(report)
          yield* settle
          yield* TestClock.adjust("1 second")
          for (let write = 0; write < 400; write++) yield* pool.write(insert)
          yield* settle
          yield* TestClock.adjust("5 seconds")
          assert.isAbove(wal(), megabyte)
          // Nobody was held up for long: those who read and write go on.
          assert.strictEqual(yield* count(pool), 400)
          assert.strictEqual((yield* pool.stats).writer.timeouts, 0)
          yield* Deferred.succeed(gate, undefined)
          yield* Fiber.join(fiber)
          yield* TestClock.adjust("1 second")
          assert.strictEqual(wal(), 0)
          assert.strictEqual(yield* count(pool), 400)
        }),
        layer
      )
      assert.strictEqual(lines.length, 1)
      assert.match(
        lines[0]!,
        /the log of the SQLite database is longer than walLimit, \d+ bytes: a read pins it: report \(fiber #\d+\) has held connection 1 for \d+ ms \(last ran "/
      )
    }))

  it.effect("has its size and its limit in the metrics of the pool that writes, until that is closed", () =>
    Effect.gen(function*() {
      const { pool, wal } = yield* make({ name: "app", walLimit: megabyte })
      const other = yield* SqlitePool.make({
        filename: yield* file,
        name: "app",
        walLimit: 2 * megabyte,
        drainTimeout: 0
      })
      yield* pool.write(insert)
      const { logLimit, logSize } = PoolMetrics.of("app/writer")
      const size = Effect.map(Metric.value(logSize), ({ value }) => value)
      const bytes = (yield* pool.stats).walBytes + (yield* other.stats).walBytes
      assert.isAbove(wal(), 0)
      assert.deepStrictEqual([yield* size, (yield* Metric.value(logLimit)).value], [bytes, 3 * megabyte])
      yield* other.shutdown()
      assert.deepStrictEqual([yield* size, (yield* Metric.value(logLimit)).value], [wal(), megabyte])
      yield* pool.shutdown()
      const names = (yield* Metric.snapshot).map(({ id }) => id)
      assert.notInclude(names, "effect_connection_pool.log_size")
    }).pipe(Effect.provideService(Metric.MetricRegistry, new Map())))

  it.effect("is cut back between reads that would otherwise overlap for ever", () =>
    Effect.gen(function*() {
      const { pool, wal } = yield* make({ walLimit: megabyte, readers: 2 })
      const gates = [yield* Deferred.make<void>(), yield* Deferred.make<void>()] as const
      const first = yield* Effect.forkChild(pool.snapshot(Effect.andThen(count(pool), Deferred.await(gates[0]))))
      yield* settle
      for (let write = 0; write < 200; write++) yield* pool.write(insert)
      yield* settle
      // A new one waits, for the sake of the log, and so does a writer; one that holds on to nothing does not.
      const second = yield* Effect.forkChild(pool.snapshot(Effect.andThen(count(pool), Deferred.await(gates[1]))))
      const streaming = yield* Effect.forkChild(Stream.runCount(pool.stream("select a from t")))
      const writer = yield* Effect.forkChild(pool.write(insert))
      yield* settle
      assert.deepStrictEqual(
        [(yield* pool.stats).readers.inUse, (yield* pool.stats).writer.waiting, streaming.pollUnsafe()],
        [1, 1, undefined]
      )
      assert.strictEqual(yield* count(pool), 200)
      yield* Deferred.succeed(gates[0], undefined)
      yield* TestClock.adjust("2 millis")
      yield* Fiber.join(first)
      yield* Fiber.join(writer)
      assert.isAtLeast(yield* Fiber.join(streaming), 200)
      assert.isBelow(wal(), megabyte / 2)
      yield* Deferred.succeed(gates[1], undefined)
      yield* Fiber.join(second)
      assert.strictEqual(yield* count(pool), 201)
    }))

  it.effect("is not a reason to hold up others for longer than a quarter of a second", () =>
    Effect.gen(function*() {
      const { pool } = yield* make({ walLimit: megabyte, readers: 2 })
      const fiber = yield* Effect.forkChild(pool.snapshot(Effect.andThen(count(pool), Effect.never)))
      yield* settle
      for (let write = 0; write < 200; write++) yield* pool.write(insert)
      yield* settle
      const reader = yield* Effect.forkChild(pool.snapshot(count(pool)))
      const writer = yield* Effect.forkChild(pool.write(insert))
      yield* TestClock.adjust("249 millis")
      assert.deepStrictEqual([reader.pollUnsafe(), writer.pollUnsafe()], [undefined, undefined])
      yield* TestClock.adjust("1 millis")
      yield* Fiber.join(reader)
      yield* Fiber.join(writer)
      yield* Fiber.interrupt(fiber)
    }))

  it.effect("is left alone without a limit, and a read of another process in it is reported", () =>
    Effect.gen(function*() {
      const { lines, layer } = yield* logged
      yield* Effect.provide(
        Effect.gen(function*() {
          const free = yield* make({ walLimit: Infinity })
          const { filename, pool, wal } = yield* make({ walLimit: megabyte })
          yield* pool.write(insert)
          const other = yield* judge(filename, "begin; select count(*) from t")
          const holding = yield* judge(free.filename, "begin; select count(*) from t")
          for (let write = 0; write < 400; write++) {
            yield* pool.write(insert)
            yield* free.pool.write(insert)
          }
          yield* TestClock.adjust("3 seconds")
          assert.isAbove(wal(), megabyte)
          other.exec("commit")
          holding.exec("commit")
          yield* TestClock.adjust("1 second")
          assert.strictEqual(wal(), 0)
          assert.isAbove(free.wal(), megabyte)
        }),
        layer
      )
      assert.strictEqual(lines.length, 1)
      assert.match(lines[0]!, /: another process reads in it/)
    }))
})

describe("checkpoint", () => {
  it.effect("moves the log to the file, as it is told, and says what it could not", () =>
    Effect.gen(function*() {
      const { pool, wal } = yield* make()
      yield* pool.write(insert)
      const passive = yield* pool.checkpoint("passive")
      assert.isTrue(passive.isComplete)
      assert.isAbove(passive.walPages, 0)
      assert.strictEqual(passive.movedPages, passive.walPages)
      assert.isAbove(wal(), 0)
      assert.isTrue((yield* pool.checkpoint("full")).isComplete)
      assert.isTrue((yield* pool.checkpoint("restart")).isComplete)
      assert.deepStrictEqual(yield* pool.checkpoint(), { isComplete: true, walPages: 0, movedPages: 0 })
      assert.strictEqual(wal(), 0)
      const found = yield* pool.snapshot(
        Effect.andThen(count(pool), elsewhere(Effect.andThen(pool.write(insert), pool.checkpoint())))
      )
      assert.isFalse(found.isComplete)
    }))
})

describe("the care for the log", () => {
  /** So that the log is looked at with the next write. */
  const longAgo = TestClock.adjust("200 millis")

  type Rows = Handle["rows"]

  /** Has all statements of handles in this thread run inside a function, until the test is over. */
  const aroundRows = (run: (rows: () => ReturnType<Rows>, operation: string, sql: string) => ReturnType<Rows>) => {
    const real = Handle.prototype.rows
    return Effect.acquireRelease(
      Effect.sync(() => {
        Handle.prototype.rows = function(...given) {
          const [operation, sql] = given
          return run(() => real.apply(this, given), operation, sql)
        }
      }),
      () =>
        Effect.sync(() => {
          Handle.prototype.rows = real
        })
    )
  }

  /** Lets the care try again, which it does every second. */
  const later = Effect.repeat(Effect.andThen(TestClock.adjust("1 second"), settle), { times: 4 })

  it.effect("goes on after the writer could not be had in time", () =>
    Effect.gen(function*() {
      const { layer, lines } = yield* logged
      yield* Effect.gen(function*() {
        const { pool, wal } = yield* make({ walLimit: megabyte, acquireTimeout: "1 second", leakThreshold: "Infinity" })
        const go = yield* Deferred.make<void>()
        const gate = yield* Deferred.make<void>()
        const filling = yield* Effect.forkChild(
          pool.write((connection) =>
            Effect.andThen(Deferred.await(go), Effect.forEach(Array.from({ length: 400 }), () => insert(connection)))
          )
        )
        yield* settle
        const holding = yield* Effect.forkChild(pool.write(() => Deferred.await(gate)))
        yield* settle
        yield* longAgo
        yield* Deferred.succeed(go, undefined)
        yield* Fiber.join(filling)
        yield* settle
        assert.strictEqual((yield* pool.stats).writer.waiting, 1)
        yield* TestClock.adjust("1 second")
        yield* settle
        assert.strictEqual((yield* pool.stats).writer.timeouts, 1)
        assert.isAbove(wal(), megabyte)
        yield* Deferred.succeed(gate, undefined)
        yield* Fiber.join(holding)
        yield* later
        assert.strictEqual(wal(), 0)
      }).pipe(Effect.provide(layer))
      assert.deepStrictEqual(lines.length, 1)
      assert.match(lines[0]!, /longer than walLimit, \d+ bytes: pool "sqlite\/writer": no connection within 1000 ms/)
    }))

  it.effect("goes on after the pool was paused", () =>
    Effect.gen(function*() {
      const { pool, wal } = yield* make({ walLimit: megabyte, acquireTimeout: "1 second" })
      yield* longAgo
      yield* pool.write((connection) =>
        Effect.andThen(
          Effect.forEach(Array.from({ length: 400 }), () => insert(connection), { discard: true }),
          pool.writer.pause
        )
      )
      yield* settle
      yield* TestClock.adjust("1 second")
      yield* settle
      assert.strictEqual((yield* pool.stats).writer.timeouts, 1)
      assert.isAbove(wal(), megabyte)
      yield* pool.writer.resume
      yield* later
      assert.strictEqual(wal(), 0)
    }))

  it.effect("goes on after SQLite could not move the log", () =>
    Effect.gen(function*() {
      const { pool, wal } = yield* make({ walLimit: megabyte })
      let failed = 0
      yield* aroundRows((rows, operation, sql) => {
        if (sql.includes("wal_checkpoint") && failed++ < 2) throw invalidInput(operation, "planted")
        return rows()
      })
      yield* longAgo
      yield* pool.write((connection) => Effect.forEach(Array.from({ length: 400 }), () => insert(connection)))
      yield* later
      assert.isAbove(failed, 2)
      assert.strictEqual(wal(), 0)
    }))

  it.effect("tries again at once where the read that had pinned it has ended meanwhile", () =>
    Effect.gen(function*() {
      const { filename, pool, wal } = yield* make({ walLimit: megabyte })
      yield* pool.write(insert)
      const other = yield* judge(filename, "begin; select count(*) from t")
      let cuts = 0
      yield* aroundRows((rows, _, sql) => {
        const found = rows()
        if (/wal_checkpoint\(truncate\)/i.test(sql) && cuts++ === 0) other.exec("commit")
        return found
      })
      yield* longAgo
      yield* pool.write((connection) => Effect.forEach(Array.from({ length: 400 }), () => insert(connection)))
      yield* settle
      assert.deepStrictEqual([cuts, wal()], [2, 0])
    }))

  it.effect("finds the log behind a symbolic link, also one on the way", () =>
    Effect.gen(function*() {
      const filename = yield* file
      const home = dirname(filename)
      symlinkSync("test.db", join(home, "link.db"))
      symlinkSync(home, join(home, "around"))
      const pool = yield* SqlitePool.make({
        filename: join(home, "around", "link.db"),
        drainTimeout: 0,
        synchronous: "off",
        walLimit: megabyte
      })
      yield* pool.write((connection) => connection.exec("create table t(a, b)"))
      yield* longAgo
      const said = yield* pool.write((connection) =>
        Effect.andThen(
          Effect.forEach(Array.from({ length: 400 }), () => insert(connection), { discard: true }),
          pool.stats
        )
      )
      const size = () => statSync(`${filename}-wal`).size
      assert.isAbove(said.walBytes, megabyte)
      yield* later
      assert.strictEqual(size(), 0)
      assert.strictEqual((yield* pool.stats).walBytes, 0)
    }))
})
