/** What has ended must be garbage: closed sessions, and what those had whose statements ran on sessions that stay. */
import { assert } from "@effect/vitest"
import { Context, Deferred, Effect, Fiber, type Scope, Stream } from "effect"
import { PgPool } from "effect-connection-pool/postgres"
import { AsyncLocalStorage } from "node:async_hooks"
import { sessionOf } from "../../src/postgres/internal/connection/leased.ts"
import type { Session } from "../../src/postgres/internal/connection/session.ts"
import { alive } from "../support/garbage.ts"
import { describeServer, type Made, make, runs } from "../support/postgres.ts"

/** None of them is alive, by their names. */
const areGarbage = (all: Readonly<Record<string, WeakRef<object>>>) =>
  Effect.gen(function*() {
    const left = yield* alive(Object.entries(all).map(([name, ref]) => ({ name, ref })))
    assert.deepStrictEqual(left.map(({ name }) => name), [])
  })

const storage = new AsyncLocalStorage<object>()

class OfRequest extends Context.Service<OfRequest, object>()("test/OfRequest") {}

/** Runs an effect as the handler of a request does, and returns what that request had. */
const request = <A, E>(effect: Effect.Effect<A, E, Scope.Scope>) =>
  Effect.promise(() => {
    const store = {}
    const service = {}
    const handled = Effect.exit(Effect.scoped(effect)).pipe(Effect.provideService(OfRequest, service), Effect.asVoid)
    const all = { store: new WeakRef(store), service: new WeakRef(service) }
    return storage.run(store, () => Effect.runPromise(handled)).then(() => all)
  })

const interruptedWhile = (made: Made, text: string, effect: Effect.Effect<unknown, unknown>) =>
  Effect.gen(function*() {
    const fiber = yield* Effect.forkChild(effect)
    yield* runs(made, text)
    yield* Fiber.interrupt(fiber)
  })

type Kind = (made: Made) => Effect.Effect<unknown, unknown, Scope.Scope>

const kinds: Record<string, Kind> = {
  "a statement": ({ db: { sql } }) => sql`select ${1}::int4`,
  "a statement that fails": ({ db: { sql } }) => sql`select 1 / ${0}::int4`,
  "a read": ({ db }) => db.read((connection) => connection.query("select 1")),
  "a connection that is lent": ({ db }) => db.primary.acquire(),
  "a transaction": ({ db: { sql, transaction } }) => transaction(sql`select 1`),
  "a transaction that fails": ({ db: { sql, transaction } }) =>
    transaction(Effect.andThen(sql`select 1`, Effect.fail("no"))),
  "an inner transaction that fails": ({ db: { sql, transaction } }) =>
    transaction(
      Effect.andThen(sql`select 1`, Effect.exit(transaction(Effect.andThen(sql`select 2`, Effect.fail("no")))))
    ),
  "a snapshot": ({ db: { snapshot, sql } }) => snapshot(sql`select 1`),
  "a stream that was left": ({ db }) => Stream.runDrain(Stream.take(db.stream("select generate_series(1, 10000)"), 1)),
  "a lock": ({ db }) => db.lock("a", Effect.void),
  "a listener": ({ db }) => Stream.runDrain(Stream.take(db.listen("a"), 1)),
  "a statement that was interrupted": (made) =>
    interruptedWhile(made, "pg_sleep(30)", made.db.sql`select pg_sleep(30)`),
  "a transaction that was interrupted": (made) =>
    interruptedWhile(made, "pg_sleep(31)", made.db.transaction(made.db.sql`select pg_sleep(31)`)),
  "a lease that has to be reset": ({ db }) => db.write((connection) => connection.query("set work_mem = '10MB'")),
  "a request whose session was killed": ({ db, kill }) => Effect.andThen(kill, db.sql`select 1`)
}

/** The sessions of a pool, without keeping them. */
const sessionsOf = (name: string, { primary, replicas, sharedReads }: PgPool.PgPool) =>
  Effect.gen(function*() {
    const all: Record<string, WeakRef<Session>> = {}
    for (const [side, pool] of Object.entries({ primary, replicas, sharedReads })) {
      if (pool === undefined) continue
      all[`${name}, ${side}`] = yield* pool.use((connection) => Effect.sync(() => new WeakRef(sessionOf(connection))))
    }
    return all
  })

const options: Record<string, (database: Made["database"]) => PgPool.Options> = {
  "a pool": (database) => database,
  "a pool with shared reads": (database) => ({ ...database, sharedReads: true }),
  "a pool over hosts, with replicas and shared reads": ({ host, port, ...database }) => ({
    ...database,
    hosts: [`${host}:${port}`],
    replicas: {},
    sharedReads: true
  })
}

describeServer("garbage", (it) => {
  for (const [kind, run] of Object.entries(kinds)) {
    it.effect(`is all that a request had, as soon as it is answered: ${kind}`, () =>
      Effect.gen(function*() {
        // A timer of a session must not keep them alive either, however long it is.
        const made = yield* make({ max: 1, controlTimeout: "10 minutes" })
        yield* made.db.sql`select 1`
        yield* areGarbage(yield* request(run(made)))
        yield* made.db.sql`select 1`
      }))
  }

  it.effect("is what the first listener had, while another one listens on the same connection", () =>
    Effect.gen(function*() {
      const { backends, db } = yield* make()
      const hasBegun = yield* Deferred.make<void>()
      const mayLeave = yield* Deferred.make<void>()
      const listens = (channel: string) => Effect.flatMap(Stream.toPull(db.listen(channel)), (pull) => pull)
      const first = yield* Effect.forkChild(request(Effect.gen(function*() {
        yield* listens("a")
        yield* Deferred.succeed(hasBegun, undefined)
        yield* Deferred.await(mayLeave)
      })))
      yield* Deferred.await(hasBegun)
      yield* listens("b")
      yield* Deferred.succeed(mayLeave, undefined)
      const left = yield* Fiber.join(first)
      assert.strictEqual((yield* backends).length, 1)
      yield* areGarbage(left)
    }))

  for (const [kind, of] of Object.entries(options)) {
    it.effect(`is each session of ${kind} that was closed`, () =>
      Effect.gen(function*() {
        const { database } = yield* make()
        const all: Record<string, WeakRef<Session>> = {}
        for (let round = 0; round < 3; round++) {
          const used = Effect.flatMap(PgPool.make({ ...of(database), max: 2 }), (db) =>
            Effect.andThen(
              Effect.all(Array.from({ length: 20 }, () => db.sql`select 1`), { concurrency: "unbounded" }),
              sessionsOf(`round ${round}`, db)
            ))
          Object.assign(all, yield* Effect.scoped(used))
        }
        yield* areGarbage(all)
      }))
  }

  it.effect("is each session that was replaced, while its pool goes on", () =>
    Effect.gen(function*() {
      const { db, kill } = yield* make({ max: 1, sharedReads: true })
      const all: Record<string, WeakRef<Session>> = {}
      for (let round = 0; round < 3; round++) {
        Object.assign(all, yield* sessionsOf(`recycled in round ${round}`, db))
        yield* Effect.all([db.primary.recycle, db.sharedReads!.recycle])
        Object.assign(all, yield* sessionsOf(`killed in round ${round}`, db))
        yield* kill
      }
      // When all of it is replaced, what was before is closed.
      yield* Effect.all([db.primary.recycle, db.sharedReads!.recycle])
      yield* sessionsOf("the last", db)
      yield* areGarbage(all)
    }))
})
