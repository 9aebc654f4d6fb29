import { assert, describe, it } from "@effect/vitest"
import { Cause, Deferred, Effect, Exit, Fiber, Logger, References, Stream } from "effect"
import { type SqliteConnection, SqlitePool, SqlitePoolError } from "effect-connection-pool/sqlite"
import { PoolAssert } from "effect-connection-pool/testing"
import { TestClock } from "effect/testing"
import { logged, make } from "../support/logOfSqlite.ts"
import { mode } from "../support/modes/mode.ts"
import { settle } from "../support/pools.ts"

/** A row that takes a page. */
const insert = (connection: SqliteConnection.SqliteConnection) =>
  connection.run("insert into t values (1, randomblob(3000))")

const count = (pool: SqlitePool.SqlitePool) =>
  pool.read((reader) => Effect.map(reader.values("select count(*) from t"), ([row]) => row![0] as number))

describe("a read that holds on to one state of the database", () => {
  it.effect("is ended at maxReadAge, with a typed failure, and the log can be moved again", () =>
    Effect.gen(function*() {
      const { lines, layer } = yield* logged
      yield* Effect.provide(
        Effect.gen(function*() {
          const { pool, wal } = yield* make({ maxReadAge: "2 seconds", readers: 1, leakThreshold: "Infinity" })
          const begun = yield* Deferred.make<void>()
          let isReleased = false
          const fiber = yield* Effect.forkChild(
            pool.snapshot(
              Effect.andThen(count(pool), Effect.andThen(Deferred.succeed(begun, undefined), Effect.never)).pipe(
                Effect.onInterrupt(() =>
                  Effect.sync(() => {
                    isReleased = true
                  })
                )
              )
            )
          )
          yield* Deferred.await(begun)
          yield* pool.write(insert)
          assert.isFalse((yield* pool.checkpoint()).isComplete)
          yield* TestClock.adjust("1999 millis")
          assert.isUndefined(fiber.pollUnsafe())
          yield* TestClock.adjust("1 millis")
          const error = yield* PoolAssert.failsWith(Fiber.join(fiber), "SnapshotExpiredError")
          assert.deepStrictEqual(
            error,
            new SqlitePoolError.SnapshotExpiredError({ pool: "sqlite", heldMillis: 2000, maxReadAgeMillis: 2000 })
          )
          assert.include(error.message, "held for 2000 ms and ended, maxReadAge is 2000 ms")
          assert.isTrue(isReleased)
          assert.deepStrictEqual((yield* pool.checkpoint()).isComplete, true)
          assert.strictEqual(wal(), 0)
          // The reader is back, and clean.
          assert.strictEqual(yield* count(pool), 1)
          assert.strictEqual((yield* pool.stats).readers.connects, 1)
        }),
        layer
      )
      assert.deepStrictEqual(lines, [
        "a read was ended that had pinned a state of the database for 2000 ms (maxReadAge)"
      ])
    }))

  it.effect("is let go at that age also where its body cannot be interrupted", () =>
    Effect.gen(function*() {
      const { pool } = yield* make({ maxReadAge: "1 second" })
      const gate = yield* Deferred.make<void>()
      const errors: Array<unknown> = []
      const body = Effect.gen(function*() {
        yield* Deferred.await(gate)
        errors.push(yield* Effect.exit(count(pool)))
      })
      const fiber = yield* Effect.forkChild(pool.snapshot(Effect.uninterruptible(body)))
      yield* settle
      yield* pool.write(insert)
      yield* TestClock.adjust("1 second")
      assert.isTrue((yield* pool.checkpoint()).isComplete)
      yield* Deferred.succeed(gate, undefined)
      yield* PoolAssert.failsWith(Fiber.join(fiber), "SnapshotExpiredError")
      assert.match(String(errors[0]), /the transaction has ended early.*1000 ms/)
    }))

  it.effect("is ended too where it is a transaction of its own making, or a stream", () =>
    Effect.gen(function*() {
      const { pool } = yield* make({ maxReadAge: "1 second" })
      yield* Effect.forEach([1, 2, 3], () => pool.write(insert))
      const gate = yield* Deferred.make<void>()
      const own = yield* Effect.forkChild(pool.read((reader) =>
        Effect.gen(function*() {
          yield* reader.query("begin")
          yield* reader.query("select * from t")
          yield* Deferred.await(gate)
          return yield* reader.query("select * from t")
        })
      ))
      const streaming = yield* Effect.forkChild(
        pool.stream("with recursive n(x) as (select 1 union all select x + 1 from n where x < 1000) select x from n, t")
          .pipe(
            Stream.rechunk(1),
            Stream.runForEach(() => Deferred.await(gate))
          )
      )
      yield* settle
      yield* pool.write(insert)
      assert.isFalse((yield* pool.checkpoint()).isComplete)
      yield* TestClock.adjust("1 second")
      assert.isTrue((yield* pool.checkpoint()).isComplete)
      yield* Deferred.succeed(gate, undefined)
      for (const fiber of [Effect.asVoid(Fiber.join(own)), Fiber.join(streaming)]) {
        const error = yield* PoolAssert.failsWith(fiber, "LeaseExpiredError")
        assert.match(error.message, /the lease on this connection.* has ended \(it was held for 1000 ms/)
      }
      const { readers } = yield* pool.stats
      assert.strictEqual(readers.inUse, 0)
    }))

  it.effect("may be lent for longer as long as it holds on to nothing", () =>
    Effect.gen(function*() {
      const { pool } = yield* make({ maxReadAge: "1 second", leakThreshold: "Infinity" })
      const gate = yield* Deferred.make<void>()
      const fiber = yield* Effect.forkChild(pool.read((reader) =>
        Effect.andThen(reader.values("select 1"), Effect.andThen(Deferred.await(gate), reader.values("select 2")))
      ))
      yield* settle
      yield* TestClock.adjust("10 seconds")
      yield* Deferred.succeed(gate, undefined)
      assert.deepStrictEqual(yield* Fiber.join(fiber), [[2]])
      // It may begin to later, but then not for long.
      const begin = yield* Deferred.make<void>()
      const late = yield* Effect.forkChild(pool.read((reader) =>
        Effect.gen(function*() {
          yield* Deferred.await(begin)
          yield* reader.query("begin")
          yield* reader.query("select * from t")
          yield* Effect.sleep("1 minute")
          return yield* reader.query("select * from t")
        })
      ))
      yield* settle
      yield* TestClock.adjust("10 seconds")
      yield* Deferred.succeed(begin, undefined)
      yield* settle
      yield* TestClock.adjust("2 seconds")
      yield* pool.write(insert)
      assert.isTrue((yield* pool.checkpoint()).isComplete)
      yield* TestClock.adjust("1 minute")
      yield* PoolAssert.failsWith(Fiber.join(late), "LeaseExpiredError")
      // And without a limit, it may hold on to it.
      const patient = yield* make({ maxReadAge: "Infinity", leakThreshold: "Infinity" })
      const again = yield* Deferred.make<void>()
      const holding = yield* Effect.forkChild(
        patient.pool.snapshot(Effect.andThen(Deferred.await(again), count(patient.pool)))
      )
      yield* settle
      yield* TestClock.adjust("10 days")
      yield* Deferred.succeed(again, undefined)
      assert.strictEqual(yield* Fiber.join(holding), 0)
    }))

  it.effect("is ended in time, whatever other reads began before and after it", () =>
    Effect.gen(function*() {
      const { pool } = yield* make({ maxReadAge: "10 seconds", readers: 8 })
      const ended: Array<string> = []
      const begin = (name: string) =>
        Effect.andThen(
          Effect.forkChild(
            Effect.onExit(pool.snapshot<never, never, never>(Effect.never), (exit) =>
              Effect.sync(() => {
                if (Exit.isFailure(exit) && !Cause.hasInterrupts(exit.cause)) ended.push(name)
              }))
          ),
          settle
        )
      yield* begin("a")
      yield* TestClock.adjust("4 seconds")
      yield* begin("b")
      yield* count(pool)
      yield* TestClock.adjust("4 seconds")
      yield* begin("c")
      yield* TestClock.adjust("1999 millis")
      assert.deepStrictEqual(ended, [])
      yield* TestClock.adjust("1 millis")
      assert.deepStrictEqual(ended, ["a"])
      yield* TestClock.adjust("4 seconds")
      assert.deepStrictEqual(ended, ["a", "b"])
      yield* TestClock.adjust("4 seconds")
      assert.deepStrictEqual(ended, ["a", "b", "c"])
      assert.strictEqual((yield* pool.stats).readers.inUse, 0)
    }))

  it.effect("is named in the log by its pool: the readers of a database that is written too, else the database", () =>
    Effect.gen(function*() {
      const pools: Array<unknown> = []
      const logger = Logger.make<unknown, void>(({ fiber }) => {
        pools.push(fiber.getRef(References.CurrentLogAnnotations)["pool"])
      })
      const { filename } = yield* make()
      for (const readOnly of [false, true]) {
        yield* Effect.provide(
          Effect.gen(function*() {
            const pool = yield* SqlitePool.make({
              filename,
              name: "given",
              readOnly,
              maxReadAge: "1 second",
              drainTimeout: 0
            })
            const held = yield* Effect.forkChild(pool.snapshot<never, never, never>(Effect.never))
            yield* settle
            yield* TestClock.adjust("1 second")
            yield* PoolAssert.failsWith(Fiber.join(held), "SnapshotExpiredError")
          }),
          Logger.layer([logger])
        )
      }
      assert.deepStrictEqual(
        pools,
        mode === "in-process" ? ["given/readers", "given"] : ["given/workers", "given/workers"]
      )
    }))
})
