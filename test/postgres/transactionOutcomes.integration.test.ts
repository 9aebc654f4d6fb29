/** What a caller is told of a transaction, and what is in the table: the two agree, or the error says that nobody knows. */
import { assert } from "@effect/vitest"
import { Effect, Fiber, Schedule } from "effect"
import { PgPool } from "effect-connection-pool/postgres"
import { PoolAssert, TemporaryPostgres } from "effect-connection-pool/testing"
import { describeServer, make } from "../support/postgres.ts"

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

  it.effect("is known if the connection is lost before the commit is sent", () =>
    Effect.gen(function*() {
      const { db, kill, value } = yield* make({ max: 1, setup: ["create table t (n int)"] })
      const error = yield* failsWith(
        db.transaction(Effect.gen(function*() {
          yield* db.sql`insert into t values (1)`
          yield* kill
          yield* Effect.sleep(50)
        })),
        "TransactionCommitError"
      )
      assert.isTrue(error.cause.isRetryable)
      assert.include(error.message, "commit was not sent, because the connection was lost")
      assert.strictEqual(yield* value("select count(*)::int4 from t"), 0)
      assert.deepStrictEqual(yield* db.sql`select 1 as one`, [{ one: 1 }])
    }))

  it.effect(
    "is never a success that is not stored: a bank whose connections are killed again and again, and whose server crashes",
    () =>
      Effect.gen(function*() {
        const accounts = 10
        const server = yield* TemporaryPostgres.make()
        const database = yield* server.database
        const db = yield* PgPool.make({ ...database, max: 8, drainTimeout: 0 })
        const judge = (sql: string) => server.query(sql, { database: database.database })
        const value = (sql: string) => Effect.map(judge(sql), ([row]) => Object.values(row ?? {})[0])
        const kill = Effect.orElseSucceed(server.kill(database.database), () => 0)
        yield* judge("create table account (id int primary key, euros int not null)")
        yield* judge(`insert into account select n, 100 from generate_series(0, ${accounts - 1}) n`)
        yield* judge("create table ledger (transfer int primary key, source int, target int, euros int)")
        const { sql } = db
        let isOver = false
        let [next, kills] = [0, 0]
        const stored = new Set<number>()
        const unknown = new Set<number>()
        const failed = new Set<number>()
        const transfer = Effect.suspend(() => {
          const id = next++
          const [source, target, euros] = [id % accounts, (id * 7 + 3) % accounts, 1 + id % 5]
          const body = Effect.gen(function*() {
            yield* sql`update account set euros = euros - ${euros} where id = ${source}`
            yield* sql`update account set euros = euros + ${euros} where id = ${target}`
            yield* sql`insert into ledger values (${id}, ${source}, ${target}, ${euros})`
          })
          return Effect.matchEffect(
            db.transaction(body, { isolation: "serializable", retry: Schedule.recurs(20) }),
            {
              onFailure: (error) =>
                Effect.sync(() => void (error._tag === "TransactionOutcomeUnknownError" ? unknown : failed).add(id)),
              onSuccess: () => Effect.sync(() => void stored.add(id))
            }
          )
        })
        const tellers = yield* Effect.forkChild(Effect.forEach(
          Array.from({ length: 50 }),
          () => Effect.repeat(transfer, { until: () => isOver }),
          { concurrency: "unbounded", discard: true }
        ))
        for (let round = 0; round < 25; round++) {
          yield* Effect.sleep(100)
          kills += yield* kill
          if (round !== 12) continue
          yield* server.stop("immediate")
          yield* server.start
        }
        isOver = true
        yield* Fiber.join(tellers)
        const ledger = new Set(
          (yield* value("select coalesce(array_agg(transfer), '{}') from ledger")) as ReadonlyArray<number>
        )
        assert.isAbove(kills, 25)
        assert.isAbove(stored.size, 50)
        assert.deepStrictEqual(Array.from(stored).filter((id) => !ledger.has(id)), [], "told stored, and is not")
        assert.deepStrictEqual(Array.from(failed).filter((id) => ledger.has(id)), [], "told not stored, and is")
        assert.strictEqual(yield* value("select sum(euros)::int4 from account"), accounts * 100)
        assert.strictEqual(
          yield* value(`select count(*)::int4 from (
          select id, 100 - coalesce((select sum(euros) from ledger where source = id), 0)
            + coalesce((select sum(euros) from ledger where target = id), 0) as euros from account
        ) as booked join account using (id) where booked.euros <> account.euros`),
          0
        )
        assert.strictEqual(
          yield* value(
            "select count(*)::int4 from pg_stat_activity where datname = current_database() and state like 'idle in%'"
          ),
          0
        )
      }),
    60_000
  )
})
