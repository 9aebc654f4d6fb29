import { assert, describe, it } from "@effect/vitest"
import { Deferred, Effect, Fiber, Logger, References, Stream } from "effect"
import { SqliteConnection, SqlitePool } from "effect-connection-pool/sqlite"
import { PoolAssert } from "effect-connection-pool/testing"
import { elsewhere } from "../support/files.ts"
import { functionsModule, heldStatement } from "../support/held.ts"
import { count, insert, make as makePool } from "../support/sqlitePools.ts"
import { until } from "../support/workerPools.ts"

const make = (options?: Partial<SqlitePool.Options>) => makePool({ workers: 1, ...options })

const onWorker = { execution: "worker" } as const

describe("a snapshot on a worker", () => {
  it.live("sees one state in all of its body, whichever way it reads, while others write", () =>
    Effect.gen(function*() {
      const { pool } = yield* make()
      const { sql } = pool
      const seen = yield* pool.snapshot(
        Effect.gen(function*() {
          const before = yield* pool.read(count)
          yield* elsewhere(pool.write(insert))
          const outside = yield* elsewhere(pool.read(count))
          const inside = yield* Effect.all([
            pool.read(count),
            Effect.map(sql`select count(*) as n from t`, ([row]) => row!["n"]),
            Effect.map(Stream.runCollect(pool.stream("select count(*) as n from t")), ([row]) => row!["n"]),
            pool.snapshot(pool.read(count))
          ], { concurrency: "unbounded" })
          return { before, outside, inside }
        }),
        onWorker
      )
      assert.deepStrictEqual(seen, { before: 1, outside: 2, inside: [1, 1, 1, 1] })
      const { readers, workers } = yield* pool.stats
      assert.deepStrictEqual([readers.inUse, workers!.checkouts, workers!.idle], [0, 1, 1])
    }).pipe(Effect.scoped))

  it.live("runs where its region, or its database, says", () =>
    Effect.gen(function*() {
      const { pool } = yield* make()
      yield* SqlitePool.onWorker(pool.snapshot(pool.read(count)))
      yield* SqlitePool.onWorker(pool.transaction(pool.read(count), { readOnly: true }))
      assert.strictEqual((yield* pool.stats).workers!.checkouts, 2)
      yield* SqlitePool.onWorker(pool.snapshot(pool.read(count), { execution: "in-process" }))
      yield* pool.snapshot(pool.read(count))
      assert.strictEqual((yield* pool.stats).workers!.checkouts, 2)
      const other = yield* make({ execution: "worker" })
      yield* other.pool.snapshot(other.pool.read(count))
      assert.strictEqual((yield* other.pool.stats).workers!.checkouts, 1)
      const without = yield* makePool()
      yield* PoolAssert.failsWith(without.pool.snapshot(Effect.void, onWorker), "PoolConfigError")
    }).pipe(Effect.scoped))

  it.live("refuses to write, by whatever way, and says why", () =>
    Effect.gen(function*() {
      const { pool } = yield* make()
      const ways: Record<string, Effect.Effect<unknown, unknown>> = {
        write: pool.write(insert),
        transaction: pool.transaction(pool.write(insert)),
        sql: pool.sql`insert into t values (1)`,
        runUnsafe: pool.writeSync((connection) => connection.runUnsafe("insert into t values (1)")),
        execUnsafe: pool.writeSync((connection) => connection.execUnsafe("insert into t values (1)")),
        valuesUnsafe: pool.writeSync((connection) => connection.valuesUnsafe("insert into t values (1) returning a"))
      }
      for (const [name, way] of Object.entries(ways)) {
        const error = yield* Effect.flip(pool.snapshot(way, onWorker))
        assert.strictEqual(SqliteConnection.codeOf(error), 8, name)
        assert.include(String(error), "this snapshot only reads", name)
      }
      const batch = Stream.runDrain(pool.batch("insert into t values (?)", [[1]]))
      yield* PoolAssert.failsWith(pool.snapshot(batch, onWorker), "BatchError")
      assert.strictEqual(yield* pool.read(count), 1)
    }).pipe(Effect.scoped))

  it.live("frees an interrupted caller at once, and pins nothing once its statement has ended", () =>
    Effect.gen(function*() {
      const { pool } = yield* make({ functionsModule })
      const held = yield* heldStatement
      const long = Effect.andThen(pool.read(count), pool.sql.unsafe(held.sql))
      const fiber = yield* Effect.forkChild(pool.snapshot(long, onWorker))
      yield* held.hasBegun
      yield* Fiber.interrupt(fiber)
      assert.strictEqual((yield* pool.stats).workers!.abandoned, 1)
      assert.strictEqual(yield* pool.snapshot(pool.read(count), onWorker), 1)
      const { abandoned, total } = (yield* pool.stats).workers!
      assert.deepStrictEqual([abandoned, total], [1, 2])
      yield* pool.write(insert)
      yield* held.letGo
      while ((yield* pool.stats).workers!.abandoned > 0) yield* Effect.sleep(5)
      assert.isTrue((yield* pool.checkpoint()).isComplete)
    }).pipe(Effect.scoped))

  it.live("ends when it is older than maxReadAge, also while its statement runs", () =>
    Effect.gen(function*() {
      const pools: Array<unknown> = []
      const logger = Logger.make(({ fiber }) => void pools.push(fiber.getRef(References.CurrentLogAnnotations)["pool"]))
      const { pool } = yield* Effect.provide(make({ maxReadAge: 100, functionsModule }), Logger.layer([logger]))
      const held = yield* heldStatement
      const idle = pool.snapshot(Effect.andThen(pool.read(count), Effect.never), onWorker)
      yield* PoolAssert.failsWith(idle, "SnapshotExpiredError")
      // It does not end before the test does.
      const busy = pool.snapshot(Effect.andThen(pool.read(count), pool.sql.unsafe(held.sql)), onWorker)
      const error = yield* PoolAssert.failsWith(busy, "SnapshotExpiredError")
      assert.include(error.message, "maxReadAge")
      assert.deepStrictEqual(new Set(pools), new Set([`${pool.name}/workers`]))
    }).pipe(Effect.scoped))

  it.live("pins nothing once it is older than maxReadAge, also where its body cannot be interrupted, and costs no thread", () =>
    Effect.gen(function*() {
      const { pool } = yield* make({ maxReadAge: 100 })
      const gate = yield* Deferred.make<void>()
      // Also where the test fails.
      yield* Effect.addFinalizer(() => Deferred.succeed(gate, undefined))
      const body = Effect.andThen(pool.read(count), Effect.uninterruptible(Deferred.await(gate)))
      const snapshot = yield* Effect.forkChild(pool.snapshot(body, onWorker))
      while (((yield* pool.stats).workers!).inUse === 0) yield* Effect.sleep(1)
      yield* pool.write(insert)
      const isMoved = Effect.map(pool.checkpoint(), ({ isComplete }) => isComplete)
      yield* Effect.repeat(Effect.andThen(Effect.sleep(10), isMoved), { until: (isComplete) => isComplete })
      assert.isUndefined(snapshot.pollUnsafe())
      yield* Deferred.succeed(gate, undefined)
      yield* PoolAssert.failsWith(Fiber.join(snapshot), "SnapshotExpiredError")
      assert.strictEqual(yield* pool.snapshot(pool.read(count), onWorker), 2)
      assert.strictEqual((yield* pool.stats).workers!.connects, 1)
    }).pipe(Effect.scoped))

  it.live("is observed: a query runs again after each commit that touches what it reads there", () =>
    Effect.gen(function*() {
      const { pool } = yield* make({ execution: "worker" })
      yield* pool.write((connection) => connection.exec("create table u(a)"))
      const seen: Array<unknown> = []
      const query = Effect.map(pool.read(count), (n) => n)
      const fiber = yield* Effect.forkChild(
        Stream.runForEach(pool.observe(query), (n) => Effect.sync(() => void seen.push(n))),
        { startImmediately: true }
      )
      yield* until(() => seen.length === 1)
      yield* pool.sql`insert into u values (1)`
      yield* pool.sql`insert into t values (2)`
      yield* until(() => seen.length === 2)
      yield* Fiber.interrupt(fiber)
      assert.deepStrictEqual(seen, [1, 2])
      assert.isAtLeast((yield* pool.stats).workers!.checkouts, 2)
    }).pipe(Effect.scoped))
})
