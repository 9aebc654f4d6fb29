import { assert, describe, it } from "@effect/vitest"
import { Effect, Exit } from "effect"
import { SqliteConnection } from "effect-connection-pool/sqlite"
import { SafeIntegers } from "effect/sql/SqlClient"
import { SqlError, SqlSyntaxError } from "effect/sql/SqlError"

const memory = SqliteConnection.open({ filename: ":memory:" })

/** The message of the `SqlSyntaxError` with which SQL is refused. */
const refusal = (f: () => unknown): string => {
  try {
    f()
  } catch (error) {
    assert.instanceOf(error, SqlError)
    assert.instanceOf(error.reason, SqlSyntaxError)
    return error.message
  }
  return assert.fail("nothing was refused")
}

describe("query", () => {
  it.effect("gives rows as objects, each column by its name", () =>
    Effect.gen(function*() {
      const connection = yield* memory
      const sql =
        "select 1 as id, 'Ada' as name, null as gap, 1.5 as real, x'0102' as bytes union all select 2, 'Bob', 3, 4, 5"
      const rows = [
        { id: 1, name: "Ada", gap: null, real: 1.5, bytes: Uint8Array.of(1, 2) },
        { id: 2, name: "Bob", gap: 3, real: 4, bytes: 5 }
      ]
      assert.deepStrictEqual(yield* connection.query(sql), rows)
      assert.deepStrictEqual(connection.queryUnsafe(sql), rows)
      assert.deepStrictEqual(yield* connection.query("select 1 as a where false"), [])
    }))

  it.effect("keeps the last of several columns with the same name", () =>
    Effect.gen(function*() {
      const connection = yield* memory
      assert.deepStrictEqual(yield* connection.query("select 1 as a, 2 as b, 3 as a"), [{ a: 3, b: 2 }])
    }))

  it.effect("carries out a statement that returns rows as a whole", () =>
    Effect.gen(function*() {
      const connection = yield* memory
      connection.execUnsafe("create table t(id integer primary key, a)")
      const sql = "insert into t(a) values (?), (?) returning id, a"
      assert.deepStrictEqual(yield* connection.query(sql, ["x", "y"]), [{ id: 1, a: "x" }, { id: 2, a: "y" }])
      assert.deepStrictEqual(yield* connection.query("select count(*) as count from t"), [{ count: 2 }])
    }))

  it.effect("gives no rows for a statement that has none", () =>
    Effect.gen(function*() {
      const connection = yield* memory
      assert.deepStrictEqual(yield* connection.query("create table t(a)"), [])
      assert.deepStrictEqual(yield* connection.values("insert into t values (1)"), [])
    }))

  it.effect("happens when the effect is run, each time it is", () =>
    Effect.gen(function*() {
      const connection = yield* memory
      connection.execUnsafe("create table t(a)")
      const insert = connection.query("insert into t values (1)")
      assert.deepStrictEqual(connection.queryUnsafe("select * from t"), [])
      yield* insert
      yield* insert
      assert.deepStrictEqual(connection.queryUnsafe("select count(*) as count from t"), [{ count: 2 }])
    }))

  it.effect("dies of a bug, instead of failing", () =>
    Effect.gen(function*() {
      const connection = yield* memory
      const bug = new TypeError("a bug")
      const params = new Proxy([1], {
        get() {
          throw bug
        }
      })
      assert.deepStrictEqual(yield* Effect.exit(connection.query("select ?", params)), Exit.die(bug))
    }))
})

describe("values", () => {
  it.effect("gives rows as arrays, with all columns", () =>
    Effect.gen(function*() {
      const connection = yield* memory
      assert.deepStrictEqual(yield* connection.values("select 1 as a, 2 as b, 3 as a"), [[1, 2, 3]])
      assert.deepStrictEqual(connection.valuesUnsafe("select 1 as a, 2 as b, 3 as a"), [[1, 2, 3]])
    }))
})

describe("run", () => {
  it.effect("tells how many rows the statement changed", () =>
    Effect.gen(function*() {
      const connection = yield* memory
      yield* connection.run("create table t(id integer primary key, a)")
      const insert = "insert into t(a) values (1), (2), (3)"
      assert.deepStrictEqual(yield* connection.run(insert), { changes: 3, lastInsertRowid: 3 })
      assert.deepStrictEqual(connection.runUnsafe(insert), { changes: 3, lastInsertRowid: 6 })
      assert.strictEqual((yield* connection.run("update t set a = 0 where id < ?", [3])).changes, 2)
      assert.strictEqual((yield* connection.run("delete from t where id = 99")).changes, 0)
      assert.strictEqual((yield* connection.run("insert into t(a) values (1), (2) returning id")).changes, 2)
      assert.strictEqual((yield* connection.run("with x as (select 1) update t set a = 1 where id = 1")).changes, 1)
    }))

  it.effect("does not report the changes of an earlier statement", () =>
    Effect.gen(function*() {
      const connection = yield* memory
      connection.execUnsafe("create table t(a); insert into t values (1), (2)")
      for (const sql of ["select * from t", "begin", "create table u as select * from t", "commit"]) {
        assert.strictEqual(connection.runUnsafe(sql).changes, 0)
      }
    }))

  it.effect("gives the rowid exactly, as a bigint where a number will not do", () =>
    Effect.gen(function*() {
      const connection = yield* memory
      connection.execUnsafe("create table t(id integer primary key)")
      const insert = (id: bigint) => connection.run("insert into t values (?)", [id])
      assert.deepStrictEqual(yield* insert(2n ** 53n - 1n), { changes: 1, lastInsertRowid: Number.MAX_SAFE_INTEGER })
      assert.deepStrictEqual(yield* insert(2n ** 53n + 1n), { changes: 1, lastInsertRowid: 9007199254740993n })
      const safely = Effect.provideService(SafeIntegers, true)
      assert.deepStrictEqual(yield* safely(insert(7n)), { changes: 1, lastInsertRowid: 7n })
      assert.deepStrictEqual(
        connection.runUnsafe("insert into t values (8)", [], { safeIntegers: true }),
        { changes: 1, lastInsertRowid: 8n }
      )
    }))

  it.effect("fails when the commit of a statement that returns rows fails", () =>
    Effect.gen(function*() {
      const connection = yield* memory
      connection.execUnsafe(`
        create table p(id integer primary key);
        create table c(p references p deferrable initially deferred)`)
      const sql = "insert into c values (7) returning p"
      for (const operation of ["run", "query", "values"] as const) {
        const effect: Effect.Effect<unknown, { readonly message: string }> = connection[operation](sql)
        const error = yield* Effect.flip(effect)
        assert.strictEqual(error.message, "FOREIGN KEY constraint failed")
      }
      assert.deepStrictEqual(connection.queryUnsafe("select * from c"), [])
    }))
})

describe("exec", () => {
  it.effect("runs a script, a trigger with statements of its own included", () =>
    Effect.gen(function*() {
      const connection = yield* memory
      yield* connection.exec(`
        create table t(a); -- ; a comment
        create table log(a);
        create trigger audit after insert on t begin
          insert into log values (new.a); insert into log values (-new.a);
        end;
        insert into t values (1);`)
      assert.deepStrictEqual(connection.valuesUnsafe("select a from log"), [[1], [-1]])
    }))

  it.effect("stops at the statement that fails, after those before it", () =>
    Effect.gen(function*() {
      const connection = yield* memory
      const error = yield* Effect.flip(
        connection.exec("create table t(a); insert into u values (1); create table v(a)")
      )
      assert.strictEqual(error.message, "no such table: u")
      assert.deepStrictEqual(connection.valuesUnsafe("select name from sqlite_schema"), [["t"]])
    }))

  it.effect("refuses placeholders, which would all be NULL", () =>
    Effect.gen(function*() {
      const connection = yield* memory
      connection.execUnsafe("create table t(a)")
      for (const script of ["insert into t values (?)", "insert into t values (1); insert into t values (:a)"]) {
        const error = yield* Effect.flip(connection.exec(script))
        assert.strictEqual(error.message, "exec: a script takes no parameters")
      }
      assert.deepStrictEqual(connection.queryUnsafe("select * from t"), [])
    }))
})

describe("SQL", () => {
  it.effect("is refused if it is not exactly one statement", () =>
    Effect.gen(function*() {
      const connection = yield* memory
      connection.execUnsafe("create table t(a)")
      for (const operation of ["queryUnsafe", "valuesUnsafe", "runUnsafe"] as const) {
        assert.strictEqual(
          refusal(() => connection[operation]("insert into t values (1); insert into t values (2)")),
          `${operation}: the SQL holds 2 statements, but must hold one: use exec for a script`
        )
      }
      assert.deepStrictEqual(connection.queryUnsafe("select * from t;; -- the end"), [])
    }))

  it.effect("is refused if SQLite would read nothing, or something else", () =>
    Effect.gen(function*() {
      const connection = yield* memory
      connection.execUnsafe("create table t(a)")
      const cases: ReadonlyArray<readonly [sql: unknown, text: string]> = [
        ["", "holds no statement"],
        [" ; -- nothing\n /* nothing */", "holds no statement"],
        ["insert into t values (1)\0 and more", "holds a NUL, where SQLite would stop"],
        ["insert into t values ('\uD83D')", "holds half a surrogate pair"],
        [undefined, "is not text but undefined"]
      ]
      for (const [sql, text] of cases) {
        for (const operation of ["queryUnsafe", "valuesUnsafe", "runUnsafe", "execUnsafe"] as const) {
          assert.strictEqual(refusal(() => connection[operation](sql as string)), `${operation}: the SQL ${text}`)
        }
      }
      assert.deepStrictEqual(connection.queryUnsafe("select * from t"), [])
    }))
})

describe("isTransaction", () => {
  it.effect("asks SQLite, however the transaction began or ended", () =>
    Effect.gen(function*() {
      const connection = yield* memory
      assert.isFalse(yield* connection.isTransaction)
      yield* connection.run("begin")
      assert.isTrue(yield* connection.isTransaction)
      yield* connection.exec("create table t(a unique); insert into t values (1)")
      yield* Effect.flip(connection.run("insert or rollback into t values (1)"))
      assert.isFalse(yield* connection.isTransaction)
      yield* connection.run("savepoint a")
      assert.isTrue(connection.isTransactionUnsafe())
    }))
})
