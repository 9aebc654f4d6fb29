import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import { PoolSimulation } from "effect-connection-pool"

/** A request every 10 ms, each for 95 ms: with ten connections nobody waits, and with nine the line grows. */
const steady = {
  arrivals: PoolSimulation.regular(100),
  service: 95
} satisfies PoolSimulation.Options

const tried = ({ tried }: PoolSimulation.Suggestion) => tried.map(({ max }) => max)

const answer = (suggestion: PoolSimulation.Suggestion) =>
  suggestion._tag === "Found" ? suggestion.max : suggestion.obstacle

const reason = (suggestion: PoolSimulation.Suggestion) => suggestion._tag === "NoneHelps" ? suggestion.reason : "found"

describe("the search for the smallest max", () => {
  it.effect("begins with the max of the pool and with the load, doubles, and then halves the rest", () =>
    Effect.gen(function*() {
      const search = (max: number, rest?: Partial<PoolSimulation.SuggestOptions>) =>
        Effect.map(
          PoolSimulation.suggest({ ...steady, requests: 500, p99Wait: 0, pool: { max }, ...rest }),
          (suggestion) => [answer(suggestion), tried(suggestion)]
        )
      assert.deepStrictEqual(yield* search(4), [10, [4, 9, 10, 11, 13, 18]])
      assert.deepStrictEqual(yield* search(64), [10, [9, 10, 11, 13, 18, 64]])
      assert.deepStrictEqual(yield* search(10), [10, [9, 10, 18]])
      assert.deepStrictEqual(yield* search(4, { upTo: 12 }), [10, [4, 9, 10, 12]])
      assert.deepStrictEqual(yield* search(40, { upTo: 12 }), [10, [9, 10, 12]])
      assert.deepStrictEqual(yield* search(20, { pool: { max: 20, min: 12 } }), [12, [12, 20]])
    }))

  it.effect("goes below the load as long as the goal is met there", () =>
    Effect.gen(function*() {
      const search = (p99Wait: number, pool: PoolSimulation.Options["pool"] = { max: 8 }) =>
        Effect.map(
          PoolSimulation.suggest({ ...steady, requests: 20, warmUp: 0, p99Wait, pool }),
          (suggestion) => [answer(suggestion), tried(suggestion)]
        )
      assert.deepStrictEqual(yield* search(60_000), [1, [1, 2, 4, 8, 9]])
      assert.deepStrictEqual(yield* search(60_000, { max: 8, min: 3 }), [3, [3, 4, 8, 9]])
      assert.deepStrictEqual(yield* search(450), [3, [2, 3, 4, 8, 9]])
      assert.deepStrictEqual(yield* search(300), [4, [2, 3, 4, 8, 9]])
    }))

  it.effect("tells of each max what a simulation of it gives", () =>
    Effect.gen(function*() {
      const options = { ...steady, requests: 300, pool: { max: 4, acquireTimeout: 500 } }
      const suggestion = yield* PoolSimulation.suggest({ ...options, p99Wait: 0 })
      for (const { lost, max, p99Delay, utilization } of suggestion.tried) {
        const result = yield* PoolSimulation.run({ ...options, pool: { ...options.pool, max } })
        assert.deepStrictEqual(
          { lost, p99Delay, utilization },
          { lost: result.timeouts, p99Delay: result.p99Delay, utilization: result.utilization }
        )
      }
      assert.isAbove(suggestion.tried[0]!.lost, 50)
      const { result } = suggestion
      assert.deepStrictEqual(result, yield* PoolSimulation.run({ ...options, pool: { ...options.pool, max: 10 } }))
    }))
})

describe("the reason why no max helps", () => {
  const goal = { ...steady, requests: 100, warmUp: 0, pool: { max: 2, acquireTimeout: Infinity } } as const

  it.effect("is the limit of the search, with the delay at best", () =>
    Effect.gen(function*() {
      const suggestion = yield* PoolSimulation.suggest({ ...goal, p99Wait: 5.126, upTo: 9 })
      assert.strictEqual(answer(suggestion), "limit")
      // It looked between the best and its neighbour.
      assert.deepStrictEqual(tried(suggestion), [2, 5, 7, 8, 9])
      assert.strictEqual(
        reason(suggestion),
        "the goal is 5.13 ms; at best, with max 9, the delay of 99 of 100 requests is up to 50 ms. All of them are in " +
          "use at times: raise upTo, or shorten the time that requests keep a connection."
      )
      const lost = yield* PoolSimulation.suggest({ ...goal, pool: { max: 2, acquireTimeout: 30 }, p99Wait: 0, upTo: 3 })
      assert.strictEqual(lost._tag, "NoneHelps")
      assert.match(
        reason(lost),
        new RegExp(
          `^the goal is 0 ms; at best, with max 3, ${lost.result.timeouts} of 100 requests are not served\\. All`
        )
      )
      assert.isAbove(lost.result.timeouts, 10)
    }))

  it.effect("is a thread that all share", () =>
    Effect.gen(function*() {
      const suggestion = yield* PoolSimulation.suggest({
        ...goal,
        arrivals: PoolSimulation.bursts({ size: 4, every: 100 }),
        service: { work: 10 },
        p99Wait: 5,
        upTo: 8
      })
      assert.strictEqual(answer(suggestion), "threads")
      const { max, threadUtilization, threadWaits } = suggestion.result
      assert.strictEqual(
        reason(suggestion),
        `the goal is 5 ms; at best, with max ${max}, the delay of 99 of 100 requests is up to 30 ms. Connections share ` +
          `threads, which are busy for ${
            Math.round(threadUtilization * 100)
          } % of the time. Requests wait for a thread ` +
          `(${
            Math.round(threadWaits.mean * 100) / 100
          } ms on average), and more connections do not work faster: shorten ` +
          "the work, or move it to other threads or another process."
      )
      assert.closeTo(threadUtilization, 0.4, 0.02)
    }))

  it.effect("is an outage, but only one that was noticed", () =>
    Effect.gen(function*() {
      const search = (outage: PoolSimulation.Outage, rest?: Partial<PoolSimulation.SuggestOptions>) =>
        PoolSimulation.suggest({ ...goal, p99Wait: 5, upTo: 9, outages: [outage], ...rest })
      const noticed = yield* search({ from: 500, to: 600 })
      assert.strictEqual(answer(noticed), "outage")
      assert.match(
        reason(noticed),
        /^the goal is 5 ms; at best, with max 2, 2 of 100 requests are not served\. The database is down for a part of the time, and no number of connections changes that: refuse requests early \(`maxWaiting`, a shorter `acquireTimeout`\), or try again later\.$/
      )
      // Of these, one breaks leases only, one refuses only, and one makes attempts time out only.
      const brief = { from: 500, to: 500.001, drops: true, connect: 0 } as const
      const broken = yield* search(brief)
      assert.deepStrictEqual([answer(broken), broken.result.broken > 0], ["outage", true])
      const late = { from: 0, to: 35, drops: false } as const
      const refused = yield* search({ ...late, isTransient: false })
      assert.strictEqual(answer(refused), "outage")
      const hanging = yield* search({ ...late, connect: "hangs" }, {
        pool: { max: 2, acquireTimeout: Infinity, connectTimeout: 20 }
      })
      assert.strictEqual(answer(hanging), "outage")
      // One after the last request is none.
      assert.strictEqual(answer(yield* search({ from: 5000, to: 6000 })), "limit")
    }))

  it.effect("is connecting, with what it takes", () =>
    Effect.gen(function*() {
      const suggestion = yield* PoolSimulation.suggest({
        arrivals: PoolSimulation.regular(0.01),
        service: 5,
        connect: 200,
        requests: 20,
        warmUp: 0,
        pool: { max: 3, idleTimeout: "10 seconds" },
        p99Wait: 50,
        upTo: 4
      })
      assert.strictEqual(answer(suggestion), "connects")
      assert.strictEqual(
        reason(suggestion),
        "the goal is 50 ms; at best, with max 1, the delay of 99 of 100 requests is up to 200 ms. No more than 1 " +
          "connections are ever in use. Requests wait for connecting (200 ms on average), validating or resetting: keep " +
          "connections open (`min`, a longer `idleTimeout`), or make these faster."
      )
    }))

  it.effect("is a database that gets slower", () =>
    Effect.gen(function*() {
      const suggestion = yield* PoolSimulation.suggest({
        ...goal,
        service: ({ inUse }) => 20 + 4 * inUse ** 2,
        p99Wait: 0,
        upTo: 64
      })
      assert.strictEqual(answer(suggestion), "service")
      const { leases, max, p99Delay } = suggestion.result
      assert.strictEqual(
        reason(suggestion),
        `the goal is 0 ms; at best, with max ${max}, the delay of 99 of 100 requests is up to ${
          Math.round(p99Delay * 100) / 100
        } ms. With more connections, requests take longer (with max ${max} they take ${
          Math.round(leases.mean * 100) / 100
        } ms on average): the database does not work faster with more at once.`
      )
      // The best has the shortest delays, and no neighbour that was not tried.
      const best = Math.min(...suggestion.tried.map((one) => one.p99Delay))
      assert.strictEqual(p99Delay, best)
      const all = tried(suggestion)
      assert.isTrue(max === all.at(-1) || all.includes(max + 1))
      assert.isTrue(max === all[0] || all.includes(max - 1))
    }))
})
