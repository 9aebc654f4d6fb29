import { assert, describe, it } from "@effect/vitest"
import { Deferred, Effect, Exit, Fiber, Scheduler, Scope, Stream } from "effect"
import { ConnectionPool, PoolError } from "effect-connection-pool"
import { SqliteConnection } from "effect-connection-pool/sqlite"
import { PoolAssert, Sweep } from "effect-connection-pool/testing"
import { SafeIntegers } from "effect/sql/SqlClient"
import { file, judge } from "../support/files.ts"

const count = 1000

/** Numbers from 1 to `count`. */
const numbers = Array.from({ length: count }, (_, index) => ({ n: index + 1 }))

const fill = `create table t(n); with recursive c(n) as (select 1 union all select n + 1 from c where n < ${count})
  insert into t select n from c;`

/** A pool of one connection to a file with a table of numbers. */
const make = Effect.gen(function*() {
  const filename = yield* file
  const pool = yield* ConnectionPool.make({ factory: SqliteConnection.factory({ filename }), max: 1, drainTimeout: 0 })
  yield* pool.use((connection) => connection.exec(fill))
  return { filename, pool }
})

const plain = (rows: ReadonlyArray<SqliteConnection.Row>) => rows.map((row) => ({ ...row }))

/** Whether a statement is open that would have to end before the table can go. */
const isReading = (connection: SqliteConnection.SqliteConnection) =>
  Effect.map(
    Effect.exit(connection.exec("savepoint probe; drop table t; rollback to probe; release probe")),
    Exit.isFailure
  ).pipe(Effect.tap(Effect.ignore(connection.exec("rollback"))))

describe("a stream of rows", () => {
  it.effect("gives every row, in order, and ends its statement", () =>
    Effect.gen(function*() {
      const { pool } = yield* make
      yield* pool.use((connection) =>
        Effect.gen(function*() {
          const rows = yield* Stream.runCollect(connection.stream("select n from t where n > ?", [0]))
          assert.deepStrictEqual(plain(rows), numbers)
          assert.isFalse(yield* isReading(connection))
          assert.deepStrictEqual(yield* Stream.runCollect(connection.stream("select n from t where n < 0")), [])
          assert.isFalse(yield* isReading(connection))
        })
      )
    }))

  it.effect("reads only as fast as it is read from", () =>
    Effect.gen(function*() {
      const { filename, pool } = yield* make
      yield* pool.use((connection) =>
        Effect.gen(function*() {
          const chunks: Array<number> = []
          yield* connection.stream("select n from t").pipe(
            Stream.chunks,
            Stream.tap((rows) => Effect.sync(() => chunks.push(rows.length))),
            Stream.take(2),
            Stream.runDrain
          )
          assert.deepStrictEqual(chunks, [256, 256])
          assert.isFalse(yield* isReading(connection))
          // Its rows are those of the moment when it began.
          const other = yield* judge(filename)
          const seen = yield* connection.stream("select n from t").pipe(
            Stream.tap(({ n }) => Effect.sync(() => n === 1 && other.exec("delete from t"))),
            Stream.runCount
          )
          assert.strictEqual(seen, count)
          assert.strictEqual(yield* Stream.runCount(connection.stream("select n from t")), 0)
        })
      )
    }))

  it.effect("lets others have their turn between chunks", () =>
    Effect.gen(function*() {
      const { pool } = yield* make
      yield* pool.use((connection) =>
        Effect.gen(function*() {
          let turns = 0
          const ticking = yield* Effect.forkChild(Effect.forever(Effect.andThen(
            Effect.sync(() => turns++),
            Effect.yieldNow
          )))
          yield* Stream.runDrain(connection.stream("select n from t"))
          yield* Fiber.interrupt(ticking)
          assert.isAtLeast(turns, 2)
        })
      ).pipe(Effect.provideService(Scheduler.MaxOpsBeforeYield, 1_000_000))
    }))

  const ends: Record<string, (row: SqliteConnection.Row) => Effect.Effect<boolean, string>> = {
    "is left early": () => Effect.succeed(false),
    fails: () => Effect.fail("no"),
    dies: () => Effect.die("no"),
    "is interrupted from inside": () => Effect.interrupt
  }
  for (const [how, end] of Object.entries(ends)) {
    it.effect(`ends its statement when it ${how}`, () =>
      Effect.gen(function*() {
        const { pool } = yield* make
        yield* pool.use((connection) =>
          Effect.gen(function*() {
            yield* connection.stream("select n from t").pipe(
              Stream.mapEffect(end),
              Stream.takeWhile((goesOn) => goesOn),
              Stream.runDrain,
              Effect.exit
            )
            assert.isFalse(yield* isReading(connection))
          })
        )
      }))
  }

  it.effect("ends its statement wherever an interrupt strikes", () =>
    Effect.gen(function*() {
      // Without a pool, which would clean up behind it.
      const driver = SqliteConnection.factory({ filename: yield* file })
      const connection = yield* driver.connect
      yield* connection.exec(fill)
      const report = yield* Sweep.run({
        setup: Effect.void,
        scenario: () => Stream.runDrain(connection.stream("select n from t")),
        check: () => Effect.sync(() => assert.isFalse(driver.needsReset!(connection))),
        budgets: [3, 40],
        turns: [0, 12]
      })
      assert.isAbove(report.interrupted, 100)
    }), 120_000)

  it.effect("may run beside another of the same SQL", () =>
    Effect.gen(function*() {
      const { pool } = yield* make
      const rows = yield* pool.use((connection) => {
        const stream = connection.stream("select n from t")
        return Stream.runCollect(Stream.zip(stream, Stream.drop(stream, 1)))
      })
      assert.strictEqual(rows.length, count - 1)
      for (const [one, next] of rows) assert.strictEqual(Number(next["n"]), Number(one["n"]) + 1)
    }))

  it.effect("takes SafeIntegers from its reader", () =>
    Effect.gen(function*() {
      const { pool } = yield* make
      const first = pool.use((connection) => Stream.runHead(connection.stream("select n from t")))
      assert.deepStrictEqual((yield* first.pipe(Effect.flatMap(Effect.fromOption)))["n"], 1)
      const exact = yield* Effect.provideService(first, SafeIntegers, true).pipe(Effect.flatMap(Effect.fromOption))
      assert.deepStrictEqual(exact["n"], 1n)
    }))

  it.effect("gives the rows before an error, and then the error", () =>
    Effect.gen(function*() {
      const { pool } = yield* make
      const seen: Array<unknown> = []
      const big = "select n from t where n < 4 union all select 9007199254740993"
      yield* pool.use((connection) =>
        Effect.gen(function*() {
          const error = yield* connection.stream(big).pipe(
            Stream.runForEach(({ n }) => Effect.sync(() => seen.push(n))),
            (run) => PoolAssert.failsWith(run, "SqlError")
          )
          assert.include(error.message, "SafeIntegers")
          assert.deepStrictEqual(seen, [1, 2, 3])
          assert.isFalse(yield* isReading(connection))
        })
      )
    }))

  it.effect("fails with the errors of its statement, and changes what that changes", () =>
    Effect.gen(function*() {
      const { pool } = yield* make
      yield* pool.use((connection) =>
        Effect.gen(function*() {
          const run = (sql: string, params?: SqliteConnection.Params) =>
            Stream.runCollect(connection.stream(sql, params))
          yield* PoolAssert.failsWith(run("nonsense"), "SqlError")
          yield* PoolAssert.failsWith(run("select ?"), "SqlError")
          yield* PoolAssert.failsWith(run("select n from t; select 1"), "SqlError")
          const inserted = yield* run("insert into t values (7001), (7002) returning n")
          assert.deepStrictEqual(plain(inserted), [{ n: 7001 }, { n: 7002 }])
          assert.deepStrictEqual(yield* run("delete from t where n > 7000"), [])
          assert.deepStrictEqual(yield* connection.values("select max(n) from t"), [[count]])
        })
      )
    }))

  it.effect("that outlives its lease fails, and leaves the next caller a clean connection", () =>
    Effect.gen(function*() {
      const { filename, pool } = yield* make
      const scope = yield* Scope.make()
      const pull = yield* pool.use((connection) =>
        Effect.tap(
          Scope.provide(Stream.toPull(connection.stream("select n from t")), scope),
          (pull) => Effect.map(pull, (rows) => assert.strictEqual(rows.length, 256))
        )
      )
      yield* pool.use((connection) =>
        Effect.gen(function*() {
          assert.isFalse(yield* isReading(connection))
          assert.deepStrictEqual(
            yield* Effect.flip(pull),
            new PoolError.LeaseExpiredError({ pool: "pool", operation: "stream" })
          )
        })
      )
      assert.strictEqual((yield* pool.stats).connects, 1)
      yield* Scope.close(scope, Exit.void)
      // What nobody reads any more does not hold up the log.
      const other = yield* judge(filename)
      assert.strictEqual(other.prepare("pragma wal_checkpoint(truncate)").get()!["busy"], 0)
    }))

  it.effect("of a connection that is closed fails", () =>
    Effect.gen(function*() {
      const filename = yield* file
      const scope = yield* Scope.make()
      const connection = yield* Scope.provide(SqliteConnection.open({ filename }), scope)
      yield* connection.exec(fill)
      const halfway = yield* Deferred.make<void>()
      const closed = yield* Deferred.make<void>()
      const reading = yield* connection.stream("select n from t").pipe(
        Stream.tap(({ n }) =>
          n === 256 ? Effect.andThen(Deferred.succeed(halfway, undefined), Deferred.await(closed)) : Effect.void
        ),
        Stream.runDrain,
        Effect.forkChild
      )
      yield* Deferred.await(halfway)
      yield* Scope.close(scope, Exit.void)
      yield* Deferred.succeed(closed, undefined)
      const error = yield* PoolAssert.failsWith(Fiber.join(reading), "SqlError")
      assert.strictEqual(error.message, "stream: the connection is closed")
    }))
})
