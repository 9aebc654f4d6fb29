/** What is known about one pooled connection. */

/**
 * Where a connection is in its life:
 *
 * - `connecting`: being opened; it counts against `max` from the start
 * - `idle`: open and free to be lent
 * - `validating`: being asked whether it still works
 * - `in use`: leased to a caller
 * - `resetting`: back from a caller and being made clean for the next
 * - `closing`: being closed; it counts against `max` until it is closed
 * - `error`: like `closing`, because the connection failed a check or could not be opened
 * - `closed`: gone; `connections` does not list it any more
 */
export type ConnectionState =
  | "connecting"
  | "idle"
  | "validating"
  | "in use"
  | "resetting"
  | "closing"
  | "error"
  | "closed"

/**
 * Why a connection left the pool:
 *
 * - `idle`: it was idle for `idleTimeout`, and `min` others remain
 * - `lifetime`, `uses`: retired, by `maxLifetime` or `maxUses`
 * - `dead`: `isAlive` said no, or the driver reported its death
 * - `invalid`: `validate` said no, failed, or did not answer in time
 * - `reset`: `reset` failed or did not end in time
 * - `fatal`: a lease ended with a failure that `judge` calls fatal
 * - `invalidated`: `invalidate` was called on it
 * - `recycled`: `recycle` was called
 * - `excess`: `resize` made the pool smaller
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
  | "invalidated"
  | "recycled"
  | "excess"
  | "driver"
  | "shutdown"

/** A snapshot of one connection of a pool. */
export interface ConnectionInfo {
  /** The pool's number for it: 1 for the first, never used twice. */
  readonly id: number
  readonly state: ConnectionState
  /** Which `recycle` it has seen: connections opened before the last one have a smaller number. */
  readonly generation: number
  /** Leases that have ended on it. */
  readonly uses: number
  /** Milliseconds since it was opened, or since the attempt began while it is being opened. */
  readonly ageMillis: number
  /** Milliseconds since it was last lent or returned. */
  readonly idleMillis: number
  /** Why it leaves the pool when it comes back, or is being closed. `undefined` if it stays. */
  readonly evictReason: EvictReason | undefined
}
