/** What is written against `SqlClient` elsewhere in Effect, run on the client over the two pools. */
import { NodeServices } from "@effect/platform-node"
import { assert, describe, it } from "@effect/vitest"
import { Effect, Layer } from "effect"
import { SqlitePool } from "effect-connection-pool/sqlite"
import * as Migrator from "effect/sql/Migrator"
import { fromFileSystem } from "effect/sql/MigratorFileSystem"
import { SqlClient } from "effect/sql/SqlClient"
import { TestClock } from "effect/testing"
import { fileURLToPath } from "node:url"
import * as Database from "../support/database.ts"
import { models } from "../support/ecosystem/models.ts"
import type { Host } from "../support/ecosystem/program.ts"
import { stores } from "../support/ecosystem/stores.ts"

const hostOf = ({ sql, transaction }: Pick<Database.Database, "sql" | "transaction">): Host => ({
  transaction,
  value: (text) => Effect.map(sql.unsafe(text).values, ([row]) => row?.[0]),
  // What polls needs the clock to go on, and SQLite to answer in between.
  until: (_, holds) => Effect.repeat(Effect.andThen(TestClock.adjust("100 millis"), holds), { until: (isSo) => isSo }),
  isRealTime: false
})

describe("Effect on the client", () => {
  for (const { name, run } of [...models, ...stores]) {
    it.effect(name, () =>
      Effect.gen(function*() {
        const db = yield* Database.make()
        yield* Effect.provideService(run(hostOf(db)), SqlClient, db.sql)
        for (const { connects, inUse } of [yield* db.reader.stats, yield* db.writer.stats]) {
          assert.isAtMost(connects, 1)
          assert.strictEqual(inUse, 0)
        }
      }))
    it.effect(`${name}, in memory`, () =>
      Effect.gen(function*() {
        const db = yield* Database.makeInMemory()
        yield* Effect.provideService(run(hostOf(db)), SqlClient, db.sql)
        assert.strictEqual((yield* db.pool.stats).connects, 1)
      }))
  }

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
})
