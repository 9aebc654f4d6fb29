/** The functions of a pool that only other modules of this library may call. */
import type { Effect, Exit, Fiber, Stream } from "effect"
import type { ConnectionStats } from "../../ConnectionStats.ts"
import type { AcquireOptions } from "../../PoolConfig.ts"
import type { AbandonedConnection, Holder, PoolError } from "../../PoolError.ts"
import type { PoolEvent } from "../../PoolEvent.ts"
import type { RoundSettings } from "../options/settings.ts"
import type { Driver, Group, Member } from "./groups.ts"
import type { CheckResult } from "./health.ts"
import type { LogSize } from "./metrics.ts"
import type { Pipeline } from "./pipeline.ts"
import type { Inspection, Observation } from "./view.ts"

/** The driver is one for the connections of this pool. */
export type MakeGroup = <C, E, M extends Member<C>>(driver: Driver<C, M>) => Group<C, E, M>

/** The connections of the pipeline are those of this pool. */
export type MakePipeline = <C, E>() => Pipeline<C, E>

/** A fiber that has asked for a connection, until it ends the lease. */
export interface Asked<C, E> {
  /** The connection; if none is idle, an effect that waits for one. The fiber that has asked evaluates it, once. */
  readonly connection: Effect.Effect<C, PoolError<E>>
  /**
   * Ends the lease, or the wait for it. It must be called, however the fiber ends. `exit` is the exit of the effect that had the
   * connection. A second call does nothing.
   */
  readonly end: (exit?: Exit.Exit<unknown, unknown>) => void
}

/** Asks for a connection in the present step of a fiber. */
export type Ask<C, E> = (fiber: Fiber.Fiber<unknown, unknown>, options: AcquireOptions | undefined) => Asked<C, E>

export interface Door {
  /** Asks for a connection. Only for a pool whose `acquire` is the one of this door: a copy may have another. */
  readonly ask: Ask<unknown, unknown>
  readonly acquire: unknown
  /** Publishes an event as an event of the pool. */
  readonly announce: (event: PoolEvent) => void
  /**
   * Whether the pool was shut down, or else has a lease or a caller in line. Reads the state only: a lease whose fiber was
   * dropped counts until the pool has noticed that.
   */
  readonly condition: () => "idle" | "in use" | "closed"
  /** The events without those that happen with every lease, so that reading them costs the leases nothing. */
  readonly happenings: Stream.Stream<PoolEvent>
  /** The public numbers. */
  readonly stats: () => ConnectionStats
  /** What an inspector shows besides the public numbers. */
  readonly inspect: () => Inspection
  /** The numbers of the pool, and its oldest connections, at most `most` of them. */
  readonly observe: (most: number) => Observation
  /** The longest leases, at most `most` of them, the longest first. */
  readonly holders: (most: number) => ReadonlyArray<Holder>
  /** The connections that were abandoned longest, at most `most` of them, the longest first. */
  readonly abandoned: (most: number) => ReadonlyArray<AbandonedConnection>
  /** Shows the size of a log in the metrics of the pool, if it has metrics. */
  readonly showLog: (log: LogSize) => void
  /** Who holds a connection now. */
  readonly holderOf: (connection: unknown) => Holder | undefined
  /** Validates all idle connections. Returns what the health of the pool is judged by. */
  readonly check: (settings: RoundSettings) => Effect.Effect<CheckResult>
  /** Makes a group of the pool: callers whose work the driver may run as one. */
  readonly group: MakeGroup
  /** Has the numbers of the pool tell of the groups of callers that its driver has served together. */
  readonly showGroups: () => void
  /** Makes a pipeline of the pool: callers whose requests may be sent ahead of their leases. */
  readonly pipeline: MakePipeline
  /** `acquireTimeout` of the pool, for modules in which callers wait for something else. */
  readonly acquireTimeoutMillis: number
  /** Calls a function, which must not throw, in the step in which the shutdown of the pool begins. */
  readonly whenShutDown: (f: () => void) => void
  /** Says which option raises `max`, where another module sets `max`; `null` if there is none. Errors name it. */
  readonly sizedBy: (option: string | null) => void
  /** Says what would keep a slow statement in one step from holding up this process. The event and the warning say it. */
  readonly adviseOnSlow: (advice: string) => void
}

// A property instead of an entry of a WeakMap, because a copy of a pool keeps it.
const door = Symbol("effect-connection-pool/door")

/** Adds the door to a pool. */
export const add = <Pool extends object>(pool: Pool, its: Door): Pool => Object.assign(pool, { [door]: its })

/** The door of a pool; `undefined` for an object that is no pool. */
export const of = (pool: object): Door | undefined => (pool as { readonly [door]?: Door })[door]

/** How to ask for a connection of a pool without a scope. `undefined` if its connections may only be acquired. */
export const askOf = <C, E>(
  pool: { readonly acquire: (...options: ReadonlyArray<never>) => Effect.Effect<C, PoolError<E>, unknown> }
): Ask<C, E> | undefined => {
  const its = of(pool)
  return its !== undefined && its.acquire === pool.acquire ? its.ask as Ask<C, E> : undefined
}
