/** What a caller is told of a transaction, and what is in the table: the two agree, or the error says that nobody knows. */
import { assert } from "@effect/vitest"
import { Effect, Fiber, Schedule } from "effect"
import { PgPool } from "effect-connection-pool/postgres"
import { PoolAssert, TemporaryPostgres } from "effect-connection-pool/testing"
import { describeServer, lossOf, make, until } from "../support/postgres.ts"

const { failsWith } = PoolAssert

describeServer("the outcome of a transaction of PostgreSQL", (it) => {
  it.effect("is unknown if the answer to its commit is lost, and such a transaction is not run again", () =>
    Effect.gen(function*() {
      const { database, server, value } = yield* make({ setup: ["create table t (n int)"] })
      const proxy = yield* server.proxy
      const db = yield* PgPool.make({ ...database, host: proxy.host, port: proxy.port, max: 1, drainTimeout: 0 })
      let runs = 0
      const insert = Effect.gen(function*() {
        runs++
        yield* db.sql`insert into t values (${runs})`
        yield* proxy.loseNextAnswer
      })
      const error = yield* failsWith(
        db.transaction(insert, { retry: Schedule.recurs(3) }),
        "TransactionOutcomeUnknownError"
      )
      assert.include(error.message, "the commit was sent, but not answered")
      assert.strictEqual(runs, 1)
      // This one was stored.
      assert.deepStrictEqual(yield* value("select array_agg(n) from t"), [1])
      const asSql = yield* failsWith(db.sql.withTransaction(insert), "SqlError")
      assert.isFalse(asSql.isRetryable)
      assert.deepStrictEqual(yield* db.sql`select count(*)::int4 as n from t`, [{ n: 2 }])
    }))

  it.effect("is unknown if its session is killed while the commit waits for a replica that does not answer", () =>
    Effect.gen(function*() {
      const server = yield* TemporaryPostgres.make({
        parameters: { synchronous_standby_names: "nobody", synchronous_commit: "local" }
      })
      const database = yield* server.database
      const db = yield* PgPool.make({
        ...database,
        max: 1,
        drainTimeout: 0,
        startupParameters: { synchronous_commit: "on" },
        controlTimeout: "1 minute"
      })
      yield* server.query("create table t (n int)", { database: database.database })
      let runs = 0
      const body = Effect.suspend(() => db.sql`insert into t values (${++runs})`)
      const committing = yield* Effect.forkChild(db.transaction(body, { retry: Schedule.recurs(3) }))
      yield* until(
        "the commit waits",
        Effect.map(
          server.query("select 1 from pg_stat_activity where wait_event = 'SyncRep'"),
          (rows) => rows.length === 1
        )
      )
      yield* server.kill(database.database)
      const error = yield* failsWith(Fiber.join(committing), "TransactionOutcomeUnknownError")
      assert.include(error.message, "the commit was sent, but not answered")
      assert.strictEqual(runs, 1)
      // The server waits after it has stored it.
      assert.deepStrictEqual(yield* server.query("select n from t", { database: database.database }), [{ n: 1 }])
    }))

  it.effect("is known if the connection is lost before the commit is sent", () =>
    Effect.gen(function*() {
      const { db, kill, value } = yield* make({ max: 1, setup: ["create table t (n int)"] })
      const lost = yield* lossOf(db)
      const error = yield* failsWith(
        db.transaction(Effect.gen(function*() {
          yield* db.sql`insert into t values (1)`
          yield* kill
          yield* lost
        })),
        "TransactionCommitError"
      )
      assert.deepStrictEqual([error.isRetryable, error.cause.isRetryable], [true, true])
      assert.include(error.message, "commit was not sent, because the connection was lost")
      assert.strictEqual(yield* value("select count(*)::int4 from t"), 0)
      assert.deepStrictEqual(yield* db.sql`select 1 as one`, [{ one: 1 }])
    }))
})
