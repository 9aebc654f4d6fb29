/** What is written against `SqlClient` elsewhere in Effect, run on the client over the two pools. */
import { NodeServices } from "@effect/platform-node"
import { assert, describe, it } from "@effect/vitest"
import { Effect, Exit, Fiber, Layer, Option, PrimaryKey, Schema } from "effect"
import { SqlitePool } from "effect-connection-pool/sqlite"
import { PoolAssert } from "effect-connection-pool/testing"
import * as EventJournal from "effect/eventlog/EventJournal"
import * as SqlEventJournal from "effect/eventlog/SqlEventJournal"
import * as KeyValueStore from "effect/persistence/KeyValueStore"
import * as Persistable from "effect/persistence/Persistable"
import * as PersistedQueue from "effect/persistence/PersistedQueue"
import * as Persistence from "effect/persistence/Persistence"
import * as Model from "effect/schema/Model"
import * as Migrator from "effect/sql/Migrator"
import { fromFileSystem } from "effect/sql/MigratorFileSystem"
import { SqlClient } from "effect/sql/SqlClient"
import * as SqlModel from "effect/sql/SqlModel"
import * as SqlResolver from "effect/sql/SqlResolver"
import * as SqlSchema from "effect/sql/SqlSchema"
import { TestClock } from "effect/testing"
import { fileURLToPath } from "node:url"
import * as Database from "../support/database.ts"

const { failsWith } = PoolAssert

/** Runs a test on a file with two pools, and in memory on one. */
const both = (
  name: string,
  test: (
    transaction: <A, E>(
      effect: Effect.Effect<A, E, SqlClient>
    ) => Effect.Effect<A, E | { readonly _tag: string }, SqlClient>
  ) => Effect.Effect<void, unknown, SqlClient>
) => {
  it.effect(name, () =>
    Effect.gen(function*() {
      const db = yield* Database.make()
      yield* Effect.provideService(test(db.transaction), SqlClient, db.sql)
      for (const { connects, inUse } of [yield* db.reader.stats, yield* db.writer.stats]) {
        assert.isAtMost(connects, 1)
        assert.strictEqual(inUse, 0)
      }
    }))
  it.effect(`${name}, in memory`, () =>
    Effect.gen(function*() {
      const db = yield* Database.makeInMemory()
      yield* Effect.provideService(test(db.transaction), SqlClient, db.sql)
      assert.strictEqual((yield* db.pool.stats).connects, 1)
    }))
}

describe("Effect on the client", () => {
  both("migrates a database, once", () =>
    Effect.gen(function*() {
      const sql = yield* SqlClient
      const run = (last: Effect.Effect<unknown, unknown, SqlClient>) =>
        Migrator.make({})({
          loader: Migrator.fromRecord({
            "1_person": Effect.asVoid(sql`create table person(id integer primary key, name text)`),
            "2_data": Effect.gen(function*() {
              const sql = yield* SqlClient
              yield* sql`insert into person(name) values ('Ada')`
              yield* last
            })
          })
        })
      // A migration that fails leaves nothing of those before it in the same run.
      yield* failsWith(run(Effect.fail("no")), "MigrationError")
      assert.deepStrictEqual(yield* sql`select name from sqlite_schema where name = 'person'`, [])
      assert.deepStrictEqual(yield* run(Effect.void), [[1, "person"], [2, "data"]])
      assert.deepStrictEqual(yield* run(Effect.void), [])
      assert.deepStrictEqual(yield* sql`select name from person`.values, [["Ada"]])
    }))

  it.effect("migrates a database from a folder, as its layer is built", () =>
    Effect.gen(function*() {
      const folder = fileURLToPath(new URL("../support/migrations", import.meta.url))
      const migrations = Layer.effectDiscard(Migrator.make({})({ loader: fromFileSystem(folder) }))
      const database = migrations.pipe(
        Layer.provideMerge(SqlitePool.layerTemporary()),
        Layer.provide(NodeServices.layer)
      )
      const names = Effect.flatMap(SqlClient, (sql) => sql`select name from person`.values)
      assert.deepStrictEqual(yield* Effect.provide(names, database), [["Ada"]])
    }))

  class Person extends Model.Class<Person>("Person")({
    id: Model.Field({ select: Schema.Number, update: Schema.Number, json: Schema.Number }),
    name: Schema.String
  }) {}

  both("keeps models in a repository", () =>
    Effect.gen(function*() {
      const sql = yield* SqlClient
      yield* sql`create table person(id integer primary key, name text)`
      const people = yield* SqlModel.makeRepository(Person, {
        tableName: "person",
        spanPrefix: "people",
        idColumn: "id"
      })
      const ada = yield* people.insert(Person.insert.make({ name: "Ada" }))
      assert.deepStrictEqual([ada.id, ada.name], [1, "Ada"])
      yield* people.update(Person.update.make({ id: 1, name: "Ada Lovelace" }))
      assert.strictEqual((yield* people.findById(1)).name, "Ada Lovelace")
      yield* people.delete(1)
      yield* failsWith(people.findById(1), "NoSuchElementError")
    }))

  both("batches requests, but none of a transaction with others", (transaction) =>
    Effect.gen(function*() {
      const sql = yield* SqlClient
      yield* sql`create table person(id integer primary key, name text)`
      const row = Schema.Struct({ id: Schema.Number, name: Schema.String })
      const batches: Array<number> = []
      const insert = SqlResolver.ordered({
        Request: Schema.Struct({ name: Schema.String }),
        Result: row,
        execute: (people) => {
          batches.push(people.length)
          return sql`insert into person ${sql.insert(people).returning("*")}`
        }
      })
      const byId = SqlResolver.findById({
        Id: Schema.Number,
        Result: row,
        ResultId: ({ id }) => id,
        execute: (ids) => {
          batches.push(ids.length)
          return sql`select * from person where id in ${sql.in(ids)}`
        }
      })
      const add = (name: string) => SqlResolver.request({ name }, insert)
      const get = (id: number) => SqlResolver.request(id, byId)
      const added = yield* Effect.all([add("Ada"), add("Grace")], { concurrency: "unbounded" })
      assert.deepStrictEqual(added.map(({ name }) => name), ["Ada", "Grace"])
      assert.deepStrictEqual(batches.splice(0), [2])
      const found = yield* Effect.all([get(1), get(2)], { concurrency: "unbounded" })
      assert.deepStrictEqual(found.map(({ name }) => name), ["Ada", "Grace"])
      assert.deepStrictEqual(batches.splice(0), [2])
      const exit = yield* Effect.exit(transaction(Effect.gen(function*() {
        yield* Effect.all([add("Linus"), transaction(add("Ken"))], { concurrency: "unbounded" })
        return yield* Effect.fail("no")
      })))
      assert.deepStrictEqual(exit, Exit.fail("no"))
      assert.deepStrictEqual(batches.splice(0), [1, 1])
      assert.deepStrictEqual(yield* sql`select count(*) from person`.values, [[2]])
    }))

  both("decodes rows", () =>
    Effect.gen(function*() {
      const sql = yield* SqlClient
      const find = SqlSchema.findOneOption({
        Request: Schema.Number,
        Result: Schema.Struct({ n: Schema.Number }),
        execute: (n) => sql`select n from t where n = ${n}`
      })
      yield* sql`insert into t values (1)`
      assert.deepStrictEqual(yield* find(1), Option.some({ n: 1 }))
      assert.deepStrictEqual(yield* find(2), Option.none())
    }))

  both("stores keys and values", (transaction) =>
    Effect.gen(function*() {
      const store = yield* KeyValueStore.KeyValueStore
      yield* store.set("a", "1")
      yield* store.set("b", new Uint8Array([1, 2]))
      assert.strictEqual(yield* store.get("a"), "1")
      assert.deepStrictEqual(yield* store.getUint8Array("b"), new Uint8Array([1, 2]))
      yield* Effect.exit(transaction(Effect.andThen(store.set("a", "2"), Effect.fail("no"))))
      assert.strictEqual(yield* store.get("a"), "1")
      yield* store.remove("a")
      assert.strictEqual(yield* store.size, 1)
      yield* store.clear
      assert.isTrue(yield* store.isEmpty)
    }).pipe(Effect.provide(KeyValueStore.layerSql())))

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
    both(`persists exits in ${name}, until they expire`, () =>
      Effect.gen(function*() {
        const persistence = yield* Persistence.Persistence
        const store = yield* persistence.make({ storeId: "cached", timeToLive: () => "1 minute" })
        const one = new Cached({ id: 1 })
        assert.isUndefined(yield* store.get(one))
        yield* store.set(one, Exit.succeed("one"))
        yield* store.setMany([[new Cached({ id: 2 }), Exit.succeed("two")]])
        assert.strictEqual(PrimaryKey.value(one), "1")
        assert.deepStrictEqual(yield* store.get(one), Exit.succeed("one"))
        assert.deepStrictEqual(
          yield* store.getMany([one, new Cached({ id: 2 }), new Cached({ id: 3 })]),
          [Exit.succeed("one"), Exit.succeed("two"), undefined]
        )
        yield* TestClock.adjust("2 minutes")
        assert.isUndefined(yield* store.get(one))
      }).pipe(Effect.scoped, Effect.provide(layer)))
  }

  both("queues work", () =>
    Effect.gen(function*() {
      const taken: Array<string> = []
      const working = yield* Effect.gen(function*() {
        const queue = yield* PersistedQueue.make({ name: "mail", schema: Schema.String })
        const take = queue.take((item) => Effect.sync(() => taken.push(item)))
        yield* queue.offer("first")
        yield* queue.offer("second")
        // One that fails comes back only by the clock of the database, which no test can set.
        yield* Effect.all([take, take])
      }).pipe(
        Effect.scoped,
        Effect.provide(PersistedQueue.layer.pipe(Layer.provide(PersistedQueue.layerStoreSql()))),
        Effect.forkChild
      )
      // It polls.
      yield* Effect.repeat(TestClock.adjust("1 second"), {
        until: () => working.pollUnsafe() !== undefined,
        times: 1000
      })
      yield* Fiber.join(working)
      assert.deepStrictEqual(taken, ["first", "second"])
    }))

  both("journals events with what they cause, or neither", () =>
    Effect.gen(function*() {
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
      assert.deepStrictEqual(yield* sql`select n from t`.values, [[1]])
    }).pipe(Effect.provide(SqlEventJournal.layer())))
})
