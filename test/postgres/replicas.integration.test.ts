/** Reads on a replica, judged by the servers themselves. */
import { PgClient } from "@effect/sql-pg/PgClient"
import { assert } from "@effect/vitest"
import { Effect, Exit, Fiber, Scope, Stream } from "effect"
import { HealthChecker } from "effect-connection-pool"
import { PgPool } from "effect-connection-pool/postgres"
import { PoolAssert } from "effect-connection-pool/testing"
import { BeginTransaction, SqlClient } from "effect/sql/SqlClient"
import { until } from "../support/postgres.ts"
import { describeReplicated, poolOver, Servers } from "../support/replicas.ts"

const { failsWith } = PoolAssert

/** The shared servers of this file, and a pool of its own for each test. */
const make = Effect.fnUntraced(function*(options?: Partial<PgPool.Options>, setup: ReadonlyArray<string> = []) {
  const { primary, replica } = yield* Servers
  for (const sql of setup) yield* primary.query(sql)
  yield* replica.caughtUp
  const db = yield* poolOver({ primary, replica }, options)
  const port = Effect.map(db.replicaSql<{ port: number }>`select inet_server_port() as port`, ([row]) => row!.port)
  return { primary, replica, db, port }
})

describeReplicated("a PostgreSQL pool with a replica", (it) => {
  it.effect("runs everything on the primary that is written for one host", () =>
    Effect.gen(function*() {
      const { db, primary } = yield* make()
      const ways = Effect.gen(function*() {
        const sql = yield* SqlClient
        const pg = yield* PgClient
        const read = sql<{ port: number }>`select inet_server_port() as port`
        return [
          ...yield* read,
          ...yield* pg<{ port: number }>`select inet_server_port() as port`,
          ...yield* sql.withoutTransforms()<{ port: number }>`select inet_server_port() as port`,
          ...yield* Stream.runCollect(read.stream),
          ...yield* sql.withTransaction(read),
          ...yield* Effect.provideService(sql.withTransaction(read), BeginTransaction, "begin read only"),
          ...yield* Effect.scoped(
            Effect.flatMap(
              sql.reserve,
              (connection) => connection.execute("select inet_server_port() as port", [], undefined)
            )
          ),
          ...yield* Stream.runCollect(db.stream("select inet_server_port() as port"))
        ]
      })
      const rows = yield* Effect.provideContext(ways, PgPool.services(db))
      assert.deepStrictEqual(rows, Array.from({ length: 8 }, () => ({ port: primary.port })))
      assert.strictEqual((yield* db.stats).replicas!.checkouts, 0)
    }))

  it.effect("reads on the replica and writes on the primary with `replicaSql`, by the text of the statement", () =>
    Effect.gen(function*() {
      const { db, port, primary, replica } = yield* make({}, ["create table routed (n int)", "create sequence s"])
      const sql = db.replicaSql
      assert.strictEqual(yield* port, replica.port)
      assert.deepStrictEqual(yield* sql`insert into routed values (1) returning inet_server_port() as port`, [
        { port: primary.port }
      ])
      assert.deepStrictEqual(yield* sql`select inet_server_port() as port from routed for update`, [
        { port: primary.port }
      ])
      assert.deepStrictEqual(
        yield* sql`with added as (insert into routed values (2) returning n) select n, inet_server_port() as port from added`,
        [{ n: 2, port: primary.port }]
      )
      yield* sql`select nextval('s')`
      assert.strictEqual(yield* db.transaction(port), primary.port)
      assert.strictEqual(yield* db.transaction(port, { readOnly: true }), replica.port)
      assert.strictEqual(yield* db.snapshot(port), replica.port)
      // A replica has no serializable transactions.
      assert.strictEqual(
        yield* db.transaction(port, { readOnly: true, isolation: "serializable" }),
        primary.port
      )
      assert.strictEqual(yield* db.write((connection) => Effect.map(portOf(connection), Number)), primary.port)
      assert.strictEqual(yield* db.read((connection) => Effect.map(portOf(connection), Number)), replica.port)
      const [row] = yield* Stream.runCollect(sql`select inet_server_port() as port`.stream)
      assert.deepStrictEqual(row, { port: replica.port })
      assert.deepStrictEqual(yield* sql.withoutTransforms()`select inet_server_port() as port`, [{
        port: replica.port
      }])
    }))

  it.effect("has the transaction of one client in the other", () =>
    Effect.gen(function*() {
      const { db, primary } = yield* make({}, ["create table both_clients (n int)"])
      const { replicaSql, sql } = db
      const count = Effect.map(
        replicaSql<{ n: number }>`select count(*)::int4 as n from both_clients`,
        ([row]) => row!.n
      )
      const insert = sql`insert into both_clients values (1)`
      for (const within of [sql.withTransaction, replicaSql.withTransaction, db.transaction]) {
        const refused = within(Effect.gen(function*() {
          yield* insert
          yield* replicaSql`insert into both_clients values (2)`
          assert.strictEqual(yield* count, 2)
          return yield* Effect.fail("no")
        }))
        assert.strictEqual(yield* Effect.flip(refused), "no")
      }
      const told: Array<string> = []
      yield* replicaSql.withTransaction(Effect.gen(function*() {
        yield* sql.afterCommit(Effect.sync(() => told.push("committed")))
        yield* insert
        assert.deepStrictEqual(told, [])
      }))
      assert.deepStrictEqual(told, ["committed"])
      assert.deepStrictEqual(yield* primary.query("select count(*)::int4 as n from both_clients"), [{ n: 1 }])
    }))

  it.effect("is there for a role that may do nothing but log in", () =>
    Effect.gen(function*() {
      const { primary, replica } = yield* Servers
      yield* primary.query("create role plain login")
      yield* replica.caughtUp
      const { port } = yield* make({ username: "plain" })
      assert.strictEqual(yield* port, replica.port)
    }))

  it.effect("runs a function that writes on the primary, once", () =>
    Effect.gen(function*() {
      const { db, primary } = yield* make({}, [
        "create table called (n int)",
        "create function call() returns int language sql as 'insert into called values (1) returning n'"
      ])
      assert.deepStrictEqual(yield* db.replicaSql`select call() as n`, [{ n: 1 }])
      assert.deepStrictEqual(yield* primary.query("select count(*)::int4 as n from called"), [{ n: 1 }])
    }))

  it.effect("refuses writes of `read` and `snapshot`, also where the primary is read", () =>
    Effect.gen(function*() {
      const { db, primary, replica } = yield* make({}, ["create table refused (n int)"])
      const write = (connection: Parameters<Parameters<typeof db.read>[0]>[0]) =>
        Effect.catchTag(connection.query("insert into refused values (1)"), "LeaseExpiredError", Effect.die)
      const refused = yield* failsWith(db.read(write), "SqlError")
      assert.strictEqual(refused.reason._tag, "AuthorizationError")
      yield* failsWith(db.snapshot(db.sql`insert into refused values (1)`), "SqlError")
      yield* Effect.acquireRelease(replica.stop("immediate"), () => Effect.orDie(replica.start))
      yield* until(
        "the replica is away",
        Effect.map(db.hosts, (hosts) => hosts.some(({ role }) => role === "away"))
      )
      assert.strictEqual(yield* db.read((connection) => Effect.map(portOf(connection), Number)), primary.port)
      yield* failsWith(db.read(write), "SqlError")
      const alone = yield* PgPool.make({ ...database(primary), drainTimeout: 0, max: 1 })
      yield* failsWith(alone.read(write), "SqlError")
      // The connection writes again afterwards.
      yield* alone.write(write)
      assert.deepStrictEqual(yield* primary.query("select count(*)::int4 as n from refused"), [{ n: 1 }])
    }))

  it.effect("reads on the primary while the replica lags behind by more than `maxLag`, and on the replica afterwards", () =>
    Effect.gen(function*() {
      const { db, port, primary, replica } = yield* make({ replicas: { maxLag: "1 second" } }, [
        "create table lag (n int)"
      ])
      const events: Array<string> = []
      yield* Effect.forkScoped(Stream.runForEach(db.hostEvents, ({ _tag }) => Effect.sync(() => events.push(_tag))))
      yield* Effect.yieldNow
      yield* Effect.scoped(Effect.gen(function*() {
        yield* replica.pauseReplay
        yield* db.sql`insert into lag values (1)`
        yield* until("it is late", Effect.map(db.hosts, (hosts) => !hosts.some(({ isFresh }) => isFresh)))
        assert.strictEqual(yield* port, primary.port)
        assert.deepStrictEqual(yield* db.replicaSql`select n from lag`, [{ n: 1 }])
      }))
      yield* until("it is fresh", Effect.map(db.hosts, (hosts) => hosts.some(({ isFresh }) => isFresh)))
      assert.strictEqual(yield* port, replica.port)
      // The primary is found about when the pool is there.
      assert.deepStrictEqual(events.filter((tag) => tag !== "PrimaryFound"), ["ReplicaLost", "ReplicaFound"])
    }))

  it.effect("sees that a replica lags behind which is cut off from the primary and does not know", () =>
    Effect.gen(function*() {
      const { db, port, primary } = yield* make({ replicas: { maxLag: "1 second" } }, ["create table cut (n int)"])
      yield* Effect.scoped(Effect.gen(function*() {
        const senders = yield* primary.query("select pid from pg_stat_replication")
        for (const { pid } of senders) yield* primary.freeze(Number(pid))
        yield* db.sql`insert into cut values (1)`
        yield* until("it is late", Effect.map(db.hosts, (hosts) => !hosts.some(({ isFresh }) => isFresh)))
        assert.strictEqual(yield* port, primary.port)
      }))
    }))

  it.effect("waits for a replica with `fallback: \"none\"`, and says why there is none", () =>
    Effect.gen(function*() {
      const { db, replica } = yield* make({
        replicas: { maxLag: "1 second", fallback: "none" }
      }, ["create table waiting (n int)"])
      const paused = yield* Scope.make()
      yield* Scope.provide(replica.pauseReplay, paused)
      yield* db.sql`insert into waiting values (1)`
      yield* until("it is late", Effect.map(db.hosts, (hosts) => !hosts.some(({ isFresh }) => isFresh)))
      const error = yield* failsWith(db.read(() => Effect.void, { timeout: "2 seconds" }), "AcquireTimeoutError")
      assert.include(error.message, "lags behind")
      const waiting = yield* Effect.forkChild(db.read(portOf, { timeout: "20 seconds" }))
      yield* until("it waits", Effect.map(db.stats, ({ replicas }) => replicas!.waiting > 0))
      yield* Scope.close(paused, Exit.void)
      assert.strictEqual(yield* Fiber.join(waiting), replica.port)
    }))

  it.effect("runs a read again that loses its replica, up to two times", () =>
    Effect.gen(function*() {
      const { db, replica } = yield* make({}, ["create table steady as select 1 as n"])
      const kill = Effect.gen(function*() {
        const sleeping = "select pid from pg_stat_activity where state = 'active' and query like '%steady%' and " +
          "pid <> pg_backend_pid()"
        yield* until("it runs", Effect.map(replica.query(sleeping), (rows) => rows.length === 1))
        const [running] = yield* replica.query(sleeping)
        yield* replica.kill("postgres")
        yield* until(
          "it is killed",
          Effect.map(replica.query(sleeping), (rows) => rows.every(({ pid }) => pid !== running?.["pid"]))
        )
      })
      const spared = yield* Effect.forkChild(db.replicaSql`select n, pg_sleep(4)::text from steady`)
      yield* kill
      yield* kill
      assert.strictEqual((yield* Fiber.join(spared))[0]!["n"], 1)
      const killed = yield* Effect.forkChild(Effect.flip(db.replicaSql`select n, pg_sleep(20)::text from steady`))
      yield* kill
      yield* kill
      yield* kill
      assert.strictEqual((yield* Fiber.join(killed)).reason._tag, "ConnectionError")
    }))

  it.effect("is watched on both sides by a `HealthChecker`", () =>
    Effect.gen(function*() {
      const { db, replica } = yield* make({ replicas: { fallback: "none" } })
      const health = yield* HealthChecker.make(db)
      const report = yield* health.check()
      assert.strictEqual(report.status, "healthy")
      const statuses = Effect.map(
        health.check(),
        ({ sides }) => [sides?.["primary"]?.status, sides?.["replicas"]?.status]
      )
      assert.deepStrictEqual(yield* statuses, ["healthy", "healthy"])
      // One side is lost, and the other is not.
      yield* Effect.scoped(Effect.gen(function*() {
        yield* Effect.acquireRelease(replica.stop("immediate"), () => Effect.orDie(replica.start))
        yield* until("it is seen", Effect.map(statuses, ([one, other]) => one === "healthy" && other === "unhealthy"))
      }))
      yield* until("it is well again", Effect.map(statuses, (all) => all.every((status) => status === "healthy")))
      assert.deepStrictEqual(Object.keys(db.sides), ["primary", "replicas"])
      const { primary, replicas } = yield* db.stats
      assert.strictEqual(primary.total, 1)
      assert.strictEqual(replicas!.total, 1)
      const reports = yield* db.shutdown()
      assert.deepStrictEqual(Object.keys(reports).toSorted(), ["primary", "replicas"])
    }))
})

const portOf = (
  connection: {
    readonly query: (sql: string) => Effect.Effect<ReadonlyArray<Readonly<Record<string, unknown>>>, unknown>
  }
) => Effect.map(Effect.orDie(connection.query("select inet_server_port() as port")), ([row]) => row!["port"])

const database = (
  { host, port, username }: { readonly host: string; readonly port: number; readonly username: string }
) => ({
  host,
  port,
  username,
  database: "postgres"
})
