/** Finds the smallest `max` with which a load meets a goal. */
import { Effect } from "effect"
import type { PoolConfigError } from "../../PoolError.ts"
import type { Obstacle, Result, Suggestion, Tried } from "./contract.ts"
import type { Settings, SuggestSettings } from "./options.ts"
import { simulate } from "./simulate.ts"

/** Every `max` is tried with the same requests, so that only `max` makes a difference. */
export const suggest = Effect.fnUntraced(function*(
  { p99WaitMillis, run, upTo }: SuggestSettings
): Effect.fn.Return<Suggestion, PoolConfigError> {
  const results = new Map<number, Result>()
  const attempt = Effect.fnUntraced(function*(max: number): Effect.fn.Return<boolean, PoolConfigError> {
    const result = results.get(max) ?? (yield* simulate({ ...run, pool: { ...run.pool, max }, max }))
    results.set(max, result)
    return result.p99Delay <= p99WaitMillis
  })

  const lowest = Math.max(run.pool.min, 1)
  const within = (max: number) => Math.min(Math.max(max, lowest), upTo)
  const first = within(run.max)
  yield* attempt(first)
  // Below the load, the line only grows.
  let low = within(Math.floor(results.get(first)!.offeredLoad))
  let found: number | undefined
  if (yield* attempt(low)) {
    found = low
    // A load that ends, or that is lower at first, may do with less.
    while (found > lowest && (yield* attempt(low = within(Math.floor(found / 2))))) found = low
  } else {
    for (let max = low; found === undefined && max < upTo;) {
      low = max
      max = within(max * 2)
      if (yield* attempt(max)) found = max
    }
  }
  found ??= yield* lookCloser(results, attempt)
  if (found === undefined) {
    const result = best(results)
    const obstacle = obstacleOf(results, run, upTo)
    return {
      _tag: "NoneHelps",
      obstacle,
      reason: reasonOf(obstacle, result, p99WaitMillis),
      result,
      tried: list(results)
    }
  }
  const tried = Array.from(results.values())
  found = Math.min(...tried.filter(({ p99Delay }) => p99Delay <= p99WaitMillis).map(({ max }) => max))
  // All that were tried below `found` miss the goal.
  low = Math.max(lowest - 1, ...tried.map(({ max }) => max).filter((max) => max < found!))
  while (found - low > 1) {
    const middle: number = Math.floor((low + found) / 2)
    if (yield* attempt(middle)) found = middle
    else low = middle
  }
  return { _tag: "Found", max: found, result: results.get(found)!, tried: list(results) }
})

/**
 * Looks between the best `max` and its neighbours. If requests take longer with more connections, only a few values in
 * between may meet the goal.
 */
const lookCloser = Effect.fnUntraced(function*(
  results: ReadonlyMap<number, Result>,
  attempt: (max: number) => Effect.Effect<boolean, PoolConfigError>
): Effect.fn.Return<number | undefined, PoolConfigError> {
  for (;;) {
    const { max } = best(results)
    const tried = Array.from(results.keys()).toSorted((one, other) => one - other)
    const place = tried.indexOf(max)
    const between = [tried[place - 1], tried[place + 1]].flatMap((neighbour) => {
      if (neighbour === undefined || Math.abs(neighbour - max) <= 1) return []
      return [Math.floor((neighbour + max) / 2)]
    })
    if (between.length === 0) return undefined
    for (const middle of between) if (yield* attempt(middle)) return middle
  }
})

const lost = ({ requests, served }: Result): number => requests - served

/** The one with the shortest delays. Of those without a bound, the one that lost the fewest requests. */
const best = (results: ReadonlyMap<number, Result>): Result =>
  Array.from(results.values()).toSorted((one, other) =>
    (one.p99Delay === other.p99Delay ? 0 : one.p99Delay - other.p99Delay) || lost(one) - lost(other) ||
    one.delays.mean - other.delays.mean || one.max - other.max
  )[0]!

const list = (results: ReadonlyMap<number, Result>): ReadonlyArray<Tried> =>
  Array.from(results.values(), (result): Tried => ({
    max: result.max,
    p99Delay: result.p99Delay,
    utilization: result.utilization,
    lost: lost(result)
  })).toSorted((one, other) => one.max - other.max)

/** Judges by the largest `max`, for what it does not change no other `max` will change. */
const obstacleOf = (results: ReadonlyMap<number, Result>, run: Settings, upTo: number): Obstacle => {
  const result = best(results)
  const widest = results.get(upTo)!
  const { broken, connectErrors, connects } = widest
  if (run.outages.length > 0 && connectErrors + broken + connects.failed + connects.timedOut > 0) return "outage"
  if (run.service.work !== undefined && widest.threadWaits.p99 >= widest.waits.p99) return "threads"
  if (result.max < upTo && widest.leases.mean > 1.02 * result.leases.mean) return "service"
  return widest.mostInUse < upTo ? "connects" : "limit"
}

const reasonOf = (obstacle: Obstacle, result: Result, goalMillis: number): string => {
  const { connects, leases, max, threadUtilization, threadWaits } = result
  const delay = result.p99Delay === Infinity
    ? `${lost(result)} of ${result.requests} requests are not served`
    : `the delay of 99 of 100 requests is up to ${millis(result.p99Delay)}`
  const found = `the goal is ${millis(goalMillis)}; at best, with max ${max}, ${delay}. `
  switch (obstacle) {
    case "threads":
      return `${found}Connections share threads, which are busy for ${
        percent(threadUtilization)
      } of the time. Requests wait ` +
        `for a thread (${
          millis(threadWaits.mean)
        } on average), and more connections do not work faster: shorten the work, ` +
        "or move it to other threads or another process."
    case "outage":
      return `${found}The database is down for a part of the time, and no number of connections changes that: refuse ` +
        "requests early (`maxWaiting`, a shorter `acquireTimeout`), or try again later."
    case "connects":
      return `${found}No more than ${result.mostInUse} connections are ever in use. Requests wait for connecting ` +
        `(${
          millis(connects.times.mean)
        } on average), validating or resetting: keep connections open (\`min\`, a longer ` +
        "`idleTimeout`), or make these faster."
    case "service":
      return `${found}With more connections, requests take longer (with max ${max} they take ${
        millis(leases.mean)
      } on ` +
        "average): the database does not work faster with more at once."
    case "limit":
      return `${found}All of them are in use at times: raise upTo, or shorten the time that requests keep a connection.`
  }
}

const millis = (value: number): string => `${Math.round(value * 100) / 100} ms`

const percent = (part: number): string => `${Math.round(part * 100)} %`
