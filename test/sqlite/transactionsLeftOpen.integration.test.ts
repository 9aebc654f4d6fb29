import { assert, describe, it } from "@effect/vitest"
import { Effect, Fiber, Logger, Stream } from "effect"
import { type PoolEvent, PoolEvent as Events } from "effect-connection-pool"
import { SqlitePool } from "effect-connection-pool/sqlite"
import { PoolAssert } from "effect-connection-pool/testing"
import { settle } from "../support/pools.ts"

const make = Effect.gen(function*() {
  const logged: Array<string> = []
  const logger = Logger.make(({ message }) => void logged.push(String(message)))
  const pool = yield* Effect.provide(
    SqlitePool.makeTemporary({ drainTimeout: 0 }),
    Logger.layer([logger])
  )
  yield* pool.write((connection) => connection.exec("create table t(a)"))
  const events: Array<PoolEvent.PoolEvent> = []
  yield* Effect.forkDetach(
    Stream.runForEach(pool.writer.events, (event) => Effect.sync(() => void events.push(event)))
  )
  yield* settle
  const leftOpen = () => events.filter(Events.$is("TransactionLeftOpen"))
  return { pool, logged, leftOpen }
})

describe("a transaction that is begun by hand and left open", () => {
  it.effect("is rolled back, reported with its holder, and said in the log with the way out", () =>
    Effect.gen(function*() {
      const { leftOpen, logged, pool } = yield* make
      yield* pool.write((connection) => connection.exec("begin; insert into t values (1)"), { label: "import" })
      yield* settle
      const [event] = leftOpen()
      assert.strictEqual(leftOpen().length, 1)
      assert.deepInclude({ ...event!.holder }, { label: "import", connection: 1 })
      const warning = logged.find((line) => line.includes("left open"))!
      assert.match(warning, /^a transaction was left open and is rolled back: import \(fiber #\d+\) held connection 1/)
      assert.include(warning, "use `transaction`")
      assert.deepStrictEqual(yield* pool.read((reader) => reader.values("select count(*) from t")), [[0]])
    }))

  it.effect("is reported also for a synchronous lease, and one that is interrupted", () =>
    Effect.gen(function*() {
      const { leftOpen, pool } = yield* make
      yield* pool.write((connection) => Effect.sync(() => connection.execUnsafe("begin")))
      yield* settle
      assert.strictEqual(leftOpen().length, 1)
      const fiber = yield* Effect.forkChild(
        pool.write((connection) => Effect.andThen(connection.exec("begin"), Effect.never))
      )
      yield* settle
      yield* Fiber.interrupt(fiber)
      yield* settle
      assert.strictEqual(leftOpen().length, 2)
    }))

  it.effect("is no other than those: transactions, streams, backups and resets of other kinds are silent", () =>
    Effect.gen(function*() {
      const { leftOpen, logged, pool } = yield* make
      yield* Effect.ignore(pool.transaction(Effect.fail("no")))
      yield* Effect.exit(pool.transaction(Effect.interrupt))
      yield* Stream.runDrain(pool.stream("select 1"))
      yield* Stream.runDrain(pool.backup(`${pool.filename}.copy`))
      yield* pool.write((connection) => connection.exec("begin; insert into t values (1); commit"))
      yield* pool.write((connection) => connection.exec("pragma cache_size = 10"))
      yield* settle
      assert.deepStrictEqual(leftOpen(), [])
      assert.deepStrictEqual(logged.filter((line) => line.includes("left open")), [])
    }))

  it.effect("explains itself where it is ended too late", () =>
    Effect.gen(function*() {
      const { pool } = yield* make
      yield* pool.write((connection) => connection.exec("begin; insert into t values (1)"))
      for (const statement of ["commit", "rollback"]) {
        const late = pool.write((connection) => connection.exec(statement))
        const error = yield* PoolAssert.failsWith(late, "SqlError")
        assert.include(
          error.message,
          `cannot ${statement} - no transaction is active: a transaction that was begun by hand is rolled back when`
        )
        assert.include(error.message, "use `transaction`")
      }
    }))
})
