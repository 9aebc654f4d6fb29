/** What the page of an inspector gets, as JSON. Times are in milliseconds; `at` is since 1970. */
import type { ConnectionState, EvictReason } from "../../Connection.ts"
import type { ConnectionStats, SlowStatement } from "../../ConnectionStats.ts"
import type { HealthStatus } from "../../HealthReport.ts"
import type { PoolState } from "../../PoolMapStats.ts"

/** The answer to a page that shows one pool, and has seen the frames and happenings up to two numbers. */
export interface Answer {
  /** Another one after a restart: then the page begins anew. */
  readonly instance: string
  readonly at: number
  readonly intervalMillis: number
  readonly historyMillis: number
  readonly canAct: boolean
  /** The pools that are listed: all of them, or of many those that the page has asked for, the busiest first. */
  readonly pools: ReadonlyArray<PoolRow>
  /** How many pools there are, and how many of them have the name that the page looks for. */
  readonly poolCount: number
  readonly foundPools: number
  /** The number of pools before the first that is listed. */
  readonly poolsFrom: number
  /** The index of the pool that the page shows, and the pool. Not set if there is no such pool. */
  readonly chosen: number
  readonly pool: PoolView | undefined
  /** What that pool did. */
  readonly frames: ReadonlyArray<Frame>
  readonly happenings: ReadonlyArray<Happening>
  /** Whether there are newer frames or happenings, too many for one answer. */
  readonly hasMore: boolean
  readonly databases: ReadonlyArray<DatabaseView>
  readonly moreDatabases: number
  /** The hosts of all databases that have several; of many, first those that are not as they should be. */
  readonly hosts: ReadonlyArray<HostView>
  readonly moreHosts: number
  readonly maps: ReadonlyArray<MapView>
  readonly moreMaps: number
  readonly health: ReadonlyArray<HealthView>
  readonly moreHealth: number
}

/** One pool in the row of pools. */
export interface PoolRow {
  readonly index: number
  readonly name: string
  readonly inUse: number
  readonly waiting: number
  readonly max: number
  readonly isOpen: boolean
  readonly isPaused: boolean
}

/** What one pool did at one moment. */
export interface Frame extends FramePool {
  readonly number: number
  readonly at: number
}

export interface FramePool {
  readonly inUse: number
  readonly waiting: number
  readonly max: number
  readonly isOpen: boolean
  readonly isPaused: boolean
  readonly lanes: ReadonlyArray<Lane>
  /** Connections that have no lane, because there are so many. */
  readonly more: number
}

/** One connection at one moment. */
export interface Lane {
  readonly id: number
  readonly state: ConnectionState
  /** How long it has been in this state, at most. */
  readonly sinceMillis: number
  /** Leases that have ended since it was opened. */
  readonly uses: number
  /** Who holds it. */
  readonly holder: string | undefined
  readonly evictReason: EvictReason | undefined
}

export type Level = "quiet" | "info" | "warning" | "error"

/** An event, or several equal ones in a row. */
export interface Happening {
  readonly number: number
  readonly at: number
  /** The index of the pool, or -1. */
  readonly pool: number
  readonly source: string
  readonly tag: string
  readonly level: Level
  readonly text: string
  readonly connection: number | undefined
  /** Why the connection was evicted, if that is what happened. */
  readonly evictReason: EvictReason | undefined
}

export interface PoolView {
  readonly name: string
  readonly stats: ConnectionStats
  readonly isPaused: boolean
  readonly isOpen: boolean
  readonly longestWaitMillis: number
  /** Over the time of the history. Not set if the pool has no metrics. */
  readonly waits: Times | undefined
  readonly leases: Times | undefined
  readonly holders: ReadonlyArray<HolderView>
  /** The slow statements, those that took longest in total first. */
  readonly slowStatements: ReadonlyArray<Omit<SlowStatement, "pool">>
  /** What callers have left running. */
  readonly abandoned: ReadonlyArray<{ readonly connection: number; readonly text: string }>
  /** Holders that are not in `holders`, and those who left something that are not in `abandoned`, because there are so many. */
  readonly moreHolders: number
  readonly moreAbandoned: number
}

export interface Times {
  readonly count: number
  readonly overMillis: number
  readonly mean: number
  readonly p50: number
  readonly p99: number
}

export interface HolderView {
  readonly connection: number
  readonly label: string | undefined
  readonly trace: string | undefined
  readonly span: string | undefined
  readonly fiber: number
  readonly heldMillis: number
  readonly statement:
    | { readonly text: string; readonly isRunning: boolean; readonly ranMillis: number | undefined }
    | undefined
}

export interface DatabaseView {
  readonly name: string
  readonly filename: string | undefined
  /** The indexes of its pools. */
  readonly pools: ReadonlyArray<number>
  readonly log:
    | {
      readonly bytes: number
      /** Not set for a database that is only read: it cannot cut its log back. */
      readonly limitBytes: number | undefined
      readonly pins: ReadonlyArray<{ readonly holder: HolderView | undefined; readonly pinnedMillis: number }>
      readonly morePins: number
    }
    | undefined
}

/** One host of a database, as the database last saw it. */
export interface HostView {
  readonly database: string
  readonly host: string
  /** `"primary"`, `"replica"`, `"refused"`, `"away"` or `"unknown"`. */
  readonly role: string
  /** Not set if it has not answered yet. */
  readonly timeline: number | undefined
  /** For a replica: whether it is fresh enough to be read, and what it had not replayed, if that is known. */
  readonly isFresh: boolean
  readonly lagBytes: number | undefined
  readonly answeredAgoMillis: number | undefined
  /** Why it is away. */
  readonly problem: string | undefined
}

export interface MapView {
  /** Its index among the maps. */
  readonly index: number
  readonly name: string
  readonly max: number
  readonly total: number
  readonly inUse: number
  /** All callers that wait. */
  readonly waiting: number
  /** Some of its pools, the busiest first. */
  readonly pools: ReadonlyArray<{
    readonly key: string
    readonly state: PoolState
    readonly leases: number
    readonly waiting: number
    readonly ageMillis: number | undefined
  }>
  /** All its pools, those that wait for room too; how many are before those listed, and how many are listed at a time. */
  readonly poolCount: number
  readonly from: number
  readonly atATime: number
}

export interface HealthView {
  readonly pool: string
  readonly status: HealthStatus | "checking"
  readonly reasons: ReadonlyArray<string>
  readonly checkedAt: number | undefined
  readonly lastError: { readonly at: number; readonly error: string } | undefined
}

/** The answer to "would a bigger pool help?". */
export interface Sizes {
  readonly pool: string
  readonly now: number
  /** Requests in a second that were measured, and the time for which. */
  readonly perSecond: number
  readonly overMillis: number
  readonly meanWaitMillis: number
  /** The same in the simulation, with `max` as it is now. */
  readonly simulatedWaitMillis: number
  readonly simulated: ReadonlyArray<Simulated>
  readonly limits: ReadonlyArray<string>
  /** Why there is no answer yet. */
  readonly problem: string | undefined
}

export interface Simulated {
  readonly max: number
  readonly p50: number
  readonly p99: number
  readonly mean: number
  /** The part of all requests that was not served. */
  readonly notServed: number
  readonly utilization: number
}

/** What the page may ask for, if the application allows it. */
export type Action =
  | { readonly action: "pause" | "resume" | "recycle" | "check"; readonly pool: number; readonly name: string }
  | {
    readonly action: "resize"
    readonly pool: number
    readonly name: string
    readonly min?: number | undefined
    readonly max?: number | undefined
  }
