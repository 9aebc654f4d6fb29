import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import { PoolSimulation } from "effect-connection-pool"

const none = { count: 0, mean: 0, p50: 0, p95: 0, p99: 0, max: 0 }

const always = (limit: string) => [
  limit,
  "Nobody repeats a request that failed, and nobody stays away because of slow answers.",
  "The time that the pool, Effect and the network need is not simulated."
]

const sideBySide = "A request takes as long with many connections in use as with few, unless service is a function " +
  "that says otherwise: locks, disks and processors of the database are not simulated."

const lost = ({ broken, connectErrors, p99Delay, refused, served, timeouts, waited }: PoolSimulation.Result) => ({
  broken,
  connectErrors,
  p99Delay,
  refused,
  served,
  timeouts,
  waited
})

describe("the result of a simulation", () => {
  it.effect("is what one finds by hand for four requests on one connection", () =>
    Effect.gen(function*() {
      // Leases: 5 to 20, after connecting, then 20 to 35 and 35 to 50, and 100 to 115.
      const result = yield* PoolSimulation.run({
        pool: { max: 1 },
        arrivals: PoolSimulation.recorded([0, 10, 11, 100]),
        service: 15,
        connect: 5
      })
      const waits = { count: 4, mean: 9.75, p50: 5, p95: 24, p99: 24, max: 24 }
      assert.deepStrictEqual(result, {
        max: 1,
        seed: 1,
        requests: 4,
        served: 4,
        timeouts: 0,
        refused: 0,
        connectErrors: 0,
        broken: 0,
        waited: 0.75,
        waits,
        meanWaitMargin: Infinity,
        threadWaits: { ...none, count: 4 },
        delays: waits,
        p99Delay: 24,
        leases: { count: 4, mean: 15, p50: 15, p95: 15, p99: 15, max: 15 },
        responses: { count: 4, mean: 24.75, p50: 20, p95: 39, p99: 39, max: 39 },
        perSecond: 40,
        offeredLoad: 0.6,
        // Until the last request arrives: 45 of 100 ms.
        utilization: 0.45,
        threadUtilization: 0,
        mostInUse: 1,
        mostWaiting: 2,
        connects: {
          attempts: 1,
          succeeded: 1,
          failed: 0,
          timedOut: 0,
          times: { count: 1, mean: 5, p50: 5, p95: 5, p99: 5, max: 5 }
        },
        lastedMillis: 115,
        limits: always(sideBySide)
      })
    }))

  it.effect("is what one finds by hand for three bursts on two connections that share a thread", () =>
    Effect.gen(function*() {
      // From 200: one lease to 215, one that works after it to 225, and one from 215 to 235. The first burst is not counted.
      const result = yield* PoolSimulation.run({
        pool: { max: 2 },
        arrivals: PoolSimulation.bursts({ size: 3, every: 100 }),
        service: { work: 10, waiting: 5 },
        requests: 9,
        warmUp: 1 / 3,
        seed: 5
      })
      const { meanWaitMargin, offeredLoad, perSecond, threadUtilization, utilization, waited, ...exact } = result
      assert.deepStrictEqual(exact, {
        max: 2,
        seed: 5,
        requests: 6,
        served: 6,
        timeouts: 0,
        refused: 0,
        connectErrors: 0,
        broken: 0,
        waits: { count: 6, mean: 5, p50: 0, p95: 15, p99: 15, max: 15 },
        threadWaits: { count: 6, mean: 5, p50: 5, p95: 10, p99: 10, max: 10 },
        delays: { count: 6, mean: 10, p50: 10, p95: 20, p99: 20, max: 20 },
        p99Delay: 20,
        leases: { count: 6, mean: 20, p50: 20, p95: 25, p99: 25, max: 25 },
        responses: { count: 6, mean: 25, p50: 25, p95: 35, p99: 35, max: 35 },
        mostInUse: 2,
        mostWaiting: 1,
        connects: { attempts: 2, succeeded: 2, failed: 0, timedOut: 0, times: { ...none, count: 2 } },
        lastedMillis: 335,
        limits: [
          ...always(
            "Work is done in order on one thread, in one piece for each request. What else the thread has to do is not simulated."
          ),
          "The first 33 % were not counted: a cold start looks worse."
        ]
      })
      assert.strictEqual(meanWaitMargin, Infinity)
      // Six requests in the 100 ms from 200 to 300.
      assert.closeTo(perSecond, 60, 1e-9)
      assert.closeTo(offeredLoad, 0.9, 1e-9)
      assert.closeTo(threadUtilization, 0.6, 1e-9)
      assert.closeTo(utilization, 0.3, 1e-9)
      assert.closeTo(waited, 1 / 3, 1e-9)
    }))

  it.effect("counts each kind of loss, and whether it had waited", () =>
    Effect.gen(function*() {
      const options = { arrivals: PoolSimulation.recorded([0, 1, 2, 3, 100]), service: 50 }
      const line = yield* PoolSimulation.run({ ...options, pool: { max: 1, maxWaiting: 1, acquireTimeout: 20 } })
      assert.deepStrictEqual(lost(line), {
        broken: 0,
        connectErrors: 0,
        p99Delay: Infinity,
        refused: 2,
        served: 2,
        timeouts: 1,
        waited: 0.2
      })
      assert.strictEqual(line.mostWaiting, 1)
      const outages = [{ from: 10, to: 20, isTransient: false }]
      const arrivals = PoolSimulation.recorded([0, 5, 15, 100])
      const broken = yield* PoolSimulation.run({ ...options, arrivals, outages })
      assert.deepStrictEqual(lost(broken), {
        broken: 2,
        connectErrors: 1,
        p99Delay: Infinity,
        refused: 0,
        served: 1,
        timeouts: 0,
        waited: 0
      })
      // With connecting, both had waited for it, and so had the one whose attempt met the outage.
      const slow = yield* PoolSimulation.run({
        ...options,
        arrivals: PoolSimulation.recorded([0, 5, 8, 100]),
        outages,
        connect: 4
      })
      assert.deepStrictEqual(lost(slow), {
        broken: 2,
        connectErrors: 1,
        p99Delay: Infinity,
        refused: 0,
        served: 1,
        timeouts: 0,
        waited: 1
      })
      assert.deepStrictEqual(slow.limits, [
        ...always(sideBySide),
        "An outage breaks all connections in one moment, and ends in one moment."
      ])
    }))

  it.effect("of requests of which none is counted is all zero", () =>
    Effect.gen(function*() {
      const result = yield* PoolSimulation.run({
        arrivals: PoolSimulation.regular(1),
        service: { work: 1, threads: 3 },
        duration: 10,
        warmUp: 0
      })
      const { offeredLoad, p99Delay, perSecond, requests, threadUtilization, utilization, waited, waits } = result
      assert.deepStrictEqual(
        { offeredLoad, p99Delay, perSecond, requests, threadUtilization, utilization, waited, waits },
        {
          offeredLoad: 0,
          p99Delay: 0,
          perSecond: 0,
          requests: 0,
          threadUtilization: 0,
          utilization: 0,
          waited: 0,
          waits: none
        }
      )
      assert.include(result.limits[0], "on 3 threads, in one piece")
      // One request alone: no time passes while it is counted.
      const one = yield* PoolSimulation.run({
        arrivals: PoolSimulation.regular(1),
        service: 5,
        requests: 1,
        warmUp: 0.1
      })
      assert.deepStrictEqual([one.requests, one.perSecond, one.utilization, one.offeredLoad], [1, 0, 0, 0])
    }))

  it.effect("tells how far it is: by requests, by time, and by what has ended of the last", () =>
    Effect.gen(function*() {
      const seen = (options: Partial<PoolSimulation.Options>) => {
        const progress: Array<PoolSimulation.Progress> = []
        return Effect.as(
          PoolSimulation.run({
            pool: { max: 1000 },
            arrivals: PoolSimulation.regular(100),
            service: 10,
            onProgress: (now) => Effect.sync(() => void progress.push(now)),
            ...options
          }),
          progress
        )
      }
      const byRequests = yield* seen({ requests: 2000 })
      assert.isAtLeast(byRequests.length, 4)
      for (const { ended, part } of byRequests) assert.closeTo(part, ended / 2000, 1e-9)
      assert.deepStrictEqual(byRequests.at(-1), { max: 1000, ended: 2000, part: 1, atMillis: 20_010 })
      const byTime = yield* seen({ duration: "20 seconds" })
      assert.isAtLeast(byTime.length, 4)
      for (const { atMillis, part } of byTime) assert.closeTo(part, Math.min(atMillis / 20_000, 1), 0.01)
      const recorded = yield* seen({ arrivals: PoolSimulation.recorded(Array.from({ length: 3000 }, () => 0)) })
      for (const { ended, part } of recorded) assert.closeTo(part, ended / 3000, 1e-9)
      const nothing = yield* seen({ duration: 1 })
      assert.deepStrictEqual(nothing, [{ max: 1000, ended: 0, part: 0, atMillis: 0 }])
    }))
})
