/** Transactions of a PostgreSQL pool, judged by a second connection. */
import { assert } from "@effect/vitest"
import { Cause, Deferred, Effect, Exit, Fiber, Schedule } from "effect"
import type { PgPool } from "effect-connection-pool/postgres"
import { PoolAssert } from "effect-connection-pool/testing"
import { BeginTransaction } from "effect/sql/SqlClient"
import { describeServer, lossOf, make } from "../support/postgres.ts"

const { failsWith } = PoolAssert

const modeOf = (db: PgPool.PgPool) =>
  Effect.map(
    db.sql<{ readonly isolation: string; readonly readonly: string; readonly deferrable: string }>`select
      current_setting('transaction_isolation') as isolation,
      current_setting('transaction_read_only') as readonly,
      current_setting('transaction_deferrable') as deferrable`,
    ([row]) => [row?.isolation, row?.readonly, row?.deferrable]
  )

const table = { setup: ["create table t (n int unique deferrable initially deferred)"] }

describeServer("a transaction of PostgreSQL", (it) => {
  it.effect("has the isolation and the mode that it asks for", () =>
    Effect.gen(function*() {
      const { db } = yield* make({ max: 1 })
      const asked: ReadonlyArray<readonly [options: PgPool.TransactionOptions, mode: Array<string>]> = [
        [{}, ["read committed", "off", "off"]],
        [{ isolation: "repeatable read" }, ["repeatable read", "off", "off"]],
        [{ isolation: "serializable" }, ["serializable", "off", "off"]],
        [{ readOnly: true }, ["repeatable read", "on", "off"]],
        [{ readOnly: true, isolation: "serializable" }, ["serializable", "on", "off"]],
        [{ readOnly: true, isolation: "serializable", deferrable: true }, ["serializable", "on", "on"]]
      ]
      for (const [options, mode] of asked) assert.deepStrictEqual(yield* db.transaction(modeOf(db), options), mode)
      const begin = Effect.provideService(
        db.sql.withTransaction(modeOf(db)),
        BeginTransaction,
        "begin isolation level serializable read only"
      )
      assert.deepStrictEqual(yield* begin, ["serializable", "on", "off"])
    }))

  it.effect("refuses options that PostgreSQL would ignore", () =>
    Effect.gen(function*() {
      const { db } = yield* make({ max: 1 })
      const refused: ReadonlyArray<readonly [options: object, why: string]> = [
        [{ isolation: "snapshot" }, "isolation is \"snapshot\""],
        [
          { readOnly: true, isolation: "read committed" },
          "\"repeatable read\" or \"serializable\" where readOnly is true"
        ],
        [
          { deferrable: true },
          "deferrable is true, but must be left out, or readOnly true and isolation \"serializable\""
        ],
        [{ deferrable: 1 }, "deferrable is 1, but must be true or false"]
      ]
      for (const [options, why] of refused) {
        assert.include((yield* failsWith(db.transaction(Effect.void, options), "TransactionOptionsError")).message, why)
      }
      const inner = yield* db.transaction(
        failsWith(db.transaction(Effect.void, { isolation: "serializable" }), "TransactionOptionsError")
      )
      assert.include(inner.message, "which the transaction around it has")
    }))

  it.effect("that only reads sees the state at its beginning", () =>
    Effect.gen(function*() {
      const { db, judge } = yield* make(table)
      const body = Effect.andThen(judge("insert into t values (1)"), db.sql`select n from t`)
      assert.deepStrictEqual(yield* db.transaction(body, { readOnly: true }), [])
      assert.deepStrictEqual(yield* db.transaction(db.sql`select n from t`, { readOnly: true }), [{ n: 1 }])
    }))

  it.effect("that only reads is refused its writes", () =>
    Effect.gen(function*() {
      const { db, value } = yield* make({ max: 1, ...table })
      const error = yield* failsWith(db.transaction(db.sql`insert into t values (2)`, { readOnly: true }), "SqlError")
      assert.strictEqual((yield* db.stats).primary.disconnects, 0)
      assert.strictEqual(error.reason._tag, "AuthorizationError")
      assert.include(error.message, "cannot execute INSERT in a read-only transaction (SQLSTATE 25006)")
      assert.strictEqual(yield* value("select count(*)::int4 from t"), 0)
    }))

  it.effect("commits all or nothing, and its inner transactions are savepoints", () =>
    Effect.gen(function*() {
      const { db, value } = yield* make(table)
      const add = (n: number) => db.sql`insert into t values (${n})`
      yield* db.transaction(Effect.gen(function*() {
        yield* add(1)
        yield* Effect.ignore(db.transaction(Effect.andThen(add(2), Effect.fail("no"))))
        yield* db.transaction(
          Effect.andThen(
            add(3),
            Effect.ignore(db.transaction(
              Effect.andThen(add(4), Effect.die("no")).pipe(
                Effect.catchDefect(() => Effect.fail("no"))
              )
            ))
          )
        )
        // A statement that fails in an inner transaction does not harm the outer one.
        yield* Effect.ignore(db.transaction(db.sql`select 1 / 0`))
        yield* db.write((connection) => connection.run("insert into t values (5)"))
        assert.strictEqual(yield* value("select count(*)::int4 from t"), 0)
      }))
      assert.deepStrictEqual(yield* value("select array_agg(n order by n) from t"), [1, 3, 5])
      assert.strictEqual(yield* Effect.flip(db.transaction(Effect.andThen(add(6), Effect.fail("no")))), "no")
      const died = yield* Effect.exit(db.transaction(Effect.andThen(add(7), Effect.die("bug"))))
      assert.isTrue(Exit.isFailure(died) && Cause.hasDies(died.cause))
      assert.deepStrictEqual(yield* value("select array_agg(n order by n) from t"), [1, 3, 5])
    }))

  it.effect("has siblings that do not undo each other's work", () =>
    Effect.gen(function*() {
      const { db, value } = yield* make(table)
      yield* db.transaction(Effect.forEach(
        Array.from({ length: 20 }, (_, index) => index),
        (n) =>
          Effect.ignore(db.transaction(Effect.andThen(
            db.sql`insert into t values (${n})`,
            n % 2 === 0 ? Effect.void : Effect.fail("odd")
          ))),
        { concurrency: "unbounded", discard: true }
      ))
      assert.strictEqual(
        yield* value("select count(*) filter (where n % 2 = 0)::int4 - count(*)::int4 + 10 from t"),
        10
      )
      assert.strictEqual(yield* value("select count(*)::int4 from t"), 10)
    }))

  it.effect("shares the transaction service of sql, so both kinds nest in each other", () =>
    Effect.gen(function*() {
      const { db, value } = yield* make(table)
      const add = (n: number) => db.sql`insert into t values (${n})`
      yield* db.sql.withTransaction(Effect.andThen(add(1), db.transaction(add(2))))
      yield* db.transaction(
        Effect.andThen(add(3), Effect.ignore(db.sql.withTransaction(Effect.andThen(add(4), Effect.fail("no")))))
      )
      assert.deepStrictEqual(yield* value("select array_agg(n order by n) from t"), [1, 2, 3])
    }))

  it.effect("whose constraint does not hold at the commit fails, and leaves its connection clean", () =>
    Effect.gen(function*() {
      const { backends, db, value } = yield* make({ max: 1, ...table })
      const twice = Effect.andThen(db.sql`insert into t values (1)`, db.sql`insert into t values (1)`)
      const error = yield* failsWith(db.transaction(twice), "TransactionCommitError")
      assert.strictEqual(error.cause.reason._tag, "UniqueViolation")
      assert.strictEqual(yield* value("select count(*)::int4 from t"), 0)
      assert.deepStrictEqual((yield* backends).map(({ state }) => state), ["idle"])
      assert.strictEqual((yield* db.stats).primary.disconnects, 0)
    }))

  it.effect("in which a statement has failed is not committed, although its body goes on", () =>
    Effect.gen(function*() {
      const { db, value } = yield* make(table)
      const error = yield* failsWith(
        db.transaction(Effect.andThen(db.sql`insert into t values (1)`, Effect.ignore(db.sql`select 1 / 0`))),
        "TransactionCommitError"
      )
      assert.include(
        error.message,
        "a statement of the transaction has failed, so PostgreSQL has rolled the transaction back"
      )
      assert.isFalse(error.isRetryable)
      assert.strictEqual(yield* value("select count(*)::int4 from t"), 0)
    }))

  it.effect("is run again after a serialization failure, and every increment counts", () =>
    Effect.gen(function*() {
      const { db, value } = yield* make({ max: 8, setup: ["create table c (n int)", "insert into c values (0)"] })
      const increment = db.transaction(
        Effect.flatMap(db.sql<{ readonly n: number }>`select n from c`, ([row]) =>
          db.sql`update c set n = ${row!.n + 1}`),
        { isolation: "serializable", retry: Schedule.spaced("2 millis") }
      )
      yield* Effect.forEach(Array.from({ length: 50 }), () =>
        increment, { concurrency: "unbounded", discard: true })
      assert.strictEqual(yield* value("select n from c"), 50)
    }))

  it.effect("is run again after a deadlock", () =>
    Effect.gen(function*() {
      const { db, value } = yield* make({
        max: 2,
        startupParameters: { deadlock_timeout: "50" },
        setup: ["create table c (id int, n int)", "insert into c values (1, 0), (2, 0)"]
      })
      const both = [yield* Deferred.make<void>(), yield* Deferred.make<void>()] as const
      let runs = 0
      const cross = (first: 0 | 1) =>
        db.transaction(
          Effect.gen(function*() {
            runs++
            yield* db.sql`update c set n = n + 1 where id = ${first + 1}`
            yield* Deferred.succeed(both[first], undefined)
            yield* Deferred.await(both[1 - first]!)
            yield* db.sql`update c set n = n + 1 where id = ${2 - first}`
          }),
          { retry: Schedule.recurs(5) }
        )
      yield* Effect.all([cross(0), cross(1)], { concurrency: "unbounded" })
      assert.isAbove(runs, 2)
      assert.deepStrictEqual(yield* value("select array_agg(n) from c"), [2, 2])
    }))

  it.effect("is run again where a changed table has made a prepared statement stale", () =>
    Effect.gen(function*() {
      const { db, judge } = yield* make({ max: 1, setup: ["create table t (n int)"] })
      yield* db.sql`select * from t`
      yield* db.sql`select * from t`
      yield* judge("alter table t add column l int")
      // Outside of a transaction, the driver prepares it again.
      assert.deepStrictEqual(yield* db.sql`select * from t`, [])
      yield* db.sql`select * from t`
      yield* judge("alter table t add column m int")
      let runs = 0
      const reading = db.transaction(
        Effect.suspend(() => {
          runs++
          return db.sql`select * from t`
        }),
        { retry: Schedule.recurs(1) }
      )
      assert.deepStrictEqual(yield* reading, [])
      assert.strictEqual(runs, 2)
    }))

  it.effect("is run again after its connection was lost before the commit", () =>
    Effect.gen(function*() {
      const { db, kill, value } = yield* make({ max: 1, ...table })
      for (const isAsked of [true, false]) {
        const lost = yield* lossOf(db)
        let runs = 0
        const body = Effect.gen(function*() {
          yield* db.sql`insert into t values (${isAsked ? 1 : 2})`
          if (++runs > 1) return
          yield* kill
          // Either a statement meets the lost connection, or the commit does.
          if (isAsked) yield* db.sql`select 1`
          else yield* lost
        })
        yield* db.transaction(body, { retry: Schedule.recurs(1) })
        assert.strictEqual(runs, 2)
      }
      assert.deepStrictEqual(yield* value("select array_agg(n order by n) from t"), [1, 2])
    }))

  it.effect("waits for a lock for `lockTimeout`, and a statement runs for `statementTimeout`", () =>
    Effect.gen(function*() {
      const { db } = yield* make({ max: 2, lockTimeout: "50 millis", statementTimeout: "2 seconds", ...table })
      const held = yield* Deferred.make<void>()
      const holder = yield* Effect.forkChild(
        db.transaction(
          Effect.andThen(db.sql`lock table t`, Effect.andThen(Deferred.succeed(held, undefined), Effect.never))
        )
      )
      yield* Deferred.await(held)
      const late = yield* failsWith(db.sql`insert into t values (1)`, "SqlError")
      assert.deepStrictEqual([late.reason._tag, late.isRetryable], ["LockTimeoutError", true])
      yield* Fiber.interrupt(holder)
      yield* db.write((connection) =>
        Effect.gen(function*() {
          yield* connection.query("set statement_timeout = 500")
          const slow = yield* failsWith(connection.query("select pg_sleep(5)"), "SqlError")
          assert.strictEqual(slow.reason._tag, "StatementTimeoutError")
          assert.deepStrictEqual(yield* connection.query("select 1 as one"), [{ one: 1 }])
        })
      )
      assert.deepStrictEqual(yield* db.sql`show statement_timeout`, [{ statement_timeout: "2s" }])
    }))
})
