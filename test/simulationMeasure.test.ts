import { assert, describe, it } from "@effect/vitest"
import { Effect, Fiber } from "effect"
import { ConnectionPool, PoolSimulation } from "effect-connection-pool"
import { FaultyFactory } from "effect-connection-pool/testing"
import { TestClock } from "effect/testing"
import { settle } from "./support/pools.ts"

/** A pool whose load is measured for 10 seconds, after it was in use for a while. */
const measured = Effect.fnUntraced(function*<A>(
  options: Omit<ConnectionPool.Options<FaultyFactory.FaultyConnection, FaultyFactory.FaultyError, never>, "factory">,
  meanwhile: (
    pool: ConnectionPool.ConnectionPool<FaultyFactory.FaultyConnection, FaultyFactory.FaultyError>,
    faulty: FaultyFactory.FaultyFactory
  ) => Effect.Effect<A, unknown>,
  connectMillis = 0
) {
  const faulty = yield* FaultyFactory.make()
  if (connectMillis > 0) yield* faulty.connect.delay(connectMillis)
  const pool = yield* Effect.forkScoped(ConnectionPool.make({ factory: faulty.factory, drainTimeout: 0, ...options }))
    .pipe(
      Effect.tap(() => TestClock.adjust(connectMillis)),
      Effect.flatMap(Fiber.join)
    )
  const uses = (count: number, millis: number) =>
    Effect.forEach(
      Array.from({ length: count }),
      () => Effect.forkDetach(Effect.exit(pool.use(() => Effect.sleep(millis))))
    )
  yield* uses(2, 700)
  yield* settle
  yield* TestClock.adjust("1 minute")
  const measuring = yield* Effect.forkChild(PoolSimulation.fromStats(pool))
  yield* settle
  yield* Effect.orDie(meanwhile(pool, faulty))
  yield* settle
  yield* TestClock.adjust("10 seconds")
  return yield* Fiber.join(measuring)
})

const bounds = [0.1, 0.5, 1, 5, 10, 50, 100, 500, 1000, 5000, 10_000, 30_000, 60_000]

/** The counts of a distribution that are not zero, by their bound. */
const countsOf = (times: PoolSimulation.Times) => {
  if (typeof times !== "object" || !("_tag" in times) || times._tag !== "Histogram") return times
  assert.strictEqual(times.bounds.length, bounds.length)
  for (const [index, bound] of bounds.entries()) assert.closeTo(times.bounds[index]!, bound, 1e-9)
  assert.strictEqual(times.counts.length, bounds.length + 1)
  return times.counts.flatMap((count, index) => count === 0 ? [] : [[bounds[index] ?? Infinity, count]])
}

const meanOf = (times: PoolSimulation.Times) =>
  typeof times === "object" && "_tag" in times && times._tag === "Histogram" ? Number(times.mean) : NaN

describe("a load that is measured", () => {
  it.effect("has only what happened meanwhile: requests of every outcome, leases, waits and connects", () =>
    Effect.gen(function*() {
      const { arrived, leases, limits, load, meanWaitMillis } = yield* measured(
        { name: "measured-1", max: 2, min: 1, idleTimeout: "5 seconds", acquireTimeout: "300 millis", maxWaiting: 2 },
        (pool, faulty) =>
          Effect.gen(function*() {
            const use = (millis: number, timeout?: number) =>
              Effect.forkDetach(Effect.exit(pool.use(() => Effect.sleep(millis), { timeout })))
            yield* faulty.connect.delay(20)
            // One finds the idle connection, one has another opened, and one waits for 40 ms until the first is back.
            for (const millis of [40, 200, 400]) yield* use(millis)
            yield* settle
            yield* TestClock.adjust(100)
            // Two wait, and one is refused. Then one of the two is interrupted, and another one times out.
            const first = yield* use(10)
            yield* use(900)
            yield* settle
            yield* use(1)
            yield* settle
            yield* Fiber.interrupt(first)
            yield* use(1, 5)
            yield* settle
            yield* TestClock.adjust("2 seconds")
            // At the end, two are still served, and one waits.
            for (const timeout of [undefined, undefined, 3_600_000]) yield* use(3_600_000, timeout)
            yield* settle
          })
      )
      assert.deepStrictEqual(load.pool, { min: 1, max: 2, acquireTimeout: 300 })
      assert.deepStrictEqual([arrived, leases], [10, 4])
      assert.deepStrictEqual(load.arrivals, PoolSimulation.poisson(1))
      assert.deepStrictEqual(countsOf(load.service), [[50, 1], [500, 2], [1000, 1]])
      assert.closeTo(meanOf(load.service), (40 + 200 + 400 + 900) / 4, 1e-6)
      assert.deepStrictEqual(countsOf(load.connect), [[50, 1]])
      assert.closeTo(meanOf(load.connect), 20, 1e-6)
      assert.closeTo(meanWaitMillis, (20 + 40 + 120) / 6, 1e-6)
      assert.strictEqual(limits.length, 3)
    }))

  it.effect("without a connect has the connects from before, or none", () =>
    Effect.gen(function*() {
      const use = (pool: ConnectionPool.ConnectionPool<FaultyFactory.FaultyConnection, FaultyFactory.FaultyError>) =>
        Effect.asVoid(Effect.forkDetach(pool.use(() => Effect.sleep(50))))
      const before = yield* measured({ name: "measured-5", max: 2, min: 2 }, use, 20)
      assert.deepStrictEqual(countsOf(before.load.connect), [[50, 2]])
      assert.deepStrictEqual(before.limits, [
        "Only the number of requests was measured, not when each came: they are simulated as independent of each other. " +
        "If they come in bursts, they really wait for longer. Compare meanWaitMillis with the simulation.",
        "Lease times are known by buckets. Their mean is exact, and within a bucket all times are as likely.",
        "A lease has work and waiting, and the pool cannot tell them apart. If its connections share threads, as those of " +
        "SQLite in this process do, give service as { work, waiting } yourself."
      ])
      const none = yield* measured({ name: "measured-2", max: 2, min: 2 }, use)
      assert.strictEqual(none.load.connect, 0)
      assert.deepStrictEqual(none.limits.slice(3), [
        "No connection was opened, so connecting takes no time in the simulation."
      ])
    }))
})

describe("a load that cannot be measured", () => {
  it.effect("is refused with how much of it there was", () =>
    Effect.gen(function*() {
      const none = yield* Effect.flip(
        measured({ name: "measured-3" }, (pool) => Effect.forkDetach(pool.use(() => Effect.sleep("1 hour"))))
      )
      assert.strictEqual(
        none.message,
        "pool \"measured-3\": over is 10000 ms, but must be longer: in that time 1 requests arrived and 0 leases ended"
      )
      assert.deepStrictEqual(none._tag === "PoolConfigError" && [none.field, none.problems[0]!.value], [
        "over",
        "10000"
      ])
      const off = yield* Effect.flip(
        measured({ name: "measured-4", metrics: false }, (pool) => pool.use(() => Effect.void))
      )
      assert.strictEqual(
        off.message,
        "pool \"measured-4\": the pool records no lease times: its option metrics is false, but must be true to measure it"
      )
      assert.deepStrictEqual(off._tag === "PoolConfigError" && [off.field, off.problems[0]!.value], [
        "metrics",
        "false"
      ])
    }))
})
