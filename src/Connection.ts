/** One connection of a pool, as users see it. */

/**
 * The state of a connection:
 *
 * - `connecting`: being opened; it counts against `max` from the start
 * - `idle`: open and not in use
 * - `validating`: being validated
 * - `in use`: leased to a caller
 * - `resetting`: returned, and being made clean for the next caller
 * - `abandoned`: its lease has ended, but something of that lease still runs on it: see `ConnectionFactory.unfinished`
 * - `closing`: being closed; it counts against `max` until it is closed
 * - `error`: closing, because the connection is broken or could not be opened
 * - `closed`: closed; `connections` does not list it any more
 */
export type ConnectionState =
  | "connecting"
  | "idle"
  | "validating"
  | "in use"
  | "resetting"
  | "abandoned"
  | "closing"
  | "error"
  | "closed"

/**
 * Why a connection left the pool:
 *
 * - `idle`: it was idle for `idleTimeout`, and `min` other connections remain
 * - `lifetime`, `uses`: retired, by `maxLifetime` or `maxUses`
 * - `dead`: `isAlive` answered no, or the driver reported its death
 * - `invalid`: `validate` answered no, failed, or did not end in time
 * - `reset`: `reset` failed or did not end in time
 * - `fatal`: a lease ended with a failure that `judge` calls fatal
 * - `abandoned`: it was abandoned, and the driver could not wait for the end of what ran on it
 * - `invalidated`: `invalidate` was called on it
 * - `recycled`: `recycle` was called
 * - `excess`: there was one too many: `resize` made the pool smaller, or an abandoned connection had been replaced
 * - `driver`: the driver threw when a lease began or ended
 * - `shutdown`: the pool was shut down
 */
export type EvictReason =
  | "idle"
  | "lifetime"
  | "uses"
  | "dead"
  | "invalid"
  | "reset"
  | "fatal"
  | "abandoned"
  | "invalidated"
  | "recycled"
  | "excess"
  | "driver"
  | "shutdown"

/** A snapshot of one connection of a pool. */
export interface ConnectionInfo {
  /** The number of the connection in its pool: 1 for the first, never used twice. */
  readonly id: number
  readonly state: ConnectionState
  /** The number of calls of `recycle` before its connect attempt, plus 1. An older connection has a smaller number. */
  readonly generation: number
  /** The number of leases of it that have ended. */
  readonly uses: number
  /** Milliseconds since it was opened; while it is being opened, since the connect attempt began. */
  readonly ageMillis: number
  /** Milliseconds since it was last lent or returned. */
  readonly idleMillis: number
  /** Why it is closed now, or will be when it comes back. `undefined` if it stays. */
  readonly evictReason: EvictReason | undefined
}
