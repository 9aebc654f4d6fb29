/** The numbers of a pool at one moment. */
import type { EvictReason } from "./Connection.ts"
import type { AbandonedConnection, Occupancy } from "./PoolError.ts"

/**
 * The numbers of a pool at one moment. They are read in one step, so they add up. To read them is cheap.
 *
 * Counters never go down. Every acquire is counted exactly once when it ends: in `checkouts`, `timeouts`, `refused`,
 * `connectErrors` or `cancelled`.
 */
export interface ConnectionStats extends Occupancy {
  readonly pool: string
  readonly min: number
  /** How many abandoned connections may be replaced, so that there may be so many connections above `max`. */
  readonly maxAbandoned: number
  /** The part of `max` that is in use, from 0 to 1. It is above 1 while more are in use than `max` after a `resize`. */
  readonly utilization: number
  /** Acquires that got a connection. */
  readonly checkouts: number
  /** Leases that have ended. `checkouts - returns` leases are held now. */
  readonly returns: number
  /** Acquires that failed with `AcquireTimeoutError`. */
  readonly timeouts: number
  /** Acquires that failed with `QueueFullError`, `PoolClosedError` or `SelfDeadlockError`. */
  readonly refused: number
  /** Acquires that failed with `ConnectError`. */
  readonly connectErrors: number
  /** Acquires that were interrupted before they got a connection. */
  readonly cancelled: number
  /** The average wait of checkouts in milliseconds. A checkout without a wait counts as 0. */
  readonly averageWaitMillis: number
  /** The longest wait of a checkout in milliseconds. */
  readonly maxWaitMillis: number
  /** Connect attempts that have begun: `connects + connectFailures + connecting`. */
  readonly connectAttempts: number
  /** Connections that were opened. */
  readonly connects: number
  /** Connect attempts that failed, timed out, or were ended by a shutdown. */
  readonly connectFailures: number
  /** The connect attempts in `connectFailures` that passed `connectTimeout`. */
  readonly connectTimeouts: number
  /** Validations that have ended. */
  readonly validations: number
  /** Validations that found the connection broken. */
  readonly validationFailures: number
  /** Resets that have ended. */
  readonly resets: number
  /** Resets that failed or timed out. */
  readonly resetFailures: number
  /** Connections that were closed. */
  readonly disconnects: number
  /** Connections that did not close within `closeTimeout`, and were given up. */
  readonly closeTimeouts: number
  /** Leases that ended while something of them still ran. Their connections were abandoned. */
  readonly abandonments: number
  /** Abandoned connections on which nothing runs any more: those that can be used again, and those that were evicted. */
  readonly settlements: number
  /** The number of connections that left the pool, by reason. */
  readonly evictions: Readonly<Record<EvictReason, number>>
  /** Leases reported as possible leaks. */
  readonly leaks: number
  /** Statements that took as long as `slowStatement`, or longer. */
  readonly slowStatements: number
}

/**
 * All slow runs of the statements with one text. Runs that were faster than `slowStatement` do not count. Times are in
 * milliseconds.
 */
export interface SlowStatement {
  /** The name of the pool. */
  readonly pool: string
  /**
   * The text in one line, without the parameters, at most 1000 characters of it. A list of placeholders is folded:
   * `in (?, ?, ?)` is `in (?, ...)`. Values that are written in the text itself are part of it.
   */
  readonly text: string
  /** The number of runs, failed ones included. */
  readonly runs: number
  readonly totalMillis: number
  /** The time that 99 of 100 runs did not exceed. It may be up to a tenth too high. */
  readonly p99Millis: number
  readonly maxMillis: number
  /** How long the last run took. */
  readonly lastMillis: number
  /** How long ago the last run ended. */
  readonly lastAgoMillis: number
}

/** The result of a shutdown. */
export interface ShutdownReport {
  /** Leases that ended within `drainTimeout`. */
  readonly returned: number
  /** Leases of `use` that were still held after that. The fibers that held them were interrupted. */
  readonly interrupted: number
  /**
   * Leases of `acquire` that were still held after that. They were ended, and their fibers were not interrupted,
   * because another fiber may own the scope. The connections of this library answer with `LeaseExpiredError` from then
   * on.
   */
  readonly revoked: number
  /**
   * Connections that were still abandoned when the time was over, the longest first: what ran on them, and whose it was. The
   * pool has not waited for its end any longer, and has closed them.
   */
  readonly abandoned: ReadonlyArray<AbandonedConnection>
  /** Connections that did not close within `closeTimeout`. */
  readonly closeTimeouts: number
}
