/** What happened in a pool, as values. */
import { Data } from "effect"
import type { EvictReason } from "./Connection.ts"
import type { HealthReport, HealthStatus } from "./HealthReport.ts"
import type { ConnectFailure, Holder } from "./PoolError.ts"

/**
 * What a pool reports through `events`, in the order in which it happened.
 *
 * `connection` is the pool's number for a connection; times are in milliseconds.
 */
export type PoolEvent = Data.TaggedEnum<{
  /** A connection was opened. */
  Connected: { readonly connection: number; readonly tookMillis: number }
  /** An attempt to open one failed; the pool makes no other of its own accord before `backoffMillis` have passed. */
  ConnectFailed: {
    readonly connection: number
    readonly reason: ConnectFailure<unknown>
    readonly tookMillis: number
    readonly backoffMillis: number
  }
  /** A lease began. */
  CheckedOut: { readonly connection: number; readonly fiber: number; readonly waitedMillis: number }
  /** A lease ended. */
  Returned: { readonly connection: number; readonly fiber: number; readonly heldMillis: number }
  /** A caller got no connection before its deadline. */
  AcquireTimedOut: { readonly fiber: number; readonly waitedMillis: number }
  /** A caller was refused because the line was full. */
  Refused: { readonly fiber: number; readonly waiting: number }
  /** A connection is on its way out of the pool. */
  Evicted: { readonly connection: number; readonly reason: EvictReason }
  /** A connection is closed. `error` is what closing it died of, if it did. */
  Disconnected: { readonly connection: number; readonly error: unknown }
  /** A connection would not close within `closeTimeout`; the pool does not wait for it any longer. */
  Abandoned: { readonly connection: number }
  /** A lease has been out for longer than `leakThreshold`. */
  LeakSuspected: { readonly holder: Holder }
  /** A lease reported by `LeakSuspected` has ended after all. */
  LeakReturned: { readonly holder: Holder }
  /** A lease has ended with a transaction open that its holder had begun by hand. It is rolled back. */
  TransactionLeftOpen: { readonly holder: Holder }
  /** A round of checks has ended: idle connections that still work, that do not, and that were lent before their turn. */
  Checked: { readonly passed: number; readonly failed: number; readonly busy: number }
  /** A `HealthChecker` has come to another conclusion, or to its first. */
  HealthChanged: { readonly from: HealthStatus | undefined; readonly report: HealthReport }
  Paused: {}
  Resumed: {}
  Resized: { readonly min: number; readonly max: number }
  /** All connections opened so far are leaving: `connections` of them. */
  Recycled: { readonly connections: number }
  /** The pool lends no longer; `leases` are still out. */
  Draining: { readonly leases: number }
  /** A shutdown has waited for `drainTimeout`, and interrupts those who still hold a connection. */
  Interrupting: { readonly holders: ReadonlyArray<Holder> }
  /** The shutdown is complete. */
  Closed: {}
  /** A reader of `events` was too slow: it missed this many events before this one. */
  Missed: { readonly events: number }
}>

export const {
  $is,
  $match,
  Abandoned,
  AcquireTimedOut,
  Checked,
  CheckedOut,
  Closed,
  ConnectFailed,
  Connected,
  Disconnected,
  Draining,
  Evicted,
  HealthChanged,
  Interrupting,
  LeakReturned,
  LeakSuspected,
  Missed,
  Paused,
  Recycled,
  Refused,
  Resized,
  Resumed,
  Returned,
  TransactionLeftOpen
} = Data.taggedEnum<PoolEvent>()
