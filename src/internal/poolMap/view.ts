/** Snapshots of a map for users: numbers, pools, holders. Nothing here changes the state. */
import { Inspectable } from "effect"
import type { PoolHolder, PoolMapOccupancy, PoolMapPhase } from "../../PoolMapError.ts"
import type { PoolInfo, PoolMapStats, PoolState } from "../../PoolMapStats.ts"
import * as Runtime from "../runtime.ts"
import * as LinkedList from "../structures/linkedList.ts"
import { cut } from "../structures/statementText.ts"
import { type Entry, type Lease, type State, total } from "./state.ts"

export const occupancy = <K, P>(state: State<K, P>): PoolMapOccupancy => {
  let idle = 0
  for (const entry of LinkedList.members(state.idle)) if (entry.condition!() !== "in use") idle++
  return {
    max: state.settings.max,
    total: total(state),
    opening: state.opening.length,
    idle,
    inUse: state.used.length + state.leaving.length + state.idle.length - idle,
    closing: state.closing.length,
    waiting: state.waiting
  }
}

export const stats = <K, P>(state: State<K, P>): PoolMapStats => {
  let overdue = 0
  for (const { isOverdue } of LinkedList.members(state.closing)) if (isOverdue) overdue++
  return {
    map: state.settings.name,
    ...occupancy(state),
    leases: state.leases,
    overdue,
    ...state.counters,
    evictions: { ...state.counters.evictions }
  }
}

/** All pools, grouped by their state. */
export const pools = <K, P>(state: State<K, P>, now: number): ReadonlyArray<PoolInfo<K>> => {
  const add = (list: LinkedList.LinkedList<Entry<K, P>>, name: PoolState): ReadonlyArray<PoolInfo<K>> =>
    Array.from(LinkedList.members(list), (entry) => {
      const isInUse = entry.leases.length > 0 || (list === state.idle && entry.condition!() === "in use")
      return {
        key: entry.key,
        state: list === state.idle && isInUse ? "in use" : name,
        leases: entry.leases.length,
        waiting: entry.callers.length,
        ageMillis: entry.openedAt === undefined ? undefined : now - entry.openedAt,
        idleMillis: isInUse || entry.openedAt === undefined ? 0 : now - entry.idleSince
      }
    })
  return [
    ...add(state.line, "waiting"),
    ...add(state.opening, "opening"),
    ...add(state.idle, "idle"),
    ...add(state.used, "in use"),
    ...add(state.leaving, "leaving"),
    ...add(state.closing, "closing")
  ]
}

/** The keys whose pool is open. */
export const keys = <K, P>(state: State<K, P>): ReadonlyArray<K> =>
  [state.idle, state.used, state.leaving].flatMap((list) => Array.from(LinkedList.members(list), ({ key }) => key))

/** The leases that last longest, at most `most` of them, the longest first. */
export const holders = <K, P>(state: State<K, P>, now: number, most: number): ReadonlyArray<PoolHolder> => {
  const found: Array<Lease<K, P>> = []
  for (const list of [state.used, state.leaving]) {
    for (const { leases } of LinkedList.members(list)) {
      let ofPool = 0
      for (const lease of LinkedList.members(leases)) if (ofPool++ < most) found.push(lease)
    }
  }
  return found.toSorted((a, b) => a.grantedAt - b.grantedAt).slice(0, most).map((lease) => holderOf(lease, now))
}

const holderOf = <K, P>(lease: Lease<K, P>, now: number): PoolHolder => {
  const span = Runtime.spanOf(lease.fiber)
  const label = lease.options?.label ?? (span?._tag === "Span" ? span.name : undefined)
  return {
    key: keyText(lease.key),
    ...(label === undefined ? undefined : { label }),
    fiber: lease.fiber.id,
    heldMillis: now - lease.grantedAt
  }
}

/** What the callers of an entry wait for. */
export const phaseOf = <K, P>(state: State<K, P>, entry: Entry<K, P>): PoolMapPhase => {
  switch (entry.list) {
    case state.opening:
      return "open"
    case state.closing:
      return "close"
    case state.leaving:
      return "use"
    default:
      return "room"
  }
}

/** The text of a key in errors and log messages. Never throws. */
export const keyText = (key: unknown): string => {
  try {
    const text = typeof key === "string" ? JSON.stringify(key) : Inspectable.toStringUnknown(key, 0)
    return cut(text, 100)
  } catch {
    return "a key that cannot be printed"
  }
}
