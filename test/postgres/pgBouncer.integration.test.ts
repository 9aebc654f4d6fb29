/** A pool behind a real PgBouncer in transaction mode, where one is installed. */
import { assert, describe } from "@effect/vitest"
import { Effect, Fiber, Schedule, Stream } from "effect"
import { PgPool } from "effect-connection-pool/postgres"
import { PoolAssert } from "effect-connection-pool/testing"
import * as PgBouncer from "../support/pgBouncer.ts"
import { version } from "../support/pgBouncerProgram.ts"
import { describeServer, make as makeAlone, until } from "../support/postgres.ts"

const { failsWith } = PoolAssert

const make = Effect.fnUntraced(function*(options?: Partial<PgPool.Options>) {
  const made = yield* makeAlone()
  const { host, port } = yield* PgBouncer.make(made.server)
  const db = yield* PgPool.make({
    ...made.database,
    host,
    port,
    pooler: "transaction",
    max: 8,
    drainTimeout: 0,
    ...options
  })
  return { ...made, db }
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
        const isActive = Effect.map(
          backends,
          (all) => all.some(({ query, state }) => state === "active" && query.includes("pg_sleep"))
        )
        yield* until("it runs", isActive)
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

    it.effect("refuses at its start what PgBouncer would refuse", () =>
      Effect.gen(function*() {
        const { database, server } = yield* makeAlone()
        const { host, port } = yield* PgBouncer.make(server)
        // Without the mode, the settings that each session begins with are refused by PgBouncer itself.
        const plain = yield* PgPool.make({ ...database, host, port, max: 1, drainTimeout: 0, lockTimeout: "1 second" })
        const refused = yield* Effect.flip(plain.write(() => Effect.void, { timeout: "10 seconds" }))
        assert.include(refused.message, "unsupported startup parameter")
      }))
  })
})
