import { assert, describe, it } from "@effect/vitest"
import { Effect, Exit, Fiber, Logger } from "effect"
import { type PoolError, PoolSimulation } from "effect-connection-pool"

/** The waits of callers who are served in order by `servers`: the recursion of Kiefer and Wolfowitz. */
const waitsOf = (arrivals: ReadonlyArray<number>, leases: ReadonlyArray<number>, servers: number) => {
  const free = Array.from({ length: servers }, () => 0)
  return arrivals.map((at, index) => {
    const next = free.indexOf(Math.min(...free))
    const begins = Math.max(at, free[next]!)
    free[next] = begins + leases[index]!
    return begins - at
  })
}

/** Numbers from 0 to below 1 that are the same every time. */
const numbers = (count: number, seed: number) => {
  let state = seed
  return Array.from({ length: count }, () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0
    return state / 2 ** 32
  })
}

const load = {
  arrivals: PoolSimulation.poisson(160),
  service: PoolSimulation.exponential("20 millis"),
  requests: 5000
} satisfies PoolSimulation.Options

const ended = (result: PoolSimulation.Result) =>
  result.served + result.timeouts + result.refused + result.connectErrors + result.broken

describe("a simulation", () => {
  for (const max of [1, 4, 10]) {
    it.effect(`lets each request wait exactly as long as the recursion for ${max} servers says`, () =>
      Effect.gen(function*() {
        const count = 20_000
        const gaps = numbers(count, 7).map((number) => -Math.log(1 - number) * 20 / max)
        let at = 0
        const times = gaps.map((gap) => at = Math.round((at + gap) * 1e6) / 1e6)
        const leases = numbers(count, 11).map((number) => Math.round(-Math.log(1 - number) * 18e6) / 1e6)
        const { waited, waits } = yield* PoolSimulation.run({
          pool: { max, acquireTimeout: Infinity },
          arrivals: PoolSimulation.recorded(times),
          service: ({ index }) => leases[index]!
        })
        const expected = waitsOf(times, leases, max).toSorted((one, other) => one - other)
        const rank = (part: number) => expected[Math.ceil(part * count) - 1]!
        assert.strictEqual(waits.count, count)
        for (
          const [found, right] of [
            [waits.mean, expected.reduce((sum, wait) => sum + wait) / count],
            [waits.p50, rank(0.5)],
            [waits.p95, rank(0.95)],
            [waits.p99, rank(0.99)],
            [waits.max, expected.at(-1)!],
            [waited, expected.filter((wait) => wait > 1e-7).length / count]
          ] as const
        ) assert.closeTo(found, right, 1e-4)
        assert.isAbove(waits.mean, 10)
      }))
  }

  it.effect("has the same result with the same seed, and another with another", () =>
    Effect.gen(function*() {
      const options: PoolSimulation.Options = {
        ...load,
        pool: { max: 4, acquireTimeout: 100 },
        connect: PoolSimulation.exponential(30),
        outages: [{ from: "5 seconds", to: "6 seconds" }]
      }
      const one = yield* PoolSimulation.run({ ...options, seed: 3 })
      assert.deepStrictEqual(yield* PoolSimulation.run({ ...options, seed: 3 }), one)
      const other = yield* PoolSimulation.run({ ...options, seed: 4 })
      assert.notStrictEqual(other.waits.mean, one.waits.mean)
      assert.notStrictEqual(other.perSecond, one.perSecond)
    }))

  it.effect("never has longer waits with more connections", () =>
    Effect.gen(function*() {
      let before = Infinity
      for (const max of [3, 4, 5, 6, 8, 12, 20]) {
        const { offeredLoad, waits } = yield* PoolSimulation.run({ ...load, pool: { max, min: max } })
        assert.isAtMost(waits.mean, before + 1e-9)
        // The requests and their service are the same, whatever `max` is.
        assert.closeTo(offeredLoad, 3.2, 0.15)
        before = waits.mean
      }
      assert.isBelow(before, 0.01)
    }))

  it.effect("gives each request its own random numbers, whatever becomes of the others", () =>
    Effect.gen(function*() {
      const drawn = (acquireTimeout: number) => {
        const numbers = new Map<number, number>()
        const service = ({ index, random }: PoolSimulation.Draw) => {
          numbers.set(index, random())
          return 40
        }
        return Effect.as(PoolSimulation.run({ ...load, service, pool: { max: 4, acquireTimeout } }), numbers)
      }
      const all = yield* drawn(Infinity)
      const some = yield* drawn(50)
      assert.strictEqual(all.size, 5000)
      assert.isBelow(some.size, 4500)
      for (const [index, number] of some) assert.strictEqual(all.get(index), number)
    }))

  it.effect("ends every request exactly once, however it ends", () =>
    Effect.gen(function*() {
      const overloaded = { ...load, arrivals: PoolSimulation.poisson(300), warmUp: 0 }
      const all = yield* PoolSimulation.run({
        ...overloaded,
        pool: { max: 4, acquireTimeout: "100 millis" },
        outages: [{ from: "3 seconds", to: "5 seconds" }, { from: "8 seconds", to: "9 seconds", isTransient: false }]
      })
      assert.strictEqual(ended(all), 5000)
      assert.strictEqual(all.requests, 5000)
      assert.isAbove(all.timeouts, 100)
      assert.isAbove(all.connectErrors, 10)
      assert.isAbove(all.broken, 0)
      assert.isAtMost(all.waits.max, 100)
      assert.isAbove(all.waited, (all.timeouts + all.served / 2) / 5000)
      const { refused, timeouts, requests, served, mostWaiting } = yield* PoolSimulation.run({
        ...overloaded,
        pool: { max: 4, maxWaiting: 10 }
      })
      assert.strictEqual(served + refused, requests)
      assert.strictEqual(timeouts, 0)
      assert.isAbove(refused, 1000)
      assert.isAtMost(mostWaiting, 11)
    }))

  it.effect("counts nothing before the warm-up is over", () =>
    Effect.gen(function*() {
      const options = { ...load, pool: { max: 2 }, arrivals: PoolSimulation.regular(1), connect: "500 millis" } as const
      const cold = yield* PoolSimulation.run({ ...options, requests: 100, warmUp: 0 })
      assert.deepStrictEqual([cold.requests, cold.waits.max], [100, 500])
      const warm = yield* PoolSimulation.run({ ...options, requests: 100, warmUp: 0.2 })
      assert.deepStrictEqual([warm.requests, warm.waits.max], [80, 0])
      const timed = yield* PoolSimulation.run({ ...options, requests: undefined, duration: "100 seconds", warmUp: 0.5 })
      assert.deepStrictEqual([timed.requests, timed.waits.max], [51, 0])
    }))

  it.effect("measures the load, the part of max in use, and the line", () =>
    Effect.gen(function*() {
      const result = yield* PoolSimulation.run({
        pool: { max: 2 },
        arrivals: PoolSimulation.bursts({ size: 3, every: "1 second" }),
        service: "100 millis",
        requests: 3000
      })
      assert.deepStrictEqual(
        { p50: result.waits.p50, p95: result.waits.p95, max: result.waits.max },
        { p50: 0, p95: 100, max: 100 }
      )
      assert.closeTo(result.waited, 1 / 3, 0.001)
      assert.closeTo(result.offeredLoad, 0.3, 0.01)
      assert.closeTo(result.utilization, 0.15, 0.005)
      assert.closeTo(result.perSecond, 3, 0.01)
      assert.deepStrictEqual([result.mostInUse, result.mostWaiting], [2, 1])
      assert.strictEqual(result.leases.max, 100)
      assert.strictEqual(result.responses.max, 200)
    }))

  it.effect("lets service depend on the connections in use", () =>
    Effect.gen(function*() {
      const most: Array<number> = []
      const result = yield* PoolSimulation.run({
        ...load,
        pool: { max: 6 },
        service: ({ inUse }) => {
          most.push(inUse)
          return 5 * inUse
        }
      })
      assert.strictEqual(Math.max(...most), 6)
      assert.strictEqual(Math.min(...most), 1)
      assert.strictEqual(result.leases.max, 30)
    }))

  it.effect("does the work of all leases in turn if they share a thread", () =>
    Effect.gen(function*() {
      const options = {
        arrivals: PoolSimulation.bursts({ size: 4, every: "1 second" }),
        requests: 4000
      }
      const one = yield* PoolSimulation.run({ ...options, pool: { max: 4 }, service: { work: 10, waiting: 100 } })
      assert.deepStrictEqual([one.waits.max, one.threadWaits.max, one.responses.max], [0, 30, 140])
      assert.closeTo(one.threadUtilization, 0.04, 0.001)
      const two = yield* PoolSimulation.run({ ...options, pool: { max: 4 }, service: { work: 10, threads: 2 } })
      assert.deepStrictEqual([two.threadWaits.max, two.responses.max], [10, 20])
      const narrow = yield* PoolSimulation.run({ ...options, pool: { max: 1 }, service: { work: 10 } })
      assert.deepStrictEqual([narrow.waits.max, narrow.threadWaits.max, narrow.delays.max], [30, 0, 30])
    }))

  it.effect("reports how far it is, and lets other fibers go on meanwhile", () =>
    Effect.gen(function*() {
      let turns = 0
      const other = yield* Effect.forkChild(Effect.forever(Effect.andThen(Effect.sync(() => turns++), Effect.yieldNow)))
      const seen: Array<PoolSimulation.Progress> = []
      yield* PoolSimulation.run({
        ...load,
        pool: { max: 4 },
        onProgress: (progress) => Effect.sync(() => void seen.push(progress))
      })
      yield* Fiber.interrupt(other)
      // At most 100 requests end in one turn.
      assert.isAtLeast(turns, 50)
      assert.isAtLeast(seen.length, 50)
      assert.deepStrictEqual(seen.map(({ part }) => part), seen.map(({ part }) => part).toSorted((a, b) => a - b))
      assert.deepStrictEqual([seen.at(-1)?.part, seen.at(-1)?.ended, seen.at(-1)?.max], [1, 5000, 4])
      const timed: Array<number> = []
      yield* PoolSimulation.run({
        ...load,
        requests: undefined,
        duration: "1 minute",
        onProgress: ({ part }) => Effect.sync(() => void timed.push(part))
      })
      assert.closeTo(timed[Math.floor(timed.length / 2)]!, 0.5, 0.1)
      assert.strictEqual(timed.at(-1), 1)
    }))

  it.effect("stops when it is interrupted", () =>
    Effect.gen(function*() {
      const fiber = yield* Effect.forkChild(PoolSimulation.run({ ...load, requests: 10_000_000 }))
      yield* Effect.yieldNow
      yield* Fiber.interrupt(fiber)
      assert.isTrue(Exit.isFailure(yield* Fiber.await(fiber)))
    }))

  it.effect("writes nothing to the log of the application", () =>
    Effect.gen(function*() {
      const lines: Array<unknown> = []
      const logger = Logger.make(({ message }) => lines.push(message))
      const { connects } = yield* Effect.provide(
        PoolSimulation.run({ ...load, outages: [{ from: "1 second", to: "3 seconds" }] }),
        Logger.layer([logger])
      )
      assert.isAbove(connects.failed, 0)
      assert.deepStrictEqual(lines, [])
    }))

  it.effect("says what it does not know", () =>
    Effect.gen(function*() {
      const { limits } = yield* PoolSimulation.run({ ...load, requests: 10 })
      assert.isTrue(limits.some((limit) => limit.includes("come in bursts")))
      assert.isTrue(limits.some((limit) => limit.includes("as long with many connections in use as with few")))
      const split = yield* PoolSimulation.run({
        ...load,
        service: { work: 1 },
        arrivals: PoolSimulation.regular(10),
        requests: 10
      })
      assert.isTrue(split.limits.some((limit) => limit.includes("on one thread")))
      assert.isFalse(split.limits.some((limit) => limit.includes("come in bursts")))
    }))
})

describe("arrivals", () => {
  /** When the requests of a simulation that always has an idle connection begin. */
  const startsOf = (options: Omit<PoolSimulation.Options, "service">) => {
    const starts: Array<number> = []
    return Effect.as(
      PoolSimulation.run({
        ...options,
        pool: { max: 1000 },
        service: ({ atMillis }) => {
          starts.push(atMillis)
          return 1
        }
      }),
      starts
    )
  }

  it.effect("of a day follow the rate of each phase, again and again", () =>
    Effect.gen(function*() {
      const starts = yield* startsOf({
        arrivals: PoolSimulation.rates([
          { lasts: "10 seconds", perSecond: 100 },
          { lasts: "20 seconds", perSecond: 0 },
          { lasts: "30 seconds", perSecond: 10 }
        ]),
        duration: "10 minutes"
      })
      const inPhase = (from: number, to: number) =>
        starts.filter((at) => at % 60_000 >= from && at % 60_000 < to).length
      assert.closeTo(inPhase(0, 10_000), 10_000, 400)
      assert.strictEqual(inPhase(10_000, 30_000), 0)
      assert.closeTo(inPhase(30_000, 60_000), 3000, 220)
    }))

  it.effect("in bursts stand over a base", () =>
    Effect.gen(function*() {
      const starts = yield* startsOf({
        arrivals: PoolSimulation.bursts({ size: 50, every: "1 second", perSecond: 20 }),
        duration: "100 seconds"
      })
      assert.strictEqual(starts.filter((at) => at % 1000 === 0).length, 5000)
      assert.closeTo(starts.filter((at) => at % 1000 !== 0).length, 2000, 180)
    }))

  it.effect("that were recorded come when they came", () =>
    Effect.gen(function*() {
      const starts = yield* startsOf({ arrivals: PoolSimulation.recorded([30, "10 millis", 10, { seconds: 2 }]) })
      assert.deepStrictEqual(starts, [10, 10, 30, 2000])
    }))
})

describe("times", () => {
  const leasesOf = (service: PoolSimulation.Times) =>
    Effect.map(
      PoolSimulation.run({ pool: { max: 1000 }, arrivals: PoolSimulation.regular(1000), service, warmUp: 0 }),
      ({ leases }) => leases
    )

  it.effect("have the shape that was asked for", () =>
    Effect.gen(function*() {
      const exponential = yield* leasesOf(PoolSimulation.exponential("20 millis"))
      assert.closeTo(exponential.mean, 20, 0.5)
      assert.closeTo(exponential.p99, 92.1, 4)
      const lognormal = yield* leasesOf(PoolSimulation.lognormal({ median: "5 millis", p99: "100 millis" }))
      assert.closeTo(lognormal.p50, 5, 0.2)
      assert.closeTo(lognormal.p99, 100, 10)
      const sampled = yield* leasesOf(PoolSimulation.sampled([1, 1, 1, 101]))
      assert.deepStrictEqual([sampled.p50, sampled.p95, sampled.max], [1, 101, 101])
      assert.closeTo(sampled.mean, 26, 1)
      const fixed = yield* leasesOf({ seconds: 1 })
      assert.deepStrictEqual([fixed.p50, fixed.max], [1000, 1000])
    }))

  it.effect("from buckets have the mean that is known, or the middle of each bucket", () =>
    Effect.gen(function*() {
      const buckets = { bounds: [10, 20], counts: [50, 40, 10] }
      const plain = yield* leasesOf(PoolSimulation.histogram(buckets))
      assert.closeTo(plain.mean, 0.5 * 5 + 0.4 * 15 + 0.1 * 30, 0.3)
      assert.closeTo(plain.p50, 10, 0.5)
      assert.isAtMost(plain.max, 40)
      const exact = yield* leasesOf(PoolSimulation.histogram({ ...buckets, mean: 23 }))
      assert.closeTo(exact.mean, 23, 0.5)
    }))
})

describe("the options of a simulation", () => {
  const problemsOf = (options: unknown) =>
    PoolSimulation.run(options as PoolSimulation.Options).pipe(
      Effect.as([] as ReadonlyArray<string>),
      Effect.catchTag("PoolConfigError", ({ problems }: PoolError.PoolConfigError) =>
        Effect.succeed(problems.map(({ message }) => message)))
    )

  it.effect("are checked all at once, also those inside of others", () =>
    Effect.gen(function*() {
      assert.deepStrictEqual(
        yield* problemsOf({
          pool: { max: 0, acquireTimout: 5 },
          arrivals: { _tag: "Rates", phases: [{ lasts: 0, perSecond: 5 }, { lasts: 5 }] },
          service: { work: "fast", thread: 2 },
          connect: PoolSimulation.lognormal({ median: 10, p99: 5 }),
          validate: PoolSimulation.histogram({ bounds: [1, 2], counts: [1] }),
          reset: PoolSimulation.sampled([1, -1]),
          outages: [{ from: 5, to: 5 }, "soon"],
          warmUp: 1,
          requests: 0,
          seed: -1
        }),
        [
          "requests is 0, but must be a whole number of at least 1",
          "warmUp is 1, but must be a number from 0 to below 1",
          "seed is -1, but must be a whole number of at least 0",
          "pool.acquireTimout is no option; did you mean acquireTimeout?",
          "pool.max is 0, but must be a whole number of at least 1",
          "arrivals.phases[0].lasts is 0, but must be a duration above zero, such as \"5 seconds\"",
          "arrivals.phases[1].perSecond is not given: it must be a number of zero or more",
          "outages[0].to is 5, but must be later than from, which is 5 ms",
          "outages[1] is \"soon\", but must be an object",
          "service.thread is no option; did you mean threads?",
          "service.work is \"fast\", but must be a duration, such as \"20 millis\", PoolSimulation.exponential(\"20 millis\"), or a function",
          "connect.p99 is 5, but must be at least median, which is 10 ms",
          "validate.counts is an array, but must be 3 counts: one more than the bounds",
          "reset.times[1] is -1, but must be a finite duration of zero or more, such as \"20 millis\""
        ]
      )
      assert.deepStrictEqual(yield* problemsOf({}), [
        "arrivals is not given: it must be arrivals, such as PoolSimulation.poisson(100)",
        "service is not given: it must be times, such as PoolSimulation.exponential(\"20 millis\")"
      ])
      assert.deepStrictEqual(yield* problemsOf({ ...load, arrivals: 5 }), [
        "arrivals is 5, but must be arrivals, such as PoolSimulation.poisson(100)"
      ])
      assert.deepStrictEqual(yield* problemsOf({ ...load, arrivals: PoolSimulation.poisson(0) }), [
        "arrivals.perSecond is 0, but must be a number above zero"
      ])
      assert.deepStrictEqual(
        yield* problemsOf({ ...load, arrivals: PoolSimulation.rates([{ lasts: 5, perSecond: 0 }]) }),
        ["arrivals.phases is an array, but must be a list in which at least one phase has requests"]
      )
      assert.deepStrictEqual(
        yield* problemsOf({
          ...load,
          pool: { connectTimeout: Infinity },
          outages: [{ from: 0, to: 5, connect: "hangs" }]
        }),
        [
          "pool.connectTimeout is Infinity, but must be finite if an outage hangs: a connect attempt would last for ever"
        ]
      )
    }))

  it.effect("that are functions must return durations", () =>
    Effect.gen(function*() {
      assert.deepStrictEqual(yield* problemsOf({ ...load, service: () => "long" }), [
        "the result of service is \"long\", but must be a finite duration of zero or more"
      ])
      assert.deepStrictEqual(yield* problemsOf({ ...load, connect: () => -1 }), [
        "the result of connect is -1, but must be a finite duration of zero or more"
      ])
      const thrown = new Error("no idea")
      const exit = yield* Effect.exit(PoolSimulation.run({
        ...load,
        service: () => {
          throw thrown
        }
      }))
      assert.deepStrictEqual(exit, Exit.die(thrown))
    }))

  it.effect("of suggest leave room for min", () =>
    Effect.gen(function*() {
      const error = yield* Effect.flip(PoolSimulation.suggest({ ...load, pool: { min: 5 }, upTo: 4, p99Wait: 5 }))
      assert.strictEqual(error.message, "pool \"pool\": upTo is 4, but must be at least pool.min, which is 5")
    }))
})
