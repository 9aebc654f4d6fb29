/**
 * Which connections are on their way to callers, and which have to be opened for them and for `min`.
 */
import type * as LinkedList from "../structures/linkedList.ts"
import { backoffMillis, badStartsForgiven, isProbing } from "./backoff.ts"
import { begin } from "./leaving.ts"
import { Entry, size, type State, total } from "./state.ts"

export const openMissing = <C>(state: State<C>, now: number): void => {
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
 * Whether callers need another probe. Those under way do not count: they are late, or this was not asked. But for a
 * single caller no more than two run, however long they take.
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
export const isOvertaken = <C>(state: State<C>, entry: Entry<C>): boolean => entry.id < state.newestConnected

export const prompt = <C>(list: LinkedList.LinkedList<Entry<C>>, now: number): number => {
  let count = list.length
  // In the order in which they began.
  for (let entry = list.head; entry !== undefined && isLate(entry, now); entry = entry.next) count--
  return count
}

export const isLate = <C>(entry: Entry<C>, now: number): boolean => now >= entry.beganAt + slowAfterMillis

/** After so long, a validation, a reset or an attempt to connect counts as slow: others need not wait for it. */
export const slowAfterMillis = 1000
