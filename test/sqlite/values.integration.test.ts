import { assert, describe, it } from "@effect/vitest"
import { Effect, Stream } from "effect"
import { SqliteConnection } from "effect-connection-pool/sqlite"
import { SafeIntegers } from "effect/sql/SqlClient"
import { SqlError } from "effect/sql/SqlError"
import * as fc from "fast-check"
import { DatabaseSync } from "node:sqlite"

const memory = SqliteConnection.open({ filename: ":memory:" })

/** The message of the `SqlError` that an operation throws. */
const refusal = (f: () => unknown): string => {
  try {
    f()
  } catch (error) {
    assert.instanceOf(error, SqlError)
    assert.isUndefined(SqliteConnection.codeOf(error))
    assert.isFalse(error.isRetryable)
    return error.message
  }
  return assert.fail("nothing was refused")
}

describe("a parameter", () => {
  it.effect("has the type in SQLite that it has in JavaScript", () =>
    Effect.gen(function*() {
      const connection = yield* memory
      const typeOf = (value: SqliteConnection.Param) => connection.valuesUnsafe("select typeof(?)", [value])[0]![0]
      const integers = [0, 1, -1, 2 ** 31, Number.MAX_SAFE_INTEGER, Number.MIN_SAFE_INTEGER, 0n, 2n ** 63n - 1n]
      for (const value of [...integers, -(2n ** 63n), true, false]) assert.strictEqual(typeOf(value), "integer")
      for (const value of [0.5, -0, 2 ** 53, 1e300, Infinity, -Infinity]) assert.strictEqual(typeOf(value), "real")
      for (const value of ["", "1", "\0"]) assert.strictEqual(typeOf(value), "text")
      assert.strictEqual(typeOf(null), "null")
      const { buffer } = Uint8Array.of(1, 2, 3, 4)
      const bytes = [new Uint8Array(0), Buffer.from("x"), new Uint16Array(buffer), new DataView(buffer), buffer]
      const empty = [new ArrayBuffer(0), new DataView(new ArrayBuffer(0)), new Float64Array(0), Buffer.alloc(0)]
      for (const value of [...bytes, ...empty]) assert.strictEqual(typeOf(value), "blob")
    }))

  it.effect("is divided, compared and stored as what it is", () =>
    Effect.gen(function*() {
      const connection = yield* memory
      assert.deepStrictEqual(connection.valuesUnsafe("select ? / 2, ? / 2", [1, 1.5]), [[0, 0.75]])
      connection.execUnsafe("create table t(a, b text, c integer, d real)")
      connection.runUnsafe("insert into t values (?1, ?1, ?1, ?1)", [1])
      assert.deepStrictEqual(
        connection.valuesUnsafe("select typeof(a), b, typeof(c), typeof(d) from t"),
        [["integer", "1", "integer", "real"]]
      )
      assert.deepStrictEqual(connection.valuesUnsafe("select ?, ?", [true, false]), [[1, 0]])
      const [[negative]] = connection.valuesUnsafe("select ?", [-0]) as [[number]]
      assert.isTrue(Object.is(negative, -0))
    }))

  it.effect("is bytes as far as the view of them goes", () =>
    Effect.gen(function*() {
      const connection = yield* memory
      const { buffer } = Uint8Array.of(1, 2, 3, 4)
      const hex = (value: SqliteConnection.Param) => connection.valuesUnsafe("select hex(?)", [value])[0]![0]
      assert.strictEqual(hex(buffer), "01020304")
      assert.strictEqual(hex(new Uint8Array(buffer, 1, 2)), "0203")
      assert.strictEqual(hex(new Uint16Array(buffer, 2)), "0304")
      assert.strictEqual(hex(new DataView(buffer, 3)), "04")
      const shared = new Uint8Array(new SharedArrayBuffer(2))
      shared.set([5, 6])
      assert.strictEqual(hex(shared), "0506")
    }))

  it.effect("is refused, by its place, if SQLite cannot keep it as it is", () =>
    Effect.gen(function*() {
      const connection = yield* memory
      connection.execUnsafe("create table t(a, b)")
      class Money {
        readonly cents = 1
      }
      const gone = new Uint8Array(8)
      structuredClone(gone, { transfer: [gone.buffer] })
      const allowed = "but must be null, text, a number, a bigint of 64 bits, a boolean or bytes"
      const refused: ReadonlyArray<readonly [value: unknown, text: string]> = [
        [undefined, "undefined"],
        [Number.NaN, "NaN"],
        [new Date(0), "an object (Date)"],
        [{}, "an object (Object)"],
        [[1], "an object (Array)"],
        [new Money(), "an object (Money)"],
        [Object.create(null), "an object (without a prototype)"],
        [Symbol("x"), "a symbol"],
        [() => 1, "a function"],
        [2n ** 63n, "the bigint 9223372036854775808"],
        [-(2n ** 63n) - 1n, "the bigint -9223372036854775809"],
        ["half \uD83D", "text with half a surrogate pair"],
        [gone, "bytes that were transferred away"],
        [gone.buffer, "bytes that were transferred away"]
      ]
      for (const [value, text] of refused) {
        const params = ["first", value] as ReadonlyArray<SqliteConnection.Param>
        assert.strictEqual(
          refusal(() => connection.runUnsafe("insert into t values (?, ?)", params)),
          `runUnsafe: parameter 2 is ${text}, ${allowed}`
        )
        assert.strictEqual(
          refusal(() => connection.queryUnsafe("select :a, @b", { a: 1, b: value as SqliteConnection.Param })),
          `queryUnsafe: parameter @b is ${text}, ${allowed}`
        )
      }
      const sparse: Array<number> = []
      sparse[1] = 1
      assert.include(
        refusal(() => connection.runUnsafe("insert into t values (?, ?)", sparse)),
        "parameter 1 is undefined"
      )
      assert.deepStrictEqual(connection.queryUnsafe("select * from t"), [])
    }))
})

describe("parameters in order", () => {
  it.effect("fill the placeholders by SQLite's numbers", () =>
    Effect.gen(function*() {
      const connection = yield* memory
      assert.deepStrictEqual(connection.valuesUnsafe("select ?, ?", ["a", "b"]), [["a", "b"]])
      assert.deepStrictEqual(connection.valuesUnsafe("select ?2, ?1, ?2, ?", ["a", "b", "c"]), [["b", "a", "b", "c"]])
      assert.deepStrictEqual(connection.valuesUnsafe("select ?3", ["a", "b", "c"]), [["c"]])
      assert.deepStrictEqual(connection.valuesUnsafe("select 1", []), [[1]])
      const many = Array.from({ length: 32_766 }, (_, at) => at)
      const sql = `select sum(column1) from (values ${many.map(() => "(?)").join(",")})`
      assert.deepStrictEqual(connection.valuesUnsafe(sql, many), [[536_788_995]])
      assert.include(refusalOf(connection, sql, many.slice(1)), "32766 placeholders and 32765 parameters")
    }))

  it.effect("are refused if they are more or fewer than the placeholders, before anything is run", () =>
    Effect.gen(function*() {
      const connection = yield* memory
      connection.execUnsafe("create table t(a, b)")
      const insert = "insert into t values (?, ?)"
      assert.strictEqual(
        refusalOf(connection, insert, ["a"]),
        "runUnsafe: 2 placeholders and 1 parameter: there is none for placeholder 2"
      )
      assert.strictEqual(
        refusalOf(connection, insert, undefined),
        "runUnsafe: 2 placeholders and 0 parameters: there is none for placeholder 1"
      )
      assert.strictEqual(
        refusalOf(connection, insert, ["a", "b", "c"]),
        "runUnsafe: 2 placeholders and 3 parameters: parameter 3 has no placeholder"
      )
      assert.strictEqual(
        refusalOf(connection, "delete from t", ["a"]),
        "runUnsafe: 0 placeholders and 1 parameter: parameter 1 has no placeholder"
      )
      assert.strictEqual(
        refusalOf(connection, insert, { a: 1, b: 2 }),
        "runUnsafe: the placeholders have no names: pass an array, not a record"
      )
      for (const [params, text] of [["ab", "text"], [new Date(0), "an object (Date)"], [null, "null"], [7, "7"]]) {
        assert.strictEqual(
          refusalOf(connection, insert, params as never),
          `runUnsafe: the parameters are ${text}, but must be an array or a record`
        )
      }
      assert.deepStrictEqual(connection.queryUnsafe("select * from t"), [])
    }))
})

describe("parameters by name", () => {
  it.effect("fill the placeholders with or without their prefixes", () =>
    Effect.gen(function*() {
      const connection = yield* memory
      const sql = "select :a, @b, $c, :a"
      assert.deepStrictEqual(connection.valuesUnsafe(sql, { a: 1, b: 2, c: 3 }), [[1, 2, 3, 1]])
      assert.deepStrictEqual(connection.valuesUnsafe(sql, { ":a": 1, "@b": 2, "$c": 3 }), [[1, 2, 3, 1]])
      assert.deepStrictEqual(connection.valuesUnsafe("select :a, @a", { ":a": 1, "@a": 2 }), [[1, 2]])
      assert.deepStrictEqual(connection.valuesUnsafe("select :__proto__", { ":__proto__": 1 }), [[1]])
      class User {
        readonly name = "Ada"
      }
      assert.deepStrictEqual(connection.valuesUnsafe("select :name", { ...new User() }), [["Ada"]])
      assert.deepStrictEqual(connection.valuesUnsafe("select :name", new User() as never), [["Ada"]])
      assert.deepStrictEqual(connection.valuesUnsafe("select 1", {}), [[1]])
    }))

  it.effect("are refused if one is missing, unknown or ambiguous, before anything is run", () =>
    Effect.gen(function*() {
      const connection = yield* memory
      connection.execUnsafe("create table t(a, b)")
      const insert = "insert into t values (:a, @b)"
      const cases: ReadonlyArray<readonly [sql: string, params: unknown, message: string]> = [
        [insert, undefined, "there is no parameter for the placeholder :a"],
        [insert, {}, "there is no parameter for the placeholder :a"],
        [insert, { a: 1 }, "there is no parameter for the placeholder @b"],
        [
          insert,
          { a: 1, toString: 2 },
          "there is no parameter for the placeholder @b, and no placeholder for \"toString\""
        ],
        [
          "select :name, :b",
          { nmae: "Ada", b: 1, c: 2 },
          "there is no parameter for the placeholder :name, and no placeholder for \"nmae\", \"c\""
        ],
        [insert, { a: 1, b: 2, c: 3 }, "the parameter \"c\" has no placeholder: the placeholders are :a, @b"],
        [insert, { a: 1, b: 2, ":a": 3 }, "the parameter \"a\" has no placeholder: the placeholders are :a, @b"],
        [insert, { a: 1, ":b": 2 }, "there is no parameter for the placeholder @b, and no placeholder for \":b\""],
        [insert, [1, 2], "the placeholders have names: pass a record, not an array"],
        [insert, new Map([["a", 1]]), "the parameters are an object (Map), but must be an array or a record"],
        ["delete from t", { a: 1 }, "the parameter \"a\" has no placeholder: there are no placeholders"],
        ["select :a, @a", { a: 1 }, "\"a\" is the name of several placeholders: write it with their prefixes"],
        ["select :a, @a", { a: 1, b: 2 }, "\"a\" is the name of several placeholders: write it with their prefixes"],
        ["select :a, ?", { a: 1 }, "the placeholders are a mixture of ? and names: use one kind"],
        ["select :a, ?", [1, 2], "the placeholders are a mixture of ? and names: use one kind"]
      ]
      for (const [sql, params, message] of cases) {
        assert.strictEqual(refusalOf(connection, sql, params as never), `runUnsafe: ${message}`)
      }
      assert.deepStrictEqual(connection.queryUnsafe("select * from t"), [])
    }))
})

const isInteger = (given: unknown) =>
  typeof given === "bigint" || typeof given === "boolean" || (Number.isSafeInteger(given) && !Object.is(given, -0))

describe("a value", () => {
  const value = fc.oneof(
    fc.constant(null),
    fc.string({ unit: "grapheme" }),
    fc.string({ unit: fc.constantFrom("\0", "\uFEFF", "'", "\u{1F600}", "a", "\uFFFD", "\r\n") }),
    fc.double({ noNaN: true }),
    fc.integer(),
    fc.maxSafeInteger(),
    fc.boolean(),
    fc.bigInt({ min: -(2n ** 63n), max: 2n ** 63n - 1n }),
    fc.uint8Array()
  )
  it.effect("comes back as it was given", () =>
    Effect.gen(function*() {
      const connection = yield* memory
      connection.execUnsafe("create table t(id integer primary key, a)")
      fc.assert(
        fc.property(value, (given) => {
          const { lastInsertRowid } = connection.runUnsafe("insert into t(a) values (?)", [given])
          const read = (safeIntegers: boolean) =>
            connection.valuesUnsafe("select a from t where id = ?", [lastInsertRowid], { safeIntegers })[0]![0]
          const exact = isInteger(given) ? BigInt(given as bigint) : given as SqliteConnection.Value
          assert.deepStrictEqual(read(true), exact)
          const isSafe = typeof exact !== "bigint" || Number.isSafeInteger(Number(exact)) ||
            (exact === leastOfAll && givesLeastOfAll)
          if (isSafe) assert.deepStrictEqual(read(false), typeof exact === "bigint" ? Number(exact) : exact)
          else assert.include(refusal(() => read(false)), String(exact))
          if (Object.is(given, -0)) assert.isTrue(Object.is(read(false), -0))
        }),
        { numRuns: 1000, examples: [[leastOfAll], [2n ** 63n - 1n], [-(2n ** 53n)], [2 ** 53 - 1]] }
      )
    }))

  it.effect("that is an integer beyond 2^53 is an error, unless integers are wanted as bigints", () =>
    Effect.gen(function*() {
      const connection = yield* memory
      const sql = "select 9007199254740993 as a"
      const message = "Value is too large to be represented as a JavaScript number: 9007199254740993. " +
        "With SafeIntegers from effect/sql/SqlClient, integers are bigints."
      assert.strictEqual((yield* Effect.flip(connection.query(sql))).message, message)
      assert.strictEqual((yield* Effect.flip(connection.values(sql))).message, message)
      const safely = Effect.provideService(SafeIntegers, true)
      assert.deepStrictEqual(yield* safely(connection.query(sql)), [{ a: 9007199254740993n }])
      assert.deepStrictEqual(yield* safely(connection.values(sql)), [[9007199254740993n]])
      assert.deepStrictEqual(connection.queryUnsafe(sql, [], { safeIntegers: true }), [{ a: 9007199254740993n }])
      assert.strictEqual(refusal(() => connection.queryUnsafe(sql, [], { safeIntegers: false })), message)
    }))

  it.effect("that no number can hold does not make a failure of a statement that was carried out", () =>
    Effect.gen(function*() {
      const connection = yield* memory
      connection.execUnsafe("create table t(id integer primary key, a)")
      const big = 9007199254740993n
      assert.deepStrictEqual(yield* connection.run(`insert into t values (${big}, 1)`), {
        changes: 1,
        lastInsertRowid: big
      })
      assert.deepStrictEqual(yield* connection.query(returning("9007199254740994")), [row(big + 1n)])
      assert.deepStrictEqual(yield* connection.values(returning("9007199254740995")), [[big + 2n, 1, "x", null]])
      assert.deepStrictEqual(yield* Stream.runCollect(connection.stream(returning("9007199254740996"))), [
        row(big + 3n)
      ])
      assert.deepStrictEqual(yield* connection.run("insert into t values (-9007199254740993, 1) returning id"), {
        changes: 1,
        lastInsertRowid: -big
      })
      // The same statements, where numbers hold them, and where all are to be bigints.
      assert.deepStrictEqual(yield* connection.query(returning("9007199254740991")), [row(9007199254740991)])
      assert.deepStrictEqual(yield* connection.run("update t set a = 2 where id < 0"), {
        changes: 1,
        lastInsertRowid: 9007199254740991
      })
      const exact = yield* Effect.provideService(connection.query(returning("7")), SafeIntegers, true)
      assert.deepStrictEqual(exact, [{ id: 7n, a: 1n, label: "x", empty: null }])
      assert.deepStrictEqual(connection.queryUnsafe("select count(*) as count from t"), [{ count: 7 }])
      // One that only reads has done nothing that its failure would hide.
      const error = yield* Effect.flip(connection.query("select max(id) from t"))
      assert.include(error.message, "With SafeIntegers from effect/sql/SqlClient, integers are bigints.")
    }))
})

const refusalOf = (
  connection: SqliteConnection.SqliteConnection,
  sql: string,
  params: SqliteConnection.Params | undefined
): string => refusal(() => connection.runUnsafe(sql, params))

const leastOfAll = -(2n ** 63n)

/** Node 24 gives this one as the number that it is, exactly; Node 26 refuses it as all that are beyond 2^53. */
const givesLeastOfAll = (() => {
  const database = new DatabaseSync(":memory:")
  try {
    return database.prepare("select -9223372036854775808 as a").get()!["a"] === Number(leastOfAll)
  } catch {
    return false
  } finally {
    database.close()
  }
})()

const returning = (id: string) => `insert into t values (${id}, 1) returning id, a, 'x' as label, null as empty`
const row = (id: SqliteConnection.Value) => ({ id, a: 1, label: "x", empty: null })
