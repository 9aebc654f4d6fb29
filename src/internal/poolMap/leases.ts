/** A lease of a pool: granted, refused, and the wait between asking and the answer. */
import { type Effect, MutableHashMap } from "effect"
import * as Deadlines from "../structures/deadlines.ts"
import * as Histogram from "../structures/histogram.ts"
import * as LinkedList from "../structures/linkedList.ts"
import { Entry, find, type Lease, type State, timeoutOf } from "./state.ts"

/** Gives a caller the pool. The pool is open, and is not closed before the lease has ended. */
export const grant = <K, P>(state: State<K, P>, entry: Entry<K, P>, lease: Lease<K, P>, now: number): void => {
  if (entry.list === state.idle) LinkedList.move(state.used, entry)
  LinkedList.push(entry.leases, lease)
  lease.entry = entry
  lease.stage = "granted"
  lease.grantedAt = now
  state.leases++
}

/** Gives all who wait for a pool that pool. */
export const grantAll = <K, P>(state: State<K, P>, entry: Entry<K, P>, now: number): void => {
  for (const lease of LinkedList.members(entry.callers)) {
    finishWait(state, lease)
    const waitedMillis = now - lease.askedAt
    state.counters.misses++
    state.counters.maxWaitMillis = Math.max(state.counters.maxWaitMillis, waitedMillis)
    Histogram.record(state.waitTimes, waitedMillis)
    grant(state, entry, lease, now)
    state.ready.push(lease)
  }
}

/** Lets a caller wait for the pool of its key. A key without an entry gets one, at the end of the line. */
export const join = <K, P>(state: State<K, P>, lease: Lease<K, P>, now: number): void => {
  let entry = find(state, lease.key)
  if (entry === undefined) {
    entry = new Entry<K, P>(lease.key)
    MutableHashMap.set(state.entries, lease.key, entry)
    LinkedList.push(state.line, entry)
  }
  lease.stage = "waiting"
  lease.entry = entry
  lease.number = state.nextNumber++
  lease.askedAt = now
  state.waiting++
  LinkedList.push(entry.callers, lease)
  Deadlines.add(state.deadlines, lease, now, timeoutOf(state, lease))
}

/** Ends the wait of a caller with an error. */
export const refuse = <K, P>(state: State<K, P>, lease: Lease<K, P>, refusal: Effect.Effect<never, unknown>): void => {
  finishWait(state, lease)
  lease.stage = "refused"
  lease.refusal = refusal
  state.ready.push(lease)
}

/** Takes a caller out of the list of those who wait. An entry that waits for room only waits as long as a caller does. */
export const finishWait = <K, P>(state: State<K, P>, lease: Lease<K, P>): void => {
  const entry = lease.entry!
  LinkedList.remove(lease)
  Deadlines.cancel(state.deadlines, lease)
  state.waiting--
  if (entry.list !== state.line) return
  const behind = entry.next
  LinkedList.remove(entry)
  // The others do not inherit the place of the first.
  if (entry.callers.length > 0) joinLine(state, entry, behind)
  else MutableHashMap.remove(state.entries, entry.key)
}

/** Puts a key into the line, behind those who asked before its first caller: at the place of `behind`, or after it. */
export const joinLine = <K, P>(state: State<K, P>, entry: Entry<K, P>, behind: Entry<K, P> | undefined): void => {
  const { number } = entry.callers.head!
  let other = behind
  while (other !== undefined && other.callers.head!.number < number) other = other.next
  if (other === undefined) LinkedList.push(state.line, entry)
  else LinkedList.insertBefore(other, entry)
}

/** Whether a caller asks inside a lease of this pool. To wait for the end of that lease, it would wait for itself. */
export const isInside = <K, P>(lease: Lease<K, P>, entry: Entry<K, P>): boolean => {
  for (let outer = lease.outer; outer !== undefined; outer = outer.outer) {
    if (outer.entry === entry && outer.stage === "held") return true
  }
  for (const other of LinkedList.members(entry.leases)) if (other.fiber === lease.fiber) return true
  return false
}

/** How many leases of the map this caller holds, or is inside of. */
export const ownLeases = <K, P>(state: State<K, P>, lease: Lease<K, P>): number => {
  const own = new Set<Lease<K, P>>()
  for (let outer = lease.outer; outer !== undefined; outer = outer.outer) if (outer.stage === "held") own.add(outer)
  for (const list of [state.used, state.leaving]) {
    for (const entry of LinkedList.members(list)) {
      for (const other of LinkedList.members(entry.leases)) if (other.fiber === lease.fiber) own.add(other)
    }
  }
  return own.size
}
