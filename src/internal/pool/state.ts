/**
 * The whole state of a pool, and everything that may happen to it.
 *
 * All of it is synchronous: a function takes the time, decides, moves connections and callers between lists, and leaves
 * what is to be done about it in `starting` (connections on which an operation begins) and `ready` (callers to wake).
 * The coordination above does that, and reports back through the functions here. Nothing in this file is an Effect.
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
 */
import { Cause, type Fiber, type Scope, type Tracer } from "effect"
import type { ConnectionFactory } from "../../ConnectionFactory.ts"
import type { ConnectFailure, Holder, PoolError } from "../../PoolError.ts"
import * as PoolEvent from "../../PoolEvent.ts"
import * as Deadlines from "../structures/deadlines.ts"
import * as Histogram from "../structures/histogram.ts"
import * as LinkedList from "../structures/linkedList.ts"
import type { Settings } from "./settings.ts"

/** One connection of the pool, from the attempt to open it until it is closed. */
export class Entry<C> extends Deadlines.Timed<Entry<C>> {
  readonly id: number
  readonly generation: number
  /** When the attempt to open it began, and when the operation that runs on it now did. */
  readonly startedAt: number
  beganAt: number
  connection: C | undefined = undefined
  /** What its last caller got, or its present one. */
  lent: C | undefined = undefined
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
  lentAt = 0
  isReported = false
  /** Why it leaves the pool as soon as nobody uses it. */
  evicted: PoolEvent.EvictReason | undefined = undefined
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

export interface LeaseOptions {
  readonly label: string | undefined
  readonly timeoutMillis: number | undefined
}

/** One caller: what it asked for, how far it got, and what it holds. */
export interface Lease<C> {
  readonly fiber: Fiber.Fiber<unknown, unknown>
  readonly options: LeaseOptions | undefined
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
  /** Whether nobody wants to know any more. */
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

  constructor(options: RoundOptions, resume: () => void) {
    this.concurrency = options.concurrency
    this.timeoutMillis = options.timeoutMillis
    this.mayConnect = options.mayConnect
    this.resume = resume
  }
}

export interface RoundOptions {
  readonly concurrency: number
  readonly timeoutMillis: number | undefined
  readonly mayConnect: boolean
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
  & { readonly evictions: Record<PoolEvent.EvictReason, number> }
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
  /** Entries outside `closing` that are marked `evicted`. */
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
    this.idleUpkeep = Math.min(settings.idleTimeout, settings.keepalive)
  }
}

export const report = <C>(state: State<C>, event: PoolEvent.PoolEvent): void => {
  state.outbox.push(event)
  state.isPending = true
}

// ---------------------------------------------------------------------------------------------------------------------
// Callers
// ---------------------------------------------------------------------------------------------------------------------

// The path of a caller who finds an idle connection, and of its return, is kept so short that it compiles into the one
// step that calls it; what is seldom needed is in functions of its own.

/** Gives the caller an idle connection at once, if one may be lent and nobody waits who came before. */
export const take = <C>(state: State<C>, lease: Lease<C>, now: number): boolean => {
  const entry = state.idle.tail
  if (entry === undefined || state.waiters.length !== 0 || state.paused) return false
  const verdict = inspect(state, entry, now)
  if (verdict !== "lend") return giveUp(state, entry, verdict, now)
  if (!grant(state, entry, lease, now)) return false
  hold(state, lease)
  return true
}

const giveUp = <C>(
  state: State<C>,
  entry: Entry<C>,
  verdict: "validate" | PoolEvent.EvictReason,
  now: number
): false => {
  if (verdict !== "validate") closeFor(state, entry, verdict, now)
  return false
}

/** Puts the caller at the end of the line; `resume` is called once, when its wait is over. */
export const join = <C>(state: State<C>, waiter: Waiter<C>, now: number): void => {
  const { lease } = waiter
  lease.stage = "waiting"
  lease.waiter = waiter
  LinkedList.push(state.waiters, waiter)
  Deadlines.add(state.deadlines, waiter, now, timeoutOf(state, lease))
  upkeepBy(state, now + patienceMillis)
}

/** The caller is not let into the line. */
export const turnAway = <C>(state: State<C>, lease: Lease<C>): void => {
  lease.stage = "refused"
  state.counters.refused++
}

export const timeoutOf = <C>(state: State<C>, lease: Lease<C>): number =>
  lease.options?.timeoutMillis ?? state.settings.acquireTimeout

/**
 * Whether the caller could only wait for itself: it holds all there will ever be, and nobody else can return any of it.
 */
export const isSelfDeadlock = <C>(state: State<C>, lease: Lease<C>): boolean => {
  if (state.inUse.length < state.settings.max || state.inUse.length < total(state)) return false
  for (const entry of LinkedList.members(state.inUse)) if (!isHeldBy(lease, entry.lease!)) return false
  return true
}

/**
 * Whether a lease cannot end as long as this caller waits: its fiber holds it for a body of `use`, or for the scope that
 * the fiber is in. Another scope may be closed by another fiber.
 */
const isHeldBy = <C>(caller: Lease<C>, held: Lease<C>): boolean =>
  held.fiber === caller.fiber && (held.scope === undefined || held.scope === caller.surrounding)

/** How many leases each fiber holds. */
export const leasesByFiber = <C>(state: State<C>): ReadonlyMap<Fiber.Fiber<unknown, unknown>, number> => {
  const leases = new Map<Fiber.Fiber<unknown, unknown>, number>()
  for (const { lease } of LinkedList.members(state.inUse)) {
    leases.set(lease!.fiber, (leases.get(lease!.fiber) ?? 0) + 1)
  }
  return leases
}

/** The caller has what it was granted in its hands. */
export const hold = <C>(state: State<C>, lease: Lease<C>): void => {
  lease.stage = "held"
  state.counters.checkouts++
  if (lease.waiter !== undefined || state.isWatched) noteCheckout(state, lease)
}

const noteCheckout = <C>(state: State<C>, { entry, fiber, waiter }: Lease<C>): void => {
  const waitedMillis = waiter === undefined ? 0 : entry!.lentAt - waiter.timedFrom
  if (waiter !== undefined) {
    state.waitedMillis += waitedMillis
    if (waitedMillis > state.counters.maxWaitMillis) state.counters.maxWaitMillis = waitedMillis
    if (state.isMeasured) Histogram.record(state.waitTimes, waitedMillis)
  }
  if (state.isWatched) report(state, PoolEvent.CheckedOut({ connection: entry!.id, fiber: fiber.id, waitedMillis }))
}

/**
 * Whether the end of a synchronous lease has to be timed. Another look at the clock would cost a fifth of it, so if
 * nobody waits or watches, every eighth is timed, and the others are taken to be as long as the last of those: they end
 * at the time at which they began.
 */
export const isTimed = <C>(state: State<C>): boolean =>
  state.waiters.length > 0 || state.isWatched || (state.isMeasured && (state.counters.returns & 7) === 0)

/**
 * The end of a caller, however it came and however far it got. Calling it again does nothing. `failure` is what the
 * caller's effect ended with, if it did not succeed.
 */
export const end = <C>(state: State<C>, lease: Lease<C>, now: number, failure?: Cause.Cause<unknown>): void => {
  if (lease.stage !== "held") return endEarly(state, lease, now)
  lease.stage = "ended"
  const entry = lease.entry!
  entry.uses++
  state.counters.returns++
  if (state.isNoted || entry.isReported) noteReturn(state, lease, now)
  takeBack(state, lease, now, state.driver.resets, failure === undefined || isHarmless(state, entry, failure))
}

/** Draws the conclusion from a failure under a lease; answers whether it says nothing about the connection. */
const isHarmless = <C>(state: State<C>, entry: Entry<C>, failure: Cause.Cause<unknown>): boolean => {
  switch (judge(state, failure)) {
    case "healthy":
      return true
    case "suspect":
      entry.isSuspect = state.driver.validates
      return false
    case "fatal":
      mark(state, entry, "fatal")
      return false
    case "unjudged":
      mark(state, entry, "driver")
      return false
  }
}

const judge = <C>({ driver }: State<C>, failure: Cause.Cause<unknown>) => {
  try {
    return driver.judge === undefined ? "suspect" : driver.judge(failure)
  } catch {
    return "unjudged"
  }
}

const noteReturn = <C>(state: State<C>, lease: Lease<C>, now: number): void => {
  const entry = lease.entry!
  if (state.isMeasured) {
    Histogram.record(state.useTimes, now === entry.lentAt ? state.syncMillis : now - entry.lentAt)
  }
  if (entry.isReported) {
    entry.isReported = false
    report(state, PoolEvent.LeakReturned({ holder: holderOf(entry, now) }))
  }
  if (!state.isWatched) return
  report(
    state,
    PoolEvent.Returned({ connection: entry.id, fiber: lease.fiber.id, heldMillis: now - entry.lentAt })
  )
}

/** The end of a caller that was interrupted on the way. What it was granted goes to the next in line, unused. */
const endEarly = <C>(state: State<C>, lease: Lease<C>, now: number): void => {
  const { stage, waiter } = lease
  lease.stage = "ended"
  if (waiter !== undefined) leaveLine(state, waiter)
  if (stage === "waiting" || stage === "granted") state.counters.cancelled++
  if (stage === "granted") takeBack(state, lease, now, false, false)
}

/** Ends the wait of a caller with an error. */
export const refuse = <C>(state: State<C>, waiter: Waiter<C>, error: PoolError<unknown>): void => {
  waiter.lease.stage = "refused"
  waiter.refuse(error)
  finishWait(state, waiter)
}

const finishWait = <C>(state: State<C>, waiter: Waiter<C>): void => {
  leaveLine(state, waiter)
  LinkedList.push(state.ready, waiter)
  state.isPending = true
}

const leaveLine = <C>(state: State<C>, waiter: Waiter<C>): void => {
  LinkedList.remove(waiter)
  Deadlines.cancel(state.deadlines, waiter)
}

// ---------------------------------------------------------------------------------------------------------------------
// Lending
// ---------------------------------------------------------------------------------------------------------------------

/** What may be done with an idle connection now: lend it, validate it first, or evict it. */
const inspect = <C>(state: State<C>, entry: Entry<C>, now: number): "lend" | "validate" | PoolEvent.EvictReason => {
  if (now >= entry.expiresAt) return "lifetime"
  if (state.driver.isAlive !== undefined && !isAlive(state, entry)) return "dead"
  return now - entry.checkedAt >= state.settings.validateAfterIdle ? "validate" : "lend"
}

const isAlive = <C>(state: State<C>, entry: Entry<C>): boolean => {
  try {
    return state.driver.isAlive!(entry.connection!)
  } catch {
    return false
  }
}

/** Moves a connection to a caller. Fails if the driver throws: it has lost the connection. */
const grant = <C>(state: State<C>, entry: Entry<C>, lease: Lease<C>, now: number): boolean => {
  if (state.driver.beginLease === undefined) entry.lent = entry.connection
  else if (!beginLease(state, entry, now)) return false
  LinkedList.move(state.inUse, entry)
  entry.lease = lease
  entry.lentAt = now
  lease.stage = "granted"
  lease.entry = entry
  upkeepBy(state, now + state.settings.leakThreshold)
  return true
}

const beginLease = <C>(state: State<C>, entry: Entry<C>, now: number): boolean => {
  try {
    entry.lent = state.driver.beginLease!(entry.connection!)
    return true
  } catch {
    closeFor(state, entry, "driver", now)
    return false
  }
}

/** Takes the connection from a lease that has ended, and decides what becomes of it. */
const takeBack = <C>(state: State<C>, lease: Lease<C>, now: number, mayReset: boolean, endedWell: boolean): void => {
  const entry = lease.entry!
  const isDirty = (mayReset || state.driver.endLease !== undefined) && endLease(state, entry, mayReset)
  if (isDirty) noteTransaction(state, entry, now)
  lease.entry = undefined
  entry.lease = undefined
  entry.idleSince = now
  entry.checkedAt = now
  // A connection that leaves need not be clean: closing it ends whatever is open on it.
  if (isDirty && fate(state, entry, now) === undefined) return check(state, entry, state.resetting, now)
  if (entry.isFresh && endedWell && entry.evicted !== "driver") noteGoodStart(state, entry, now)
  free(state, entry, now)
}

/** Whoever begins a transaction by hand and forgets it would not hear that it is rolled back. */
const noteTransaction = <C>(state: State<C>, entry: Entry<C>, now: number): void => {
  const { isInTransaction } = state.driver
  // Of one that was evicted for its faults, what is open is not the fault of its holder.
  if (isInTransaction === undefined || entry.evicted !== undefined) return
  try {
    if (isInTransaction(entry.connection!)) {
      report(state, PoolEvent.TransactionLeftOpen({ holder: holderOf(entry, now) }))
    }
  } catch {
    mark(state, entry, "driver")
  }
}

/** Tells the driver that the lease has ended, and answers whether the connection has to be reset. */
const endLease = <C>(state: State<C>, entry: Entry<C>, mayReset: boolean): boolean => {
  const { driver } = state
  try {
    driver.endLease?.(entry.lent!)
    return mayReset && (driver.needsReset === undefined || driver.needsReset(entry.connection!))
  } catch {
    mark(state, entry, "driver")
    return false
  }
}

/** A connection is open and nobody's: it leaves if it has to, else it becomes idle, and serves the first in line. */
const free = <C>(state: State<C>, entry: Entry<C>, now: number): void => {
  if (mayLeave(state, entry, now)) {
    const reason = fate(state, entry, now)
    if (reason !== undefined) return leaveFor(state, entry, reason, now)
  }
  if (entry.isSuspect) return check(state, entry, state.validating, now)
  if (state.waiters.length > 0) return handOver(state, entry, now)
  rest(state, entry)
}

const rest = <C>(state: State<C>, entry: Entry<C>): void => {
  LinkedList.move(state.idle, entry)
  upkeepBy(state, entry.idleSince + state.idleUpkeep)
}

/** Gives the first in line a connection that nobody has any more, without a detour. */
const handOver = <C>(state: State<C>, entry: Entry<C>, now: number): void => {
  const waiter = state.waiters.head!
  if (state.phase !== "open" || state.paused || inspect(state, entry, now) !== "lend") rest(state, entry)
  else if (grant(state, entry, waiter.lease, now)) finishWait(state, waiter)
  settle(state, now)
}

/** Whether `fate` has to be asked; all that most connections are ever asked. */
const mayLeave = <C>(state: State<C>, entry: Entry<C>, now: number): boolean =>
  entry.evicted !== undefined || now >= entry.expiresAt || entry.uses >= state.settings.maxUses || state.isSelective

/** Why a connection cannot stay, if it cannot. */
const fate = <C>(state: State<C>, entry: Entry<C>, now: number): PoolEvent.EvictReason | undefined => {
  if (entry.evicted !== undefined) return entry.evicted
  if (state.phase !== "open") return "shutdown"
  if (now >= entry.expiresAt) return "lifetime"
  if (entry.uses >= state.settings.maxUses) return "uses"
  if (size(state) > state.settings.max) return "excess"
  return state.driver.isAlive === undefined || isAlive(state, entry) ? undefined : "dead"
}

/**
 * Brings demand and supply together: idle connections to those who wait, in order of arrival, and new connections for
 * what is missing. Whatever frees a connection or a slot, or adds a caller, ends here.
 */
export const settle = <C>(state: State<C>, now: number): void => {
  if (state.phase !== "open" || state.paused) return
  const { idle, waiters } = state
  while (waiters.length > 0 && idle.length > 0) {
    const entry = idle.tail!
    const verdict = inspect(state, entry, now)
    if (verdict === "lend") {
      const waiter = waiters.head!
      if (!grant(state, entry, waiter.lease, now)) continue
      finishWait(state, waiter)
    } else if (verdict !== "validate") closeFor(state, entry, verdict, now)
    else if (prompt(state.validating, now) < waiters.length) check(state, entry, state.validating, now)
    else break
  }
  openMissing(state, now)
}

const openMissing = <C>(state: State<C>, now: number): void => {
  const { connecting, settings, waiters } = state
  const possible = Math.min(settings.max - total(state), settings.maxConnecting - connecting.length)
  if (possible <= 0) return
  if (isProbing(state)) {
    const mayServe = now >= state.retryAt && mayProbeForCallers(state, now)
    if (mayServe || (now >= state.refillAt && settings.min > size(state))) connect(state, now)
    return
  }
  const wanted = Math.max(waiters.length - onTheWay(state, now), settings.min - size(state))
  for (let opened = 0; opened < Math.min(wanted, possible); opened++) connect(state, now)
}

/**
 * Whether the database may be away. Then one attempt is made at a time, and another beside it only when it has not been
 * answered within the present backoff; the first that succeeds lets the others go.
 */
const isProbing = <C>(state: State<C>): boolean =>
  state.failures > 0 || state.isDoubtful || state.badStarts >= badStartsForgiven

/**
 * Whether callers need another probe. Those under way do not count: they are late, or this was not asked. But for a
 * single caller no more than two run, however long they take.
 */
const mayProbeForCallers = <C>(state: State<C>, now: number): boolean => {
  const unserved = state.waiters.length - prompt(state.validating, now) - prompt(state.resetting, now)
  return unserved > 0 && state.connecting.length < Math.max(unserved, 2)
}

const connect = <C>(state: State<C>, now: number): void => {
  state.counters.connectAttempts++
  if (isProbing(state)) {
    state.retryAt = now + pauseAfter(state, Math.max(state.failures, state.badStarts - badStartsForgiven + 1, 1))
    state.refillAt = state.retryAt
  }
  begin(state, new Entry<C>(state.nextId++, state.generation, now), state.connecting)
}

/**
 * How many callers will be served without anybody returning a connection. What may hang does not count for long, for
 * nobody should wait for its deadline who can be served otherwise: after a second, neither a validation or a reset, nor
 * an attempt to connect that a later one has overtaken.
 */
const onTheWay = <C>(state: State<C>, now: number): number => {
  let coming = state.connecting.length
  // In the order in which they began: those that were overtaken come first, and of them those that are late.
  for (let entry = state.connecting.head; entry !== undefined; entry = entry.next) {
    if (!isOvertaken(state, entry) || !isLate(entry, now)) break
    coming--
  }
  return coming + prompt(state.validating, now) + prompt(state.resetting, now)
}

/** Whether an attempt to connect that began later has already succeeded. */
const isOvertaken = <C>(state: State<C>, entry: Entry<C>): boolean => entry.id < state.newestConnected

const prompt = <C>(list: LinkedList.LinkedList<Entry<C>>, now: number): number => {
  let count = list.length
  // In the order in which they began.
  for (let entry = list.head; entry !== undefined && isLate(entry, now); entry = entry.next) count--
  return count
}

const isLate = <C>(entry: Entry<C>, now: number): boolean => now >= entry.beganAt + patienceMillis

const patienceMillis = 1000

const longestLookMillis = 60_000

// ---------------------------------------------------------------------------------------------------------------------
// Connections: what the operations on them report
// ---------------------------------------------------------------------------------------------------------------------

/** An attempt has succeeded. */
export const connected = <C>(state: State<C>, entry: Entry<C>, connection: C, now: number): void => {
  const { settings } = state
  state.counters.connects++
  if (state.isMeasured) Histogram.record(state.connectTimes, now - entry.startedAt)
  state.failures = 0
  state.failedAttempts = 0
  state.isDoubtful = false
  // Where connections are no good as soon as they are open, to have opened one says nothing.
  if (state.badStarts < badStartsForgiven) endProbing(state)
  noteOvertaken(state, entry, now)
  endOperation(state, entry)
  entry.connection = connection
  entry.connectedAt = now
  entry.idleSince = now
  entry.checkedAt = now
  entry.expiresAt = now + Math.ceil(settings.maxLifetime * (1 - settings.lifetimeJitter * state.random()))
  upkeepBy(state, entry.expiresAt)
  // Connections that were kept for `min` may be more than `min` now.
  if (state.idle.head !== undefined) upkeepBy(state, state.idle.head.idleSince + settings.idleTimeout)
  report(state, PoolEvent.Connected({ connection: entry.id, tookMillis: now - entry.startedAt }))
  if (entry.hasDied) mark(state, entry, "dead")
  free(state, entry, now)
  settle(state, now)
  noteAttempt(state, entry, true, now)
}

const endProbing = <C>(state: State<C>): void => {
  state.lastFailure = undefined
  state.retryAt = -Infinity
  state.refillAt = -Infinity
}

/** Attempts that began earlier are overtaken from now on. The first of them is looked at when it is late, and so on. */
const noteOvertaken = <C>(state: State<C>, entry: Entry<C>, now: number): void => {
  if (entry.id < state.newestConnected) return
  state.newestConnected = entry.id
  const first = state.connecting.head!
  if (first !== entry) upkeepBy(state, Math.max(first.startedAt + patienceMillis, now))
}

/**
 * An attempt has failed. Answers with the callers who have nothing to wait for: those whom, if another attempt is
 * pointless, no connection is left to serve.
 */
export const connectFailed = <C>(
  state: State<C>,
  entry: Entry<C>,
  reason: ConnectFailure<unknown>,
  now: number
): ReadonlyArray<Waiter<C>> => {
  state.lastFailure = reason
  state.failedAttempts++
  if (reason._tag === "ConnectTimedOut") state.counters.connectTimeouts++
  if (entry.id >= state.nextRound || state.failures === 0) {
    state.failures++
    state.nextRound = state.nextId
  }
  state.refillAt = now + pauseAfter(state, state.failures)
  report(
    state,
    PoolEvent.ConnectFailed({
      connection: entry.id,
      reason,
      tookMillis: now - entry.startedAt,
      pauseMillis: state.refillAt - now
    })
  )
  giveUpConnecting(state, entry)
  // An attempt that hangs gives its slot back now. One that ended does so when what it had opened is closed.
  if (reason._tag === "ConnectTimedOut") leave(state, entry)
  else begin(state, entry, state.closing)
  noteAttempt(state, entry, false, now)
  const waiting = Array.from(LinkedList.members(state.waiters))
  const isFinal = !isTransient(state, reason)
  if (isFinal && !hasLive(state)) {
    // Whoever asks next finds out for itself.
    state.retryAt = -Infinity
    return waiting
  }
  state.retryAt = state.refillAt
  return isFinal ? waiting.filter((waiter) => holdsAllLive(state, waiter.lease)) : []
}

/** The pause after so many failures in a row. */
const pauseAfter = <C>({ random, settings }: State<C>, failures: number): number =>
  Math.ceil(
    Math.min(settings.connectBackoffMax, settings.connectBackoff * 2 ** (failures - 1)) * (1 - random() / 5)
  )

/** Whether an attempt that failed for this reason may succeed if it is made again. */
export const isTransient = <C>(state: State<C>, reason: ConnectFailure<unknown>): boolean =>
  reason._tag === "ConnectTimedOut" || (reason._tag === "ConnectFailed" && isTransientError(state, reason.error))

const isTransientError = <C>(state: State<C>, error: unknown): boolean => {
  try {
    return state.driver.isTransient?.(error) === true
  } catch {
    return false
  }
}

/** Whether there is a connection that may serve a caller again. */
const hasLive = <C>(state: State<C>): boolean =>
  hasStaying(state.idle) || hasStaying(state.validating) || hasStaying(state.resetting) || hasStaying(state.inUse)

const hasStaying = <C>(list: LinkedList.LinkedList<Entry<C>>): boolean => {
  for (const entry of LinkedList.members(list)) if (entry.evicted === undefined) return true
  return false
}

/** Whether the caller itself holds all that could serve it. */
const holdsAllLive = <C>(state: State<C>, lease: Lease<C>): boolean => {
  if (hasStaying(state.idle) || hasStaying(state.validating) || hasStaying(state.resetting)) return false
  for (const entry of LinkedList.members(state.inUse)) {
    if (entry.evicted === undefined && !isHeldBy(lease, entry.lease!)) return false
  }
  return true
}

/** `reset` has ended; `isClean` is whether it left a connection that can be lent. */
export const wasReset = <C>(state: State<C>, entry: Entry<C>, isClean: boolean, now: number): void =>
  endReset(state, entry, isClean ? undefined : "reset", now)

const endReset = <C>(
  state: State<C>,
  entry: Entry<C>,
  problem: "reset" | "dead" | undefined,
  now: number
): void => {
  state.counters.resets++
  if (problem !== undefined) {
    state.counters.resetFailures++
    return leaveFor(state, entry, problem, now)
  }
  endOperation(state, entry)
  if (entry.isFresh && !entry.isSuspect) noteGoodStart(state, entry, now)
  // Only now is it idle.
  entry.idleSince = now
  entry.checkedAt = now
  free(state, entry, now)
}

/** `validate` has ended; `isValid` is what it found. */
export const wasValidated = <C>(state: State<C>, entry: Entry<C>, isValid: boolean, now: number): void =>
  endValidation(state, entry, isValid ? undefined : "invalid", now)

const endValidation = <C>(
  state: State<C>,
  entry: Entry<C>,
  problem: "invalid" | "dead" | undefined,
  now: number
): void => {
  const { round } = entry
  entry.round = undefined
  state.counters.validations++
  if (problem === undefined) passValidation(state, entry, round !== undefined, now)
  else {
    state.counters.validationFailures++
    leaveFor(state, entry, problem, now)
  }
  if (round === undefined) return
  round.running--
  // Whatever comes of this one, it is the turn of the next to be kept alive.
  if (round === state.keepalive) upkeepBy(state, now)
  else if (problem === undefined) round.passed++
  else round.failed.push({ connection: entry.id, reason: problem })
  goOn(state, now)
}

const passValidation = <C>(state: State<C>, entry: Entry<C>, wasIdle: boolean, now: number): void => {
  endOperation(state, entry)
  entry.checkedAt = now
  entry.isSuspect = false
  const waiter = state.waiters.head
  if (waiter !== undefined && !state.paused && fate(state, entry, now) === undefined) {
    // Straight to the first in line: to ask how long it has been idle could send it back here.
    if (grant(state, entry, waiter.lease, now)) finishWait(state, waiter)
    return settle(state, now)
  }
  free(state, entry, now)
  if (!wasIdle || entry.list !== state.idle) return
  // It has not become warmer by being asked: back to its place among those that are idle.
  LinkedList.remove(entry)
  let colder = state.idle.tail
  while (colder !== undefined && isWarmer(colder, entry)) colder = colder.previous
  if (colder === undefined) LinkedList.unshift(state.idle, entry)
  else if (colder.next === undefined) LinkedList.push(state.idle, entry)
  else LinkedList.insertBefore(colder.next, entry)
}

const isWarmer = <C>(one: Entry<C>, other: Entry<C>): boolean =>
  one.idleSince === other.idleSince ? one.id > other.id : one.idleSince > other.idleSince

const ask = <C>(state: State<C>, entry: Entry<C>, round: Round<C>, now: number): void => {
  check(state, entry, state.validating, now)
  entry.round = round
  round.running++
}

/** Has all that are idle asked, once it is the turn of this round. */
export const beginRound = <C>(state: State<C>, round: Round<C>, now: number): void => {
  state.rounds.push(round)
  goOn(state, now)
}

/** Goes on with the first round, and with the next whenever one is over: something has changed that it may wait for. */
const goOn = <C>(state: State<C>, now: number): void => {
  for (let round = state.rounds[0]; round !== undefined && isOver(state, round, now); round = state.rounds[0]) {
    state.rounds.shift()
    state.finished.push(round)
    state.isPending = true
    report(state, PoolEvent.Checked({ passed: round.passed, failed: round.failed.length, busy: round.busy }))
    upkeepBy(state, now)
  }
}

/** Asks as many as may be asked now. The round is over when all have answered. */
const isOver = <C>(state: State<C>, round: Round<C>, now: number): boolean => {
  round.left ??= Array.from(LinkedList.members(state.idle))
  let asked = 0
  for (const entry of round.left) {
    // One is left to callers, unless there is only one.
    const running = round.running + state.keepalive.running
    if (running >= round.concurrency || (running > 0 && state.idle.length === 1)) break
    asked++
    if (entry.list === state.idle) askOrJudge(state, entry, round, now)
    else round.busy++
  }
  round.left = round.left.slice(asked)
  settle(state, now)
  return round.left.length === 0 && round.running === 0 && !awaitsConnection(state, round, now)
}

const askOrJudge = <C>(state: State<C>, entry: Entry<C>, round: Round<C>, now: number): void => {
  if (now >= entry.expiresAt) close(state, entry, "lifetime")
  else if (state.driver.isAlive !== undefined && !isAlive(state, entry)) {
    round.failed.push({ connection: entry.id, reason: "dead" })
    closeFor(state, entry, "dead", now)
  } else if (state.driver.validates) ask(state, entry, round, now)
  else round.passed++
}

/**
 * Whether the round has to wait for a connection that is being opened, to know whether the database can be reached at
 * all: if none was found that works, or there is none.
 */
const awaitsConnection = <C>(state: State<C>, round: Round<C>, now: number): boolean => {
  if (round.isCancelled) return false
  if (round.attempt !== undefined) return round.connected === undefined
  if (!round.mayConnect || state.paused || round.passed > 0) return false
  if (round.failed.length === 0 && open(state) > 0) return false
  const { closing, connecting, settings } = state
  if (connecting.tail === undefined) {
    // During a pause after failed attempts, those say enough.
    if (now < state.refillAt) return false
    if (total(state) >= settings.max) return total(state) - closing.length < settings.max
    connect(state, now)
  }
  round.attempt = connecting.tail
  return true
}

/** An attempt to open a connection has ended. */
const noteAttempt = <C>(state: State<C>, entry: Entry<C>, succeeded: boolean, now: number): void => {
  const round = state.rounds[0]
  if (round === undefined || round.attempt !== entry) return
  round.connected = succeeded
  goOn(state, now)
}

/** Nobody wants to know any more. Those that are being asked may answer; no others are. */
export const cancelRound = <C>(state: State<C>, round: Round<C>, now: number): void => {
  const place = state.rounds.indexOf(round)
  round.isCancelled = true
  round.left = []
  if (place > 0) state.rounds.splice(place, 1)
  else if (place === 0) goOn(state, now)
}

/** The driver has reported that the connection is dead, at whatever moment. More than once is as good as once. */
export const died = <C>(state: State<C>, entry: Entry<C>, now: number): void => {
  switch (entry.list) {
    case state.connecting:
      entry.hasDied = true
      return
    case state.idle:
      return leaveFor(state, entry, "dead", now)
    case state.validating:
      return endValidation(state, entry, "dead", now)
    case state.resetting:
      return endReset(state, entry, "dead", now)
    case state.inUse:
      mark(state, entry, "dead")
      return settle(state, now)
  }
}

const leaveFor = <C>(state: State<C>, entry: Entry<C>, reason: PoolEvent.EvictReason, now: number): void => {
  closeFor(state, entry, reason, now)
  settle(state, now)
}

/** Closing has ended; `error` is what it died of. */
export const closed = <C>(state: State<C>, entry: Entry<C>, error: unknown, now: number): void => {
  if (entry.connectedAt !== undefined) {
    state.counters.disconnects++
    report(state, PoolEvent.Disconnected({ connection: entry.id, error }))
  }
  leave(state, entry)
  settle(state, now)
  goOn(state, now)
}

/** The operation under way on the connection has run into its deadline. */
export const overdue = <C>(state: State<C>, entry: Entry<C>, now: number): void => {
  if (entry.list === state.closing) {
    state.counters.abandoned++
    report(state, PoolEvent.Abandoned({ connection: entry.id }))
    leave(state, entry)
    settle(state, now)
    goOn(state, now)
  } else if (entry.list === state.validating) wasValidated(state, entry, false, now)
  else wasReset(state, entry, false, now)
}

/** Puts a connection into the state in which its next operation runs, and has that started. */
const begin = <C>(state: State<C>, entry: Entry<C>, list: LinkedList.LinkedList<Entry<C>>): void => {
  leave(state, entry)
  LinkedList.push(list, entry)
  if (!entry.isStarting) state.starting.push(entry)
  entry.isStarting = true
  state.isPending = true
}

/** Has a connection validated or reset. */
const check = <C>(state: State<C>, entry: Entry<C>, list: LinkedList.LinkedList<Entry<C>>, now: number): void => {
  entry.beganAt = now
  begin(state, entry, list)
  upkeepBy(state, now + patienceMillis)
}

/** Takes a connection out of the list it is in. */
const leave = <C>(state: State<C>, entry: Entry<C>): void => {
  LinkedList.remove(entry)
  endOperation(state, entry)
}

/** Whatever still runs on the connection no longer counts. */
const endOperation = <C>(state: State<C>, entry: Entry<C>): void => {
  Deadlines.cancel(state.deadlines, entry)
  entry.operation++
}

/** An attempt to open a connection came to nothing. */
const giveUpConnecting = <C>(state: State<C>, entry: Entry<C>): void => {
  state.counters.connectFailures++
  if (entry.evicted !== undefined) state.marked--
}

// ---------------------------------------------------------------------------------------------------------------------
// Leaving
// ---------------------------------------------------------------------------------------------------------------------

/** Has a connection leave the pool: now if nobody uses it, else when that ends. */
export const evict = <C>(state: State<C>, entry: Entry<C>, reason: PoolEvent.EvictReason): void => {
  if (entry.list === state.idle) close(state, entry, reason)
  else mark(state, entry, reason)
}

const mark = <C>(state: State<C>, entry: Entry<C>, reason: PoolEvent.EvictReason): void => {
  if (entry.evicted !== undefined || entry.list === state.closing) return
  entry.evicted = reason
  state.marked++
}

const close = <C>(state: State<C>, entry: Entry<C>, reason: PoolEvent.EvictReason): void => {
  if (entry.evicted === undefined) entry.evicted = reason
  else state.marked--
  state.counters.evictions[entry.evicted]++
  report(state, PoolEvent.Evicted({ connection: entry.id, reason: entry.evicted }))
  begin(state, entry, state.closing)
}

/** Closes a connection for what was found out about itself. It may never have been any good, or the database is away. */
const closeFor = <C>(state: State<C>, entry: Entry<C>, reason: PoolEvent.EvictReason, now: number): void => {
  if (isFault(reason)) {
    state.isDoubtful = true
    if (entry.isFresh && isYoung(state, entry, now)) noteBadStart(state, reason, now)
  }
  close(state, entry, reason)
}

export const isFault = (reason: PoolEvent.EvictReason | undefined): boolean =>
  reason === "dead" || reason === "invalid" || reason === "reset" || reason === "fatal" || reason === "driver"

/** Whether a connection had been open for less than the longest backoff when its trouble began. */
const isYoung = <C>(state: State<C>, entry: Entry<C>, now: number): boolean => {
  const isChecked = entry.list === state.validating || entry.list === state.resetting
  return (isChecked ? entry.beganAt : now) - entry.connectedAt! < state.settings.connectBackoffMax
}

/**
 * A connection that was opened just now is no good: it failed its first check, or a lease could not begin, or its first
 * lease did not end well. A few times may be chance; after that it is a failure to connect like any other, with a backoff
 * before the next attempt, or the pool would open one after the other without end.
 */
const noteBadStart = <C>(state: State<C>, reason: PoolEvent.EvictReason, now: number): void => {
  state.badStarts++
  if (state.badStarts < badStartsForgiven) return
  state.lastFailure = {
    _tag: "ConnectDied",
    defect: new Error(`connections are no good as soon as they are open (${reason})`)
  }
  state.refillAt = now + pauseAfter(state, state.badStarts - badStartsForgiven + 1)
  state.retryAt = state.refillAt
}

/** The first lease of a connection has ended well. */
const noteGoodStart = <C>(state: State<C>, entry: Entry<C>, now: number): void => {
  entry.isFresh = false
  if (state.badStarts === 0) return
  state.badStarts = 0
  if (isProbing(state)) return
  endProbing(state)
  upkeepBy(state, now)
}

const badStartsForgiven = 5

/** Evicts all connections there are. Answers with how many that concerns. */
export const recycle = <C>(state: State<C>, now: number): number => {
  let connections = 0
  state.generation++
  for (const list of [state.connecting, state.validating, state.inUse, state.resetting, state.idle]) {
    for (const entry of LinkedList.members(list)) {
      connections++
      evict(state, entry, "recycled")
    }
  }
  report(state, PoolEvent.Recycled({ connections }))
  settle(state, now)
  return connections
}

/** New bounds. Idle connections beyond them leave now, longest idle first; those in use when they come back. */
export const resize = <C>(state: State<C>, min: number, max: number, now: number): void => {
  state.settings.min = min
  state.settings.max = max
  state.isSelective = true
  while (size(state) > max && state.idle.head !== undefined) close(state, state.idle.head, "excess")
  report(state, PoolEvent.Resized({ min, max }))
  upkeepBy(state, now)
  settle(state, now)
}

export const pause = <C>(state: State<C>): void => {
  if (state.paused) return
  state.paused = true
  report(state, PoolEvent.Paused())
}

export const resume = <C>(state: State<C>, now: number): void => {
  if (!state.paused) return
  state.paused = false
  report(state, PoolEvent.Resumed())
  settle(state, now)
}

/** Stops lending and closes all that nobody uses. Answers with the callers in line. */
export const drain = <C>(state: State<C>): ReadonlyArray<Waiter<C>> => {
  state.phase = "draining"
  state.isSelective = true
  report(state, PoolEvent.Draining({ leases: state.inUse.length }))
  for (const entry of LinkedList.members(state.connecting)) {
    giveUpConnecting(state, entry)
    begin(state, entry, state.closing)
  }
  for (const list of [state.validating, state.resetting, state.idle]) {
    for (const entry of LinkedList.members(list)) close(state, entry, "shutdown")
  }
  for (const round of state.rounds.splice(0)) state.finished.push(round)
  return Array.from(LinkedList.members(state.waiters))
}

/** Takes a connection from a caller who does not give it back. The end of that lease will find nothing to do. */
export const revoke = <C>(state: State<C>, entry: Entry<C>, now: number): void => {
  const lease = entry.lease!
  if (lease.stage === "held") {
    lease.stage = "ended"
    state.counters.returns++
    if (state.isMeasured) Histogram.record(state.useTimes, now - entry.lentAt)
  } else {
    lease.stage = "refused"
    state.counters.refused++
  }
  takeBack(state, lease, now, true, false)
}

// ---------------------------------------------------------------------------------------------------------------------
// Time
// ---------------------------------------------------------------------------------------------------------------------

const upkeepBy = <C>(state: State<C>, at: number): void => {
  if (at >= state.upkeepAt) return
  state.upkeepAt = at
  state.isPending = true
}

/** When the pool has to be looked at again, if nothing happens before. */
export const nextDue = <C>(state: State<C>, clock: () => number): number => {
  const deadline = Deadlines.nextDue(state.deadlines)
  if (state.phase !== "open") return deadline
  const due = Math.min(deadline, state.upkeepAt)
  return isProbing(state) && !state.paused ? Math.min(due, nextProbe(state, clock())) : due
}

const nextProbe = <C>(state: State<C>, now: number): number => {
  const { refillAt, retryAt } = state
  return Math.min(
    now < retryAt && mayProbeForCallers(state, now) ? retryAt : Infinity,
    now < refillAt && state.settings.min > size(state) ? refillAt : Infinity
  )
}

/**
 * Looks after all that only time changes: leases out for too long, connections idle, old or quiet for too long.
 */
export const upkeep = <C>(state: State<C>, now: number): void => {
  if (now < state.upkeepAt) return
  state.upkeepAt = Infinity
  endLost(state, now)
  const first = state.waiters.head
  // While somebody waits, leases that were lost are looked for: often at first, then seldom.
  if (first !== undefined) {
    upkeepBy(state, now + Math.min(Math.max(now - first.timedFrom, patienceMillis), longestLookMillis))
  }
  reportLeaks(state, now)
  const { idle, settings } = state
  for (const list of [idle, state.inUse, state.validating, state.resetting]) {
    for (const entry of LinkedList.members(list)) {
      if (now < entry.expiresAt) upkeepBy(state, entry.expiresAt)
      else if (list === idle) close(state, entry, "lifetime")
    }
  }
  while (idle.head !== undefined && size(state) > settings.min) {
    const due = idle.head.idleSince + settings.idleTimeout
    if (now < due) {
      upkeepBy(state, due)
      break
    }
    close(state, idle.head, "idle")
  }
  keepAlive(state, now)
  for (const list of [state.connecting, state.validating, state.resetting]) {
    for (const entry of LinkedList.members(list)) {
      if ((list !== state.connecting || isOvertaken(state, entry)) && !isLate(entry, now)) {
        upkeepBy(state, entry.beganAt + patienceMillis)
      }
    }
  }
  settle(state, now)
}

/** Validates the idle connection that has been quiet for longest, if it is time. */
const keepAlive = <C>(state: State<C>, now: number): void => {
  // A round asks them all, and looks after this when it is over.
  if (state.keepalive.running > 0 || state.rounds.length > 0) return
  let quietest: Entry<C> | undefined
  for (const entry of LinkedList.members(state.idle)) {
    if (quietest === undefined || entry.checkedAt < quietest.checkedAt) quietest = entry
  }
  if (quietest === undefined) return
  const due = quietest.checkedAt + state.settings.keepalive
  if (now < due) upkeepBy(state, due)
  else ask(state, quietest, state.keepalive, now)
}

const reportLeaks = <C>(state: State<C>, now: number): void => {
  for (const entry of LinkedList.members(state.inUse)) {
    if (entry.isReported) continue
    const due = entry.lentAt + state.settings.leakThreshold
    if (now < due) {
      upkeepBy(state, due)
      return
    }
    entry.isReported = true
    state.counters.leaks++
    report(state, PoolEvent.LeakSuspected({ holder: holderOf(entry, now) }))
  }
}

/**
 * Ends the leases whose fiber is gone without having returned them. That happens to a fiber that is given something
 * that is no Effect: its runtime drops it there and then, finalizers and all. Done before anybody waits or gives up
 * waiting, now and then while somebody waits, and before anybody is told who holds what.
 */
export const endLost = <C>(state: State<C>, now: number): void => {
  let entry = state.inUse.head
  while (entry !== undefined) {
    const { lease, next } = entry
    if (isLost(lease!)) lose(state, lease!, now)
    entry = next
  }
}

const isLost = <C>(lease: Lease<C>): boolean => lease.scope === undefined && lease.fiber.pollUnsafe() !== undefined

/** The same for the one who is about to join the line, at the price of one look if it is not the first. */
export const endLostBeforeWait = <C>(state: State<C>, now: number): void => {
  if (state.waiters.length === 0) return endLost(state, now)
  // Where connections go round, one that does not come back is soon the one longest out.
  while (state.inUse.head !== undefined && isLost(state.inUse.head.lease!)) lose(state, state.inUse.head.lease!, now)
}

/** Ends a lease whose holder was dropped in the middle of something: the connection is reset, and then validated. */
export const lose = <C>(state: State<C>, lease: Lease<C>, now: number): void => {
  if (lease.stage === "held" && state.driver.validates) lease.entry!.isSuspect = true
  end(state, lease, now, droppedFiber)
}

const droppedFiber = Cause.die(new Error("the fiber that held the connection was dropped by its runtime"))

// ---------------------------------------------------------------------------------------------------------------------
// Counting
// ---------------------------------------------------------------------------------------------------------------------

/** All connections, for `max`. */
export const total = <C>(state: State<C>): number =>
  state.connecting.length + state.idle.length + state.validating.length + state.inUse.length +
  state.resetting.length + state.closing.length

/** The connections that are open and not on their way out. */
export const open = <C>(state: State<C>): number =>
  state.idle.length + state.validating.length + state.inUse.length + state.resetting.length

/** The connections that stay, for `min`. */
const size = <C>(state: State<C>): number => total(state) - state.closing.length - state.marked

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
    heldMillis: now - entry.lentAt
  }
}
