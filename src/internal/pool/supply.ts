/** Opens connections: those that waiters need, and those that are missing for `min`. */
import type * as LinkedList from "../structures/linkedList.ts"
import { backoffMillis, badStartsForgiven, isProbing } from "./backoff.ts"
import { begin } from "./leaving.ts"
import { Entry, size, type State, total } from "./state.ts"

export const openMissing = <C>(state: State<C>, now: number): void => {
  const { connecting, settings, waiters } = state
  const possible = Math.min(room(state, now), settings.maxConnecting - connecting.length)
  if (possible <= 0) return
  if (isProbing(state)) {
    const mayServe = now >= state.retryAt && mayProbeForCallers(state, now)
    if (mayServe || (now >= state.refillAt && settings.min > size(state))) connect(state, now)
    return
  }
  const wanted = Math.max(waiters.length - onTheWay(state, now), settings.min - size(state))
  for (let opened = 0; opened < Math.min(wanted, possible); opened++) connect(state, now)
}

/** How many connections may be opened now. It is negative after a resize, or when a replaced connection has settled. */
export const room = <C>(state: State<C>, now: number): number => {
  const { abandoned, settings } = state
  if (abandoned.length === 0) return settings.max - total(state)
  let replaceable = 0
  for (let entry = abandoned.head; entry !== undefined; entry = entry.next) {
    if (now >= replaceableFrom(entry)) replaceable++
  }
  return settings.max + Math.min(replaceable, settings.maxAbandoned) - total(state)
}

/**
 * When an abandoned connection may be replaced: after it has been abandoned for as long as it took to open it. What ends
 * sooner is not worth a new connection. Then a caller never waits for more than twice the time that the better choice
 * would have taken.
 */
export const replaceableFrom = <C>({ beganAt, connectedAt, startedAt }: Entry<C>): number =>
  beganAt + Math.min(connectedAt! - startedAt, slowAfterMillis)

/**
 * Whether waiters need another connect attempt while the database may be down. `retryAt` has passed, so the attempts
 * under way are late, and do not count. A single waiter never has more than two attempts.
 */
export const mayProbeForCallers = <C>(state: State<C>, now: number): boolean => {
  const unserved = state.waiters.length - prompt(state.validating, now) - prompt(state.resetting, now)
  return unserved > 0 && state.connecting.length < Math.max(unserved, 2)
}

export const connect = <C>(state: State<C>, now: number): void => {
  state.counters.connectAttempts++
  if (isProbing(state)) {
    state.retryAt = now + backoffMillis(state, Math.max(state.failures, state.badStarts - badStartsForgiven + 1, 1))
    state.refillAt = state.retryAt
  }
  begin(state, new Entry<C>(state.nextId++, state.generation, now), state.connecting)
}

/**
 * The number of connections that will soon be free without a return. An operation that may hang stops counting after a
 * second, so that callers do not wait for its deadline: a validation, a reset, or a connect attempt that a later
 * attempt has overtaken.
 */
const onTheWay = <C>(state: State<C>, now: number): number => {
  let coming = state.connecting.length
  // The list has the order in which the attempts began: first the overtaken ones, and of those first the late ones.
  for (let entry = state.connecting.head; entry !== undefined; entry = entry.next) {
    if (!isOvertaken(state, entry) || !isLate(entry, now)) break
    coming--
  }
  return coming + prompt(state.validating, now) + prompt(state.resetting, now)
}

/** Whether a connect attempt that began later has already succeeded. */
export const isOvertaken = <C>(state: State<C>, entry: Entry<C>): boolean => entry.id < state.newestConnected

/** The number of operations in a list that are not late. */
export const prompt = <C>(list: LinkedList.LinkedList<Entry<C>>, now: number): number => {
  let count = list.length
  // The list has the order in which the operations began.
  for (let entry = list.head; entry !== undefined && isLate(entry, now); entry = entry.next) count--
  return count
}

export const isLate = <C>(entry: Entry<C>, now: number): boolean => now >= entry.beganAt + slowAfterMillis

/** After this time a validation, a reset or an overtaken connect attempt is late: callers need not wait for it. */
export const slowAfterMillis = 1000
