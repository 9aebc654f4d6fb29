/** A PostgreSQL database behind a pool, judged by a second connection. */
import { PgClient } from "@effect/sql-pg/PgClient"
import * as PgTypes from "@effect/sql-pg/PgTypes"
import { assert } from "@effect/vitest"
import { ConfigProvider, Effect, Exit, Fiber, Layer, Schedule, Schema, Scope, Stream } from "effect"
import { HealthChecker } from "effect-connection-pool"
import { PgPool, PgPoolError } from "effect-connection-pool/postgres"
import { PoolAssert } from "effect-connection-pool/testing"
import { SqlSchema } from "effect/sql"
import { SqlClient } from "effect/sql/SqlClient"
import { describeServer, make, Server, until } from "../support/postgres.ts"

const { failsWith } = PoolAssert

describeServer("a PostgreSQL pool", (it) => {
  it.effect("serves a hundred fibers over eight connections", () =>
    Effect.gen(function*() {
      const { backends, db, value } = yield* make({ max: 8, setup: ["create table t (n int)"] })
      const { sql } = db
      yield* Effect.forEach(
        Array.from({ length: 100 }, (_, index) => index),
        (n) => Effect.andThen(sql`insert into t values (${n})`, sql`select pg_sleep(0.002)`),
        { concurrency: "unbounded", discard: true }
      )
      // On a slow machine the last of them are opened when the first have done all the work.
      yield* until("all are idle", Effect.map(db.stats, ({ primary }) => primary.idle === 8))
      assert.deepStrictEqual([yield* value("select count(*)::int4 from t"), (yield* backends).length], [100, 8])
      const { primary } = yield* db.stats
      assert.deepStrictEqual([primary.total, primary.idle, primary.waiting], [8, 8, 0])
    }))

  it.effect("is there for code that asks for SqlClient, for the client of sql-pg and for the pool", () =>
    Effect.gen(function*() {
      const server = yield* Server
      const database = yield* server.database
      yield* Effect.gen(function*() {
        const [sql, pg, db] = [yield* SqlClient, yield* PgClient, yield* PgPool.PgPool]
        assert.strictEqual(sql, db.sql)
        assert.strictEqual(pg, db.sql)
        yield* sql`create table person (id int generated always as identity, name text, data jsonb)`
        yield* sql`insert into person ${sql.insert([{ name: "Ada", data: pg.json({ a: [1] }) }])}`
        const find = SqlSchema.findAll({
          Request: Schema.String,
          Result: Schema.Struct({ id: Schema.Int, data: Schema.Unknown }),
          execute: (name) => sql`select id, data from person where name = ${name}`
        })
        assert.deepStrictEqual(yield* find("Ada"), [{ id: 1, data: { a: [1] } }])
        assert.deepStrictEqual(yield* sql`select 1 as one, 2 as two`.values, [[1, 2]])
        assert.deepStrictEqual(yield* sql`select 1 as one`.unprepared, [{ one: 1 }])
        assert.deepStrictEqual(yield* sql`select 1 as one`.valuesUnprepared, [[1]])
        const raw = yield* sql`update person set name = 'Bob'`.raw
        assert.deepInclude(raw as object, { command: "UPDATE", rowCount: 1 })
        const streamed = yield* Stream.runCollect(
          sql<{ readonly n: number }>`select n from generate_series(1, 3000) n`.stream
        )
        assert.strictEqual(streamed.length, 3000)
        const reserved = yield* Effect.scoped(Effect.flatMap(sql.reserve, (own) =>
          Effect.gen(function*() {
            yield* own.execute("begin", [], undefined)
            yield* own.execute("delete from person", [], undefined)
            yield* own.execute("rollback", [], undefined)
            return yield* own.executeValues("select count(*)::int4 from person", [])
          })))
        assert.deepStrictEqual(reserved, [[1]])
      }).pipe(Effect.provide(PgPool.layer(database)))
    }))

  it.effect("is there from the environment, and under services of their own, each with its layer", () =>
    Effect.gen(function*() {
      class Orders extends PgPool.Service<Orders>()("test/Orders") {}
      class Reports extends PgPool.Service<Reports>()("test/Reports") {}
      const server = yield* Server
      const [one, other] = [yield* server.database, yield* server.database]
      const envOf = (database: typeof one) =>
        ConfigProvider.layer(ConfigProvider.fromEnv({
          env: {
            DB_HOST: database.host,
            DB_PORT: String(database.port),
            DB_DATABASE: database.database,
            DB_USERNAME: database.username
          }
        }))
      const named = Effect.flatMap(SqlClient, (sql) => sql`select current_database()::text as name`)
      const fromEnv = PgPool.layerConfig(PgPool.config("DB")).pipe(Layer.provide(envOf(one)))
      assert.deepStrictEqual(yield* Effect.provide(named, fromEnv), [{ name: one.database }])
      const names = Effect.gen(function*() {
        const [orders, reports] = [yield* Orders, yield* Reports]
        return [
          yield* orders.sql`select current_database()::text as name`,
          yield* reports.sql`select current_database()::text as name`
        ]
      })
      const both = Layer.mergeAll(
        Orders.layer(one),
        Reports.layerConfig(PgPool.config("DB")).pipe(Layer.provide(envOf(other)))
      )
      assert.deepStrictEqual(yield* Effect.provide(names, both), [[{ name: one.database }], [{ name: other.database }]])
      yield* until("their sessions are gone", Effect.map(server.backends(), (all) => all.length === 0))
    }))

  it.effect("hears notifications as the client of sql-pg does", () =>
    Effect.gen(function*() {
      const { db, judge } = yield* make({ max: 2 })
      const scope = yield* Scope.make()
      const queue = yield* Scope.provide(db.sql.listen("news"), scope)
      yield* db.sql.notify("news", "one")
      yield* judge("select pg_notify('news', 'two')")
      const { Queue } = yield* Effect.promise(() => import("effect"))
      assert.deepStrictEqual([(yield* Queue.take(queue)).payload, (yield* Queue.take(queue)).payload], ["one", "two"])
      yield* Scope.close(scope, Exit.void)
      yield* until("it is returned", Effect.map(db.primary.stats, ({ idle, total }) => idle === total))
    }))

  it.effect("changes names where it is told to", () =>
    Effect.gen(function*() {
      const { db, value } = yield* make({
        transformQueryNames: (name) => name.replaceAll(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`),
        transformResultNames: (name) => name.replaceAll(/_(.)/g, (_, letter: string) => letter.toUpperCase()),
        setup: ["create table t (first_name text)"]
      })
      yield* db.sql`insert into t ${db.sql.insert({ firstName: "Ada" })}`
      assert.deepStrictEqual(yield* db.sql`select * from t`, [{ firstName: "Ada" }])
      assert.deepStrictEqual(yield* db.sql.withoutTransforms()`select * from t`, [{ first_name: "Ada" }])
      assert.strictEqual(yield* value("select first_name from t"), "Ada")
    }))

  it.effect("lends a connection for several statements, each of which is committed by itself", () =>
    Effect.gen(function*() {
      const { backends, db, value } = yield* make({ max: 2, setup: ["create table t (n int)"] })
      const seen = yield* db.write((connection) =>
        Effect.gen(function*() {
          const run = yield* connection.run("insert into t select generate_series(1, $1::int4)", [3])
          const outside = yield* value("select count(*)::int4 from t")
          const pid = yield* connection.processId
          const rows = yield* connection.query("select n from t where n > $1 order by n", [1])
          const values = yield* connection.values("select n, n + 1 as n from t where n = 1")
          const streamed = yield* Stream.runCollect(connection.stream("select n from t where n < $1", [3]))
          return {
            run,
            outside,
            isOwn: (yield* backends).some(({ processId }) => processId === pid),
            rows,
            values,
            streamed
          }
        })
      )
      assert.deepStrictEqual(seen, {
        run: { command: "INSERT", changes: 3 },
        outside: 3,
        isOwn: true,
        rows: [{ n: 2 }, { n: 3 }],
        values: [[1, 2]],
        streamed: [{ n: 1 }, { n: 2 }]
      })
    }))

  it.effect("refuses several statements in one text, says what to do, and has run none of them", () =>
    Effect.gen(function*() {
      const { db, value } = yield* make({ max: 1, setup: ["create table t (n int)"] })
      const two = "insert into t values (1); insert into t values (2)"
      const errors = [
        yield* failsWith(db.sql.unsafe(two), "SqlError"),
        yield* failsWith(db.transaction(db.sql.unsafe(two)), "SqlError"),
        yield* failsWith(db.write((connection) => connection.query(two)), "SqlError")
      ]
      for (const error of errors) {
        assert.strictEqual(error.reason._tag, "SqlSyntaxError")
        assert.include(error.message, "(SQLSTATE 42601): run each statement by itself")
      }
      yield* db.sql.unsafe(`do $$ begin ${two}; end $$`)
      assert.strictEqual(yield* value("select count(*)::int4 from t"), 2)
    }))

  it.effect("refuses everything on a connection whose lease has ended", () =>
    Effect.gen(function*() {
      const { db } = yield* make({ max: 1 })
      const kept = yield* db.write((connection) => Effect.succeed(connection))
      for (
        const used of [
          kept.query("select 1"),
          kept.values("select 1"),
          kept.run("select 1"),
          kept.isTransaction,
          kept.processId
        ]
      ) {
        const error = yield* failsWith(used as typeof kept.isTransaction, "LeaseExpiredError")
        assert.include(error.message, "postgres")
      }
      yield* failsWith(Stream.runDrain(kept.stream("select 1")), "LeaseExpiredError")
    }))

  it.effect("does not run a statement for a lease that ended while the statement waited", () =>
    Effect.gen(function*() {
      const { db, value } = yield* make({ max: 1, setup: ["create table t (n int)"] })
      const late = yield* db.write((connection) =>
        Effect.gen(function*() {
          yield* Effect.forkDetach(connection.query("select pg_sleep(20)"), { startImmediately: true })
          return yield* Effect.forkDetach(connection.run("insert into t values (1)"), { startImmediately: true })
        })
      )
      yield* failsWith(Fiber.join(late), "LeaseExpiredError")
      // What still runs is cancelled before the next lease.
      assert.deepStrictEqual(yield* db.sql`select count(*)::int4 as n from t`, [{ n: 0 }])
      assert.strictEqual((yield* db.stats).primary.abandonments, 1)
      assert.strictEqual(yield* value("select count(*)::int4 from t"), 0)
    }))

  it.effect("streams rows from one connection, and returns it when the stream ends early", () =>
    Effect.gen(function*() {
      const { backends, db } = yield* make({ max: 1 })
      const first = yield* Stream.runCollect(
        Stream.take(db.stream("select n from generate_series(1, 1000000) n where n > $1", [0]), 3)
      )
      assert.deepStrictEqual(first, [{ n: 1 }, { n: 2 }, { n: 3 }])
      assert.deepStrictEqual(yield* db.sql`select 1 as one`, [{ one: 1 }])
      assert.strictEqual((yield* backends).length, 1)
      const error = yield* failsWith(Stream.runDrain(db.stream("select 1 / 0")), "SqlError")
      assert.strictEqual(PgPoolError.sqlStateOf(error), "22012")
      assert.strictEqual(error.message, "division by zero (SQLSTATE 22012)")
    }))

  it.effect("refuses a statement beside a stream on the same connection, instead of waiting for itself", () =>
    Effect.gen(function*() {
      const { db } = yield* make({ max: 1 })
      const inner = yield* db.write((connection) =>
        Stream.runHead(Stream.mapEffect(
          connection.stream("select n from generate_series(1, 10000) n"),
          () => Effect.flip(connection.query("select 1"))
        ))
      )
      assert.include(String(inner), "a stream of rows is open on this connection")
      const ofTransaction = yield* db.transaction(
        Stream.runHead(
          Stream.mapEffect(db.stream("select n from generate_series(1, 10000) n"), () => Effect.flip(db.sql`select 1`))
        )
      )
      assert.include(String(ofTransaction), "a stream of rows is open on this connection")
    }))

  it.effect("refuses, before anything is sent, what could not have its effect", () =>
    Effect.gen(function*() {
      const { backends, db } = yield* make({ max: 1 })
      const refused: ReadonlyArray<readonly [sql: string, why: string]> = [
        ["begin", "transactions are begun and ended by `transaction` or `withTransaction`"],
        [
          "set search_path = a",
          "it leaves a setting, which ends with its connection, here at once: for all connections use"
        ],
        ["set local search_path = a", "it has an effect only inside a transaction: run it in `transaction`"],
        [
          "select pg_advisory_lock(1)",
          "it leaves an advisory lock, which ends with its connection, here at once: use `lock` of the pool, or keep the connection"
        ],
        ["listen a", "it leaves a channel, which ends with its connection, here at once: use `listen` of the pool, "],
        [
          "create temp table a (b int)",
          "it leaves a temporary table, which ends with its connection, here at once: keep the connection with `write`"
        ]
      ]
      for (const [sql, why] of refused) {
        const error = yield* failsWith(db.sql.unsafe(sql), "SqlError")
        assert.strictEqual(error.reason._tag, "AuthorizationError")
        assert.include(error.message, why)
        const streamed = yield* failsWith(Stream.runDrain(db.stream(sql)), "SqlError")
        assert.include(streamed.message, why)
      }
      assert.deepStrictEqual(yield* backends, [])
      const inside = yield* db.transaction(failsWith(db.sql`commit`, "SqlError"))
      assert.include(inside.message, "transactions are begun and ended by")
    }))

  it.effect("says what of an answer cannot be read, which no other attempt would cure", () =>
    Effect.gen(function*() {
      const { db } = yield* make({ max: 1, maxMessageSize: 64 * 1024 })
      const unreadable = yield* failsWith(db.sql`select array[[1, 2], [3, 4]] as grid`, "SqlError")
      assert.match(unreadable.message, /a value of the result cannot be read: .+: let the statement make it text/)
      let runs = 0
      const large = Effect.suspend(() => {
        runs++
        return db.sql`select repeat('x', 100000)`
      })
      const error = yield* failsWith(db.transaction(large, { retry: Schedule.recurs(3) }), "SqlError")
      assert.match(error.message, /exceeds maxMessageSize 65536: read less at a time, or raise maxMessageSize/)
      assert.deepStrictEqual([error.reason._tag, error.isRetryable, runs], ["UnknownError", false, 1])
      assert.deepStrictEqual(yield* db.sql`select 1 as one`, [{ one: 1 }])
    }))

  it.effect("refuses parameters that would not be stored as they are", () =>
    Effect.gen(function*() {
      const { db } = yield* make({ max: 1 })
      const refused: ReadonlyArray<readonly [sql: string, params: ReadonlyArray<unknown>, why: string]> = [
        ["select $1", [], "query: the statement has 1 parameters, but 0 values were given"],
        ["select 1", [1], "query: the statement has 0 parameters, but 1 values were given"],
        ["select $1::int4", [undefined], "query: parameter $1 is undefined: for NULL, give null"],
        ["select $1::float8", [-0], "query: parameter $1 is -0, which would be stored as 0"],
        ["select $1::int4[]", [[1, undefined]], "query: parameter $1 at position 1 of its array is undefined"],
        ["select $1::text", ["\ud800"], "query: parameter $1 has half a surrogate pair in it"],
        ["select $1::text", ["a\0b"], "query: parameter $1 has a zero character in it"],
        ["select $1", [PgTypes.text("\ud800")], "query: parameter $1 has half a surrogate pair in it"],
        ["select $1::text", [new Map()], "query: the parameters cannot be sent: Cannot infer a PostgreSQL type for"],
        ["select $1::float8[]", [[1, 1.5]], "the same inferred OID: give another value, or name its type with PgTypes"]
      ]
      yield* db.write((connection) =>
        Effect.gen(function*() {
          for (const [sql, params, why] of refused) {
            const error = yield* failsWith(connection.query(sql, params), "SqlError")
            assert.include(error.message, why)
            assert.isFalse(error.isRetryable)
          }
          const texts: ReadonlyArray<readonly [sql: string, why: string]> = [
            ["copy pg_class to stdout", "the driver cannot COPY from or to the client"],
            ["select 'a\0b'", "query: the statement has a zero character in it"],
            ["select '\ud800'", "query: the statement has half a surrogate pair in it"]
          ]
          for (const [sql, why] of texts) {
            const error = yield* failsWith(connection.query(sql), "SqlError")
            assert.include(error.message, why)
            assert.strictEqual(error.reason._tag, "SqlSyntaxError")
          }
          // The connection was not harmed.
          assert.deepStrictEqual(yield* connection.values("select $1::int8, $2::text[]", [2n ** 60n, ["a", null]]), [[
            2n ** 60n,
            ["a", null]
          ]])
        })
      )
      assert.strictEqual((yield* db.stats).primary.disconnects, 0)
    }))

  it.effect("fails to start where no attempt can help, at once and with the reason", () =>
    Effect.gen(function*() {
      const server = yield* Server
      const { database: _, ...where } = yield* server.database
      const error = yield* failsWith(
        Effect.scoped(PgPool.make({ ...where, database: "nowhere", min: 1 })),
        "ConnectError"
      )
      assert.include(error.message, "database \"nowhere\" does not exist (SQLSTATE 3D000)")
    }))

  it.effect("has one deadline for a connection, and names who holds them", () =>
    Effect.gen(function*() {
      const { db } = yield* make({ max: 1 })
      const holder = yield* Effect.forkChild(db.sql`select pg_sleep(20)`)
      yield* until("it runs", Effect.map(db.primary.holders, (all) => all[0]?.statement?.isRunning === true))
      const error = yield* failsWith(db.write(() => Effect.void, { timeout: "50 millis" }), "AcquireTimeoutError")
      assert.include(error.message, "select pg_sleep(20)")
      const asSql = yield* failsWith(db.transaction(Effect.void, { timeout: 0 }), "AcquireTimeoutError")
      assert.strictEqual(asSql.timeoutMillis, 0)
      yield* Fiber.interrupt(holder)
    }))

  it.effect("is watched by a health checker", () =>
    Effect.gen(function*() {
      const { db } = yield* make({ max: 1 })
      const health = yield* HealthChecker.make(db)
      assert.strictEqual((yield* health.check()).status, "healthy")
      yield* db.shutdown()
      yield* failsWith(db.sql`select 1`, "SqlError")
    }))

  it.effect("shows the statement that a holder runs, and reports slow ones", () =>
    Effect.gen(function*() {
      const { db } = yield* make({ max: 1, slowStatement: "50 millis" })
      yield* db.write((connection) =>
        Effect.gen(function*() {
          const slow = connection.query("select pg_sleep(0.3)")
          const running = yield* Effect.forkChild(slow, { startImmediately: true })
          const [holder] = yield* db.primary.holders
          assert.deepInclude(holder?.statement, { text: "select pg_sleep(0.3)", isRunning: true })
          yield* Fiber.join(running)
        })
      )
      assert.deepStrictEqual((yield* db.slowStatements).map(({ text }) => text), ["select pg_sleep(0.3)"])
    }))
})
