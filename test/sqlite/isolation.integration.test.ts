import { assert, describe, it } from "@effect/vitest"
import { Deferred, Effect, Exit, Fiber, Latch, Schedule } from "effect"
import { TransactionError } from "effect-connection-pool"
import { SqliteConnection } from "effect-connection-pool/sqlite"
import { PoolAssert } from "effect-connection-pool/testing"
import { BeginTransaction } from "effect/sql/SqlClient"
import { TestClock } from "effect/testing"
import * as Database from "../support/database.ts"
import { settle } from "../support/pools.ts"

const { codeOf } = SqliteConnection
const { failsWith } = PoolAssert

/** What the other handle is refused with, if it is. */
const refusal = (db: Database.Database, sql: string): number | undefined => {
  try {
    db.other.exec(sql)
    return undefined
  } catch (thrown) {
    return (thrown as { readonly errcode: number }).errcode
  }
}

/** Runs an effect in a fiber that stops half-way, until it is told to go on. */
const pausing = Effect.fnUntraced(function*<A, E>(run: (pause: Effect.Effect<void>) => Effect.Effect<A, E>) {
  const reached = yield* Latch.make()
  const resume = yield* Latch.make()
  const fiber = yield* Effect.forkChild(run(Effect.andThen(reached.open, resume.await)))
  yield* reached.await
  return Effect.andThen(resume.open, Fiber.join(fiber))
})

describe("an immediate transaction", () => {
  it.effect("keeps others from writing from its beginning, and nobody from reading", () =>
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
        assert.strictEqual(refusal(db, "begin immediate"), 5)
        assert.deepStrictEqual(yield* sql`select n from t`.values, [[1]])
        yield* end
        assert.isUndefined(refusal(db, "begin immediate; rollback"))
      }
    }))

  it.effect("shows nobody what it has not committed, in one statement or in many", () =>
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
  it.effect("keeps others from writing from its first write on", () =>
    Effect.gen(function*() {
      const db = yield* Database.make()
      yield* db.transaction(
        Effect.gen(function*() {
          assert.isUndefined(refusal(db, "insert into t values (1)"))
          yield* db.sql`insert into t values (2)`
          assert.strictEqual(refusal(db, "insert into t values (3)"), 5)
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
      assert.strictEqual(refusal(db, "select * from t"), 5)
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

describe("a transaction that meets another's lock", () => {
  it.effect("waits for it without holding up anybody, and then begins", () =>
    Effect.gen(function*() {
      const db = yield* Database.make()
      db.other.exec("begin immediate; insert into t values (1)")
      const fiber = yield* Effect.forkChild(db.transaction(db.sql`insert into t values (2)`))
      yield* TestClock.adjust("500 millis")
      assert.isUndefined(fiber.pollUnsafe())
      db.other.exec("commit")
      yield* TestClock.adjust("2 millis")
      yield* Fiber.join(fiber)
      assert.deepStrictEqual(db.rows, [1, 2])
    }))

  it.effect("gives up after busyTimeout, with an error that a retry may cure", () =>
    Effect.gen(function*() {
      const db = yield* Database.make({ busyTimeout: 200 })
      db.other.exec("begin immediate")
      let runs = 0
      const body = Effect.sync(() => runs++)
      const fiber = yield* Effect.forkChild(failsWith(db.transaction(body), "TransactionBeginError"))
      const plain = yield* Effect.forkChild(failsWith(db.withTransaction(body), "SqlError"))
      yield* TestClock.adjust("210 millis")
      const error = yield* Fiber.join(fiber)
      assert.deepStrictEqual([codeOf(error.cause), error.depth, error.isRetryable], [5, 0, true])
      assert.include(error.message, "pool \"db\": could not begin the transaction: database is locked")
      yield* TestClock.adjust("210 millis")
      assert.strictEqual((yield* Fiber.join(plain)).reason._tag, "LockTimeoutError")
      const retrying = yield* Effect.forkChild(db.transaction(body, { retry: Schedule.recurs(1) }))
      yield* TestClock.adjust("250 millis")
      assert.isUndefined(retrying.pollUnsafe())
      db.other.exec("commit")
      yield* TestClock.adjust("2 millis")
      yield* Fiber.join(retrying)
      assert.strictEqual(runs, 1)
    }))

  it.effect("can be interrupted while it waits, and holds nothing then", () =>
    Effect.gen(function*() {
      const db = yield* Database.make()
      db.other.exec("begin immediate")
      for (const transaction of [db.transaction, db.withTransaction]) {
        const fiber = yield* Effect.forkChild(transaction(Effect.die("must not run")))
        yield* TestClock.adjust("10 millis")
        const interrupting = yield* Effect.forkChild(Fiber.interrupt(fiber))
        yield* settle
        assert.isTrue(Exit.hasInterrupts(interrupting.pollUnsafe() ? yield* Fiber.await(fiber) : Exit.void))
        assert.strictEqual((yield* db.writer.stats).inUse, 0)
      }
      db.other.exec("commit")
      yield* db.transaction(db.sql`insert into t values (1)`)
      assert.strictEqual((yield* db.writer.stats).connects, 1)
    }))

  it.effect("at its commit waits for it too, and rolls back if it does not go", () =>
    Effect.gen(function*() {
      const db = yield* Database.make({ journalMode: "delete", busyTimeout: 100 })
      const reading = () => db.other.exec("begin; select * from t")
      const write = db.transaction(db.sql`insert into t values (1)`)
      reading()
      const late = yield* Effect.forkChild(failsWith(write, "TransactionCommitError"))
      yield* TestClock.adjust("110 millis")
      const error = yield* Fiber.join(late)
      assert.deepStrictEqual([codeOf(error.cause), error.isRetryable], [5, true])
      db.other.exec("commit")
      assert.deepStrictEqual(db.rows, [])
      assert.isFalse(yield* db.writer.use((connection) => connection.isTransaction))
      reading()
      const inTime = yield* Effect.forkChild(write)
      yield* TestClock.adjust("50 millis")
      db.other.exec("commit")
      yield* TestClock.adjust("2 millis")
      yield* Fiber.join(inTime)
      assert.deepStrictEqual(db.rows, [1])
    }))
})

describe("a statement on its own", () => {
  it.effect("waits for the locks of others as well, and in its place", () =>
    Effect.gen(function*() {
      const db = yield* Database.make({ busyTimeout: 200 })
      const insert = (n: number) => Effect.forkChild(db.sql`insert into t values (${n}) returning n, rowid`.values)
      db.other.exec("begin immediate")
      const first = yield* insert(2)
      const second = yield* insert(1)
      yield* TestClock.adjust("100 millis")
      db.other.exec("commit")
      yield* TestClock.adjust("10 millis")
      assert.deepStrictEqual(yield* Fiber.join(first), [[2, 1]])
      assert.deepStrictEqual(yield* Fiber.join(second), [[1, 2]])
      db.other.exec("begin immediate")
      const late = yield* Effect.forkChild(failsWith(db.sql`insert into t values (3)`, "SqlError"))
      yield* TestClock.adjust("210 millis")
      assert.strictEqual(codeOf(yield* Fiber.join(late)), 5)
    }))
})

describe("the options of a transaction", () => {
  it.effect("are refused where they make no sense, by name", () =>
    Effect.gen(function*() {
      const db = yield* Database.make()
      const cases: ReadonlyArray<readonly [options: object, field: string, value: string, mustBe: string]> = [
        [
          { isolation: "serializable" },
          "isolation",
          "\"serializable\"",
          "\"immediate\", \"deferred\" or \"exclusive\""
        ],
        [{ readOnly: "yes" }, "readOnly", "\"yes\"", "true or false"],
        [{ retry: 3 }, "retry", "3", "a Schedule"],
        [
          { isolation: "immediate", readOnly: true },
          "isolation",
          "\"immediate\"",
          "\"deferred\" where readOnly is true"
        ]
      ]
      for (const [options, field, value, mustBe] of cases) {
        const error = yield* failsWith(db.transaction(Effect.die("must not run"), options), "TransactionOptionsError")
        assert.deepStrictEqual([error.pool, error.field, error.value, error.problems.length], ["db", field, value, 1])
        assert.strictEqual(error.message, `pool "db": transaction: ${field} is ${value}, but must be ${mustBe}`)
      }
      assert.strictEqual((yield* db.writer.stats).checkouts, 1)
    }))

  it.effect("inside another transaction can only name what that one is", () =>
    Effect.gen(function*() {
      const db = yield* Database.make()
      const { transaction } = db
      const inside = (
        outer: Parameters<typeof transaction>[1],
        inner: Parameters<typeof transaction>[1]
      ) => transaction(transaction(Effect.succeed("ran"), inner), outer)
      assert.strictEqual(yield* inside(undefined, { isolation: "immediate", readOnly: false }), "ran")
      assert.strictEqual(yield* inside({ readOnly: true }, { isolation: "deferred", readOnly: true }), "ran")
      const other = yield* failsWith(inside(undefined, { isolation: "exclusive" }), "TransactionOptionsError")
      assert.deepInclude(other.problems, {
        field: "isolation",
        value: "\"exclusive\"",
        message: "isolation is \"exclusive\", but must be \"immediate\", which the transaction around it has"
      })
      const reading = yield* failsWith(inside(undefined, { readOnly: true }), "TransactionOptionsError")
      assert.deepInclude(reading.problems, {
        field: "readOnly",
        value: "true",
        message: "readOnly is true, but must be false, as for the transaction around it"
      })
      const writing = yield* failsWith(inside({ readOnly: true }, { readOnly: false }), "TransactionOptionsError")
      assert.strictEqual(writing.value, "false")
      const both = yield* failsWith(
        inside(undefined, { isolation: "exclusive", readOnly: true, foreignKeys: "off", timeout: -1 } as never),
        "TransactionOptionsError"
      )
      assert.deepStrictEqual(
        both.problems.map(({ field, message }) => [field, message.split(":")[0]]),
        [
          ["timeout", "timeout is -1, but must be a duration of zero or more, such as \"5 seconds\", or Infinity"],
          ["isolation", "isolation is \"exclusive\", but must be \"immediate\", which the transaction around it has"],
          ["readOnly", "readOnly is true, but must be false, as for the transaction around it"],
          ["foreignKeys", "foreignKeys is \"off\", but must be given to the outermost transaction"]
        ]
      )
    }))

  it.effect("come before BeginTransaction, which comes before the default", () =>
    Effect.gen(function*() {
      const db = yield* Database.make()
      const isDeferred = (options?: { readonly isolation: "immediate" }) =>
        db.transaction(Effect.sync(() => refusal(db, "begin immediate; rollback") === undefined), options)
      const provided = Effect.provideService(BeginTransaction, "begin deferred")
      assert.isFalse(yield* isDeferred())
      assert.isTrue(yield* provided(isDeferred()))
      assert.isFalse(yield* provided(isDeferred({ isolation: "immediate" })))
      assert.isTrue(yield* provided(db.transaction(isDeferred())))
      const named = db.transaction(db.transaction(Effect.void, { isolation: "exclusive" }))
      for (const statement of ["BEGIN EXCLUSIVE", " begin  exclusive transaction"]) {
        yield* Effect.provideService(named, BeginTransaction, statement)
      }
      for (const statement of ["begin", "BEGIN TRANSACTION", "begin immediate"]) {
        yield* failsWith(Effect.provideService(named, BeginTransaction, statement), "TransactionOptionsError")
      }
    }))

  it.effect("cannot have a transaction begun by what begins none", () =>
    Effect.gen(function*() {
      const db = yield* Database.make()
      const run = db.transaction(Effect.die("must not run"))
      const none = yield* failsWith(Effect.provideService(run, BeginTransaction, "select 1"), "TransactionBeginError")
      assert.include(none.message, "begin: \"select 1\" begins no transaction")
      const wrong = yield* failsWith(Effect.provideService(run, BeginTransaction, "start"), "TransactionBeginError")
      assert.strictEqual(codeOf(wrong.cause), 1)
      yield* db.transaction(db.sql`insert into t values (1)`)
    }))

  it.effect("cannot have a reader write", () =>
    Effect.gen(function*() {
      const db = yield* Database.make()
      const readers = yield* Database.over({ name: "db", writer: db.reader, reader: db.reader })
      const error = yield* failsWith(readers.transaction(Effect.die("must not run")), "TransactionBeginError")
      assert.include(error.message, "begin: \"begin immediate\": this connection was opened with `readOnly`")
      const deferred = readers.transaction(Effect.die("must not run"), { isolation: "deferred" })
      const other = yield* failsWith(deferred, "TransactionBeginError")
      assert.include(other.message, "begin: \"begin deferred\": this connection was opened with `readOnly`")
      assert.strictEqual(codeOf(other.cause), 8)
    }))
})

describe("a transaction without a connection", () => {
  it.effect("fails with why there is none", () =>
    Effect.gen(function*() {
      const db = yield* Database.make()
      const held = yield* Deferred.make<void>()
      const holding = yield* Effect.forkChild(
        db.writer.use(() => Effect.andThen(Deferred.succeed(held, undefined), Effect.never))
      )
      yield* Deferred.await(held)
      const late = yield* Effect.forkChild(failsWith(db.transaction(Effect.void), "AcquireTimeoutError"))
      const plain = yield* Effect.forkChild(failsWith(db.withTransaction(Effect.void), "SqlError"))
      const alone = yield* Effect.forkChild(failsWith(db.sql`insert into t values (1)`, "SqlError"))
      yield* TestClock.adjust("31 seconds")
      const error = yield* Fiber.join(late)
      assert.strictEqual(error.pool, "writer")
      for (const wrapped of [yield* Fiber.join(plain), yield* Fiber.join(alone)]) {
        assert.strictEqual(wrapped.reason._tag, "ConnectionError")
        assert.strictEqual((wrapped.reason.cause as typeof error)._tag, "AcquireTimeoutError")
        assert.isTrue(wrapped.isRetryable)
      }
      yield* Fiber.interrupt(holding)
      const stuck = db.writer.use(() => failsWith(db.transaction(Effect.void), "SelfDeadlockError"))
      assert.strictEqual((yield* stuck).pool, "writer")
      yield* db.writer.shutdown()
      yield* failsWith(db.transaction(Effect.void), "PoolClosedError")
      const closed = yield* failsWith(db.sql`insert into t values (1)`, "SqlError")
      assert.deepStrictEqual([closed.reason._tag, closed.isRetryable], ["UnknownError", false])
    }))
})
