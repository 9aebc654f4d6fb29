/**
 * How a connection moves from one list to another, and how it leaves the pool.
 */
import type { EvictReason } from "../../Connection.ts"
import * as PoolEvent from "../../PoolEvent.ts"
import * as Deadlines from "../structures/deadlines.ts"
import * as LinkedList from "../structures/linkedList.ts"
import { isFault, isYoung, noteBadStart } from "./backoff.ts"
import { type Entry, report, type State } from "./state.ts"

/** Puts a connection into the state in which its next operation runs, and has that started. */
export const begin = <C>(state: State<C>, entry: Entry<C>, list: LinkedList.LinkedList<Entry<C>>): void => {
  leave(state, entry)
  LinkedList.push(list, entry)
  if (!entry.isStarting) state.starting.push(entry)
  entry.isStarting = true
  state.isPending = true
}

/** Takes a connection out of the list it is in. */
export const leave = <C>(state: State<C>, entry: Entry<C>): void => {
  LinkedList.remove(entry)
  endOperation(state, entry)
}

/** Whatever still runs on the connection no longer counts. */
export const endOperation = <C>(state: State<C>, entry: Entry<C>): void => {
  Deadlines.cancel(state.deadlines, entry)
  entry.operation++
}

/** An attempt to open a connection came to nothing. */
export const giveUpConnecting = <C>(state: State<C>, entry: Entry<C>): void => {
  state.counters.connectFailures++
  if (entry.evictReason !== undefined) state.marked--
}

/** Has a connection leave the pool: now if nobody uses it, else when that ends. */
export const evict = <C>(state: State<C>, entry: Entry<C>, reason: EvictReason): void => {
  if (entry.list === state.idle) close(state, entry, reason)
  else mark(state, entry, reason)
}

export const mark = <C>(state: State<C>, entry: Entry<C>, reason: EvictReason): void => {
  if (entry.evictReason !== undefined || entry.list === state.closing) return
  entry.evictReason = reason
  state.marked++
}

export const close = <C>(state: State<C>, entry: Entry<C>, reason: EvictReason): void => {
  if (entry.evictReason === undefined) entry.evictReason = reason
  else state.marked--
  state.counters.evictions[entry.evictReason]++
  report(state, PoolEvent.Evicted({ connection: entry.id, reason: entry.evictReason }))
  begin(state, entry, state.closing)
}

/** Closes a connection for what was found out about itself. It may never have been any good, or the database is away. */
export const closeFor = <C>(state: State<C>, entry: Entry<C>, reason: EvictReason, now: number): void => {
  if (isFault(reason)) {
    state.isDoubtful = true
    if (entry.isFresh && isYoung(state, entry, now)) noteBadStart(state, reason, now)
  }
  close(state, entry, reason)
}
