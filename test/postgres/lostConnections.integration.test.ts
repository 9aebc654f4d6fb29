/** Connections that the server or the network ends, seen by a second connection. */
import { assert } from "@effect/vitest"
import { Deferred, Effect, Fiber } from "effect"
import { PgPool, PgPoolError } from "effect-connection-pool/postgres"
import { PoolAssert, TemporaryPostgres } from "effect-connection-pool/testing"
import { createServer } from "node:net"
import { describeServer, make, until } from "../support/postgres.ts"

const { failsWith } = PoolAssert

describeServer("a connection that PostgreSQL ends", (it) => {
  it.effect("is replaced while nobody asks, down to `min`", () =>
    Effect.gen(function*() {
      const { backends, db, kill } = yield* make({ min: 4, max: 4 })
      const before = new Set((yield* backends).map(({ processId }) => processId))
      assert.strictEqual(yield* kill, 4)
      yield* until(
        "four others are there",
        Effect.map(backends, (all) => all.length === 4 && all.every(({ processId }) => !before.has(processId)))
      )
      assert.strictEqual((yield* db.stats).primary.checkouts, 0)
    }))

  it.effect("is never lent again, and its next caller notices nothing", () =>
    Effect.gen(function*() {
      const { db, kill } = yield* make({ max: 4 })
      const all = yield* Deferred.make<void>()
      let inside = 0
      const together = db.write(() =>
        Effect.suspend(() => ++inside === 4 ? Deferred.succeed(all, undefined) : Deferred.await(all))
      )
      yield* Effect.all(Array.from({ length: 4 }, () => together), { concurrency: "unbounded" })
      assert.strictEqual(yield* kill, 4)
      yield* until("all are gone", Effect.map(db.stats, ({ primary }) => primary.total === 0))
      yield* Effect.all(Array.from({ length: 8 }, () => db.sql`select 1`), { concurrency: "unbounded" })
    }))

  it.effect("fails its statement with a retryable error, and no other statement", () =>
    Effect.gen(function*() {
      const { db, kill, value } = yield* make({ max: 2, setup: ["create table t (n int)"] })
      const running = yield* Effect.forkChild(db.sql`insert into t select 1 from pg_sleep(5)`)
      yield* until("it runs", Effect.map(db.primary.holders, (all) => all[0]?.statement?.isRunning === true))
      yield* until("it is killed", Effect.map(kill, (count) => count > 0))
      const error = yield* failsWith(Fiber.join(running), "SqlError")
      assert.deepStrictEqual([error.reason._tag, error.isRetryable], ["ConnectionError", true])
      yield* db.sql`insert into t values (2)`
      assert.deepStrictEqual(yield* value("select array_agg(n) from t"), [2])
    }))

  it.effect("loses one statement for each kill at most, and no success, while others go on", () =>
    Effect.gen(function*() {
      const { db, kill, value } = yield* make({ max: 8, setup: ["create table t (n int)"] })
      let [failed, stored, killed] = [0, 0, 0]
      let isOver = false
      const insert = Effect.matchEffect(db.sql`insert into t values (1)`, {
        onFailure: (error) =>
          Effect.sync(() => {
            assert.strictEqual(error.reason._tag, "ConnectionError", error.message)
            failed++
          }),
        onSuccess: () => Effect.sync(() => void stored++)
      })
      const workers = yield* Effect.forkChild(Effect.forEach(
        Array.from({ length: 50 }),
        () => Effect.repeat(insert, { until: () => isOver }),
        { concurrency: "unbounded", discard: true }
      ))
      for (let round = 0; round < 10; round++) {
        const before = stored
        yield* until(
          "they go on, on all connections",
          Effect.map(db.stats, ({ primary }) => stored >= before + 50 && primary.idle + primary.inUse === 8)
        )
        killed += yield* kill
      }
      isOver = true
      yield* Fiber.join(workers)
      assert.isAbove(killed, 10)
      assert.isAtMost(failed, killed)
      const rows = Number(yield* value("select count(*)::int4 from t"))
      // A statement whose answer was lost may be stored.
      assert.isAtLeast(rows, stored)
      assert.isAtMost(rows, stored + failed)
    }))

  it.effect("while it is asked for its position is replaced, and asked again", () =>
    Effect.gen(function*() {
      const { database, server } = yield* make()
      const proxy = yield* server.proxy
      const db = yield* PgPool.make({ ...database, host: proxy.host, port: proxy.port, max: 1, drainTimeout: 0 })
      yield* db.sql`select 1`
      yield* proxy.loseNextAnswer
      assert.match(yield* db.position, /^[0-9A-F]+\/[0-9A-F]+$/)
      assert.strictEqual((yield* db.stats).primary.disconnects, 1)
    }))

  it.effect("because its transaction was idle for too long fails that transaction, and the next lease is clean", () =>
    Effect.gen(function*() {
      const { backends, db, value } = yield* make({
        max: 1,
        idleInTransactionTimeout: "1 second",
        setup: ["create table t (n int)"]
      })
      const { sql } = db
      const late: Array<string> = []
      const body = Effect.gen(function*() {
        yield* sql`insert into t values (1)`
        yield* until("the session is gone", Effect.map(Effect.orDie(backends), (all) => all.length === 0))
        for (const n of [2, 3]) {
          yield* Effect.catchTag(
            sql`insert into t values (${n})`,
            "SqlError",
            ({ message }) => Effect.sync(() => late.push(message))
          )
        }
      })
      const lost = yield* failsWith(db.transaction(body), "TransactionLostError")
      assert.include(lost.message, "idle-in-transaction timeout (SQLSTATE 25P03)")
      assert.strictEqual(late.length, 2)
      yield* sql`insert into t values (4)`
      assert.deepStrictEqual(yield* value("select array_agg(n) from t"), [4])
    }))

  it.effect("tells the next statement of its lease why", () =>
    Effect.gen(function*() {
      const { db, kill } = yield* make({ max: 1, idleInTransactionTimeout: "100 millis" })
      const told = (why: string, end: Effect.Effect<unknown, unknown>) =>
        db.write((connection) =>
          Effect.gen(function*() {
            yield* connection.query("begin")
            yield* end
            // Not sent, so it has no answer of its own.
            const message = Effect.map(Effect.flip(Effect.delay(connection.query("select 1"), 200)), String)
            yield* until(why, Effect.map(message, (message) => message.includes(why)))
          })
        )
      yield* told("terminating connection due to idle-in-transaction timeout (SQLSTATE 25P03)", Effect.void)
      yield* told("terminating connection due to administrator command (SQLSTATE 57P01)", kill)
    }))

  it.effect("tells the transaction whose statement runs why", () =>
    Effect.gen(function*() {
      const { db } = yield* make({ max: 1, startupParameters: { transaction_timeout: "200ms" } })
      const tooLong = yield* failsWith(db.transaction(db.sql`select pg_sleep(60)`), "SqlError")
      assert.strictEqual(
        tooLong.message,
        "the connection was lost: terminating connection due to transaction timeout (SQLSTATE 25P04)"
      )
    }))

  it.effect("waits for a server that restarts, and fails only what was under way", () =>
    Effect.gen(function*() {
      const server = yield* TemporaryPostgres.make()
      const db = yield* PgPool.make({ ...(yield* server.database), max: 8, drainTimeout: 0 })
      yield* db.sql`create table t (n int)`
      let [failed, stored] = [0, 0]
      let isOver = false
      const insert = Effect.matchEffect(db.sql`insert into t values (1)`, {
        onFailure: () => Effect.sync(() => void failed++),
        onSuccess: () => Effect.sync(() => void stored++)
      })
      const workers = yield* Effect.forkChild(Effect.forEach(
        Array.from({ length: 50 }),
        () => Effect.repeat(insert, { until: () => isOver }),
        { concurrency: "unbounded", discard: true }
      ))
      yield* until("they run", Effect.sync(() => stored > 50))
      yield* server.stop("immediate")
      yield* until("all wait for a connection", Effect.map(db.stats, ({ primary }) => primary.waiting === 50))
      const before = stored
      yield* server.start
      yield* until("they go on", Effect.sync(() => stored > before + 50))
      isOver = true
      yield* Fiber.join(workers)
      assert.isAtMost(failed, 8)
    }))

  it.effect("is waited for where the server has no room for another", () =>
    Effect.gen(function*() {
      const { backends, db, judge, database } = yield* make({ max: 1 })
      const role = `narrow_${database.database}`
      yield* judge(`create role ${role} login connection limit 2`)
      yield* Effect.addFinalizer(() => Effect.ignore(judge(`drop role ${role}`)))
      yield* Effect.scoped(Effect.gen(function*() {
        const narrow = yield* PgPool.make({ ...database, username: role, max: 6, connectBackoff: "10 millis" })
        yield* Effect.forEach(Array.from({ length: 50 }), () => narrow.sql`select pg_sleep(0.005)`, {
          concurrency: "unbounded",
          discard: true
        })
        assert.strictEqual((yield* backends).length, 2)
      }))
      assert.isDefined(db)
    }))

  it.effect("is found by its silence before it is lent, within `validateTimeout`", () =>
    Effect.gen(function*() {
      const { database, server } = yield* make()
      const proxy = yield* server.proxy
      const db = yield* PgPool.make({
        ...database,
        host: proxy.host,
        port: proxy.port,
        max: 1,
        validateAfterIdle: 0,
        validateTimeout: "200 millis",
        cancelTimeout: "50 millis",
        connectTimeout: "2 seconds",
        acquireTimeout: "25 seconds",
        drainTimeout: 0
      })
      yield* db.sql`select 1`
      yield* proxy.silence
      const asked = yield* Effect.forkChild(db.sql`select 1 as one`)
      yield* until("it is evicted", Effect.map(db.stats, ({ primary }) => primary.disconnects > 0))
      yield* proxy.restore
      assert.deepStrictEqual(yield* Fiber.join(asked), [{ one: 1 }])
    }))
})

describeServer("a PostgreSQL pool that cannot connect", (it) => {
  it.effect("says that the server accepts, and then says nothing", () =>
    Effect.gen(function*() {
      const mute = createServer()
      yield* Effect.acquireRelease(
        Effect.callback<void>((resume) => void mute.listen(0, "127.0.0.1", () => resume(Effect.void))),
        () => Effect.sync(() => mute.close())
      )
      const { port } = mute.address() as { readonly port: number }
      const db = yield* PgPool.make({
        host: "127.0.0.1",
        port,
        username: "postgres",
        acquireTimeout: "200 millis",
        drainTimeout: 0
      })
      const error = yield* failsWith(db.write(() => Effect.void), "AcquireTimeoutError")
      assert.strictEqual(error.phase, "connect")
    }))

  it.effect("says why, with the code of the server or of the network", () =>
    Effect.gen(function*() {
      const { database, judge } = yield* make()
      const options = { ...database, acquireTimeout: "2 seconds", drainTimeout: 0, max: 1 } as const
      const refused = yield* PgPool.make({ ...options, port: 1 })
      const late = yield* failsWith(refused.write(() => Effect.void), "AcquireTimeoutError")
      assert.include(late.message, "ECONNREFUSED")
      const unknown = yield* PgPool.make({ ...options, database: "nowhere", acquireTimeout: "25 seconds" })
      const error = yield* failsWith(unknown.write(() => Effect.void), "ConnectError")
      assert.include(error.message, "SQLSTATE 3D000")
      const role = `ada_${database.database}`
      yield* judge(`create role ${role} login connection limit 0`)
      yield* Effect.addFinalizer(() => Effect.ignore(judge(`drop role ${role}`)))
      const full = yield* PgPool.make({ ...options, username: role })
      const crowded = yield* failsWith(full.write(() => Effect.void), "AcquireTimeoutError")
      assert.include(crowded.message, "SQLSTATE 53300")
      assert.isUndefined(PgPoolError.sqlStateOf(late))
    }))
})
