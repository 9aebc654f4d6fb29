import { assert, describe, it } from "@effect/vitest"
import { Deferred, Effect, Fiber } from "effect"
import { TransactionError } from "effect-connection-pool"
import { SqliteConnection } from "effect-connection-pool/sqlite"
import { PoolAssert, Sweep } from "effect-connection-pool/testing"
import { elsewhere, judge } from "../support/files.ts"
import { mode } from "../support/modes/mode.ts"
import { settle } from "../support/pools.ts"
import { count, insert, make } from "../support/sqlitePools.ts"

describe("a snapshot", () => {
  it.effect("sees one state in all of its body, while others write and read", () =>
    Effect.gen(function*() {
      const { pool } = yield* make()
      const seen = yield* pool.snapshot(Effect.gen(function*() {
        const before = yield* pool.read(count)
        yield* elsewhere(pool.write(insert))
        yield* elsewhere(pool.write(insert))
        const outside = yield* elsewhere(pool.read(count))
        const inside = yield* Effect.forEach([1, 2, 3], () => pool.read(count), { concurrency: "unbounded" })
        const sync = yield* mode === "in-process"
          ? pool.readSync((reader) => reader.valuesUnsafe("select count(*) from t")[0]![0])
          : pool.read(count)
        const nested = yield* pool.snapshot(pool.read(count))
        return { before, outside, inside, sync, nested }
      }))
      assert.deepStrictEqual(seen, { before: 1, outside: 3, inside: [1, 1, 1], sync: 1, nested: 1 })
      assert.strictEqual(yield* pool.read(count), 3)
    }))

  it.effect("sees the state of its beginning, also where its body reads only later", () =>
    Effect.gen(function*() {
      const { pool } = yield* make()
      const seen = yield* pool.snapshot(Effect.andThen(elsewhere(pool.write(insert)), pool.read(count)))
      assert.strictEqual(seen, 1)
    }))

  it.effect("refuses to write, by whatever way: it would be seen by others, and not be undone", () =>
    Effect.gen(function*() {
      const { filename, pool } = yield* make()
      const ways: Record<string, Effect.Effect<unknown, unknown>> = {
        write: pool.write(insert),
        exec: pool.write((connection) => connection.exec("insert into t values (1)")),
        ...(mode === "in-process"
          ? { writeSync: pool.writeSync((connection) => connection.runUnsafe("insert into t values (1)")) }
          : undefined),
        transaction: pool.transaction(pool.write(insert)),
        sql: pool.sql`insert into t values (1)`
      }
      for (const [name, way] of Object.entries(ways)) {
        assert.strictEqual(SqliteConnection.codeOf(yield* Effect.flip(pool.snapshot(way))), 8, name)
      }
      const asked = pool.transaction(Effect.void, { readOnly: false })
      yield* PoolAssert.failsWith(pool.snapshot(asked), "TransactionOptionsError")
      const other = yield* judge(filename)
      assert.strictEqual(other.prepare("select count(*) as n from t").get()!["n"], 1)
    }))

  it.effect("is of one pool, and no other", () =>
    Effect.gen(function*() {
      const { pool } = yield* make()
      const other = yield* make()
      const seen = yield* pool.snapshot(Effect.gen(function*() {
        yield* other.pool.write(insert)
        return yield* other.pool.read(count)
      }))
      assert.strictEqual(seen, 2)
    }))

  it.effect("takes one reader, and gives it back clean, however it ends", () =>
    Effect.gen(function*() {
      const { filename, pool } = yield* make({ readers: 1 })
      const begun = yield* Deferred.make<void>()
      const hanging = Effect.andThen(
        pool.read(count),
        Effect.andThen(Deferred.succeed(begun, undefined), Effect.never)
      )
      const fiber = yield* Effect.forkChild(pool.snapshot(hanging))
      yield* Deferred.await(begun)
      yield* Fiber.interrupt(fiber)
      yield* Effect.exit(pool.snapshot(Effect.fail("no")))
      yield* Effect.exit(pool.snapshot(Effect.die("no")))
      yield* pool.write(insert)
      assert.strictEqual(yield* pool.read(count), 2)
      assert.strictEqual((yield* pool.stats).readers.connects, 1)
      // Nothing holds on to the log any more.
      assert.isTrue((yield* pool.checkpoint()).isComplete)
      const other = yield* judge(filename)
      assert.strictEqual(other.prepare("pragma wal_checkpoint(truncate)").get()!["busy"], 0)
    }))

  it.effect("is over for a fiber that outlives it", () =>
    Effect.gen(function*() {
      const { pool } = yield* make()
      const gate = yield* Deferred.make<void>()
      const late = yield* pool.snapshot(Effect.forkDetach(Effect.andThen(Deferred.await(gate), pool.read(count))))
      yield* Deferred.succeed(gate, undefined)
      const error = yield* PoolAssert.failsWith(Fiber.join(late), "SqlError")
      assert.instanceOf(error.reason.cause, TransactionError.TransactionEndedError)
    }))

  it.effect("loses nothing wherever it is interrupted", () =>
    Effect.gen(function*() {
      const { pool } = yield* make({ readers: 1 })
      assert.strictEqual(yield* pool.read(count), 1)
      const report = yield* Sweep.run({
        setup: Effect.void,
        scenario: () =>
          pool.snapshot(Effect.andThen(pool.read(count), Effect.andThen(Effect.yieldNow, pool.read(count)))),
        check: () =>
          Effect.gen(function*() {
            yield* settle
            const { readers } = yield* pool.stats
            assert.deepStrictEqual([readers.inUse, readers.waiting, readers.connects], [0, 0, 1])
            assert.isTrue((yield* pool.checkpoint()).isComplete)
          }),
        budgets: [3, 40],
        turns: [0, 8]
      })
      assert.isAbove(report.interrupted, 50)
    }), 120_000)
})
