/** A statement that fails in a group is undone as alone, also where SQLite itself would leave a part of it. */
import { assert, describe, it } from "@effect/vitest"
import { Effect, Exit } from "effect"
import type { SqlitePool } from "effect-connection-pool/sqlite"
import { SqliteClient } from "effect-connection-pool/sqlite-node"
import { SqlError } from "effect/sql/SqlError"
import { refusing } from "../support/database.ts"
import { file } from "../support/files.ts"
import { total } from "../support/functions.ts"
import { areTimed, assertGroups, insert, make, together } from "../support/groups.ts"

const setup = `create table strict_one(n integer) strict;
  create table numbered(n integer primary key);
  create table plain(n);
  create table mixed(v); insert into mixed values (1), ('x'), (2);
  create table grouped(v, g); insert into grouped values (1, 1), (9223372036854775807, 2), (1, 2)`

/** Statements that fail after they have changed rows, and that SQLite undoes only alone. */
const stoppedMidway: Record<string, string> = {
  "a wrong type in a strict table": "insert into strict_one select v from mixed",
  "a wrong type in a strict table, or fail": "insert or fail into strict_one select v from mixed",
  "a rowid that is no number": "insert or replace into numbered select v from mixed",
  "an overflow": "insert into plain select sum(v) from grouped group by g"
}

const partLeft = "a part of a statement that has failed is left"

const tables = ["strict_one", "numbered", "plain"]

describe("a statement that fails after it has changed rows", () => {
  for (const [what, statement] of Object.entries(stoppedMidway)) {
    it.effect(`leaves nothing behind in a group: ${what}`, () =>
      Effect.gen(function*() {
        const db = yield* make()
        const { pool, sql } = db
        yield* pool.write((connection) => connection.exec(setup))
        const left = Effect.forEach(tables, (table) => sql.unsafe(`select * from ${table}`))
        // SQLite leaves a part of it in a transaction: else this would show nothing.
        const inTransaction = yield* pool.transaction(Effect.gen(function*() {
          yield* sql`update grouped set g = g`
          yield* Effect.flip(sql.unsafe(statement))
          const found = (yield* left).flat().length
          yield* sql`delete from strict_one`
          yield* sql`delete from numbered`
          yield* sql`delete from plain`
          return found
        }))
        assert.strictEqual(inTransaction, 1)
        const exits = yield* together<unknown, unknown>(db, [
          insert(db, 1),
          Effect.flip(sql.unsafe(statement)),
          insert(db, 2),
          sql.unsafe(statement).raw.pipe(Effect.flip),
          insert(db, 3)
        ])
        assert.isTrue(exits.every(Exit.isSuccess))
        for (const exit of [exits[1]!, exits[3]!]) assert.instanceOf(Exit.isSuccess(exit) && exit.value, SqlError)
        assert.deepStrictEqual(yield* left, [[], [], []])
        assert.deepStrictEqual(db.rows, [1, 2, 3])
        assertGroups(yield* db.groups, [
          { size: 2, undoneBecause: partLeft },
          { size: 3, undoneBecause: undefined }
        ])
      }))

    it.effect(`undoes no further group: ${what}`, () =>
      Effect.gen(function*() {
        const db = yield* make()
        const { pool, sql } = db
        yield* pool.write((connection) => connection.exec(setup))
        yield* insert(db, 0)
        const company = [
          insert(db, 1),
          Effect.flip(sql.unsafe(statement)),
          Effect.flip(sql`insert or fail into t values (2), (0), (3)`),
          insert(db, 4)
        ]
        yield* together<unknown, unknown>(db, company)
        yield* sql`delete from t where n > 0`
        const exits = yield* together<unknown, unknown>(db, company)
        assert.isTrue(exits.every(Exit.isSuccess))
        if (!areTimed) assert.deepStrictEqual((yield* db.groups).at(-1), { size: 4, undoneBecause: undefined })
        assert.deepStrictEqual(db.rows, [0, 1, 2, 4])
        for (const table of tables) assert.deepStrictEqual(yield* sql.unsafe(`select * from ${table}`), [])
      }))
  }

  const kinds: Record<string, SqlitePool.Options["aggregates"]> = { "a function": {}, "an aggregate": { total } }
  for (const [what, aggregates] of Object.entries(kinds)) {
    it.effect(`leaves nothing behind in a group, if it passes an integer beyond 2^53 to ${what}`, () =>
      Effect.gen(function*() {
        const db = yield* make({ functions: { near: (n) => n! }, aggregates })
        const { pool, sql } = db
        yield* pool.write((connection) => connection.exec(setup))
        const isFunction = what === "a function"
        const statement = `insert into plain select ${isFunction ? "near(v) from" : "total(v) from"} grouped${
          isFunction ? "" : " group by g, v order by v"
        }`
        const exits = yield* together<unknown, unknown>(db, [
          insert(db, 1),
          Effect.flip(sql.unsafe(statement)),
          insert(db, 2)
        ])
        assert.isTrue(exits.every(Exit.isSuccess))
        const error = Exit.isSuccess(exits[1]!) && exits[1].value
        assert.include((error as SqlError).message, "with safeIntegers: true (")
        assert.deepStrictEqual(yield* sql`select * from plain`, [])
        assert.deepStrictEqual(db.rows, [1, 2])
        assert.strictEqual((yield* db.groups)[0]!.undoneBecause, isFunction ? undefined : partLeft)
      }))
  }

  it.effect("leaves to a function that catches it what to do, as alone", () =>
    Effect.gen(function*() {
      const db = yield* make()
      const { pool, sql } = db
      yield* pool.write((connection) => connection.exec(setup))
      const careless = pool.writeSync((connection) => {
        try {
          connection.runUnsafe(stoppedMidway["a wrong type in a strict table"]!)
        } catch {
          return connection.valuesUnsafe("select count(*) from strict_one")[0]![0]
        }
        return undefined
      })
      assert.strictEqual(yield* careless, 1)
      const exits = yield* together<unknown, unknown>(db, [insert(db, 1), careless, insert(db, 2)])
      assert.deepStrictEqual(exits[1], Exit.succeed(2))
      assert.strictEqual((yield* sql`select n from strict_one`).length, 2)
      assert.deepStrictEqual(yield* db.groups, [{ size: 3, undoneBecause: undefined }])
    }))
})

describe("a statement that fails before it runs, for a reason that is not its own", () => {
  it.effect("has the work of all callers run again alone", () =>
    Effect.gen(function*() {
      const db = yield* make()
      const statement = "insert into t values (7)"
      // CORRUPT. SQLite also answers so when it cannot read the schema.
      yield* refusing(statement, Infinity, 11)
      const exits = yield* together<unknown, unknown>(db, [
        insert(db, 1),
        Effect.flip(db.sql.unsafe(statement)),
        insert(db, 2)
      ])
      assert.isTrue(exits.every(Exit.isSuccess))
      assert.instanceOf(Exit.isSuccess(exits[1]!) && exits[1].value, SqlError)
      assert.deepStrictEqual(db.rows, [1, 2])
      assert.deepStrictEqual(yield* db.groups, [{ size: 2, undoneBecause: "SQLite has failed with code 11" }])
    }))
})

describe("a statement that leaves its connection in doubt", () => {
  it.effect("has the work of all callers run again alone, on a connection that can be trusted", () =>
    Effect.gen(function*() {
      const db = yield* make()
      const statement = "insert into t values (7)"
      // IOERR.
      yield* refusing(statement, Infinity, 10)
      // It catches the error, so it succeeds.
      const careless = db.pool.writeSync((connection) => {
        connection.runUnsafe("insert into t values (2)")
        try {
          connection.runUnsafe(statement)
        } catch {
          return "caught"
        }
        return "not caught"
      })
      const before = (yield* db.pool.stats).writer.connects
      const exits = yield* together<unknown, unknown>(db, [insert(db, 1), careless, insert(db, 3)])
      assert.isTrue(Exit.isSuccess(exits[0]!) && Exit.isSuccess(exits[2]!))
      assert.deepStrictEqual(exits[1], Exit.succeed("caught"))
      assert.deepStrictEqual(db.rows, [1, 2, 3])
      assert.deepStrictEqual(yield* db.groups, [{ size: 2, undoneBecause: "the connection is in doubt" }])
      assert.isAbove((yield* db.pool.stats).writer.connects, before)
    }))
})

describe("a pragma that defers foreign keys until the next commit", () => {
  it.effect("keeps callers from sharing a transaction, because one could repair the violation of another", () =>
    Effect.gen(function*() {
      for (const groupCommit of [true, false]) {
        const sql = yield* SqliteClient.make({ filename: yield* file, drainTimeout: 0, groupCommit })
        yield* sql`create table parent(id integer primary key)`
        yield* sql`create table child(p references parent)`
        const warm = Array.from({ length: 3 }, () => sql`insert into parent default values`)
        yield* Effect.all(warm, { concurrency: "unbounded" })
        yield* sql`pragma defer_foreign_keys = on`
        const exits = yield* Effect.all(
          [100, 101, 102].map((id) =>
            Effect.exit(id === 100 ? sql`insert into child values (101)` : sql`insert into parent values (${id})`)
          ),
          { concurrency: "unbounded" }
        )
        assert.deepStrictEqual(exits.map(({ _tag }) => _tag), ["Failure", "Success", "Success"])
        assert.deepStrictEqual(yield* sql`select p from child`, [])
      }
    }))
})
