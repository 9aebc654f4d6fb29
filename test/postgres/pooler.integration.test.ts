/** A pool behind a pooler in transaction mode: what it sends, and what it refuses. `pgBouncer` runs one. */
import { assert } from "@effect/vitest"
import { Effect, Result, Stream } from "effect"
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
      for (const [sql, left] of [["set search_path = a", "a setting"], ["listen news", "a channel"]] as const) {
        const alone = yield* failsWith(db.sql.unsafe(sql), "SqlError")
        assert.strictEqual(
          alone.message,
          `execute: ${JSON.stringify(sql)}: it leaves ${left}, and a pooler in transaction mode keeps no session: ` +
            "use `set local`, or what ends with a transaction"
        )
      }
      const listened = yield* failsWith(Stream.runDrain(db.listen("news")), "SqlError")
      assert.include(listened.message, "a pooler in transaction mode keeps no session, so nobody would hear")
      yield* failsWith(Effect.scoped(db.sql.listen("news")), "SqlError")
      const locked = yield* failsWith(db.lock("k", Effect.void), "SqlError")
      assert.include(locked.message, "take it inside `transaction`")
      // What ends with its transaction works.
      yield* db.transaction(Effect.andThen(db.sql`set local search_path = pg_catalog`, db.lock("k", db.sql`select 1`)))
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
    }))
})
