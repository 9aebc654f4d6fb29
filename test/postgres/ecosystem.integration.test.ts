/** What is written for `SqlClient` elsewhere in Effect, run on the client of a PostgreSQL pool, judged by a second connection. */
import { NodeServices } from "@effect/platform-node"
import * as PgMigrator from "@effect/sql-pg/PgMigrator"
import { assert } from "@effect/vitest"
import { Effect, Layer, Option, Schema } from "effect"
import { PgPool } from "effect-connection-pool/postgres"
import * as Migrator from "effect/sql/Migrator"
import { fromFileSystem } from "effect/sql/MigratorFileSystem"
import { SqlClient } from "effect/sql/SqlClient"
import * as SqlSchema from "effect/sql/SqlSchema"
import { fileURLToPath } from "node:url"
import * as Child from "../support/childProcess.ts"
import { models } from "../support/ecosystem/models.ts"
import { stores } from "../support/ecosystem/stores.ts"
import { describeServer, type Made, make, Server, until } from "../support/postgres.ts"

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
  for (const { name, run } of [...models, ...stores]) {
    it.effect(
      name,
      () => withServices(({ db: { transaction }, value }) => run({ transaction, value, until, isRealTime: true }))
    )
  }

  it.effect("migrates a database from a folder as its layer is built, with the migrator of sql-pg too", () =>
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

  it.effect("migrates a database once if two processes begin at the same time", () =>
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

  it.effect("decodes rows of many types", () =>
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
})
