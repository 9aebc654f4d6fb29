/**
 * The errors of a map of pools. Each has the name of the map, the key as text, and the numbers of the map at that
 * moment.
 *
 * A map fails with two errors of its pools' kind too: `PoolClosedError` once it is shut down, and `PoolConfigError` for
 * invalid options. The errors of `open` reach its callers as they are.
 */
import { Schema } from "effect"
import { nameOf } from "./internal/holder.ts"
import { shared } from "./internal/sharedSchema.ts"
import { counted, type PoolClosedError, type PoolConfigError } from "./PoolError.ts"

/** The numbers of pools in each state at one moment. They add up to `total`. */
export const PoolMapOccupancy = Schema.Struct({
  /** The hard limit on `total`. */
  max: Schema.Number,
  /** All pools that count against `max`: opening, idle, in use and closing. */
  total: Schema.Number,
  opening: Schema.Number,
  /** Open, without a lease of the map and without leases of their own. */
  idle: Schema.Number,
  inUse: Schema.Number,
  closing: Schema.Number,
  /** The number of callers that wait: for room, for a pool that is being opened, or for the end of an older pool. */
  waiting: Schema.Number
})
export interface PoolMapOccupancy extends Schema.Schema.Type<typeof PoolMapOccupancy> {}

const SharedOccupancy = shared(PoolMapOccupancy, "PoolMapOccupancy")

/** One lease of a pool: of which pool, by whom, and for how long. */
export const PoolHolder = Schema.Struct({
  /** The key of the pool, as text. */
  key: Schema.String,
  /** The `label` given to `use`, `get` or `provide`; else the name of the span that the fiber is in. */
  label: Schema.optional(Schema.String),
  /** The id of the fiber that took the lease. */
  fiber: Schema.Number,
  /** Milliseconds since the lease began. */
  heldMillis: Schema.Number
})
export interface PoolHolder extends Schema.Schema.Type<typeof PoolHolder> {}

/**
 * What a caller was waiting for:
 *
 * - `room`: `max` pools are open, and each is in use
 * - `open`: its pool is being opened
 * - `close`: an older pool of this key is being closed
 * - `use`: an older pool of this key will be closed, but is still in use
 */
export const PoolMapPhase = Schema.Literals(["room", "open", "close", "use"])
export type PoolMapPhase = typeof PoolMapPhase.Type

/**
 * The caller got no pool within its deadline (`acquireTimeout`, or the `timeout` of the call).
 *
 * One deadline covers it all: the line, the close of another pool or of an older pool of this key, and the opening.
 */
export class PoolMapTimeoutError
  extends Schema.TaggedError<PoolMapTimeoutError>("effect-connection-pool/PoolMapTimeoutError")(
    "PoolMapTimeoutError",
    {
      /** The name of the map. */
      map: Schema.String,
      /** The key, as text. */
      key: Schema.String,
      phase: PoolMapPhase,
      /** How long this caller waited, in milliseconds. */
      waitedMillis: Schema.Number,
      /** The deadline it had, in milliseconds. */
      timeoutMillis: Schema.Number,
      occupancy: SharedOccupancy,
      /** The longest leases, the longest first; at most five. */
      holders: shared(Schema.Array(PoolHolder), "PoolHolders"),
      /** How many leases this caller holds itself, or those around it. It waits for their end, if all others are held too. */
      ownLeases: Schema.optional(Schema.Number)
    }
  )
{
  override get message(): string {
    return `map "${this.map}": no pool for ${this.key} within ${millis(this.timeoutMillis)}, ${
      phaseText[this.phase]
    } (${occupancyText(this.occupancy)})${holdersText(this.holders)}${ownText(this.ownLeases, this.phase)}`
  }
}

/** The pool did not open within `openTimeout`. All callers that waited for it get this error; the next one tries again. */
export class PoolOpenTimeoutError
  extends Schema.TaggedError<PoolOpenTimeoutError>("effect-connection-pool/PoolOpenTimeoutError")(
    "PoolOpenTimeoutError",
    {
      /** The name of the map. */
      map: Schema.String,
      /** The key, as text. */
      key: Schema.String,
      /** `openTimeout`, in milliseconds. */
      timeoutMillis: Schema.Number
    }
  )
{
  override get message(): string {
    return `map "${this.map}": the pool for ${this.key} did not open within ${millis(this.timeoutMillis)}, which is ` +
      "openTimeout: its open was interrupted; look at what open waits for, or raise openTimeout"
  }
}

/** The errors of a map's callers. `E` is the error of `open`. */
export type PoolMapError<E = never> = E | PoolMapTimeoutError | PoolOpenTimeoutError | PoolClosedError | PoolConfigError

const phaseText: Record<PoolMapPhase, string> = {
  room: "waiting for a pool that is not in use, to close it",
  open: "waiting for the pool to open",
  close: "waiting for the former pool of this key to close",
  use: "waiting for the leases of the former pool of this key to end"
}

const millis = (value: number): string => `${Math.round(value * 1000) / 1000} ms`

const occupancyText = (occupancy: PoolMapOccupancy): string => {
  const parts = [`${occupancy.inUse} of ${occupancy.max} in use`]
  for (const state of ["idle", "opening", "closing", "waiting"] as const) {
    if (occupancy[state] > 0) parts.push(`${occupancy[state]} ${state}`)
  }
  return parts.join(", ")
}

const holdersText = (holders: ReadonlyArray<PoolHolder>): string =>
  holders.length === 0
    ? ""
    : `; held longest by ${
      holders.map(({ fiber, heldMillis, key, label }) =>
        `${nameOf({ label })} #${fiber} (${key}) for ${Math.round(heldMillis)} ms`
      ).join(", ")
    }`

const ownText = (leases: number | undefined, phase: PoolMapPhase): string => {
  if (leases === undefined) return ""
  const advice = phase === "room" ? "end those before it asks for another pool, or raise max" : "end those first"
  return `; this caller holds ${counted(leases, "lease", "leases")} of the map itself: ${advice}`
}
