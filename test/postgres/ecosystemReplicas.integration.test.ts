/**
 * What is written for `SqlClient` elsewhere in Effect, over a primary and a replica that replays nothing: a read there would miss
 * all of it.
 */
import { assert } from "@effect/vitest"
import { Effect, Fiber, References } from "effect"
import { PgPool } from "effect-connection-pool/postgres"
import { cluster, createCluster } from "../support/ecosystem/cluster.ts"
import { migrate, models } from "../support/ecosystem/models.ts"
import { createStores, openQueue, pendingItems, stores } from "../support/ecosystem/stores.ts"
import { describeServer, until } from "../support/postgres.ts"
import { describeReplicated, hostOf, poolOver, Servers, servers } from "../support/replicas.ts"

/** A database on both servers, and what pools on it need. */
const make = Effect.fnUntraced(function*(setup: ReadonlyArray<string> = []) {
  const { primary, replica } = yield* Servers
  const { database } = yield* primary.database
  for (const sql of setup) yield* primary.query(sql, { database })
  yield* replica.caughtUp
  // However late it is, it counts as fresh.
  const options = { database, drainTimeout: 0, replicas: { maxLag: "Infinity" } } as const
  const open = poolOver({ primary, replica }, { ...options, max: 4 })
  const position = Effect.map(primary.query("select pg_current_wal_lsn()::text as lsn"), ([row]) => row!["lsn"])
  return {
    db: yield* open,
    /** The pool of another process. */
    open,
    pool: (max: number) =>
      PgPool.layer({ ...options, hosts: [hostOf(replica), hostOf(primary)], username: "postgres", max }),
    value: (sql: string) => Effect.map(primary.query(sql, { database }), ([row]) => Object.values(row ?? {})[0]),
    kill: primary.kill(database),
    /** From now on the replica replays nothing. */
    pause: Effect.andThen(replica.caughtUp, replica.pauseReplay),
    /** Whether the replica has not replayed what is on the primary. */
    isBehind: Effect.flatMap(position, (lsn) =>
      Effect.map(
        replica.query("select pg_last_wal_replay_lsn() < $1::text::pg_lsn as is_behind", { params: [lsn] }),
        ([row]) => row!["is_behind"]
      ))
  }
})

describeReplicated("Effect on the client of a pool whose replica is late", (it) => {
  for (const { name, run } of [...models, ...stores]) {
    it.effect(name, () =>
      Effect.gen(function*() {
        const { db, isBehind, pause, value } = yield* make()
        const services = PgPool.services(db)
        // The tables are there, and only what is in them is late. The queue makes its own, and so meets a replica without them.
        if (stores.some((store) => store.name === name)) yield* Effect.provideContext(createStores, services)
        yield* pause
        const host = { transaction: db.transaction, value, until, isRealTime: true }
        yield* Effect.provideContext(run(host), services)
        assert.isTrue(yield* isBehind)
        assert.strictEqual((yield* db.stats).primary.inUse, 0)
      }))
  }

  it.effect("migrates a database once from two processes, at the same time and later", () =>
    Effect.gen(function*() {
      const { db, isBehind, open, pause, value } = yield* make()
      yield* pause
      const both = [db, yield* open].map((db) => Effect.provideContext(migrate(Effect.yieldNow), PgPool.services(db)))
      const ran = yield* Effect.all(both, { concurrency: 2 })
      assert.deepStrictEqual(ran.map(({ length }) => length).toSorted(), [0, 2])
      assert.deepStrictEqual(yield* Effect.all(both), [[], []])
      assert.strictEqual(yield* value("select string_agg(name, ',') from person"), "Ada")
      assert.isTrue(yield* isBehind)
    }))

  for (const { name, run, setup } of cluster) {
    it.effect(name, () =>
      Effect.gen(function*() {
        const host = yield* make(setup)
        // The next process of a workflow meets a replica that has not even the tables.
        if (!name.includes("next process")) yield* createCluster(host)
        yield* host.pause
        yield* run(host)
        assert.isTrue(yield* host.isBehind)
      }), 120_000)
  }
})

describeServer("a queue of Effect", (it) => {
  it.effect(
    "loses no item through a failover that it has accepted, and runs all of them",
    () =>
      Effect.gen(function*() {
        const both = yield* servers
        const { primary, replica } = both
        // What is acknowledged must be on both, because one of them crashes.
        yield* primary.query("alter system set synchronous_standby_names = '*'")
        yield* primary.query("select pg_reload_conf()")
        const db = yield* poolOver(both, { max: 6, acquireTimeout: "2 minutes" })
        const taken: Array<string> = []
        const accepted: Array<string> = []
        let isOver = false
        yield* Effect.gen(function*() {
          // An item whose lock was given in an answer that was lost comes back after that.
          const queues = [yield* openQueue("10 seconds"), yield* openQueue("10 seconds")]
          for (const queue of queues) {
            const take = queue.take((item) => Effect.sync(() => taken.push(item)))
            yield* Effect.forkScoped(Effect.forever(Effect.ignore(take)))
          }
          const offer = Effect.suspend(() => {
            const item = `mail ${accepted.length}`
            // Whether an offer that failed is stored is unknown. With its key, it is offered once all the same.
            return Effect.map(
              Effect.eventually(Effect.ensuring(queues[0]!.offer(item, { id: item }), Effect.sleep(5))),
              () => accepted.push(item)
            )
          })
          const offering = yield* Effect.forkScoped(Effect.repeat(offer, { until: () => isOver }))
          yield* until("they work", Effect.sync(() => taken.length > 20))
          yield* primary.stop("immediate")
          yield* replica.promote
          const before = taken.length
          yield* until("they work again", Effect.sync(() => taken.length > before + 20))
          isOver = true
          yield* Fiber.join(offering)
          yield* until(
            "all is done",
            Effect.map(replica.query(pendingItems), ([row]) => Object.values(row!)[0] === 0)
          )
        }).pipe(
          Effect.scoped,
          Effect.provideContext(PgPool.services(db)),
          // They tell of their lost sessions.
          Effect.provideService(References.MinimumLogLevel, "None")
        )
        // Once or more: that is what such a queue promises.
        assert.deepStrictEqual(Array.from(new Set(taken)).toSorted(), accepted.toSorted())
      }),
    180_000
  )
})
