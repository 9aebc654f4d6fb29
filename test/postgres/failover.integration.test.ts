/** A primary that is lost, and one that is promoted, judged by both servers. */
import { assert } from "@effect/vitest"
import { Effect, Fiber, Schedule, Stream } from "effect"
import { PgPool } from "effect-connection-pool/postgres"
import { PoolAssert } from "effect-connection-pool/testing"
import { BeginTransaction } from "effect/sql/SqlClient"
import { run } from "../support/childProcess.ts"
import { network } from "../support/network.ts"
import { describeServer, make as makeAlone, until } from "../support/postgres.ts"
import { hostOf, poolOver, servers } from "../support/replicas.ts"

const { failsWith } = PoolAssert

describeServer("a failover of PostgreSQL", (it) => {
  it.effect(
    "fails at most one write for each connection and no read, and writes nothing to the old primary",
    () =>
      Effect.gen(function*() {
        const both = yield* servers
        const { primary, replica } = both
        yield* primary.query("create table t (n int)")
        yield* replica.caughtUp
        const db = yield* poolOver(both, { max: 10, replicas: { max: 10 }, acquireTimeout: "2 minutes" })
        const events: Array<PgPool.HostEvent> = []
        yield* Effect.forkScoped(Stream.runForEach(db.hostEvents, (event) => Effect.sync(() => events.push(event))))
        let [written, read] = [0, 0]
        let isOver = false
        let since = 0
        /** The failed writes, by the connection on which they failed; `undefined` where none was lent. */
        const failed: Array<number | undefined> = []
        const write = Effect.suspend(() => {
          let connection: number | undefined
          const insert = db.write((lent) =>
            Effect.flatMap(lent.processId, (processId) => {
              connection = processId
              return lent.run("insert into t values (1)")
            })
          )
          return Effect.matchEffect(insert, {
            onFailure: () => Effect.sync(() => void failed.push(connection)),
            onSuccess: () => Effect.sync(() => void (written++, since++))
          })
        })
        const all = <A, E>(count: number, effect: Effect.Effect<A, E>) =>
          Effect.forkChild(
            Effect.forEach(
              Array.from({ length: count }),
              // With a pause, for else they leave no time to the servers on a small machine.
              () => Effect.repeat(Effect.andThen(effect, Effect.sleep(5)), { until: () => isOver }),
              { concurrency: "unbounded", discard: true }
            )
          )
        const writers = yield* all(10, write)
        const readers = yield* all(
          50,
          Effect.tap(db.replicaSql`select count(*) from t`, () => Effect.sync(() => read++))
        )
        yield* until("they write", Effect.sync(() => written > 20))
        yield* primary.stop("immediate")
        yield* replica.promote
        since = 0
        yield* until("they write again", Effect.sync(() => since > 20))

        // The old primary comes back, and says that it takes writes.
        yield* primary.start
        yield* until(
          "it is refused",
          Effect.map(
            db.hosts,
            (hosts) => hosts.some(({ host, role }) => host === hostOf(primary) && role === "refused")
          )
        )
        const before = yield* primary.query("select count(*)::int4 as n from t")
        since = 0
        yield* until(
          "they go on",
          Effect.sync(() => since > 20)
        )
        yield* db.primary.recycle
        since = 0
        yield* until("they go on with new connections", Effect.sync(() => since > 20))
        isOver = true
        yield* Fiber.join(writers)
        yield* Fiber.join(readers)
        assert.notInclude(failed, undefined, "a write failed because it got no connection")
        assert.strictEqual(new Set(failed).size, failed.length, "two writes failed on one connection")
        assert.isAtMost(failed.length, 10)
        assert.isAbove(read, 50)
        assert.deepStrictEqual(yield* primary.query("select count(*)::int4 as n from t"), before)

        // A fresh process asks all hosts, whatever their order.
        for (const hosts of [[hostOf(primary), hostOf(replica)], [hostOf(replica), hostOf(primary)]]) {
          const fresh = yield* run("freshWriter", ...hosts)
          yield* fresh.says(`written to ${replica.port}`)
          yield* fresh.ended
        }
        assert.deepStrictEqual(yield* primary.query("select count(*)::int4 as n from t"), before)

        const found = events.findLast(({ _tag }) => _tag === "PrimaryFound")
        assert.deepInclude(found, { host: hostOf(replica), timeline: 2 })
        assert.isAbove(found?._tag === "PrimaryFound" ? found.awayMillis ?? -1 : -1, 0)
        assert.deepInclude(events, { _tag: "OldPrimaryRefused", host: hostOf(primary), timeline: 1, newest: 2 })
      }),
    { timeout: 180_000 }
  )

  it.effect(
    "without an end of the old primary ends the sessions on it: what they have open is not committed",
    () =>
      Effect.gen(function*() {
        const both = yield* servers
        const { primary, replica } = both
        yield* primary.query("create table split (n int)")
        yield* replica.caughtUp
        const db = yield* poolOver(both, { max: 1 })
        const caught = yield* db.transaction(Effect.gen(function*() {
          yield* db.sql`insert into split values (1)`
          yield* replica.promote
          yield* until(
            "the promotion is seen",
            Effect.map(db.hosts, (hosts) => hosts.some(({ role, timeline }) => role === "primary" && timeline === 2))
          )
          yield* db.sql`insert into split values (2)`
        })).pipe(Effect.flip)
        assert.include(["TransactionLostError", "SqlError"], caught._tag)
        yield* db.sql`insert into split values (3)`
        assert.deepStrictEqual(yield* primary.query("select n from split"), [])
        assert.deepStrictEqual(yield* replica.query("select n from split"), [{ n: 3 }])
      }),
    { timeout: 180_000 }
  )

  it.effect(
    "is seen by a new pool that hears of the old primary first: it asks all hosts before it opens a connection",
    () =>
      Effect.gen(function*() {
        const { primary, replica } = yield* servers
        yield* primary.query("create table twins (n int)")
        yield* replica.caughtUp
        yield* replica.promote
        let isSlow = true
        const held: Array<() => void> = []
        const slow = yield* network(replica, (_, { hold }) => {
          if (isSlow) held.push(hold())
        })
        const where = { username: "postgres", database: "postgres", max: 1, drainTimeout: 0 } as const
        const db = yield* PgPool.make({ hosts: [hostOf(primary), hostOf(slow)], ...where })
        const writing = yield* Effect.forkChild(db.sql`insert into twins values (1)`)
        yield* until(
          "the old primary has answered",
          Effect.map(db.hosts, ([old]) => old?.role === "primary" && old.timeline === 1)
        )
        // Long enough for a connection to it.
        yield* Effect.repeat(primary.query("select 1"), { times: 10 })
        assert.isUndefined(writing.pollUnsafe())
        isSlow = false
        for (const send of held) send()
        yield* Fiber.join(writing)
        assert.deepStrictEqual(yield* primary.query("select n from twins"), [])
        assert.deepStrictEqual(yield* replica.query("select n from twins"), [{ n: 1 }])
      }),
    { timeout: 180_000 }
  )

  it.effect("is waited for, and says which hosts there are if it does not come", () =>
    Effect.gen(function*() {
      const both = yield* servers
      const db = yield* PgPool.make({
        hosts: [hostOf(both.replica)],
        username: "postgres",
        database: "postgres",
        acquireTimeout: "700 millis",
        drainTimeout: 0
      })
      const error = yield* failsWith(db.write(() => Effect.void), "AcquireTimeoutError")
      assert.include(error.message, `no host takes writes: ${hostOf(both.replica)} is a replica (timeline 1)`)
      const waiting = yield* Effect.forkChild(db.write((connection) => connection.query("select 1 as one"), {
        timeout: "20 seconds"
      }))
      yield* both.replica.promote
      assert.deepStrictEqual(yield* Fiber.join(waiting), [{ one: 1 }])
    }), { timeout: 180_000 })

  it.effect("refuses a wrong database at once, if no host has it", () =>
    Effect.gen(function*() {
      const { database } = yield* makeAlone()
      const db = yield* PgPool.make({ ...hosts(database), database: "nowhere", drainTimeout: 0 })
      const error = yield* failsWith(db.write(() => Effect.void), "ConnectError")
      assert.include(error.message, "SQLSTATE 3D000")
    }))
})

describeServer("a connection whose server refuses writes", (it) => {
  it.effect("is replaced, and the statement, which has changed nothing, runs on another", () =>
    Effect.gen(function*() {
      const { database, judge } = yield* makeAlone({ setup: ["create table moved (n int)"] })
      const role = `moved_${database.database}`
      yield* judge(`create role ${role} login superuser`)
      yield* judge(`alter role ${role} set default_transaction_read_only = on`)
      yield* Effect.addFinalizer(() => Effect.ignore(judge(`drop role ${role}`)))
      yield* Effect.scoped(Effect.gen(function*() {
        const db = yield* PgPool.make({ ...database, username: role, max: 1, drainTimeout: 0 })
        yield* db.sql`select 1`
        yield* judge(`alter role ${role} reset default_transaction_read_only`)
        yield* db.sql`insert into moved values (1)`
        assert.strictEqual((yield* db.stats).primary.connects, 2)
        assert.deepStrictEqual(yield* judge("select n from moved"), [{ n: 1 }])
        // A write that the caller has forbidden itself says nothing about the server.
        yield* db.write((connection) =>
          Effect.gen(function*() {
            yield* connection.query("set default_transaction_read_only = on")
            yield* failsWith(connection.query("insert into moved values (2)"), "SqlError")
          })
        )
        yield* db.sql`select 1`
        assert.strictEqual((yield* db.stats).primary.connects, 2)
      }))
    }))
})

describeServer("a server that turns out to be a standby", (it) => {
  it.effect(
    "refuses a transaction with an error that may be run again, is not asked again, and takes the rerun once it is promoted",
    () =>
      Effect.gen(function*() {
        const { primary, replica } = yield* servers
        yield* primary.query("create table t (n int)")
        yield* replica.caughtUp
        const { host, port, username } = replica
        const db = yield* PgPool.make({ host, port, username, database: "postgres", max: 1, drainTimeout: 0 })
        const insert = db.sql`insert into t values (1)`
        const connects = Effect.map(db.stats, ({ primary }) => primary.connects)

        const begun = yield* failsWith(db.transaction(insert), "TransactionBeginError")
        assert.isTrue(begun.isRetryable)
        assert.include(begun.message, "this server takes no writes, so its connection is replaced")
        // A begin that does not say what it wants is let through.
        const body = yield* failsWith(
          Effect.provideService(db.sql.withTransaction(insert), BeginTransaction, "begin"),
          "SqlError"
        )
        assert.deepStrictEqual([body.reason._tag, body.isRetryable], ["ConnectionError", true])
        assert.strictEqual(yield* connects, 2)
        yield* failsWith(Stream.runDrain(db.stream("insert into t values (1) returning n")), "SqlError")
        assert.strictEqual(yield* connects, 3)
        // A single statement tries another connection by itself.
        assert.strictEqual((yield* failsWith(insert, "SqlError")).reason._tag, "ConnectionError")
        assert.strictEqual(yield* connects, 5)

        const waiting = yield* Effect.forkChild(db.transaction(insert, { retry: Schedule.spaced("20 millis") }))
        yield* replica.promote
        yield* Fiber.join(waiting)
        assert.deepStrictEqual(yield* replica.query("select n from t"), [{ n: 1 }])
      }),
    { timeout: 180_000 }
  )
})

const hosts = (
  { host, port, username }: { readonly host: string; readonly port: number; readonly username: string }
) => ({
  hosts: [`${host}:${port}`],
  username
})
