/** What the page shows besides pools, at the present moment: the logs and hosts of databases, maps of pools, and health. */
import { DateTime, Effect } from "effect"
import type { HealthChecker } from "../../HealthChecker.ts"
import { type HealthReport, reasonText } from "../../HealthReport.ts"
import type { WatchedPool } from "../../internal/poolMap/door.ts"
import { keyText } from "../../internal/poolMap/view.ts"
import { inOneLine, labelText } from "../../internal/structures/statementText.ts"
import type { Answer, DatabaseView, HealthView, MapView } from "./contract.ts"
import { hostViews } from "./hosts.ts"
import { byRank } from "./ranks.ts"
import { firstOf } from "./rows.ts"
import type { DatabaseSource, MapSource, Sources } from "./sources.ts"
import { inSteps } from "./steps.ts"
import { holderView } from "./views.ts"

/** The most databases, pins of one log, maps, pools of all maps and of one map, and checkers that are listed. */
const mostDatabases = 20
const mostPins = 5
const mostMaps = 20
const mostPoolsOfMaps = 200
const mostPoolsOfMap = 100
const mostCheckers = 50

/** What was found when it was looked at everything. */
export interface Overview
  extends Pick<Answer, "databases" | "moreDatabases" | "hosts" | "moreHosts" | "moreMaps" | "health" | "moreHealth">
{
  /** The maps that are listed, and their pools in the order in which they are listed. */
  readonly maps: ReadonlyArray<{
    readonly source: MapSource
    readonly inUse: number
    readonly pools: ReadonlyArray<WatchedPool>
  }>
}

export const overview = Effect.fnUntraced(function*(
  { checkers, databases, maps }: Sources,
  reports: ReadonlyMap<HealthChecker, Effect.Effect<HealthReport>>
): Effect.fn.Return<Overview> {
  const listed = yield* longestLogs(databases)
  const seen: Array<Overview["maps"][number]> = []
  for (const source of maps.slice(0, mostMaps)) seen.push(yield* ordered(source))
  const last = yield* Effect.forEach(checkers, (checker) => reports.get(checker) ?? Effect.undefined)
  const worst = checkers.length <= mostCheckers
    ? checkers.map((_, index) => index)
    : byRank(last.map(badness)).slice(0, mostCheckers)
  return {
    databases: listed.map(databaseView),
    moreDatabases: databases.length - listed.length,
    ...yield* hostViews(databases),
    maps: seen,
    moreMaps: maps.length - seen.length,
    health: worst.map((index) => healthView(checkers[index]!.pool, last[index])),
    moreHealth: checkers.length - worst.length
  }
})

// ---------------------------------------------------------------------------------------------------------------------
// Databases
// ---------------------------------------------------------------------------------------------------------------------

/** To ask for the size of a file takes as long as to look at some connections. */
const workOfLog = 20

/** All databases, or of many those with the longest logs. */
const longestLogs = Effect.fnUntraced(function*(
  databases: ReadonlyArray<DatabaseSource>
): Effect.fn.Return<ReadonlyArray<DatabaseSource>> {
  if (databases.length <= mostDatabases) return databases
  const kibibytes: Array<number> = []
  yield* inSteps(databases, ({ door }) => {
    kibibytes.push(Math.ceil((door?.logBytes() ?? 0) / 1024))
    return workOfLog
  })
  return byRank(kibibytes).slice(0, mostDatabases).map((index) => databases[index]!)
})

const databaseView = ({ door, filename, name, pools }: DatabaseSource): DatabaseView => {
  const log = door?.log(mostPins)
  return {
    name,
    filename,
    pools,
    log: log && {
      bytes: log.bytes,
      limitBytes: Number.isFinite(log.limitBytes) ? log.limitBytes : undefined,
      pins: log.pins.map(({ holder, pinnedMillis }) => ({ holder: holder && holderView(holder), pinnedMillis })),
      morePins: log.pinned - log.pins.length
    }
  }
}

// ---------------------------------------------------------------------------------------------------------------------
// Maps
// ---------------------------------------------------------------------------------------------------------------------

/** Looks at all pools of a map, and puts the busiest first. */
const ordered = Effect.fnUntraced(function*(source: MapSource): Effect.fn.Return<Overview["maps"][number]> {
  const { door } = source
  const pools = door.pools()
  const busy: Array<WatchedPool> = []
  const idle: Array<WatchedPool> = []
  const ranks: Array<number> = []
  let inUse = 0
  yield* inSteps(pools, (pool) => {
    const isInUse = door.isInUse(pool)
    if (isInUse) inUse++
    const rank = door.rankOf(pool) + (isInUse ? 1 : 0)
    if (rank === 0) idle.push(pool)
    else {
      busy.push(pool)
      ranks.push(rank)
    }
    return workOfKey
  })
  return { source, inUse, pools: [...byRank(ranks).map((index) => busy[index]!), ...idle] }
})

/** To ask a pool whether it is in use takes as long as to look at a connection. */
const workOfKey = 1

/** The maps with some of their pools: `fromOf` says from which on. */
export const mapViews = (
  maps: Overview["maps"],
  fromOf: (index: number) => number
): ReadonlyArray<MapView> => {
  const most = Math.min(mostPoolsOfMap, Math.floor(mostPoolsOfMaps / Math.max(1, maps.length)))
  return maps.map(({ inUse, pools, source: { door, name } }, index) => {
    const first = firstOf(fromOf(index), pools.length, most)
    return {
      index,
      name,
      max: door.max,
      ...door.numbers(),
      inUse,
      pools: pools.slice(first, first + most).flatMap((pool) => {
        const info = door.infoOf(pool)
        if (info === undefined) return []
        const { ageMillis, key, leases, state, waiting } = info
        return [{ key: labelText(keyText(key)), state, leases, waiting, ageMillis }]
      }),
      poolCount: pools.length,
      from: first,
      atATime: most
    }
  })
}

// ---------------------------------------------------------------------------------------------------------------------
// Health
// ---------------------------------------------------------------------------------------------------------------------

const badness = (report: HealthReport | undefined): number =>
  report === undefined ? 1 : report.status === "unhealthy" ? 3 : report.status === "degraded" ? 2 : 0

const healthView = (pool: string, report: HealthReport | undefined): HealthView =>
  report === undefined
    ? { pool: labelText(pool), status: "checking", reasons: [], checkedAt: undefined, lastError: undefined }
    : {
      pool: labelText(pool),
      status: report.status,
      reasons: report.reasons.map((reason) => inOneLine(reasonText(reason), mostOfReason)),
      checkedAt: DateTime.toEpochMillis(report.checkedAt),
      lastError: report.lastError && {
        at: DateTime.toEpochMillis(report.lastError.at),
        error: inOneLine(report.lastError.error, mostOfReason)
      }
    }

/** The most characters of a reason, and of an error. */
const mostOfReason = 500
