/** Reads that share a connection: what they give, and what one of them does to the others. A second connection is the judge. */
import { assert } from "@effect/vitest"
import { Effect, Fiber, Metric, Stream } from "effect"
import { PoolMetrics } from "effect-connection-pool"
import { PgPoolError } from "effect-connection-pool/postgres"
import { PoolAssert } from "effect-connection-pool/testing"
import { isCancel, network } from "../support/network.ts"
import { describeServer, make as makePool, Server, until } from "../support/postgres.ts"
import { type Made, make } from "../support/sharedReads.ts"

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
      const { db, item, numbers, pid, shared, sql, warm } = yield* make({
        shared: { maxInFlight: 64, statementTimeout: "20 seconds" }
      })
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
      const { numbers, shared, sql, warm } = yield* make({ shared: { statementTimeout: "20 seconds" } })
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
      const { gated, inFlight, item, numbers, open, shared, warm } = yield* make({
        shared: { statementTimeout: "20 seconds" }
      })
      yield* warm
      yield* shared(gated(0))
      const slow = yield* Effect.forkChild(gated(1))
      yield* inFlight(1)
      const neighbours = yield* Effect.forkChild(
        Effect.forEach(numbersTo(20), item, { concurrency: "unbounded" })
      )
      yield* inFlight(21)
      // The server goes on with it.
      yield* Fiber.interrupt(slow)
      yield* inFlight(20)
      assert.isUndefined(neighbours.pollUnsafe())
      yield* open(1)
      assert.deepStrictEqual(yield* Fiber.join(neighbours), numbersTo(20).map((id) => `name ${id}`))
      const { abandoned, lost } = yield* numbers
      assert.deepStrictEqual({ abandoned, lost }, { abandoned: 1, lost: 0 })
      yield* inFlight(0)
    }))

  it.effect("give their connection back only when the server has ended what an interrupted caller had asked for", () =>
    Effect.gen(function*() {
      const interrupted = Effect.fnUntraced(function*(made: Made) {
        yield* made.shared(made.gated(0))
        const alone = yield* Effect.forkChild(made.gated(1))
        yield* made.inFlight(1)
        yield* until("it runs", Effect.map(made.judge(active), (rows) => rows.length === 1))
        yield* Fiber.interrupt(alone)
      })
      const hasty = yield* make({ shared: { statementTimeout: "20 seconds" } })
      yield* interrupted(hasty)
      assert.strictEqual((yield* hasty.db.shutdown()).sharedReads?.revoked, 1)
      yield* hasty.open(1)
      const patient = yield* make({ drainTimeout: "30 seconds", shared: { statementTimeout: "20 seconds" } })
      yield* interrupted(patient)
      const down = yield* Effect.forkChild(patient.db.shutdown())
      yield* patient.isShutDown
      assert.strictEqual((yield* patient.judge(active)).length, 1)
      assert.strictEqual((yield* patient.numbers).connections.inUse, 1)
      yield* patient.open(1)
      assert.strictEqual((yield* Fiber.join(down)).sharedReads?.returned, 1)
    }))

  it.effect("are cancelled after their time limit, run on a connection of their own, and are not sent there again", () =>
    Effect.gen(function*() {
      const { inFlight, item, numbers, onTheirWay, open, pid, shared, sql, warm } = yield* make({
        shared: { statementTimeout: "1 second" }
      })
      const gatedPid = (n: number) => sql<{ pid: number }>`select gated(${n}), pg_backend_pid() as pid`
      const lane = yield* shared(pid)
      yield* warm
      assert.strictEqual((yield* shared(gatedPid(0)))[0]!.pid, lane)
      const before = yield* numbers
      const slow = yield* onTheirWay(1, shared(pid), gatedPid(1))
      // They have not waited for its end.
      assert.deepStrictEqual(
        yield* Effect.forEach(numbersTo(10), item, { concurrency: "unbounded" }),
        numbersTo(10).map((id) => `name ${id}`)
      )
      assert.isUndefined(slow.pollUnsafe())
      yield* inFlight(0)
      yield* open(1)
      const [row] = yield* Fiber.join(slow)
      assert.notStrictEqual(row!.pid, lane)
      const { late, lost, sent } = yield* numbers
      assert.isAtLeast(late + lost, before.late + before.lost + 1)
      yield* gatedPid(0)
      assert.strictEqual((yield* numbers).sent, sent)
    }))

  it.effect("are sent one behind the other: none waits for the answer of another, and none is cancelled", () =>
    Effect.gen(function*() {
      const server = yield* Server
      let bytes = 0
      let cancels = 0
      const { host, port } = yield* network(server, (message) => {
        if (isCancel(message)) cancels++
        bytes += message.length
      })
      const { gated, inFlight, item, judge, open, shared, warm } = yield* make({
        host,
        port,
        shared: { statementTimeout: "20 seconds" }
      })
      yield* warm
      yield* shared(gated(0))
      const slow = yield* Effect.forkChild(gated(1))
      yield* inFlight(1)
      yield* until("it runs", Effect.map(judge(active), (rows) => rows.length === 1))
      const before = bytes
      const all = yield* Effect.forkChild(Effect.forEach(numbersTo(10), item, { concurrency: "unbounded" }))
      yield* inFlight(11)
      // The server works for the first one still.
      yield* until("they are sent", Effect.sync(() => bytes - before >= 10 * 20))
      yield* Fiber.interrupt(slow)
      yield* Effect.repeat(judge("select 1"), { times: 20 })
      assert.strictEqual(cancels, 0)
      assert.isUndefined(all.pollUnsafe())
      yield* open(1)
      assert.deepStrictEqual(yield* Fiber.join(all), numbersTo(10).map((id) => `name ${id}`))
    }))

  it.effect("run where the server itself cancels them after their time limit, and refuses writes", () =>
    Effect.gen(function*() {
      const { judge, shared, sql } = yield* make({ shared: { statementTimeout: "1234 millis", functions: ["limits"] } })
      yield* judge(`create function limits() returns text language sql stable as
        'select current_setting(''statement_timeout'') || '', '' || current_setting(''transaction_read_only'')'`)
      assert.deepStrictEqual(yield* shared(sql`select limits() as limits`), [{ limits: "1234ms, on" }])
    }))

  it.effect("fail with their own time limit if that is the shorter one", () =>
    Effect.gen(function*() {
      const { nap, numbers, shared } = yield* make({
        statementTimeout: "500 millis",
        shared: { statementTimeout: "1 second" }
      })
      const isSent = Effect.gen(function*() {
        yield* shared(nap(1, 0))
        const { sent } = yield* numbers
        const error = yield* failsWith(nap(1, 10_000), "SqlError")
        assert.strictEqual(error.reason._tag, "StatementTimeoutError")
        return (yield* numbers).sent === sent + 1
      })
      yield* until("it runs on a shared connection", isSent)
      assert.strictEqual((yield* numbers).late, 0)
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
      const { db, item, numbers, pid, shared, sql } = yield* make({ shared: { statementTimeout: "20 seconds" } })
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

  it.effect("are counted in `stats` and in the metrics, and named among slow statements", () =>
    Effect.gen(function*() {
      const { db, nap, numbers, shared, sql } = yield* make({
        name: "counted",
        slowStatement: "30 millis",
        shared: { statementTimeout: "2 seconds" }
      })
      yield* shared(nap(1, 0))
      yield* shared(nap(1, 40))
      yield* Effect.flip(sql`select nap(${"a"}, ${0}::float8) as n`)
      const { answered, sent } = yield* numbers
      assert.strictEqual(answered, sent)
      const metrics = PoolMetrics.of("counted/shared").sharedReads
      assert.strictEqual((yield* Metric.value(metrics.answered)).count, answered)
      assert.strictEqual((yield* Metric.value(metrics.lost)).count, 0)
      const slow = yield* db.slowStatements
      assert.include(
        slow.map(({ pool, text }) => `${pool}: ${text}`),
        "counted/shared: select nap($1, ...::float8) as n"
      )
      // It is given back when nobody reads for a while.
      const [holder] = yield* shared(Effect.andThen(nap(1, 0), db.sharedReads!.holders))
      assert.strictEqual(holder?.label, "shared reads")
    }))

  it.effect("are sent on connections of no span, also if the pool was made in one, which is over", () =>
    Effect.gen(function*() {
      const { db, nap, shared } = yield* Effect.withSpan(make(), "the start of the application")
      const [holder] = yield* shared(Effect.andThen(nap(1, 0), db.sharedReads!.holders))
      assert.strictEqual(holder?.label, "shared reads")
      assert.notProperty(holder, "span")
    }))

  it.effect("see what their fiber has written before", () =>
    Effect.gen(function*() {
      const { numbers, shared, sql } = yield* make({ shared: { max: 2, statementTimeout: "20 seconds" } })
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
