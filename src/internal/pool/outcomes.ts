/** What happens when an operation on a connection has ended: connect, validate, reset or close. */
import type { ConnectFailure } from "../../PoolError.ts"
import * as PoolEvent from "../../PoolEvent.ts"
import * as Histogram from "../structures/histogram.ts"
import * as LinkedList from "../structures/linkedList.ts"
import { backoffMillis, badStartsForgiven, endProbing, noteGoodStart } from "./backoff.ts"
import { abandonedOf } from "./holders.ts"
import { begin, endOperation, giveUpConnecting, leave, mark } from "./leaving.ts"
import { finishWait, free, grant, leaveFor, settle, takeBackSettled } from "./lending.ts"
import { isHeldBy } from "./line.ts"
import { isDead, reasonToLeave } from "./reasons.ts"
import { goOn, noteAttempt } from "./rounds.ts"
import { type Entry, type Lease, report, type State, upkeepBy, type Waiter } from "./state.ts"
import { slowAfterMillis } from "./supply.ts"

/** A connect attempt has succeeded. */
export const connected = <C>(state: State<C>, entry: Entry<C>, connection: C, now: number): void => {
  const { settings } = state
  state.counters.connects++
  if (state.isMeasured) Histogram.record(state.connectTimes, now - entry.startedAt)
  state.failures = 0
  state.failedAttempts = 0
  state.isDoubtful = false
  // After many bad starts, an open connection does not yet show that the database works.
  if (state.badStarts < badStartsForgiven) endProbing(state)
  noteOvertaken(state, entry, now)
  endOperation(state, entry)
  entry.connection = connection
  entry.connectedAt = now
  entry.idleSince = now
  entry.checkedAt = now
  entry.expiresAt = now + Math.ceil(settings.maxLifetimeMillis * (1 - settings.lifetimeJitter * state.random()))
  upkeepBy(state, entry.expiresAt)
  report(state, PoolEvent.Connected({ connection: entry.id, tookMillis: now - entry.startedAt }))
  if (entry.hasDied) mark(state, entry, "dead")
  free(state, entry, now)
  settle(state, now)
  noteAttempt(state, entry, true, now)
}

/** From now on, connect attempts that began earlier are overtaken. `upkeep` runs when the first of them is late. */
const noteOvertaken = <C>(state: State<C>, entry: Entry<C>, now: number): void => {
  if (entry.id < state.newestConnected) return
  state.newestConnected = entry.id
  const first = state.connecting.head!
  if (first !== entry) upkeepBy(state, Math.max(first.startedAt + slowAfterMillis, now))
}

/**
 * A connect attempt has failed. Answers with the waiters to refuse: if it failed for good, these are the waiters that
 * no other connection can serve.
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
  state.refillAt = now + backoffMillis(state, state.failures)
  report(
    state,
    PoolEvent.ConnectFailed({
      connection: entry.id,
      reason,
      tookMillis: now - entry.startedAt,
      backoffMillis: state.refillAt - now
    })
  )
  giveUpConnecting(state, entry)
  // An attempt that hangs gives its slot back now. One that ended gives it back when its scope is closed.
  if (reason._tag === "ConnectTimedOut") leave(state, entry)
  else begin(state, entry, state.closing)
  noteAttempt(state, entry, false, now)
  const waiting = Array.from(LinkedList.members(state.waiters))
  const isFinal = !isTransient(state, reason)
  state.isFinal = isFinal
  state.retryAt = state.refillAt
  if (isFinal && !hasLive(state)) {
    // One failure may be chance, so the next caller may try at once.
    if (state.failures < failuresBelieved) state.retryAt = -Infinity
    return waiting
  }
  return isFinal ? waiting.filter((waiter) => holdsAllLive(state, waiter.lease)) : []
}

/**
 * Why another attempt for this caller is pointless, if it is: connecting has failed for good more than once, the
 * backoff after that is not over, and no connection is left to serve the caller. So a thousand callers cost no more
 * attempts than one. The first caller after the backoff causes the next attempt.
 */
export const lastAnswer = <C>(state: State<C>, lease: Lease<C>, now: number): ConnectFailure<unknown> | undefined => {
  if (!state.isFinal || state.failures < failuresBelieved || now >= state.retryAt || state.paused) return undefined
  return state.connecting.length === 0 && holdsAllLive(state, lease) ? state.lastFailure : undefined
}

/** The number of failures for good in a row after which callers get the last error without another attempt. */
const failuresBelieved = 2

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

/** Whether there is a connection that can serve another caller. */
const hasLive = <C>(state: State<C>): boolean => hasComing(state) || hasStaying(state.inUse)

/** Whether there is a connection that can serve another caller without the return of a lease. */
const hasComing = <C>({ abandoned, idle, resetting, validating }: State<C>): boolean =>
  hasStaying(idle) || hasStaying(validating) || hasStaying(resetting) || hasStaying(abandoned)

const hasStaying = <C>(list: LinkedList.LinkedList<Entry<C>>): boolean => {
  for (const entry of LinkedList.members(list)) if (entry.evictReason === undefined) return true
  return false
}

/** Whether the caller itself holds all connections that could serve it. */
const holdsAllLive = <C>(state: State<C>, lease: Lease<C>): boolean => {
  if (hasComing(state)) return false
  for (const entry of LinkedList.members(state.inUse)) {
    if (entry.evictReason === undefined && !isHeldBy(lease, entry.lease!)) return false
  }
  return true
}

/** `reset` has ended. `problem` says why the connection cannot be lent, if it cannot. */
export const wasReset = <C>(
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
  // It is idle only from now on.
  entry.idleSince = now
  entry.checkedAt = now
  free(state, entry, now)
}

/** `validate` has ended. `problem` says why the connection does not work, if it does not. */
export const wasValidated = <C>(
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
  // The keepalive goes on with the next connection, also after a failure.
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
  if (waiter !== undefined && !state.paused && reasonToLeave(state, entry, now) === undefined) {
    // It goes to the first waiter without `mayBeLent`, which could ask for a validation again.
    if (grant(state, entry, waiter.lease, now)) finishWait(state, waiter)
    return settle(state, now)
  }
  free(state, entry, now)
  if (!wasIdle || entry.list !== state.idle) return
  // Validation does not count as use, so it goes back to its old position in the list.
  LinkedList.remove(entry)
  let colder = state.idle.tail
  while (colder !== undefined && isWarmer(colder, entry)) colder = colder.previous
  if (colder === undefined) LinkedList.unshift(state.idle, entry)
  else if (colder.next === undefined) LinkedList.push(state.idle, entry)
  else LinkedList.insertBefore(colder.next, entry)
}

const isWarmer = <C>(one: Entry<C>, other: Entry<C>): boolean =>
  one.idleSince === other.idleSince ? one.id > other.id : one.idleSince > other.idleSince

/** The driver has reported that the connection is dead. It may do so at any time, and more than once. */
export const died = <C>(state: State<C>, entry: Entry<C>, now: number): void => {
  switch (entry.list) {
    case state.connecting:
      entry.hasDied = true
      return
    case state.idle:
      return leaveFor(state, entry, "dead", now)
    case state.validating:
      return wasValidated(state, entry, "dead", now)
    case state.resetting:
      return wasReset(state, entry, "dead", now)
    case state.abandoned:
      return settled(state, entry, { reason: "dead", error: new Error("the driver has reported its death") }, now)
    case state.inUse:
      mark(state, entry, "dead")
      return settle(state, now)
  }
}

/**
 * Nothing runs on an abandoned connection any more. `problem` says why it cannot be used again, if it cannot.
 */
export const settled = <C>(
  state: State<C>,
  entry: Entry<C>,
  problem: { readonly reason: "abandoned" | "dead"; readonly error: unknown } | undefined,
  now: number
): void => {
  state.counters.settlements++
  report(state, PoolEvent.ConnectionSettled({ abandoned: abandonedOf(entry, now), error: problem?.error }))
  entry.abandonment = undefined
  if (problem !== undefined) {
    if (problem.reason === "abandoned") entry.fault ??= problem.error
    return leaveFor(state, entry, problem.reason, now)
  }
  endOperation(state, entry)
  // It is not abandoned any more, so there may be one connection too many: the replacement, if that is not open yet.
  LinkedList.move(state.resetting, entry)
  if (reasonToLeave(state, entry, now) === "excess" && !isDead(state, entry)) spareNewest(state)
  takeBackSettled(state, entry, now)
}

/** Lets the newest connection that is still being opened go as soon as it is open, if there is one. */
const spareNewest = <C>(state: State<C>): void => {
  for (let entry = state.connecting.tail; entry !== undefined; entry = entry.previous) {
    if (entry.evictReason === undefined) return mark(state, entry, "excess")
  }
}

/** Closing has ended. `error` is the error of the finalizers, if there is one. */
export const closed = <C>(state: State<C>, entry: Entry<C>, error: unknown, now: number): void => {
  if (entry.connectedAt !== undefined) {
    state.counters.disconnects++
    report(state, PoolEvent.Disconnected({ connection: entry.id, error }))
  }
  leave(state, entry)
  settle(state, now)
  goOn(state, now)
}

/** The deadline of the operation on the connection has passed. */
export const overdue = <C>(state: State<C>, entry: Entry<C>, now: number): void => {
  if (entry.list === state.closing) {
    state.counters.closeTimeouts++
    report(state, PoolEvent.CloseTimedOut({ connection: entry.id }))
    leave(state, entry)
    settle(state, now)
    goOn(state, now)
  } else if (entry.list === state.validating) wasValidated(state, entry, "invalid", now)
  else wasReset(state, entry, "reset", now)
}
