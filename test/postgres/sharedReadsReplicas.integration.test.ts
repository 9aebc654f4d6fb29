/** Reads that share a connection where there are several hosts, judged by the servers themselves. */
import { assert } from "@effect/vitest"
import { Effect, Fiber } from "effect"
import type { PgPool } from "effect-connection-pool/postgres"
import type { SqlError } from "effect/sql/SqlError"
import { describeServer, until } from "../support/postgres.ts"
import { describeReplicated, hostOf, poolOver, Servers, servers } from "../support/replicas.ts"
import { on } from "../support/sharedReads.ts"

const sharedReads = { max: 1, functions: ["inet_server_port", "store_port"] }

const portOf = (db: PgPool.PgPool) =>
  Effect.map(db.replicaSql<{ port: number }>`select inet_server_port() as port`, ([row]) => row!.port)

const make = Effect.fnUntraced(function*(options?: Partial<PgPool.Options>, setup: ReadonlyArray<string> = []) {
  const { primary, replica } = yield* Servers
  for (const sql of setup) yield* primary.query(sql)
  yield* replica.caughtUp
  const db = yield* poolOver({ primary, replica }, { sharedReads, ...options })
  return { primary, replica, db, port: portOf(db), ...on(db) }
})

describeReplicated("reads that share a connection, of a pool with a replica,", (it) => {
  it.effect("are sent to the replica, and those that write run on the primary, once", () =>
    Effect.gen(function*() {
      const { numbers, port, primary, replica, shared, sql } = yield* make({}, [
        "create table ports (n int)",
        `create function store_port(n int) returns int language sql as
          'insert into ports values (inet_server_port()) returning n'`
      ])
      assert.strictEqual(yield* shared(port), replica.port)
      assert.strictEqual(
        yield* shared(sql`select store_port(1) as n`.pipe(Effect.map(([row]) => row!["n"]))),
        primary.port
      )
      const { refused } = yield* numbers
      assert.strictEqual(refused, 1)
      const stored = yield* primary.query("select distinct n from ports")
      assert.deepStrictEqual(stored, [{ n: primary.port }])
    }))

  it.effect("leave a replica that is late, and come back", () =>
    Effect.gen(function*() {
      const { db, port, primary, replica, shared, sql } = yield* make({ replicas: { maxLag: "1 second" } }, [
        "create table late (n int)"
      ])
      assert.strictEqual(yield* shared(port), replica.port)
      yield* Effect.scoped(Effect.gen(function*() {
        yield* replica.pauseReplay
        yield* sql`insert into late values (1)`
        yield* until("it is late", Effect.map(db.hosts, (hosts) => !hosts.some(({ isFresh }) => isFresh)))
        assert.strictEqual(yield* port, primary.port)
        assert.strictEqual(yield* shared(port), primary.port)
        assert.deepStrictEqual(yield* sql`select n from late`, [{ n: 1 }])
      }))
      yield* until("it is fresh", Effect.map(db.hosts, (hosts) => hosts.some(({ isFresh }) => isFresh)))
      assert.strictEqual(yield* port, replica.port)
      assert.strictEqual(yield* shared(port), replica.port)
    }))

  it.effect("see what their effect has written, in `readYourWrites`", () =>
    Effect.gen(function*() {
      const { db, numbers, replica, shared, sql } = yield* make(
        { sharedReads: { ...sharedReads, statementTimeout: "20 seconds" } },
        ["create table seen (n int)"]
      )
      const count = Effect.map(sql<{ n: number }>`select count(*)::int4 as n from seen`, ([row]) => row!.n)
      yield* shared(count)
      yield* Effect.scoped(Effect.gen(function*() {
        yield* replica.pauseReplay
        yield* db.readYourWrites(Effect.gen(function*() {
          const { sent } = yield* numbers
          // Nothing was written yet.
          yield* count
          assert.strictEqual((yield* numbers).sent, sent + 1)
          for (const n of [1, 2]) {
            yield* sql`insert into seen values (${n})`
            assert.strictEqual(yield* count, n)
          }
          assert.strictEqual((yield* numbers).sent, sent + 1)
        }))
        // The others did not ask for that.
        assert.strictEqual(yield* count, 0)
      }))
    }))
})

describeServer("reads that share a connection, of a pool without replicas,", (it) => {
  it.effect("leave a primary that has lost its role, and do not fail when it is stopped", () =>
    Effect.gen(function*() {
      const both = yield* servers
      const { primary, replica } = both
      yield* primary.query("create table one (n int)")
      yield* primary.query("insert into one values (1)")
      yield* replica.caughtUp
      const db = yield* poolOver(both, { replicas: undefined, sharedReads, max: 4, acquireTimeout: "25 seconds" })
      const { numbers, shared, sql } = on(db)
      const port = portOf(db)
      assert.strictEqual(yield* shared(port), primary.port)
      let isOver = false
      let isStopping = false
      const readers = yield* Effect.forkChild(Effect.forEach(
        Array.from({ length: 30 }),
        () =>
          Effect.repeat(
            Effect.catchIf(
              Effect.map(sql<{ n: number }>`select n from one`, (rows) => assert.deepStrictEqual(rows, [{ n: 1 }])),
              // One that has a connection for itself ends with it when the old primary is fenced.
              (error: SqlError) => !isStopping && error.reason._tag === "ConnectionError",
              () => Effect.void
            ),
            { until: () => isOver }
          ),
        { concurrency: "unbounded", discard: true }
      ))
      yield* until("they are shared", Effect.map(numbers, ({ sent }) => sent > 100))
      // Both say that they are primaries.
      yield* replica.promote
      yield* until(
        "it is known",
        Effect.map(db.hosts, (hosts) => hosts.some(({ host, role }) => host === hostOf(replica) && role === "primary"))
      )
      assert.strictEqual(yield* port, replica.port)
      assert.strictEqual(yield* shared(port), replica.port)
      isStopping = true
      yield* primary.stop("immediate")
      const { sent } = yield* numbers
      yield* until("they go on", Effect.map(numbers, (now) => now.sent > sent + 100))
      isOver = true
      yield* Fiber.join(readers)
      yield* sql`insert into one values (2)`
      assert.deepStrictEqual(yield* replica.query("select count(*)::int4 as n from one"), [{ n: 2 }])
    }), 120_000)
})
