/** Passwords of PostgreSQL, on a server that asks for them (SCRAM). */
import { assert } from "@effect/vitest"
import { Effect, Redacted } from "effect"
import { PgPool } from "effect-connection-pool/postgres"
import { PoolAssert, TemporaryPostgres } from "effect-connection-pool/testing"
import { describeServer, until } from "../support/postgres.ts"

const { failsWith } = PoolAssert

/** A server that believes the superuser, and nobody else. */
const make = Effect.gen(function*() {
  const server = yield* TemporaryPostgres.make()
  const [where] = yield* server.query("show hba_file")
  const rules = ["host all postgres 127.0.0.1/32 trust", "host all all 127.0.0.1/32 scram-sha-256"]
  const rows = rules.map((rule) => `('${rule}')`).join(", ")
  yield* server.query(`copy (select * from (values ${rows}) rules) to '${String(where!["hba_file"])}'`)
  yield* server.query("select pg_reload_conf()")
  yield* server.query("create role ada login password 'horse battery'")
  yield* until(
    "the rules count",
    Effect.map(
      Effect.exit(Effect.scoped(PgPool.make({ ...addressOf(server), username: "ada", min: 1 }))),
      ({ _tag }) => _tag === "Failure"
    )
  )
  const pool = (password: PgPool.Options["password"]) =>
    PgPool.make({ ...addressOf(server), username: "ada", password, max: 1, drainTimeout: 0 })
  return { server, pool }
})

const addressOf = ({ host, port }: TemporaryPostgres.TemporaryPostgres) => ({ host, port, database: "postgres" })

describeServer("the password of a PostgreSQL pool", (it) => {
  it.effect("may be a text, a Redacted or an effect, or in the URL", () =>
    Effect.gen(function*() {
      const { pool, server } = yield* make
      const given = [
        yield* pool("horse battery"),
        yield* pool(Redacted.make("horse battery")),
        yield* pool(Effect.succeed(Redacted.make("horse battery"))),
        yield* PgPool.make({ url: `postgres://ada:horse%20battery@${server.host}:${server.port}/postgres`, max: 1 })
      ]
      for (const db of given) assert.deepStrictEqual(yield* db.sql`select current_user as who`, [{ who: "ada" }])
    }))

  it.effect("that is wrong reaches the callers at once, and is not in the error", () =>
    Effect.gen(function*() {
      const { pool } = yield* make
      const db = yield* pool("hunter2")
      const error = yield* failsWith(db.write(() => Effect.void), "ConnectError")
      assert.include(error.message, "password authentication failed for user \"ada\" (SQLSTATE 28P01)")
      assert.notInclude(error.message, "hunter2")
      const asSql = yield* failsWith(db.sql`select 1`, "SqlError")
      assert.deepStrictEqual([asSql.reason._tag, asSql.isRetryable], ["AuthenticationError", false])
      const { primary } = yield* db.stats
      assert.strictEqual(primary.connectAttempts, primary.connectFailures)
      const none = yield* pool(undefined)
      const missing = yield* failsWith(none.write(() => Effect.void), "ConnectError")
      assert.match(missing.message, /password/i)
    }))

  it.effect("is asked for with each connect attempt, so it may change", () =>
    Effect.gen(function*() {
      const { pool, server } = yield* make
      let asked = 0
      let present = "horse battery"
      const db = yield* pool(Effect.sync(() => {
        asked++
        return Redacted.make(present)
      }))
      yield* db.sql`select 1`
      yield* server.query("alter role ada password 'staple'")
      // A session that is open stays.
      yield* db.sql`select 1`
      assert.strictEqual(asked, 1)
      yield* server.kill("postgres")
      yield* until("it is gone", Effect.map(db.stats, ({ primary }) => primary.total === 0))
      const old = yield* failsWith(db.write(() => Effect.void), "ConnectError")
      assert.include(old.message, "SQLSTATE 28P01")
      present = "staple"
      assert.deepStrictEqual(yield* db.sql`select 1 as one`, [{ one: 1 }])
      assert.strictEqual(asked, 3)
    }))
})
