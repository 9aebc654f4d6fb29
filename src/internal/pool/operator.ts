/** What an operator does to a pool: recycle, resize, pause, resume, and the parts of a shutdown. */
import * as PoolEvent from "../../PoolEvent.ts"
import * as Histogram from "../structures/histogram.ts"
import * as LinkedList from "../structures/linkedList.ts"
import { begin, close, evict, giveUpConnecting } from "./leaving.ts"
import { settle, takeBack } from "./lending.ts"
import { mayExist } from "./reasons.ts"
import { type Entry, report, size, type State, upkeepBy, type Waiter } from "./state.ts"

/** Evicts all connections. Answers with their number. */
export const recycle = <C>(state: State<C>, now: number): number => {
  let connections = 0
  state.generation++
  const { abandoned, connecting, idle, inUse, resetting, validating } = state
  for (const list of [connecting, validating, inUse, resetting, abandoned, idle]) {
    for (const entry of LinkedList.members(list)) {
      connections++
      evict(state, entry, "recycled")
    }
  }
  report(state, PoolEvent.Recycled({ connections }))
  settle(state, now)
  return connections
}

/**
 * Sets new bounds. Connections above `max` leave: idle ones now, longest idle first; those in use or abandoned when they
 * come back.
 */
export const resize = <C>(state: State<C>, min: number, max: number, now: number): void => {
  state.settings.min = min
  state.settings.max = max
  state.isSelective = true
  while (size(state) > mayExist(state) && state.idle.head !== undefined) close(state, state.idle.head, "excess")
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

/**
 * Stops lending, and closes all connections that are not in use. Answers with the waiters, which have to be refused.
 */
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

/** Ends a lease and takes its connection back, whatever its holder does. Ending the lease again does nothing. */
export const revoke = <C>(state: State<C>, entry: Entry<C>, now: number): void => {
  const lease = entry.lease!
  if (lease.stage === "held") {
    lease.stage = "ended"
    state.counters.returns++
    if (state.isMeasured) Histogram.record(state.useTimes, now - entry.leasedAt)
  } else {
    lease.stage = "refused"
    state.counters.refused++
  }
  takeBack(state, lease, now, true, false)
}
