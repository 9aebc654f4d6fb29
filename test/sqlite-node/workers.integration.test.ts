import { assert, describe, it } from "@effect/vitest"
import { Context, Effect, Layer } from "effect"
import { SqlitePool } from "effect-connection-pool/sqlite"
import { SqliteClient } from "effect-connection-pool/sqlite-node"
import { PoolAssert } from "effect-connection-pool/testing"
import { DatabaseSync } from "node:sqlite"
import { file } from "../support/files.ts"

const make = Effect.fnUntraced(function*(config?: Partial<SqliteClient.SqliteClientConfig>) {
  const filename = yield* file
  const layer = SqliteClient.layer({ filename, execution: "worker", ...config })
  const context = yield* Layer.build(layer)
  const sql = Context.get(context, SqliteClient.SqliteClient)
  const pool = Context.get(context, SqlitePool.SqlitePool)
  yield* sql`create table t(a)`
  yield* sql`insert into t values ('x')`
  return { filename, pool, sql, reads: Effect.map(pool.stats, ({ workers }) => workers!.checkouts) }
})

describe("the client of sqlite-node with workers", () => {
  it.live("reads in threads, and writes in its own process", () =>
    Effect.gen(function*() {
      const { pool, reads, sql } = yield* make()
      assert.deepStrictEqual(yield* sql`select a from t`, [{ a: "x" }])
      assert.strictEqual(yield* reads, 1)
      assert.strictEqual((yield* pool.stats).readers.checkouts, 0)
    }).pipe(Effect.scoped))

  it.live("keeps there what statements have changed about their connection", () =>
    Effect.gen(function*() {
      const { filename, reads, sql } = yield* make()
      const like = Effect.map(sql<{ n: number }>`select a like 'X' as n from t`, ([row]) => row!.n)
      assert.strictEqual(yield* like, 1)
      yield* sql`pragma case_sensitive_like = on`
      assert.strictEqual(yield* like, 0)
      const other = new DatabaseSync(`${filename}.other`)
      other.exec("create table o(b); insert into o values (7)")
      other.close()
      yield* sql`attach ${`${filename}.other`} as other`
      yield* sql`pragma other.cache_size = 77`
      assert.deepStrictEqual(yield* sql`select b from other.o`, [{ b: 7 }])
      yield* sql`detach other`
      assert.strictEqual(yield* like, 0)
      assert.strictEqual(yield* reads, 4)
    }).pipe(Effect.scoped))

  it.live("reads on the writer what only that has: temporary tables, and a transaction begun with a statement", () =>
    Effect.gen(function*() {
      const { reads, sql } = yield* make()
      yield* sql`begin`
      yield* sql`insert into t values ('y')`
      assert.strictEqual((yield* sql`select * from t`).length, 2)
      yield* sql`rollback`
      assert.strictEqual((yield* sql`select * from t`).length, 1)
      const before = yield* reads
      yield* sql`create temporary table x(c)`
      assert.deepStrictEqual(yield* sql`select * from x`, [])
      assert.strictEqual(yield* reads, before)
    }).pipe(Effect.scoped))

  it.effect("refuses workers where there can be none", () =>
    Effect.gen(function*() {
      for (const [field, value] of [["readonly", true], ["disableWAL", true], ["filename", ":memory:"]] as const) {
        const config = { filename: "app.db", workers: 1, [field]: value }
        const error = yield* PoolAssert.failsWith(SqliteClient.make(config), "PoolConfigError")
        assert.include(error.message, `with ${field}`)
      }
    }).pipe(Effect.scoped))
})
