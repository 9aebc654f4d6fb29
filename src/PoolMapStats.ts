/** The numbers of a map of pools at one moment. */
import type { PoolMapOccupancy } from "./PoolMapError.ts"
import type { PoolEvictReason } from "./PoolMapEvent.ts"

/**
 * The numbers of a map of pools at one moment. They are read in one step, so they add up.
 *
 * Counters never go down. Every call is counted exactly once when it is answered: in `hits` or `misses`, `openErrors`,
 * `timeouts`, `refused` or `cancelled`.
 */
export interface PoolMapStats extends PoolMapOccupancy {
  readonly map: string
  /** Leases that are held now. A pool may have any number. */
  readonly leases: number
  /** Calls that found their pool open, and did not wait. */
  readonly hits: number
  /** Calls that got their pool after a wait. */
  readonly misses: number
  /** Calls that failed because their pool could not be opened, `PoolOpenTimeoutError` included. */
  readonly openErrors: number
  /** Calls that failed with `PoolMapTimeoutError`. */
  readonly timeouts: number
  /** Calls that failed with `PoolClosedError`. */
  readonly refused: number
  /** Calls that were interrupted while they waited. */
  readonly cancelled: number
  /** The longest wait of a call that got its pool, in milliseconds. */
  readonly maxWaitMillis: number
  /** Pools that were opened. */
  readonly opens: number
  /** Runs of `open` that failed, died, timed out, or were ended by `invalidate` or a shutdown. */
  readonly openFailures: number
  /** The runs in `openFailures` that passed `openTimeout`. */
  readonly openTimeouts: number
  /** Pools that were closed. */
  readonly closes: number
  /** Pools that are closing for longer than `closeTimeout`. */
  readonly overdue: number
  /** The number of pools that were evicted, by reason. */
  readonly evictions: Readonly<Record<PoolEvictReason, number>>
}

/**
 * The state of a pool in a map:
 *
 * - `waiting`: there is no room for it yet
 * - `opening`: `open` runs
 * - `idle`: open, and nobody uses it
 * - `in use`: open, with a lease of the map, or with leases of its own
 * - `leaving`: in use, and closed as soon as its leases have ended; new callers wait
 * - `closing`: being closed
 */
export type PoolState = "waiting" | "opening" | "idle" | "in use" | "leaving" | "closing"

/** A snapshot of one pool of a map. */
export interface PoolInfo<K> {
  readonly key: K
  readonly state: PoolState
  /** The number of leases of the map. */
  readonly leases: number
  /** The number of callers that wait for it. */
  readonly waiting: number
  /** Milliseconds since it was opened; `undefined` if it is not open. */
  readonly ageMillis: number | undefined
  /** Milliseconds since its last lease ended; 0 while it is in use. */
  readonly idleMillis: number
}

/** The result of the shutdown of a map. */
export interface PoolMapShutdownReport {
  /** Leases of the map that ended within `drainTimeout`. */
  readonly returned: number
  /** Leases of `use` and `provide` that were held for longer. The fibers that held them were interrupted. */
  readonly interrupted: number
  /** Leases of `get` that were held for longer. They were ended, and their fibers were not interrupted. */
  readonly revoked: number
  /** Pools that did not close within `closeTimeout`. They go on closing. */
  readonly closeTimeouts: number
}
