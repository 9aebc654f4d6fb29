/** The numbers of a pool at one moment. */
import type { EvictReason } from "./Connection.ts"
import type { Occupancy } from "./PoolError.ts"

/**
 * One truthful snapshot: taken in one step, so that the parts add up, at the cost of a few reads, and of a look
 * at each lease that is out.
 *
 * The counters only ever grow. Every acquire is counted exactly once when it ends: as one of `checkouts`, `timeouts`,
 * `refused`, `connectErrors` or `cancelled`.
 */
export interface ConnectionStats extends Occupancy {
  readonly pool: string
  readonly min: number
  /** How much of `max` is in use: from 0 to 1, and above it while more are lent than a `resize` has left room for. */
  readonly utilization: number
  /** Acquires that got a connection. */
  readonly checkouts: number
  /** Leases that have ended. `checkouts - returns` leases are out. */
  readonly returns: number
  /** Acquires that failed with `AcquireTimeoutError`. */
  readonly timeouts: number
  /** Acquires that failed with `QueueFullError`, `PoolClosedError` or `SelfDeadlockError`. */
  readonly refused: number
  /** Acquires that failed with `ConnectError`. */
  readonly connectErrors: number
  /** Acquires that were interrupted before they got a connection. */
  readonly cancelled: number
  /** Milliseconds that checkouts waited, on average; those that did not wait count as 0. */
  readonly averageWaitMillis: number
  /** The longest that a checkout waited, in milliseconds. */
  readonly maxWaitMillis: number
  /** Attempts to open a connection: `connects + connectFailures + connecting` of them, given-up ones included. */
  readonly connectAttempts: number
  /** Connections that were opened. */
  readonly connects: number
  /** Attempts to open a connection that failed, timed out, or were given up by a shutdown. */
  readonly connectFailures: number
  /** Those of them that ran into `connectTimeout`. */
  readonly connectTimeouts: number
  /** Validations that have ended, and those that found the connection broken. */
  readonly validations: number
  readonly validationFailures: number
  /** Resets that have ended, and those that did not leave a clean connection. */
  readonly resets: number
  readonly resetFailures: number
  /** Connections that were closed. */
  readonly disconnects: number
  /** Connections that would not close within `closeTimeout`, and were given up. */
  readonly abandoned: number
  /** Why connections left the pool, and how many for each reason. */
  readonly evictions: Readonly<Record<EvictReason, number>>
  /** Leases reported as possible leaks. */
  readonly leaks: number
}

/** How a shutdown went. */
export interface ShutdownReport {
  /** Leases that came back within `drainTimeout`. */
  readonly returned: number
  /** Leases of `use` that were still out after that: the fibers that held them were interrupted. */
  readonly interrupted: number
  /**
   * Leases of `acquire` that were still out after that: their connections were taken away. Their fibers were left alone,
   * for the scope of a lease may be another fiber's; a connection that guards itself, as those of this library do,
   * answers with `LeaseExpiredError` from then on.
   */
  readonly revoked: number
  /** Connections that would not close within `closeTimeout`. */
  readonly abandoned: number
}
