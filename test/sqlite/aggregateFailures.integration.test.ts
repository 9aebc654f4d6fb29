/** Statements of a transaction that call an aggregate, and fail: what SQLite would keep of them, and what it would end. */
import { assert, describe, it } from "@effect/vitest"
import { Effect, Exit, Scope, Stream } from "effect"
import type { PoolError, TransactionError } from "effect-connection-pool"
import { SqliteConnection, SqliteFunction, type SqlitePool } from "effect-connection-pool/sqlite"
import { PoolAssert } from "effect-connection-pool/testing"
import type { SqlError } from "effect/sql/SqlError"
import { failsAt, failureOf, kinds, make as makePool, type Options, total } from "../support/functions.ts"

type Tagged = SqlError | PoolError.LeaseExpiredError | PoolError.PoolError<SqlError> | TransactionError.TransactionError

/** A pool with an aggregate, and a table whose numbers must differ. */
const make = Effect.fnUntraced(function*(options: Options) {
  const pool = yield* makePool({ ...options, aggregates: { total } })
  yield* pool.write((connection) =>
    connection.exec("create table k(a integer unique); insert into k values (3); create table big(n integer)")
  )
  return pool
})

describe("a statement of a transaction that calls an aggregate", () => {
  for (const [kind, options] of kinds) {
    it.effect(`leaves nothing of itself if an argument is an integer beyond 2^53, ${kind}`, () =>
      Effect.gen(function*() {
        const pool = yield* make(options)
        const { sql } = pool
        yield* sql`insert into big values (1), (2), (9007199254740993)`
        yield* pool.transaction(Effect.gen(function*() {
          yield* sql`insert into u values (1)`
          const insert = "insert into t(a) select total(n) from big group by n"
          const failing: ReadonlyArray<Effect.Effect<unknown, Tagged>> = [
            sql.unsafe(insert),
            sql.unsafe(insert).raw,
            pool.write((connection) => connection.exec(insert)),
            pool.transaction(sql.unsafe(insert))
          ]
          for (const one of failing) {
            const error = yield* PoolAssert.failsWith(one, "SqlError")
            assert.include(error.message, "as arguments of a SQL function, with safeIntegers: true (total)")
            assert.deepStrictEqual(yield* sql`select a from t`.values, [])
          }
        }))
        assert.deepStrictEqual(yield* sql`select a from u`.values, [[1]])
      }))

    it.effect(`keeps what SQLite keeps if a constraint fails, ${kind}`, () =>
      Effect.gen(function*() {
        const pool = yield* make(options)
        const { sql } = pool
        yield* pool.transaction(Effect.gen(function*() {
          const select = "select total(n) from n group by n"
          const error = yield* PoolAssert.failsWith(sql.unsafe(`insert into k ${select}`), "SqlError")
          assert.strictEqual(SqliteConnection.codeOf(error), 2067)
          assert.deepStrictEqual(yield* sql`select a from k`.values, [[3]])
          yield* PoolAssert.failsWith(sql.unsafe(`insert or fail into k ${select}`), "SqlError")
        }))
        assert.deepStrictEqual(yield* sql`select a from k order by a`.values, [[1], [2], [3]])
      }))

    it.effect(`reports the constraint that has SQLite roll the transaction back, ${kind}`, () =>
      Effect.gen(function*() {
        const pool = yield* make(options)
        const { sql } = pool
        const codes: Array<number | undefined> = []
        const lost = pool.transaction(Effect.gen(function*() {
          yield* sql`insert into u values (1)`
          const insert = sql`insert or rollback into k select total(n) from n group by n`
          codes.push(SqliteConnection.codeOf(yield* PoolAssert.failsWith(insert, "SqlError")))
        }))
        yield* PoolAssert.failsWith(lost, "TransactionLostError")
        assert.deepStrictEqual(codes, [2067])
        assert.deepStrictEqual(yield* sql`select (select count(*) from k), (select count(*) from u)`.values, [[1, 0]])
      }))
  }
})

describe("a SQL aggregate", () => {
  it.effect("may end the scope of its connection: that waits for the end of the statement, which fails", () =>
    Effect.gen(function*() {
      const scope = yield* Scope.make()
      let close: Effect.Effect<unknown> = Effect.void
      const connection = yield* SqliteConnection.open({
        filename: ":memory:",
        aggregates: {
          ends: SqliteFunction.aggregate({
            start: () => 0,
            step: (sum, value) => (Effect.runSync(close), sum + Number(value)),
            result: (sum) => sum
          })
        }
      }).pipe(Scope.provide(scope))
      close = Scope.close(scope, Exit.void)
      const error = yield* PoolAssert.failsWith(connection.query("select ends(1)"), "SqlError")
      assert.include(error.message, "the lease or the connection was ended while it ran")
      assert.include(
        (yield* PoolAssert.failsWith(connection.query("select 1"), "SqlError")).message,
        "the connection is closed"
      )
    }))

  it.effect("is also known to a statement of the driver's own handle, which no statement of a caller preceded", () =>
    Effect.gen(function*() {
      const pool = yield* makePool({ aggregates: { total } })
      yield* pool.writeSync((connection) => connection.runUnsafe("insert into n values (6)"))
      const row = yield* pool.write((connection) =>
        SqliteConnection.withHandle(
          connection,
          (database) => Effect.sync(() => database.prepare("select total(n) as n from n").get())
        )
      )
      assert.deepEqual(row, { n: 21 })
    }))

  const texts = [
    "select $ from n",
    "select $ from n group by n",
    "select $ from n where n > 9",
    "select $ over (order by n rows between 1 preceding and current row) from n",
    "insert into t(a) select $ from n returning a",
    "insert into t(a) select $ from n"
  ]

  /** All ways to run a statement, each of which has to fail. */
  const ways = (
    { sql, ...pool }: SqlitePool.SqlitePool,
    text: string
  ): ReadonlyArray<Effect.Effect<unknown, Tagged>> => [
    sql.unsafe(text),
    sql.unsafe(text).raw,
    sql.unsafe(text).values,
    Stream.runDrain(sql.unsafe(text).stream),
    pool.write((connection) => connection.exec(text)),
    pool.writeSync((connection) => connection.queryUnsafe(text)),
    pool.transaction(sql.unsafe(text))
  ]

  it.effect("whose start fails once fails its statement, although SQLite would call it again", () =>
    Effect.gen(function*() {
      const boom = new Error("boom")
      let starts = 0
      const start = () => {
        if (++starts === 1) throw boom
        return 0
      }
      const counts = SqliteFunction.aggregate({
        start,
        step: (count: number, _) => count + 1,
        inverse: (count: number, _) => count - 1,
        result: (count: number) => count
      })
      const pool = yield* makePool({ aggregates: { counts } })
      for (const text of texts) {
        const sql = text.replace("$", "counts(n)")
        for (const way of ways(pool, sql)) {
          starts = 0
          assert.strictEqual(failureOf(yield* PoolAssert.failsWith(way, "SqlError")).cause, boom, sql)
          assert.strictEqual(starts, 1)
        }
      }
      assert.deepStrictEqual(yield* pool.sql`select counts(n), (select count(*) from t) from n`.values, [[5, 0]])
    }))

  it.effect("does not hide that something else of its statement has failed", () =>
    Effect.gen(function*() {
      const boom = new Error("boom")
      const picky = (n: unknown) => {
        if (n === 3) throw boom
        return n as number
      }
      const pool = yield* makePool({ functions: { picky }, aggregates: { total, bad: failsAt(3, boom) } })
      const calls = ["total(picky(n))", "total(n) + bad(n)", "bad(n) + total(n)", "total(n) + total(picky(n))"]
      for (const call of calls) {
        for (
          const text of [
            "select $ from n",
            "insert into t(a) select $ from n returning a",
            "insert into t(a) select $ from n"
          ]
        ) {
          for (const way of ways(pool, text.replace("$", call))) {
            assert.strictEqual(failureOf(yield* PoolAssert.failsWith(way, "SqlError")).cause, boom, call)
          }
        }
      }
      // A failure is of its own statement only, also where the driver's own handle runs it.
      yield* pool.write((connection) =>
        SqliteConnection.withHandle(connection, (database) =>
          Effect.sync(() => {
            assert.throws(() => database.prepare("select total(picky(n)) from n").get(), "boom")
            assert.deepEqual(database.prepare("select total(n) as n from n").get(), { n: 15 })
            assert.throws(() => database.prepare("select picky(3)").get(), "boom")
            assert.deepEqual(database.prepare("select total(n) as n from n where n > 9").get(), { n: 0 })
          }))
      )
      assert.deepStrictEqual(yield* pool.sql`select total(n), (select count(*) from t) from n`.values, [[15, 0]])
    }))

  it.effect("fails its statement for an integer beyond 2^53 in it or beside it, and takes all others as numbers", () =>
    Effect.gen(function*() {
      const seen: Array<unknown> = []
      const keeps = (value: unknown) => {
        seen.push(value)
        return 1
      }
      const sees = SqliteFunction.aggregate({
        start: () => 0,
        step: (count: number, value) => count + keeps(value),
        result: (count: number) => count
      })
      const pool = yield* makePool({ functions: { near: keeps }, aggregates: { sees } })
      yield* pool.sql`insert into n values (9007199254740993)`
      for (const call of ["sees(n)", "total(near(n))", "sees(near(n))", "sum(near(n))"]) {
        for (
          const text of [
            "select $ from n",
            "insert into t(a) select $ from n returning a",
            "insert into t(a) select $ from n"
          ]
        ) {
          for (const way of ways(pool, text.replace("$", call))) {
            const { message } = yield* PoolAssert.failsWith(way, "SqlError")
            assert.include(
              message,
              "Value is too large to be represented as a JavaScript number: 9007199254740993.",
              call
            )
            assert.include(message, "as arguments of a SQL function, with safeIntegers: true (")
          }
        }
      }
      assert.deepStrictEqual(yield* pool.sql`select count(*) from t`.values, [[0]])
      seen.length = 0
      const values = "(values (9007199254740991), (-1), (1.5), ('a'), (null), (x'01'))"
      const all = [9007199254740991, -1, 1.5, "a", null, new Uint8Array([1])]
      assert.deepStrictEqual(yield* pool.sql.unsafe(`select sees(column1) from ${values}`).values, [[6]])
      assert.deepStrictEqual(seen, all)
      seen.length = 0
      yield* pool.sql.unsafe(`select near(column1) from ${values}`)
      assert.deepStrictEqual(seen, all)
    }))

  it.effect("gets integers exactly if it asks for bigints", () =>
    Effect.gen(function*() {
      const exact = SqliteFunction.aggregate({
        safeIntegers: true,
        start: () => 0n,
        step: (sum, value) => sum + (value as bigint),
        result: (sum) => String(sum)
      })
      const { sql } = yield* makePool({ aggregates: { exact } })
      yield* sql`insert into n values (9007199254740993)`
      assert.deepStrictEqual(yield* sql`select exact(n) from n`.values, [["9007199254741008"]])
    }))
})
