/**
 * How connections are lent and come back: the whole path of a lease.
 *
 * Most callers find an idle connection. The functions on their path are so short that the compiler inlines them. Rare
 * cases are in functions of their own.
 */
import type { Cause } from "effect"
import type { EvictReason } from "../../Connection.ts"
import * as PoolEvent from "../../PoolEvent.ts"
import * as Deadlines from "../structures/deadlines.ts"
import * as Histogram from "../structures/histogram.ts"
import * as LinkedList from "../structures/linkedList.ts"
import { noteGoodStart } from "./backoff.ts"
import { abandonedOf, holderOf } from "./holders.ts"
import { begin, closeFor, mark } from "./leaving.ts"
import { mayBeLent, mayHaveReason, reasonToLeave } from "./reasons.ts"
import { type Entry, type Lease, report, type State, upkeepBy, type Waiter } from "./state.ts"
import { openMissing, prompt, replaceableFrom, slowAfterMillis } from "./supply.ts"

/** Whether there is an idle connection, and nobody is in line. */
export const mayTake = <C>(state: State<C>): boolean =>
  state.idle.length > 0 && state.waiters.length === 0 && !state.paused

/** Gives the caller an idle connection at once, if one may be lent and nobody is in line. */
export const take = <C>(state: State<C>, lease: Lease<C>, now: number): boolean => {
  const entry = state.idle.tail
  if (entry === undefined || state.waiters.length !== 0 || state.paused) return false
  const answer = mayBeLent(state, entry, now)
  if (answer !== "lend" || !grant(state, entry, lease, now)) return giveUp(state, entry, answer, now)
  hold(state, lease)
  return true
}

/** Evicts a connection that may not be lent. If it might have been lent, the driver has thrown, and it was evicted. */
const giveUp = <C>(
  state: State<C>,
  entry: Entry<C>,
  answer: "lend" | "validate" | EvictReason,
  now: number
): false => {
  if (answer === "validate") return false
  if (answer !== "lend") closeFor(state, entry, answer, now)
  // The caller may get another connection at once, and nothing else would open the one that is missing now.
  settle(state, now)
  return false
}

/** The caller has the connection that it was granted. */
export const hold = <C>(state: State<C>, lease: Lease<C>): void => {
  lease.stage = "held"
  state.counters.checkouts++
  if (lease.waiter !== undefined || state.isWatched) noteCheckout(state, lease)
}

const noteCheckout = <C>(state: State<C>, { entry, fiber, waiter }: Lease<C>): void => {
  const waitedMillis = waiter === undefined ? 0 : entry!.leasedAt - waiter.timedFrom
  if (waiter !== undefined) {
    state.waitedMillis += waitedMillis
    if (waitedMillis > state.counters.maxWaitMillis) state.counters.maxWaitMillis = waitedMillis
    if (state.isMeasured) Histogram.record(state.waitTimes, waitedMillis)
  }
  if (state.isWatched) report(state, PoolEvent.CheckedOut({ connection: entry!.id, fiber: fiber.id, waitedMillis }))
}

/**
 * Whether the end of a synchronous lease has to be timed. Reading the clock again takes a fifth of such a lease. So
 * only every eighth lease is timed while nobody waits or reads events. The metrics count the others with the time of
 * the last timed one.
 */
export const isTimed = <C>(state: State<C>): boolean =>
  state.waiters.length > 0 || state.isWatched || (state.isMeasured && (state.counters.returns & 7) === 0)

/**
 * Ends a lease in whatever stage it is. Calling it again does nothing. `failure` is the cause with which the caller's
 * effect ended, if it did not succeed.
 */
export const end = <C>(state: State<C>, lease: Lease<C>, now: number, failure?: Cause.Cause<unknown>): void => {
  if (lease.stage !== "held") return endEarly(state, lease, now)
  lease.stage = "ended"
  const entry = lease.entry!
  entry.uses++
  state.counters.returns++
  if (state.isNoted || entry.isReported) noteReturn(state, lease, now)
  takeBack(state, lease, now, state.driver.resets, failure === undefined || conclude(state, entry, failure))
}

/** Marks the connection according to a failure during its lease. Answers whether the failure says nothing about it. */
export const conclude = <C>(state: State<C>, entry: Entry<C>, failure: Cause.Cause<unknown>): boolean => {
  switch (judge(state, entry, failure)) {
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

const judge = <C>({ driver }: State<C>, entry: Entry<C>, failure: Cause.Cause<unknown>) => {
  try {
    return driver.judge === undefined ? "suspect" : driver.judge(failure)
  } catch (thrown) {
    entry.fault ??= thrown
    return "unjudged"
  }
}

export const noteReturn = <C>(state: State<C>, lease: Lease<C>, now: number): void => {
  const entry = lease.entry!
  if (state.isMeasured) {
    Histogram.record(state.useTimes, now === entry.leasedAt ? state.syncMillis : now - entry.leasedAt)
  }
  if (entry.isReported) {
    entry.isReported = false
    report(state, PoolEvent.LeakReturned({ holder: holderOf(entry, now) }))
  }
  if (!state.isWatched) return
  report(
    state,
    PoolEvent.Returned({ connection: entry.id, fiber: lease.fiber.id, heldMillis: now - entry.leasedAt })
  )
}

/** Ends a caller that was interrupted before it had its connection. If one was granted, the next in line gets it. */
const endEarly = <C>(state: State<C>, lease: Lease<C>, now: number): void => {
  const { stage, waiter } = lease
  lease.stage = "ended"
  if (waiter !== undefined) leaveLine(state, waiter)
  if (stage === "waiting" || stage === "granted") state.counters.cancelled++
  if (stage === "granted") takeBack(state, lease, now, false, false)
}

export const finishWait = <C>(state: State<C>, waiter: Waiter<C>): void => {
  leaveLine(state, waiter)
  LinkedList.push(state.ready, waiter)
  state.isPending = true
}

const leaveLine = <C>(state: State<C>, waiter: Waiter<C>): void => {
  LinkedList.remove(waiter)
  Deadlines.cancel(state.deadlines, waiter)
}

/** Lends a connection to a caller. Answers false if the driver throws: then the connection is closed. */
export const grant = <C>(state: State<C>, entry: Entry<C>, lease: Lease<C>, now: number): boolean => {
  if (state.driver.beginLease === undefined) entry.leased = entry.connection
  else if (!beginLease(state, entry, now)) return false
  LinkedList.move(state.inUse, entry)
  entry.lease = lease
  entry.leasedAt = now
  lease.stage = "granted"
  lease.entry = entry
  upkeepBy(state, now + state.settings.leakThresholdMillis)
  return true
}

const beginLease = <C>(state: State<C>, entry: Entry<C>, now: number): boolean => {
  try {
    entry.leased = state.driver.beginLease!(entry.connection!)
    return true
  } catch (thrown) {
    entry.fault ??= thrown
    closeFor(state, entry, "driver", now)
    return false
  }
}

/** Takes the connection back from a lease that has ended, and decides what happens to it. */
export const takeBack = <C>(
  state: State<C>,
  lease: Lease<C>,
  now: number,
  mayReset: boolean,
  endedWell: boolean
): void => {
  const entry = lease.entry!
  const isDirty = (mayReset || state.driver.isTold) && endLease(state, entry, mayReset, now)
  if (isDirty) noteTransaction(state, entry, now)
  lease.entry = undefined
  entry.lease = undefined
  entry.statements.last = undefined
  entry.idleSince = now
  entry.checkedAt = now
  if (isDirty && setAside(state, entry, now)) return
  if (entry.isFresh && endedWell && entry.evictReason !== "driver") noteGoodStart(state, entry, now)
  free(state, entry, now)
}

/** Abandons a connection on which something still runs, or has it reset. Answers whether it has done one of the two. */
const setAside = <C>(state: State<C>, entry: Entry<C>, now: number): boolean => {
  // While something runs on it, it counts, so it does not leave either.
  if (entry.abandonment !== undefined) abandon(state, entry, now)
  // A connection that leaves is not reset: closing it ends whatever is open on it.
  else if (reasonToLeave(state, entry, now) === undefined) beginOperation(state, entry, state.resetting, now)
  else return false
  return true
}

/**
 * Reports a transaction that the caller has left open. The reset rolls it back, and nothing else would tell the caller.
 */
const noteTransaction = <C>(state: State<C>, entry: Entry<C>, now: number): void => {
  const { isInTransaction } = state.driver
  // If the connection was evicted for a fault, or something of a transaction still runs, its holder has made no mistake.
  if (isInTransaction === undefined || entry.evictReason !== undefined || entry.abandonment !== undefined) return
  try {
    if (isInTransaction(entry.connection!)) {
      report(state, PoolEvent.TransactionLeftOpen({ holder: holderOf(entry, now) }))
    }
  } catch (thrown) {
    entry.fault ??= thrown
    mark(state, entry, "driver")
  }
}

/**
 * Tells the driver that the lease has ended. Answers whether the connection cannot be used as it is: it has to be reset, or
 * something of the lease still runs on it.
 */
const endLease = <C>(state: State<C>, entry: Entry<C>, mayReset: boolean, now: number): boolean => {
  const { driver } = state
  try {
    driver.endLease?.(entry.leased!)
    return (driver.unfinished !== undefined && isUnfinished(state, entry, now)) ||
      (mayReset && (driver.needsReset === undefined || driver.needsReset(entry.connection!)))
  } catch (thrown) {
    entry.fault ??= thrown
    mark(state, entry, "driver")
    return false
  }
}

/** Whether something of the lease still runs, as the driver says. Notes what, and whose lease it was. */
const isUnfinished = <C>(state: State<C>, entry: Entry<C>, now: number): boolean => {
  const unfinished = state.driver.unfinished!(entry.connection!)
  if (unfinished === undefined) return false
  entry.abandonment = { unfinished, holder: holderOf(entry, now) }
  return true
}

/** Keeps a connection apart on which something of its last lease still runs. Waiters may get a replacement. */
const abandon = <C>(state: State<C>, entry: Entry<C>, now: number): void => {
  state.counters.abandonments++
  // From now on there may be more connections than `max`.
  state.isSelective = true
  entry.beganAt = now
  begin(state, entry, state.abandoned)
  report(state, PoolEvent.ConnectionAbandoned({ abandoned: abandonedOf(entry, now) }))
  upkeepBy(state, replaceableFrom(entry))
  settle(state, now)
}

/** Takes back an abandoned connection on which nothing runs any more, as if its lease had ended now. */
export const takeBackSettled = <C>(state: State<C>, entry: Entry<C>, now: number): void => {
  entry.idleSince = now
  entry.checkedAt = now
  const reason = reasonToLeave(state, entry, now)
  if (reason === undefined) {
    if (state.driver.resets && needsReset(state, entry)) return beginOperation(state, entry, state.resetting, now)
    if (entry.isFresh && !entry.isSuspect && entry.evictReason !== "driver") noteGoodStart(state, entry, now)
  }
  free(state, entry, now)
}

const needsReset = <C>(state: State<C>, entry: Entry<C>): boolean => {
  const { driver } = state
  try {
    return driver.needsReset === undefined || driver.needsReset(entry.connection!)
  } catch (thrown) {
    entry.fault ??= thrown
    mark(state, entry, "driver")
    return false
  }
}

/**
 * Decides about a connection that is open and not in use: it leaves, is validated, serves the first waiter, or is idle.
 */
export const free = <C>(state: State<C>, entry: Entry<C>, now: number): void => {
  if (mayHaveReason(state, entry, now)) {
    const reason = reasonToLeave(state, entry, now)
    if (reason !== undefined) return leaveFor(state, entry, reason, now)
  }
  if (entry.isSuspect) return beginOperation(state, entry, state.validating, now)
  if (state.waiters.length > 0) return handOver(state, entry, now)
  rest(state, entry)
}

const rest = <C>(state: State<C>, entry: Entry<C>): void => {
  LinkedList.move(state.idle, entry)
  upkeepBy(state, entry.idleSince + state.idleUpkeep)
}

/** Gives a connection directly to the first waiter, without making it idle first. */
const handOver = <C>(state: State<C>, entry: Entry<C>, now: number): void => {
  const waiter = state.waiters.head!
  if (state.phase !== "open" || state.paused || mayBeLent(state, entry, now) !== "lend") rest(state, entry)
  else if (grant(state, entry, waiter.lease, now)) finishWait(state, waiter)
  settle(state, now)
}

/**
 * Brings demand and supply together: gives idle connections to waiters in order of arrival, and opens those that are
 * missing. Every function that frees a connection or a slot, or that adds a waiter, calls it at the end.
 */
export const settle = <C>(state: State<C>, now: number): void => {
  if (state.phase !== "open" || state.paused) return
  const { idle, waiters } = state
  while (waiters.length > 0 && idle.length > 0) {
    const entry = idle.tail!
    const answer = mayBeLent(state, entry, now)
    if (answer === "lend") {
      const waiter = waiters.head!
      if (!grant(state, entry, waiter.lease, now)) continue
      finishWait(state, waiter)
    } else if (answer !== "validate") closeFor(state, entry, answer, now)
    else if (prompt(state.validating, now) < waiters.length) beginOperation(state, entry, state.validating, now)
    else break
  }
  openMissing(state, now)
}

export const leaveFor = <C>(state: State<C>, entry: Entry<C>, reason: EvictReason, now: number): void => {
  closeFor(state, entry, reason, now)
  settle(state, now)
}

/** Begins a validation or a reset of a connection. */
export const beginOperation = <C>(
  state: State<C>,
  entry: Entry<C>,
  list: LinkedList.LinkedList<Entry<C>>,
  now: number
): void => {
  entry.beganAt = now
  begin(state, entry, list)
  upkeepBy(state, now + slowAfterMillis)
}
