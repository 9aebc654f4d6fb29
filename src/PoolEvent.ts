/** The events of a pool. */
import { Data } from "effect"
import type { EvictReason } from "./Connection.ts"
import type { HealthReport, HealthStatus } from "./HealthReport.ts"
import type { AbandonedConnection, ConnectFailure, Holder } from "./PoolError.ts"

/**
 * An event of a pool. The stream `events` has all events in the order in which they happened.
 *
 * `connection` is the number of a connection in its pool. Times are in milliseconds.
 */
export type PoolEvent = Data.TaggedEnum<{
  /** A connection was opened. */
  Connected: { readonly connection: number; readonly tookMillis: number }
  /** A connect attempt has failed. The pool makes no other attempt for `min` before `backoffMillis` have passed. */
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
  /**
   * A connection was evicted. It begins to close. `error` is what the driver threw, or failed with, if that is the reason
   * (`driver`, `abandoned`).
   */
  Evicted: { readonly connection: number; readonly reason: EvictReason; readonly error?: unknown }
  /** A connection is closed. `error` is the error of closing it, if there was one. */
  Disconnected: { readonly connection: number; readonly error: unknown }
  /** A connection did not close within `closeTimeout`. The pool has given it up. */
  CloseTimedOut: { readonly connection: number }
  /**
   * A lease has ended, and something of it still runs on its connection, which nobody can stop. The connection counts until
   * that has ended, and is not lent.
   */
  ConnectionAbandoned: { readonly abandoned: AbandonedConnection }
  /**
   * Nothing runs on an abandoned connection any more. It can be used again, unless `error` says why the driver could not
   * wait for the end: then the connection is evicted.
   */
  ConnectionSettled: { readonly abandoned: AbandonedConnection; readonly error: unknown }
  /** A lease is held for longer than `leakThreshold`. */
  LeakSuspected: { readonly holder: Holder }
  /** A lease that was reported by `LeakSuspected` has ended. */
  LeakReturned: { readonly holder: Holder }
  /**
   * A lease has ended, but its holder has left a transaction open that it had begun by hand. The transaction is rolled back.
   */
  TransactionLeftOpen: { readonly holder: Holder }
  /**
   * A statement took as long as `slowStatement`, or longer. `text` is in one line, without the parameters, and at most 1000
   * characters long.
   */
  StatementSlow: {
    readonly connection: number
    readonly text: string
    readonly tookMillis: number
    /** `slowStatement` of the pool. */
    readonly slowAfterMillis: number
    /** Whether it ran in one step, so that nothing else could run in this process meanwhile. */
    readonly isBlocking: boolean
    /** What would keep such a statement from holding up this process. Not set if that is not known, or not needed. */
    readonly advice?: string
    /** Who ran it. Not set if nobody did: it was a statement of the driver between two leases. */
    readonly holder: Holder | undefined
    /** Whether it is logged. There is at most one such warning a second, and one a minute for each text. */
    readonly isLogged: boolean
    /** The number of slow statements that were not logged since the last one that was. */
    readonly unlogged: number
  }
  /**
   * A group of `size` callers was served together, on one connection. Each caller counts as an acquire and as a lease of its
   * own, so each has its `CheckedOut` and its `Returned`. If `undoneBecause` is set, their work was undone, no caller was
   * answered, and they run again one by one.
   */
  Grouped: {
    readonly connection: number
    readonly size: number
    readonly tookMillis: number
    readonly undoneBecause: string | undefined
  }
  /**
   * A round of validations has ended. The numbers are of idle connections: those that work, those that do not, and those
   * that were lent before their turn.
   */
  Checked: { readonly passed: number; readonly failed: number; readonly busy: number }
  /** The first report of a `HealthChecker`, or a report with another status or other reasons than the last. */
  HealthChanged: { readonly from: HealthStatus | undefined; readonly report: HealthReport }
  Paused: {}
  Resumed: {}
  Resized: { readonly min: number; readonly max: number }
  /** All connections are evicted: `connections` is their number. */
  Recycled: { readonly connections: number }
  /** A shutdown has begun: the pool does not lend any more. `leases` is the number of leases that are still held. */
  Draining: { readonly leases: number }
  /** A shutdown has waited for `drainTimeout`, and interrupts the fibers that still hold a connection. */
  Interrupting: { readonly holders: ReadonlyArray<Holder> }
  /** A shutdown does not wait any longer for what runs on these abandoned connections, and closes them. */
  LeftRunning: { readonly abandoned: ReadonlyArray<AbandonedConnection> }
  /** The shutdown is complete. */
  Closed: {}
  /** A reader of `events` was too slow: it missed this many events before this one. */
  Missed: { readonly events: number }
}>

export const {
  $is,
  $match,
  AcquireTimedOut,
  Checked,
  CheckedOut,
  CloseTimedOut,
  Closed,
  ConnectFailed,
  Connected,
  ConnectionAbandoned,
  ConnectionSettled,
  Disconnected,
  Draining,
  Evicted,
  Grouped,
  HealthChanged,
  Interrupting,
  LeakReturned,
  LeakSuspected,
  LeftRunning,
  Missed,
  Paused,
  Recycled,
  Refused,
  Resized,
  Resumed,
  Returned,
  StatementSlow,
  TransactionLeftOpen
} = Data.taggedEnum<PoolEvent>()
