/**
 * The state of a pool as plain data: its connections, its callers, its numbers, and what is left to do.
 *
 * A connection is an `Entry`, and its state is the list it is in:
 *
 *     connecting ──▶ idle ◀──▶ in use ──▶ abandoned        any of them ──▶ closing ──▶ (gone)
 *                    ▲  ▲       │            │
 *                    │  └─ resetting ◀───────┘
 *                    ▼
 *                 validating
 *
 * so the lists add up to all connections by construction, and their lengths are the pool's numbers. A caller is a
 * `Lease`, from the moment it asks:
 *
 *     new ──▶ waiting ──▶ granted ──▶ held ──▶ ended
 *                  └────▶ refused ──────────────▲
 *
 * The modules beside this one change it: `backoff`, `reasons`, `leaving`, `supply`, `lending`, `sharing`, `line`, `rounds`,
 * `outcomes`, `operator` and `upkeep`. Each uses only those before it. All are synchronous: a function takes the time,
 * decides, and moves connections and callers between lists. It leaves work in two more lists: `starting` (connections
 * on which an operation begins) and `ready` (callers to wake). `work` does that work, and reports the results through
 * these functions. Nothing in them is an Effect.
 */
import type { Fiber, Scope, Tracer } from "effect"
import type { EvictReason } from "../../Connection.ts"
import type { ConnectionFactory, Unfinished } from "../../ConnectionFactory.ts"
import type { ConnectFailure, Holder, PoolError } from "../../PoolError.ts"
import type * as PoolEvent from "../../PoolEvent.ts"
import type { CallSettings, RoundSettings, Settings } from "../options/settings.ts"
import * as Deadlines from "../structures/deadlines.ts"
import * as Histogram from "../structures/histogram.ts"
import * as LinkedList from "../structures/linkedList.ts"
import type { Sizes } from "../structures/sizes.ts"
import type { SlowStatements } from "./slowStatements.ts"
import { Statements } from "./statements.ts"

/** What still runs on a connection after its lease, and the lease as it was when it ended. */
export interface Abandonment {
  readonly unfinished: Unfinished
  readonly holder: Holder
}

/** One connection of the pool, from the connect attempt until it is closed. */
export class Entry<C> extends Deadlines.Timed<Entry<C>> {
  readonly id: number
  readonly generation: number
  /** When the connect attempt began, and when the operation that runs on it now began. */
  readonly startedAt: number
  beganAt: number
  connection: C | undefined = undefined
  /** What the present caller got; if there is none, what the last caller got. */
  leased: C | undefined = undefined
  /** When it was opened. Not set while it is being opened. */
  connectedAt: number | undefined = undefined
  /** It is not lent after this time, which is decided once, when it is opened. */
  expiresAt = Infinity
  /** When it was last opened or returned. While it is being opened: when the connect attempt began. */
  idleSince: number
  /** When it was last known to work: opened, returned or validated. */
  checkedAt = 0
  uses = 0
  /**
   * Whether no lease of it has ended well yet. If such a connection is lost soon after it was opened, it is a bad
   * start.
   */
  isFresh = true
  /** Whether the connection may have caused the failure of its last lease. It is validated before it is idle again. */
  isSuspect = false
  /** Whether its driver reported its death while it was being opened. */
  hasDied = false
  lease: Lease<C> | undefined = undefined
  /** When that lease was granted, and whether it was reported as a possible leak. */
  leasedAt = 0
  isReported = false
  /** The caller of a group whose work runs now under that lease, if it is another one. */
  member: Lease<C> | undefined = undefined
  readonly statements = new Statements()
  /** Why it leaves the pool: at once, or if it is in use, when it comes back. */
  evictReason: EvictReason | undefined = undefined
  /** What the driver has thrown first when a lease began or ended, or failed with when it was to settle. */
  fault: unknown = undefined
  /** What still runs of its last lease, while it is abandoned. */
  abandonment: Abandonment | undefined = undefined
  /** The round that the validation under way belongs to, if it is not for a caller. */
  round: Round<C> | undefined = undefined
  /** Whether it is in `starting`. */
  isStarting = false
  /**
   * The number of its latest operation. An operation that the pool gave up has an older number; its result is ignored.
   */
  operation = 0
  /** Used by `operations` only: the scope that closing closes, and the fiber of the operation under way. */
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
  /** The scope that the lease belongs to, if another fiber may end the lease. It may outlive the fiber that took it. */
  readonly scope: Scope.Scope | undefined
  /** The scope that its fiber is in now. */
  readonly surrounding: Scope.Scope | undefined
  /** The span in which the fiber asked. */
  readonly span: Tracer.AnySpan | undefined
  stage: Stage
  entry: Entry<C> | undefined
  /** Set once the caller had to wait. */
  waiter: Waiter<C> | undefined
}

/** A caller in line. Most callers never wait, so these fields are not part of every lease. */
export abstract class Waiter<C> extends Deadlines.Timed<Waiter<C>> {
  readonly lease: Lease<C>

  constructor(lease: Lease<C>) {
    super()
    this.lease = lease
  }

  /** Lets the caller fail with this error when it continues. */
  abstract refuse(error: PoolError<unknown>): void

  /** Continues the caller's fiber. */
  abstract resume(): void
}

/**
 * One round: it validates the idle connections, a few at a time, so that callers still find some. The list `validating`
 * has the connections that are asked now. When one has answered, the first waiter gets it.
 */
export class Round<C> {
  /** How many connections may be validated at the same time. */
  readonly concurrency: number
  /** How long each validation may take. Not set: `validateTimeout`. */
  readonly timeoutMillis: number | undefined
  /** Whether to open a connection if no idle connection works. */
  readonly mayConnect: boolean
  /** Whether the fiber that asked for the round was interrupted. */
  isCancelled = false
  /** Called once, when the round is over. */
  readonly resume: () => void
  /** The connections that are not asked yet. Not set before the round has begun. */
  left: ReadonlyArray<Entry<C>> | undefined = undefined
  /** The number of connections that are asked now. */
  running = 0
  passed = 0
  readonly failed: Array<{ readonly connection: number; readonly reason: "dead" | "invalid" }> = []
  /** The number of connections that were lent, or left the pool, before their turn came. */
  busy = 0
  /** The connect attempt that the round waits for, and whether it succeeded. */
  attempt: Entry<C> | undefined = undefined
  connected: boolean | undefined = undefined

  constructor(options: RoundSettings, resume: () => void) {
    this.concurrency = options.concurrency
    this.timeoutMillis = options.timeoutMillis
    this.mayConnect = options.mayConnect
    this.resume = resume
  }
}

/** The functions of the driver that the state may call. Each is synchronous. */
export type Driver<C> =
  & Pick<
    ConnectionFactory<C, unknown>,
    "isAlive" | "needsReset" | "isInTransaction" | "endLease" | "unfinished" | "judge" | "isTransient"
  >
  & { readonly beginLease: ((connection: C) => C) | undefined }
  /** `isTold`: whether it is told of the end of a lease. */
  & { readonly validates: boolean; readonly resets: boolean; readonly isTold: boolean }

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
  | "closeTimeouts"
  | "abandonments"
  | "settlements"
  | "leaks"
  | "slowStatements"

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
  /** Longest abandoned first. */
  readonly abandoned = new LinkedList.LinkedList<Entry<C>>()
  readonly closing = new LinkedList.LinkedList<Entry<C>>()
  /** Whether an idle connection has to be judged even if it is young and has few uses: see `mayHaveReason`. */
  isSelective: boolean
  /** Entries outside `closing` that are marked with an `evictReason`. */
  marked = 0
  /**
   * The id of the latest connect attempt that has succeeded. Attempts that began before it, and still run, are
   * overtaken.
   */
  newestConnected = 0

  /** Callers in line, in order of arrival. */
  readonly waiters = new LinkedList.LinkedList<Waiter<C>>()
  /** Callers whose wait is over, and whose fibers were not woken yet. */
  readonly ready = new LinkedList.LinkedList<Waiter<C>>()
  /** Entries on which an operation begins: connect, validate, reset or close, by the list they are in. */
  readonly starting: Array<Entry<C>> = []

  /** Rounds that were asked for. Only the first runs; the others wait for their turn. */
  readonly rounds: Array<Round<C>> = []
  /** Rounds that are over, and whose `resume` was not called yet. */
  readonly finished: Array<Round<C>> = []
  /** A round that never begins or ends: it keeps idle connections alive. Only its numbers and its timeout are used. */
  readonly keepalive = new Round<C>({ concurrency: 1, timeoutMillis: undefined, mayConnect: false }, () => {})

  /** The deadlines of waiters, of operations on connections, and of the steps of a shutdown. */
  readonly deadlines = new Deadlines.Deadlines<Deadlines.Timed<unknown>>()
  /** When `upkeep` has to run next. It may be earlier than necessary, but never later. */
  upkeepAt = Infinity
  /** After how many milliseconds an idle connection may need `upkeep`. */
  readonly idleUpkeep: number
  /** Whether the loop has work: in `starting`, `ready`, `finished` or `outbox`, for a shutdown, or to set the timer. */
  isPending = false

  nextId = 1
  generation = 1
  /** Failures to connect in a row. Attempts that run beside each other count once: see `nextRound`. */
  failures = 0
  /** Connect attempts that failed in a row, each counted. */
  failedAttempts = 0
  /** Connections in a row that did not work as soon as they were open. */
  badStarts = 0
  /** Whether a connection was found broken, and none was opened since. The database may be down. */
  isDoubtful = false
  /** Why the last connect attempt failed. */
  lastFailure: ConnectFailure<unknown> | undefined = undefined
  /** Whether the last connect attempt failed for good. */
  isFinal = false
  /** The id from which a failed attempt counts again. Attempts before it ran beside one that has failed. */
  nextRound = 0
  /** After a failure: no connect attempt for callers before `retryAt`, and none for `min` before `refillAt`. */
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
    closeTimeouts: 0,
    abandonments: 0,
    settlements: 0,
    leaks: 0,
    slowStatements: 0,
    evictions: {
      idle: 0,
      lifetime: 0,
      uses: 0,
      dead: 0,
      invalid: 0,
      reset: 0,
      fatal: 0,
      abandoned: 0,
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
  /**
   * How long connect attempts took, how long waiters waited until they got a connection, and how long leases lasted.
   */
  readonly connectTimes = new Histogram.Histogram()
  readonly waitTimes = new Histogram.Histogram()
  readonly useTimes = new Histogram.Histogram()
  /** How many milliseconds the last timed synchronous lease took: see `isTimed`. */
  syncMillis = 0

  /** Not set: statements are not measured. */
  slow: SlowStatements | undefined = undefined

  /** What would keep a slow statement in one step from holding up this process, if that is known. */
  slowAdvice: string | undefined = undefined

  /** The option that raises `max`, for errors; `null` if there is none. */
  sizeOption: string | null = "max"

  /** The groups of callers that were served under one lease, where the driver can do that: see `groups`. */
  groups: { readonly sizes: Sizes; undone: number } | undefined = undefined

  /** Events that were not published yet. */
  outbox: Array<PoolEvent.PoolEvent> = []
  /** Whether somebody reads events. If not, `CheckedOut` and `Returned`, which every lease causes, are not made. */
  isWatched = false
  /** Whether the length of a lease is needed: for events or for metrics. */
  isNoted: boolean

  /** A number from 0 to 1. It decides how much shorter a backoff or a lifetime is. */
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

/** The number of all connections. `max` limits it, and `mayExist` while connections are abandoned. */
export const total = <C>(state: State<C>): number =>
  state.connecting.length + state.idle.length + state.validating.length + state.inUse.length +
  state.resetting.length + state.abandoned.length + state.closing.length

/** The number of connections that are open and not closing. */
export const open = <C>(state: State<C>): number =>
  state.idle.length + state.validating.length + state.inUse.length + state.resetting.length + state.abandoned.length

/** The number of connections that stay. `min` is about these. */
export const size = <C>(state: State<C>): number => total(state) - state.closing.length - state.marked
