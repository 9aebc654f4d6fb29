/** The events of a map of pools. */
import { Data } from "effect"
import type { PoolHolder } from "./PoolMapError.ts"

/**
 * Why a pool of a map was closed:
 *
 * - `idle`: nobody used it for `idleTimeout`
 * - `room`: another key needed its place, because `max` pools were open
 * - `invalidated`: `invalidate` was called on its key
 * - `closed`: somebody else has shut it down
 * - `shutdown`: the map was shut down
 */
export type PoolEvictReason = "idle" | "room" | "invalidated" | "closed" | "shutdown"

/**
 * An event of a map of pools. The stream `events` has all events in the order in which they happened. Times are in
 * milliseconds.
 *
 * - `Opened`: a pool was opened.
 * - `OpenFailed`: `open` has failed with `error`, has died of it, or did not end within `openTimeout`.
 * - `Evicted`: a pool has left the map, and begins to close. It has no lease any more.
 * - `Closed`: a pool was closed. `error` is the error of closing it, if there was one.
 * - `CloseOverdue`: a pool did not close within `closeTimeout`. It counts against `max` until it is closed.
 * - `TimedOut`: a caller got no pool before its deadline.
 * - `Draining`: a shutdown has begun. `leases` is the number of leases that are still held.
 * - `Interrupting`: a shutdown has waited for `drainTimeout`, and interrupts the fibers that still hold a lease.
 * - `ShutDown`: the shutdown is complete.
 * - `Missed`: a reader of `events` was too slow. It missed this many events before this one.
 */
export type PoolMapEvent<K> =
  | { readonly _tag: "Opened"; readonly key: K; readonly tookMillis: number }
  | { readonly _tag: "OpenFailed"; readonly key: K; readonly error: unknown; readonly tookMillis: number }
  | { readonly _tag: "Evicted"; readonly key: K; readonly reason: PoolEvictReason }
  | { readonly _tag: "Closed"; readonly key: K; readonly error: unknown; readonly tookMillis: number }
  | { readonly _tag: "CloseOverdue"; readonly key: K; readonly waitedMillis: number }
  | { readonly _tag: "TimedOut"; readonly key: K; readonly fiber: number; readonly waitedMillis: number }
  | { readonly _tag: "Draining"; readonly leases: number }
  | { readonly _tag: "Interrupting"; readonly holders: ReadonlyArray<PoolHolder> }
  | { readonly _tag: "ShutDown" }
  | { readonly _tag: "Missed"; readonly events: number }

interface Definition extends Data.TaggedEnum.WithGenerics<1> {
  readonly taggedEnum: PoolMapEvent<this["A"]>
}

export const {
  $is,
  $match,
  CloseOverdue,
  Closed,
  Draining,
  Evicted,
  Interrupting,
  Missed,
  OpenFailed,
  Opened,
  ShutDown,
  TimedOut
} = Data.taggedEnum<Definition>()
