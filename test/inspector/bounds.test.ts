/** However much there is to see, an inspector keeps a bounded part of it, answers in a bounded size, and works in small steps. */
import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import { ConnectionPool, HealthChecker, InMemoryConnection, type PoolConfig, PoolMap } from "effect-connection-pool"
import { TestClock } from "effect/testing"
import type { Answer } from "../../src/inspector/internal/contract.ts"
import { mostKept, mostLanes } from "../../src/inspector/internal/recorder.ts"
import { mostRows } from "../../src/inspector/internal/rows.ts"
import { workInStep } from "../../src/inspector/internal/steps.ts"
import * as DatabaseDoor from "../../src/internal/pool/databaseDoor.ts"
import * as Door from "../../src/internal/pool/door.ts"
import * as Inspected from "../support/inspector.ts"
import { settle } from "../support/pools.ts"

const poolsOf = (count: number, options: PoolConfig.PoolConfig = {}) =>
  Effect.forEach(Array.from({ length: count }, (_, index) => index), (index) =>
    ConnectionPool.make({
      factory: InMemoryConnection.factory(),
      name: `pool ${index}`,
      metrics: false,
      drainTimeout: 0,
      ...options
    }))

/** Holds a connection until the test ends. */
const hold = (pool: Pick<ConnectionPool.ConnectionPool<unknown>, "use">, options?: ConnectionPool.AcquireOptions) =>
  Effect.forkScoped(pool.use(() => Effect.never, options), { startImmediately: true })

/** Counts work by the turn of the event loop in which it is done. */
const turns = Effect.acquireRelease(
  Effect.sync(() => {
    const counts = [0]
    let isOver = false
    const next = () => {
      counts.push(0)
      if (!isOver) setImmediate(next)
    }
    setImmediate(next)
    return {
      counts,
      count: (work: number) => {
        counts[counts.length - 1]! += work
      },
      end: () => {
        isOver = true
      }
    }
  }),
  ({ end }) => Effect.sync(end)
)

const sizeOf = (answer: Answer): number => JSON.stringify(answer).length

describe("an inspector of many pools", () => {
  it.effect("looks at them in small steps, between which others run", () =>
    Effect.gen(function*() {
      const pools = yield* poolsOf(200, { min: 20, max: 20, start: "eager" })
      const { count, counts } = yield* turns
      for (const pool of pools) {
        const door = Door.of(pool)!
        const { observe, stats } = door
        Object.assign(door, {
          observe: (most: number) => {
            const seen = observe(most)
            count(seen.seen.length)
            return seen
          },
          stats: () => {
            count(1)
            return stats()
          }
        })
      }
      yield* Inspected.make({ watch: pools })
      yield* TestClock.adjust("3 seconds")
      yield* settle
      assert.isAbove(counts.reduce((sum, work) => sum + work, 0), 2 * mostKept / 300)
      assert.isAtMost(Math.max(...counts), workInStep + mostLanes)
    }))

  it.effect("keeps a bounded number of lanes, of each pool as many, and says how many connections have none", () =>
    Effect.gen(function*() {
      const [small] = yield* poolsOf(1, { min: 2, max: 2, start: "eager" })
      const large = yield* poolsOf(40, { min: 60, max: 60, start: "eager" })
      const inspector = yield* Inspected.make({ watch: [small!, ...large] })
      yield* TestClock.adjust("1 second")
      const lanesOf = (pool: number) =>
        Effect.map(inspector.events(`?pool=${pool}`), ({ frames }) => {
          const { lanes, more } = frames.at(-1)!
          return [lanes.length, more]
        })
      assert.deepStrictEqual(yield* lanesOf(0), [2, 0])
      const [lanes, more] = yield* lanesOf(1)
      assert.strictEqual(lanes! + more!, 60)
      assert.isAbove(lanes!, 20)
      assert.isAtMost(2 + 40 * lanes!, mostKept / 300)
      assert.deepStrictEqual(yield* lanesOf(40), [lanes, more])
    }))

  it.effect("gives a large pool the lanes that small ones do not need", () =>
    Effect.gen(function*() {
      const large = yield* poolsOf(1, { min: mostLanes, max: mostLanes, start: "eager" })
      const inspector = yield* Inspected.make({ watch: [...large, ...yield* poolsOf(40)] })
      yield* TestClock.adjust("1 second")
      const { frames } = yield* inspector.events()
      assert.deepStrictEqual(frames.map(({ lanes }) => lanes.length).slice(1), [mostLanes])
    }))

  it.effect("goes back less far if there are too many, and says how far", () =>
    Effect.gen(function*() {
      const pools = yield* poolsOf(100)
      const inspector = yield* Inspected.make({ watch: pools, interval: "1 second", history: "1 hour" })
      assert.strictEqual((yield* inspector.events()).historyMillis, 1000 * mostKept / 2 / 100)
      const few = yield* Inspected.make({ watch: pools.slice(0, 2), interval: "1 second", history: "1 hour" })
      assert.strictEqual((yield* few.events()).historyMillis, 3_600_000)
    }))

  it.effect("lists the busiest of them, page after page, and always the one that is shown", () =>
    Effect.gen(function*() {
      const pools = yield* poolsOf(2 * mostRows + 10, { max: 4 })
      yield* pools[70]!.pause
      const waiting = yield* Effect.forkChild(pools[70]!.use(() => Effect.void), { startImmediately: true })
      yield* hold(pools[99]!)
      yield* hold(pools[99]!)
      yield* hold(pools[5]!)
      yield* pools[30]!.shutdown()
      const inspector = yield* Inspected.make({ watch: pools })
      const listed = (query: string) =>
        Effect.map(
          inspector.events(query),
          ({ pools, ...answer }) => ({ ...answer, rows: pools.map(({ index }) => index) })
        )
      const first = yield* listed("?pool=0")
      assert.deepStrictEqual(first.rows.slice(0, 6), [70, 30, 99, 5, 0, 1])
      assert.deepStrictEqual([first.rows.length, first.poolCount, first.foundPools], [mostRows, 110, 110])
      const second = yield* listed(`?pool=99&from=${mostRows}`)
      assert.deepStrictEqual([second.rows[0], second.poolsFrom], [99, mostRows])
      assert.strictEqual(second.rows.length, mostRows + 1)
      const third = yield* listed(`?pool=105&from=${2 * mostRows}`)
      const all = [...first.rows, ...second.rows.slice(1), ...third.rows]
      assert.deepStrictEqual(all.toSorted((a, b) => a - b), pools.map((_, index) => index))
      assert.strictEqual((yield* listed("?from=99999999")).poolsFrom, 2 * mostRows)
      const found = yield* listed("?pool=3&find=POOL%2010")
      assert.deepStrictEqual(found.rows, [3, 10, 100, 101, 102, 103, 104, 105, 106, 107, 108, 109])
      assert.strictEqual(found.foundPools, 11)
      assert.deepStrictEqual((yield* listed(`?pool=3&find=${"x".repeat(9000)}`)).rows, [3])
      yield* pools[70]!.resume
      yield* settle
      assert.isDefined(waiting.pollUnsafe())
    }))

  it.effect("lists a few of them in the order in which they were given", () =>
    Effect.gen(function*() {
      const pools = yield* poolsOf(mostRows)
      yield* hold(pools[7]!)
      const { pools: rows } = yield* Effect.flatMap(Inspected.make({ watch: pools }), (inspector) => inspector.events())
      assert.deepStrictEqual(rows.map(({ index }) => index), pools.map((_, index) => index))
    }))

  it.effect("says of a pool that does not exist that there is none", () =>
    Effect.gen(function*() {
      const inspector = yield* Inspected.make({ watch: yield* poolsOf(1) })
      const { chosen, frames, pool, pools } = yield* inspector.events("?pool=7")
      assert.deepStrictEqual([chosen, frames, pool, pools.length], [7, [], undefined, 1])
    }))
})

describe("an inspector of a pool with many holders", () => {
  it.effect("answers in a bounded size, whatever their labels are", () =>
    Effect.gen(function*() {
      const holders = 5000
      const [pool] = yield* poolsOf(1, { min: holders, max: holders, start: "eager" })
      const label = `${"<b>".repeat(33_000)}${"\n\u001b[2J".repeat(300)}`
      yield* Effect.forEach(Array.from({ length: holders }), () => hold(pool!, { label }))
      yield* settle
      const inspector = yield* Inspected.make({ watch: [pool!] })
      yield* TestClock.adjust("2 seconds")
      const answer = yield* inspector.events()
      assert.deepStrictEqual([answer.pool!.holders.length, answer.pool!.moreHolders], [100, holders - 100])
      assert.deepStrictEqual(answer.frames.map(({ lanes, more }) => [lanes.length, more]), [
        [mostLanes, holders - mostLanes],
        [mostLanes, holders - mostLanes],
        [mostLanes, holders - mostLanes]
      ])
      assert.deepStrictEqual(answer.frames[0]!.lanes.map(({ id }) => id).toSorted((a, b) => a - b).slice(0, 3), [
        1,
        2,
        3
      ])
      assert.isBelow(sizeOf(answer), 300_000)
    }))
})

describe("an inspector of a map of ten thousand pools", () => {
  const count = 10_000

  it.effect("looks at them in small steps, and lists the busiest, page after page", () =>
    Effect.gen(function*() {
      const { count: note, counts } = yield* turns
      const map = yield* PoolMap.make({
        name: "customers",
        max: count,
        metrics: false,
        drainTimeout: 0,
        open: (key: number) => Effect.succeed(key),
        stateOf: (key) => {
          note(1)
          return key === 77 ? "in use" : "idle"
        }
      })
      for (let key = 0; key < count; key++) yield* map.use(key, () => Effect.void)
      yield* Effect.forkChild(map.use(4321, () => Effect.never))
      yield* settle
      const inspector = yield* Inspected.make({ watch: [map] })
      counts.fill(0)
      const first = yield* inspector.events()
      assert.isAtLeast(counts.reduce((sum, asked) => sum + asked, 0), count - 1)
      assert.isAtMost(Math.max(...counts), workInStep + 200)
      const [view] = first.maps
      assert.deepStrictEqual([view!.total, view!.max, view!.inUse, view!.poolCount], [count, count, 2, count])
      assert.deepStrictEqual(view!.pools.slice(0, 3).map(({ key, leases, state }) => [key, state, leases]), [
        ["4321", "in use", 1],
        ["77", "in use", 0],
        ["0", "idle", 0]
      ])
      assert.deepStrictEqual([view!.pools.length, view!.atATime, view!.from], [100, 100, 0])
      const next = (yield* inspector.events("?map0=100")).maps[0]!
      assert.deepStrictEqual([next.from, next.pools.length, next.pools[0]!.key], [100, 100, "99"])
      const last = (yield* inspector.events("?map0=123456789")).maps[0]!
      assert.deepStrictEqual([last.from, last.pools.at(-1)!.key], [count - 100, "9999"])
      assert.isBelow(sizeOf(first), 50_000)
    }), 120_000)

  it.effect("keeps no pool that was closed, once nobody looks any more", () =>
    Effect.gen(function*() {
      const map = yield* PoolMap.make({ name: "customers", open: (key: string) => Effect.succeed({ key }) })
      yield* map.use("ada", () => Effect.void)
      const inspector = yield* Inspected.make({ watch: [map] })
      assert.strictEqual((yield* inspector.events()).maps[0]!.pools.length, 1)
      yield* map.invalidate("ada")
      yield* settle
      // The answer of a moment ago is given again, without the pool that is gone.
      assert.deepStrictEqual((yield* inspector.events()).maps[0]!.pools, [])
    }))
})

describe("an inspector of many databases and health checkers", () => {
  it.effect("lists the longest logs, with the first of those who keep them long", () =>
    Effect.gen(function*() {
      const pools = yield* poolsOf(30)
      const pin = { holder: undefined, pinnedMillis: 1 }
      const databases = pools.map((pool, index) => {
        const bytes = index % 7 * 1_000_000 + index
        return DatabaseDoor.add({ name: `database ${index}`, sides: { writer: pool } }, {
          logBytes: () => bytes,
          log: (most) => ({ bytes, limitBytes: Infinity, pins: Array.from({ length: most }, () => pin), pinned: 9 })
        })
      })
      const inspector = yield* Inspected.make({ watch: databases })
      const { databases: listed, moreDatabases } = yield* inspector.events()
      assert.deepStrictEqual([listed.length, moreDatabases], [20, 10])
      assert.deepStrictEqual(listed.slice(0, 5).map(({ name }) => name), [
        "database 6",
        "database 13",
        "database 20",
        "database 27",
        "database 5"
      ])
      const { bytes, limitBytes, morePins, pins } = listed[0]!.log!
      assert.deepStrictEqual([bytes, limitBytes, pins.length, morePins], [6_000_006, undefined, 5, 4])
    }))

  it.effect("lists the worst reports", () =>
    Effect.gen(function*() {
      const pools = yield* poolsOf(60)
      const health = yield* Effect.forEach(pools, (pool) => HealthChecker.make(pool))
      yield* pools[57]!.pause
      const inspector = yield* Inspected.make({ watch: pools, health })
      yield* TestClock.adjust("20 seconds")
      const { health: listed, moreHealth } = yield* inspector.events()
      assert.deepStrictEqual([listed.length, moreHealth], [50, 10])
      assert.deepStrictEqual(listed.slice(0, 2).map(({ pool, status }) => [pool, status]), [
        ["pool 57", "degraded"],
        ["pool 0", "healthy"]
      ])
    }))
})
