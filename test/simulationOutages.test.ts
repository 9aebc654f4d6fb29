import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import { PoolSimulation } from "effect-connection-pool"

const simulate = (options: Partial<PoolSimulation.Options>) => {
  const starts: Array<number> = []
  return Effect.map(
    PoolSimulation.run({
      arrivals: PoolSimulation.regular(100),
      duration: "30 seconds",
      service: ({ atMillis }) => {
        starts.push(atMillis)
        return 15
      },
      ...options
    }),
    (result) => ({ result, starts })
  )
}

const between = (starts: ReadonlyArray<number>, from: number, to: number) =>
  starts.filter((at) => at >= from && at < to)

describe("an outage in a simulation", () => {
  it.effect("lets nobody be served while it lasts, and ends with the backoff of the pool", () =>
    Effect.gen(function*() {
      const pool = { max: 4, connectBackoff: 100, connectBackoffMax: 800, acquireTimeout: "3 seconds" } as const
      const { result, starts } = yield* simulate({ pool, outages: [{ from: "10 seconds", to: "15 seconds" }] })
      assert.deepStrictEqual(between(starts, 10_000, 15_000), [])
      const recovered = between(starts, 15_000, 30_000)[0]!
      assert.isAbove(recovered, 15_000)
      assert.isAtMost(recovered, 15_800)
      // Attempts at 100, 200, 400 and then every 800 ms, each up to a fifth earlier.
      assert.isAtLeast(result.connects.failed, 8)
      assert.isAtMost(result.connects.failed, 14)
      // The lease that was held broke, and those who had to wait for longer than 3 seconds timed out.
      assert.strictEqual(result.broken, 1)
      assert.closeTo(result.timeouts, (recovered - 10_000 - 3000) / 10, 10)
      assert.strictEqual(result.connectErrors, 0)
      assert.strictEqual(result.served + result.broken + result.timeouts, result.requests)
      assert.strictEqual(result.p99Delay, Infinity)
    }))

  it.effect("refuses callers at once if the driver calls its failures permanent", () =>
    Effect.gen(function*() {
      const { result } = yield* simulate({ outages: [{ from: "10 seconds", to: "15 seconds", isTransient: false }] })
      assert.isAbove(result.connectErrors, 400)
      assert.strictEqual(result.timeouts, 0)
    }))

  it.effect("refuses a connect attempt at once, however long one takes otherwise", () =>
    Effect.gen(function*() {
      const { result } = yield* simulate({
        pool: { max: 1, connectBackoff: 100, connectBackoffMax: 100 },
        connect: "1 second",
        outages: [{ from: "10 seconds", to: "15 seconds" }]
      })
      // One in each backoff of 80 to 100 ms; an attempt that lasted for a second would be overtaken.
      assert.isAtLeast(result.connects.failed, 49)
      assert.isAtMost(result.connects.failed, 64)
    }))

  it.effect("makes connect attempts that hang time out", () =>
    Effect.gen(function*() {
      const { result, starts } = yield* simulate({
        pool: { connectTimeout: "1 second", acquireTimeout: "2 seconds" },
        outages: [{ from: "10 seconds", to: "15 seconds", connect: "hangs" }]
      })
      assert.deepStrictEqual(between(starts, 10_000, 15_000), [])
      assert.isAbove(result.connects.timedOut, 3)
      assert.strictEqual(result.connects.failed, 0)
      assert.isAbove(result.timeouts, 250)
    }))

  it.effect("keeps what is open if connecting is only slow", () =>
    Effect.gen(function*() {
      const pool = { max: 4, maxLifetime: "5 seconds", lifetimeJitter: 0 } as const
      const outages = [{ from: "4 seconds", to: "20 seconds", connect: "300 millis" }] as const
      const { result, starts } = yield* simulate({ pool, outages, connect: 5 })
      assert.strictEqual(result.broken, 0)
      assert.isAbove(between(starts, 4000, 20_000).length, 1500)
      assert.strictEqual(result.connects.times.max, 300)
      const { result: dropped } = yield* simulate({ pool, outages: [{ ...outages[0], drops: true }], connect: 5 })
      assert.strictEqual(dropped.broken, 1)
    }))

  it.effect("that begins while a connection is opened fails that attempt", () =>
    Effect.gen(function*() {
      const outages = [{ from: 500, to: 2000 }]
      const { result, starts } = yield* simulate({ outages, connect: "1 second", pool: { max: 1 } })
      assert.isAbove(starts[0]!, 3000)
      assert.isAbove(result.connects.failed, 0)
      const { result: hanging } = yield* simulate({
        outages: [{ ...outages[0]!, connect: "hangs" }],
        connect: "1 second",
        pool: { max: 1, connectTimeout: "1200 millis" }
      })
      assert.isAbove(hanging.connects.timedOut, 0)
    }))

  it.effect("does not touch validations and resets, which take their time", () =>
    Effect.gen(function*() {
      const { result } = yield* simulate({
        pool: { max: 1, validateAfterIdle: "1 second" },
        arrivals: PoolSimulation.regular(0.5),
        validate: "40 millis",
        reset: "7 millis"
      })
      // The connection is idle for longer than a second, so each request but the first waits for its validation.
      assert.deepStrictEqual([result.waits.p50, result.waits.max], [40, 40])
      const { result: busy } = yield* simulate({
        pool: { max: 1 },
        arrivals: PoolSimulation.bursts({ size: 2, every: "500 millis" }),
        reset: "7 millis"
      })
      assert.strictEqual(busy.waits.max, 22)
    }))
})
