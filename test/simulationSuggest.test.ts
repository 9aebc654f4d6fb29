import { assert, describe, it } from "@effect/vitest"
import { Effect, Fiber } from "effect"
import { ConnectionPool, InMemoryConnection, PoolSimulation } from "effect-connection-pool"
import { TestClock } from "effect/testing"

const load = {
  arrivals: PoolSimulation.poisson(150),
  service: PoolSimulation.exponential("20 millis")
} satisfies PoolSimulation.Options

/** The more connections are in use, the longer each request takes. */
const slower = ({ inUse }: PoolSimulation.Draw) => 20 + 0.4 * inUse ** 2

const found = (suggestion: PoolSimulation.Suggestion) => {
  if (suggestion._tag !== "Found") assert.fail(suggestion.reason)
  return suggestion
}

const noneHelps = (suggestion: PoolSimulation.Suggestion) => {
  if (suggestion._tag !== "NoneHelps") assert.fail(`max ${suggestion.max} helps`)
  return suggestion
}

describe("suggest", () => {
  it.effect("finds the smallest max that reaches the goal", () =>
    Effect.gen(function*() {
      for (const p99Wait of [100, 20, 5, 0]) {
        const { max, result, tried } = found(yield* PoolSimulation.suggest({ ...load, requests: 5000, p99Wait }))
        assert.isAtMost(result.p99Delay, p99Wait)
        assert.strictEqual(result.max, max)
        const below = yield* PoolSimulation.run({ ...load, requests: 5000, pool: { max: max - 1 } })
        assert.isAbove(below.p99Delay, p99Wait)
        assert.strictEqual(tried.find((one) => one.max === max - 1)?.p99Delay, below.p99Delay)
        assert.deepStrictEqual(tried.map((one) => one.max), tried.map((one) => one.max).toSorted((a, b) => a - b))
        assert.isAtMost(tried.length, 10)
      }
    }))

  it.effect("does not depend on the max that the pool has", () =>
    Effect.gen(function*() {
      const maxima: Array<number> = []
      for (const max of [1, 4, 7, 10, 11, 40]) {
        const { max: answer } = found(
          yield* PoolSimulation.suggest({ ...load, requests: 3000, pool: { max, acquireTimeout: 500 }, p99Wait: 5 })
        )
        maxima.push(answer)
      }
      assert.deepStrictEqual(new Set(maxima).size, 1)
    }))

  it.effect("goes below the mean load if the goal allows it, but not below min", () =>
    Effect.gen(function*() {
      const brief = { ...load, requests: 10, warmUp: 0, p99Wait: "1 minute" } as const
      assert.strictEqual(found(yield* PoolSimulation.suggest({ ...brief, pool: { max: 8 } })).max, 1)
      assert.strictEqual(found(yield* PoolSimulation.suggest({ ...brief, pool: { max: 8, min: 3 } })).max, 3)
    }))

  it.effect("counts a request that is not served as one that waits for ever", () =>
    Effect.gen(function*() {
      const pool = { max: 4, acquireTimeout: 1 }
      const { max, result } = found(
        yield* PoolSimulation.suggest({ ...load, requests: 5000, pool, p99Wait: "1 second" })
      )
      assert.isAtMost(result.timeouts, 50)
      const below = yield* PoolSimulation.run({ ...load, requests: 5000, pool: { ...pool, max: max - 1 } })
      assert.isAbove(below.timeouts, 45)
      assert.strictEqual(below.p99Delay, Infinity)
    }))

  it.effect("says that more connections do not help where they share a thread", () =>
    Effect.gen(function*() {
      const { obstacle, reason, tried } = noneHelps(
        yield* PoolSimulation.suggest({
          arrivals: PoolSimulation.poisson(90),
          service: { work: PoolSimulation.exponential("10 millis") },
          requests: 5000,
          p99Wait: "10 millis",
          upTo: 64
        })
      )
      assert.strictEqual(obstacle, "threads")
      assert.match(reason, /busy for (8[5-9]|9[0-5]) % of the time.+more connections do not work faster/)
      // From the first to the last, the delays are the same.
      assert.closeTo(tried[0]!.p99Delay, tried.at(-1)!.p99Delay, 1e-6)
    }))

  it.effect("finds connections that help where leases mostly wait, although they share a thread", () =>
    Effect.gen(function*() {
      const { max, result } = found(
        yield* PoolSimulation.suggest({
          arrivals: PoolSimulation.poisson(100),
          service: { work: "1 millis", waiting: PoolSimulation.exponential("50 millis") },
          requests: 5000,
          p99Wait: "20 millis"
        })
      )
      assert.isAtLeast(max, 6)
      assert.closeTo(result.threadUtilization, 0.1, 0.02)
    }))

  it.effect("says that an outage is the reason", () =>
    Effect.gen(function*() {
      const { obstacle, reason } = noneHelps(
        yield* PoolSimulation.suggest({
          ...load,
          pool: { acquireTimeout: "1 second" },
          duration: "30 seconds",
          outages: [{ from: "5 seconds", to: "15 seconds" }],
          p99Wait: "50 millis",
          upTo: 32
        })
      )
      assert.strictEqual(obstacle, "outage")
      assert.include(reason, "no number of connections changes that")
    }))

  it.effect("says that connecting is the reason", () =>
    Effect.gen(function*() {
      const options = {
        arrivals: PoolSimulation.bursts({ size: 20, every: "1 minute" }),
        service: "5 millis",
        connect: "200 millis",
        requests: 400,
        upTo: 64
      } as const
      const { obstacle, reason } = noneHelps(
        yield* PoolSimulation.suggest({ ...options, pool: { idleTimeout: "10 seconds" }, p99Wait: "50 millis" })
      )
      assert.strictEqual(obstacle, "connects")
      assert.include(reason, "keep connections open")
      const kept = yield* PoolSimulation.suggest({ ...options, p99Wait: "50 millis" })
      assert.isAtMost(found(kept).max, 20)
    }))

  it.effect("says that the database gets slower, and finds the few that help in between", () =>
    Effect.gen(function*() {
      const options = { arrivals: PoolSimulation.poisson(140), service: slower, requests: 4000, upTo: 128 }
      const { obstacle, result, tried } = noneHelps(yield* PoolSimulation.suggest({ ...options, p99Wait: 0 }))
      assert.strictEqual(obstacle, "service")
      assert.isBelow(result.max, 128)
      const { max } = found(yield* PoolSimulation.suggest({ ...options, p99Wait: result.p99Delay }))
      assert.isAtMost(max, result.max)
      assert.isAbove(tried.length, 8)
    }))

  it.effect("says that it did not try enough", () =>
    Effect.gen(function*() {
      const { obstacle, reason, result } = noneHelps(
        yield* PoolSimulation.suggest({ ...load, requests: 3000, p99Wait: "1 millis", upTo: 4 })
      )
      assert.strictEqual(obstacle, "limit")
      assert.include(reason, "raise upTo")
      assert.strictEqual(result.max, 4)
    }))

  it.effect("refuses invalid options", () =>
    Effect.gen(function*() {
      const problems = yield* PoolSimulation.suggest({ ...load } as never).pipe(
        Effect.as(""),
        Effect.catchTag("PoolConfigError", ({ message }) => Effect.succeed(message))
      )
      assert.strictEqual(
        problems,
        "pool \"pool\": p99Wait is not given: it must be a duration of zero or more, such as \"5 seconds\""
      )
    }))
})

describe("fromStats", () => {
  const measured = (options: { readonly name: string; readonly metrics?: boolean }, requests: number) =>
    Effect.gen(function*() {
      const pool = yield* ConnectionPool.make({
        factory: InMemoryConnection.factory(),
        min: 1,
        max: 3,
        acquireTimeout: "2 seconds",
        ...options
      })
      // What happened before is not measured.
      yield* Effect.forkChild(pool.use(() => Effect.sleep("5 seconds")))
      yield* TestClock.adjust("6 seconds")
      const measuring = yield* Effect.forkChild(PoolSimulation.fromStats(pool, { over: "10 seconds" }))
      yield* Effect.forkChild(Effect.forEach(
        Array.from({ length: requests }, (_, index) => index),
        (index) => Effect.delay(pool.use(() => Effect.sleep(index % 2 === 0 ? 20 : 60)), index * 50),
        { concurrency: "unbounded" }
      ))
      yield* TestClock.adjust("10 seconds")
      return yield* Fiber.join(measuring)
    })

  it.effect("takes arrivals and leases from a pool that runs, and what it takes can be simulated", () =>
    Effect.gen(function*() {
      const { arrived, leases, limits, load, meanWaitMillis } = yield* measured({ name: "measured" }, 190)
      assert.deepStrictEqual([arrived, leases, meanWaitMillis], [190, 190, 0])
      assert.deepStrictEqual(load.arrivals, PoolSimulation.poisson(19))
      assert.deepStrictEqual(load.pool, { min: 1, max: 3, acquireTimeout: 2000 })
      const { service } = load
      if (service._tag !== "Histogram") return assert.fail(service._tag)
      assert.closeTo(Number(service.mean), 40, 1e-6)
      assert.deepStrictEqual(
        service.counts.flatMap((count, index) => count === 0 ? [] : [[service.bounds[index], count]]),
        [[50, 95], [100, 95]]
      )
      assert.isTrue(limits.some((limit) => limit.includes("If they come in bursts, they really wait for longer")))
      const result = yield* PoolSimulation.run({ ...load, requests: 5000 })
      assert.closeTo(result.leases.mean, 40, 1)
      assert.closeTo(result.offeredLoad, 0.76, 0.05)
    }))

  it.effect("fails if there is nothing to measure", () =>
    Effect.gen(function*() {
      const none = yield* Effect.flip(measured({ name: "unused" }, 0))
      assert.strictEqual(
        none.message,
        "pool \"unused\": over is 10000 ms, but must be longer: in that time 0 requests arrived and 0 leases ended"
      )
      const off = yield* Effect.flip(measured({ name: "unmeasured", metrics: false }, 10))
      assert.strictEqual(off._tag === "PoolConfigError" && off.field, "metrics")
      const pool = yield* ConnectionPool.make({ factory: InMemoryConnection.factory(), name: "options" })
      const wrong = yield* Effect.flip(PoolSimulation.fromStats(pool, { over: 0 }))
      assert.strictEqual(wrong.field, "over")
    }))
})
