/** The rows of `sql.insert` and `sql.updateValues` on a PostgreSQL pool: all of each is stored, or nothing. */
import { assert } from "@effect/vitest"
import { Effect, Schema, Stream } from "effect"
import { PoolAssert } from "effect-connection-pool/testing"
import type { Statement } from "effect/sql"
import type { SqlError } from "effect/sql/SqlError"
import * as SqlResolver from "effect/sql/SqlResolver"
import { describeServer, make } from "../support/postgres.ts"

const { failsWith } = PoolAssert

const setup = ["create table t (id int, n int default 7)", "insert into t values (1, 1), (2, 2)"]

const refusal = (helper: string) =>
  `${helper} takes its columns from the first row, which has no "n", but row 2 has: give all rows the same columns`

describeServer("rows for a statement on PostgreSQL", (it) => {
  it.effect("are refused if a later row has a column that the first one has not, however the statement runs", () =>
    Effect.gen(function*() {
      const { db, value } = yield* make({ setup })
      const { sql } = db
      const uneven = [{ id: 3 }, { id: 4, n: 4 }] as const
      const insert = sql`insert into t ${sql.insert(uneven).returning("id")}`
      const update = sql`update t set n = d.n from ${
        sql.updateValues([{ id: 1 }, { id: 2, n: 9 }], "d")
      } where t.id = d.id`
      const ways: ReadonlyArray<readonly [string, Effect.Effect<unknown, SqlError>]> = [
        ["execute: ", insert],
        ["executeRaw: ", insert.raw],
        ["executeValues: ", insert.values],
        ["executeWithoutTransform: ", insert.withoutTransform],
        ["stream: ", Stream.runDrain(insert.stream)],
        ["execute: ", sql`with i as (${insert}) select * from i`],
        ["execute: ", sql.withTransaction(insert)],
        ["execute: ", db.replicaSql`insert into t ${db.replicaSql.insert(uneven)}`],
        ["execute: ", sql.withoutTransforms()`insert into t ${sql.insert(uneven)}`]
      ]
      for (const [prefix, way] of ways) {
        const error = yield* failsWith(way, "SqlError")
        assert.strictEqual(error.message, prefix + refusal("sql.insert"))
      }
      assert.strictEqual((yield* failsWith(update, "SqlError")).message, `execute: ${refusal("sql.updateValues")}`)
      assert.deepStrictEqual(yield* value("select array_agg(n order by id) from t"), [1, 2])
    }))

  it.effect("of requests that a resolver gathers are refused too", () =>
    Effect.gen(function*() {
      const { db, value } = yield* make({ setup })
      const insert = SqlResolver.void({
        Request: Schema.Struct({ id: Schema.Int, n: Schema.optionalKey(Schema.Int) }),
        execute: (rows) => db.sql`insert into t ${db.sql.insert(rows)}`
      })
      const both = Effect.forEach([{ id: 3 }, { id: 4, n: 4 }], (row) => SqlResolver.request(row, insert), {
        concurrency: "unbounded"
      })
      assert.include((yield* failsWith(both, "SqlError")).message, refusal("sql.insert"))
      assert.strictEqual(yield* value("select count(*)::int from t"), 2)
    }))

  it.effect("may leave columns out, which are null then, and may come in any order", () =>
    Effect.gen(function*() {
      const { db, value } = yield* make({ setup })
      const { sql } = db
      yield* sql`insert into t ${sql.insert([{ id: 3, n: 3 }, { n: 4, id: 4 }, { id: 5 }, { id: 6, n: undefined }])}`
      yield* sql`insert into t ${sql.insert([{ id: 7 }, { id: 8, n: undefined }])}`
      assert.deepStrictEqual(yield* value("select array_agg(n order by id) from t"), [1, 2, 3, 4, null, null, 7, 7])
    }))

  it.effect("are refused if there are none", () =>
    Effect.gen(function*() {
      const { db } = yield* make({ setup })
      const none = [] as unknown as Parameters<Statement.Constructor["insert"]>[0]
      const error = yield* failsWith(db.sql`insert into t ${db.sql.insert(none)}`, "SqlError")
      assert.strictEqual(error.message, "execute: sql.insert was given no rows: ask before whether there are some")
    }))
})
