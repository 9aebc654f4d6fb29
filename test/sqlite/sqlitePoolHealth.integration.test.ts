import { assert, describe, it } from "@effect/vitest"
import { Effect, Fiber, Layer } from "effect"
import { HealthChecker } from "effect-connection-pool"
import { SqlitePool } from "effect-connection-pool/sqlite"
import { TestClock } from "effect/testing"
import { renameSync } from "node:fs"
import { DatabaseSync } from "node:sqlite"
import { file } from "../support/files.ts"
import { summaryOfSides } from "../support/health.ts"
import { settle } from "../support/pools.ts"

const make = Effect.gen(function*() {
  const filename = yield* file
  const pool = yield* SqlitePool.make({ filename, acquireTimeout: "2 seconds", drainTimeout: 0 })
  yield* pool.write((connection) => connection.exec("create table t(a)"))
  const health = yield* HealthChecker.make(pool, { interval: "1 second" })
  return { filename, health, pool }
})

describe("the health of a SQLite database", () => {
  it.effect("is that of both sides, in one report", () =>
    Effect.gen(function*() {
      const { health, pool } = yield* make
      const report = yield* health.report
      assert.deepStrictEqual(summaryOfSides(report), ["healthy"])
      assert.strictEqual(report.pool, pool.name)
      assert.deepStrictEqual(
        Object.entries(report.sides ?? {}).map(([side, { pool, status }]) => `${side} ${pool} ${status}`),
        ["writer sqlite/writer healthy", `readers ${pool.readers.name} healthy`]
      )
      // There was no reader yet: one is opened to know.
      assert.deepStrictEqual(report.connections, { passed: 1, failed: 0, opened: 1, inUse: 0 })
    }))

  it.effect("says that it is the writer, while another process has the lock, and is well again after it", () =>
    Effect.gen(function*() {
      const { filename, health, pool } = yield* make
      using other = new DatabaseSync(filename)
      other.exec("begin immediate")
      const insert = Effect.forkChild(
        Effect.exit(pool.write((connection) => connection.run("insert into t values (1)")))
      )
      const writers = [yield* insert, yield* insert]
      yield* TestClock.adjust("1500 millis")
      assert.deepStrictEqual(summaryOfSides(yield* health.check()), ["degraded", "writer: CallersWaiting"])
      yield* TestClock.adjust("500 millis")
      assert.deepStrictEqual(summaryOfSides(yield* health.check()), ["degraded", "writer: CallersTurnedAway"])
      assert.strictEqual((yield* health.report).sides?.["readers"]?.status, "healthy")
      other.exec("rollback")
      yield* TestClock.adjust("1 second")
      yield* Effect.forEach(writers, Fiber.await)
      yield* TestClock.adjust("3 seconds")
      assert.deepStrictEqual(summaryOfSides(yield* health.report), ["healthy"])
    }))

  it.effect("says that no side works once the file is gone, and is well again when it is back", () =>
    Effect.gen(function*() {
      const { filename, health, pool } = yield* make
      yield* pool.read((reader) => reader.values("select 1 from t"))
      renameSync(filename, `${filename}.moved`)
      yield* TestClock.adjust("30 seconds")
      const gone = yield* health.check()
      assert.strictEqual(gone.status, "unhealthy")
      assert.deepStrictEqual(Object.values(gone.sides ?? {}).map(({ status }) => status), ["unhealthy", "unhealthy"])
      renameSync(`${filename}.moved`, filename)
      yield* TestClock.adjust("30 seconds")
      yield* settle
      assert.deepStrictEqual(summaryOfSides(yield* health.check()), ["healthy"])
    }))

  it.effect("is that of the only side in memory", () =>
    Effect.gen(function*() {
      const pool = yield* SqlitePool.make({ filename: ":memory:", name: "scratch" })
      const report = yield* Effect.flatMap(HealthChecker.make(pool), ({ report }) => report)
      assert.deepStrictEqual([report.pool, ...summaryOfSides(report)], ["scratch", "healthy"])
      assert.deepStrictEqual(Object.keys(report.sides ?? {}), ["writer"])
    }))

  it.effect("is a layer in one line", () =>
    Effect.gen(function*() {
      class Health extends HealthChecker.Service<Health>()("test/Health") {}
      const layer = Health.layer(SqlitePool.SqlitePool).pipe(Layer.provide(SqlitePool.layerTemporary()))
      const report = yield* Effect.provide(Effect.flatMap(Health, ({ report }) => report), layer)
      assert.deepStrictEqual(summaryOfSides(report), ["healthy"])
    }))
})
