/** What the page shows of the present moment. */
import { Clock, DateTime, Effect } from "effect"
import type { HealthChecker } from "../../HealthChecker.ts"
import { type HealthReport, reasonText } from "../../HealthReport.ts"
import { keyText } from "../../internal/poolMap/view.ts"
import * as Histogram from "../../internal/structures/histogram.ts"
import type { Holder } from "../../PoolError.ts"
import type { Answer, DatabaseView, HealthView, HolderView, MapView, PoolView, Times } from "./contract.ts"
import { mostLanes, type Recorder, timesSeen } from "./recorder.ts"
import type { AnyMap, DatabaseSource, Source, Sources } from "./sources.ts"
import { labelText, leftText } from "./words.ts"

/** The most holders, pins and pools of a map that are listed. */
const mostListed = 100

/** Everything that does not depend on what the page has seen already. */
export type Present = Pick<Answer, "at" | "pools" | "databases" | "maps" | "health">

export const present = Effect.fnUntraced(function*(
  { checkers, databases, maps, pools }: Sources,
  recorder: Recorder,
  reports: ReadonlyMap<HealthChecker, Effect.Effect<HealthReport>>
): Effect.fn.Return<Present> {
  return {
    at: yield* Clock.currentTimeMillis,
    pools: yield* Effect.forEach(pools, (source, index) => poolView(source, recorder, index)),
    databases: databases.map(databaseView),
    maps: yield* Effect.forEach(maps, mapView),
    health: yield* Effect.forEach(
      checkers,
      (checker) => Effect.map(reports.get(checker) ?? Effect.undefined, (report) => healthView(checker.pool, report))
    )
  }
})

const poolView = Effect.fnUntraced(function*(
  { door, pool }: Source,
  recorder: Recorder,
  index: number
): Effect.fn.Return<PoolView> {
  const stats = yield* pool.stats
  const holders = yield* pool.holders
  const abandoned = yield* pool.abandoned
  const slow = yield* pool.slowStatements
  const { isOpen, isPaused, longestWaitMillis } = door.inspect()
  const times = timesSeen(recorder, index)
  return {
    name: pool.name,
    stats,
    isPaused,
    isOpen,
    longestWaitMillis,
    waits: times && timesOf(times.before.waits, times.after.waits, times.overMillis),
    leases: times && timesOf(times.before.uses, times.after.uses, times.overMillis),
    holders: holders.slice(0, mostListed).map(holderView),
    slowStatements: slow.map(({ pool: _, ...statement }) => statement),
    abandoned: abandoned.slice(0, mostListed).map((one) => ({ connection: one.connection, text: leftText(one) })),
    moreHolders: Math.max(0, holders.length - mostListed),
    moreConnections: Math.max(0, stats.total - mostLanes)
  }
})

const timesOf = (before: Histogram.Histogram, after: Histogram.Histogram, overMillis: number): Times => {
  const recorded = Histogram.between(before, after)
  const count = Histogram.count(recorded)
  return {
    count,
    overMillis,
    mean: count === 0 ? 0 : recorded.sumMillis / count,
    p50: Histogram.quantile(recorded, 0.5),
    p99: Histogram.quantile(recorded, 0.99)
  }
}

const holderView = ({ connection, fiber, heldMillis, label, span, statement }: Holder): HolderView => ({
  connection,
  label: label && labelText(label),
  trace: span?.traceId,
  span: span?.spanId,
  fiber,
  heldMillis,
  statement: statement && {
    text: statement.text,
    isRunning: statement.isRunning,
    ranMillis: statement.ranMillis
  }
})

const databaseView = ({ database, door, pools }: DatabaseSource): DatabaseView => {
  const log = door?.log()
  return {
    name: database.name,
    filename: database.filename,
    pools,
    log: log && {
      bytes: log.bytes,
      limitBytes: log.limitBytes,
      pins: log.pins.slice(0, mostListed).map(({ holder, pinnedMillis }) => ({
        holder: holder && holderView(holder),
        pinnedMillis
      }))
    }
  }
}

const mapView = Effect.fnUntraced(function*(map: AnyMap): Effect.fn.Return<MapView> {
  const stats = yield* map.stats
  const pools = yield* map.pools
  return {
    name: map.name,
    stats,
    pools: pools.slice(0, mostListed).map(({ ageMillis, key, leases, state, waiting }) => ({
      key: keyText(key),
      state,
      leases,
      waiting,
      ageMillis
    })),
    morePools: Math.max(0, pools.length - mostListed)
  }
})

const healthView = (pool: string, report: HealthReport | undefined): HealthView =>
  report === undefined
    ? { pool, status: "checking", reasons: [], checkedAt: undefined, lastError: undefined }
    : {
      pool,
      status: report.status,
      reasons: report.reasons.map(reasonText),
      checkedAt: DateTime.toEpochMillis(report.checkedAt),
      lastError: report.lastError && {
        at: DateTime.toEpochMillis(report.lastError.at),
        error: report.lastError.error
      }
    }
