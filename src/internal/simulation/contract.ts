/** The types of a simulation: what it is told, and what it answers. `PoolSimulation` gives them out. */
import type { Duration, Effect } from "effect"
import type { PoolConfig } from "../../PoolConfig.ts"

/**
 * When requests arrive.
 *
 * - `Poisson`: independent of each other, at one rate: many users who do not know of each other
 * - `Regular`: with equal gaps, like a clock
 * - `Bursts`: `size` requests in one moment, again and again, over a `Poisson` base of `perSecond` (default 0)
 * - `Rates`: independent of each other, at a rate that changes: the phases of a day. They repeat
 * - `Recorded`: at the times of a list, counted from the start of the simulation
 */
export type Arrivals =
  | { readonly _tag: "Poisson"; readonly perSecond: number }
  | { readonly _tag: "Regular"; readonly perSecond: number }
  | {
    readonly _tag: "Bursts"
    readonly size: number
    readonly every: Duration.Input
    readonly perSecond?: number | undefined
  }
  | { readonly _tag: "Rates"; readonly phases: ReadonlyArray<Phase> }
  | { readonly _tag: "Recorded"; readonly times: ReadonlyArray<Duration.Input> }

/** A part of a day, or of another period that repeats. */
export interface Phase {
  readonly lasts: Duration.Input
  /** Requests per second in this phase. It may be 0, but not in all phases. */
  readonly perSecond: number
}

/**
 * How long something takes.
 *
 * - a duration: always that long
 * - `Exponential`: short times are the most likely, and a few are long
 * - `Lognormal`: half are shorter than `median`, and one in a hundred is longer than `p99`
 * - `Histogram`: `counts[i]` of them took at most `bounds[i]` milliseconds, and more than the bound before. The last count
 *   is of those above the last bound, which are taken to be below twice that bound. `mean` makes the mean exact
 * - `Sampled`: one of these times, each as likely as the others
 * - a function: it gets a `Draw`, and returns a duration
 */
export type Times = Duration.Input | Distribution | ((draw: Draw) => Duration.Input)

export type Distribution =
  | { readonly _tag: "Exponential"; readonly mean: Duration.Input }
  | { readonly _tag: "Lognormal"; readonly median: Duration.Input; readonly p99: Duration.Input }
  | {
    readonly _tag: "Histogram"
    readonly bounds: ReadonlyArray<number>
    readonly counts: ReadonlyArray<number>
    readonly mean?: Duration.Input | undefined
  }
  | { readonly _tag: "Sampled"; readonly times: ReadonlyArray<Duration.Input> }

/** What a function that makes a time may look at. */
export interface Draw {
  /** The number of the request, or of the operation, from 0. */
  readonly index: number
  /** The connections that are in use now, with the one of this request. */
  readonly inUse: number
  /** The time since the start of the simulation. */
  readonly atMillis: number
  /** A number from 0 to below 1. The same seed gives the same numbers, so use it and not `Math.random`. */
  readonly random: () => number
}

/**
 * How long a request keeps its connection.
 *
 * Give `Times` if connections work side by side, as those of a database server do. Give `work` and `waiting` if the
 * connections share threads, as those of SQLite in this process do: they all work in one. A lease first works, in turn
 * with the other leases, and then waits for something else (a reply, a timer), side by side with them.
 */
export type Service = Times | {
  readonly work: Times
  /** Default: nothing. */
  readonly waiting?: Times | undefined
  /** How many leases work at one time. Default 1. */
  readonly threads?: number | undefined
}

/** A time in which the database is down or slow. Times are counted from the start of the simulation. */
export interface Outage {
  readonly from: Duration.Input
  readonly to: Duration.Input
  /**
   * What becomes of a connect attempt: `refused` fails at once, `hangs` never answers, and `Times` are how long it takes.
   * Default `refused`.
   */
  readonly connect?: "refused" | "hangs" | Times | undefined
  /**
   * Whether open connections break when it begins. The leases on them fail, and the driver reports the death of idle ones.
   * Default: `true`, unless connecting is only slow.
   */
  readonly drops?: boolean | undefined
  /**
   * Whether the driver calls the failure of a refused attempt transient, so that the pool tries again while callers wait.
   * Default `true`.
   */
  readonly isTransient?: boolean | undefined
}

/** What `run` simulates. */
export interface Options {
  /**
   * The options of the pool, as the pool has them. `start` is always `"lazy"`, and `metrics` always `false`. Default: the
   * defaults of a pool.
   */
  readonly pool?: PoolConfig | undefined
  readonly arrivals: Arrivals
  readonly service: Service
  /** How long a connect attempt takes. Default: no time. */
  readonly connect?: Times | undefined
  /** How long a validation takes. Default: no time. */
  readonly validate?: Times | undefined
  /** How long a reset takes. Default: there is none. */
  readonly reset?: Times | undefined
  readonly outages?: ReadonlyArray<Outage> | undefined
  /** After how many requests no more arrive. Default: 20 000, or as many as arrive in `duration`, or in a recording. */
  readonly requests?: number | undefined
  /** After which time no more requests arrive. Default: no such time. */
  readonly duration?: Duration.Input | undefined
  /**
   * The part of the requests at the beginning that are served, but not counted, because the pool starts empty. With a
   * `duration` it is a part of that time. Default 0.1, and 0 if there are outages or the arrivals are recorded.
   */
  readonly warmUp?: number | undefined
  /** With one seed and the same options, the result is the same. Default 1. */
  readonly seed?: number | undefined
  /** Is run now and then, and at the end. The simulation waits for it. Default: nothing. */
  readonly onProgress?: ((progress: Progress) => Effect.Effect<void>) | undefined
}

/** How far a simulation is. */
export interface Progress {
  /** `max` of the pool that is simulated. */
  readonly max: number
  /** The requests that have ended so far. */
  readonly ended: number
  /** The part of the simulation that is done, from 0 to 1. */
  readonly part: number
  /** The time in the simulation. */
  readonly atMillis: number
}

/** What is known of many durations, in milliseconds. All are 0 if there are none. */
export interface Summary {
  readonly count: number
  readonly mean: number
  readonly p50: number
  readonly p95: number
  readonly p99: number
  readonly max: number
}

/** The result of one simulation. Only requests that arrived after the warm-up are counted. Times are in milliseconds. */
export interface Result {
  readonly max: number
  readonly seed: number
  /** The requests that were counted: `served + timeouts + refused + connectErrors + broken`. */
  readonly requests: number
  /** Requests that got a connection and finished with it. */
  readonly served: number
  /** Requests that got no connection within `acquireTimeout`. */
  readonly timeouts: number
  /** Requests that were refused at once, because the line was full (`maxWaiting`). */
  readonly refused: number
  /** Requests that failed because no connection could be opened. */
  readonly connectErrors: number
  /** Requests whose connection broke under them, in an outage. */
  readonly broken: number
  /** The part of the requests that had to wait for a connection, or waited for nothing. */
  readonly waited: number
  /** How long requests that got a connection have waited for it. It is 0 for those that found an idle one. */
  readonly waits: Summary
  /** The true mean of `waits` is within this distance of the mean found, in 19 of 20 simulations: see `run`. */
  readonly meanWaitMargin: number
  /** How long served requests waited inside their leases for a thread. It is 0 if `service` has no `work`. */
  readonly threadWaits: Summary
  /** `waits` and `threadWaits` together. With threads, more connections only move waits from the one to the other. */
  readonly delays: Summary
  /** The delay that 99 of 100 requests did not exceed. `Infinity` if more than one in a hundred was not served. */
  readonly p99Delay: number
  /** How long served requests kept their connection. */
  readonly leases: Summary
  /** The time from the arrival of a served request to its end. */
  readonly responses: Summary
  /** The requests that arrived in a second. */
  readonly perSecond: number
  /** The connections that the load would keep in use if none ever waited: arrivals in a second by seconds of service. */
  readonly offeredLoad: number
  /** The part of `max` that was in use, on average. */
  readonly utilization: number
  /** The part of the threads that worked, on average. It is 0 if `service` has no `work`. */
  readonly threadUtilization: number
  /** The most connections in use, and the most callers in line, at one moment. The warm-up counts. */
  readonly mostInUse: number
  readonly mostWaiting: number
  /** Connect attempts, and how long those that succeeded took. The warm-up counts. */
  readonly connects: {
    readonly attempts: number
    readonly succeeded: number
    readonly failed: number
    readonly timedOut: number
    readonly times: Summary
  }
  /** How long the simulation lasted, in its own time. */
  readonly lastedMillis: number
  /** What this simulation does not know. Read it before you trust the numbers. */
  readonly limits: ReadonlyArray<string>
}

/** What `suggest` looks for. */
export interface SuggestOptions extends Options {
  /** Of 100 requests, 99 shall be served without a longer delay than this. */
  readonly p99Wait: Duration.Input
  /** The largest `max` to try. Default 256. */
  readonly upTo?: number | undefined
}

/** One `max` that was tried. */
export interface Tried {
  readonly max: number
  /** `Infinity` if more than one request in a hundred was not served. */
  readonly p99Delay: number
  readonly utilization: number
  /** The requests that were not served. */
  readonly lost: number
}

/**
 * Why no `max` reaches the goal:
 *
 * - `threads`: requests wait for a thread, and more connections do not work faster
 * - `outage`: requests are lost or delayed because the database is down
 * - `connects`: no request waits for the return of a connection, but for connecting, validating or resetting
 * - `service`: requests take longer, the more connections are in use
 * - `limit`: more connections would help, but more than `upTo` were not tried
 */
export type Obstacle = "threads" | "outage" | "connects" | "service" | "limit"

/** The answer of `suggest`. */
export type Suggestion =
  | {
    readonly _tag: "Found"
    /** The smallest `max` that reaches the goal. */
    readonly max: number
    /** The simulation with that `max`. */
    readonly result: Result
    /** All that were tried, the smallest first. */
    readonly tried: ReadonlyArray<Tried>
  }
  | {
    readonly _tag: "NoneHelps"
    readonly obstacle: Obstacle
    /** Why none helps, and what to do instead. */
    readonly reason: string
    /** The best that was tried. */
    readonly result: Result
    readonly tried: ReadonlyArray<Tried>
  }

/** A load that was measured on a pool that runs. */
export interface Measured {
  /** The part of the options that was measured: `run({ ...measured.load, requests: 50_000 })`. */
  readonly load: {
    readonly pool: { readonly min: number; readonly max: number; readonly acquireTimeout: number }
    readonly arrivals: Arrivals
    readonly service: Distribution
    readonly connect: Times
  }
  /** The requests that arrived, and the leases that ended, while it was measured. */
  readonly arrived: number
  readonly leases: number
  /** The mean wait that the pool really had in that time. Compare it with a simulation of the load. */
  readonly meanWaitMillis: number
  /** What was not measured. */
  readonly limits: ReadonlyArray<string>
}

/** How `fromStats` measures. */
export interface MeasureOptions {
  /** How long it watches the pool. Default 10 seconds. */
  readonly over?: Duration.Input | undefined
}
