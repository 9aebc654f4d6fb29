import { assert, describe, it } from "@effect/vitest"
import { Data, Deferred, Effect, Exit, Fiber, Latch, Stream } from "effect"
import { TransactionError } from "effect-connection-pool"
import { SqliteConnection } from "effect-connection-pool/sqlite"
import { PoolAssert } from "effect-connection-pool/testing"
import { SqlError } from "effect/sql/SqlError"
import * as Database from "../support/database.ts"
import { settle } from "../support/pools.ts"

const { codeOf } = SqliteConnection
const { failsWith } = PoolAssert
const { rollbackFailureOf } = TransactionError

class Refused extends Data.TaggedError("Refused") {}

/** What an effect fails with, caught. */
const failureOf = <A, E, R>(effect: Effect.Effect<A, E, R>): Effect.Effect<E, never, R> =>
  Effect.match(effect, { onFailure: (error) => error, onSuccess: () => assert.fail("it succeeded") })

/** The error behind what a statement of a client failed with. */
const behind = (error: unknown) => error instanceof SqlError ? error.reason.cause : undefined

/** The next to write finds nothing of the one before, and can write. */
const isClean = (db: Database.Database) =>
  Effect.gen(function*() {
    assert.isFalse(yield* db.writer.use((connection) => connection.isTransaction))
    yield* db.transaction(db.sql`insert into t values (999)`)
    db.other.exec("delete from t where n = 999")
    assert.strictEqual((yield* db.writer.stats).inUse, 0)
  })

describe("a transaction", () => {
  it.effect("commits what it did when it succeeds, and not before", () =>
    Effect.gen(function*() {
      const db = yield* Database.make()
      const { sql } = db
      const result = yield* db.transaction(Effect.gen(function*() {
        yield* sql`insert into t values (1)`
        yield* db.transaction(sql`insert into t values (2)`)
        yield* sql.withTransaction(sql`insert into t values (3)`)
        assert.deepStrictEqual(db.rows, [])
        assert.deepStrictEqual(yield* sql`select count(*) as c from t`.values, [[3]])
        return "done"
      }))
      assert.strictEqual(result, "done")
      assert.deepStrictEqual(db.rows, [1, 2, 3])
      assert.deepStrictEqual(yield* sql`select n from t`.values, [[1], [2], [3]])
      yield* isClean(db)
    }))

  const ends: Record<string, Effect.Effect<never, string>> = {
    fails: Effect.fail("no"),
    dies: Effect.die("no"),
    "is interrupted": Effect.interrupt
  }
  for (const [how, end] of Object.entries(ends)) {
    it.effect(`rolls back when it ${how}, and that is how it ends`, () =>
      Effect.gen(function*() {
        const db = yield* Database.make()
        const { sql } = db
        const expected = yield* Effect.exit(end)
        for (const transaction of [db.transaction, db.withTransaction]) {
          const exit = yield* Effect.exit(transaction(Effect.andThen(sql`insert into t values (1)`, end)))
          assert.isTrue(Exit.isFailure(exit) && Exit.isFailure(expected))
          if (!Exit.isFailure(exit) || !Exit.isFailure(expected)) return
          assert.deepStrictEqual(
            exit.cause.reasons.map(({ _tag }) => _tag),
            expected.cause.reasons.map(({ _tag }) => _tag)
          )
          assert.deepStrictEqual(db.rows, [])
        }
        yield* isClean(db)
        assert.strictEqual((yield* db.writer.stats).connects, 1)
      }))
  }

  it.effect("spans whatever its body waits for", () =>
    Effect.gen(function*() {
      const db = yield* Database.make()
      yield* Effect.exit(db.transaction(Effect.gen(function*() {
        yield* db.sql`insert into t values (1)`
        yield* settle
        return yield* Effect.fail("no")
      })))
      assert.deepStrictEqual(db.rows, [])
    }))

  it.effect("is seen by every read that begins after it has ended", () =>
    Effect.gen(function*() {
      const db = yield* Database.make()
      const { sql } = db
      for (let n = 1; n <= 50; n++) {
        yield* db.transaction(sql`insert into t values (${n})`)
        assert.deepStrictEqual(yield* sql`select max(n) from t`.values, [[n]])
      }
      // Readers did that.
      assert.isAtLeast((yield* db.reader.stats).checkouts, 50)
    }))

  it.effect("that others begin at the same time takes its turn, in order, and none of them meets a lock", () =>
    Effect.gen(function*() {
      const db = yield* Database.make({ busyTimeout: 0 })
      const { sql } = db
      const order: Array<number> = []
      yield* Effect.forEach(
        Array.from({ length: 200 }, (_, n) => n),
        (n) =>
          db.transaction(Effect.gen(function*() {
            const [[count]] = (yield* sql`select count(*) from t`.values) as [[number]]
            yield* Effect.yieldNow
            yield* sql`insert into t values (${count})`
            order.push(n)
          })),
        { concurrency: "unbounded" }
      )
      assert.deepStrictEqual(order, Array.from({ length: 200 }, (_, n) => n))
      assert.deepStrictEqual(db.rows, order)
    }))

  it.effect("leaves nothing locked behind a timeout", () =>
    Effect.gen(function*() {
      const db = yield* Database.make()
      const begun = yield* Deferred.make<void>()
      const fiber = yield* Effect.forkChild(
        db.transaction(Effect.andThen(
          db.sql`insert into t values (1)`,
          Effect.andThen(Deferred.succeed(begun, undefined), Effect.never)
        ))
      )
      yield* Deferred.await(begun)
      assert.throws(() => db.other.exec("begin immediate"))
      yield* Fiber.interrupt(fiber)
      db.other.exec("begin immediate; insert into t values (2); commit")
      assert.deepStrictEqual(db.rows, [2])
    }))
})

describe("a transaction that cannot be committed", () => {
  const setup = `create table parent(id integer primary key);
    create table t(n integer references parent deferrable initially deferred)`

  it.effect("fails with why, and is rolled back", () =>
    Effect.gen(function*() {
      const db = yield* Database.make({ setup })
      const { sql } = db
      const ran: Array<string> = []
      const orphan = Effect.andThen(
        sql.afterCommit(Effect.sync(() => ran.push("after"))),
        sql`insert into t values (1)`
      )
      const error = yield* failsWith(db.transaction(orphan), "TransactionCommitError")
      assert.strictEqual(codeOf(error.cause), 787)
      assert.deepInclude({ ...error }, { pool: "db", depth: 0 })
      assert.isFalse(error.isRetryable)
      assert.include(error.message, "pool \"db\": could not commit the transaction, which was rolled back: FOREIGN KEY")
      const plain = yield* failsWith(sql.withTransaction(orphan), "SqlError")
      assert.strictEqual(codeOf(plain), 787)
      assert.strictEqual(plain.reason._tag, "ConstraintError")
      // Inside it can still be mended, so a savepoint is not what fails.
      const nested = yield* failsWith(db.transaction(db.transaction(orphan)), "TransactionCommitError")
      assert.strictEqual(nested.depth, 0)
      assert.deepStrictEqual(db.rows, [])
      assert.deepStrictEqual(ran, [])
      assert.strictEqual((yield* db.writer.stats).connects, 1)
      yield* db.transaction(Effect.andThen(db.transaction(orphan), sql`insert into parent values (1)`))
      assert.deepStrictEqual([db.rows, ran], [[1], ["after"]])
    }))

  it.effect("nor rolled back fails with the first, has the second attached, and loses the connection", () =>
    Effect.gen(function*() {
      const db = yield* Database.make({ setup })
      yield* Database.refusing("rollback")
      const error = yield* failsWith(db.transaction(db.sql`insert into t values (1)`), "TransactionCommitError")
      const attached = rollbackFailureOf(error)
      assert.instanceOf(attached, TransactionError.TransactionRollbackError)
      assert.include(attached.message, "so its connection is closed: no rollback")
      assert.deepStrictEqual(db.rows, [])
      yield* db.transaction(db.sql`insert into parent values (1)`)
      const stats = yield* db.writer.stats
      assert.deepStrictEqual([stats.connects, stats.evictions.invalidated], [2, 1])
    }))
})

describe("a transaction that cannot be rolled back", () => {
  it.effect("fails as its body did, with that attached; and an interruption stays one", () =>
    Effect.gen(function*() {
      const db = yield* Database.make()
      yield* Database.refusing("rollback")
      const insert = db.sql`insert into t values (1)`
      const body = (end: Effect.Effect<never, Refused>) => db.transaction(Effect.andThen(insert, end))
      const caught = yield* Effect.flip(Effect.catchTag(body(Effect.fail(new Refused())), "Refused", Effect.fail))
      assert.include(rollbackFailureOf(caught)!.message, "no rollback")
      const shapes: Array<ReadonlyArray<string>> = []
      for (const end of [Effect.die("no"), Effect.interrupt]) {
        const exit = yield* Effect.exit(body(end))
        if (!Exit.isFailure(exit)) return assert.fail("it succeeded")
        shapes.push(exit.cause.reasons.map(({ _tag }) => _tag))
        assert.include(rollbackFailureOf(exit.cause)!.message, "no rollback")
        assert.deepStrictEqual(db.rows, [])
      }
      assert.deepStrictEqual(shapes, [["Die"], ["Interrupt"]])
      assert.strictEqual((yield* db.writer.stats).evictions.invalidated, 3)
    }))

  it.effect("inside another keeps that from being committed", () =>
    Effect.gen(function*() {
      const db = yield* Database.make()
      yield* Database.refusing("rollback to effect_pool_1")
      const refused = new Refused()
      const inner = db.transaction(Effect.andThen(db.sql`insert into t values (1)`, Effect.fail(refused)))
      const errors: Array<unknown> = []
      const outer = db.transaction(Effect.gen(function*() {
        errors.push(yield* Effect.orDie(Effect.flip(inner)))
        errors.push(yield* Effect.orDie(Effect.flip(db.sql`insert into t values (2)`)))
      }))
      const error = yield* failsWith(outer, "TransactionLostError")
      assert.include(error.cause!.message, "no rollback to effect_pool_1")
      assert.strictEqual(errors[0], refused)
      assert.include(rollbackFailureOf(refused)!.message, "no rollback to effect_pool_1")
      assert.strictEqual(behind(errors[1]), error)
      assert.deepStrictEqual(db.rows, [])
      yield* isClean(db)
    }))
})

describe("a transaction that SQLite has ended", () => {
  const setup = `create table t(n integer unique); insert into t values (0);
    create table forbidden(n); create trigger no before insert on forbidden begin select raise(rollback, 'no way'); end`
  const ways: ReadonlyArray<readonly [what: string, code: number, sql: string, before?: string]> = [
    ["ON CONFLICT ROLLBACK", 2067, "insert or rollback into t values (0)"],
    ["RAISE(ROLLBACK)", 1811, "insert into forbidden values (1)"],
    ["a full disk", 13, "insert into t values (zeroblob(100000))", "pragma max_page_count = 6"]
  ]
  for (const [what, code, sql, before] of ways) {
    it.effect(`by ${what} runs nothing more, and fails`, () =>
      Effect.gen(function*() {
        const db = yield* Database.make({ setup })
        const end = db.sql.unsafe(sql)
        const seen: Array<unknown> = []
        const error = yield* failsWith(
          db.transaction(Effect.gen(function*() {
            if (before !== undefined) yield* db.sql.unsafe(before)
            yield* db.sql`insert into t values (1)`
            seen.push(codeOf(yield* failureOf(end)))
            seen.push(behind(yield* failureOf(db.sql`insert into t values (2)`)))
            seen.push(behind(yield* failureOf(Stream.runDrain(db.sql`select * from t`.stream))))
            seen.push(yield* failureOf(db.transaction(db.sql`insert into t values (3)`)))
            seen.push(behind(yield* failureOf(db.withTransaction(db.sql`insert into t values (4)`))))
          })),
          "TransactionLostError"
        )
        assert.deepStrictEqual(seen, [code, error, error, error, error])
        assert.strictEqual(codeOf(error.cause), code)
        assert.include(error.message, "pool \"db\": the database has ended the transaction, when it ran \"insert")
        assert.include(error.message, error.cause!.message)
        assert.deepStrictEqual(db.rows, [0])
        yield* isClean(db)
      }))
  }

  it.effect("ends with the failure of its body if that fails anyway", () =>
    Effect.gen(function*() {
      const db = yield* Database.make({ setup })
      const body = Effect.andThen(db.sql`insert into t values (1)`, db.sql`insert or rollback into t values (0)`)
      const error = yield* failsWith(db.transaction(body), "SqlError")
      assert.strictEqual(error.reason._tag, "UniqueViolation")
      assert.deepStrictEqual(db.rows, [0])
      yield* isClean(db)
    }))

  it.effect("is lost at every depth, whoever handles the error", () =>
    Effect.gen(function*() {
      const db = yield* Database.make({ setup })
      const end = Effect.ignore(db.sql`insert or rollback into t values (0)`)
      const inner: Array<unknown> = []
      const error = yield* failsWith(
        db.transaction(Effect.gen(function*() {
          yield* db.sql`insert into t values (1)`
          inner.push(yield* failureOf(db.transaction(db.transaction(end))))
          inner.push(yield* failureOf(db.transaction(db.sql`insert into t values (2)`)))
        })),
        "TransactionLostError"
      )
      assert.deepStrictEqual(inner, [error, error])
      const plain = yield* failsWith(db.withTransaction(db.withTransaction(end)), "SqlError")
      assert.instanceOf(behind(plain), TransactionError.TransactionLostError)
      assert.deepStrictEqual(db.rows, [0])
      yield* isClean(db)
    }))

  it.effect("while other fibers had inner transactions open leaves nothing of them", () =>
    Effect.gen(function*() {
      const db = yield* Database.make({ setup })
      const inside = yield* Latch.make()
      const over = yield* Latch.make()
      const failures: Array<unknown> = []
      const whole = yield* failureOf(db.transaction(Effect.gen(function*() {
        const sibling = yield* Effect.forkChild(Effect.exit(db.transaction(Effect.gen(function*() {
          yield* inside.open
          yield* over.await
          yield* db.sql`insert into t values (5)`
        }))))
        yield* inside.await
        // Waits for the sibling, which waits for it no longer than that.
        const ending = yield* Effect.forkChild(failureOf(db.sql`insert or rollback into t values (0)`))
        yield* settle
        assert.isUndefined(ending.pollUnsafe())
        yield* over.open
        const exit = yield* Fiber.join(sibling)
        assert.isTrue(Exit.isSuccess(exit))
        failures.push(yield* Fiber.join(ending))
      })))
      assert.strictEqual(codeOf(failures[0]), 2067)
      assert.instanceOf(whole, TransactionError.TransactionLostError)
      assert.deepStrictEqual(db.rows, [0])
      yield* isClean(db)
    }))

  it.effect("cannot be ended by a statement of the application", () =>
    Effect.gen(function*() {
      const db = yield* Database.make({ setup })
      const { sql } = db
      const statements = ["commit", "END", "rollback", "begin", "savepoint x", "release x", " /* */ rollback to x"]
      for (const statement of statements) {
        const run = sql.unsafe(statement)
        for (
          const effect of [run, run.values, run.raw, Stream.runDrain(run.stream)] as Array<
            Effect.Effect<unknown, SqlError>
          >
        ) {
          yield* db.transaction(Effect.gen(function*() {
            const error = yield* failsWith(effect, "SqlError")
            assert.include(error.message, `${JSON.stringify(statement)}: transactions are begun and ended by`)
          }))
          assert.include((yield* failsWith(effect, "SqlError")).message, "are begun and ended by withTransaction")
        }
      }
    }))
})
