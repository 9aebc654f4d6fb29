/** The statements of pooled clients of `effect/sql`. */
import * as Original from "@effect/sql-sqlite-node/SqliteClient"
import { assert, describe, it } from "@effect/vitest"
import { Effect, Equal, Hash, type Scope, Stream } from "effect"
import { ConnectionPool, type PoolConfig, SqlClientFactory } from "effect-connection-pool"
import { SqliteClient } from "effect-connection-pool/sqlite-node"
import * as Reactivity from "effect/reactivity/Reactivity"
import { SqlClient, Statement } from "effect/sql"
import { existsSync } from "node:fs"
import { file } from "./support/files.ts"
import { onWorkClock, slowOf } from "./support/slowStatements.ts"

const run = <A, E>(effect: Effect.Effect<A, E, Scope.Scope | Reactivity.Reactivity>) =>
  Effect.provide(effect, Reactivity.layer)

const make = Effect.fnUntraced(function*(slowStatement: PoolConfig.PoolConfig["slowStatement"] = 0) {
  const connect = Original.make({ filename: yield* file })
  const pool = yield* ConnectionPool.make({
    factory: SqlClientFactory.make({ connect }),
    max: 1,
    slowStatement,
    drainTimeout: 0
  })
  yield* pool.use((sql) => sql`create table person(id integer primary key, name text)`)
  return pool
})

const textsOf = <C, E>(pool: ConnectionPool.ConnectionPool<C, E>) =>
  Effect.map(pool.slowStatements, (list) => list.map(({ text }) => text).toSorted())

describe("the statements of a pooled client", () => {
  it.effect("are seen, however they are run", () =>
    run(Effect.gen(function*() {
      const pool = yield* make()
      yield* pool.use((sql) =>
        Effect.gen(function*() {
          yield* sql`select ${1}, 1`
          yield* sql`select ${1}, 2`.values
          yield* sql`select ${1}, 3`.raw
          yield* sql`select ${1}, 4`.withoutTransform
          yield* sql`select ${1}, 5`.unprepared
          yield* sql`select ${1}, 6`.valuesUnprepared
          yield* sql.unsafe("select ?, 7", [1])
          yield* sql.safe`select ${1}, 8`
          yield* sql.withoutTransforms()`select ${1}, 9`
          yield* sql.withTransaction(sql`select ${1}, 10`)
          yield* sql`select 11, ${sql`select ${1}`} where ${sql.and([sql`1 = 1`, sql.in("id", [1, 2, 3])])}`.pipe(
            Effect.exit
          )
          yield* Effect.scoped(Effect.gen(function*() {
            const connection = yield* sql.reserve
            yield* connection.execute("select ?, 12", [1], undefined)
            yield* connection.executeValues("select ?, 13", [1])
            yield* connection.executeRaw("select ?, 14", [1])
            yield* connection.executeUnprepared("select ?, 15", [1], undefined)
            yield* connection.executeValuesUnprepared("select ?, 16", [1])
          }))
        })
      )
      const numbered = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 12, 13, 14, 15, 16].map((n) => `select ?, ${n}`)
      const all = yield* textsOf(pool)
      assert.deepStrictEqual(
        all,
        [
          ...numbered,
          "create table person(id integer primary key, name text)",
          "select 11, select ? where (1 = 1 AND \"id\" IN (?, ...))"
        ].toSorted()
      )
    })))

  it.effect("are those of the client itself: results, composition, and its other methods are the same", () =>
    run(Effect.gen(function*() {
      const pool = yield* make()
      yield* pool.use((sql) =>
        Effect.gen(function*() {
          assert.match(sql.config.filename, /test\.db$/)
          const insert = sql`insert into person ${sql.insert([{ name: "Ada" }, { name: "Bob" }])}`
          assert.isTrue(Statement.isFragment(insert))
          assert.isTrue(Equal.equals(insert, insert))
          assert.strictEqual(insert.compile()[0], `insert into person ("name") VALUES (?),(?)`)
          yield* insert
          assert.deepStrictEqual(yield* sql`select name from ${sql("person")} order by id`.values, [["Ada"], ["Bob"]])
          assert.strictEqual(sql.withoutTransforms(), sql)
          yield* Effect.ignore(sql.withTransaction(Effect.andThen(sql`delete from person`, Effect.fail("no"))))
          assert.deepStrictEqual(yield* sql`select count(*) from person`.values, [[2]])
          const failure = yield* Effect.catchTag(sql`select * from nothing`, "SqlError", Effect.succeed)
          assert.isTrue("reason" in failure)
        })
      )
      const provided = SqlClientFactory.use(
        pool,
        Effect.gen(function*() {
          const sql = yield* SqlClient.SqlClient
          return yield* sql`select 'provided'`.values
        })
      )
      assert.deepStrictEqual(yield* provided, [["provided"]])
      assert.include(yield* textsOf(pool), "select 'provided'")
    })))

  it.effect("are equal if those of the client itself are", () =>
    run(Effect.gen(function*() {
      const pool = yield* make()
      const plain = yield* make("Infinity")
      yield* pool.use((sql) =>
        Effect.gen(function*() {
          const [one, other] = [sql.unsafe("select 1"), sql.unsafe("select 1")]
          assert.isTrue(Equal.equals(one, other))
          assert.strictEqual(Hash.hash(one), Hash.hash(other))
          assert.isFalse(Equal.equals(one, sql.unsafe("select 2")))
          const unrecorded = yield* plain.use((sql) => Effect.sync(() => sql.unsafe("select 1")))
          assert.isFalse(Equal.equals(one, unrecorded))
        })
      )
    })))

  it.effect("are seen in the copies of a client that has transforms, or a `safe` of its own", () =>
    run(Effect.gen(function*() {
      const original = Original.make({ filename: yield* file, transformResultNames: (name) => name.toUpperCase() })
      const connect = Effect.map(original, (client) =>
        new Proxy(client, {
          get: (target, key) => Reflect.get(target, key, target) as unknown
        }))
      const pool = yield* ConnectionPool.make({
        factory: SqlClientFactory.make({ connect }),
        max: 1,
        slowStatement: 0,
        drainTimeout: 0
      })
      yield* pool.use((sql) =>
        Effect.gen(function*() {
          assert.deepEqual(yield* sql`select 1 as n`, [{ N: 1 }])
          assert.deepEqual(yield* sql.withoutTransforms()`select 2 as n`, [{ n: 2 }])
          assert.notStrictEqual(sql.safe, sql)
          assert.deepEqual(yield* sql.safe`select 3 as n`, [{ N: 3 }])
        })
      )
      assert.deepStrictEqual(yield* textsOf(pool), ["select 1 as n", "select 2 as n", "select 3 as n"])
    })))

  it.effect("leave a reserved connection what else its driver gives it", () =>
    run(Effect.gen(function*() {
      const pool = yield* make()
      const target = `${yield* file}.copy`
      const backup = (connection: unknown) =>
        (connection as { readonly backup: (file: string) => Effect.Effect<unknown> }).backup(target)
      yield* pool.use((sql) => Effect.scoped(Effect.flatMap(sql.reserve, backup)))
      assert.isTrue(existsSync(target))
    })))

  it.effect("name the holder's statement, and are not seen without slowStatement, where the client is as it was made", () =>
    run(Effect.gen(function*() {
      const measured = yield* make("1 hour")
      const plain = yield* make("Infinity")
      const statement = (pool: Effect.Success<ReturnType<typeof make>>) =>
        pool.use((sql) =>
          Effect.andThen(sql`select ${"secret"}`, Effect.map(pool.holders, ([holder]) => holder?.statement))
        )
      const found = yield* statement(measured)
      assert.deepStrictEqual([found?.text, found?.isRunning], ["select ?", false])
      assert.isUndefined(yield* statement(plain))
      assert.deepStrictEqual(yield* measured.slowStatements, [])
    })))

  it.effect("that are streams are seen, with the time for which their reader waited", () =>
    run(onWorkClock((clock) =>
      Effect.gen(function*() {
        const connect = SqliteClient.make({
          filename: ":memory:",
          functions: { work: (millis) => clock.work(Number(millis)) }
        })
        const pool = yield* ConnectionPool.make({
          factory: SqlClientFactory.make({ connect }),
          max: 1,
          slowStatement: 100
        })
        const slow = yield* slowOf(pool)
        yield* pool.use((sql) =>
          Stream.runForEach(sql`select work(250)`.stream, () => Effect.sync(() => clock.work(1000)))
        )
        assert.deepStrictEqual((yield* slow).map(({ text, tookMillis }) => [text, tookMillis]), [[
          "select work(250)",
          250
        ]])
      })
    )))
})
