/** A closed connection must be garbage: a service opens and closes them for as long as it runs. */
import { assert, describe, it } from "@effect/vitest"
import { Context, Effect, Layer, type Scope, Stream } from "effect"
import { SqliteConnection, SqlitePool } from "effect-connection-pool/sqlite"
import { SqliteClient } from "effect-connection-pool/sqlite-node"
import { DatabaseSync } from "node:sqlite"
import { afterAll, beforeAll } from "vitest"
import { file } from "../support/files.ts"
import { total } from "../support/functions.ts"
import { alive } from "../support/garbage.ts"

const { close } = DatabaseSync.prototype
let closed: Array<{ readonly ref: WeakRef<DatabaseSync> }> = []

beforeAll(() => {
  DatabaseSync.prototype.close = function(this: DatabaseSync) {
    closed.push({ ref: new WeakRef(this) })
    close.call(this)
  }
})

afterAll(() => {
  DatabaseSync.prototype.close = close
})

/** At least so many databases were closed, and none of them is alive. */
const areGarbage = (least: number) =>
  Effect.gen(function*() {
    const all = closed
    closed = []
    assert.isAtLeast(all.length, least)
    assert.strictEqual((yield* alive(all)).length, 0, `of ${all.length} closed databases`)
  })

/** Statements of each kind, which are kept for the next time. */
const use = ({ sql, stream, transaction, write, writeSync }: SqlitePool.SqlitePool) =>
  Effect.gen(function*() {
    yield* sql`create table if not exists t(n integer)`
    for (let n = 0; n < 3; n++) yield* sql`insert into t values (${n})`
    yield* sql`select n from t where n > ${1}`
    yield* transaction(Effect.andThen(sql`insert into t values (3)`, Effect.exit(transaction(Effect.fail("no")))))
    yield* writeSync((connection) => connection.runUnsafe("update t set n = n + 1"))
    yield* write((connection) => connection.run("delete from t where n = ?", [3]))
    yield* Stream.runDrain(stream("select n from t"))
  })

type Used = Effect.Effect<unknown, unknown, Scope.Scope>

const closes: Record<string, { readonly least: number; readonly used: Used }> = {
  "a pool": { least: 2, used: Effect.flatMap(Effect.flatMap(file, (filename) => SqlitePool.make({ filename })), use) },
  "a pool in memory": { least: 1, used: Effect.flatMap(SqlitePool.make({ filename: ":memory:" }), use) },
  "a pool with functions, and with what onOpen has prepared": {
    least: 2,
    used: Effect.gen(function*() {
      const pool = yield* SqlitePool.make({
        filename: yield* file,
        functions: { double: (n) => 2 * Number(n) },
        aggregates: { total },
        onOpen: (connection) => connection.query("select double(1)")
      })
      yield* use(pool)
      yield* pool.sql`select double(n), total(n) from t group by n`
    })
  },
  "a pool that was observed, copied, and read in a snapshot": {
    least: 2,
    used: Effect.gen(function*() {
      const pool = yield* SqlitePool.make({ filename: yield* file })
      yield* use(pool)
      yield* Stream.runDrain(Stream.take(pool.observe("select n from t"), 1))
      yield* Stream.runDrain(pool.batch("insert into t values (?)", [[1], [2]]))
      yield* pool.snapshot(pool.sql`select n from t`)
      yield* Stream.runDrain(pool.backup(`${yield* file}.copy`))
    })
  },
  "a pool whose handle was lent": {
    least: 2,
    used: Effect.gen(function*() {
      const pool = yield* SqlitePool.make({ filename: yield* file })
      yield* use(pool)
      yield* pool.write((connection) =>
        SqliteConnection.withHandle(connection, (database) =>
          Effect.sync(() => {
            const statement = database.prepare("select n from t")
            return [...statement.iterate()]
          }))
      )
      yield* use(pool)
    })
  },
  "a pool with a cursor that was left": {
    least: 2,
    used: Effect.gen(function*() {
      const pool = yield* SqlitePool.make({ filename: yield* file, drainTimeout: 0 })
      yield* use(pool)
      yield* Effect.scoped(Effect.flatMap(Stream.toPull(pool.stream("select n from t")), (pull) => pull))
    })
  },
  "a connection alone": {
    least: 1,
    used: Effect.gen(function*() {
      const connection = yield* SqliteConnection.open({ filename: yield* file })
      yield* connection.exec("create table t(n)")
      yield* connection.run("insert into t values (?)", [1])
    })
  },
  "the client of sqlite-node": {
    least: 2,
    used: Effect.gen(function*() {
      const context = yield* Layer.build(SqliteClient.layer({ filename: yield* file }))
      yield* use(Context.get(context, SqlitePool.SqlitePool))
    })
  }
}

const reopens: Record<string, (pool: SqlitePool.SqlitePool) => Effect.Effect<unknown, unknown>> = {
  "are recycled": (pool) => Effect.all([pool.writer.recycle, pool.readers.recycle]),
  "are reset by opening them again": ({ write }) =>
    write((connection) => connection.exec("create temp table private(n); insert into private values (1)"))
}

describe("a closed database is garbage", () => {
  for (const [which, { least, used }] of Object.entries(closes)) {
    it.live(`of ${which}`, () =>
      Effect.gen(function*() {
        for (let round = 0; round < 3; round++) yield* Effect.scoped(used)
        yield* areGarbage(3 * least)
      }))
  }

  for (const [why, reopen] of Object.entries(reopens)) {
    it.live(`while its pool goes on, where connections ${why}`, () =>
      Effect.gen(function*() {
        const pool = yield* SqlitePool.make({ filename: yield* file })
        for (let round = 0; round < 5; round++) {
          yield* use(pool)
          yield* reopen(pool)
        }
        yield* use(pool)
        yield* areGarbage(5)
      }))
  }
})
