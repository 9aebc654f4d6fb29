/** What is known about the health of a pool, as a value that can be shown, compared and turned into JSON. */
import { Schema } from "effect"

/** A connection that failed its check: `isAlive` said no, or `validate` said no, failed, or did not answer in time. */
export const FailedCheck = Schema.Struct({
  /** The pool's number for the connection. */
  connection: Schema.Number,
  reason: Schema.Literals(["dead", "invalid"])
})
export interface FailedCheck extends Schema.Schema.Type<typeof FailedCheck> {}

/** What one round of checks has found: see `check` of `ConnectionPool`. */
export interface CheckReport {
  /** Idle connections that still work. */
  readonly passed: number
  /** Idle connections that do not, and were evicted. */
  readonly failed: ReadonlyArray<FailedCheck>
  /** Connections that were idle as the round began, and lent or gone before their turn came. */
  readonly busy: number
  /** Whether the attempt to open a connection succeeded that the round has waited for, if it has waited for one. */
  readonly connected: boolean | undefined
}

/**
 * - `healthy`: nothing is known to be wrong
 * - `degraded`: callers are served, but not all is well; the reasons say what
 * - `unhealthy`: no connection is known that works, or the pool is closed
 */
export const HealthStatus = Schema.Literals(["healthy", "degraded", "unhealthy"])
export type HealthStatus = typeof HealthStatus.Type

/** Which of several pools that are watched together it concerns: see `sides` of a report. */
const side = Schema.optional(Schema.String)

/** Why a pool is not healthy. */
export const HealthReason = Schema.Union([
  /** The pool is shutting down, or has. */
  Schema.TaggedStruct("Closed", { side }),
  /** The pool is paused: callers wait. */
  Schema.TaggedStruct("Paused", { side }),
  /** Of `checked` idle connections these failed; they were evicted. */
  Schema.TaggedStruct("ConnectionsFailed", { side, checked: Schema.Number, failed: Schema.Array(FailedCheck) }),
  /** Connections cannot be opened: so many attempts have failed in a row, the last with this error. */
  Schema.TaggedStruct("CannotConnect", { side, attempts: Schema.Number, error: Schema.String }),
  /**
   * So many callers ran into their deadline, and so many were refused at once. It is over when for as long as
   * `acquireTimeout`, or for 30 seconds, nobody was.
   */
  Schema.TaggedStruct("CallersTurnedAway", { side, timeouts: Schema.Number, refused: Schema.Number }),
  /** So many callers are in line, and the first has waited for more than half of `acquireTimeout` already. */
  Schema.TaggedStruct("CallersWaiting", { side, waiting: Schema.Number, longestMillis: Schema.Number })
])
export type HealthReason = typeof HealthReason.Type

const fields = {
  /** What the pool is called, or the pools together. */
  pool: Schema.String,
  status: HealthStatus,
  /** Why it is not healthy, worst first. */
  reasons: Schema.Array(HealthReason),
  /** When the check ended. */
  checkedAt: Schema.DateTimeUtcFromString,
  /**
   * When a check last found a connection that works, or opened one. Of several sides, the one where that is longest ago
   * counts; it is absent until all of them have worked.
   */
  lastSuccessAt: Schema.optional(Schema.DateTimeUtcFromString),
  /** What the checker last found wrong with the database, and when; it stays when all is well again. */
  lastError: Schema.optional(Schema.Struct({ at: Schema.DateTimeUtcFromString, error: Schema.String })),
  /**
   * What the check has found: idle connections that work, and that do not; those it has opened to find out, which is one
   * at most; and connections in use, which it left alone.
   */
  connections: Schema.Struct({
    passed: Schema.Number,
    failed: Schema.Number,
    opened: Schema.Number,
    inUse: Schema.Number
  })
}

/** The health of one of several pools that are watched together, as of one check. */
export const SideHealth = Schema.Struct(fields)
export interface SideHealth extends Schema.Schema.Type<typeof SideHealth> {}

/**
 * The health of a pool, as of one check. Encoded, it is JSON with times in ISO 8601.
 *
 * Pools that are watched together, such as the two sides of a `SqlitePool`, have one report: its status is that of the
 * worst side, its reasons name their side, its numbers are sums, and `sides` has a report of each.
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
  /** The report of each side, where several pools are watched together. */
  sides: Schema.optional(Schema.Record(Schema.String, SideHealth))
})
export interface HealthReport extends Schema.Schema.Type<typeof HealthReport> {}

/** A reason in words. */
export const reasonText = (reason: HealthReason): string =>
  reason.side === undefined ? textOf(reason) : `${reason.side}: ${textOf(reason)}`

const textOf = (reason: HealthReason): string => {
  switch (reason._tag) {
    case "Closed":
      return "the pool is closed"
    case "Paused":
      return "the pool is paused"
    case "ConnectionsFailed":
      return `${reason.failed.length} of ${reason.checked} idle connections failed their check`
    case "CannotConnect":
      return `no connection can be opened, ${reason.attempts} attempts failed: ${reason.error}`
    case "CallersTurnedAway":
      return `${reason.timeouts} callers timed out and ${reason.refused} were refused lately`
    case "CallersWaiting":
      return `${reason.waiting} callers wait, the first for ${Math.round(reason.longestMillis)} ms already`
  }
}
