/** What is written for `SqlClient` elsewhere in Effect, run on the client of a PostgreSQL pool, judged by a second connection. */
import { NodeServices } from "@effect/platform-node"
import * as PgMigrator from "@effect/sql-pg/PgMigrator"
import { assert } from "@effect/vitest"
import { Effect, Exit, Layer, Option, PrimaryKey, Schedule, Schema } from "effect"
import { PgPool } from "effect-connection-pool/postgres"
import { PoolAssert } from "effect-connection-pool/testing"
import * as EventJournal from "effect/eventlog/EventJournal"
import * as SqlEventJournal from "effect/eventlog/SqlEventJournal"
import * as KeyValueStore from "effect/persistence/KeyValueStore"
import * as Persistable from "effect/persistence/Persistable"
import * as PersistedQueue from "effect/persistence/PersistedQueue"
import * as Persistence from "effect/persistence/Persistence"
import * as Migrator from "effect/sql/Migrator"
import { fromFileSystem } from "effect/sql/MigratorFileSystem"
import { SqlClient } from "effect/sql/SqlClient"
import * as SqlSchema from "effect/sql/SqlSchema"
import { fileURLToPath } from "node:url"
import * as Child from "../support/childProcess.ts"
import { describeServer, type Made, make, Server, until } from "../support/postgres.ts"

const { failsWith } = PoolAssert

/** A database whose services a test runs with. Afterwards nothing is in use, and no transaction is open on the server. */
const withServices = <E>(
  test: (made: Made) => Effect.Effect<void, E, PgPool.Services>,
  options?: Partial<PgPool.Options>
) =>
  Effect.gen(function*() {
    const made = yield* make({ max: 4, ...options })
    yield* Effect.provideContext(test(made), PgPool.services(made.db))
    const { primary } = yield* made.db.stats
    assert.deepStrictEqual([primary.inUse, primary.waiting], [0, 0])
    assert.deepStrictEqual((yield* made.backends).filter(({ state }) => state !== "idle"), [])
  })

describeServer("Effect on the client of a PostgreSQL pool", (it) => {
  it.effect("migrates a database, once, and all or nothing", () =>
    withServices(({ value }) =>
      Effect.gen(function*() {
        const sql = yield* SqlClient
        const run = (last: Effect.Effect<unknown, unknown, SqlClient>) =>
          Migrator.make({})({
            loader: Migrator.fromRecord({
              "1_person": Effect.asVoid(sql`create table person (id int primary key, name text)`),
              "2_data": Effect.gen(function*() {
                const sql = yield* SqlClient
                yield* sql`insert into person values (1, 'Ada')`
                yield* last
              })
            })
          })
        yield* failsWith(run(Effect.fail("no")), "MigrationError")
        assert.isNull(yield* value("select to_regclass('person')"))
        assert.deepStrictEqual(yield* run(Effect.void), [[1, "person"], [2, "data"]])
        assert.deepStrictEqual(yield* run(Effect.void), [])
        assert.strictEqual(yield* value("select string_agg(name, ',') from person"), "Ada")
      })
    ))

  it.effect("migrates it from a folder as its layer is built, with the migrator of sql-pg too", () =>
    Effect.gen(function*() {
      const server = yield* Server
      const loader = fromFileSystem(fileURLToPath(new URL("../support/migrations", import.meta.url)))
      for (const migrations of [Layer.effectDiscard(Migrator.make({})({ loader })), PgMigrator.layer({ loader })]) {
        const database = migrations.pipe(
          Layer.provideMerge(PgPool.layer(yield* server.database)),
          Layer.provide(NodeServices.layer)
        )
        const names = Effect.flatMap(SqlClient, (sql) => sql`select name from person`.values)
        assert.deepStrictEqual(yield* Effect.provide(names, database), [["Ada"]])
      }
    }))

  it.effect("migrates it once if many fibers begin at the same time", () =>
    withServices(({ value }) =>
      Effect.gen(function*() {
        const sql = yield* SqlClient
        const migrate = Migrator.make({})({
          loader: Migrator.fromRecord({
            "1_counter": sql`create table counter (n int)`,
            "2_one": Effect.andThen(sql`select pg_sleep(0.02)`, sql`insert into counter values (1)`)
          })
        })
        const ran = yield* Effect.all(Array.from({ length: 8 }, () => migrate), { concurrency: "unbounded" })
        assert.deepStrictEqual(ran.filter(({ length }) => length > 0), [[[1, "counter"], [2, "one"]]])
        assert.strictEqual(yield* value("select count(*)::int4 from counter"), 1)
      })
    ))

  it.effect("migrates it once if two processes begin at the same time", () =>
    Effect.gen(function*() {
      const { database, value } = yield* make()
      const { database: name, host, port, username } = database
      const start = Child.run("pgMigrator", host, String(port), username, name)
      const children = yield* Effect.all([start, start], { concurrency: 2 })
      for (const child of children) yield* child.says("open")
      yield* Effect.all(children.map((child) => child.sign), { concurrency: 2 })
      for (const child of children) yield* child.ended
      const ran = children.map((child) => /^ran (.*)$/m.exec(child.printed())![1])
      assert.deepStrictEqual(ran.toSorted(), ["[[1,\"counter\"],[2,\"one\"]]", "[]"])
      assert.strictEqual(yield* value("select count(*)::int4 from counter"), 1)
    }))

  it.effect("decodes rows", () =>
    withServices(() =>
      Effect.gen(function*() {
        const sql = yield* SqlClient
        yield* sql`create table event (id int8, at timestamptz, tags text[], data jsonb, amount numeric)`
        yield* sql`insert into event values (1, '2026-01-01T00:00:00Z', '{a,b}', '{"x":[1]}', 1.50)`
        const find = SqlSchema.findOneOption({
          Request: Schema.BigInt,
          Result: Schema.Struct({
            id: Schema.BigInt,
            at: Schema.Date,
            tags: Schema.Array(Schema.String),
            data: Schema.Struct({ x: Schema.Array(Schema.Int) }),
            amount: Schema.String
          }),
          execute: (id) => sql`select * from event where id = ${id}`
        })
        const found = { id: 1n, at: new Date("2026-01-01"), tags: ["a", "b"], data: { x: [1] }, amount: "1.50" }
        assert.deepStrictEqual(yield* find(1n), Option.some(found))
        assert.deepStrictEqual(yield* find(2n), Option.none())
      })
    ))

  it.effect("stores keys and values, in the transaction of its caller", () =>
    withServices(({ db, value }) =>
      Effect.gen(function*() {
        const store = yield* KeyValueStore.KeyValueStore
        yield* store.set("a", "1")
        yield* store.set("b", new Uint8Array([1, 2]))
        assert.strictEqual(yield* store.get("a"), "1")
        assert.deepStrictEqual(yield* store.getUint8Array("b"), new Uint8Array([1, 2]))
        yield* Effect.exit(db.transaction(Effect.andThen(store.set("a", "2"), Effect.fail("no"))))
        assert.strictEqual(yield* store.get("a"), "1")
        yield* store.modify("a", (text) => `${text}!`)
        yield* store.remove("b")
        assert.strictEqual(yield* store.size, 1)
        assert.strictEqual(yield* value("select convert_from(value, 'UTF8') from effect_key_value_store"), "1!")
        yield* store.clear
        assert.isTrue(yield* store.isEmpty)
      }).pipe(Effect.provide(KeyValueStore.layerSql()))
    ))

  class Cached extends Persistable.Class<{ payload: { readonly id: number } }>()("Cached", {
    primaryKey: ({ id }) => String(id),
    success: Schema.String
  }) {}

  for (
    const [name, layer] of [["one table", Persistence.layerSql], [
      "a table each",
      Persistence.layerSqlMultiTable
    ]] as const
  ) {
    it.effect(`persists exits in ${name}, until they expire`, () =>
      withServices(() =>
        Effect.gen(function*() {
          const persistence = yield* Persistence.Persistence
          const store = yield* persistence.make({ storeId: "cached", timeToLive: () => "1 minute" })
          const brief = yield* persistence.make({ storeId: "brief", timeToLive: () => "20 millis" })
          const [one, two] = [new Cached({ id: 1 }), new Cached({ id: 2 })]
          assert.isUndefined(yield* store.get(one))
          yield* store.set(one, Exit.succeed("one"))
          yield* store.set(one, Exit.succeed("again"))
          yield* store.setMany([[two, Exit.succeed("two")]])
          assert.strictEqual(PrimaryKey.value(one), "1")
          const found = yield* store.getMany([one, two, new Cached({ id: 3 })])
          assert.deepStrictEqual(found, [Exit.succeed("again"), Exit.succeed("two"), undefined])
          yield* store.remove(two)
          assert.isUndefined(yield* store.get(two))
          yield* brief.set(one, Exit.succeed("one"))
          yield* until("it expires", Effect.map(brief.get(one), (exit) => exit === undefined))
          assert.deepStrictEqual(yield* store.get(one), Exit.succeed("again"))
        }).pipe(Effect.scoped, Effect.provide(layer))
      ))
  }

  it.effect("queues work for several workers, each item once, and again after a failure", () =>
    withServices(({ value }) =>
      Effect.gen(function*() {
        const taken: Array<string> = []
        const queue = yield* PersistedQueue.make({
          name: "mail",
          schema: Schema.String,
          retrySchedule: Schedule.spaced("1 millis")
        })
        const names = Array.from({ length: 20 }, (_, index) => `mail ${index}`)
        yield* Effect.forEach(names, (name) => queue.offer(name), { concurrency: "unbounded", discard: true })
        let fails = true
        const take = queue.take((item) =>
          Effect.suspend((): Effect.Effect<void, string> => {
            if (item === "mail 3" && fails) {
              fails = false
              return Effect.fail("not now")
            }
            taken.push(item)
            return Effect.void
          })
        )
        const worker = Effect.repeat(Effect.ignore(take), { until: () => taken.length >= names.length })
        yield* Effect.raceAll([worker, worker, worker])
        assert.deepStrictEqual(taken.toSorted(), names.toSorted())
        yield* until(
          "all are marked as done",
          Effect.map(value("select count(*)::int4 from effect_queue where state = 'pending'"), (left) => left === 0)
        )
      }).pipe(
        Effect.scoped,
        Effect.provide(
          PersistedQueue.layer.pipe(Layer.provide(PersistedQueue.layerStoreSql({ pollInterval: "10 millis" })))
        )
      )
    ))

  it.effect("journals events with what they cause, or neither", () =>
    withServices(({ judge, value }) =>
      Effect.gen(function*() {
        yield* judge("create table t (n int)")
        const sql = yield* SqlClient
        const journal = yield* EventJournal.EventJournal
        const write = (n: number, end: Effect.Effect<void, string>) =>
          journal.write({
            event: "Counted",
            primaryKey: String(n),
            payload: new Uint8Array([n]),
            effect: () => Effect.andThen(sql`insert into t values (${n})`, end)
          })
        yield* write(1, Effect.void)
        yield* Effect.exit(write(2, Effect.fail("no")))
        assert.deepStrictEqual((yield* journal.entries).map(({ primaryKey }) => primaryKey), ["1"])
        assert.strictEqual(yield* value("select string_agg(n::text, ',') from t"), "1")
      }).pipe(Effect.provide(SqlEventJournal.layer()))
    ))
})
