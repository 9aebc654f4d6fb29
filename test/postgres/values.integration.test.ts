/** What docs/postgres.md says of values: what to give for each type, and what comes back. */
import { PgTypes } from "@effect/sql-pg"
import { assert } from "@effect/vitest"
import { Effect, Schema } from "effect"
import { PgPool } from "effect-connection-pool/postgres"
import { PoolAssert } from "effect-connection-pool/testing"
import * as Model from "effect/schema/Model"
import * as SqlModel from "effect/sql/SqlModel"
import { describeServer, make } from "../support/postgres.ts"

const { failsWith } = PoolAssert

const moment = new Date("2024-02-29T23:30:00.789Z")

describeServer("a value in PostgreSQL", (it) => {
  it.effect("comes back as the documentation says, for each type of a column", () =>
    Effect.gen(function*() {
      const { db: { sql } } = yield* make({ startupParameters: { TimeZone: "Europe/Berlin" } })
      const cases: ReadonlyArray<readonly [type: string, given: unknown, read: unknown]> = [
        ["smallint", 5, 5],
        ["int", -5, -5],
        ["real", 1.5, 1.5],
        ["double precision", 0.1, 0.1],
        ["bigint", 9007199254740993n, 9007199254740993n],
        ["bigint", 2 ** 53 - 1, 9007199254740991n],
        ["numeric", "12345678901234567890.123456789", "12345678901234567890.123456789"],
        ["numeric", PgTypes.numeric("10.50"), "10.50"],
        ["numeric", 9007199254740991, "9007199254740991"],
        ["boolean", true, true],
        ["text", "é", "é"],
        ["uuid", "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11", "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11"],
        ["inet", "10.0.0.1", "10.0.0.1"],
        ["timestamptz", moment, moment],
        ["timestamp", PgTypes.timestamp(moment), moment],
        ["date", "2024-02-29", "2024-02-29"],
        ["time", "10:00", 36_000_000_000n],
        ["interval", "1 month 2 days 3 seconds", { months: 1, days: 2, microseconds: 3_000_000n }],
        ["jsonb", sql.json({ a: [1, null] }), { a: [1, null] }],
        ["json", `{"a":1}`, { a: 1 }],
        ["bytea", Uint8Array.of(0, 255), Uint8Array.of(0, 255)],
        ["int[]", [1, 2], [1, 2]],
        ["text[]", ["a,b", null], ["a,b", null]],
        ["bigint[]", [], []],
        ["jsonb", null, null]
      ]
      for (const [index, [type, given, read]] of cases.entries()) {
        // A prepared statement keeps the types of its parameters, so each has a table of its own.
        const table = sql(`v_${index}`)
        yield* sql.unsafe(`create table v_${index} (v ${type})`)
        const [row] = yield* sql<{ readonly v: unknown }>`insert into ${table} ${
          sql.insert({ v: given }).returning("v")
        }`
        assert.deepStrictEqual(row!.v, read, type)
      }
      assert.deepStrictEqual(yield* sql`select count(*), sum(n::bigint) from generate_series(1, 2) n`, [
        { count: 2n, sum: "3" }
      ])
    }))

  it.effect("is changed by PostgreSQL without an error in the cases that the documentation names", () =>
    Effect.gen(function*() {
      const { db: { sql } } = yield* make({ startupParameters: { TimeZone: "Europe/Berlin" } })
      yield* sql`create table v (i int, n numeric, d date, t timestamp, x timestamptz)`
      const wrong = sql.insert({ i: 10.5, n: 12345678.123456789, d: moment, t: moment, x: undefined })
      assert.deepStrictEqual(yield* sql`insert into v ${wrong.returning("*")}`, [
        { i: 10, n: "12345678.1234568", d: "2024-03-01", t: new Date("2024-03-01T00:30:00.789Z"), x: null }
      ])
      const [endless] = yield* sql<{ readonly t: Date }>`select 'infinity'::timestamptz as t`
      assert.isNaN(endless!.t.getTime())
    }))

  it.effect("is not changed by the time zone of the server if the sessions have UTC", () =>
    Effect.gen(function*() {
      const { db: { sql } } = yield* make({ startupParameters: { TimeZone: "UTC" } })
      const [row] = yield* sql`select ${moment}::timestamp as t, (${moment}::timestamptz)::date as d`
      assert.deepStrictEqual(row, { t: moment, d: "2024-02-29" })
    }))

  it.effect("is read with the old type of its column by a statement that was prepared before, until connections are recycled", () =>
    Effect.gen(function*() {
      const { db } = yield* make({ max: 1, setup: ["create table address (zip int)"] })
      const insert = db.sql`insert into address ${db.sql.insert({ zip: "01234" })}`
      yield* insert
      yield* db.sql`truncate address`
      yield* db.sql`alter table address alter zip type text`
      yield* insert
      yield* db.primary.recycle
      yield* insert
      assert.deepStrictEqual(yield* db.sql`select zip from address`, [{ zip: "1234" }, { zip: "01234" }])
    }))

  it.effect("is refused if it is an object or a bigint that does not fit, and the message names the way", () =>
    Effect.gen(function*() {
      const { db: { sql } } = yield* make()
      for (const value of [{ a: 1 }, 2n ** 64n]) {
        const { message } = yield* failsWith(sql`select ${value}`, "SqlError")
        assert.include(message, "give another value, or name its type with PgTypes")
      }
    }))

  it.effect("is written by a model whose JSON, dates and flags are those of PostgreSQL", () =>
    Effect.gen(function*() {
      const { db } = yield* make({
        setup: [`create table person (
          id bigint generated always as identity primary key, name text, tags jsonb, active boolean, "createdAt" timestamptz
        )`]
      })
      const Tags = Schema.Array(Schema.String)
      const text = Schema.fromJsonString(Tags)
      class Person extends Model.Class<Person>("Person")({
        id: Model.Field({ select: Schema.BigInt, update: Schema.BigInt, json: Schema.BigInt }),
        name: Schema.String,
        tags: Model.Field({ select: Tags, insert: text, update: text, json: Tags }),
        active: Schema.Boolean,
        createdAt: Model.DateTimeInsertFromDate
      }) {}
      yield* Effect.gen(function*() {
        const people = yield* SqlModel.makeRepository(Person, {
          tableName: "person",
          spanPrefix: "people",
          idColumn: "id"
        })
        const ada = yield* people.insert(
          Person.insert.make({ name: "Ada", tags: ["x"], active: true, createdAt: undefined })
        )
        assert.deepStrictEqual([ada.id, ada.tags, ada.active], [1n, ["x"], true])
        yield* people.update(Person.update.make({ id: 1n, name: "Ada", tags: [], active: false }))
        assert.deepStrictEqual((yield* people.findById(1n)).tags, [])
      }).pipe(Effect.provideContext(PgPool.services(db)))
    }))

  it.effect("is one of many in an array, where a statement has more rows than parameters allow", () =>
    Effect.gen(function*() {
      const { db: { sql } } = yield* make()
      yield* sql`create table person (id int, name text)`
      const ids = Array.from({ length: 100_000 }, (_, id) => id)
      const names = ids.map((id) => `person ${id}`)
      yield* sql`insert into person (id, name) select * from unnest(${ids}::int[], ${names}::text[])`
      assert.deepStrictEqual(yield* sql`select count(*)::int, max(name) from person`, [{
        count: 100_000,
        max: "person 99999"
      }])
    }))
})
