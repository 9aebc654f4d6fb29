/**
 * How a connection moves from one list to another, and how it leaves the pool.
 */
import type { EvictReason } from "../../Connection.ts"
import * as PoolEvent from "../../PoolEvent.ts"
import * as Deadlines from "../structures/deadlines.ts"
import * as LinkedList from "../structures/linkedList.ts"
import { isFault, isYoung, noteBadStart } from "./backoff.ts"
import { type Entry, report, type State } from "./state.ts"

/** Moves a connection to the list of its next operation, and notes that the operation has to start. */
export const begin = <C>(state: State<C>, entry: Entry<C>, list: LinkedList.LinkedList<Entry<C>>): void => {
  leave(state, entry)
  LinkedList.push(list, entry)
  if (!entry.isStarting) state.starting.push(entry)
  entry.isStarting = true
  state.isPending = true
}

/** Takes a connection out of its list. */
export const leave = <C>(state: State<C>, entry: Entry<C>): void => {
  LinkedList.remove(entry)
  endOperation(state, entry)
}

/** Makes the pool ignore the result of the operation that runs on the connection, if one does. */
export const endOperation = <C>(state: State<C>, entry: Entry<C>): void => {
  Deadlines.cancel(state.deadlines, entry)
  entry.operation++
}

/** Counts a connect attempt that has failed, or that a shutdown ends. */
export const giveUpConnecting = <C>(state: State<C>, entry: Entry<C>): void => {
  state.counters.connectFailures++
  if (entry.evictReason !== undefined) state.marked--
}

/** Evicts a connection: now if it is idle, else when its lease or its operation ends. */
export const evict = <C>(state: State<C>, entry: Entry<C>, reason: EvictReason): void => {
  if (entry.list === state.idle) close(state, entry, reason)
  else mark(state, entry, reason)
}

/** Notes that a connection has to leave when its lease or its operation ends. The first reason counts. */
export const mark = <C>(state: State<C>, entry: Entry<C>, reason: EvictReason): void => {
  if (entry.evictReason !== undefined) return
  entry.evictReason = reason
  state.marked++
}

export const close = <C>(state: State<C>, entry: Entry<C>, reason: EvictReason): void => {
  if (entry.evictReason === undefined) entry.evictReason = reason
  else state.marked--
  state.counters.evictions[entry.evictReason]++
  const isKnown = (entry.evictReason === "driver" || entry.evictReason === "abandoned") && entry.fault !== undefined
  const thrown = isKnown ? { error: entry.fault } : undefined
  report(state, PoolEvent.Evicted({ connection: entry.id, reason: entry.evictReason, ...thrown }))
  begin(state, entry, state.closing)
}

/** Closes a connection. If the reason is a fault, the database may be down, or this is a bad start. */
export const closeFor = <C>(state: State<C>, entry: Entry<C>, reason: EvictReason, now: number): void => {
  if (isFault(reason)) {
    state.isDoubtful = true
    if (entry.isFresh && isYoung(state, entry, now)) noteBadStart(state, reason, now)
  }
  close(state, entry, reason)
}
