/** What has ended must be garbage while its connection lives: a service keeps its writer for as long as it runs. */
import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import { SqliteConnection, SqlitePool } from "effect-connection-pool/sqlite"
import { SqliteClient } from "effect-connection-pool/sqlite-node"
import { DatabaseSync, type StatementSync } from "node:sqlite"
import { afterAll, afterEach, beforeAll } from "vitest"
import { file } from "../support/files.ts"
import { alive } from "../support/garbage.ts"

const { prepare } = DatabaseSync.prototype
let prepared: Array<{ readonly sql: string; readonly ref: WeakRef<StatementSync> }> = []

beforeAll(() => {
  DatabaseSync.prototype.prepare = function(this: DatabaseSync, ...args) {
    const statement = prepare.apply(this, args)
    prepared.push({ sql: args[0], ref: new WeakRef(statement) })
    return statement
  }
})

afterEach(() => {
  prepared = []
})

afterAll(() => {
  DatabaseSync.prototype.prepare = prepare
})

const times = 50

describe("while a handle is lent", () => {
  const ends: Record<string, (rows: Iterable<unknown> & { return?: () => unknown }) => void> = {
    "were read to their end": (rows) => void [...rows],
    "were left": (rows) => {
      for (const _ of rows) break
    },
    "were ended before the first row": (rows) => void rows.return?.(),
    "were read by a method of iterators": (rows) => void (rows as unknown as { toArray: () => unknown }).toArray()
  }
  for (const [how, end] of Object.entries(ends)) {
    it.live(`rows of a statement that ${how} are garbage, and so is the statement`, () =>
      Effect.gen(function*() {
        const pool = yield* SqlitePool.make({ filename: yield* file })
        yield* pool.sql`create table t(n)`
        yield* pool.sql`insert into t values (1), (2)`
        yield* pool.write((connection) =>
          SqliteConnection.withHandle(connection, (database) =>
            Effect.gen(function*() {
              yield* Effect.sync(() => {
                for (let n = 0; n < times; n++) end(database.prepare(`select n, ${n} as lent from t`).iterate())
              })
              const lent = prepared.filter(({ sql }) => sql.includes("as lent"))
              assert.strictEqual(lent.length, times)
              assert.isAtMost((yield* alive(lent, 1)).length, 1)
            }))
        )
      }))
  }

  it.live("rows that are still read are ended with the loan", () =>
    Effect.gen(function*() {
      // In memory, the database is not opened again afterwards.
      const pool = yield* SqlitePool.make({ filename: ":memory:" })
      yield* pool.sql`create table t(n)`
      yield* pool.sql`insert into t values (1), (2)`
      const real = yield* pool.write((connection) =>
        SqliteConnection.withHandle(connection, (database) =>
          Effect.sync(() => {
            const read = database.prepare("select n from t").iterate()
            read.next()
            const left = database.prepare("select n from t").iterate()
            left.next()
            left.return?.()
            return read
          }))
      )
      assert.throws(() => real.next(), "has ended")
      // No statement is left that would keep the table locked.
      yield* pool.sql`drop table t`
    }))
})

describe("while a client lives", () => {
  it.live("what asked about a database is garbage once that is detached", () =>
    Effect.gen(function*() {
      const sql = yield* SqliteClient.make({ filename: yield* file, groupCommit: true })
      yield* sql`create table t(n)`
      const insert = sql`insert into t values (1)`
      for (let n = 0; n < times; n++) {
        yield* sql.unsafe(`attach ':memory:' as attached${n}`)
        yield* Effect.all([insert, insert, insert], { concurrency: "unbounded" })
        yield* sql.unsafe(`detach attached${n}`)
      }
      const asked = prepared.filter(({ sql: text }) => /attached\d+".schema_version/.test(text))
      assert.strictEqual(asked.length, times)
      assert.isAtMost((yield* alive(asked, 2)).length, 2)
    }))
})
