/** Simulations of loads with few requests, or none, and options that are lists of little. */
import { assert, describe, it } from "@effect/vitest"
import { Effect, Fiber } from "effect"
import { ConnectionPool, InMemoryConnection, PoolSimulation } from "effect-connection-pool"
import { TestClock } from "effect/testing"

const service = "20 millis"

describe("a simulation of little", () => {
  it.effect("has a result of zeros if no request arrives in its time", () =>
    Effect.gen(function*() {
      const result = yield* PoolSimulation.run({
        arrivals: PoolSimulation.regular(1),
        service,
        duration: "100 millis",
        pool: { max: 2 }
      })
      assert.deepInclude(result, { requests: 0, served: 0, waited: 0, p99Delay: 0, perSecond: 0, offeredLoad: 0 })
      assert.deepStrictEqual(result.waits, { count: 0, mean: 0, p50: 0, p95: 0, p99: 0, max: 0 })
      assert.strictEqual(result.utilization, 0)
    }))

  it.effect("has no rate if all its requests arrive at time zero", () =>
    Effect.gen(function*() {
      const result = yield* PoolSimulation.run({
        arrivals: PoolSimulation.recorded([0, 0]),
        service,
        pool: { max: 1 }
      })
      assert.deepInclude(result, { requests: 2, served: 2, perSecond: 0, utilization: 0 })
      assert.strictEqual(result.waits.max, 20)
    }))

  it.effect("reports the part of its recorded requests that has ended, also if its time ends before they do", () =>
    Effect.gen(function*() {
      const arrivals = PoolSimulation.recorded(Array.from({ length: 6000 }, (_, index) => index * 100))
      for (const [duration, count] of [[undefined, 6000], ["300 seconds", 3001]] as const) {
        const seen: Array<PoolSimulation.Progress> = []
        const onProgress = (progress: PoolSimulation.Progress) => Effect.sync(() => void seen.push(progress))
        yield* PoolSimulation.run({ arrivals, service, duration, pool: { max: 1 }, onProgress })
        assert.isAtLeast(seen.length, 3)
        for (const { ended, part } of seen) assert.closeTo(part, ended / count, 0.01)
        assert.strictEqual(seen.at(-1)!.part, 1)
      }
    }))

  it.effect("has done nothing of its part as long as no request has arrived", () =>
    Effect.gen(function*() {
      const parts: Array<number> = []
      yield* PoolSimulation.run({
        arrivals: PoolSimulation.regular(0.25),
        service,
        duration: "6 seconds",
        // The pool tries to connect again and again.
        outages: [{ from: 0, to: "3 seconds" }],
        pool: { min: 1, max: 1, connectBackoff: "1 millis", connectBackoffMax: "1 millis" },
        onProgress: ({ part }) => Effect.sync(() => void parts.push(part))
      })
      assert.isAbove(parts.length, 2)
      assert.strictEqual(parts[0], 0)
      assert.strictEqual(parts.at(-1), 1)
    }))

  it.effect("refuses lists that are none, and options that are others when they are read again", () =>
    Effect.gen(function*() {
      const messages = (options: object) =>
        Effect.map(
          Effect.flip(PoolSimulation.run({ service, ...options } as unknown as PoolSimulation.Options)),
          ({ message }) => message
        )
      assert.include(
        yield* messages({ arrivals: { _tag: "Rates", phases: 5 } }),
        "arrivals.phases is 5, but must be a list"
      )
      assert.include(
        yield* messages({ arrivals: { _tag: "Recorded", times: 5 } }),
        "arrivals.times is 5, but must be a list"
      )
      const histogram = yield* messages({
        arrivals: PoolSimulation.poisson(1),
        service: { _tag: "Histogram", bounds: "x", counts: "y" }
      })
      assert.include(histogram, "service.bounds is \"x\", but must be a list of numbers above zero")
      assert.include(histogram, "service.counts is \"y\", but must be a list of numbers of zero or more")
      let reads = 0
      const pool = {
        get acquireTimeout() {
          return reads++ === 0 ? 5000 : -1
        }
      }
      assert.include(yield* messages({ arrivals: PoolSimulation.poisson(1), pool }), "acquireTimeout is -1")
    }))
})

describe("a pool that is measured", () => {
  const measured = (options: { readonly name: string; readonly connectLatency: number }) =>
    Effect.gen(function*() {
      const { connectLatency, name } = options
      const pool = yield* ConnectionPool.make({ factory: InMemoryConnection.factory({ connectLatency }), name, max: 2 })
      const measuring = yield* Effect.forkChild(PoolSimulation.fromStats(pool))
      const using = yield* Effect.forkChild(pool.use(() => Effect.sleep("40 millis")))
      yield* TestClock.adjust("10 seconds")
      yield* Fiber.join(using)
      return yield* Fiber.join(measuring)
    })

  it.effect("is watched for ten seconds, and its connects take as long as they took", () =>
    Effect.gen(function*() {
      const { limits, load } = yield* measured({ name: "slow to connect", connectLatency: 30 })
      const { connect } = load
      assert.strictEqual((connect as PoolSimulation.Distribution)._tag, "Histogram")
      assert.isFalse(limits.some((limit) => limit.includes("No connection was opened")))
      const { connects } = yield* PoolSimulation.run({ ...load, requests: 100 })
      assert.isAbove(connects.times.mean, 0)
    }))

  it.effect("has no mean wait if none of the requests in that time was served", () =>
    Effect.gen(function*() {
      const pool = yield* ConnectionPool.make({
        factory: InMemoryConnection.factory(),
        name: "never served",
        max: 1,
        acquireTimeout: "1 second"
      })
      const holding = yield* Effect.forkChild(pool.use(() => Effect.sleep("8 seconds")))
      yield* TestClock.adjust("1 second")
      const measuring = yield* Effect.forkChild(PoolSimulation.fromStats(pool))
      const late = yield* Effect.forkChild(Effect.flip(pool.use(() => Effect.void)))
      yield* TestClock.adjust("10 seconds")
      yield* Fiber.join(holding)
      assert.strictEqual((yield* Fiber.join(late))._tag, "AcquireTimeoutError")
      const { arrived, leases, meanWaitMillis } = yield* Fiber.join(measuring)
      assert.deepStrictEqual([arrived, leases, meanWaitMillis], [1, 1, 0])
    }))
})
