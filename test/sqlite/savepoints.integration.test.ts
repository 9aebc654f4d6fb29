import { assert, describe, it } from "@effect/vitest"
import { Deferred, Effect, Exit, Fiber, Latch } from "effect"
import { TransactionError } from "effect-connection-pool"
import { Sweep } from "effect-connection-pool/testing"
import { TestClock } from "effect/testing"
import * as Database from "../support/database.ts"
import { mode } from "../support/modes/mode.ts"
import { settle } from "../support/pools.ts"

const insertOf = (db: Database.Database) => (n: number) => db.sql`insert into t values (${n})`

describe("a transaction inside another", () => {
  it.effect("undoes what it did when it fails, and the outer one goes on", () =>
    Effect.gen(function*() {
      const db = yield* Database.make()
      const insert = insertOf(db)
      yield* db.transaction(Effect.gen(function*() {
        yield* insert(1)
        const exit = yield* Effect.exit(db.transaction(Effect.andThen(insert(2), Effect.fail("no"))))
        assert.deepStrictEqual(exit, Exit.fail("no"))
        yield* insert(3)
      }))
      assert.deepStrictEqual(db.rows, [1, 3])
    }))

  it.effect("undoes exactly what was done at its depth and above", () =>
    Effect.gen(function*() {
      for (const failing of [0, 1, 2, 3]) {
        const db = yield* Database.make()
        const insert = insertOf(db)
        const at = (depth: number): Effect.Effect<void> => {
          if (depth === 4) return Effect.void
          const body = Effect.gen(function*() {
            yield* insert(depth * 10)
            yield* at(depth + 1)
            yield* insert(depth * 10 + 1)
            if (depth === failing) yield* Effect.fail("no")
          })
          return Effect.ignore(depth % 2 === 0 ? db.transaction(body) : db.sql.withTransaction(body))
        }
        yield* at(0)
        const kept = [0, 1, 2, 3].filter((depth) => depth < failing)
        assert.deepStrictEqual(db.rows, kept.flatMap((depth) => [depth * 10, depth * 10 + 1]))
      }
    }))

  it.effect("does not leave anything behind, however often", () =>
    Effect.gen(function*() {
      const db = yield* Database.make()
      const insert = insertOf(db)
      yield* db.transaction(Effect.gen(function*() {
        for (let n = 0; n < 2000; n++) {
          yield* Effect.exit(db.transaction(n % 2 === 0 ? insert(n) : Effect.andThen(insert(n), Effect.fail("no"))))
        }
        // A savepoint that was left could still be rolled back to.
        const joined = yield* Effect.withFiber((fiber) => Effect.succeed(db.connectionOf(fiber)!))
        const left = yield* Effect.exit(
          joined.steps("probe", (connection) => connection.run("rollback to effect_pool_1"))
        )
        assert.isTrue(Exit.isFailure(left))
      }))
      assert.strictEqual(db.rows.length, 1000)
    }), 20_000)

  it.effect("runs what was to follow the commit only if all of it is committed", () =>
    Effect.gen(function*() {
      const db = yield* Database.make()
      const insert = insertOf(db)
      const ran: Array<string> = []
      const after = (name: string) =>
        db.sql.afterCommit(
          Effect.gen(function*() {
            // By then the connection is free, and what was written can be seen.
            assert.strictEqual((yield* db.writer.stats).inUse, 0)
            assert.deepStrictEqual(yield* db.sql`select count(*) > 0 from t`.values, [[1]])
            ran.push(name)
          }).pipe(Effect.orDie)
        )
      const body = (end: Effect.Effect<void, string>) =>
        Effect.gen(function*() {
          yield* insert(ran.length + 1)
          yield* after("outer")
          yield* db.transaction(after("inner"))
          yield* Effect.ignore(db.transaction(Effect.andThen(after("never"), Effect.fail("no"))))
          yield* end
        })
      yield* Effect.exit(db.transaction(body(Effect.fail("no"))))
      assert.deepStrictEqual(ran, [])
      yield* db.transaction(body(Effect.void))
      assert.deepStrictEqual(ran, ["outer", "inner"])
      yield* Effect.exit(db.transaction(Effect.andThen(db.transaction(after("inner")), Effect.fail("no"))))
      assert.deepStrictEqual(ran, ["outer", "inner"])
    }))

  it.effect("fails typed when its savepoint cannot be begun or released, and undoes it", () =>
    Effect.gen(function*() {
      const db = yield* Database.make()
      const insert = insertOf(db)
      const seen: Array<unknown> = []
      const ran: Array<string> = []
      yield* db.transaction(Effect.gen(function*() {
        yield* insert(1)
        for (const refused of ["savepoint effect_pool_1", "release effect_pool_1"]) {
          yield* Effect.scoped(Effect.gen(function*() {
            yield* Database.refusing(refused, 1)
            const inner = Effect.andThen(insert(2), db.sql.afterCommit(Effect.sync(() => ran.push(refused))))
            seen.push(yield* Effect.flip(db.transaction(inner)))
          }))
        }
        yield* insert(3)
      }))
      assert.instanceOf(seen[0], TransactionError.TransactionBeginError)
      assert.instanceOf(seen[1], TransactionError.TransactionCommitError)
      for (const error of seen as Array<TransactionError.TransactionBeginError>) {
        assert.strictEqual(error.depth, 1)
        assert.include(error.message, "the transaction inside another (depth 1)")
      }
      assert.deepStrictEqual([db.rows, ran], [[1, 3], []])
    }))
})

describe("an interrupt", () => {
  it.effect(
    "of a transaction at any point leaves all of it or nothing, and a clean connection",
    () =>
      Effect.gen(function*() {
        const db = yield* Database.make()
        const insert = insertOf(db)
        const seen = { all: 0, nothing: 0 }
        const report = yield* Sweep.run({
          setup: Effect.sync(() => db.other.exec("delete from t")),
          scenario: () =>
            db.transaction(Effect.gen(function*() {
              yield* insert(1)
              yield* db.transaction(insert(2))
              yield* Effect.exit(db.transaction(Effect.andThen(insert(3), Effect.fail("no"))))
              yield* Effect.all([insert(4), db.transaction(insert(5))], { concurrency: "unbounded" })
            })),
          check: (_, exit) =>
            Effect.gen(function*() {
              const all = [1, 2, 4, 5]
              const { rows } = db
              if (Exit.isSuccess(exit) || rows.length > 0) assert.deepStrictEqual(rows, all)
              if (!Exit.isSuccess(exit)) assert.isTrue(Exit.hasInterrupts(exit))
              seen[rows.length > 0 ? "all" : "nothing"]++
              assert.strictEqual((yield* db.writer.stats).inUse, 0)
              assert.isFalse(yield* db.writer.use((connection) => connection.isTransaction))
              yield* db.transaction(insert(100))
            }),
          budgets: [3, 40],
          turns: [0, 25]
        })
        assert.isAbove(report.interrupted, 200)
        // Where a thread stores it, most interrupts come while its answer is awaited.
        assert.isAbove(seen.all, mode === "in-process" ? 10 : 0)
        assert.isAbove(seen.nothing, 200)
        // Nobody had to clean up behind it.
        assert.strictEqual((yield* db.writer.stats).connects, 1)
      }),
    120_000
  )

  it.effect("of one of the fibers undoes only what it did", () =>
    Effect.gen(function*() {
      const db = yield* Database.make()
      const insert = insertOf(db)
      const report = yield* Sweep.run({
        setup: Effect.sync(() => db.other.exec("delete from t")),
        scenario: () => Effect.void,
        check: (_, __, cut) =>
          Effect.gen(function*() {
            const sibling = yield* Deferred.make<Exit.Exit<unknown, unknown>>()
            yield* db.transaction(Effect.gen(function*() {
              const fiber = yield* Effect.forkChild(db.transaction(Effect.andThen(insert(1), insert(2))))
              const other = yield* Effect.forkChild(db.transaction(Effect.andThen(insert(3), insert(4))))
              for (let turn = 0; turn < cut.turns; turn++) yield* Effect.yieldNow
              yield* Fiber.interrupt(fiber)
              yield* insert(5)
              yield* Fiber.join(other)
              yield* Deferred.succeed(sibling, yield* Fiber.await(fiber))
            }))
            const { rows } = db
            const own = Exit.isSuccess(yield* Deferred.await(sibling)) ? [1, 2] : rows.includes(1) ? [1, 2] : []
            assert.deepStrictEqual(rows, [...own, 3, 4, 5])
          }),
        budgets: [3, 40],
        turns: [0, 15]
      })
      assert.strictEqual(report.cases, 38 * 16)
    }), 120_000)

  it.effect("of a body that is being rolled back comes after that", () =>
    Effect.gen(function*() {
      const db = yield* Database.make({ journalMode: "delete", busyTimeout: 1000 })
      const insert = insertOf(db)
      // Twice, and while the commit waits for a reader.
      db.other.exec("insert into t values (0); begin; select * from t")
      const fiber = yield* Effect.forkChild(db.transaction(insert(1)))
      yield* settle
      const interrupting = yield* Effect.forkChild(Fiber.interrupt(fiber))
      yield* settle
      const again = yield* Effect.forkChild(Fiber.interrupt(fiber))
      yield* settle
      assert.isUndefined(fiber.pollUnsafe())
      db.other.exec("commit")
      yield* TestClock.adjust("2 millis")
      yield* Fiber.joinAll([interrupting, again])
      // It came too late.
      assert.deepStrictEqual(db.rows, [0, 1])
      yield* db.transaction(insert(2))
    }))
})

describe("the end of the application", () => {
  it.effect("interrupts a transaction, rolls it back, and then closes", () =>
    Effect.gen(function*() {
      const db = yield* Database.make()
      const insert = insertOf(db)
      const begun = yield* Latch.make()
      const cleaned: Array<boolean> = []
      const fiber = yield* Effect.forkChild(db.transaction(
        Effect.andThen(insert(1), Effect.andThen(begun.open, Effect.never)).pipe(
          // What the body still does on its way out is in the transaction.
          Effect.onInterrupt(() => Effect.ignore(Effect.map(insert(2), () => cleaned.push(true))))
        )
      ))
      yield* begun.await
      const report = yield* db.writer.shutdown({ drainTimeout: 0 })
      assert.deepStrictEqual(report, { returned: 0, interrupted: 1, revoked: 0, abandoned: [], closeTimeouts: 0 })
      const exit = yield* Fiber.await(fiber)
      assert.isTrue(Exit.isFailure(exit))
      if (Exit.isFailure(exit)) assert.deepStrictEqual(exit.cause.reasons.map(({ _tag }) => _tag), ["Interrupt"])
      assert.deepStrictEqual([cleaned, db.rows], [[true], []])
      db.other.exec("begin immediate; rollback")
    }))

  it.effect("takes the connection from a transaction that does not stop, which is then lost", () =>
    Effect.gen(function*() {
      const db = yield* Database.make()
      const insert = insertOf(db)
      const begun = yield* Latch.make()
      const over = yield* Latch.make()
      const fiber = yield* Effect.forkChild(db.transaction(Effect.uninterruptible(
        Effect.gen(function*() {
          yield* insert(1)
          yield* begun.open
          yield* over.await
          return yield* Effect.flip(insert(2))
        })
      )))
      yield* begun.await
      const ending = yield* Effect.forkChild(db.writer.shutdown({ drainTimeout: 0 }))
      yield* TestClock.adjust("6 seconds")
      yield* Fiber.join(ending)
      assert.deepStrictEqual(db.rows, [])
      yield* over.open
      const exit = yield* Fiber.await(fiber)
      assert.isTrue(Exit.isFailure(exit))
      assert.deepStrictEqual(db.rows, [])
    }))
})
