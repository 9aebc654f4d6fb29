/** Passwords of PostgreSQL, on a server that asks for them (SCRAM). */
import { assert } from "@effect/vitest"
import { Effect, Fiber, Redacted } from "effect"
import { PgPool } from "effect-connection-pool/postgres"
import { PoolAssert, TemporaryPostgres } from "effect-connection-pool/testing"
import { inspect } from "node:util"
import { describeServer, rulesOf, until } from "../support/postgres.ts"

const { failsWith } = PoolAssert

/** A server that believes the superuser, and nobody else. */
const make = Effect.fnUntraced(function*(method = "scram-sha-256") {
  const server = yield* TemporaryPostgres.make()
  yield* server.query("create role ada login password 'horse battery'")
  yield* rulesOf(server, ["host all postgres 127.0.0.1/32 trust", `host all all 127.0.0.1/32 ${method}`])
  const pool = (password: PgPool.Options["password"]) =>
    PgPool.make({ ...addressOf(server), username: "ada", password, max: 1, drainTimeout: 0 })
  return { server, pool }
})

const addressOf = ({ host, port }: TemporaryPostgres.TemporaryPostgres) => ({ host, port, database: "postgres" })

describeServer("the password of a PostgreSQL pool", (it) => {
  it.effect("may be a text, a Redacted or an effect, or in the URL", () =>
    Effect.gen(function*() {
      const { pool, server } = yield* make()
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
      const { pool } = yield* make()
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
      assert.include(missing.message, "the server asks for one: give it as `password`")
    }))

  it.effect("is asked for with each connect attempt, so it may change", () =>
    Effect.gen(function*() {
      const { pool, server } = yield* make()
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

  // The server keeps the form of SASLprep for SCRAM, and the text as it is for MD5.
  for (const method of ["scram-sha-256", "md5", "password"]) {
    it.effect(`may have any character (${method})`, () =>
      Effect.gen(function*() {
        const { pool, server } = yield* make(method)
        const { host, port } = server
        const encryption = method === "md5" ? "md5" : "scram-sha-256"
        const passwords = [
          "p@ss:w/ord?#[]&=%20+",
          "'\"\\`$(x);--",
          " a b ",
          "%zz",
          "\u0001\t\n",
          "x".repeat(1000),
          "\u00fcml\u00e4ut",
          "\u65e5\u672c\ud83d\ude42",
          // Those that SASLprep changes.
          "e\u0301",
          "a\u00a0b",
          "a\u00adb",
          "a\u200bb",
          "\ufb01sh",
          "\u2168",
          // Nothing is left of it, so it stays as it is.
          "\u00ad"
        ]
        for (const password of passwords) {
          yield* server.query(
            `do $do$ begin set local password_encryption = '${encryption}'; ` +
              `execute format('alter role ada password %L', $pass$${password}$pass$); end $do$`
          )
          const url = `postgres://ada:${encodeURIComponent(password)}@${host}:${port}/postgres`
          const parameter = `postgres://ada@${host}:${port}/postgres?password=${
            encodeURIComponent(password).replaceAll("%2B", "+")
          }`
          const given = [
            yield* pool(Redacted.make(password)),
            yield* PgPool.make({ url, max: 1, drainTimeout: 0 }),
            yield* PgPool.make({ url: parameter, max: 1, drainTimeout: 0 })
          ]
          for (const db of given) {
            assert.deepStrictEqual(
              yield* db.sql`select current_user as who`,
              [{ who: "ada" }],
              JSON.stringify(password)
            )
            yield* db.shutdown()
          }
        }
      }))
  }

  it.effect("is asked for again if its effect fails, and that is an error that can be caught", () =>
    Effect.gen(function*() {
      const { pool, server } = yield* make()
      let isAway = true
      const password = Effect.suspend(() =>
        isAway ? Effect.fail(new Error("TLS: the vault is away")) : Effect.succeed(Redacted.make("horse battery"))
      )
      const impatient = yield* PgPool.make({
        ...addressOf(server),
        username: "ada",
        password,
        acquireTimeout: "2 seconds",
        drainTimeout: 0
      })
      const error = yield* failsWith(impatient.sql`select 1`, "SqlError")
      assert.include(error.message, "the effect of the option password has failed: TLS: the vault is away")
      assert.deepStrictEqual([error.reason._tag, error.isRetryable], ["ConnectionError", true])
      const db = yield* pool(password)
      const waiting = yield* Effect.forkChild(db.sql`select 1 as one`)
      yield* until("it has failed", Effect.map(db.stats, ({ primary }) => primary.connectFailures > 0))
      isAway = false
      assert.deepStrictEqual(yield* Fiber.join(waiting), [{ one: 1 }])
    }))

  it.effect("that cannot be sent is refused at once, and not shown", () =>
    Effect.gen(function*() {
      const { pool } = yield* make()
      const wiped = Redacted.make("hunter2")
      Redacted.wipeUnsafe(wiped)
      const given: ReadonlyArray<unknown> = [
        Redacted.make("hunter2\0"),
        Redacted.make("hunter2\ud800"),
        Redacted.make(""),
        Redacted.make(7_654_321),
        wiped,
        "hunter2",
        7_654_321,
        undefined
      ]
      for (const password of given) {
        const db = yield* pool(Effect.succeed(password) as Effect.Effect<Redacted.Redacted>)
        const error = yield* failsWith(db.sql`select 1`, "SqlError")
        assert.include(error.message, "must give a Redacted of text that is not empty and has no zero character")
        assert.deepStrictEqual([error.reason._tag, error.isRetryable], ["AuthenticationError", false])
        assert.strictEqual((yield* db.stats).primary.connectAttempts, 1)
        const shown = inspect([error, db], { depth: 20, showHidden: true })
        assert.notMatch(shown, /hunter2|7654321|7_654_321/)
      }
    }))

  it.effect("that dies is told at once, and the pool goes on", () =>
    Effect.gen(function*() {
      const { pool } = yield* make()
      let isSealed = true
      const db = yield* pool(
        Effect.suspend(() =>
          isSealed ? Effect.die(new Error("the vault is sealed")) : Effect.succeed(Redacted.make("horse battery"))
        )
      )
      const error = yield* failsWith(db.sql`select 1`, "SqlError")
      assert.include(error.message, "the vault is sealed")
      assert.isFalse(error.isRetryable)
      isSealed = false
      assert.deepStrictEqual(yield* db.sql`select 1 as one`, [{ one: 1 }])
    }))
})
