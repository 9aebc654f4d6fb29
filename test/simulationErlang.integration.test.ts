import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import { PoolSimulation } from "effect-connection-pool"

/** Erlang's formula C: the part that waits, and the mean wait in units of the mean service. */
const erlangC = (servers: number, load: number) => {
  const offered = servers * load
  let blocked = 1
  for (let count = 1; count <= servers; count++) blocked = offered * blocked / (count + offered * blocked)
  const waited = blocked / (1 - load * (1 - blocked))
  return { waited, wait: waited / (servers * (1 - load)) }
}

const serviceMillis = 20

/** The busier the pool, the more requests are needed for the same certainty; and the fewer of them wait. */
const requestsFor = new Map([[0.5, 50_000], [0.7, 100_000], [0.8, 150_000], [0.9, 400_000], [0.95, 1_000_000]])

/** So long that nobody notices: a mean wait below this is not compared by its part. */
const negligible = 0.001

describe("a simulation agrees with Erlang C", () => {
  for (const max of [1, 4, 10, 50]) {
    for (const [load, count] of requestsFor) {
      it.effect(`with ${max} connections at a load of ${load}`, () =>
        Effect.gen(function*() {
          const { meanWaitMargin, utilization, waited, waits } = yield* PoolSimulation.run({
            pool: { max, min: max, acquireTimeout: Infinity },
            arrivals: PoolSimulation.poisson(max * load * 1000 / serviceMillis),
            service: PoolSimulation.exponential(serviceMillis),
            requests: max === 50 && load >= 0.8 ? 1_000_000 : count
          })
          const expected = erlangC(max, load)
          const wait = waits.mean / serviceMillis
          assert.closeTo(waited, expected.waited, 0.02, "the part that waits")
          assert.closeTo(wait, expected.wait, Math.max(0.1 * expected.wait, negligible), "the mean wait")
          assert.closeTo(utilization, load, 0.01, "the part in use")
          // The margin that the simulation gives itself holds, but for chance.
          assert.closeTo(wait, expected.wait, Math.max(2 * meanWaitMargin / serviceMillis, negligible), "the margin")
          assert.isBelow(meanWaitMargin / serviceMillis, Math.max(0.2 * expected.wait, negligible))
        }), 120_000)
    }
  }
})
