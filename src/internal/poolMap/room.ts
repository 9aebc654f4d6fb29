/**
 * Room for pools: which pool is opened next, and which is closed for it.
 *
 * The first in line gets the next room. To make room, the pool that was used least recently is closed, if it has no
 * lease, neither of the map nor of its own.
 */
import * as PoolMapEvent from "../../PoolMapEvent.ts"
import * as Deadlines from "../structures/deadlines.ts"
import * as LinkedList from "../structures/linkedList.ts"
import { grantAll } from "./leases.ts"
import { type Entry, report, type State, total } from "./state.ts"

/** How long a pool may take to close before another one is closed too, for a caller that needs the room. */
const slowAfterMillis = 1000

/**
 * How long the first in line waits while all pools are in use, before one of them has to make room: it gets no new
 * callers, and is closed once it has no lease. Otherwise a key would never get its turn while `max` others are asked
 * for all the time.
 */
export const fairAfterMillis = 1000

/** How soon room is looked for again. Nobody tells the map when a lease ends that it does not know of. */
const lookAgainMillis = 100

/** Opens pools for the line, and closes others to make room. Every function that frees or needs room ends with this. */
export const settle = <K, P>(state: State<K, P>, now: number): void => {
  state.lookAgainAt = Infinity
  if (state.phase !== "open") return
  for (const entry of LinkedList.members(state.leaving)) {
    if (entry.leases.length > 0) continue
    if (isFree(entry)) evict(state, entry, entry.evictReason!, now)
    else state.lookAgainAt = now + lookAgainMillis
  }
  while (state.line.head !== undefined && total(state) < state.settings.max) open(state, state.line.head, now)
  if (state.line.length === 0) return stay(state, now)
  makeRoom(state, now)
  state.lookAgainAt = now + lookAgainMillis
}

const open = <K, P>(state: State<K, P>, entry: Entry<K, P>, now: number): void => {
  LinkedList.move(state.opening, entry)
  entry.beganAt = now
  Deadlines.add(state.deadlines, entry, now, state.settings.openTimeoutMillis)
  state.starting.push(entry)
}

const makeRoom = <K, P>(state: State<K, P>, now: number): void => {
  let missing = state.line.length
  for (const entry of LinkedList.members(state.closing)) {
    // The room of a pool whose key is asked for again may be needed for that key.
    if (entry.callers.length === 0 && now - entry.beganAt < slowAfterMillis) missing--
  }
  for (const entry of LinkedList.members(state.idle)) {
    if (missing <= 0) return
    if (!isFree(entry)) continue
    evict(state, entry, "room", now)
    missing--
  }
  if (missing > 0) giveWay(state, now)
}

/** Has one pool in use make room, if the first in line has waited for long. */
const giveWay = <K, P>(state: State<K, P>, now: number): void => {
  const first = state.line.head!.callers.head!
  if (now - Math.max(first.askedAt, state.gaveWayAt) < fairAfterMillis) return
  let chosen: Entry<K, P> | undefined
  // The pool whose longest lease is the shortest will probably be free first.
  for (const entry of LinkedList.members(state.used)) {
    if (chosen === undefined || entry.leases.head!.grantedAt > chosen.leases.head!.grantedAt) chosen = entry
  }
  if (chosen === undefined) return
  state.gaveWayAt = now
  leave(state, chosen, "room", now)
}

/** Lets pools stay that had to make room, as nobody waits for room any more. */
const stay = <K, P>(state: State<K, P>, now: number): void => {
  for (const entry of LinkedList.members(state.leaving)) {
    if (entry.evictReason !== "room") continue
    if (entry.condition!() === "closed") {
      entry.evictReason = "closed"
      continue
    }
    entry.evictReason = undefined
    LinkedList.move(entry.leases.length === 0 ? state.idle : state.used, entry)
    grantAll(state, entry, now)
  }
}

/** Whether a pool has no lease: neither of the map, nor one that the map does not know of. */
export const isFree = <K, P>(entry: Entry<K, P>): boolean =>
  entry.leases.length === 0 && entry.condition!() !== "in use"

/** Closes a pool: at once, or when its last lease ends. New callers of its key wait for the next pool. */
export const leave = <K, P>(
  state: State<K, P>,
  entry: Entry<K, P>,
  reason: PoolMapEvent.PoolEvictReason,
  now: number
): void => {
  if (isFree(entry)) return evict(state, entry, reason, now)
  entry.evictReason = reason
  LinkedList.move(state.leaving, entry)
}

/** Closes an open pool that has no lease. */
export const evict = <K, P>(
  state: State<K, P>,
  entry: Entry<K, P>,
  reason: PoolMapEvent.PoolEvictReason,
  now: number
): void => {
  entry.evictReason = reason
  state.counters.evictions[reason]++
  report(state, PoolMapEvent.Evicted({ key: entry.key, reason }))
  close(state, entry, now)
}

/** Begins to close what `open` has opened. It takes up room until it is closed. */
export const close = <K, P>(state: State<K, P>, entry: Entry<K, P>, now: number): void => {
  LinkedList.move(state.closing, entry)
  entry.beganAt = now
  Deadlines.add(state.deadlines, entry, now, state.settings.closeTimeoutMillis)
  state.starting.push(entry)
}
