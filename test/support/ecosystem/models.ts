/** Migrations, schemas, models, resolvers and reactive queries. */
import { assert } from "@effect/vitest"
import { Effect, Exit, Option, Queue, Schema } from "effect"
import { PoolAssert } from "effect-connection-pool/testing"
import * as Reactivity from "effect/reactivity/Reactivity"
import * as Model from "effect/schema/Model"
import * as Migrator from "effect/sql/Migrator"
import { SqlClient } from "effect/sql/SqlClient"
import * as SqlModel from "effect/sql/SqlModel"
import * as SqlResolver from "effect/sql/SqlResolver"
import * as SqlSchema from "effect/sql/SqlSchema"
import type { Program } from "./program.ts"

const { failsWith } = PoolAssert

/** Two migrations, and what the second does last. */
export const migrate = (last: Effect.Effect<unknown, unknown, SqlClient>) =>
  Migrator.make({})({
    loader: Migrator.fromRecord({
      "1_person": Effect.flatMap(SqlClient, (sql) => sql`create table person (id integer primary key, name text)`),
      "2_data": Effect.andThen(
        Effect.flatMap(SqlClient, (sql) => sql`insert into person values (1, 'Ada')`),
        last
      )
    })
  })

const ranAll = [[1, "person"], [2, "data"]] as const

const createPerson = Effect.flatMap(SqlClient, (sql) =>
  sql.onDialectOrElse({
    pg: () => sql`create table person (id int generated always as identity primary key, name text not null unique)`,
    orElse: () => sql`create table person (id integer primary key, name text not null unique)`
  }))

class Person extends Model.Class<Person>("Person")({
  id: Model.Field({ select: Schema.Int, update: Schema.Int, json: Schema.Int }),
  name: Schema.String
}) {}

const row = Schema.Struct({ id: Schema.Int, name: Schema.String })

export const models: ReadonlyArray<Program> = [
  {
    name: "migrates a database once, and all or nothing",
    run: ({ value }) =>
      Effect.gen(function*() {
        const sql = yield* SqlClient
        // A migration that fails leaves nothing of those before it in the same run.
        yield* failsWith(migrate(Effect.fail("no")), "MigrationError")
        yield* failsWith(sql`select name from person`, "SqlError")
        assert.deepStrictEqual(yield* migrate(Effect.void), ranAll)
        assert.deepStrictEqual(yield* migrate(Effect.void), [])
        assert.deepStrictEqual(yield* sql`select name from person`.values, [["Ada"]])
        assert.strictEqual(yield* value("select string_agg(name, ',') from person"), "Ada")
      })
  },
  {
    name: "migrates a database once if many fibers begin at the same time",
    run: ({ value }) =>
      Effect.gen(function*() {
        const run = migrate(Effect.yieldNow)
        const ran = yield* Effect.all(Array.from({ length: 8 }, () => run), { concurrency: "unbounded" })
        assert.deepStrictEqual(ran.filter(({ length }) => length > 0), [ranAll])
        assert.strictEqual(yield* value("select string_agg(name, ',') from person"), "Ada")
      })
  },
  {
    name: "decodes rows",
    run: () =>
      Effect.gen(function*() {
        const sql = yield* SqlClient
        yield* createPerson
        const find = SqlSchema.findOneOption({
          Request: Schema.String,
          Result: row,
          execute: (name) => sql`select id, name from person where name = ${name}`
        })
        yield* sql`insert into person (name) values ('Ada')`
        assert.deepStrictEqual(yield* find("Ada"), Option.some({ id: 1, name: "Ada" }))
        assert.deepStrictEqual(yield* find("Grace"), Option.none())
      })
  },
  {
    name: "keeps models in a repository",
    run: () =>
      Effect.gen(function*() {
        yield* createPerson
        const people = yield* SqlModel.makeRepository(Person, {
          tableName: "person",
          spanPrefix: "people",
          idColumn: "id"
        })
        const ada = yield* people.insert(Person.insert.make({ name: "Ada" }))
        assert.deepStrictEqual([ada.id, ada.name], [1, "Ada"])
        assert.strictEqual((yield* people.findById(1)).name, "Ada")
        yield* people.update(Person.update.make({ id: 1, name: "Ada Lovelace" }))
        assert.strictEqual((yield* people.findById(1)).name, "Ada Lovelace")
        const again = yield* failsWith(people.insert(Person.insert.make({ name: "Ada Lovelace" })), "SqlError")
        assert.strictEqual(again.reason._tag, "UniqueViolation")
        yield* people.delete(1)
        yield* failsWith(people.findById(1), "NoSuchElementError")
      })
  },
  {
    name: "batches requests, but none of a transaction with others",
    run: ({ transaction, value }) =>
      Effect.gen(function*() {
        const sql = yield* SqlClient
        yield* createPerson
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
          Id: Schema.Int,
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
        assert.strictEqual(yield* value("select string_agg(name, ',' order by name) from person"), "Ada,Grace")
      })
  },
  {
    name: "runs a reactive query again after a commit, which it sees, and not after a rollback",
    run: ({ transaction }) =>
      Effect.gen(function*() {
        const sql = yield* SqlClient
        yield* createPerson
        const reactivity = yield* Reactivity.Reactivity
        const add = (name: string) => reactivity.mutation(["person"], sql`insert into person (name) values (${name})`)
        const names = Effect.map(sql`select name from person order by name`.values, (rows) => rows.flat())
        const answers = yield* sql.reactiveMailbox(["person"], names)
        assert.deepStrictEqual(yield* Queue.take(answers), [])
        yield* add("Ada")
        assert.deepStrictEqual(yield* Queue.take(answers), ["Ada"])
        yield* Effect.exit(transaction(Effect.andThen(add("Nobody"), Effect.fail("no"))))
        yield* transaction(add("Grace"))
        assert.deepStrictEqual(yield* Queue.take(answers), ["Ada", "Grace"])
      }).pipe(Effect.scoped, Effect.provide(Reactivity.layer))
  }
]
