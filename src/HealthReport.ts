/** The health of a pool, as a value that can be compared and turned into JSON. */
import { Schema } from "effect"
import { counted } from "./PoolError.ts"

/** A connection that failed: `isAlive` or `validate` answered no, or `validate` failed or did not answer in time. */
export const FailedCheck = Schema.Struct({
  /** The pool's number for the connection. */
  connection: Schema.Number,
  reason: Schema.Literals(["dead", "invalid"])
})
export interface FailedCheck extends Schema.Schema.Type<typeof FailedCheck> {}

/** The result of one check: see `check` of `ConnectionPool`. */
export interface CheckReport {
  /** The number of idle connections that work. */
  readonly passed: number
  /** The idle connections that do not work. They were evicted. */
  readonly failed: ReadonlyArray<FailedCheck>
  /** The number of connections that were idle when the check began, but were lent or left before their turn came. */
  readonly busy: number
  /** If the check has waited for a connect attempt: whether that succeeded. */
  readonly connected: boolean | undefined
}

/**
 * - `healthy`: no problem is known
 * - `degraded`: callers are served, but there is a problem; the reasons name it
 * - `unhealthy`: no connection is known to work, or the pool is closed
 */
export const HealthStatus = Schema.Literals(["healthy", "degraded", "unhealthy"])
export type HealthStatus = typeof HealthStatus.Type

/** The side that has the problem, if several pools are watched together: see `sides` of a report. */
const side = Schema.optional(Schema.String)

/** Why a pool is not healthy. */
export const HealthReason = Schema.Union([
  /** The pool is shutting down or closed. */
  Schema.TaggedStruct("Closed", { side }),
  /** The pool is paused: callers wait. */
  Schema.TaggedStruct("Paused", { side }),
  /** The idle connections in `failed` did not work, out of `checked`. They were evicted. */
  Schema.TaggedStruct("ConnectionsFailed", { side, checked: Schema.Number, failed: Schema.Array(FailedCheck) }),
  /** No connection can be opened: `attempts` connect attempts have failed in a row, the last with `error`. */
  Schema.TaggedStruct("CannotConnect", { side, attempts: Schema.Number, error: Schema.String }),
  /**
   * Callers were turned away: `timeouts` of them timed out, and `refused` were refused at once. This reason ends after
   * no caller was turned away for one `acquireTimeout`, or for 30 seconds if that is shorter.
   */
  Schema.TaggedStruct("CallersTurnedAway", { side, timeouts: Schema.Number, refused: Schema.Number }),
  /**
   * `abandoned` connections still run what callers have left, for longer than a second and up to `longestMillis`. Only
   * `maxAbandoned` of them may be replaced, so fewer than `max` can serve callers.
   */
  Schema.TaggedStruct("ConnectionsAbandoned", {
    side,
    abandoned: Schema.Number,
    maxAbandoned: Schema.Number,
    longestMillis: Schema.Number
  }),
  /** `waiting` callers are in line, and the first has waited for more than half of `acquireTimeout`. */
  Schema.TaggedStruct("CallersWaiting", { side, waiting: Schema.Number, longestMillis: Schema.Number })
])
export type HealthReason = typeof HealthReason.Type

const fields = {
  /** The name of the pool, or of the pools that are watched together. */
  pool: Schema.String,
  status: HealthStatus,
  /** Why the pool is not healthy, the worst reason first. */
  reasons: Schema.Array(HealthReason),
  /** When the check ended. */
  checkedAt: Schema.DateTimeUtcFromString,
  /**
   * When a check last found a connection that works, or opened one. For several sides it is the oldest of these times,
   * and is absent until all sides have worked once.
   */
  lastSuccessAt: Schema.optional(Schema.DateTimeUtcFromString),
  /** The last problem with the database that a check has found, and when. It stays after the pool is healthy again. */
  lastError: Schema.optional(Schema.Struct({ at: Schema.DateTimeUtcFromString, error: Schema.String })),
  /**
   * The numbers of the check: idle connections that work (`passed`) and that do not (`failed`), connections that the
   * check has opened (`opened`, at most 1), and connections in use, which were not checked (`inUse`).
   */
  connections: Schema.Struct({
    passed: Schema.Number,
    failed: Schema.Number,
    opened: Schema.Number,
    inUse: Schema.Number
  })
}

/** The health of one side of several pools that are watched together, after one check. */
export const SideHealth = Schema.Struct(fields)
export interface SideHealth extends Schema.Schema.Type<typeof SideHealth> {}

/**
 * The health of a pool after one check. Its encoded form is JSON, with times in ISO 8601.
 *
 * Pools that are watched together, such as the two sides of a `SqlitePool`, have one report. It has the status of the
 * worst side, its reasons name their sides, its numbers are sums, and `sides` has the report of each side.
 *
 * ```ts
 * import { Schema } from "effect"
 * import { HealthReport } from "effect-connection-pool"
 *
 * export const toJson = Schema.encodeSync(HealthReport.HealthReport)
 * ```
 */
export const HealthReport = Schema.Struct({
  ...fields,
  /** The report of each side, if several pools are watched together. */
  sides: Schema.optional(Schema.Record(Schema.String, SideHealth))
})
export interface HealthReport extends Schema.Schema.Type<typeof HealthReport> {}

/** The text of a reason, for people. */
export const reasonText = (reason: HealthReason): string =>
  reason.side === undefined ? textOf(reason) : `${reason.side}: ${textOf(reason)}`

const textOf = (reason: HealthReason): string => {
  switch (reason._tag) {
    case "Closed":
      return "the pool is closed"
    case "Paused":
      return "the pool is paused"
    case "ConnectionsFailed":
      return `${reason.failed.length} of ${
        counted(reason.checked, "idle connection", "idle connections")
      } failed the check`
    case "CannotConnect":
      return `no connection can be opened, ${counted(reason.attempts, "attempt", "attempts")} failed: ${reason.error}`
    case "CallersTurnedAway":
      return `${counted(reason.timeouts, "caller", "callers")} timed out and ${
        counted(reason.refused, "was", "were")
      } refused lately`
    case "ConnectionsAbandoned":
      return `${counted(reason.abandoned, "connection still runs", "connections still run")} what callers have left, ${
        reason.abandoned === 1 ? "" : "the first "
      }for ${Math.round(reason.longestMillis)} ms already, and ${reason.maxAbandoned} may be replaced (maxAbandoned)`
    case "CallersWaiting":
      return `${counted(reason.waiting, "caller waits", "callers wait")}, the first for ${
        Math.round(reason.longestMillis)
      } ms already`
  }
}
