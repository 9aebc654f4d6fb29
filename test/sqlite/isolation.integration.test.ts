import { assert, describe, it } from "@effect/vitest"
import { Effect, Fiber, Latch, Schedule } from "effect"
import { TransactionError } from "effect-connection-pool"
import { SqliteConnection } from "effect-connection-pool/sqlite"
import { PoolAssert } from "effect-connection-pool/testing"
import { TestClock } from "effect/testing"
import * as Database from "../support/database.ts"

const { codeOf } = SqliteConnection

const { failsWith } = PoolAssert

/** Runs an effect in a fiber that stops half-way, until it is told to go on. */
const pausing = Effect.fnUntraced(function*<A, E>(run: (pause: Effect.Effect<void>) => Effect.Effect<A, E>) {
  const reached = yield* Latch.make()
  const resume = yield* Latch.make()
  const fiber = yield* Effect.forkChild(run(Effect.andThen(reached.open, resume.await)))
  yield* reached.await
  return Effect.andThen(resume.open, Fiber.join(fiber))
})

describe("an immediate transaction", () => {
  it.effect("locks out other writers, but no readers, from its beginning", () =>
    Effect.gen(function*() {
      const db = yield* Database.make()
      const { sql } = db
      yield* sql`insert into t values (1)`
      const transactions = [
        (body: Effect.Effect<void>) => Effect.orDie(db.withTransaction(body)),
        (body: Effect.Effect<void>) => Effect.orDie(db.transaction(body))
      ]
      for (const transaction of transactions) {
        const end = yield* pausing(transaction)
        assert.strictEqual(Database.refusal(db, "begin immediate"), 5)
        assert.deepStrictEqual(yield* sql`select n from t`.values, [[1]])
        yield* end
        assert.isUndefined(Database.refusal(db, "begin immediate; rollback"))
      }
    }))

  it.effect("does not show uncommitted work to others, in one statement or in many", () =>
    Effect.gen(function*() {
      const db = yield* Database.make()
      const { sql } = db
      const end = yield* pausing((pause) =>
        db.transaction(Effect.gen(function*() {
          yield* sql`insert into t values (1), (2)`
          yield* db.transaction(sql`insert into t values (3)`)
          yield* pause
        }))
      )
      assert.deepStrictEqual(db.rows, [])
      assert.deepStrictEqual(yield* sql`select n from t`, [])
      assert.deepStrictEqual(yield* db.transaction(sql`select n from t`.values, { readOnly: true }), [])
      yield* end
      assert.deepStrictEqual(yield* sql`select n from t`.values, [[1], [2], [3]])
    }))
})

describe("a deferred transaction", () => {
  it.effect("locks out other writers from its first write on", () =>
    Effect.gen(function*() {
      const db = yield* Database.make()
      yield* db.transaction(
        Effect.gen(function*() {
          assert.isUndefined(Database.refusal(db, "insert into t values (1)"))
          yield* db.sql`insert into t values (2)`
          assert.strictEqual(Database.refusal(db, "insert into t values (3)"), 5)
        }),
        { isolation: "deferred" }
      )
      assert.deepStrictEqual(db.rows, [1, 2])
    }))

  /** Reads, then is overtaken as often as told, then writes what it has read. */
  const overtaken = (db: Database.Database, times: number) => {
    let runs = 0
    const transfer = Effect.gen(function*() {
      const [[sum]] = (yield* db.sql`select coalesce(sum(n), 0) from t`.values) as [[number]]
      if (++runs <= times) db.other.exec(`insert into t values (${runs})`)
      yield* db.sql`insert into t values (${100 + sum})`
    })
    return { transfer, runs: () => runs }
  }

  it.effect("that was overtaken fails at once, and has done nothing", () =>
    Effect.gen(function*() {
      const db = yield* Database.make()
      const { runs, transfer } = overtaken(db, 1)
      const error = yield* failsWith(db.transaction(transfer, { isolation: "deferred" }), "SqlError")
      assert.deepStrictEqual([codeOf(error), error.reason._tag, error.isRetryable], [517, "SerializationError", true])
      assert.isTrue(TransactionError.isCurable(error))
      assert.deepStrictEqual([runs(), db.rows], [1, [1]])
    }))

  it.effect("that meets a lock fails at once as well, and begins anew if it may", () =>
    Effect.gen(function*() {
      const db = yield* Database.make()
      const { sql } = db
      const write = Effect.andThen(sql`select n from t`, sql`insert into t values (2)`)
      db.other.exec("begin immediate; insert into t values (1)")
      const error = yield* failsWith(db.transaction(write, { isolation: "deferred" }), "SqlError")
      assert.deepStrictEqual([codeOf(error), error.reason._tag], [5, "LockTimeoutError"])
      const fiber = yield* Effect.forkChild(
        db.transaction(write, { isolation: "deferred", retry: Schedule.spaced("1 second") })
      )
      yield* TestClock.adjust("2500 millis")
      db.other.exec("commit")
      assert.isUndefined(fiber.pollUnsafe())
      // In between it holds nothing.
      assert.strictEqual((yield* db.writer.stats).inUse, 0)
      yield* TestClock.adjust("500 millis")
      yield* Fiber.join(fiber)
      assert.deepStrictEqual(db.rows, [1, 2])
    }))

  it.effect("that was overtaken begins anew, if it may, and sees what it had missed", () =>
    Effect.gen(function*() {
      const db = yield* Database.make()
      const { runs, transfer } = overtaken(db, 3)
      const after: Array<number> = []
      yield* db.transaction(
        Effect.andThen(db.sql.afterCommit(Effect.sync(() => after.push(runs()))), transfer),
        { isolation: "deferred", retry: Schedule.recurs(5) }
      )
      assert.deepStrictEqual([runs(), db.rows, after], [4, [1, 2, 3, 106], [4]])
      assert.strictEqual((yield* db.writer.stats).inUse, 0)
    }))

  it.effect("finds the failure behind the application's own error", () =>
    Effect.gen(function*() {
      const db = yield* Database.make()
      const { runs, transfer } = overtaken(db, 1)
      const named = Effect.mapError(transfer, (cause) => new Error("transfer failed", { cause }))
      yield* db.transaction(named, { isolation: "deferred", retry: Schedule.recurs(1) })
      assert.strictEqual(runs(), 2)
    }))

  it.effect("gives up when its schedule does, with the last failure", () =>
    Effect.gen(function*() {
      const db = yield* Database.make()
      const { runs, transfer } = overtaken(db, 10)
      const fiber = yield* Effect.forkChild(
        failsWith(
          db.transaction(transfer, {
            isolation: "deferred",
            retry: Schedule.max([Schedule.spaced("1 second"), Schedule.recurs(2)])
          }),
          "SqlError"
        )
      )
      yield* TestClock.adjust("1 second")
      assert.strictEqual(runs(), 2)
      assert.strictEqual((yield* db.writer.stats).inUse, 0)
      yield* TestClock.adjust("1 second")
      assert.strictEqual(codeOf(yield* Fiber.join(fiber)), 517)
      assert.strictEqual(runs(), 3)
    }))

  it.effect("does not begin anew for anything else, nor inside another", () =>
    Effect.gen(function*() {
      const db = yield* Database.make()
      let runs = 0
      const failing = (error: unknown) =>
        db.transaction(Effect.andThen(Effect.sync(() => runs++), Effect.fail(error)), { retry: Schedule.recurs(5) })
      for (const error of ["no", { cause: undefined }, null]) {
        assert.strictEqual(yield* Effect.flip(failing(error)), error)
      }
      yield* Effect.flip(db.transaction(db.sql`insert into t values (null), (1), (1)`, { retry: Schedule.recurs(5) }))
      assert.strictEqual(runs, 3)
      const inner = overtaken(db, 1)
      const outer = db.transaction(
        db.transaction(inner.transfer, { retry: Schedule.recurs(5) }),
        { isolation: "deferred" }
      )
      assert.strictEqual(codeOf(yield* Effect.flip(outer)), 517)
      assert.strictEqual(inner.runs(), 1)
    }))
})

describe("an exclusive transaction", () => {
  it.effect("keeps readers out as well, where the journal is no WAL", () =>
    Effect.gen(function*() {
      const db = yield* Database.make({ journalMode: "delete", busyTimeout: 0 })
      const { sql } = db
      const read = sql`select n from t`.values
      const end = yield* pausing((pause) => db.transaction(pause, { isolation: "exclusive" }))
      assert.strictEqual(Database.refusal(db, "select * from t"), 5)
      assert.strictEqual(codeOf(yield* Effect.flip(read)), 5)
      yield* end
      assert.deepStrictEqual(yield* read, [])
      const mild = yield* pausing((pause) => db.transaction(pause, { isolation: "immediate" }))
      assert.deepStrictEqual(yield* read, [])
      yield* mild
    }))
})

describe("a transaction that only reads", () => {
  it.effect("sees one state from its beginning to its end, whoever writes", () =>
    Effect.gen(function*() {
      const db = yield* Database.make()
      const { sql } = db
      yield* sql`insert into t values (1)`
      const read = sql`select n from t`.values
      const end = yield* pausing((pause) =>
        db.transaction(
          Effect.gen(function*() {
            // Its beginning is before its first statement.
            yield* pause
            return [yield* read, yield* db.transaction(read)]
          }),
          { readOnly: true }
        )
      )
      db.other.exec("insert into t values (2)")
      yield* sql`insert into t values (3)`
      assert.deepStrictEqual(yield* read, [[1], [2], [3]])
      assert.deepStrictEqual(yield* end, [[[1]], [[1]]])
      // The writer was free for others all the time.
      assert.strictEqual((yield* db.writer.stats).maxWaitMillis, 0)
    }))

  it.effect("cannot write, on a reader or in memory", () =>
    Effect.gen(function*() {
      const db = yield* Database.make()
      const memory = yield* Database.makeInMemory()
      for (const { sql, transaction } of [db, memory]) {
        for (const statement of ["insert into t values (1)", "create table x(a)", "delete from t"]) {
          const error = yield* failsWith(transaction(sql.unsafe(statement), { readOnly: true }), "SqlError")
          assert.strictEqual(codeOf(error), 8, statement)
        }
        assert.deepStrictEqual(yield* transaction(sql`select n from t`, { readOnly: true }), [])
        // Nor is anything left of that.
        yield* Effect.exit(transaction(Effect.interrupt, { readOnly: true }))
        yield* transaction(sql`insert into t values (1)`)
        yield* sql`insert into t values (2)`
        assert.deepStrictEqual(yield* sql`select n from t`.values, [[1], [2]])
      }
      assert.strictEqual((yield* memory.pool.stats).connects, 1)
    }))

  it.effect("waits for the locks of others as well, and leaves nothing behind when it gives up", () =>
    Effect.gen(function*() {
      const db = yield* Database.make({ journalMode: "delete", busyTimeout: 100 })
      const read = db.transaction(db.sql`select n from t`.values, { readOnly: true })
      db.other.exec("begin exclusive")
      const late = yield* Effect.forkChild(failsWith(read, "TransactionBeginError"))
      yield* TestClock.adjust("200 millis")
      assert.strictEqual(codeOf((yield* Fiber.join(late)).cause), 5)
      assert.strictEqual((yield* db.reader.stats).inUse, 0)
      const inTime = yield* Effect.forkChild(read)
      yield* TestClock.adjust("50 millis")
      db.other.exec("insert into t values (1); commit")
      yield* TestClock.adjust("10 millis")
      assert.deepStrictEqual(yield* Fiber.join(inTime), [[1]])
    }))
})
