import { assert, describe, it } from "@effect/vitest"
import { Effect, Fiber, Schema, Stream } from "effect"
import { SqliteConnection, SqlitePool } from "effect-connection-pool/sqlite"
import { PoolAssert } from "effect-connection-pool/testing"
import { SafeIntegers } from "effect/sql/SqlClient"
import * as SqlSchema from "effect/sql/SqlSchema"
import { Pace } from "../../src/sqlite/internal/sql/pace.ts"
import { counting, executions } from "../support/executions.ts"
import { file, judge } from "../support/files.ts"
import { functionsModule, heldStatement } from "../support/held.ts"
import { refused } from "../support/programs/sqlFunctions.ts"
import { count, insert, make } from "../support/sqlitePools.ts"

/** The numbers of leases that each side has given out. */
const leases = (pool: SqlitePool.SqlitePool) =>
  Effect.map(pool.stats, ({ readers, workers, writer }) => ({
    writer: writer.checkouts,
    readers: readers.checkouts,
    workers: workers?.checkouts
  }))

/** The sides whose numbers of leases grew, and by how much. */
const used = <A, E>(pool: SqlitePool.SqlitePool, effect: Effect.Effect<A, E>) =>
  Effect.gen(function*() {
    const before = yield* leases(pool)
    const result = yield* effect
    const after = yield* leases(pool)
    const grown: Record<string, number> = {}
    for (const side of ["writer", "readers", "workers"] as const) {
      const by = (after[side] ?? 0) - (before[side] ?? 0)
      if (by > 0) grown[side] = by
    }
    return [result, grown] as const
  })

for (const [execution, options] of executions) {
  const side = execution === "worker" ? "workers" : "readers"

  describe(`a database whose execution is "${execution}"`, () => {
    it.effect("gives the same rows, of the same types", () =>
      Effect.gen(function*() {
        const { pool } = yield* make(options)
        const sql = "select ?1 as a, ?2 as b, ?3 as c, ?4 as d, ?5 as e, 1 as a"
        const params = ["x\0y", 1.5, 7, null, Uint8Array.of(1, 2)]
        const values = ["x\0y", 1.5, 7, null, Uint8Array.of(1, 2), 1]
        const row = Object.assign(Object.create(null), { a: 1, b: 1.5, c: 7, d: null, e: Uint8Array.of(1, 2) })
        assert.deepStrictEqual(yield* pool.read((reader) => reader.values(sql, params)), [values])
        const queried = yield* pool.read((reader) => reader.query(sql, params))
        assert.deepStrictEqual(queried, [row])
        assert.isNull(Object.getPrototypeOf(queried[0]))
        assert.deepStrictEqual(yield* Stream.runCollect(pool.stream(sql, params)), [row])
        assert.deepStrictEqual(yield* pool.sql.unsafe(sql, params), [row])
        assert.deepStrictEqual(yield* pool.sql.unsafe(sql, params).values, [values])
        assert.deepStrictEqual(yield* pool.sql.unsafe(sql, params).raw, [row])
        assert.deepStrictEqual(yield* Stream.runCollect(pool.sql.unsafe(sql, params).stream), [row])
        const exact = pool.sql<{ n: bigint }>`select 9007199254740993 as n`
        assert.deepStrictEqual((yield* Effect.provideService(exact, SafeIntegers, true))[0]!.n, 9007199254740993n)
        const error = yield* Effect.flip(exact)
        assert.include(error.message, "SafeIntegers")
      }))

    it.effect("leaves all reads to its side, and writes to the writer", () =>
      Effect.gen(function*() {
        const { pool } = yield* make(options)
        const { sql } = pool
        assert.deepStrictEqual(yield* used(pool, pool.read(count)), [1, { [side]: 1 }])
        assert.deepStrictEqual(yield* used(pool, Effect.asVoid(sql`select * from t`)), [undefined, { [side]: 1 }])
        assert.deepStrictEqual(yield* used(pool, Stream.runCount(pool.stream("select * from t"))), [1, { [side]: 1 }])
        assert.deepStrictEqual(yield* used(pool, Stream.runCount(sql`select * from t`.stream)), [1, { [side]: 1 }])
        assert.deepStrictEqual(yield* used(pool, Effect.asVoid(sql`delete from t`)), [undefined, { writer: 1 }])
        const sync = pool.readSync((reader) => reader.valuesUnsafe("select count(*) from t")[0]![0])
        assert.deepStrictEqual(yield* used(pool, sync), [0, { readers: 1 }])
        const snapshot = pool.snapshot(Effect.all([pool.read(count), sql`select * from t`]))
        assert.deepStrictEqual(yield* used(pool, snapshot), [[0, []], { [side]: 1 }])
        const transaction = pool.transaction(Effect.andThen(pool.write(insert), pool.read(count)))
        assert.deepStrictEqual(yield* used(pool, transaction), [1, { writer: 1 }])
      }))

    it.effect("reads everything that was committed before", () =>
      Effect.gen(function*() {
        const { filename, pool } = yield* make(options)
        const other = yield* judge(filename)
        for (let rows = 1; rows <= 50; rows += 2) {
          assert.strictEqual(yield* pool.read(count), rows)
          yield* pool.write(insert)
          assert.deepStrictEqual(yield* pool.sql`select count(*) from t`.values, [[rows + 1]])
          other.exec("insert into t values (1)")
        }
      }))

    it.effect("fails with the same typed errors", () =>
      Effect.gen(function*() {
        const { pool } = yield* make({ ...options, name: "books" })
        const { sql } = pool
        const messages = Effect.forEach([
          pool.read((reader) => reader.query("select missing from t")),
          pool.read((reader) => reader.values("insert into t values (2)")),
          pool.read((reader) => reader.query("select ?", [Number.NaN])),
          pool.read((reader) => reader.query("select ?", [1, 2])),
          pool.read((reader) => Stream.runDrain(reader.stream("select * from missing"))),
          sql`select missing from t`,
          sql`select abs(-9223372036854775808)`,
          sql`begin`
        ], (attempt) => Effect.flip(attempt as Effect.Effect<unknown, { readonly message: string }>))
        const [unknown, write, nan, many, stream, ofSql, overflow, control] = yield* messages
        assert.include(unknown!.message, "no such column: missing")
        assert.strictEqual(SqliteConnection.codeOf(write), 8)
        assert.include(write!.message, `this is a reader of pool "books", which cannot write: use \`write\``)
        assert.include(nan!.message, "NaN")
        assert.include(many!.message, "2")
        assert.include(stream!.message, "no such table: missing")
        assert.include(ofSql!.message, "no such column: missing")
        assert.include(overflow!.message, "integer overflow")
        assert.include(control!.message, "withTransaction")
        const expired = yield* pool.read(Effect.succeed)
        const error = yield* PoolAssert.failsWith(expired.query("select 1"), "LeaseExpiredError")
        assert.strictEqual(error.pool, `books/${side}`)
      }))
  })
}

describe("a choice of where to read", () => {
  it.effect("is made for one read, one stream, or all that an effect does", () =>
    Effect.gen(function*() {
      const { pool } = yield* make({ workers: 1 })
      const { sql } = pool
      const onWorker = { execution: "worker" } as const
      assert.deepStrictEqual(yield* used(pool, pool.read(count)), [1, { readers: 1 }])
      assert.deepStrictEqual(yield* used(pool, pool.read(count, onWorker)), [1, { workers: 1 }])
      const stream = Stream.runCount(pool.stream("select * from t", [], onWorker))
      assert.deepStrictEqual(yield* used(pool, stream), [1, { workers: 1 }])
      const resolver = SqlSchema.findAll({
        Request: Schema.Number,
        Result: Schema.Struct({ a: Schema.Number }),
        execute: (a) => sql`select a from t where a = ${a}`
      })
      const all = Effect.all([resolver(1), pool.read(count), Stream.runCount(sql`select * from t`.stream)])
      const found: Effect.Success<typeof all> = [[{ a: 1 }], 1, 1]
      assert.deepStrictEqual(yield* used(pool, SqlitePool.onWorker(all)), [found, { workers: 3 }])
      const inner = SqlitePool.inProcess(SqlitePool.onWorker(all))
      assert.deepStrictEqual(yield* used(pool, inner), [found, { workers: 3 }])
      assert.deepStrictEqual(yield* used(pool, SqlitePool.onWorker(SqlitePool.inProcess(all))), [found, { readers: 3 }])
      const write = SqlitePool.onWorker(sql`insert into t values (2)`)
      assert.deepStrictEqual(yield* used(pool, write), [[], { writer: 1 }])
      const inside = pool.transaction(pool.read(count, onWorker))
      assert.deepStrictEqual(yield* used(pool, inside), [2, { writer: 1 }])
    }))

  it.effect("gives a reader in process its synchronous operations", () =>
    Effect.gen(function*() {
      const { pool } = yield* make({ execution: "worker" })
      const read = pool.read(
        (reader) => Effect.succeed(reader.valuesUnsafe("select a from t")),
        { execution: "in-process" }
      )
      assert.deepStrictEqual(yield* used(pool, read), [[[1]], { readers: 1 }])
    }))

  it.effect("runs a statement on the writer that a worker has refused as a write, though its text seems to read", () =>
    Effect.gen(function*() {
      const { pool } = yield* make({ execution: "worker", functionsModule })
      const { sql } = pool
      assert.deepStrictEqual(yield* used(pool, sql.unsafe(refused).values), [[[1]], { writer: 1, workers: 1 }])
      const stream = Stream.runCount(sql.unsafe(refused).stream)
      assert.deepStrictEqual(yield* used(pool, stream), [1, { writer: 1, workers: 1 }])
      const error = yield* PoolAssert.failsWith(pool.read((reader) => reader.query(refused)), "SqlError")
      assert.strictEqual(SqliteConnection.codeOf(error), 8)
    }))

  it.effect("of a worker is refused where there is none", () =>
    Effect.gen(function*() {
      const { pool } = yield* make({ name: "books" })
      const read = pool.read(count, { execution: "worker" })
      const why = "has no workers: open it with `workers`, the number of threads that it may have"
      const stream = Stream.runDrain(pool.stream("select 1", [], { execution: "worker" }))
      for (
        const { message } of [
          yield* PoolAssert.failsWith(read, "PoolConfigError"),
          yield* PoolAssert.failsWith(stream, "PoolConfigError")
        ]
      ) {
        assert.strictEqual(message, `pool "books": it ${why}`)
      }
      const ofStream = Stream.runDrain(pool.sql`select 1`.stream)
      for (
        const { message } of [
          yield* PoolAssert.failsWith(SqlitePool.onWorker(pool.sql`select 1`), "SqlError"),
          yield* PoolAssert.failsWith(SqlitePool.onWorker(ofStream), "SqlError")
        ]
      ) {
        assert.strictEqual(message, `onWorker: the database "books" ${why}`)
      }
      const wrong = pool.read(count, { execution: "thread" as "worker" })
      const invalid = yield* PoolAssert.failsWith(wrong, "PoolConfigError")
      assert.include(invalid.message, `execution is "thread", but must be "in-process" or "worker"`)
    }))

  it.effect("has no effect in memory", () =>
    Effect.gen(function*() {
      const pool = yield* SqlitePool.make({ filename: ":memory:" })
      const one = pool.read((reader) => reader.values("select 1"), { execution: "worker" })
      assert.deepStrictEqual(yield* one, [[1]])
      assert.deepStrictEqual(yield* SqlitePool.onWorker(pool.sql`select 1`.values), [[1]])
    }))

  it.effect("of a worker leaves the event loop free", () =>
    Effect.gen(function*() {
      const { pool } = yield* make({ workers: 1, functionsModule })
      const held = yield* heldStatement
      const long = pool.read((reader) => reader.values(held.sql), { execution: "worker" })
      const running = yield* Effect.forkChild(long)
      yield* held.hasBegun
      for (let n = 0; n < 100; n++) assert.strictEqual(yield* pool.read(count), 1)
      assert.isUndefined(running.pollUnsafe())
      yield* held.letGo
      assert.deepStrictEqual(yield* Fiber.join(running), [[1]])
    }))

  it.live("is learned with \"auto\": a text that was slow runs on workers from its second run on", () =>
    Effect.gen(function*() {
      const filename = yield* file
      const pool = yield* SqlitePool.make({ filename, execution: "auto" })
      const where = Effect.map(used(pool, pool.sql.unsafe(counting(200_000)).values), ([, grown]) => grown)
      assert.deepStrictEqual(yield* pool.movedToWorkers, [])
      assert.deepStrictEqual(yield* where, { readers: 1 })
      assert.deepStrictEqual(yield* pool.movedToWorkers, [counting(200_000).replaceAll(/\s+/g, " ").trim()])
      assert.deepStrictEqual(yield* where, { workers: 1 })
      assert.deepStrictEqual(yield* where, { workers: 1 })
      // Another text is not affected, nor is what hands out a connection, nor a region that chooses.
      assert.deepStrictEqual(yield* used(pool, pool.sql`select 1`.values), [[[1]], { readers: 1 }])
      assert.deepStrictEqual(yield* SqlitePool.inProcess(where), { readers: 1 })
      const read = Effect.asVoid(pool.read((reader) => reader.values(counting(200_000))))
      assert.deepStrictEqual(yield* used(pool, read), [undefined, { readers: 1 }])
    }))
})

/** How many fast runs follow a slow one until the text is not slow any more. */
const awayAfterSlow = (pace: Pace) => {
  pace.took(1.1)
  let runs = 0
  while (pace.isSlow && runs < 5000) {
    pace.took(1)
    runs++
  }
  return runs
}

describe("the pace of a text", () => {
  it("is slow for ten fast runs after one slow run, for a hundred after the second, and then for a thousand", () => {
    const pace = new Pace()
    pace.took(1)
    assert.isFalse(pace.isSlow)
    assert.deepStrictEqual([0, 1, 2, 3].map(() => awayAfterSlow(pace)), [10, 100, 1000, 10])
  })

  it("counts the fast runs since the last slow one", () => {
    const pace = new Pace()
    for (let run = 0; run < 3; run++) pace.took(20)
    for (let run = 1; run < 1000; run++) pace.took(0)
    assert.isTrue(pace.isSlow)
    assert.strictEqual(awayAfterSlow(pace), 1000)
    assert.isFalse(pace.isSlow)
  })

  it("is as it was at first after a thousand fast runs in a row, wherever they were", () => {
    const pace = new Pace()
    assert.deepStrictEqual([awayAfterSlow(pace), awayAfterSlow(pace)], [10, 100])
    for (let run = 100; run < 1000; run++) pace.took(0)
    assert.deepStrictEqual([awayAfterSlow(pace), awayAfterSlow(pace)], [10, 100])
  })

  it("is long if its runs take long on average, and not for one of them", () => {
    const pace = new Pace()
    assert.isFalse(pace.isLong)
    pace.took(20)
    assert.isTrue(pace.isLong)
    pace.took(20)
    for (let run = 0; run < 100; run++) pace.took(0)
    assert.isFalse(pace.isLong)
    pace.took(1000)
    assert.isFalse(pace.isLong)
    pace.took(5)
    assert.isTrue(pace.isLong)
  })
})
