/** Queries that are observed on readers in threads. */
import { assert, describe, it } from "@effect/vitest"
import { Effect, Fiber, Stream } from "effect"
import { SqlitePool } from "effect-connection-pool/sqlite"
import { PoolAssert } from "effect-connection-pool/testing"
import { SafeIntegers } from "effect/sql/SqlClient"
import { readingOf } from "../support/observing.ts"
import { count, make as makePool } from "../support/sqlitePools.ts"
import { until } from "../support/workerPools.ts"

const make = (options?: Partial<SqlitePool.Options>) =>
  makePool({ workers: 1, observeInterval: "Infinity", ...options })

const onWorker = { execution: "worker" } as const

/** How often a reader of each kind was lent. */
const checkouts = (pool: SqlitePool.SqlitePool) =>
  Effect.map(pool.stats, ({ readers, workers }) => [readers.checkouts, workers!.checkouts])

describe("a statement that is observed on a worker", () => {
  it.live("runs there, and again after each commit that touched what it reads", () =>
    Effect.gen(function*() {
      const { pool } = yield* make()
      yield* pool.write((connection) =>
        connection.exec("create table u(a); create view v as select count(*) as n from t")
      )
      const seen = yield* readingOf(pool.observe("select n + ? as n from v", [10], onWorker))
      yield* until(() => seen.length === 1)
      assert.deepStrictEqual(yield* checkouts(pool), [0, 1])
      yield* pool.sql`insert into u values (1)`
      yield* pool.sql`insert into t values (2)`
      yield* until(() => seen.length === 2)
      assert.deepEqual(seen, [[{ n: 11 }], [{ n: 12 }]])
      // The other table was not read.
      assert.deepStrictEqual(yield* checkouts(pool), [0, 2])
      yield* pool.write((connection) => connection.exec("drop view v; create view v as select max(a) as n from u"))
      // There may be more results than changes.
      const shown = (n: number) => until(() => seen.at(-1)![0]!["n"] === n)
      yield* shown(11)
      yield* pool.sql`insert into u values (5)`
      yield* shown(15)
    }).pipe(Effect.scoped))

  it.live("runs where its region or the database says, and all reads of an effect too", () =>
    Effect.gen(function*() {
      for (const isRegion of [true, false]) {
        const { pool } = yield* make(isRegion ? {} : onWorker)
        const streams: ReadonlyArray<Stream.Stream<unknown, unknown>> = [
          pool.observe("select a from t"),
          pool.observe(pool.read(count)),
          ...(isRegion ? [] : [pool.observe("select a from t", [], { execution: "in-process" })])
        ]
        for (const stream of streams) {
          const run = Stream.runHead(stream)
          yield* isRegion ? SqlitePool.onWorker(run) : run
        }
        assert.deepStrictEqual(yield* checkouts(pool), isRegion ? [0, 2] : [1, 2])
      }
      const { pool } = yield* make()
      yield* Stream.runHead(pool.observe(pool.read(count), onWorker))
      assert.deepStrictEqual(yield* checkouts(pool), [0, 1])
    }).pipe(Effect.scoped))

  it.live("has many rows, and exact integers if they are asked for", () =>
    Effect.gen(function*() {
      const { pool } = yield* make()
      const many = "with recursive n(i) as (select 1 union all select i + 1 from n where i < 3000) select i from n"
      const head = yield* Stream.runCollect(Stream.take(
        Stream.provideService(pool.observe(many, [], onWorker), SafeIntegers, true),
        1
      ))
      assert.strictEqual(head[0]!.length, 3000)
      assert.deepEqual(head[0]!.at(-1), { i: 3000n })
    }).pipe(Effect.scoped))

  it.live("fails as in process: it may not write, nor begin a transaction, and its errors are typed", () =>
    Effect.gen(function*() {
      const { pool } = yield* make()
      for (
        const sql of ["insert into t values (2) returning a", "begin", "pragma cache_size = 7", "select a from missing"]
      ) {
        const [here, there] = yield* Effect.forEach(
          ["in-process", "worker"] as const,
          (execution) => PoolAssert.failsWith(Stream.runDrain(pool.observe(sql, [], { execution })), "SqlError")
        )
        assert.deepStrictEqual([there!.reason._tag, there!.message], [here!.reason._tag, here!.message], sql)
      }
      assert.strictEqual(yield* pool.read(count), 1)
      const { pool: without } = yield* makePool()
      const error = yield* PoolAssert.failsWith(
        Stream.runDrain(without.observe("select a from t", [], onWorker)),
        "PoolConfigError"
      )
      assert.strictEqual(error.problems[0].field, "execution")
    }).pipe(Effect.scoped))

  it.live("ends with a shutdown of the workers alone, and one in process goes on", () =>
    Effect.gen(function*() {
      const { pool } = yield* make()
      const streams = [pool.observe("select a from t", [], onWorker), pool.observe(pool.read(count), onWorker)]
      let runs = 0
      const waiting = yield* Effect.forEach(streams, (stream: Stream.Stream<unknown, unknown>) =>
        Effect.forkChild(Effect.flip(Stream.runForEach(stream, () =>
          Effect.sync(() => void runs++)))))
      const here = yield* readingOf(pool.observe("select a from t"))
      yield* until(() =>
        runs === 2 && here.length === 1
      )
      yield* pool.workers!.shutdown()
      for (const fiber of waiting) {
        assert.strictEqual(((yield* Fiber.join(fiber)) as { readonly _tag: string })._tag, "PoolClosedError")
      }
      yield* pool.sql`insert into t values (2)`
      yield* until(() => here.length === 2)
    }).pipe(Effect.scoped))
})
