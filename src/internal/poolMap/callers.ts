/** What callers do: they ask for a pool, and return it. */
import { Effect } from "effect"
import { PoolClosedError } from "../../PoolError.ts"
import { PoolMapTimeoutError } from "../../PoolMapError.ts"
import * as PoolMapEvent from "../../PoolMapEvent.ts"
import * as LinkedList from "../structures/linkedList.ts"
import { finishWait, grant, isInside, join, ownLeases, refuse } from "./leases.ts"
import { evict, leave, settle } from "./room.ts"
import { find, type Lease, report, type State, timeoutOf } from "./state.ts"
import * as View from "./view.ts"

/** Gives a caller its pool, if that is open. Answers whether it has it. */
export const take = <K, P>(state: State<K, P>, lease: Lease<K, P>, now: number): boolean => {
  const entry = find(state, lease.key)
  if (entry === undefined) return false
  if ((entry.list === state.idle || entry.list === state.used) && entry.condition!() === "closed") {
    leave(state, entry, "closed", now)
  }
  const isOpen = entry.list === state.idle || entry.list === state.used
  if (!isOpen && !(entry.list === state.leaving && isInside(lease, entry))) return false
  state.counters.hits++
  grant(state, entry, lease, now)
  return true
}

/** Lets a caller wait, after it found its pool not open. */
export const wait = <K, P>(state: State<K, P>, lease: Lease<K, P>, now: number): void => {
  join(state, lease, now)
  settle(state, now)
}

/** Ends a lease, or the wait for one. A second call does nothing. */
export const end = <K, P>(state: State<K, P>, lease: Lease<K, P>, now: number): void => {
  const { entry, stage } = lease
  lease.stage = "ended"
  if (stage === "waiting") {
    finishWait(state, lease)
    state.counters.cancelled++
    settle(state, now)
  } else if (stage === "granted" || stage === "held") {
    LinkedList.remove(lease)
    state.leases--
    if (entry!.leases.length > 0) return
    entry!.idleSince = now
    if (state.phase !== "open") evict(state, entry!, entry!.evictReason ?? "shutdown", now)
    else if (entry!.list === state.used) LinkedList.move(state.idle, entry!)
    if (state.line.length > 0 || state.leaving.length > 0) settle(state, now)
  }
}

/**
 * Ends the leases whose fiber is gone and has not returned them. A fiber that evaluates something that is no Effect is
 * dropped by its runtime, which runs no finalizer.
 */
export const endLost = <K, P>(state: State<K, P>, now: number): void => {
  for (const list of [state.used, state.leaving]) {
    for (const entry of LinkedList.members(list)) {
      for (const lease of LinkedList.members(entry.leases)) {
        if (lease.scope === undefined && lease.fiber.pollUnsafe() !== undefined) end(state, lease, now)
      }
    }
  }
}

/**
 * Ends the wait of callers whose deadline has passed. All errors are made before the first caller leaves the line, so
 * each shows the line as it was.
 */
export const timeOut = <K, P>(state: State<K, P>, late: ReadonlyArray<Lease<K, P>>, now: number): void => {
  const waiting = late.filter((lease) => lease.stage === "waiting")
  if (waiting.length === 0) return
  const occupancy = View.occupancy(state)
  const holders = View.holders(state, now, 5)
  const errors = waiting.map((lease) => {
    const own = ownLeases(state, lease)
    return new PoolMapTimeoutError({
      map: state.settings.name,
      key: View.keyText(lease.key),
      phase: View.phaseOf(state, lease.entry!),
      waitedMillis: now - lease.askedAt,
      timeoutMillis: timeoutOf(state, lease),
      occupancy,
      holders,
      ...(own === 0 ? undefined : { ownLeases: own })
    })
  })
  for (const [index, lease] of waiting.entries()) {
    const { waitedMillis } = errors[index]!
    state.counters.timeouts++
    report(state, PoolMapEvent.TimedOut({ key: lease.key, fiber: lease.fiber.id, waitedMillis }))
    refuse(state, lease, Effect.fail(errors[index]!))
  }
  settle(state, now)
}

export const closedError = <K, P>({ phase, settings }: State<K, P>): PoolClosedError =>
  new PoolClosedError({ pool: settings.name, phase: phase === "closed" ? "closed" : "shutting down" })
