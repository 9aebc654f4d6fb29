/** What becomes of a pool: it has opened or not, it was not used for long, it is closed. */
import { Cause, Effect, MutableHashMap } from "effect"
import { PoolOpenTimeoutError } from "../../PoolMapError.ts"
import * as PoolMapEvent from "../../PoolMapEvent.ts"
import * as Deadlines from "../structures/deadlines.ts"
import * as Histogram from "../structures/histogram.ts"
import * as LinkedList from "../structures/linkedList.ts"
import { grantAll, joinLine, refuse } from "./leases.ts"
import { close, evict, isFree, leave, settle } from "./room.ts"
import { type Condition, Entry, find, report, type State } from "./state.ts"
import { keyText } from "./view.ts"

/** A pool is open. If it was given up meanwhile, it is closed already. */
export const opened = <K, P>(
  state: State<K, P>,
  entry: Entry<K, P>,
  value: P,
  condition: () => Condition,
  now: number
): void => {
  if (entry.list !== state.opening) return
  const tookMillis = now - entry.beganAt
  Deadlines.cancel(state.deadlines, entry)
  entry.value = value
  entry.condition = condition
  entry.openedAt = now
  entry.idleSince = now
  state.counters.opens++
  Histogram.record(state.openTimes, tookMillis)
  report(state, PoolMapEvent.Opened({ key: entry.key, tookMillis }))
  LinkedList.move(state.idle, entry)
  grantAll(state, entry, now)
  settle(state, now)
}

/** A pool could not be opened. All who wait for it get the failure, and the next caller has it opened again. */
export const openFailed = <K, P>(
  state: State<K, P>,
  entry: Entry<K, P>,
  cause: Cause.Cause<unknown>,
  now: number
): void => {
  if (entry.list !== state.opening) return
  // Nobody has interrupted these callers.
  const answer = Cause.hasInterruptsOnly(cause)
    ? Cause.die(new Error(`open of ${keyText(entry.key)} was interrupted`))
    : cause
  failAll(state, entry, Effect.failCause(answer), Cause.squash(answer), now)
}

const openTimedOut = <K, P>(state: State<K, P>, entry: Entry<K, P>, now: number): void => {
  const { name: map, openTimeoutMillis: timeoutMillis } = state.settings
  const error = new PoolOpenTimeoutError({ map, key: keyText(entry.key), timeoutMillis })
  state.counters.openTimeouts++
  failAll(state, entry, Effect.fail(error), error, now)
}

const failAll = <K, P>(
  state: State<K, P>,
  entry: Entry<K, P>,
  answer: Effect.Effect<never, unknown>,
  error: unknown,
  now: number
): void => {
  state.counters.openFailures++
  report(state, PoolMapEvent.OpenFailed({ key: entry.key, error, tookMillis: now - entry.beganAt }))
  for (const lease of LinkedList.members(entry.callers)) {
    state.counters.openErrors++
    refuse(state, lease, answer)
  }
  close(state, entry, now)
}

/** The time of an open or of a close is over. */
export const overdue = <K, P>(state: State<K, P>, entry: Entry<K, P>, now: number): void => {
  if (entry.list === state.opening) return openTimedOut(state, entry, now)
  entry.isOverdue = true
  report(state, PoolMapEvent.CloseOverdue({ key: entry.key, waitedMillis: now - entry.beganAt }))
}

/** A pool is closed. If its key is asked for again, it takes its place in line. */
export const closed = <K, P>(state: State<K, P>, entry: Entry<K, P>, error: unknown, now: number): void => {
  Deadlines.cancel(state.deadlines, entry)
  LinkedList.remove(entry)
  MutableHashMap.remove(state.entries, entry.key)
  if (entry.openedAt !== undefined) state.counters.closes++
  if (entry.openedAt !== undefined || error !== undefined) {
    report(state, PoolMapEvent.Closed({ key: entry.key, error, tookMillis: now - entry.beganAt }))
  }
  if (entry.callers.length > 0) askAgain(state, entry)
  settle(state, now)
}

/** Puts the callers of a pool that is closed into the line. */
const askAgain = <K, P>(state: State<K, P>, { callers, key }: Entry<K, P>): void => {
  const next = new Entry<K, P>(key)
  for (const lease of LinkedList.members(callers)) {
    lease.entry = next
    LinkedList.move(next.callers, lease)
  }
  MutableHashMap.set(state.entries, key, next)
  joinLine(state, next, state.line.head)
}

/** When the pool that was not used for the longest time has to be closed. */
export const idleDue = <K, P>({ idle, settings }: State<K, P>): number =>
  idle.head === undefined ? Infinity : idle.head.idleSince + settings.idleTimeoutMillis

/** Closes the pools that were not used for `idleTimeout`. */
export const closeIdle = <K, P>(state: State<K, P>, now: number): void => {
  while (idleDue(state) <= now) {
    const entry = state.idle.head!
    if (!isFree(entry)) {
      // It has leases that the map does not know of, so it is not idle.
      entry.idleSince = now
      LinkedList.move(state.idle, entry)
    } else evict(state, entry, "idle", now)
  }
}

/** Closes the pool of a key, as soon as it has no lease. Answers whether there is one that was not closing anyway. */
export const invalidate = <K, P>(state: State<K, P>, key: K, now: number): boolean => {
  const entry = find(state, key)
  if (entry === undefined || entry.list === state.line || entry.list === state.closing) return false
  // What it opens now may be what has to go. Those who wait for it get the next one.
  if (entry.list === state.opening) {
    state.counters.openFailures++
    close(state, entry, now)
  } else leave(state, entry, "invalidated", now)
  settle(state, now)
  return true
}
