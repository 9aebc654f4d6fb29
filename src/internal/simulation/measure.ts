/** Measures the load of a pool that runs. */
import { Effect, Metric, type Result } from "effect"
import type { ConnectionPool } from "../../ConnectionPool.ts"
import { PoolConfigError } from "../../PoolError.ts"
import * as PoolMetrics from "../../PoolMetrics.ts"
import { unless } from "../options/problems.ts"
import { check, table } from "../options/rules.ts"
import * as Door from "../pool/door.ts"
import type { Distribution, Measured } from "./contract.ts"

const measureTable = table({ over: { kind: "duration", default: "10 seconds", finite: true } })

/** Checks the options of `fromStats`. Returns the time to measure in milliseconds. */
export const resolveMeasure = (pool: string, options: unknown): Result.Result<number, PoolConfigError> => {
  const { checked, problems } = check(measureTable, options)
  return unless(pool, problems, checked.over)
}

/** Watches a pool for a time, and compares its numbers at the end with those at the beginning. */
export const measure = Effect.fnUntraced(function*<C, E>(
  pool: ConnectionPool<C, E>,
  overMillis: number
): Effect.fn.Return<Measured, PoolConfigError> {
  const { createTime, useTime } = PoolMetrics.of(pool.name)
  const look = Effect.all({
    stats: pool.stats,
    uses: Metric.value(useTime),
    connects: Metric.value(createTime)
  })
  const before = yield* look
  yield* Effect.sleep(overMillis)
  const after = yield* look
  const arrived = arrivedBy(after.stats) - arrivedBy(before.stats)
  const leases = after.stats.returns - before.stats.returns
  const service = between(before.uses, after.uses)
  const connect = between(before.connects, after.connects) ?? between(undefined, after.connects)
  if (arrived === 0 || service === undefined) return yield* nothing(pool.name, arrived, leases, overMillis)
  const checkouts = after.stats.checkouts - before.stats.checkouts
  const waited = after.stats.averageWaitMillis * after.stats.checkouts -
    before.stats.averageWaitMillis * before.stats.checkouts
  const { max, min } = after.stats
  return {
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
  }
})

type Stats = Effect.Success<ConnectionPool<unknown>["stats"]>

/** Every acquire is counted once, when its wait ends. */
const arrivedBy = ({ cancelled, checkouts, connectErrors, refused, timeouts, waiting }: Stats): number =>
  checkouts + timeouts + refused + connectErrors + cancelled + waiting

/** The histogram of what was recorded between two looks; `undefined` if nothing was. */
const between = (
  before: Metric.HistogramState | undefined,
  after: Metric.HistogramState
): Distribution | undefined => {
  const count = after.count - (before?.count ?? 0)
  const sum = after.sum - (before?.sum ?? 0)
  if (count <= 0 || sum <= 0) return undefined
  const cumulated = after.buckets.map(([, upTo], index) => upTo - (before?.buckets[index]?.[1] ?? 0))
  const counts = cumulated.map((upTo, index) => upTo - (cumulated[index - 1] ?? 0))
  return {
    _tag: "Histogram",
    bounds: after.buckets.map(([bound]) => bound * 1000),
    counts: [...counts, count - cumulated.at(-1)!],
    mean: sum * 1000 / count
  }
}

const nothing = (pool: string, arrived: number, leases: number, overMillis: number) => {
  const message = arrived > 0 && leases > 0
    ? "the pool records no lease times: its option metrics is false, but must be true to measure it"
    : `over is ${overMillis} ms, but must be longer: in that time ${arrived} requests arrived and ${leases} leases ended`
  const [field, value] = arrived > 0 && leases > 0 ? ["metrics", "false"] : ["over", String(overMillis)]
  return Effect.fail(new PoolConfigError({ pool, problems: [{ field: field!, value: value!, message }] }))
}
