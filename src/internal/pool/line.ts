/** The line of callers who wait: joining it, being refused, and leases whose fiber is gone. */
import { Cause, type Fiber } from "effect"
import type { PoolError } from "../../PoolError.ts"
import * as Deadlines from "../structures/deadlines.ts"
import * as LinkedList from "../structures/linkedList.ts"
import { end, finishWait } from "./lending.ts"
import { type Lease, type State, timeoutOf, total, upkeepBy, type Waiter } from "./state.ts"
import { slowAfterMillis } from "./supply.ts"

/** Puts the caller at the end of the line. `waiter.resume` is called once, when its wait is over. */
export const join = <C>(state: State<C>, waiter: Waiter<C>, now: number): void => {
  const { lease } = waiter
  lease.stage = "waiting"
  lease.waiter = waiter
  LinkedList.push(state.waiters, waiter)
  Deadlines.add(state.deadlines, waiter, now, timeoutOf(state, lease))
  upkeepBy(state, now + slowAfterMillis)
}

/** Refuses a caller that may not join the line. */
export const turnAway = <C>(state: State<C>, lease: Lease<C>, error: PoolError<unknown>): void => {
  lease.stage = "refused"
  if (error._tag === "ConnectError") state.counters.connectErrors++
  else state.counters.refused++
}

/** Whether the caller could only wait for itself: it holds all `max` connections, and only it can return them. */
export const isSelfDeadlock = <C>(state: State<C>, lease: Lease<C>): boolean => {
  if (state.inUse.length < state.settings.max || state.inUse.length < total(state)) return false
  // Every caller that has to wait comes through here, and mostly the first lease answers: no iterator.
  for (let entry = state.inUse.head; entry !== undefined; entry = entry.next) {
    if (!isHeldBy(lease, entry.lease!)) return false
  }
  return true
}

/**
 * Whether a lease cannot end as long as this caller waits: its fiber holds it for a body of `use`, or for the scope
 * that the fiber is in. Another scope may be closed by another fiber.
 */
export const isHeldBy = <C>(caller: Lease<C>, held: Lease<C>): boolean =>
  held.fiber === caller.fiber && (held.scope === undefined || held.scope === caller.surrounding)

/** How many leases each fiber holds. */
export const leasesByFiber = <C>(state: State<C>): ReadonlyMap<Fiber.Fiber<unknown, unknown>, number> => {
  const leases = new Map<Fiber.Fiber<unknown, unknown>, number>()
  for (const { lease } of LinkedList.members(state.inUse)) {
    leases.set(lease!.fiber, (leases.get(lease!.fiber) ?? 0) + 1)
  }
  return leases
}

/** Ends the wait of a caller with an error. */
export const refuse = <C>(state: State<C>, waiter: Waiter<C>, error: PoolError<unknown>): void => {
  waiter.lease.stage = "refused"
  waiter.refuse(error)
  finishWait(state, waiter)
}

/**
 * Ends the leases whose fiber is gone and has not returned them. A fiber that is given something that is no Effect is
 * dropped by its runtime, which runs no finalizer. This runs before a caller joins the line or times out, from time to
 * time while somebody waits, and before the holders are listed.
 */
export const endLost = <C>(state: State<C>, now: number): void => {
  let entry = state.inUse.head
  while (entry !== undefined) {
    const { lease, next } = entry
    if (isLost(lease!)) lose(state, lease!, now)
    entry = next
  }
}

const isLost = <C>(lease: Lease<C>): boolean => lease.scope === undefined && lease.fiber.pollUnsafe() !== undefined

/**
 * Ends lost leases before a caller joins the line. If others wait already, it looks at the longest lease only, and at
 * the next only if that one was lost.
 */
export const endLostBeforeWait = <C>(state: State<C>, now: number): void => {
  if (state.waiters.length === 0) return endLost(state, now)
  // While others are returned, a lost lease soon becomes the longest one.
  while (state.inUse.head !== undefined && isLost(state.inUse.head.lease!)) lose(state, state.inUse.head.lease!, now)
}

/** Ends a lease whose fiber was dropped in the middle of its work. The connection is reset, and then validated. */
export const lose = <C>(state: State<C>, lease: Lease<C>, now: number): void => {
  if (lease.stage === "held" && state.driver.validates) lease.entry!.isSuspect = true
  end(state, lease, now, droppedFiber)
}

const droppedFiber = Cause.die(new Error("the fiber that held the connection was dropped by its runtime"))
