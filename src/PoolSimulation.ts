/**
 * The real pool in virtual time, under a load that you describe or measure: would a bigger pool help?
 *
 * `run` simulates one pool, `suggest` finds the smallest `max` that reaches a goal, and `fromStats` measures the load of a
 * pool that runs. The pool of a simulation is the pool of `ConnectionPool.make`; only its clock, its callers and its database
 * are not real. A simulation of 20 000 requests takes less than a second, whatever time passes in it. It opens nothing, and
 * writes nothing to the log.
 */
import { type Duration, Effect, Result as Checked } from "effect"
import type { ConnectionPool } from "./ConnectionPool.ts"
import type {
  Arrivals,
  Distribution,
  Measured,
  MeasureOptions,
  Options,
  Phase,
  Result,
  Suggestion,
  SuggestOptions
} from "./internal/simulation/contract.ts"
import { measure, resolveMeasure } from "./internal/simulation/measure.ts"
import type { PoolConfigError } from "./PoolError.ts"

export type {
  Arrivals,
  Distribution,
  Draw,
  Measured,
  MeasureOptions,
  Obstacle,
  Options,
  Outage,
  Phase,
  Progress,
  Result,
  Service,
  Suggestion,
  SuggestOptions,
  Summary,
  Times,
  Tried
} from "./internal/simulation/contract.ts"

/** Loaded when it is needed: most applications that import the package simulate nothing. */
const commands = Effect.promise(() => import("./internal/simulation/commands.ts"))

/**
 * Simulates a pool under a load.
 *
 * It works in parts and gives way to other fibers between them, so it can run in a service; each part takes a few
 * milliseconds. Interrupting it drops the simulation. Fails with `PoolConfigError` if the options are invalid, which also
 * happens later, if a function that is an option returns no duration.
 *
 * The same options and seed give the same result. Another seed gives another: `meanWaitMargin` says how far the mean wait
 * may be from the true one. It shrinks with the square root of `requests`; a pool that is in use nearly always needs many.
 *
 * ```ts
 * import { Console, Effect } from "effect"
 * import { PoolSimulation } from "effect-connection-pool"
 *
 * export const program = Effect.gen(function*() {
 *   const { p99Delay, utilization } = yield* PoolSimulation.run({
 *     pool: { max: 4, acquireTimeout: "1 second" },
 *     arrivals: PoolSimulation.poisson(150),
 *     service: PoolSimulation.exponential("20 millis"),
 *     connect: "5 millis",
 *     outages: [{ from: "1 minute", to: "70 seconds" }]
 *   })
 *   yield* Console.log(`99 of 100 wait up to ${p99Delay} ms; ${utilization * 100} % in use`)
 * })
 * ```
 */
export const run = (options: Options): Effect.Effect<Result, PoolConfigError> =>
  Effect.flatMap(commands, ({ run }) => run(options))

/**
 * Finds the smallest `max` with which 99 of 100 requests are served without a longer delay than `p99Wait`.
 *
 * A delay is the wait for a connection and, if connections share threads, also the wait for a thread. A request that is not
 * served counts as one that waits for ever. If no `max` reaches the goal, the answer says why. It simulates about ten pools,
 * all with the same requests. Runs and fails like `run`.
 *
 * ```ts
 * import { Console, Effect } from "effect"
 * import { PoolSimulation } from "effect-connection-pool"
 *
 * export const program = Effect.gen(function*() {
 *   const suggestion = yield* PoolSimulation.suggest({
 *     arrivals: PoolSimulation.poisson(150),
 *     service: PoolSimulation.exponential("20 millis"),
 *     p99Wait: "10 millis"
 *   })
 *   yield* Console.log(suggestion._tag === "Found" ? `max: ${suggestion.max}` : suggestion.reason)
 * })
 * ```
 */
export const suggest = (options: SuggestOptions): Effect.Effect<Suggestion, PoolConfigError> =>
  Effect.flatMap(commands, ({ suggest }) => suggest(options))

/**
 * Measures the load of a pool that runs: how many requests arrive, and how long they keep their connections.
 *
 * It watches the numbers of the pool for a time, `over`, and waits until that has passed. It knows means and not bursts:
 * `limits` says what it does not know. The pool must have its metrics (`metrics`). Fails with
 * `PoolConfigError` if the pool has none, or if no lease ended in that time.
 *
 * ```ts
 * import { Console, Effect } from "effect"
 * import { type ConnectionPool, PoolSimulation } from "effect-connection-pool"
 *
 * export const wouldABiggerPoolHelp = <C, E>(pool: ConnectionPool.ConnectionPool<C, E>) =>
 *   Effect.gen(function*() {
 *     const { limits, load } = yield* PoolSimulation.fromStats(pool, { over: "1 minute" })
 *     const suggestion = yield* PoolSimulation.suggest({ ...load, p99Wait: "10 millis" })
 *     yield* Console.log(suggestion._tag === "Found" ? `max: ${suggestion.max}` : suggestion.reason, limits)
 *   })
 * ```
 */
export const fromStats = <C, E>(
  pool: ConnectionPool<C, E>,
  options?: MeasureOptions
): Effect.Effect<Measured, PoolConfigError> =>
  Effect.suspend(() => {
    const over = resolveMeasure(pool.name, options === undefined ? {} : options)
    return Checked.isFailure(over) ? Effect.fail(over.failure) : measure(pool, over.success)
  })

// -----------------------------------------------------------------------------------------------------------------------
// Arrivals
// -----------------------------------------------------------------------------------------------------------------------

/** Requests that are independent of each other, so many in a second on average. */
export const poisson = (perSecond: number): Arrivals => ({ _tag: "Poisson", perSecond })

/** Requests with equal gaps, so many in a second. */
export const regular = (perSecond: number): Arrivals => ({ _tag: "Regular", perSecond })

/** `size` requests in one moment, `every` so often, over a base of `perSecond` that are independent (default 0). */
export const bursts = (options: {
  readonly size: number
  readonly every: Duration.Input
  readonly perSecond?: number | undefined
}): Arrivals => ({ ...options, _tag: "Bursts" })

/**
 * Requests whose rate changes: the phases of a day, one after the other and then from the beginning. Within a phase they
 * are independent of each other.
 *
 * ```ts
 * import { PoolSimulation } from "effect-connection-pool"
 *
 * export const arrivals = PoolSimulation.rates([
 *   { lasts: "8 hours", perSecond: 2 },
 *   { lasts: "1 hour", perSecond: 60 },
 *   { lasts: "15 hours", perSecond: 20 }
 * ])
 * ```
 */
export const rates = (phases: ReadonlyArray<Phase>): Arrivals => ({ _tag: "Rates", phases })

/** Requests at these times, counted from the start of the simulation: those of an access log, with all their bursts. */
export const recorded = (times: ReadonlyArray<Duration.Input>): Arrivals => ({ _tag: "Recorded", times })

// -----------------------------------------------------------------------------------------------------------------------
// Times
// -----------------------------------------------------------------------------------------------------------------------

/** Times of which short ones are the most likely. 1 of 100 is longer than 4.6 times the mean. */
export const exponential = (mean: Duration.Input): Distribution => ({ _tag: "Exponential", mean })

/** Times of which half are shorter than `median`, and 1 of 100 is longer than `p99`. Most databases answer like this. */
export const lognormal = (
  options: { readonly median: Duration.Input; readonly p99: Duration.Input }
): Distribution => ({
  ...options,
  _tag: "Lognormal"
})

/**
 * Times from the buckets of a histogram: `counts[i]` of them took at most `bounds[i]` milliseconds, and more than the bound
 * before. There is one count more than there are bounds. Give `mean` if you know it: buckets alone do not tell it.
 */
export const histogram = (options: {
  readonly bounds: ReadonlyArray<number>
  readonly counts: ReadonlyArray<number>
  readonly mean?: Duration.Input | undefined
}): Distribution => ({ ...options, _tag: "Histogram" })

/** One of these times, each as likely as the others: times that were measured. */
export const sampled = (times: ReadonlyArray<Duration.Input>): Distribution => ({ _tag: "Sampled", times })
