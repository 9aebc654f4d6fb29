/** A pool behind a pooler in transaction mode: what it sends, and what it refuses. `pgBouncer` runs one. */
import { assert } from "@effect/vitest"
import { Deferred, Effect, Fiber, Result, Stream } from "effect"
import { PoolAssert } from "effect-connection-pool/testing"
import * as Options from "../../src/postgres/internal/options/pool.ts"
import { describeServer, make } from "../support/postgres.ts"

const { failsWith } = PoolAssert

describeServer("a PostgreSQL pool behind a pooler in transaction mode", (it) => {
  it.effect("prepares no statement, and begins its sessions without settings", () =>
    Effect.gen(function*() {
      const { db } = yield* make({ max: 1, pooler: "transaction" })
      yield* db.transaction(db.sql`select 42`)
      yield* db.sql`select 42`
      assert.deepStrictEqual(yield* db.sql`select count(*)::int4 as n from pg_prepared_statements`, [{ n: 0 }])
      assert.deepStrictEqual(yield* db.sql`select current_setting('idle_in_transaction_session_timeout') as t`, [{
        t: "0"
      }])
    }))

  it.effect("refuses what needs a session", () =>
    Effect.gen(function*() {
      const { db } = yield* make({ max: 1, pooler: "transaction" })
      const settings = yield* failsWith(db.write((connection) => connection.query("set search_path = a")), "SqlError")
      assert.include(settings.message, "it leaves a setting, and a pooler in transaction mode keeps no session")
      const listened = yield* failsWith(Stream.runDrain(db.listen("news")), "SqlError")
      assert.include(listened.message, "a pooler in transaction mode keeps no session, so nobody would hear")
      yield* failsWith(Effect.scoped(db.sql.listen("news")), "SqlError")
      const locked = yield* failsWith(db.lock("k", Effect.void), "SqlError")
      assert.include(locked.message, "take it inside `transaction`")
      const waysThatWork: ReadonlyArray<readonly [sql: string, way: string]> = [
        ["set work_mem = 1000", "use `set local` in a transaction, or set it for the role"],
        ["set role postgres", "use `set local role` in a transaction"],
        ["listen news", "listen with a pool on the server itself"],
        ["select pg_advisory_lock(1)", "use `lock` inside `transaction`"],
        ["create temp table t (n int)", "make it with `on commit drop` in a transaction"],
        ["declare c cursor with hold for select 1", "use one without `hold` in a transaction, or `stream`"],
        ["discard all", "run it with a pool on the server itself"],
        ["execute p", "send its text"]
      ]
      for (const [statement, way] of waysThatWork) {
        const alone = yield* failsWith(db.sql.unsafe(statement), "SqlError")
        assert.include(alone.message, `a pooler in transaction mode keeps no session: ${way}`)
        const inTransaction = yield* failsWith(db.transaction(db.sql.unsafe(statement)), "SqlError")
        assert.strictEqual(inTransaction.message, alone.message)
        const inStream = yield* failsWith(Stream.runDrain(db.stream(statement)), "SqlError")
        assert.include(inStream.message, way)
      }
      // What ends with its transaction works.
      yield* db.transaction(Effect.andThen(db.sql`set local search_path = pg_catalog`, db.lock("k", db.sql`select 1`)))
    }))

  it.effect("refuses a write of `read`, and leaves no transaction behind", () =>
    Effect.gen(function*() {
      const setup = ["create table t (n int)"]
      const { backends, db, judge, value } = yield* make({ max: 1, pooler: "transaction", setup })
      const inserted = db.read((connection) => connection.query("insert into t values (1)"))
      const refused = yield* failsWith(Effect.catchTag(inserted, "LeaseExpiredError", Effect.die), "SqlError")
      assert.strictEqual(refused.reason._tag, "AuthorizationError", refused.message)
      // Each statement sees what was committed before it.
      const seen = yield* db.read((connection) =>
        Effect.andThen(
          Effect.andThen(connection.query("select count(*)::int4 as n from t"), judge("insert into t values (0)")),
          connection.query("select count(*)::int4 as n from t")
        )
      )
      assert.deepStrictEqual(seen, [{ n: 1 }])
      const begun = Deferred.makeUnsafe<void>()
      const reading = yield* Effect.forkChild(
        db.read(() => Effect.andThen(Deferred.succeed(begun, undefined), Effect.never))
      )
      yield* Deferred.await(begun)
      yield* Fiber.interrupt(reading)
      assert.deepStrictEqual((yield* backends).map(({ state }) => state), ["idle"])
      yield* db.sql`insert into t values (2)`
      assert.strictEqual(yield* value("select count(*)::int4 from t"), 2)
      const { primary } = yield* db.stats
      assert.deepStrictEqual([primary.connects, primary.resets], [1, 0])
    }))

  it.effect("keeps a temporary table until the commit that drops it", () =>
    Effect.gen(function*() {
      const { db, value } = yield* make({ max: 1, pooler: "transaction" })
      const rows = yield* db.transaction(Effect.gen(function*() {
        yield* db.sql`create temp table t (n int) on commit drop`
        yield* db.sql`insert into t values (1)`
        return yield* db.sql`select n from t`
      }))
      assert.deepStrictEqual(rows, [{ n: 1 }])
      assert.isNull(yield* value("select to_regclass('pg_temp.t')"))
    }))

  it.effect("tells the last value of a sequence only in the transaction that took it", () =>
    Effect.gen(function*() {
      const { db } = yield* make({ max: 1, pooler: "transaction", setup: ["create table t (id serial, n int)"] })
      const { sql } = db
      yield* sql`insert into t (n) values (1)`
      // Behind a pooler that may be the value of another client.
      const later = db.write((connection) =>
        Effect.andThen(connection.query("insert into t (n) values (2)"), connection.query("select lastval()"))
      )
      for (
        const asked of [
          sql`select lastval()`,
          sql`select currval('t_id_seq')`,
          Effect.catchTag(later, "LeaseExpiredError", Effect.die)
        ]
      ) {
        const refused = yield* failsWith(asked, "SqlError")
        assert.include(refused.message, "ask in the `transaction` that took it, or use `returning`")
      }
      const inserted = Effect.andThen(sql`insert into t (n) values (3)`, sql<{ id: bigint }>`select lastval() as id`)
      assert.deepStrictEqual((yield* db.transaction(inserted)).map(({ id }) => Number(id)), [3])
    }))

  it.effect("refuses the options that it cannot keep, when it is made", () =>
    Effect.sync(() => {
      const problemsOf = (options: object) =>
        Result.match(Options.resolve({ pooler: "transaction", ...options }), {
          onFailure: ({ problems }) => problems.map(({ message }) => message),
          onSuccess: () => []
        })
      assert.deepStrictEqual(problemsOf({ prepare: true, lockTimeout: "1 second" }), [
        "prepare is true, but must be false with pooler \"transaction\": each transaction may have another session",
        "lockTimeout is \"1 second\", but must be left out with pooler \"transaction\", which refuses it: " +
        "set it for the role (alter role ... set ...)"
      ])
      assert.deepStrictEqual(problemsOf({ prepare: false }), [])
      for (const field of ["statementTimeout", "idleInTransactionTimeout"]) {
        assert.strictEqual(problemsOf({ [field]: "1 second" }).length, 1, field)
      }
      assert.strictEqual(problemsOf({ startupParameters: {} }).length, 1)
      // In session mode it keeps what is prepared.
      assert.deepStrictEqual(problemsOf({ pooler: "session", prepare: true, lockTimeout: "1 second" }), [
        "lockTimeout is \"1 second\", but must be left out with pooler \"session\", which refuses it: " +
        "set it for the role (alter role ... set ...)"
      ])
      for (const field of ["replicas", "sharedReads"]) {
        assert.include(problemsOf({ pooler: "session", [field]: {} })[0], "left out with pooler \"session\"", field)
      }
    }))
})
