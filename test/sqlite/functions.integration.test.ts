/** SQL functions and aggregates of an application: where they are, and what they take and return. */
import { assert, describe, it } from "@effect/vitest"
import { Context, Effect, Layer, Stream } from "effect"
import { ConnectionPool } from "effect-connection-pool"
import { SqliteConnection, SqliteFunction, SqlitePool } from "effect-connection-pool/sqlite"
import { SqliteClient } from "effect-connection-pool/sqlite-node"
import { SafeIntegers } from "effect/sql/SqlClient"
import { file } from "../support/files.ts"
import { failureOf, kinds, make, total } from "../support/functions.ts"

const functions: SqliteFunction.Functions = {
  twice: (n) => Number(n) * 2,
  area: [(side) => Number(side) ** 2, { run: (a, b) => Number(a) * Number(b), deterministic: true }],
  count_of: { varargs: true, run: (...values) => values.length }
}

const calls = "select twice(n), area(n), area(n, 10), count_of(), count_of(n, 1, 2) from n where n = 2"
const answer = [[4, 4, 20, 0, 3]]

describe("a SQL function", () => {
  for (const [kind, options] of kinds) {
    it.effect(`is on every connection of a database ${kind}, also after a reset and when it is opened anew`, () =>
      Effect.gen(function*() {
        const pool = yield* make({ ...options, functions, aggregates: { total } })
        const everywhere = Effect.gen(function*() {
          assert.deepStrictEqual(yield* pool.sql.unsafe(calls).values, answer)
          assert.deepStrictEqual(yield* pool.writeSync((connection) => connection.valuesUnsafe(calls)), answer)
          assert.deepStrictEqual(yield* pool.readSync((reader) => reader.valuesUnsafe(calls)), answer)
          assert.deepStrictEqual(yield* pool.write((connection) => connection.values(calls)), answer)
          assert.deepStrictEqual(yield* pool.snapshot(pool.sql.unsafe(calls).values), answer)
          const stream = pool.stream("select twice(n) as n from n")
          assert.deepStrictEqual((yield* Stream.runCollect(stream)).map(({ n }) => n), [2, 4, 6, 8, 10])
          yield* pool.transaction(Effect.gen(function*() {
            assert.deepStrictEqual(yield* pool.sql.unsafe(calls).values, answer)
            yield* pool.transaction(pool.sql`insert into t(a) select twice(n) from n`)
            assert.deepStrictEqual(yield* pool.sql`select sum(a), total(a) from t`.values, [[30, 30]])
            yield* pool.sql`delete from t`
          }))
        })
        yield* everywhere
        yield* pool.write((connection) => connection.exec("pragma cache_size = 9"))
        yield* everywhere
        yield* Effect.andThen(pool.writer.recycle, pool.readers.recycle)
        yield* everywhere
      }))
  }

  it.effect("is there before onOpen runs, on a single connection, in a factory and in the drop-in", () =>
    Effect.gen(function*() {
      const seen: Array<unknown> = []
      const onOpen = (connection: SqliteConnection.AsyncConnection) =>
        Effect.map(connection.values("select twice(4)"), (rows) => seen.push(rows))
      yield* SqlitePool.make({ filename: yield* file, functions, onOpen })
      yield* SqliteConnection.open({ filename: yield* file, functions, onOpen })
      const factory = SqliteConnection.factory({ filename: yield* file, functions, onOpen })
      const pool = yield* ConnectionPool.make({ factory, max: 1 })
      yield* pool.use((connection) => connection.exec("pragma cache_size = 9"))
      yield* pool.use((connection) => connection.values("select twice(4)"))
      const client = yield* Layer.build(SqliteClient.layer({ filename: yield* file, functions, aggregates: { total } }))
      const sql = Context.get(client, SqliteClient.SqliteClient)
      yield* sql`create table n(n)`
      yield* sql`insert into n values (1), (2)`
      assert.deepStrictEqual(yield* sql`select total(twice(n)) from n`.values, [[6]])
      assert.deepStrictEqual(seen, [[[8]], [[8]], [[8]], [[8]]])
    }))

  it.effect("returns what a parameter may be, stored as a parameter is", () =>
    Effect.gen(function*() {
      const results: ReadonlyArray<readonly [unknown, string, string]> = [
        [1, "integer", "1"],
        [2 ** 53 - 1, "integer", "9007199254740991"],
        [2 ** 53, "real", "9007199254740992.0"],
        [0.5, "real", "0.5"],
        [-0, "real", "0.0"],
        [Infinity, "real", "9.0e+999"],
        [2n ** 63n - 1n, "integer", "9223372036854775807"],
        [true, "integer", "1"],
        [false, "integer", "0"],
        [null, "null", "NULL"],
        ["a\0b", "text", "'a'"],
        ["", "text", "''"],
        [new Uint8Array([1, 2, 3]).subarray(1), "blob", "X'0203'"],
        [new ArrayBuffer(0), "blob", "X''"],
        [new DataView(new ArrayBuffer(2)), "blob", "X'0000'"]
      ]
      let result: unknown
      const pool = yield* make({ functions: { f: () => result as null } })
      for (const [value, type, text] of results) {
        result = value
        const [row] = yield* pool.sql`select typeof(f()), quote(f())`.values
        assert.strictEqual(row![0], type, String(value))
        if (!text.startsWith("'a")) assert.strictEqual(String(row![1]), text)
      }
      // As Node does it, this is 0.5.
      result = 1
      assert.deepStrictEqual(yield* pool.sql`select f() / 2`.values, [[0]])
    }))

  it.effect("fails by name if it returns what SQLite cannot store", () =>
    Effect.gen(function*() {
      const results: ReadonlyArray<readonly [unknown, string]> = [
        [undefined, "it returned undefined, but must return null, text"],
        [Number.NaN, "it returned NaN, but"],
        [new Date(0), "it returned an object (Date), but"],
        [{}, "it returned an object (Object), but"],
        [[1], "it returned an object (Array), but"],
        [2n ** 63n, "it returned the bigint 9223372036854775808, but"],
        ["\ud800", "it returned text with half a surrogate pair, but"],
        [Symbol("x"), "it returned a symbol, but"],
        [() => 1, "it returned a function, but"],
        [Promise.resolve(1), "it returned a promise, and SQLite does not wait"],
        [Effect.succeed(1), "it returned an Effect, and SQLite does not wait"]
      ]
      let result: unknown
      const pool = yield* make({ functions: { f: () => result as null } })
      for (const [value, message] of results) {
        result = value
        const error = yield* Effect.flip(pool.sql`select f()`)
        assert.strictEqual(failureOf(error).function, "f")
        assert.include(error.message, `the SQL function f failed: ${message}`)
        assert.isFalse(error.isRetryable)
      }
    }))

  it.effect("gets values as they are in rows, and integers exactly if it asks for bigints", () =>
    Effect.gen(function*() {
      const seen: Array<unknown> = []
      const run = (...args: ReadonlyArray<unknown>) => seen.push(...args) > 0
      const pool = yield* make({
        functions: { near: { run, varargs: true }, exact: { run, varargs: true, safeIntegers: true } }
      })
      yield* pool.sql`select near(1, 1.5, 'a', null, x'01'), exact(9007199254740993, 1.5)`
      assert.deepStrictEqual(seen, [1, 1.5, "a", null, new Uint8Array([1]), 9007199254740993n, 1.5])
      const error = yield* Effect.flip(pool.sql`select near(9007199254740993)`)
      assert.include(error.message, "as arguments of a SQL function, with safeIntegers: true (near)")
      assert.include(
        (yield* Effect.flip(pool.sql`insert into t(a) select near(9007199254740993)`)).message,
        "safeIntegers: true (near)"
      )
      assert.deepStrictEqual(
        yield* Effect.provideService(pool.sql`select near(1)`.values, SafeIntegers, true),
        [[1n]]
      )
    }))

  it.effect("may replace a function of SQLite", () =>
    Effect.gen(function*() {
      const pool = yield* make({
        functions: { upper: (text) => String(text).toLocaleUpperCase("tr"), like: (pattern, text) => pattern === text }
      })
      assert.deepStrictEqual(yield* pool.sql`select upper('i'), 'a' like 'A', 'a' like 'a'`.values, [["İ", 0, 1]])
      yield* pool.write((connection) => connection.exec("alter table t rename column a to b; vacuum; analyze"))
    }))

  it.effect("is called by an index, a generated column or a view only with trustedSchema, and only if it may be", () =>
    Effect.gen(function*() {
      const functions: SqliteFunction.Functions = {
        pure: { deterministic: true, run: (n) => Number(n) * 2 },
        impure: (n) => n!,
        direct: { deterministic: true, directOnly: true, run: (n) => n! }
      }
      const safe = yield* make({ functions })
      assert.include((yield* Effect.flip(safe.sql`create index i on n(pure(n))`)).message, "unsafe use of pure()")
      yield* safe.sql`create view v as select pure(n) from n`
      assert.include((yield* Effect.flip(safe.sql`select * from v`)).message, "unsafe use of pure()")
      const filename = yield* file
      const pool = yield* make({ filename, functions, trustedSchema: true })
      yield* pool.sql`create index i on n(pure(n))`
      yield* pool.sql`create table g(a, b generated always as (pure(a)))`
      yield* pool.sql`insert into g(a) values (4)`
      assert.deepStrictEqual(yield* pool.sql`select b from g`.values, [[8]])
      const plan = yield* pool.sql`explain query plan select n from n where pure(n) = 4`.values
      assert.include(String(plan[0]![3]), "USING INDEX i")
      assert.include((yield* Effect.flip(pool.sql`create index j on n(impure(n))`)).message, "non-deterministic")
      assert.include((yield* Effect.flip(pool.sql`create index j on n(direct(n))`)).message, "unsafe use of direct()")
      const without = yield* SqliteConnection.open({ filename, trustedSchema: true })
      assert.include((yield* Effect.flip(without.run("insert into n values (6)"))).message, "unknown function: pure()")
    }))
})

describe("a SQL aggregate", () => {
  for (const [kind, options] of kinds) {
    it.effect(`is also a window function, ${kind}`, () =>
      Effect.gen(function*() {
        const aggregates = {
          total,
          list: SqliteFunction.aggregate({
            start: (): Array<unknown> => [],
            step: (all, value) => {
              all.push(value)
              return all
            },
            result: (all) => JSON.stringify(all)
          })
        }
        const { sql } = yield* make({ ...options, aggregates })
        assert.deepStrictEqual(yield* sql`select total(n), typeof(total(n)), total(n) / 2 from n`.values, [[
          15,
          "integer",
          7
        ]])
        assert.deepStrictEqual(yield* sql`select total(n), list(n) from n where n > 9`.values, [[0, "[]"]])
        assert.deepStrictEqual(yield* sql`select list(n) from n group by n % 2 order by 1`.values, [
          ["[1,3,5]"],
          ["[2,4]"]
        ])
        const window = sql`select total(n) over (order by n rows between 1 preceding and current row) from n`
        assert.deepStrictEqual((yield* window.values).flat(), [1, 3, 5, 7, 9])
        assert.include(
          (yield* Effect.flip(sql`select list(n) over (order by n) from n`)).message,
          "list() may not be used as a window function"
        )
      }))
  }

  it.effect("fails by name in each of its parts, and if a part returns no state", () =>
    Effect.gen(function*() {
      const boom = new Error("boom")
      const fail = (): never => {
        throw boom
      }
      const fine = { start: () => 0, step: (n: number) => n, inverse: (n: number) => n, result: (n: number) => n }
      const windowed = "select f(n) over (order by n rows between 1 preceding and current row) from n"
      const parts: ReadonlyArray<readonly [Partial<Record<keyof typeof fine, unknown>>, string]> = [
        [{ start: fail }, "boom"],
        [{ step: fail }, "boom"],
        [{ inverse: fail }, "boom"],
        [{ result: fail }, "boom"],
        [{ start: () => undefined }, "start returned undefined: return the state"],
        [{ step: () => undefined }, "step returned undefined: return the state"],
        [{ step: () => Promise.resolve(1) }, "step returned a promise: return the state"],
        [{ inverse: () => Effect.void }, "inverse returned an Effect: return the state"],
        [{ result: () => undefined }, "it returned undefined, but must return"]
      ]
      for (const [part, message] of parts) {
        let results = 0
        const result = part.result ?? ((n: number) => (results++, n))
        const definition = { ...fine, varargs: true, ...part, result } as never
        const { sql } = yield* make({ aggregates: { f: SqliteFunction.aggregate(definition) } })
        const found = yield* Effect.flip(sql.unsafe(windowed)).pipe(
          Effect.catch((rows) => Effect.die(new Error(`${Object.keys(part)} ${message} ${JSON.stringify(rows)}`)))
        )
        const failure = failureOf(found)
        assert.include(failure.message, `the SQL function f failed: ${message}`)
        if (message === "boom") assert.strictEqual(failure.cause, boom)
        if ("step" in part) assert.strictEqual(results, 0)
        for (const plain of ["select f(n) from n", "select f(n) from n where n > 9", "select f(n) from n group by n"]) {
          const isCalled = !("inverse" in part) && (!("step" in part) || !plain.includes("where"))
          if (isCalled) assert.include(failureOf(yield* Effect.flip(sql.unsafe(plain))).message, message)
        }
        assert.deepStrictEqual(yield* sql`select count(*) from n`.values, [[5]])
      }
    }))
})
