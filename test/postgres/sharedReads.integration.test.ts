/** Reads that share a connection: what they give, and what one of them does to the others. A second connection is the judge. */
import { assert } from "@effect/vitest"
import { Duration, Effect, Fiber, Stream } from "effect"
import { PgPoolError } from "effect-connection-pool/postgres"
import { PoolAssert } from "effect-connection-pool/testing"
import { describeServer, make as makePool, until } from "../support/postgres.ts"
import { make } from "../support/sharedReads.ts"

const { failsWith } = PoolAssert

const numbersTo = (count: number) => Array.from({ length: count }, (_, index) => index + 1)

describeServer("reads that share a connection", (it) => {
  it.effect("are there when they are asked for: without the option, nothing is shared and nothing is opened", () =>
    Effect.gen(function*() {
      const { backends, db } = yield* makePool({ max: 1 })
      for (let run = 0; run < 5; run++) yield* db.sql`select 1`
      assert.strictEqual((yield* backends).length, 1)
      assert.isUndefined(db.sharedReads)
      assert.deepStrictEqual(Object.keys(yield* db.stats), ["primary"])
      const off = yield* makePool({ max: 1, sharedReads: false })
      assert.isUndefined(off.db.sharedReads)
    }))

  it.effect("run on one session, many at a time, each with its own rows", () =>
    Effect.gen(function*() {
      const { db, item, numbers, pid, shared, sql, warm } = yield* make({ shared: { maxInFlight: 64 } })
      yield* shared(pid)
      yield* warm
      const lane = yield* pid
      const before = yield* db.primary.stats
      const all = yield* Effect.forEach(
        numbersTo(100),
        (id) => Effect.all([item(id), pid], { concurrency: 2 }),
        { concurrency: "unbounded" }
      )
      const inTime = all.filter(([, session]) => session === lane)
      assert.deepStrictEqual(all.map(([name]) => name), numbersTo(100).map((id) => `name ${id}`))
      // Beyond `maxInFlight` they have connections of their own.
      assert.isAtLeast(inTime.length, 20)
      assert.notInclude(yield* Effect.map(db.primary.connections, (list) => list.map(({ id }) => id)), lane)
      const { answered, connections, sent } = yield* numbers
      assert.strictEqual(sent, answered)
      assert.strictEqual(connections.inUse, 1)
      assert.isBelow((yield* db.primary.stats).checkouts - before.checkouts, 200 - 63)
      // Rows as arrays, and the whole result.
      assert.deepStrictEqual(yield* shared(sql`select name from item where id = ${7}`.values), [["name 7"]])
      assert.deepInclude(yield* shared(sql`select name from item where id = ${8}`.raw), { rowCount: 1 })
      assert.deepStrictEqual(yield* shared(sql`select name from item where id = ${9}`.unprepared), [{ name: "name 9" }])
    }))

  it.effect("run first on a connection of their own, which shows whether they are quick", () =>
    Effect.gen(function*() {
      const { nap, numbers, pid, shared } = yield* make()
      yield* shared(pid)
      const { sent } = yield* numbers
      for (let run = 0; run < 5; run++) assert.strictEqual(yield* nap(run, 40), run)
      assert.strictEqual((yield* numbers).sent, sent)
      assert.strictEqual(yield* shared(nap(1, 0)), 1)
    }))

  it.effect("fail alone: a neighbour does not notice the error of another", () =>
    Effect.gen(function*() {
      const { numbers, shared, sql, warm } = yield* make()
      yield* warm
      const divided = (by: number) => sql<{ n: number }>`select 100 / ${by}::int4 as n`
      yield* shared(divided(1))
      const before = (yield* numbers).sent
      const results = yield* Effect.forEach(numbersTo(40), (n) =>
        Effect.catchTag(divided(n % 10), "SqlError", (error) => Effect.succeed(PgPoolError.sqlStateOf(error))), {
        concurrency: "unbounded"
      })
      assert.deepStrictEqual(
        results,
        numbersTo(40).map((n) =>
          n % 10 === 0 ? "22012" : [{ n: Math.trunc(100 / (n % 10)) }]
        )
      )
      const { answered, sent } = yield* numbers
      assert.isAtLeast(sent, before + 40)
      assert.strictEqual(answered, sent)
      const error = yield* failsWith(divided(0), "SqlError")
      assert.include(error.message, "division by zero (SQLSTATE 22012)")
      // Refused before anything is sent, as everywhere.
      const invalid = yield* failsWith(sql`select 100 / ${undefined}::int4 as n`, "SqlError")
      assert.include(invalid.message, "parameter $1 is undefined")
    }))

  it.effect("let an interrupted caller go at once, and answer its neighbours, of whom none is cancelled", () =>
    Effect.gen(function*() {
      const { inFlight, item, nap, numbers, shared, warm } = yield* make({ shared: { statementTimeout: "2 seconds" } })
      yield* warm
      yield* shared(nap(1, 0))
      const slow = yield* Effect.forkChild(nap(1, 400))
      const neighbours = yield* Effect.forkChild(
        Effect.forEach(numbersTo(20), item, { concurrency: "unbounded" })
      )
      yield* inFlight(21)
      const [took] = yield* Effect.timed(Fiber.interrupt(slow))
      assert.isBelow(Duration.toMillis(took), 200)
      yield* inFlight(20)
      assert.deepStrictEqual(yield* Fiber.join(neighbours), numbersTo(20).map((id) => `name ${id}`))
      const { abandoned, lost } = yield* numbers
      assert.deepStrictEqual({ abandoned, lost }, { abandoned: 1, lost: 0 })
      yield* inFlight(0)
    }))

  it.effect("give their connection back only when the server has ended what an interrupted caller had asked for", () =>
    Effect.gen(function*() {
      const { db, judge, nap, shared } = yield* make({ shared: { statementTimeout: "2 seconds" } })
      yield* shared(nap(1, 0))
      const alone = yield* Effect.forkChild(nap(1, 400))
      yield* until("it runs", Effect.map(judge(active), (rows) => rows.length === 1))
      yield* Fiber.interrupt(alone)
      assert.deepStrictEqual((yield* db.shutdown()).sharedReads, {
        returned: 0,
        interrupted: 0,
        revoked: 1,
        abandoned: [],
        closeTimeouts: 0
      })
      const patient = yield* make({ drainTimeout: "5 seconds", shared: { statementTimeout: "2 seconds" } })
      yield* patient.shared(patient.nap(1, 0))
      const interrupted = yield* Effect.forkChild(patient.nap(1, 400))
      yield* until("it runs", Effect.map(patient.judge(active), (rows) => rows.length === 1))
      yield* Fiber.interrupt(interrupted)
      const reports = yield* patient.db.shutdown()
      assert.strictEqual(reports.sharedReads?.returned, 1)
      assert.deepStrictEqual(yield* patient.judge(active), [])
    }))

  it.effect("are cancelled after their time limit, run on a connection of their own, and are not sent there again", () =>
    Effect.gen(function*() {
      const { inFlight, item, nap, numbers, pid, shared, sql, warm } = yield* make()
      const slowPid = (n: number, millis: number) =>
        sql<{ pid: number }>`select nap(${n}, ${millis / 1000}::float8), pg_backend_pid() as pid`
      const lane = yield* shared(pid)
      yield* warm
      assert.strictEqual((yield* shared(slowPid(1, 0)))[0]!.pid, lane)
      const slow = yield* Effect.forkChild(slowPid(2, 500))
      yield* inFlight(1)
      const [took, names] = yield* Effect.timed(Effect.forEach(numbersTo(10), item, { concurrency: "unbounded" }))
      assert.deepStrictEqual(names, numbersTo(10).map((id) => `name ${id}`))
      // They have waited for its time limit at most, and not for its end.
      assert.isBelow(Duration.toMillis(took), 450)
      const [row] = yield* Fiber.join(slow)
      assert.notStrictEqual(row!.pid, lane)
      const { late, sent } = yield* numbers
      assert.strictEqual(late, 1)
      yield* slowPid(1, 0)
      assert.strictEqual((yield* numbers).sent, sent)
      yield* nap(1, 0)
    }))

  it.effect("fail with their own time limit if that is the shorter one", () =>
    Effect.gen(function*() {
      const { nap, numbers, shared } = yield* make({ statementTimeout: "80 millis" })
      yield* shared(nap(1, 0))
      const { sent } = yield* numbers
      const error = yield* failsWith(nap(1, 1000), "SqlError")
      assert.strictEqual(error.reason._tag, "StatementTimeoutError")
      const after = yield* numbers
      assert.deepStrictEqual({ sent: after.sent, late: after.late }, { sent: sent + 1, late: 0 })
    }))

  it.effect("that would write run on another connection, where what they write is stored once", () =>
    Effect.gen(function*() {
      const { judge, numbers, pid, shared, sql } = yield* make()
      const store = (n: number) => sql`select store(${n}) as n`
      yield* shared(pid)
      let n = 0
      assert.deepStrictEqual(yield* shared(Effect.suspend(() => store(++n))), [{ n }])
      assert.strictEqual((yield* numbers).refused, 1)
      const all = yield* Effect.forEach(numbersTo(20), (more) => store(n + more), { concurrency: "unbounded" })
      assert.deepStrictEqual(all, numbersTo(20).map((more) => [{ n: n + more }]))
      assert.deepStrictEqual(
        yield* judge("select n, count(*)::int4 as times from stored group by n order by n"),
        numbersTo(n + 20).map((n) => ({ n, times: 1 }))
      )
      // Its text is known since then.
      assert.strictEqual((yield* numbers).refused, 1)
    }))

  it.effect("have no neighbour that is in a transaction, a stream or a lease, or does more than read", () =>
    Effect.gen(function*() {
      const { db, item, numbers, pid, shared, sql } = yield* make()
      yield* shared(item(1))
      const lane = yield* shared(pid)
      const { sent } = yield* numbers
      const others = yield* Effect.all([
        db.transaction(pid),
        db.transaction(pid, { readOnly: true }),
        db.snapshot(pid),
        sql.withTransaction(pid),
        Effect.map(
          sql<{ pid: number }>`insert into stored values (1) returning pg_backend_pid() as pid`,
          ([row]) => row!.pid
        ),
        Effect.map(Stream.runCollect(sql<{ pid: number }>`select pg_backend_pid() as pid`.stream), ([row]) => row!.pid),
        db.read((connection) => connection.processId),
        db.write((connection) => connection.processId),
        Effect.scoped(
          Effect.flatMap(
            sql.reserve,
            (connection) =>
              Effect.map(connection.executeValues("select pg_backend_pid()", []), ([row]) => Number(row![0]))
          )
        )
      ])
      assert.notInclude(others, lane)
      for (const leaves of ["set search_path = a", "select set_config('a.b', 'c', false)", "listen a"]) {
        yield* failsWith(sql.unsafe(leaves), "SqlError")
      }
      assert.strictEqual((yield* numbers).sent, sent)
      assert.strictEqual(yield* pid, lane)
    }))

  it.effect("see what their fiber has written before", () =>
    Effect.gen(function*() {
      const { numbers, shared, sql } = yield* make({ shared: { max: 2 } })
      const count = Effect.map(sql<{ n: number }>`select count(*)::int4 as n from stored`, ([row]) => row!.n)
      yield* shared(count)
      const { sent } = yield* numbers
      for (const n of numbersTo(50)) {
        yield* sql`insert into stored values (${n})`
        assert.strictEqual(yield* count, n)
      }
      assert.isAtLeast((yield* numbers).sent, sent + 40)
    }))
})

const active =
  "select 1 from pg_stat_activity where datname = current_database() and pid <> pg_backend_pid() and state = 'active'"
