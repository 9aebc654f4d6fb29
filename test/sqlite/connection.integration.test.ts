import { assert, describe, it } from "@effect/vitest"
import { Effect, Exit } from "effect"
import { SqliteConnection } from "effect-connection-pool/sqlite"
import { SafeIntegers } from "effect/sql/SqlClient"
import { SqlError, SqlSyntaxError } from "effect/sql/SqlError"
import * as fc from "fast-check"
import { DatabaseSync } from "node:sqlite"
import { Handle } from "../../src/sqlite/internal/connection/handle.ts"
import {
  type Owner,
  statementBytesToKeep,
  Statements,
  weightOf
} from "../../src/sqlite/internal/connection/preparedStatements.ts"
import { Authorizer } from "../../src/sqlite/internal/sql/authorizer.ts"
import { file, judge } from "../support/files.ts"

const memory = SqliteConnection.open({ filename: ":memory:" })

const long = (length: number) => `select 1 /* ${"x".repeat(length)} */`

/** What a statement of one column and no list weighs. */
const weight = (sql: string) => 4096 + 512 + 8 * Buffer.byteLength(sql)

const list = (length: number, item: string) => Array.from({ length }, () => item).join(",")

const owner: Owner = { admit: () => {}, isTrigger: () => false }

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
  it.effect("is asked of SQLite, whoever began or ended the transaction", () =>
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

describe("prepared statements", () => {
  it.effect("see a change of the schema, by this connection or another", () =>
    Effect.gen(function*() {
      const filename = yield* file
      const connection = yield* SqliteConnection.open({ filename })
      const other = yield* judge(filename)
      connection.execUnsafe("create table t(a); insert into t values (1)")
      const sql = "select * from t"
      assert.deepStrictEqual(connection.queryUnsafe(sql), [{ a: 1 }])
      connection.execUnsafe("alter table t add column b default 2")
      assert.deepStrictEqual(connection.queryUnsafe(sql), [{ a: 1, b: 2 }])
      assert.deepStrictEqual(connection.valuesUnsafe(sql), [[1, 2]])
      other.exec("alter table t rename column b to c; alter table t add column d default 3")
      assert.deepStrictEqual(connection.queryUnsafe(sql), [{ a: 1, c: 2, d: 3 }])
      other.exec("alter table t drop column a")
      assert.deepStrictEqual(connection.valuesUnsafe(sql), [[2, 3]])
      other.exec("drop table t")
      assert.strictEqual((yield* Effect.flip(connection.query(sql))).message, "no such table: t")
      other.exec("create table t(z); insert into t values (9)")
      assert.deepStrictEqual(connection.queryUnsafe(sql), [{ z: 9 }])
      assert.deepStrictEqual(connection.runUnsafe("insert into t values (?)", [8]).changes, 1)
    }))

  it.effect("do not keep how an earlier caller wanted its rows", () =>
    Effect.gen(function*() {
      const connection = yield* memory
      const sql = "select ? as a"
      const ways = [
        [() => connection.queryUnsafe(sql, [1]), [{ a: 1 }]],
        [() => connection.valuesUnsafe(sql, [1]), [[1]]],
        [() => connection.queryUnsafe(sql, [1], { safeIntegers: true }), [{ a: 1n }]],
        [() => connection.valuesUnsafe(sql, [1], { safeIntegers: true }), [[1n]]],
        [() => connection.runUnsafe(sql, [1]), { changes: 0, lastInsertRowid: 0 }],
        [() => connection.runUnsafe(sql, [1], { safeIntegers: true }), { changes: 0, lastInsertRowid: 0n }]
      ] as const
      for (const [before] of ways) {
        for (const [way, expected] of ways) {
          before()
          assert.deepStrictEqual(way(), expected)
        }
      }
    }))

  it("are bounded, however many texts there are", () => {
    const settings = { filename: ":memory:", isMemory: true, isReadOnly: false, statementCacheSize: 200 }
    const handle = new Handle(settings as Handle["settings"])
    for (let text = 0; text < 10_000; text++) {
      assert.deepStrictEqual(handle.rows("query", `select ${text} as a`, undefined, false, false), [{ a: text }])
      assert.isAtMost(handle.cachedStatements, 200)
    }
    assert.strictEqual(handle.cachedStatements, 200)
    handle.close()
  })

  it("that were used longest ago make room first", () => {
    const database = new DatabaseSync(":memory:")
    const statements = new Statements(new Authorizer(database), owner, 3)
    const get = (name: string) => statements.get("query", `select '${name}'`, false)
    const [a, b] = [get("a"), get("b"), get("c")]
    assert.strictEqual(get("a"), a)
    get("d")
    assert.strictEqual(get("a"), a)
    assert.notStrictEqual(get("b"), b)
    assert.strictEqual(statements.size, 3)
    database.close()
  })

  it("are bounded by what they hold too, whatever is asked for", () => {
    const database = new DatabaseSync(":memory:")
    const capacity = 20
    const bytesToKeep = 60_000
    // A statement, a column, and the text around the letters; the rest is eight bytes for each byte of text.
    const longest = Math.floor((bytesToKeep - 4096 - 512) / 8) - 15
    const lengths = fc.oneof(
      fc.integer({ min: 1, max: 100 }),
      fc.integer({ min: 1, max: Math.floor(longest / 3) }),
      fc.integer({ min: longest - 20, max: longest + 20 })
    )
    fc.assert(
      fc.property(
        fc.array(fc.tuple(fc.integer({ min: 0, max: 30 }), lengths, fc.constantFrom("x", "é")), { maxLength: 40 }),
        (texts) => {
          const statements = new Statements(new Authorizer(database), owner, capacity, bytesToKeep)
          const kept: Array<string> = []
          for (const [which, length, letter] of texts) {
            const sql = `select ${which} /* ${letter.repeat(Math.floor(length / Buffer.byteLength(letter)))} */`
            const found = statements.get("query", sql, false)
            assert.deepStrictEqual(Object.values(found.statement.get()!), [which])
            // What is used last stays; what is longer than all together may be is not kept at all.
            if (kept.includes(sql)) kept.splice(kept.indexOf(sql), 1)
            if (weight(sql) <= bytesToKeep) kept.push(sql)
            const size = () => kept.reduce((sum, sql) => sum + weight(sql), 0)
            while (kept.length > capacity || size() > bytesToKeep) kept.shift()
            assert.strictEqual(statements.size, kept.length)
            assert.strictEqual(statements.bytes, size())
          }
        }
      ),
      { numRuns: 300 }
    )
    database.close()
  })

  it("are not kept where one alone is too long", () => {
    const settings = { filename: ":memory:", isMemory: true, isReadOnly: false, statementCacheSize: 200 }
    const handle = new Handle(settings as Handle["settings"])
    // Eight bytes are counted for each byte of text.
    for (let n = 0; n < 30; n++) handle.rows("query", long(statementBytesToKeep / 32 + n), undefined, false, false)
    assert.strictEqual(handle.cachedStatements, 3)
    handle.rows("query", long(statementBytesToKeep / 8), undefined, false, false)
    assert.strictEqual(handle.cachedStatements, 3)
    handle.close()
  })

  // How many bytes one of them was measured to hold, with Node 24.21.
  const heavy: ReadonlyArray<readonly [what: string, bytes: number, sql: (n: number) => string]> = [
    ["columns of its text", 820_000, (n) => `select ${list(1500, `${n}+1`)}`],
    ["columns of a table", 835_000, (n) => `select wide.*, wide.*, wide.*, ${n} from wide`],
    ["items", 206_000, (n) => `select ${n} where 1 in (${list(1500, `${n}`)})`],
    ["parameters", 286_000, (n) => `select ${n} where 1 in (${list(1500, "?")})`]
  ]
  for (const [what, bytes, sql] of heavy) {
    it(`are bounded in memory where they have many ${what}`, () => {
      const database = new DatabaseSync(":memory:")
      database.exec(`create table wide(${Array.from({ length: 500 }, (_, n) => `column_${n}`).join()})`)
      const statements = new Statements(new Authorizer(database), owner, 200)
      for (let n = 0; n < 100; n++) statements.get("query", sql(n), false)
      // It is an estimate.
      assert.isAtMost(statements.size * bytes, 1.5 * statementBytesToKeep)
      assert.isAtLeast(statements.size * bytes, statementBytesToKeep / 2)
      assert.strictEqual(statements.bytes, statements.size * weightOf(statements.get("query", sql(99), false)))
      database.close()
    })
  }

  it("of an ordinary application are all kept", () => {
    const database = new DatabaseSync(":memory:")
    const statements = new Statements(new Authorizer(database), owner, 200)
    const columns = Array.from({ length: 20 }, (_, n) => `? as some_column_${n}`).join()
    for (let n = 0; n < 200; n++) statements.get("query", `select ${n}, ${columns} /* ${"x".repeat(1000)} */`, false)
    assert.strictEqual(statements.size, 200)
    database.close()
  })

  it.effect("need not be kept at all", () =>
    Effect.gen(function*() {
      const connection = yield* SqliteConnection.open({ filename: ":memory:", statementCacheSize: 0 })
      for (let time = 0; time < 3; time++) {
        assert.deepStrictEqual(connection.valuesUnsafe("select ?", [time]), [[time]])
      }
    }))
})
