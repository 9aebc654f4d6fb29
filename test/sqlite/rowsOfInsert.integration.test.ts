/** The rows of `sql.insert` on a SQLite pool and on the client of sqlite-node: all of each is stored, or nothing. */
import { assert, describe, it } from "@effect/vitest"
import { Effect, Stream } from "effect"
import { SqlitePool } from "effect-connection-pool/sqlite"
import { SqliteClient } from "effect-connection-pool/sqlite-node"
import { PoolAssert } from "effect-connection-pool/testing"
import { SqlClient } from "effect/sql"

const { failsWith } = PoolAssert

const refusal =
  "sql.insert takes its columns from the first row, which has no \"n\", but row 2 has: give all rows the same columns"

const layers = { SqlitePool: SqlitePool.layerTemporary(), SqliteClient: SqliteClient.layer({ filename: ":memory:" }) }

describe("rows for a statement on SQLite", () => {
  for (const [name, layer] of Object.entries(layers)) {
    it.effect(`are refused if a later row has a column that the first one has not (${name})`, () =>
      Effect.gen(function*() {
        const sql = yield* SqlClient.SqlClient
        yield* sql`create table t (id integer, n integer default 7)`
        const insert = sql`insert into t ${sql.insert([{ id: 3 }, { id: 4, n: 4 }])} returning id`
        assert.strictEqual((yield* failsWith(insert, "SqlError")).message, `execute: ${refusal}`)
        assert.strictEqual((yield* failsWith(insert.values, "SqlError")).message, `executeValues: ${refusal}`)
        assert.strictEqual((yield* failsWith(Stream.runDrain(insert.stream), "SqlError")).message, `stream: ${refusal}`)
        assert.strictEqual((yield* failsWith(sql.withTransaction(insert), "SqlError")).message, `execute: ${refusal}`)
        assert.deepStrictEqual(yield* sql`select * from t`, [])
        yield* sql`insert into t ${sql.insert([{ id: 3, n: 3 }, { n: 4, id: 4 }, { id: 5 }])}`
        assert.deepStrictEqual(yield* sql`select n from t order by id`.values, [[3], [4], [null]])
      }).pipe(Effect.provide(layer)))
  }
})
