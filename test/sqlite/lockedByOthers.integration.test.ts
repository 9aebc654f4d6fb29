import { assert, describe, it } from "@effect/vitest"
import { Effect, Exit, Fiber, Schedule } from "effect"
import { SqliteConnection } from "effect-connection-pool/sqlite"
import { PoolAssert } from "effect-connection-pool/testing"
import { TestClock } from "effect/testing"
import * as Database from "../support/database.ts"
import { settle } from "../support/pools.ts"

const { codeOf } = SqliteConnection

const { failsWith } = PoolAssert

describe("a transaction that meets another's lock", () => {
  it.effect("waits for it without blocking other fibers, and then begins", () =>
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
