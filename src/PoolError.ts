/**
 * The errors of a pool: a closed union of tagged errors. Each has the name of the pool, and a message that says what is
 * wrong and what to do. Where it helps, it has the numbers of the pool at that moment.
 *
 * The errors of statements are the driver's own, and are not changed. A bug in the pool is a defect, and the interrupt
 * of a caller is an interrupt; neither is ever one of these errors.
 */
import { Data, Inspectable, Schema } from "effect"
import { AbandonedConnection, abandonedText, Holder, HolderStatement, holdersText, millis } from "./internal/holder.ts"
import { shared } from "./internal/sharedSchema.ts"
import { cut } from "./internal/structures/statementText.ts"

/** The numbers of connections in each state at one moment. They add up to `total`. */
export const Occupancy = Schema.Struct({
  /** The hard limit on `total`. Only abandoned connections may be replaced above it: `maxAbandoned` of them. */
  max: Schema.Number,
  /**
   * All connections that count against `max`: connecting, idle, validating, in use, resetting, abandoned and closing.
   */
  total: Schema.Number,
  connecting: Schema.Number,
  idle: Schema.Number,
  validating: Schema.Number,
  inUse: Schema.Number,
  resetting: Schema.Number,
  /** Connections whose lease has ended, while something of it still runs. */
  abandoned: Schema.Number,
  closing: Schema.Number,
  /** The number of callers in line. */
  waiting: Schema.Number
})
export interface Occupancy extends Schema.Schema.Type<typeof Occupancy> {}

const SharedOccupancy = shared(Occupancy, "Occupancy")

export {
  /** A connection whose lease has ended, while something of it still runs; and whose lease that was. */
  AbandonedConnection,
  /** One lease that is held: by whom, for how long, and which statement it runs. */
  Holder,
  /** The statement that a holder runs, or has run last. */
  HolderStatement
}

/**
 * What a caller was waiting for:
 *
 * - `queue`: the return of a connection by another caller
 * - `connect`: a connect attempt, or the backoff before the next one
 * - `validate`: the validation of a connection that was idle
 * - `reset`: the reset of a connection that was returned
 * - `abandoned`: the end of what earlier callers have left running on the connections; no connection was in use
 * - `pause`: `resume`, because the pool is paused
 */
export const AcquirePhase = Schema.Literals(["queue", "connect", "validate", "reset", "abandoned", "pause"])
export type AcquirePhase = typeof AcquirePhase.Type

/**
 * The caller got no connection within its deadline (`acquireTimeout`, or the `timeout` of the call).
 *
 * One deadline covers the whole acquire: the queue, connecting, validating and resetting together.
 */
export class AcquireTimeoutError
  extends Schema.TaggedError<AcquireTimeoutError>("effect-connection-pool/AcquireTimeoutError")(
    "AcquireTimeoutError",
    {
      pool: Schema.String,
      phase: AcquirePhase,
      /** How long this caller waited, in milliseconds. */
      waitedMillis: Schema.Number,
      /** The deadline it had, in milliseconds. */
      timeoutMillis: Schema.Number,
      occupancy: SharedOccupancy,
      /** The longest leases, the longest first; at most five. */
      holders: shared(Schema.Array(Holder), "Holders"),
      /** The connections that are abandoned, if any: the longest first, at most five. */
      abandoned: Schema.optional(shared(Schema.Array(AbandonedConnection), "AbandonedConnections")),
      /** How many leases the fiber of this caller holds itself, if any. */
      ownLeases: Schema.optional(Schema.Number),
      /** Why the last connect attempt failed, if none has succeeded since. */
      lastConnectError: Schema.optional(Schema.Defect())
    }
  )
{
  override get message(): string {
    const connect = this.lastConnectError === undefined
      ? ""
      : `; the last attempt to connect failed: ${describe(this.lastConnectError)}`
    return `pool "${this.pool}": no connection within ${millis(this.timeoutMillis)}, ${phaseText[this.phase]} (${
      occupancyText(this.occupancy)
    })${holdersText(this.holders)}${abandonedText(this.abandoned, this.occupancy)}${ownText(this.ownLeases)}${connect}`
  }
}

/** The line is full (`maxWaiting`), so the caller was refused at once. */
export class QueueFullError extends Schema.TaggedError<QueueFullError>("effect-connection-pool/QueueFullError")(
  "QueueFullError",
  {
    pool: Schema.String,
    maxWaiting: Schema.Number,
    occupancy: SharedOccupancy
  }
) {
  override get message(): string {
    return `pool "${this.pool}": ${
      counted(this.maxWaiting, "caller waits", "callers wait")
    } already, which is maxWaiting (${occupancyText(this.occupancy)})`
  }
}

/**
 * The pool is shutting down or closed, and does not lend any more. Callers that were in line when the shutdown began
 * get this error too.
 *
 * A pool ends with its scope or its layer. End its users before, or let the scope live for longer.
 */
export class PoolClosedError extends Schema.TaggedError<PoolClosedError>("effect-connection-pool/PoolClosedError")(
  "PoolClosedError",
  {
    pool: Schema.String,
    /** Whether the shutdown was still under way. */
    phase: Schema.Literals(["shutting down", "closed"])
  }
) {
  override get message(): string {
    return `pool "${this.pool}" ${
      this.phase === "closed" ? "is closed" : "is shutting down"
    } and does not lend any more: ask before its shutdown begins, or let its scope or layer live for longer`
  }
}

/**
 * The fiber holds all connections of a full pool and asked for another, so it would wait for itself.
 *
 * That is certain if the fiber holds all of them in effects of `use`, or in the scope that it is in. If another fiber
 * may return one of them, the caller waits instead, and its `AcquireTimeoutError` says how many it holds itself. Return
 * a connection first, do everything in one lease, or raise `max`. (A `SqlitePool` has `readers` instead of `max`, and always
 * one connection that writes.)
 */
export class SelfDeadlockError extends Schema.TaggedError<SelfDeadlockError>(
  "effect-connection-pool/SelfDeadlockError"
)("SelfDeadlockError", {
  pool: Schema.String,
  fiber: Schema.Number,
  occupancy: SharedOccupancy,
  /** The option that raises the maximum number of connections, if it is not `max`; `null` if there is none. */
  sizeOption: Schema.optional(Schema.NullOr(Schema.String))
}) {
  override get message(): string {
    const { inUse, max } = this.occupancy
    const held = inUse === 1 ? "the only connection" : `all ${inUse} connections`
    const { sizeOption = "max" } = this
    return `pool "${this.pool}": fiber ${this.fiber} holds ${held} and asked for another, so it would wait for itself: ` +
      `use the connection it has (a transaction shares it with all that runs inside), ${
        sizeOption === null ? "or return it first" : `return one first, or raise ${sizeOption} (${max})`
      }`
  }
}

/** The connect attempt failed with the driver's own error. */
export interface ConnectFailed<out E> {
  readonly _tag: "ConnectFailed"
  readonly error: E
}

/** The connect attempt did not end within `connectTimeout`. */
export interface ConnectTimedOut {
  readonly _tag: "ConnectTimedOut"
  readonly afterMillis: number
}

/** The connect attempt died: the driver threw, or was interrupted from inside. */
export interface ConnectDied {
  readonly _tag: "ConnectDied"
  readonly defect: unknown
}

/** Why a connect attempt failed. */
export type ConnectFailure<E> = ConnectFailed<E> | ConnectTimedOut | ConnectDied

/**
 * A connect attempt failed for good, and no open connection can serve the caller.
 *
 * `reason` has the failure. Use `Effect.catchReason` to handle one kind of failure. After a transient failure
 * (`ConnectionFactory.isTransient`) the pool tries again until the deadline of the caller, and the
 * `AcquireTimeoutError` names the failure.
 */
export class ConnectError<E = unknown> extends Data.TaggedError("ConnectError")<{
  readonly pool: string
  /** The number of connect attempts that failed in a row, this one included. */
  readonly attempts: number
  readonly reason: ConnectFailure<unknown>
}> {
  declare readonly reason: ConnectFailure<E>

  override get cause(): unknown {
    return failureCause(this.reason)
  }

  override get message(): string {
    const after = this.attempts === 1 ? "" : ` after ${this.attempts} attempts`
    return `pool "${this.pool}": could not connect${after}: ${failureText(this.reason)}`
  }
}

/** One invalid option. */
export const ConfigProblem = Schema.Struct({
  /** The name of the option. */
  field: Schema.String,
  /** The value that was given, as text. */
  value: Schema.String,
  /** What is wrong with the option, and what it must be. */
  message: Schema.String
})
export interface ConfigProblem extends Schema.Schema.Type<typeof ConfigProblem> {}

/**
 * The options of a pool, of one of its operations or of a single call are invalid: an option is unknown, is not what it
 * must be, or contradicts another. All problems are listed. Nothing was done.
 */
export class PoolConfigError extends Schema.TaggedError<PoolConfigError>("effect-connection-pool/PoolConfigError")(
  "PoolConfigError",
  { pool: Schema.String, problems: Schema.NonEmptyArray(ConfigProblem) }
) {
  /** The name of the first option that is wrong. */
  get field(): string {
    return this.problems[0].field
  }

  /** The value that was given for it, as text. */
  get value(): string {
    return this.problems[0].value
  }

  override get message(): string {
    return `pool "${this.pool}": ${this.problems.map(({ message }) => message).join("; ")}`
  }
}

/** The errors of an acquire. `E` is the driver's connect error. */
export type PoolError<E = never> =
  | AcquireTimeoutError
  | QueueFullError
  | PoolClosedError
  | ConnectError<E>
  | SelfDeadlockError
  | PoolConfigError

/**
 * A connection was used after its lease had ended. Nothing was done.
 *
 * A connection is lent for the effect given to `use`, or for the scope of `acquire`. A fiber that keeps it for longer,
 * such as a forked one, gets this error, and never uses the connection of another caller.
 */
export class LeaseExpiredError extends Schema.TaggedError<LeaseExpiredError>(
  "effect-connection-pool/LeaseExpiredError"
)("LeaseExpiredError", {
  /** The pool whose connection it was, if the driver knows: see `ConnectionFactory.beginLease`. */
  pool: Schema.optional(Schema.String),
  /** The operation that was refused, such as `query`. */
  operation: Schema.String,
  /** Why the lease has ended, if its holder has not ended it. */
  reason: Schema.optional(Schema.String)
}) {
  override get message(): string {
    const of = this.pool === undefined ? "" : ` of pool "${this.pool}"`
    const why = this.reason ?? "its use or its scope is over, or the pool was shut down"
    return `${this.operation}: the lease on this connection${of} has ended (${why}): use a connection only inside the ` +
      "body that it was given to, or until the scope of its acquire closes, and ask for another after that"
  }
}

const phaseText: Record<AcquirePhase, string> = {
  queue: "waiting for one to be returned",
  connect: "waiting for one to be opened",
  validate: "waiting for an idle one to be validated",
  reset: "waiting for a returned one to be reset",
  abandoned: "waiting for the end of what earlier callers have left running",
  pause: "waiting for the paused pool to be resumed"
}

/** @internal */
export const failureCause = (reason: ConnectFailure<unknown>): unknown => {
  switch (reason._tag) {
    case "ConnectFailed":
      return reason.error
    case "ConnectTimedOut":
      return undefined
    case "ConnectDied":
      return reason.defect
  }
}

/** @internal */
export const failureText = (reason: ConnectFailure<unknown>): string =>
  reason._tag === "ConnectTimedOut" ? `no answer within ${millis(reason.afterMillis)}` : describe(failureCause(reason))

/** @internal A number and its noun. */
export const counted = (count: number, one: string, several: string): string =>
  `${count} ${count === 1 ? one : several}`

const occupancyText = (occupancy: Occupancy): string => {
  const parts = [`${occupancy.inUse} of ${occupancy.max} in use`]
  for (const state of ["idle", "connecting", "validating", "resetting", "abandoned", "closing", "waiting"] as const) {
    if (occupancy[state] > 0) parts.push(`${occupancy[state]} ${state}`)
  }
  return parts.join(", ")
}

const ownText = (leases: number | undefined): string =>
  leases === undefined
    ? ""
    : `; this fiber holds ${
      leases === 1 ? "one of them" : `${leases} of them`
    } itself: return what it holds before it asks, or do all in one lease`

/** @internal The text of an error of a driver in a message. Never throws. */
export const describe = (error: unknown): string => {
  try {
    return cut(describeError(error, 0), mostOfError)
  } catch {
    return "an error that cannot be printed"
  }
}

/** The most characters of the text of an error. Some drivers put the whole statement into it. */
const mostOfError = 1000

/** The text of an error. An error without a message is described by its cause. */
const describeError = (error: unknown, depth: number): string => {
  if (!(error instanceof Error)) return Inspectable.toStringUnknown(error, 0)
  const { cause, message, name } = error
  if (message !== "" || cause === undefined || depth === 5) return `${name}: ${message}`
  return `${name}: ${describeError(cause, depth + 1)}`
}
