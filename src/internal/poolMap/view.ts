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
export const pools = <K, P>(state: State<K, P>, now: number): ReadonlyArray<PoolInfo<K>> =>
  entries(state).map((entry) => infoOf(state, entry, now)!)

/** All pools, and the keys that wait for room, grouped by their state. */
export const entries = <K, P>(state: State<K, P>): ReadonlyArray<Entry<K, P>> => {
  const found: Array<Entry<K, P>> = []
  for (const [key] of listNames) for (const entry of LinkedList.members(state[key])) found.push(entry)
  return found
}

const listNames = [
  ["line", "waiting"],
  ["opening", "opening"],
  ["idle", "idle"],
  ["used", "in use"],
  ["leaving", "leaving"],
  ["closing", "closing"]
] as const satisfies ReadonlyArray<readonly [keyof State<unknown, unknown>, PoolState]>

/** One pool; `undefined` if it is gone. */
export const infoOf = <K, P>(state: State<K, P>, entry: Entry<K, P>, now: number): PoolInfo<K> | undefined => {
  const { list } = entry
  const name = listNames.find(([key]) => state[key] === list)?.[1]
  if (name === undefined) return undefined
  const isUsed = isInUse(state, entry)
  return {
    key: entry.key,
    state: list === state.idle && isUsed ? "in use" : name,
    leases: entry.leases.length,
    waiting: entry.callers.length,
    ageMillis: entry.openedAt === undefined ? undefined : now - entry.openedAt,
    idleMillis: isUsed || entry.openedAt === undefined ? 0 : now - entry.idleSince
  }
}

/** Whether a pool has leases: of the map, or its own. */
export const isInUse = <K, P>(state: State<K, P>, { condition, leases, list }: Entry<K, P>): boolean =>
  leases.length > 0 || (list === state.idle && condition!() === "in use")

/** How busy a pool is, as far as the map knows: callers that wait count most, then leases. 0 if it is idle. */
export const rankOf = <K, P>(state: State<K, P>, { callers, leases, list }: Entry<K, P>): number =>
  1024 * Math.min(callers.length, 2 ** 17) + 2 * Math.min(leases.length, 500) + (list === state.idle ? 0 : 1)

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
    // A key may be as long as what somebody sent.
    const text = typeof key === "string" ? JSON.stringify(key.slice(0, 200)) : Inspectable.toStringUnknown(key, 0)
    return cut(text, 100)
  } catch {
    return "a key that cannot be printed"
  }
}
