/** Models, their repositories and resolvers, on the client of a PostgreSQL pool. */
import { PgClient } from "@effect/sql-pg"
import { assert } from "@effect/vitest"
import { Context, Effect, Exit, Layer, Option, Schema, type Tracer } from "effect"
import { PgPool } from "effect-connection-pool/postgres"
import { PoolAssert } from "effect-connection-pool/testing"
import * as Reactivity from "effect/reactivity/Reactivity"
import * as Model from "effect/schema/Model"
import { SqlClient } from "effect/sql/SqlClient"
import * as SqlModel from "effect/sql/SqlModel"
import * as SqlResolver from "effect/sql/SqlResolver"
import { describeServer, make, until } from "../support/postgres.ts"
import { tracing } from "../support/tracing.ts"

const { failsWith } = PoolAssert

class Person extends Model.Class<Person>("Person")({
  id: Model.Field({ select: Schema.Int, update: Schema.Int, json: Schema.Int }),
  name: Schema.String,
  born: Model.FieldOption(Schema.Date),
  deletedAt: Model.GeneratedByDb(Schema.NullOr(Schema.Date))
}) {}

const person = `create table person (
  id int generated always as identity primary key, name text not null unique, born timestamptz, "deletedAt" timestamptz
)`

const options = { tableName: "person", spanPrefix: "people", idColumn: "id", softDeleteColumn: "deletedAt" } as const

const row = Schema.Struct({ id: Schema.Int, name: Schema.String })

/** A service that has the client for itself, as services have it: its callers have no `SqlClient`. */
class People extends Context.Service<People, {
  readonly add: (name: string) => Effect.Effect<typeof row.Type, unknown>
  readonly batches: Array<number>
}>()("test/People") {
  static readonly layer = Layer.effect(
    People,
    Effect.gen(function*() {
      const sql = yield* SqlClient
      const batches: Array<number> = []
      const insert = SqlResolver.ordered({
        Request: Schema.Struct({ name: Schema.String }),
        Result: row,
        execute: (people) => {
          batches.push(people.length)
          return sql`insert into person ${sql.insert(people).returning("id, name")}`
        }
      })
      return People.of({ add: (name) => SqlResolver.request({ name }, insert), batches })
    })
  )
}

/** The statements among the spans, with the names of the spans around each, from the inside out. */
const statementsOf = (spans: ReadonlyArray<Tracer.Span>) =>
  spans.filter(({ attributes }) => attributes.has("db.query.text")).map(({ attributes, parent }) => {
    const around: Array<string> = []
    let outer = Option.getOrUndefined(parent)
    while (outer?._tag === "Span") {
      around.push(outer.name)
      outer = Option.getOrUndefined(outer.parent)
    }
    return [attributes.get("db.system.name"), String(attributes.get("db.query.text")).split(" ")[0], around]
  })

describeServer("models on a PostgreSQL pool", (it) => {
  it.effect("are kept in a repository, and deleted softly", () =>
    Effect.gen(function*() {
      const { db, value } = yield* make({ max: 4, setup: [person] })
      yield* Effect.gen(function*() {
        const people = yield* SqlModel.makeRepository(Person, options)
        const born = new Date("1815-12-10")
        const ada = yield* people.insert(Person.insert.make({ name: "Ada", born: Option.some(born) }))
        assert.deepStrictEqual([ada.id, ada.name, ada.born, ada.deletedAt], [1, "Ada", Option.some(born), null])
        const update = Person.update.make({ id: 1, name: "Ada Lovelace", born: Option.none() })
        assert.strictEqual((yield* people.update(update)).name, "Ada Lovelace")
        const { born: unborn } = yield* people.findById(1)
        assert.deepStrictEqual(unborn, Option.none())
        const again = yield* failsWith(
          people.insert(Person.insert.make({ name: "Ada Lovelace", born: Option.none() })),
          "SqlError"
        )
        assert.strictEqual(again.reason._tag, "UniqueViolation")
        yield* people.delete(1)
        yield* failsWith(people.findById(1), "NoSuchElementError")
        assert.isTrue(yield* value("select \"deletedAt\" is not null from person"))
      }).pipe(Effect.provideContext(PgPool.services(db)))
    }))

  it.effect("are inserted and found in batches, with the spans that they have on the client of sql-pg", () =>
    Effect.gen(function*() {
      const { database, db, judge } = yield* make({ max: 4, setup: [person] })
      const names = ["Ada", "Grace", "Linus"]
      const spansOn = Effect.fnUntraced(function*(services: Context.Context<SqlClient>) {
        const { spans, tracer } = tracing()
        yield* judge("truncate person")
        yield* Effect.gen(function*() {
          const people = yield* SqlModel.makeResolvers(Person, options)
          const add = (name: string) =>
            SqlResolver.request(Person.insert.make({ name, born: Option.none() }), people.insert)
          const added = yield* Effect.withSpan(Effect.forEach(names, add, { concurrency: "unbounded" }), "adding")
          assert.deepStrictEqual(added.map(({ name }) => name), names)
          const get = (id: number) => SqlResolver.request(id, people.findById)
          const ids = added.map(({ id }) => id).toReversed()
          const found = yield* Effect.withSpan(Effect.forEach(ids, get, { concurrency: "unbounded" }), "finding")
          assert.deepStrictEqual(found.map(({ name }) => name), names.toReversed())
          yield* failsWith(get(10_000), "NoSuchElementError")
        }).pipe(Effect.withTracer(tracer), Effect.provideContext(services))
        // That of a batch ends after its callers have their answers.
        yield* until("all spans have ended", Effect.sync(() => spans.every(({ status }) => status._tag === "Ended")))
        const resolvers = spans.filter(({ name }) => name.endsWith("Resolver"))
        return [statementsOf(spans), resolvers.map(({ links, name }) => [name, links.length])]
      })
      const original = Effect.provide(PgClient.make(database), Reactivity.layer)
      const [theirs] = yield* Effect.scoped(
        Effect.flatMap(original, (sql) => Effect.all([spansOn(Context.make(SqlClient, sql))]))
      )
      const ours = yield* spansOn(PgPool.services(db))
      assert.deepStrictEqual(ours, theirs)
      const [statements, resolvers] = ours
      assert.deepStrictEqual(statements!.map(([system, verb]) => [system, verb]), [
        ["postgresql", "insert"],
        ["postgresql", "select"],
        ["postgresql", "select"]
      ])
      assert.deepStrictEqual(resolvers, [
        ["people.insertResolver", 1],
        ["people.findByIdResolver", 1],
        ["people.findByIdResolver", 0]
      ])
    }))

  it.effect("are batched with requests of the same transaction only, also behind a service", () =>
    Effect.gen(function*() {
      const { db, value } = yield* make({ max: 4, setup: [person] })
      yield* Effect.gen(function*() {
        const { add, batches } = yield* People
        yield* Effect.all([add("Ada"), add("Grace")], { concurrency: "unbounded" })
        assert.deepStrictEqual(batches.splice(0), [2])
        const exit = yield* Effect.exit(db.transaction(Effect.gen(function*() {
          yield* Effect.all([add("Linus"), add("Ken"), db.transaction(add("Dennis"))], { concurrency: "unbounded" })
          return yield* Effect.fail("no")
        })))
        assert.deepStrictEqual(exit, Exit.fail("no"))
        assert.deepStrictEqual(batches.splice(0), [2, 1])
        yield* Effect.all(
          [add("Alan"), Effect.exit(db.transaction(Effect.andThen(add("Edsger"), Effect.fail("no"))))],
          {
            concurrency: "unbounded"
          }
        )
        assert.deepStrictEqual(batches.splice(0), [1, 1])
      }).pipe(Effect.provide(People.layer.pipe(Layer.provide(Layer.succeedContext(PgPool.services(db))))))
      assert.strictEqual(yield* value("select string_agg(name, ',' order by name) from person"), "Ada,Alan,Grace")
    }))
})
