/** Answers "would a bigger pool help?": simulates the load that was recorded, with smaller and bigger pools. */
import { Clock, Effect, Result } from "effect"
import { lookThrough, measured } from "../../internal/simulation/measure.ts"
import type { PoolConfigError } from "../../PoolError.ts"
import * as PoolSimulation from "../../PoolSimulation.ts"
import type { Simulated, Sizes } from "./contract.ts"
import type { Recorder } from "./recorder.ts"
import type { Source } from "./sources.ts"

/** Requests of one simulation: enough for a quantile of 99 %, and few enough to take a part of a second. */
const requests = 5000

/** The largest pool that is simulated here: to open ten thousand connections in virtual time takes seconds of real time. */
const mostSimulated = 1000

/**
 * The most connections that a simulated pool opens at its start, in one step. The others are opened while the simulation warms
 * up, which does not count.
 */
const mostOpened = 50

export const sizes = Effect.fnUntraced(function*(
  { door, name, pool }: Source,
  { looks }: Recorder,
  index: number
): Effect.fn.Return<Sizes> {
  // The first look was taken before anybody could ask.
  const first = looks.oldest!
  const [before, after] = [first.looks[index]!, lookThrough(door)]
  const nothing = {
    pool: name,
    now: after.stats.max,
    perSecond: 0,
    overMillis: (yield* Clock.currentTimeMillis) - first.at,
    meanWaitMillis: 0,
    simulatedWaitMillis: 0,
    simulated: [],
    limits
  }
  if (nothing.overMillis === 0) return { ...nothing, problem: "nothing was recorded yet" }
  if (nothing.now > mostSimulated) {
    const problem =
      `max is ${nothing.now}; this page simulates up to ${mostSimulated}, and PoolSimulation more, best in ` +
      "another process"
    return { ...nothing, problem }
  }
  const load = measured(pool, before, after, nothing.overMillis)
  if (Result.isFailure(load)) return { ...nothing, problem: problemOf(load.failure) }
  const { arrived, load: options, meanWaitMillis } = load.success
  const simulated: Array<Simulated> = []
  for (const max of candidates(nothing.now)) {
    const { min = 0, ...rest } = options.pool ?? {}
    const pool = { ...rest, min: Math.min(min, max, mostOpened), max }
    const result = yield* Effect.result(PoolSimulation.run({ ...options, pool, requests }))
    if (Result.isFailure(result)) return { ...nothing, problem: problemOf(result.failure) }
    const { broken, connectErrors, refused, served, timeouts, utilization, waits } = result.success
    const lost = timeouts + refused + connectErrors + broken
    simulated.push({
      max,
      p50: waits.p50,
      p99: waits.p99,
      mean: waits.mean,
      notServed: lost / (served + lost),
      utilization
    })
  }
  return {
    ...nothing,
    perSecond: arrived * 1000 / nothing.overMillis,
    meanWaitMillis,
    simulatedWaitMillis: simulated.find(({ max }) => max === nothing.now)!.mean,
    simulated,
    problem: undefined
  }
})

/** What the simulation does not know. */
const limits = [
  "The number of requests was measured, not when each came. Bursts wait for longer than the simulation says. A fixed number " +
  "of workers, each of which waits for its answer before it asks again, waits for less.",
  "Leases are taken to be as long in a bigger pool. A database that is busy already gets slower instead: more connections do " +
  "not help then. All readers of SQLite that are not workers work in one thread, so more of them help only while leases wait " +
  "for something else; more workers than cores do not help either."
]

const problemOf = ({ problems }: PoolConfigError): string => problems.map(({ message }) => message).join("; ")

/** The sizes that are simulated: the present one, and some from a quarter to four times that. */
const candidates = (max: number): ReadonlyArray<number> => {
  const sizes = [0.25, 0.5, 0.75, 1, 1.25, 1.5, 2, 3, 4].map((factor) => Math.max(1, Math.round(max * factor)))
  return [...new Set(sizes)]
}
