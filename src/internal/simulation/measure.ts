/** Measures the load of a pool that runs. */
import { Effect, Result } from "effect"
import type { ConnectionPool } from "../../ConnectionPool.ts"
import type { ConnectionStats } from "../../ConnectionStats.ts"
import { PoolConfigError } from "../../PoolError.ts"
import { unless } from "../options/problems.ts"
import { check, table } from "../options/rules.ts"
import * as Door from "../pool/door.ts"
import type { Times } from "../pool/view.ts"
import * as Histogram from "../structures/histogram.ts"
import type { Distribution, Measured } from "./contract.ts"

const measureTable = table({ over: { kind: "duration", default: "10 seconds", finite: true } })

/** Checks the options of `fromStats`. Returns the time to measure in milliseconds. */
export const resolveMeasure = (pool: string, options: unknown): Result.Result<number, PoolConfigError> => {
  const { checked, problems } = check(measureTable, options)
  return unless(pool, problems, checked.over)
}

/** Watches a pool for a time, and compares its numbers at the end with those at the beginning. */
export const measure = Effect.fnUntraced(function*(
  pool: Measurable,
  overMillis: number
): Effect.fn.Return<Measured, PoolConfigError> {
  const before = yield* look(pool)
  yield* Effect.sleep(overMillis)
  return yield* Effect.fromResult(measured(pool, before, yield* look(pool), overMillis))
})

/** The numbers of a pool at one moment. */
export interface Look {
  readonly stats: ConnectionStats
  /** `undefined` if the pool has no metrics. */
  readonly times: Times | undefined
}

/** The part of a pool that is looked at. */
export type Measurable = Pick<ConnectionPool<unknown>, "name" | "stats">

export const look = (pool: Measurable): Effect.Effect<Look> =>
  Effect.map(pool.stats, (stats) => ({ stats, times: Door.of(pool)?.inspect().times }))

export const lookThrough = (door: Door.Door): Look => ({ stats: door.stats(), times: door.inspect().times })

/** The load of a pool between two looks. */
export const measured = (
  pool: Measurable,
  before: Look,
  after: Look,
  overMillis: number
): Result.Result<Measured, PoolConfigError> => {
  const arrived = arrivedBy(after.stats) - arrivedBy(before.stats)
  const leases = after.stats.returns - before.stats.returns
  const service = after.times && between(before.times?.uses, after.times.uses)
  if (arrived === 0 || after.times === undefined || service === undefined) {
    return nothing(pool.name, arrived, leases, overMillis, after.times !== undefined)
  }
  const { connects } = after.times
  const connect = between(before.times?.connects, connects) ?? between(undefined, connects)
  const checkouts = after.stats.checkouts - before.stats.checkouts
  const waited = after.stats.averageWaitMillis * after.stats.checkouts -
    before.stats.averageWaitMillis * before.stats.checkouts
  const { max, min } = after.stats
  return Result.succeed({
    load: {
      pool: { min, max, acquireTimeout: Door.of(pool)?.acquireTimeoutMillis ?? 30_000 },
      arrivals: { _tag: "Poisson", perSecond: arrived * 1000 / overMillis },
      service,
      connect: connect ?? 0
    },
    arrived,
    leases,
    meanWaitMillis: checkouts === 0 ? 0 : waited / checkouts,
    limits: [
      "Only the number of requests was measured, not when each came: they are simulated as independent of each other. " +
      "If they come in bursts, they really wait for longer. Compare meanWaitMillis with the simulation.",
      "Lease times are known by buckets. Their mean is exact, and within a bucket all times are as likely.",
      "A lease has work and waiting, and the pool cannot tell them apart. If its connections share threads, as those of " +
      "SQLite in this process do, give service as { work, waiting } yourself.",
      ...(connect === undefined ? ["No connection was opened, so connecting takes no time in the simulation."] : [])
    ]
  })
}

/** Every acquire is counted once, when its wait ends. */
const arrivedBy = ({ cancelled, checkouts, connectErrors, refused, timeouts, waiting }: ConnectionStats): number =>
  checkouts + timeouts + refused + connectErrors + cancelled + waiting

/** The durations that were recorded between two looks; `undefined` if there were none. */
const between = (
  before: Histogram.Histogram | undefined,
  after: Histogram.Histogram
): Distribution | undefined => {
  const recorded = before === undefined ? after : Histogram.between(before, after)
  const count = Histogram.count(recorded)
  if (count <= 0 || recorded.sumMillis <= 0) return undefined
  return {
    _tag: "Histogram",
    bounds: Histogram.bounds,
    counts: Array.from(recorded.counts),
    mean: recorded.sumMillis / count
  }
}

const nothing = (pool: string, arrived: number, leases: number, overMillis: number, isRecorded: boolean) => {
  const counted = `${arrived} requests arrived and ${leases} leases ended`
  const [field, value, message] = isRecorded || arrived === 0 || leases === 0
    ? [
      "over",
      String(overMillis),
      `over is ${overMillis} ms, but must be longer: in that time ${counted}` +
      (leases > 0 && arrived > 0 ? ", which took no time" : "")
    ]
    : [
      "metrics",
      "false",
      "the pool records no lease times: its option metrics is false, but must be true to measure it"
    ]
  return Result.fail(new PoolConfigError({ pool, problems: [{ field: field!, value: value!, message: message! }] }))
}
