import { assert, describe, it } from "@effect/vitest"
import { Deferred, Effect, Fiber } from "effect"
import { SqliteConnection } from "effect-connection-pool/sqlite"
import { PoolAssert } from "effect-connection-pool/testing"
import { BeginTransaction } from "effect/sql/SqlClient"
import { TestClock } from "effect/testing"
import * as Database from "../support/database.ts"
import { mode } from "../support/modes/mode.ts"

const { codeOf } = SqliteConnection

const { failsWith } = PoolAssert

describe("the options of a transaction", () => {
  it.effect("are refused by name if they are invalid", () =>
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
        db.transaction(Effect.sync(() => Database.refusal(db, "begin immediate; rollback") === undefined), options)
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
      const why = mode === "in-process"
        ? "this connection was opened with `readOnly`, so it cannot write"
        : "this is a reader of pool \"db\", which cannot write: use `write` or `transaction`"
      assert.include(error.message, `begin: "begin immediate": ${why}`)
      const deferred = readers.transaction(Effect.die("must not run"), { isolation: "deferred" })
      const other = yield* failsWith(deferred, "TransactionBeginError")
      assert.include(other.message, `begin: "begin deferred": ${why}`)
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
      assert.strictEqual(error.pool, db.writer.name)
      for (const wrapped of [yield* Fiber.join(plain), yield* Fiber.join(alone)]) {
        assert.strictEqual(wrapped.reason._tag, "ConnectionError")
        assert.strictEqual((wrapped.reason.cause as typeof error)._tag, "AcquireTimeoutError")
        assert.isTrue(wrapped.isRetryable)
      }
      yield* Fiber.interrupt(holding)
      const stuck = db.writer.use(() => failsWith(db.transaction(Effect.void), "SelfDeadlockError"))
      assert.strictEqual((yield* stuck).pool, db.writer.name)
      yield* db.writer.shutdown()
      yield* failsWith(db.transaction(Effect.void), "PoolClosedError")
      const closed = yield* failsWith(db.sql`insert into t values (1)`, "SqlError")
      assert.deepStrictEqual([closed.reason._tag, closed.isRetryable], ["UnknownError", false])
    }))
})
