/** A pool behind a real PgBouncer in transaction mode, where one is installed. */
import { assert, describe } from "@effect/vitest"
import { Effect, Fiber, Schedule, type Scope, Stream } from "effect"
import { type PoolError, type TransactionError } from "effect-connection-pool"
import { PgPool, type PgPoolError } from "effect-connection-pool/postgres"
import { PoolAssert } from "effect-connection-pool/testing"
import type { SqlError } from "effect/sql/SqlError"
import * as PgBouncer from "../support/pgBouncer.ts"
import { version } from "../support/pgBouncerProgram.ts"
import { describeServer, make as makeAlone, runs, until } from "../support/postgres.ts"

const { failsWith } = PoolAssert

type Failure =
  | PoolError.LeaseExpiredError
  | SqlError
  | PoolError.PoolError<SqlError>
  | TransactionError.TransactionError
  | PgPoolError.AdvisoryLockLostError

const make = Effect.fnUntraced(function*(
  options?: Partial<PgPool.Options>,
  settings?: Readonly<Record<string, string | number>>
) {
  const made = yield* makeAlone()
  const bouncer = yield* PgBouncer.make(made.server, settings)
  const { host, port } = bouncer
  const db = yield* PgPool.make({
    ...made.database,
    host,
    port,
    pooler: "transaction",
    max: 8,
    drainTimeout: 0,
    ...options
  })
  return { ...made, db, bouncer }
})

describe.skipIf(version() === undefined)("with PgBouncer", () => {
  describeServer("a PostgreSQL pool behind PgBouncer in transaction mode", (it) => {
    it.effect("runs statements and transactions of a hundred fibers over two sessions of the server", () =>
      Effect.gen(function*() {
        const { backends, db, value } = yield* make()
        const { sql } = db
        yield* sql`create table t (n int)`
        const work = (n: number) =>
          n % 2 === 0
            ? sql`insert into t values (${n})`
            : db.transaction(
              Effect.andThen(sql`insert into t values (${n})`, Effect.ignore(db.transaction(sql`select 1 / 0`))),
              { isolation: "serializable", retry: Schedule.spaced("2 millis") }
            )
        const numbers = Array.from({ length: 500 }, (_, n) => n)
        yield* Effect.forEach(numbers, work, { concurrency: 100, discard: true })
        assert.deepStrictEqual(yield* value("select array_agg(n order by n) from t"), numbers)
        assert.isAtMost((yield* backends).length, 2)
        const streamed = yield* Stream.runCollect(
          db.stream("select n from generate_series(1, 3000) n where n > $1", [0])
        )
        assert.strictEqual(streamed.length, 3000)
        yield* db.snapshot(sql`select 1`)
        assert.strictEqual((yield* db.stats).primary.disconnects, 0)
      }))

    it.effect("keeps what ends with a transaction: settings and locks", () =>
      Effect.gen(function*() {
        const { db, value } = yield* make()
        const { sql } = db
        const path = Effect.map(sql<{ search_path: string }>`show search_path`, ([row]) => row!.search_path)
        const before = yield* path
        const inside = yield* db.transaction(Effect.gen(function*() {
          yield* sql`set local search_path = pg_catalog`
          return yield* db.lock(
            "k",
            Effect.all([path, value("select count(*)::int4 from pg_locks where locktype = 'advisory'")])
          )
        }))
        assert.deepStrictEqual(inside, ["pg_catalog", 1])
        assert.strictEqual(yield* value("select count(*)::int4 from pg_locks where locktype = 'advisory'"), 0)
        assert.strictEqual(yield* path, before)
      }))

    it.effect("cancels a statement on the server when its caller is interrupted, and rolls a transaction back", () =>
      Effect.gen(function*() {
        const { backends, db, value } = yield* make({ max: 1 })
        const { sql } = db
        yield* sql`create table t (n int)`
        const body = Effect.andThen(sql`insert into t values (1)`, sql`select pg_sleep(20)`)
        const running = yield* Effect.forkChild(db.transaction(body))
        yield* runs({ backends }, "pg_sleep")
        yield* Fiber.interrupt(running)
        yield* until("all are idle", Effect.map(backends, (all) => all.every(({ state }) => state === "idle")))
        assert.strictEqual(yield* value("select count(*)::int4 from t"), 0)
        assert.deepStrictEqual(yield* sql`select 1 as one`, [{ one: 1 }])
      }))

    it.effect("says that a connection was lost when PgBouncer loses the session of the server", () =>
      Effect.gen(function*() {
        const { backends, db, kill, value } = yield* make({ max: 2 })
        const { sql } = db
        yield* sql`create table t (n int)`
        const running = yield* Effect.forkChild(sql`insert into t select 1 from pg_sleep(20)`)
        yield* until("it runs", Effect.map(backends, (all) => all.some(({ state }) => state === "active")))
        yield* kill
        const error = yield* failsWith(Fiber.join(running), "SqlError")
        assert.deepStrictEqual([error.reason._tag, error.isRetryable], ["ConnectionError", true], error.message)
        assert.include(error.message, "terminating connection due to administrator command (SQLSTATE 57P01)")
        let runs = 0
        yield* db.transaction(
          Effect.gen(function*() {
            yield* sql`insert into t values (2)`
            if (++runs === 1) yield* kill
            yield* sql`select 1`
          }),
          { retry: Schedule.recurs(3) }
        )
        assert.isAbove(runs, 1)
        assert.deepStrictEqual(yield* value("select array_agg(n) from t"), [2])
      }))

    it.effect("says so, too, when that session ends without a word", () =>
      Effect.gen(function*() {
        const { backends, db, value } = yield* make({ max: 2 })
        const { sql } = db
        yield* sql`create table t (n int)`
        const running = yield* Effect.forkChild(sql`insert into t select 1 from pg_sleep(20)`)
        const active = Effect.map(backends, (all) => all.find(({ state }) => state === "active"))
        yield* until("it runs", Effect.map(active, (found) => found !== undefined))
        const { processId } = (yield* active)!
        process.kill(processId, "SIGKILL")
        const error = yield* failsWith(Fiber.join(running), "SqlError")
        assert.deepStrictEqual([error.reason._tag, error.isRetryable], ["ConnectionError", true], error.message)
        // A crash of one session restarts the server.
        yield* db.transaction(sql`insert into t values (2)`, { retry: Schedule.spaced("50 millis") })
        assert.deepStrictEqual(yield* value("select array_agg(n) from t"), [2])
      }))

    it.effect("tells who has not set the option at once what to do", () =>
      Effect.gen(function*() {
        // PgBouncer refuses the settings that each session begins with.
        const { db } = yield* make({ pooler: "none", max: 1, acquireTimeout: "Infinity" })
        const refused = yield* failsWith(db.sql`select 1`, "SqlError")
        assert.include(refused.message, "unsupported startup parameter: idle_in_transaction_session_timeout")
        assert.include(refused.message, "set the option pooler to \"transaction\"")
        assert.isFalse(refused.isRetryable)
      }))

    it.effect("refuses what needs a session to who has not set the option, where PgBouncer ignores the settings", () =>
      Effect.gen(function*() {
        const ignored = { ignore_startup_parameters: "idle_in_transaction_session_timeout" }
        const { db, value } = yield* make({ pooler: "none" }, ignored)
        let runs = 0
        const ran = Effect.sync(() => ++runs)
        const why = "there is a pooler such as PgBouncer in between"
        const refusals: ReadonlyArray<Effect.Effect<unknown, Failure, Scope.Scope>> = [
          db.lock("k", ran),
          Stream.runForEach(db.listen("news"), () => ran),
          Effect.andThen(db.sql.listen("news"), ran),
          db.write((connection) => Effect.andThen(connection.query("set work_mem = 1000"), ran)),
          db.write((connection) => Stream.runDrain(connection.stream("select set_config('a.b', '1', false)"))),
          db.transaction(Effect.andThen(db.sql`create temp table t (n int)`, ran)),
          db.read(() => ran)
        ]
        for (const refusal of refusals) {
          assert.include((yield* failsWith(Effect.scoped(refusal), "SqlError")).message, why)
        }
        assert.strictEqual(runs, 0)
        assert.strictEqual(yield* value("select count(*)::int4 from pg_locks where locktype = 'advisory'"), 0)
        // What ends with its transaction works.
        assert.deepStrictEqual(yield* db.transaction(db.lock("k", db.sql`select 1 as one`)), [{ one: 1 }])
      }))

    it.effect("waits for room when PgBouncer has too many clients", () =>
      Effect.gen(function*() {
        const { db } = yield* make({ max: 8, connectBackoff: "10 millis", connectBackoffMax: "20 millis" }, {
          max_client_conn: 3
        })
        const read = db.sql<{ n: number }>`select 1 as n from pg_sleep(0.01)`
        // All of them, although most connect attempts are refused.
        const all = yield* Effect.forEach(Array.from({ length: 40 }), () => read, { concurrency: 40 })
        assert.strictEqual(all.length, 40)
        assert.isAbove((yield* db.stats).primary.connectFailures, 0)
      }))

    it.effect("waits for a server that is away behind PgBouncer", () =>
      Effect.gen(function*() {
        const { bouncer, db, server } = yield* make({
          max: 1,
          acquireTimeout: "Infinity",
          connectBackoff: "10 millis",
          connectBackoffMax: "50 millis"
        }, { client_login_timeout: 1 })
        yield* server.stop("immediate")
        const waiting = yield* Effect.forkChild(db.sql`select 1 as one`)
        yield* until("it was refused", Effect.map(db.stats, ({ primary }) => primary.connectFailures > 0))
        yield* server.start
        // So that it does not remember that its server was away.
        yield* bouncer.stop
        yield* bouncer.start
        assert.deepStrictEqual(yield* Fiber.join(waiting), [{ one: 1 }])
      }))

    it.effect("tells at once of what another attempt does not cure", () =>
      Effect.gen(function*() {
        const { db } = yield* make({ database: "nowhere", max: 1, acquireTimeout: "Infinity" })
        const error = yield* failsWith(db.sql`select 1`, "SqlError")
        assert.include(error.message, "database \"nowhere\" does not exist (SQLSTATE 08P01)")
        assert.isFalse(error.isRetryable)
      }))

    it.effect("says why PgBouncer has closed the connection of a statement", () =>
      Effect.gen(function*() {
        const { db } = yield* make({ max: 1 }, { pool_mode: "statement" })
        yield* db.sql`select 1`
        const error = yield* failsWith(db.transaction(db.sql`select 1`), "TransactionBeginError")
        assert.include(
          error.message,
          "the connection was lost: transaction blocks not allowed in statement pooling mode (SQLSTATE 08P01)"
        )
      }))

    it.effect("loses nothing that was acknowledged when PgBouncer is killed and comes back", () =>
      Effect.gen(function*() {
        const { bouncer, db, judge } = yield* make({
          max: 4,
          connectBackoff: "10 millis",
          connectBackoffMax: "50 millis"
        })
        const { sql } = db
        yield* sql`create table t (n int)`
        const acknowledged = new Set<number>()
        const unknown = new Set<number>()
        let next = 0
        let isOver = false
        const written = (n: number) =>
          Effect.matchEffect(db.transaction(sql`insert into t values (${n})`), {
            onSuccess: () => Effect.sync(() => acknowledged.add(n)),
            onFailure: (error) => {
              if (error._tag === "TransactionOutcomeUnknownError") unknown.add(n)
              // It has not begun, or was lost in its body: nothing of it is stored.
              else if (error._tag === "SqlError") {
                assert.strictEqual(error.reason._tag, "ConnectionError", error.message)
              }
              return Effect.void
            }
          })
        const writer = Effect.whileLoop({ while: () => !isOver, body: () => written(next++), step: () => {} })
        const writers = yield* Effect.forkChild(Effect.replicateEffect(writer, 6, { concurrency: 6 }))
        for (let kill = 0; kill < 3; kill++) {
          const before = acknowledged.size
          yield* until("they write", Effect.sync(() => acknowledged.size > before + 50))
          yield* bouncer.stop
          yield* bouncer.start
        }
        const before = acknowledged.size
        yield* until("they write again", Effect.sync(() => acknowledged.size > before + 50))
        isOver = true
        yield* Fiber.join(writers)
        const rows = yield* judge("select n, count(*)::int4 as times from t group by n")
        const stored = new Set(rows.map(({ n }) => Number(n)))
        assert.deepStrictEqual([...acknowledged].filter((n) => !stored.has(n)), [])
        assert.deepStrictEqual([...stored].filter((n) => !acknowledged.has(n) && !unknown.has(n)), [])
        assert.deepStrictEqual(rows.filter(({ times }) => times !== 1), [])
      }))

    it.effect("cancels no statement of another", () =>
      Effect.gen(function*() {
        const { db, value } = yield* make()
        const { sql } = db
        yield* sql`create table t (n int)`
        const neighbours = Effect.forEach(
          Array.from({ length: 300 }, (_, n) => n),
          (n) => db.transaction(sql`insert into t select ${n}::int4 from pg_sleep(0.001)`),
          { concurrency: 4, discard: true }
        )
        const interrupted = Effect.forever(Effect.timeoutOption(sql`select pg_sleep(0.004)`, "4 millis"))
        yield* Effect.raceFirst(neighbours, Effect.replicateEffect(interrupted, 3, { concurrency: 3 }))
        assert.strictEqual(yield* value("select count(*)::int4 from t"), 300)
      }))

    it.effect("keeps a session where PgBouncer is in session mode", () =>
      Effect.gen(function*() {
        const { db, value } = yield* make({ pooler: "session" }, { pool_mode: "session", default_pool_size: 10 })
        const { sql } = db
        const locks = value("select count(*)::int4 from pg_locks where locktype = 'advisory'")
        assert.strictEqual(yield* db.lock("k", locks), 1)
        assert.strictEqual(yield* locks, 0)
        const set = db.write((connection) =>
          Effect.andThen(connection.query("set work_mem = '9MB'"), connection.query("show work_mem"))
        )
        assert.deepStrictEqual(yield* set, [{ work_mem: "9MB" }])
        assert.notDeepEqual(yield* sql`show work_mem`, [{ work_mem: "9MB" }])
        const heard = yield* Stream.runCollect(Stream.take(
          Stream.tap(db.listen("news"), ({ _tag }) => _tag === "Listening" ? sql.notify("news", "x") : Effect.void),
          2
        ))
        assert.deepStrictEqual(heard.map(({ _tag }) => _tag), ["Listening", "Notification"])
        yield* sql`select 42`
        assert.notDeepEqual(yield* sql`select count(*)::int4 as n from pg_prepared_statements`, [{ n: 0 }])
      }))
  })
})
