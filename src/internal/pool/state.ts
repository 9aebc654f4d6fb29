/**
 * The state of a pool as plain data: its connections, its callers, its numbers, and what is left to do.
 *
 * A connection is an `Entry`, and its state is the list it is in:
 *
 *     connecting ──▶ idle ◀──▶ in use          any of them ──▶ closing ──▶ (gone)
 *                    ▲  ▲       │
 *                    │  └─ resetting
 *                    ▼
 *                 validating
 *
 * so the lists add up to all connections by construction, and their lengths are the pool's numbers. A caller is a
 * `Lease`, from the moment it asks:
 *
 *     new ──▶ waiting ──▶ granted ──▶ held ──▶ ended
 *                  └────▶ refused ──────────────▲
 *
 * The modules beside this one change it: `backoff`, `reasons`, `leaving`, `supply`, `lending`, `line`, `rounds`,
 * `outcomes`, `operator` and `upkeep`, each of which uses only those before it. All of them are synchronous: a function takes the
 * time, decides, moves connections and callers between lists, and leaves what is to be done about it in `starting`
 * (connections on which an operation begins) and `ready` (callers to wake). `work` does that, and reports back through
 * these functions. Nothing in them is an Effect.
 */
import type { Fiber, Scope, Tracer } from "effect"
import type { EvictReason } from "../../Connection.ts"
import type { ConnectionFactory } from "../../ConnectionFactory.ts"
import type { ConnectFailure, Holder, PoolError } from "../../PoolError.ts"
import type * as PoolEvent from "../../PoolEvent.ts"
import type { CallSettings, RoundSettings, Settings } from "../options/settings.ts"
import * as Deadlines from "../structures/deadlines.ts"
import * as Histogram from "../structures/histogram.ts"
import * as LinkedList from "../structures/linkedList.ts"

/** One connection of the pool, from the attempt to open it until it is closed. */
export class Entry<C> extends Deadlines.Timed<Entry<C>> {
  readonly id: number
  readonly generation: number
  /** When the attempt to open it began, and when the operation that runs on it now did. */
  readonly startedAt: number
  beganAt: number
  connection: C | undefined = undefined
  /** What its last caller got, or its present one. */
  leased: C | undefined = undefined
  /** When it was opened; after that the connection exists. */
  connectedAt: number | undefined = undefined
  /** Decided once, when it is opened: from then on it is not lent. */
  expiresAt = Infinity
  /** When it was last opened or returned, or the attempt to open it began. */
  idleSince: number
  /** When it was last known to work: opened, returned or validated. */
  checkedAt = 0
  uses = 0
  /** Whether no lease of it has ended well yet: one that is lost soon after it was opened is then a bad start. */
  isFresh = true
  /** Whether its last lease ended with a failure that may be its own: it is validated before it is idle again. */
  isSuspect = false
  /** Whether its driver reported its death while it was being opened. */
  hasDied = false
  lease: Lease<C> | undefined = undefined
  /** When that lease was granted, and whether it was reported as a possible leak. */
  leasedAt = 0
  isReported = false
  /** Why it leaves the pool as soon as nobody uses it. */
  evictReason: EvictReason | undefined = undefined
  /** The round that the validation under way belongs to, if it is not for a caller. */
  round: Round<C> | undefined = undefined
  /** Whether it is in `starting`. */
  isStarting = false
  /** Counts its operations; one that ends after the pool gave up on it finds another number here, and is ignored. */
  operation = 0
  /** What the coordination keeps for it: what closing closes, and the fiber of the operation under way. */
  scope: Scope.Closeable | undefined = undefined
  fiber: Fiber.Fiber<unknown, unknown> | undefined = undefined

  constructor(id: number, generation: number, startedAt: number) {
    super()
    this.id = id
    this.generation = generation
    this.startedAt = startedAt
    this.beganAt = startedAt
    this.idleSince = startedAt
  }
}

export type Stage = "new" | "waiting" | "granted" | "refused" | "held" | "ended"

/** One caller: what it asked for, how far it got, and what it holds. */
export interface Lease<C> {
  readonly fiber: Fiber.Fiber<unknown, unknown>
  readonly options: CallSettings | undefined
  /** The scope that the lease belongs to, if it may outlive the fiber that took it, and be ended by another. */
  readonly scope: Scope.Scope | undefined
  /** The scope that its fiber is in now. */
  readonly surrounding: Scope.Scope | undefined
  /** In which the fiber was when it asked. */
  readonly span: Tracer.AnySpan | undefined
  stage: Stage
  entry: Entry<C> | undefined
  /** Its place in line, once it had to wait. */
  waiter: Waiter<C> | undefined
}

/** A caller in line. Most callers never are, so a lease does not carry this along. */
export abstract class Waiter<C> extends Deadlines.Timed<Waiter<C>> {
  readonly lease: Lease<C>

  constructor(lease: Lease<C>) {
    super()
    this.lease = lease
  }

  /** Has the caller fail with this error when it continues. */
  abstract refuse(error: PoolError<unknown>): void

  /** Continues the caller's fiber. */
  abstract resume(): void
}

/**
 * Connections that are asked whether they still work while nobody wants them, a few at a time, for callers come first.
 * While it is asked, a connection counts like any other that is validated; callers take those that are left, and the
 * first in line gets it when it has answered.
 */
export class Round<C> {
  /** How many may be asked at the same time, and how long each may take if not `validateTimeout`. */
  readonly concurrency: number
  readonly timeoutMillis: number | undefined
  /** Whether to open a connection if none is found that works. */
  readonly mayConnect: boolean
  /** Whether its caller was interrupted. */
  isCancelled = false
  /** Called once, when all have answered. */
  readonly resume: () => void
  /** Those that have yet to be asked, once it has begun, and the number of those that are being asked. */
  left: ReadonlyArray<Entry<C>> | undefined = undefined
  running = 0
  passed = 0
  readonly failed: Array<{ readonly connection: number; readonly reason: "dead" | "invalid" }> = []
  /** Those that were lent, or left, before their turn came. */
  busy = 0
  /** The attempt to open a connection that is awaited, and whether it succeeded. */
  attempt: Entry<C> | undefined = undefined
  connected: boolean | undefined = undefined

  constructor(options: RoundSettings, resume: () => void) {
    this.concurrency = options.concurrency
    this.timeoutMillis = options.timeoutMillis
    this.mayConnect = options.mayConnect
    this.resume = resume
  }
}

/** What the state may ask of the driver: functions that answer at once. */
export type Driver<C> =
  & Pick<
    ConnectionFactory<C, unknown>,
    "isAlive" | "needsReset" | "isInTransaction" | "endLease" | "judge" | "isTransient"
  >
  & { readonly beginLease: ((connection: C) => C) | undefined }
  & { readonly validates: boolean; readonly resets: boolean }

type Counters =
  & { -readonly [K in Counted]: number }
  & { readonly evictions: Record<EvictReason, number> }

type Counted =
  | "checkouts"
  | "returns"
  | "timeouts"
  | "refused"
  | "connectErrors"
  | "cancelled"
  | "maxWaitMillis"
  | "connectAttempts"
  | "connects"
  | "connectFailures"
  | "connectTimeouts"
  | "validations"
  | "validationFailures"
  | "resets"
  | "resetFailures"
  | "disconnects"
  | "abandoned"
  | "leaks"

export class State<C> {
  readonly settings: Settings
  readonly driver: Driver<C>
  phase: "open" | "draining" | "closed" = "open"
  paused = false

  readonly connecting = new LinkedList.LinkedList<Entry<C>>()
  /** Longest idle first; lent from the end, so that the warmest connection goes out again. */
  readonly idle = new LinkedList.LinkedList<Entry<C>>()
  readonly validating = new LinkedList.LinkedList<Entry<C>>()
  /** Longest lent first. */
  readonly inUse = new LinkedList.LinkedList<Entry<C>>()
  readonly resetting = new LinkedList.LinkedList<Entry<C>>()
  readonly closing = new LinkedList.LinkedList<Entry<C>>()
  /** Whether a connection may have to leave for a reason that is not its own. */
  isSelective: boolean
  /** Entries outside `closing` that are marked with an `evictReason`. */
  marked = 0
  /** The latest attempt to connect that has succeeded: those that began before it, and still run, are overtaken. */
  newestConnected = 0

  /** Callers in line, in order of arrival. */
  readonly waiters = new LinkedList.LinkedList<Waiter<C>>()
  /** Callers whose wait is over, and whose fibers have yet to hear of it. */
  readonly ready = new LinkedList.LinkedList<Waiter<C>>()
  /** Entries on which an operation begins: connect, validate, reset or close, by the list they are in. */
  readonly starting: Array<Entry<C>> = []

  /** Rounds of checks that were asked for. Only the first runs; the others wait for their turn. */
  readonly rounds: Array<Round<C>> = []
  /** Those that are over, and of which somebody has yet to hear. */
  readonly finished: Array<Round<C>> = []
  /** The round that never ends: it keeps idle connections alive. */
  readonly keepalive = new Round<C>({ concurrency: 1, timeoutMillis: undefined, mayConnect: false }, () => {})

  /** Of callers, of operations on connections, and of the steps of a shutdown. */
  readonly deadlines = new Deadlines.Deadlines<Deadlines.Timed<unknown>>()
  /** When the next thing that is no deadline of a caller or an operation has to be looked after; never too late. */
  upkeepAt = Infinity
  /** How soon an idle connection may need something. */
  readonly idleUpkeep: number
  /** Whether anything is left to do: in `starting`, `ready`, `finished` or `outbox`, for a shutdown, or with the timer. */
  isPending = false

  nextId = 1
  generation = 1
  /** Rounds of attempts to connect that failed in a row, and what the last attempt failed with. */
  failures = 0
  /** Attempts that failed in a row, and connections in a row that were no good as soon as they were open. */
  failedAttempts = 0
  badStarts = 0
  /** Whether a connection was found broken, and none was opened since: perhaps the database is away. */
  isDoubtful = false
  lastFailure: ConnectFailure<unknown> | undefined = undefined
  /** Whether the last attempt failed for good. */
  isFinal = false
  /** The first attempt of the next round: those before it ran beside one that has failed. */
  nextRound = 0
  /** While it probes: no attempt for callers before the first of these, none for `min` before the second. */
  retryAt = -Infinity
  refillAt = -Infinity

  readonly counters: Counters = {
    checkouts: 0,
    returns: 0,
    timeouts: 0,
    refused: 0,
    connectErrors: 0,
    cancelled: 0,
    maxWaitMillis: 0,
    connectAttempts: 0,
    connects: 0,
    connectFailures: 0,
    connectTimeouts: 0,
    validations: 0,
    validationFailures: 0,
    resets: 0,
    resetFailures: 0,
    disconnects: 0,
    abandoned: 0,
    leaks: 0,
    evictions: {
      idle: 0,
      lifetime: 0,
      uses: 0,
      dead: 0,
      invalid: 0,
      reset: 0,
      fatal: 0,
      invalidated: 0,
      recycled: 0,
      excess: 0,
      driver: 0,
      shutdown: 0
    }
  }
  waitedMillis = 0

  /** Whether the times below are recorded. */
  readonly isMeasured: boolean
  /** How long it took to open connections, how long callers in line waited who got one, how long leases lasted. */
  readonly connectTimes = new Histogram.Histogram()
  readonly waitTimes = new Histogram.Histogram()
  readonly useTimes = new Histogram.Histogram()
  /** How long the synchronous lease took that was timed last: see `isTimed`. */
  syncMillis = 0

  /** What happened and has yet to be reported. */
  outbox: Array<PoolEvent.PoolEvent> = []
  /** Whether anybody reads events; the two that every lease causes are not made for nobody. */
  isWatched = false
  /** Whether it matters how long a lease lasts: to who reads events, or to the metrics. */
  isNoted: boolean

  /** From 0 to 1; what is decided by it is how much shorter a pause is, or a lifetime. */
  readonly random: () => number

  constructor(settings: Settings, driver: Driver<C>, random: () => number) {
    this.settings = settings
    this.driver = driver
    this.random = random
    this.isSelective = driver.isAlive !== undefined
    this.isMeasured = settings.metrics
    this.isNoted = settings.metrics
    this.idleUpkeep = Math.min(settings.idleTimeoutMillis, settings.keepaliveMillis)
  }
}

export const report = <C>(state: State<C>, event: PoolEvent.PoolEvent): void => {
  state.outbox.push(event)
  state.isPending = true
}

export const timeoutOf = <C>(state: State<C>, lease: Lease<C>): number =>
  lease.options?.timeoutMillis ?? state.settings.acquireTimeoutMillis

export const upkeepBy = <C>(state: State<C>, at: number): void => {
  if (at >= state.upkeepAt) return
  state.upkeepAt = at
  state.isPending = true
}

/** All connections, for `max`. */
export const total = <C>(state: State<C>): number =>
  state.connecting.length + state.idle.length + state.validating.length + state.inUse.length +
  state.resetting.length + state.closing.length

/** The connections that are open and not on their way out. */
export const open = <C>(state: State<C>): number =>
  state.idle.length + state.validating.length + state.inUse.length + state.resetting.length

/** The connections that stay, for `min`. */
export const size = <C>(state: State<C>): number => total(state) - state.closing.length - state.marked

/** A lease as it is told to people. */
export const holderOf = <C>(entry: Entry<C>, now: number): Holder => {
  const lease = entry.lease!
  const { span } = lease
  const label = lease.options?.label ?? (span?._tag === "Span" ? span.name : undefined)
  return {
    connection: entry.id,
    ...(label === undefined ? undefined : { label }),
    ...(span === undefined ? undefined : { span: { traceId: span.traceId, spanId: span.spanId } }),
    fiber: lease.fiber.id,
    heldMillis: now - entry.leasedAt
  }
}
