import { assert, describe, it } from "@effect/vitest"
import { Effect, Fiber } from "effect"
import { HealthChecker, PoolMap } from "effect-connection-pool"
import { SqlitePool } from "effect-connection-pool/sqlite"
import { TestClock } from "effect/testing"
import * as Inspected from "../support/inspector.ts"
import { borrow, make, settle } from "../support/pools.ts"
import * as SqlitePools from "../support/sqlitePools.ts"

describe("what an inspector shows", () => {
  it.effect("is what stats and holders say, and how long the first caller in line has waited", () =>
    Effect.gen(function*() {
      const { pool } = yield* make({ name: "orders", max: 1 })
      const inspector = yield* Inspected.make({ watch: [pool] })
      const lease = yield* borrow(pool, { label: "nightly export" })
      yield* TestClock.adjust("1 second")
      const waiting = yield* Effect.forkChild(pool.use(() => Effect.void))
      yield* TestClock.adjust("3 seconds")
      const { databases, health, maps, pool: view } = yield* inspector.events()
      assert.deepStrictEqual(view!.stats, JSON.parse(JSON.stringify(yield* pool.stats)))
      assert.deepStrictEqual(view!.holders, [
        { connection: 1, label: "nightly export", fiber: (yield* pool.holders)[0]!.fiber, heldMillis: 4000 }
      ] as never)
      assert.deepStrictEqual([view!.name, view!.longestWaitMillis, view!.isOpen, view!.isPaused], [
        "orders",
        3000,
        true,
        false
      ])
      assert.deepStrictEqual([databases, health, maps], [[], [], []])
      // Its button has the same numbers, although the last look may be a second old.
      yield* TestClock.adjust("600 millis")
      const others = [
        yield* Effect.forkChild(pool.use(() => Effect.void)),
        yield* Effect.forkChild(pool.use(() => Effect.void))
      ]
      yield* settle
      const { pool: shown, pools: [button] } = yield* inspector.events()
      assert.deepStrictEqual([button!.waiting, shown!.stats.waiting], [3, 3])
      for (const other of others) yield* Fiber.interrupt(other)
      yield* lease.giveBack
      yield* Fiber.join(waiting)
    }))

  it.effect("has the waits and the leases of the history only", () =>
    Effect.gen(function*() {
      const { pool } = yield* make({ max: 1 })
      const before = yield* borrow(pool)
      yield* TestClock.adjust("1 minute")
      yield* before.giveBack
      const inspector = yield* Inspected.make({ watch: [pool] })
      assert.deepStrictEqual((yield* inspector.view).waits, { count: 0, overMillis: 0, mean: 0, p50: 0, p99: 0 })
      const lease = yield* borrow(pool)
      const waiting = yield* Effect.forkChild(pool.use(() => Effect.void, { timeout: "1 minute" }))
      yield* TestClock.adjust("40 seconds")
      yield* lease.giveBack
      yield* Fiber.join(waiting)
      yield* TestClock.adjust("1 second")
      const { leases, waits } = yield* inspector.view
      assert.deepStrictEqual([waits!.count, waits!.overMillis, waits!.mean], [2, 41_000, 20_000])
      // Half waited not at all, and the other for 40 s: between the bounds of its bucket.
      assert.isAtMost(waits!.p50, 0.1)
      assert.isAbove(waits!.p99, 30_000)
      assert.isAtMost(waits!.p99, 60_000)
      assert.strictEqual(leases!.count, 2)
    }))

  it.effect("says that waits are not measured, if the pool has no metrics", () =>
    Effect.gen(function*() {
      const { pool } = yield* make({ metrics: false })
      const inspector = yield* Inspected.make({ watch: [pool] })
      yield* pool.use(() => Effect.void)
      yield* TestClock.adjust("1 second")
      const { leases, waits } = yield* inspector.view
      assert.deepStrictEqual([waits, leases], [undefined, undefined])
      const { problem } = yield* inspector.sizes(0)
      assert.include(problem, "metrics")
    }))

  it.effect("has the pools of all that is watched, each once, and the keys of maps as text", () =>
    Effect.gen(function*() {
      const { pool } = yield* make({ name: "one" })
      const other = yield* make({ name: "two" })
      const database = { name: "both", sides: { writer: other.pool, readers: pool } }
      const map = yield* PoolMap.make({ name: "customers", open: () => Effect.succeed("a pool") })
      const key = { toJSON: () => ({ customer: "<b>Ada</b>" }) }
      yield* map.use(key, () => Effect.void)
      const unprintable = {
        toJSON: () => {
          throw new Error("no")
        },
        toString: () => {
          throw new Error("no")
        }
      }
      yield* map.use(unprintable, () => Effect.void)
      const inspector = yield* Inspected.make({ watch: [pool, database, map, pool] })
      const { databases, maps, pools } = yield* inspector.events()
      assert.deepStrictEqual(pools.map(({ name }) => name), ["one", "two"])
      assert.deepStrictEqual(databases, [{ name: "both", pools: [1, 0] }] as never)
      assert.deepStrictEqual(maps[0]!.pools.map(({ state }) => state), ["idle", "idle"])
      assert.include(maps[0]!.pools[0]!.key, "<b>Ada</b>")
      assert.isString(maps[0]!.pools[1]!.key)
      yield* map.invalidate(key)
      yield* settle
      const { happenings } = yield* inspector.events()
      assert.deepStrictEqual(happenings.map(({ pool, source, tag }) => ({ pool, source, tag })), [
        { pool: -1, source: "customers", tag: "Evicted" },
        { pool: -1, source: "customers", tag: "Closed" }
      ])
    }))

  it.effect("has the last report of each health checker, and says when there is none yet", () =>
    Effect.gen(function*() {
      const { faulty, pool } = yield* make({ name: "orders", min: 1, start: "eager" })
      yield* faulty.validate.hold
      const checker = yield* HealthChecker.make(pool)
      const inspector = yield* Inspected.make({ watch: [pool], health: [checker] })
      const status = Effect.map(inspector.events(), ({ health: [view] }) => view!)
      assert.deepStrictEqual(yield* status, { pool: "orders", status: "checking", reasons: [] } as never)
      yield* faulty.validate.open
      yield* settle
      yield* TestClock.adjust("1 second")
      assert.deepStrictEqual(yield* status, { pool: "orders", status: "healthy", reasons: [], checkedAt: 0 } as never)
      yield* faulty.validate.fail(1)
      yield* faulty.connect.fail(1)
      yield* TestClock.adjust("10 seconds")
      const { lastError } = yield* status
      assert.strictEqual(lastError!.at, 10_000)
      assert.isNotEmpty(lastError!.error)
      yield* pool.pause
      yield* TestClock.adjust("10 seconds")
      const { reasons, status: last } = yield* status
      assert.strictEqual(last, "degraded")
      assert.include(reasons[0], "paused")
    }))
})

describe("what an inspector shows of a SQLite database", () => {
  it.live("is both sides, the size of the log, its limit, and who keeps it from being cut back", () =>
    Effect.gen(function*() {
      const { filename, pool } = yield* SqlitePools.make({ name: "notes", walLimit: 2_000_000 })
      const inspector = yield* Inspected.make({ watch: [pool] })
      const before = yield* inspector.events()
      assert.deepStrictEqual(before.pools.map(({ name }) => name), ["notes/writer", "notes/readers"])
      const [database] = before.databases
      assert.deepStrictEqual([database!.name, database!.filename, database!.pools], ["notes", filename, [0, 1]])
      assert.deepStrictEqual(database!.log, {
        bytes: (yield* pool.stats).walBytes,
        limitBytes: 2_000_000,
        pins: [],
        morePins: 0
      })
      yield* pool.snapshot(
        Effect.gen(function*() {
          yield* pool.read((reader) => reader.values("select * from t"))
          // The other one gives its last answer again for a while.
          const { databases } = yield* Effect.flatMap(Inspected.make({ watch: [pool] }), (other) => other.events())
          const [pin] = databases[0]!.log!.pins
          assert.strictEqual(pin!.holder!.label, "report")
          assert.isAtLeast(pin!.pinnedMillis, 0)
        }),
        { label: "report" }
      )
    }).pipe(Effect.scoped))

  it.live("is one pool without a log, if the database is in memory", () =>
    Effect.gen(function*() {
      const pool = yield* SqlitePool.make({ filename: ":memory:", name: "memory" })
      const { databases, pools } = yield* Effect.flatMap(Inspected.make({ watch: [pool] }), (inspector) =>
        inspector.events())
      assert.deepStrictEqual(
        pools.map(({ name }) =>
          name
        ),
        ["memory"]
      )
      assert.isUndefined(databases[0]!.log)
    }).pipe(Effect.scoped))
})
