/** What never shares a commit with others, because it could not or because the others would notice. */
import { assert, describe, it } from "@effect/vitest"
import { Effect, Exit } from "effect"
import type { SqlError } from "effect/sql/SqlError"
import { areTimed, assertGroups, failing, insert, make, together } from "../support/groups.ts"

const numbers = (count: number): Array<number> => Array.from({ length: count }, (_, n) => n)

const atOnce = <A, E>(effects: ReadonlyArray<Effect.Effect<A, E>>) => Effect.all(effects, { concurrency: "unbounded" })

describe("a statement is never grouped", () => {
  it.effect("if foreign keys are deferred: another could repair the violation for which it has to fail", () =>
    Effect.gen(function*() {
      const orphan = "insert into child values (1)"
      const parent = "insert into parent values (1)"
      const schemas = [
        "create table child(p references parent deferrable initially deferred)",
        "create table child(p references parent deferrable /* x */ INITIALLY -- y\n deferred)"
      ]
      for (const schema of schemas) {
        const db = yield* make()
        const { pool, sql } = db
        yield* pool.write((connection) => connection.exec("create table parent(id integer primary key)"))
        // Seen once without them: the change of the schema is noticed, though another connection has made it.
        yield* together(db, [insert(db, 1), insert(db, 2)])
        db.other.exec(schema)
        const exits = yield* together<unknown, SqlError>(db, [sql.unsafe(orphan), sql.unsafe(parent), insert(db, 3)])
        assert.deepStrictEqual(exits.map((exit) => exit._tag), ["Failure", "Success", "Success"])
        assertGroups(yield* db.groups, [{ size: 2, undoneBecause: undefined }])
        if (areTimed) continue
        db.other.exec("drop table child")
        yield* together(db, [insert(db, 4), insert(db, 5)])
        assert.strictEqual((yield* db.groups).length, 2)
      }
    }))

  it.effect("if they are deferred, although a schema of the same version was undone in which none were", () =>
    Effect.gen(function*() {
      const db = yield* make()
      const { pool, sql } = db
      yield* pool.write((connection) => connection.exec("create table parent(id integer primary key)"))
      let runs = 0
      const makesTable = pool.writeSync((connection) => {
        if (runs++ === 0) connection.execUnsafe("create table plain(a)")
      })
      yield* failing("commit", 13)
      yield* together<unknown, unknown>(db, [makesTable, insert(db, 1)])
      assert.strictEqual(runs, 2)
      db.other.exec("create table child(p references parent deferrable initially deferred)")
      const exits = yield* together(db, [sql`insert into child values (1)`, sql`insert into parent values (1)`])
      assert.deepStrictEqual(exits.map((exit) => exit._tag), ["Failure", "Success"])
    }))

  it.effect("if foreign keys are deferred in an attached file, or in the temporary schema", () =>
    Effect.gen(function*() {
      for (const where of ["temp", "beside"]) {
        const db = yield* make({
          onOpen: (connection, { isReader }) =>
            isReader ? Effect.void : Effect.gen(function*() {
              yield* connection.run("attach ? as beside", [`${connection === undefined ? "" : ":memory:"}`])
              yield* connection.exec(`create table ${where}.parent(id integer primary key)`)
              yield* connection.exec(
                `create table ${where}.child(p references parent deferrable initially deferred)`
              )
            })
        })
        const { sql } = db
        const exits = yield* together<unknown, SqlError>(db, [
          sql.unsafe(`insert into ${where}.child values (1)`),
          sql.unsafe(`insert into ${where}.parent values (1)`)
        ])
        assert.deepStrictEqual(exits.map((exit) => exit._tag), ["Failure", "Success"], where)
        assert.deepStrictEqual(yield* db.groups, [])
      }
    }))

  it.effect("with a function that defers foreign keys, or makes a table with deferred ones: all run alone", () =>
    Effect.gen(function*() {
      const db = yield* make()
      const { pool, sql } = db
      yield* pool.write((connection) =>
        connection.exec("create table parent(id integer primary key); create table child(p references parent)")
      )
      const inFunction = (...scripts: ReadonlyArray<string>) =>
        pool.writeSync((connection) => scripts.forEach((script) => connection.execUnsafe(script)))
      const deferred = yield* together<unknown, unknown>(db, [
        insert(db, 1),
        inFunction("pragma defer_foreign_keys = on", "insert into child values (1)"),
        sql`insert into parent values (1)`
      ])
      assert.deepStrictEqual(deferred.map((exit) => exit._tag), ["Success", "Failure", "Success"])
      assert.include((yield* db.groups)[0]!.undoneBecause, "defer_foreign_keys")
      const made = yield* together<unknown, unknown>(db, [
        inFunction("create table late(p references parent deferrable initially deferred)"),
        sql`insert into late values (2)`,
        sql`insert into parent values (2)`
      ])
      assert.deepStrictEqual(made.map((exit) => exit._tag), ["Success", "Failure", "Success"])
      assert.deepStrictEqual((yield* db.groups).at(-1), { size: 3, undoneBecause: "foreign keys were deferred" })
    }))

  it.effect("if it cannot run in a transaction, or is not a single change of rows", () =>
    Effect.gen(function*() {
      const db = yield* make()
      const { sql } = db
      const exits = yield* together<unknown, SqlError>(db, [
        insert(db, 1),
        sql`vacuum`,
        insert(db, 2),
        sql`create table u(a)`,
        insert(db, 3),
        sql`pragma user_version = 7`,
        insert(db, 4)
      ])
      assert.isTrue(exits.every(Exit.isSuccess))
      assert.deepStrictEqual(yield* db.groups, [])
      assert.deepStrictEqual(db.rows, [1, 2, 3, 4])
    }))

  it.effect("with groupCommit false, or in memory", () =>
    Effect.gen(function*() {
      for (const options of [{ groupCommit: false }, { filename: ":memory:" }]) {
        const db = yield* make(options)
        const exits = yield* together(db, numbers(5).map((n) => insert(db, n)))
        yield* atOnce(numbers(5).map((n) => insert(db, 10 + n)))
        assert.isTrue(exits.every(Exit.isSuccess))
        assert.deepStrictEqual(yield* db.groups, [])
        assert.deepStrictEqual(yield* db.sql`select count(*) from t`.values, [[10]])
      }
    }))
})
