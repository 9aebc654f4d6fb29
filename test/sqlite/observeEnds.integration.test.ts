/** How an observation ends: its errors, its interrupts, the shutdown; and where it is refused. */
import { assert, describe, it } from "@effect/vitest"
import { Cause, Deferred, Effect, Exit, Fiber, Schedule, Scope, Stream } from "effect"
import { PoolError } from "effect-connection-pool"
import { SqlitePool } from "effect-connection-pool/sqlite"
import { SqliteClient } from "effect-connection-pool/sqlite-node"
import { PoolAssert, Sweep } from "effect-connection-pool/testing"
import { isSqlError } from "effect/sql/SqlError"
import { TestClock } from "effect/testing"
import { file, judge } from "../support/files.ts"
import { mode } from "../support/modes/mode.ts"
import { reading } from "../support/observing.ts"
import { settle } from "../support/pools.ts"

const make = Effect.fnUntraced(function*(options?: SqlitePool.TemporaryOptions) {
  const pool = yield* SqlitePool.makeTemporary({ drainTimeout: 0, observeInterval: Infinity, ...options })
  yield* pool.write((connection) => connection.exec("create table t(a)"))
  return pool
})

const both = (pool: SqlitePool.SqlitePool, sql: string) => [
  pool.observe(sql) as Stream.Stream<unknown, unknown>,
  pool.observe(pool.sql.unsafe(sql)) as Stream.Stream<unknown, unknown>
]

describe("an observation", () => {
  it.effect("ends with the typed error of its query, and can be retried", () =>
    Effect.gen(function*() {
      const pool = yield* make()
      for (const stream of both(pool, "select a from missing")) {
        const error = yield* Effect.flip(Stream.runDrain(stream))
        assert.isTrue(isSqlError(error) && error.reason.message.includes("no such table"))
      }
      const [statement] = both(pool, "select a from later")
      const results = yield* reading(Stream.retry(statement!, Schedule.spaced("1 second")))
      assert.isUndefined(yield* results.now)
      yield* pool.sql`create table later(a)`
      yield* TestClock.adjust("1 second")
      assert.deepEqual(yield* results.now, [])
      // It fails in the middle, and begins again.
      yield* pool.sql`drop table later`
      assert.isUndefined(yield* results.now)
      yield* pool.sql`create table later as select 1 as a`
      yield* TestClock.adjust("1 second")
      assert.deepEqual(yield* results.now, [{ a: 1 }])
    }))

  it.effect("ends with the error of the effect that it observes", () =>
    Effect.gen(function*() {
      const pool = yield* make()
      const query = Effect.flatMap(
        pool.sql<{ n: number }>`select count(*) as n from t`,
        ([row]) => row!.n < 1 ? Effect.succeed(row!.n) : Effect.fail({ _tag: "TooMany" as const, n: row!.n })
      )
      const caught = yield* Effect.forkChild(
        pool.observe(query).pipe(Stream.catchTag("TooMany", ({ n }) => Stream.make(-n)), Stream.runCollect)
      )
      yield* settle
      yield* pool.sql`insert into t values (1)`
      assert.deepStrictEqual(yield* Fiber.join(caught), [0, -1])
    }))

  for (const filename of [":memory:", undefined]) {
    it.effect(`refuses to write, ${filename === undefined ? "in a file" : "in memory"}`, () =>
      Effect.gen(function*() {
        const pool = yield* SqlitePool.make({ filename: filename ?? (yield* file) })
        yield* pool.sql`create table t(a)`
        for (const stream of both(pool, "insert into t values (1) returning a")) {
          const error = yield* Effect.flip(Stream.runDrain(stream))
          assert.isTrue(isSqlError(error) && error.reason._tag === "AuthorizationError", String(error))
        }
        assert.deepStrictEqual(yield* pool.read((reader) => reader.values("select count(*) from t")), [[0]])
      }))
  }

  for (const filename of [":memory:", undefined]) {
    it.effect(`changes nothing on its connection, ${filename === undefined ? "in a file" : "in memory"}`, () =>
      Effect.gen(function*() {
        const pool = yield* SqlitePool.make({ filename: filename ?? (yield* file), readers: 1 })
        const left: Array<string> = []
        yield* Effect.forkScoped(
          Stream.runForEach(pool.readers.events, ({ _tag }) => Effect.sync(() => left.push(_tag))),
          { startImmediately: true }
        )
        for (const sql of ["begin", "savepoint s", "pragma cache_size = 7", "attach ':memory:' as other"]) {
          const error = yield* Effect.flip(Stream.runDrain(pool.observe(sql)))
          assert.isTrue(isSqlError(error) && error.reason._tag === "AuthorizationError", `${sql}: ${error}`)
        }
        yield* settle
        assert.notInclude(left, "TransactionLeftOpen")
        // What only asks is observed.
        const [row] = yield* Stream.runCollect(Stream.take(pool.observe("pragma user_version"), 1))
        assert.deepEqual(row, [{ user_version: 0 }])
      }))
  }

  it.effect("is refused invalid options, all of them at once, before it runs anything", () =>
    Effect.gen(function*() {
      const pool = yield* make()
      const options = { distinct: "yes", timeout: "soon", lable: 1 } as unknown as SqlitePool.ObserveOptions<unknown>
      let runs = 0
      const streams: ReadonlyArray<Stream.Stream<unknown, unknown>> = [
        pool.observe("select 1", [], options),
        pool.observe(Effect.sync(() => runs++), options)
      ]
      for (const stream of streams) {
        const error = yield* Effect.flip(Stream.runDrain(stream))
        assert.instanceOf(error, PoolError.PoolConfigError)
        assert.deepStrictEqual(error.problems.map(({ field }) => field).toSorted(), ["distinct", "lable", "timeout"])
      }
      assert.strictEqual(runs, 0)
      const failure = yield* Effect.flip(SqlitePool.makeTemporary({ observeInterval: 0 }))
      assert.strictEqual((failure as PoolError.PoolConfigError).problems[0].field, "observeInterval")
    }))

  it.effect("waits for a reader as long as its own timeout says, and is named there by its label", () =>
    Effect.gen(function*() {
      const pool = yield* make({ readers: 1, acquireTimeout: "1 minute" })
      const observe = (label: string) => pool.observe("select a from t", [], { label, timeout: "1 second" })
      const query = Effect.andThen(pool.sql`select a from t`, Effect.never)
      const holder = yield* Effect.forkChild(Stream.runDrain(pool.observe(query, { label: "totals" })))
      yield* settle
      assert.deepStrictEqual((yield* pool.readers.holders).map(({ label }) => label), ["totals"])
      const failing = yield* Effect.forkChild(
        PoolAssert.failsWith(Stream.runDrain(observe("list")), "AcquireTimeoutError")
      )
      yield* TestClock.adjust("999 millis")
      assert.isUndefined(failing.pollUnsafe())
      yield* TestClock.adjust("1 millis")
      assert.strictEqual((yield* Fiber.join(failing)).timeoutMillis, 1000)
      yield* Fiber.interrupt(holder)
    }))

  it.effect("ends with PoolClosedError when the database is shut down, whatever it waits for", () =>
    Effect.gen(function*() {
      const ways: ReadonlyArray<(pool: SqlitePool.SqlitePool, scope: Scope.Closeable) => Effect.Effect<unknown>> = [
        (pool) => pool.shutdown(),
        (_, scope) => Scope.close(scope, Exit.void)
      ]
      for (const end of ways) {
        const scope = yield* Scope.make()
        const pool = yield* Scope.provide(make({ readers: 1 }), scope)
        const waiting = yield* Effect.forEach(
          both(pool, "select a from t"),
          (stream) => Effect.forkChild(Effect.flip(Stream.runDrain(stream)))
        )
        const commits = yield* Effect.forkChild(Stream.runCollect(pool.commits))
        yield* settle
        // This one waits in the line of the readers.
        const held = yield* Effect.forkChild(Effect.exit(pool.read(() => Effect.never)))
        const inLine = yield* Effect.forkChild(Effect.flip(Stream.runDrain(pool.observe("select a from t"))))
        yield* settle
        yield* end(pool, scope)
        for (const fiber of [...waiting, inLine]) assert.instanceOf(yield* Fiber.join(fiber), PoolError.PoolClosedError)
        assert.deepStrictEqual(yield* Fiber.join(commits), [])
        yield* Fiber.await(held)
        assert.instanceOf(
          yield* Effect.flip(Stream.runDrain(pool.observe("select a from t"))),
          PoolError.PoolClosedError
        )
        assert.deepStrictEqual(yield* Stream.runCollect(pool.commits), [])
        yield* Scope.close(scope, Exit.void)
      }
    }))

  for (
    const [side, isMemory] of [["readers", false], ["writer", false], ["readers", true], ["writer", true]] as const
  ) {
    it.effect(`ends with a shutdown of the ${side} alone, ${isMemory ? "in memory" : "in a file"}`, () =>
      Effect.gen(function*() {
        const pool = isMemory ? yield* SqlitePool.make({ filename: ":memory:", drainTimeout: 0 }) : yield* make()
        yield* pool.sql`create table if not exists t(a)`
        const waiting = yield* Effect.forEach(
          both(pool, "select a from t"),
          (stream) => Effect.forkChild(Effect.flip(Stream.runDrain(stream)))
        )
        const commits = yield* Effect.forkChild(Stream.runCollect(pool.commits))
        yield* settle
        yield* pool[side].shutdown()
        for (const fiber of waiting) assert.instanceOf(yield* Fiber.join(fiber), PoolError.PoolClosedError)
        for (const stream of both(pool, "select a from t")) {
          assert.instanceOf(yield* Effect.flip(Stream.runDrain(stream)), PoolError.PoolClosedError)
        }
        if (side === "readers" && !isMemory) {
          // The writer still commits.
          yield* pool.write((connection) => connection.run("insert into t values (1)"))
          yield* pool.writer.shutdown()
          assert.deepStrictEqual((yield* Fiber.join(commits)).map(({ tables }) => tables), [["t"]])
        }
        assert.deepStrictEqual(yield* Stream.runCollect(pool.commits), [])
      }))
  }

  it.effect("goes on if a shutdown was refused for its options", () =>
    Effect.gen(function*() {
      const pool = yield* make()
      const results = yield* reading(pool.observe("select a from t"))
      yield* results.next
      assert.instanceOf(yield* Effect.flip(pool.shutdown({ drainTimeout: -1 })), PoolError.PoolConfigError)
      yield* pool.sql`insert into t values (1)`
      assert.deepEqual(yield* results.now, [{ a: 1 }])
    }))

  it.effect("is refused where it would wait for its own transaction: in memory", () =>
    Effect.gen(function*() {
      const pool = yield* SqlitePool.make({ filename: ":memory:" })
      yield* pool.sql`create table t(a)`
      for (const stream of both(pool, "select a from t")) {
        const error = yield* Effect.flip(pool.transaction(Stream.runHead(stream)))
        assert.instanceOf(error, PoolError.SelfDeadlockError)
        const inWrite = yield* Effect.flip(pool.write(() => Stream.runHead(stream)))
        assert.instanceOf(inWrite, PoolError.SelfDeadlockError)
      }
    }))

  it.effect("runs again after a run that was interrupted", () =>
    Effect.gen(function*() {
      const pool = yield* make()
      const first = yield* Deferred.make<void>()
      let runs = 0
      const query = Effect.andThen(
        pool.sql`select a from t`,
        Effect.suspend(() =>
          ++runs === 1 ? Effect.andThen(Deferred.succeed(first, void 0), Effect.never) : Effect.succeed(runs)
        )
      )
      const pull = yield* Stream.toPull(pool.observe(query))
      const fiber = yield* Effect.forkChild(pull)
      yield* Deferred.await(first)
      yield* Fiber.interrupt(fiber)
      assert.deepStrictEqual((yield* pool.stats).readers.inUse, 0)
      const again = yield* Effect.forkChild(pull)
      yield* settle
      // The stream may be over after an interrupt, but it does not hang.
      assert.isDefined(again.pollUnsafe())
    }))

  it.effect("leaves nothing behind, wherever it is interrupted", () =>
    Effect.gen(function*() {
      const pool = yield* make({ readers: 2 })
      let seen = 0
      const report = yield* Sweep.run({
        setup: pool.sql`delete from t`,
        scenario: () =>
          Effect.gen(function*() {
            const query = Effect.andThen(pool.sql`select count(*) as n from t`, pool.sql`select max(a) as a from t`)
            const streams = Stream.merge(pool.observe("select a from t"), pool.observe(query, { distinct: true }))
            const reader = yield* Effect.forkChild(Stream.runForEach(streams, () => Effect.sync(() => seen++)))
            for (let a = 0; a < 3; a++) {
              yield* pool.transaction(pool.sql`insert into t values (${a})`)
              // Turns for the queries, which run in another fiber.
              for (let turn = 0; turn < 4; turn++) yield* Effect.yieldNow
            }
            yield* Fiber.interrupt(reader)
          }),
        check: () =>
          Effect.gen(function*() {
            yield* settle
            const { readers, writer } = yield* pool.stats
            assert.deepStrictEqual([readers.inUse, readers.waiting, writer.inUse, writer.waiting], [0, 0, 0, 0])
            // Those who observe later hear of everything.
            yield* Effect.scoped(Effect.gen(function*() {
              const results = yield* reading(pool.observe("select count(*) as n from t"))
              const [before] = (yield* results.next) as ReadonlyArray<{ n: number }>
              yield* pool.sql`insert into t values (9)`
              assert.deepEqual(yield* results.now, [{ n: before!.n + 1 }])
              assert.isUndefined(yield* results.now)
            }))
          }),
        budgets: [3, 16],
        turns: [0, 40]
      })
      assert.isAbove(report.interrupted, report.cases / 4)
      // A thread answers later.
      assert.isAbove(seen, mode === "in-process" ? report.cases : report.cases / 4)
    }), 120_000)

  it.effect("waits while another process has a lock, within busyTimeout, and once more before a shutdown", () =>
    Effect.gen(function*() {
      const filename = yield* file
      // Without a log, a writer locks readers out.
      const other = yield* judge(filename, "create table t(a); insert into t values (1)")
      const layer = SqliteClient.layer({ filename, readonly: true, busyTimeout: "1 second", drainTimeout: "5 seconds" })
      yield* Effect.gen(function*() {
        const pool = yield* SqlitePool.SqlitePool
        const observed = pool.observe("select a from t")
        yield* Stream.runHead(observed)
        other.exec("begin exclusive")
        const late = yield* Effect.forkChild(PoolAssert.failsWith(Stream.runHead(observed), "SqlError"))
        yield* TestClock.adjust("990 millis")
        assert.isUndefined(late.pollUnsafe())
        yield* TestClock.adjust("20 millis")
        assert.strictEqual((yield* Fiber.join(late)).reason._tag, "LockTimeoutError")
        const seen: Array<unknown> = []
        const reading = Stream.runForEach(observed, (rows) => Effect.sync(() => seen.push(rows)))
        const running = yield* Effect.forkChild(PoolAssert.failsWith(reading, "PoolClosedError"))
        yield* TestClock.adjust("500 millis")
        const closing = yield* Effect.forkChild(pool.shutdown())
        yield* settle
        other.exec("rollback")
        yield* TestClock.adjust("5 millis")
        yield* Fiber.join(running)
        assert.deepEqual(seen, [[{ a: 1 }]])
        yield* Fiber.join(closing)
      }).pipe(Effect.provide(layer))
    }))

  it.effect("of a database that is only read hears of other connections", () =>
    Effect.gen(function*() {
      const filename = yield* file
      const other = yield* judge(filename, "pragma journal_mode = wal; create table t(a)")
      const layer = SqliteClient.layer({ filename, readonly: true, observeInterval: "1 second", readers: 2 })
      yield* Effect.gen(function*() {
        const pool = yield* SqlitePool.SqlitePool
        const results = yield* reading(pool.observe("select a from t"))
        assert.deepEqual(yield* results.now, [])
        other.exec("insert into t values (1)")
        yield* TestClock.adjust("1 second")
        assert.deepEqual(yield* results.now, [{ a: 1 }])
        // One reader sees an old state. The other one tells.
        yield* pool.snapshot(Effect.gen(function*() {
          yield* Stream.runHead(pool.observe("select a from t"))
          other.exec("insert into t values (2)")
          yield* TestClock.adjust("1 second")
          assert.deepEqual(yield* results.now, [{ a: 1 }, { a: 2 }])
        }))
      }).pipe(Effect.provide(layer))
    }))

  it.effect("hears of the statements of the drop-in client, also in a transaction by hand, with one connection too", () =>
    Effect.gen(function*() {
      for (const disableWAL of [false, true]) {
        const layer = SqliteClient.layer({ filename: yield* file, disableWAL, observeInterval: Infinity })
        yield* Effect.gen(function*() {
          const sql = yield* SqliteClient.SqliteClient
          const pool = yield* SqlitePool.SqlitePool
          yield* sql`create table t(a)`
          const results = yield* reading(pool.observe("select a from t"))
          assert.deepEqual(yield* results.now, [])
          yield* sql`begin`
          yield* sql`insert into t values (1)`
          assert.isUndefined(yield* results.now)
          yield* sql`commit`
          assert.deepEqual(yield* results.now, [{ a: 1 }])
          yield* sql`begin`
          yield* sql`insert into t values (2)`
          yield* sql`rollback`
          assert.isUndefined(yield* results.now)
        }).pipe(Effect.provide(layer))
      }
    }))

  it.effect("dies if it is given no query", () =>
    Effect.gen(function*() {
      const pool = yield* make()
      const exit = yield* Effect.exit(Stream.runDrain(pool.observe(7 as unknown as string)))
      assert.isTrue(Exit.isFailure(exit) && isSqlError(Cause.squash(exit.cause)))
    }))
})
