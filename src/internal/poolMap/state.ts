/**
 * The state of a map of pools as plain data: its pools, its callers, its numbers, and what is left to do.
 *
 * A pool is an `Entry`, and its state is the list it is in:
 *
 *     line ──▶ opening ──▶ idle ◀──▶ used ◀──▶ leaving
 *                 │          │                    │
 *                 └──────────┴──▶ closing ◀───────┘        then it is gone
 *
 * All lists but `line` count against `max`. A key has one entry at a time, so there are never two pools of one key. A
 * caller is a `Lease`, from the moment it asks:
 *
 *     new ──▶ waiting ──▶ granted ──▶ held ──▶ ended
 *                  └────▶ refused ──────────────▲
 *
 * The modules beside this one change it: `room`, `leases`, `outcomes`, `shutdown`. All are synchronous: a function takes
 * the time, decides, and leaves work in `starting` (pools to open or to close), `ready` (callers to wake) and `outbox`
 * (events). `map` does that work.
 */
import { type Effect, type Fiber, MutableHashMap, Option, type Scope } from "effect"
import type { PoolEvictReason, PoolMapEvent } from "../../PoolMapEvent.ts"
import type { PoolMapSettings } from "../options/poolMap.ts"
import type { CallSettings } from "../options/settings.ts"
import { Deadlines, Timed } from "../structures/deadlines.ts"
import * as Histogram from "../structures/histogram.ts"
import * as LinkedList from "../structures/linkedList.ts"

/** What a pool says of itself: whether it has leases that the map does not know of, or was shut down. */
export type Condition = "idle" | "in use" | "closed"

/** One pool, from the moment the first caller asks for its key until it is closed. */
export class Entry<K, P> extends Timed<Entry<K, P>> {
  readonly key: K
  /** Those who wait for this pool or, if it will close, for the next pool of its key. */
  readonly callers = new LinkedList.LinkedList<Lease<K, P>>()
  /** Those who have it, the longest lease first. */
  readonly leases = new LinkedList.LinkedList<Lease<K, P>>()
  value: P | undefined = undefined
  condition: (() => Condition) | undefined = undefined
  openedAt: number | undefined = undefined
  /** When its open or its close began. */
  beganAt = 0
  idleSince = 0
  /** Why it leaves. Set in `leaving` and, unless it could not be opened, in `closing`. */
  evictReason: PoolEvictReason | undefined = undefined
  /** Whether its close takes longer than `closeTimeout`. */
  isOverdue = false
  /** Used by `map` only. */
  scope: Scope.Closeable | undefined = undefined
  fiber: Fiber.Fiber<unknown, unknown> | undefined = undefined

  constructor(key: K) {
    super()
    this.key = key
  }
}

/** One caller: what it asked for, how far it got, and what it holds. */
export class Lease<K, P> extends Timed<Lease<K, P>> {
  readonly key: K
  readonly fiber: Fiber.Fiber<unknown, unknown>
  readonly options: CallSettings | undefined
  /** The scope that the lease belongs to; `undefined` for a lease of `use`. */
  readonly scope: Scope.Scope | undefined
  /** The lease inside which this caller asks, if there is one. */
  readonly outer: Lease<K, P> | undefined
  stage: "new" | "waiting" | "granted" | "refused" | "held" | "ended" = "new"
  entry: Entry<K, P> | undefined = undefined
  /** The number of this caller among those who had to wait, in order of arrival. */
  number = 0
  askedAt = 0
  grantedAt = 0
  /** How a refused caller goes on. */
  refusal: Effect.Effect<never, unknown> | undefined = undefined
  resume: (() => void) | undefined = undefined

  constructor(
    key: K,
    fiber: Fiber.Fiber<unknown, unknown>,
    options: CallSettings | undefined,
    scope: Scope.Scope | undefined,
    outer: Lease<K, P> | undefined
  ) {
    super()
    this.key = key
    this.fiber = fiber
    this.options = options
    this.scope = scope
    this.outer = outer
  }
}

export class State<K, P> {
  readonly settings: PoolMapSettings
  phase: "open" | "draining" | "closed" = "open"
  readonly entries = MutableHashMap.empty<K, Entry<K, P>>()

  /** Entries without room, in the order in which their first callers asked. */
  readonly line = new LinkedList.LinkedList<Entry<K, P>>()
  readonly opening = new LinkedList.LinkedList<Entry<K, P>>()
  /** Least recently used first. */
  readonly idle = new LinkedList.LinkedList<Entry<K, P>>()
  readonly used = new LinkedList.LinkedList<Entry<K, P>>()
  /** In use, and closed once the last lease has ended. */
  readonly leaving = new LinkedList.LinkedList<Entry<K, P>>()
  readonly closing = new LinkedList.LinkedList<Entry<K, P>>()

  /** The deadlines of callers, of opening and closing, and of the steps of a shutdown. */
  readonly deadlines = new Deadlines<Timed<unknown>>()
  /** When to look for room again, while a caller waits for it and all pools are in use. */
  lookAgainAt = Infinity
  /** When a pool was last told to leave although it is in use. */
  gaveWayAt = -Infinity

  /** Entries whose pool has to be opened or closed, by the list they are in. */
  readonly starting: Array<Entry<K, P>> = []
  /** Callers whose wait is over, and whose fibers were not woken yet. */
  readonly ready: Array<Lease<K, P>> = []
  outbox: Array<PoolMapEvent<K>> = []

  nextNumber = 1
  /** All callers that wait, and all leases. */
  waiting = 0
  leases = 0
  readonly counters = {
    hits: 0,
    misses: 0,
    openErrors: 0,
    timeouts: 0,
    refused: 0,
    cancelled: 0,
    maxWaitMillis: 0,
    opens: 0,
    openFailures: 0,
    openTimeouts: 0,
    closes: 0,
    evictions: { idle: 0, room: 0, invalidated: 0, closed: 0, shutdown: 0 } satisfies Record<PoolEvictReason, number>
  }
  /** How long pools took to open, and how long callers waited that did not find their pool open. */
  readonly openTimes = new Histogram.Histogram()
  readonly waitTimes = new Histogram.Histogram()

  constructor(settings: PoolMapSettings) {
    this.settings = settings
  }
}

export const find = <K, P>(state: State<K, P>, key: K): Entry<K, P> | undefined =>
  Option.getOrUndefined(MutableHashMap.get(state.entries, key))

/** The number of pools that count against `max`. */
export const total = <K, P>({ closing, idle, leaving, opening, used }: State<K, P>): number =>
  opening.length + idle.length + used.length + leaving.length + closing.length

export const report = <K, P>(state: State<K, P>, event: PoolMapEvent<K>): void => {
  state.outbox.push(event)
}

export const timeoutOf = <K, P>(state: State<K, P>, lease: Lease<K, P>): number =>
  lease.options?.timeoutMillis ?? state.settings.acquireTimeoutMillis
