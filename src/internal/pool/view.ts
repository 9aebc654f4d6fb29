/** Snapshots of a pool for users: numbers, holders, connections. Nothing here changes the state. */
import type { ConnectionInfo, ConnectionState } from "../../Connection.ts"
import type { ConnectionStats } from "../../ConnectionStats.ts"
import type { AbandonedConnection, AcquirePhase, Holder, Occupancy } from "../../PoolError.ts"
import * as Histogram from "../structures/histogram.ts"
import * as LinkedList from "../structures/linkedList.ts"
import { isFault } from "./backoff.ts"
import { abandonedOf, callerOf, holderOf } from "./holders.ts"
import { type Entry, type State, total, type Waiter } from "./state.ts"
import { prompt, room } from "./supply.ts"

export const occupancy = <C>(state: State<C>): Occupancy => ({
  max: state.settings.max,
  total: total(state),
  connecting: state.connecting.length,
  idle: state.idle.length,
  validating: state.validating.length,
  inUse: state.inUse.length,
  resetting: state.resetting.length,
  abandoned: state.abandoned.length,
  closing: state.closing.length,
  waiting: state.waiters.length
})

/** Whether the pool was shut down, or else has a lease or a caller in line. */
export const condition = <C>({ inUse, phase, ready, waiters }: State<C>): "idle" | "in use" | "closed" => {
  if (phase !== "open") return "closed"
  return inUse.length + waiters.length + ready.length > 0 ? "in use" : "idle"
}

export const stats = <C>(state: State<C>): ConnectionStats => {
  const { counters, settings } = state
  return {
    pool: settings.name,
    min: settings.min,
    maxAbandoned: settings.maxAbandoned,
    ...occupancy(state),
    utilization: state.inUse.length / settings.max,
    averageWaitMillis: counters.checkouts === 0 ? 0 : state.waitedMillis / counters.checkouts,
    ...counters,
    evictions: { ...counters.evictions }
  }
}

/** The leases that last longest, at most `most` of them, the longest first. */
export const holders = <C>(state: State<C>, now: number, most: number): ReadonlyArray<Holder> => {
  const found: Array<Holder> = []
  for (const entry of LinkedList.members(state.inUse)) {
    if (found.length === most) break
    found.push(holderOf(entry, now))
  }
  return found
}

/** The connections that were abandoned longest, at most `most` of them, the longest first. */
export const abandoned = <C>(state: State<C>, now: number, most: number): ReadonlyArray<AbandonedConnection> => {
  const found: Array<AbandonedConnection> = []
  for (const entry of LinkedList.members(state.abandoned)) {
    if (found.length === most) break
    found.push(abandonedOf(entry, now))
  }
  return found
}

/** The connections that have been abandoned for more than a second: their number, and for how long the first has been. */
export const abandonedForLong = <C>({ abandoned }: State<C>, now: number) => ({
  count: abandoned.length - prompt(abandoned, now),
  longestMillis: abandoned.head === undefined ? 0 : now - abandoned.head.beganAt
})

/** All connections, grouped by their state. */
export const connections = <C>(state: State<C>, now: number): ReadonlyArray<ConnectionInfo> => {
  const found: Array<ConnectionInfo> = []
  forEach(state, (entry, name) => found.push(infoOf(entry, name, now)))
  return found
}

/** Calls a function with each connection, grouped by their state. */
const forEach = <C>(state: State<C>, f: (entry: Entry<C>, name: ConnectionState) => void): void => {
  for (const [key, name] of listNames) for (const entry of LinkedList.members(state[key])) f(entry, name)
}

const listNames = [
  ["connecting", "connecting"],
  ["idle", "idle"],
  ["validating", "validating"],
  ["inUse", "in use"],
  ["resetting", "resetting"],
  ["abandoned", "abandoned"],
  ["closing", "closing"]
] as const

const infoOf = <C>(entry: Entry<C>, name: ConnectionState, now: number): ConnectionInfo => ({
  id: entry.id,
  state: name === "closing" && isBroken(entry) ? "error" : name,
  generation: entry.generation,
  uses: entry.uses,
  ageMillis: now - (entry.connectedAt ?? entry.startedAt),
  idleMillis: now - (name === "in use" ? entry.leasedAt : entry.idleSince),
  evictReason: entry.evictReason
})

const isBroken = <C>(entry: Entry<C>): boolean => entry.connectedAt === undefined || isFault(entry.evictReason)

/**
 * What a waiter waits for. The first waiters get the connections that will be free first: those in validation, then
 * those in reset, then those that are being opened.
 */
export const phaseOf = <C>(state: State<C>, waiter: Waiter<C>, now: number): AcquirePhase => {
  if (state.paused) return "pause"
  const { connecting, resetting, validating } = state
  const soon = validating.length + resetting.length + connecting.length
  let ahead = 0
  for (let other = waiter.previous; other !== undefined && ahead <= soon; other = other.previous) ahead++
  if (ahead < validating.length) return "validate"
  if (ahead < validating.length + resetting.length) return "reset"
  if (ahead < soon) return "connect"
  // The pool is in a backoff. After a bad start, connections can be opened, but do not pass their validation.
  if (room(state, now) > 0) return state.badStarts > 0 ? "validate" : "connect"
  return state.inUse.length === 0 && state.abandoned.length > 0 ? "abandoned" : "queue"
}

/**
 * The entries of a connection, as its users know it: also after its last lease. There may be several, because a factory
 * may return one value twice.
 */
export const find = <C>(state: State<C>, leased: C): ReadonlyArray<Entry<C>> => {
  const found: Array<Entry<C>> = []
  for (const list of [state.inUse, state.idle, state.validating, state.resetting, state.abandoned]) {
    for (const entry of LinkedList.members(list)) {
      if (Object.is(entry.connection, leased) || (leased !== undefined && Object.is(entry.leased, leased))) {
        found.push(entry)
      }
    }
  }
  return found
}

/** Who holds a connection now, if it is lent. */
export const holderOfConnection = <C>(state: State<C>, leased: C, now: number): Holder | undefined => {
  const entry = find(state, leased).find(({ lease }) => lease !== undefined)
  return entry === undefined ? undefined : holderOf(entry, now)
}

/** A pool at one moment, as an inspector draws it. */
export interface Observation {
  readonly inUse: number
  readonly waiting: number
  readonly max: number
  readonly total: number
  readonly isOpen: boolean
  readonly isPaused: boolean
  /** Some of the connections, and who holds each. */
  readonly seen: ReadonlyArray<{ readonly info: ConnectionInfo; readonly holder: Holder | undefined }>
}

/** The numbers of a pool, and its oldest connections, at most `most` of them. */
export const observation = <C>(state: State<C>, now: number, most: number): Observation => {
  const last = lastOf(state, most)
  const seen: Array<Observation["seen"][number]> = []
  forEach(state, (entry, name) => {
    if (entry.id > last) return
    const { lease } = entry
    seen.push({
      info: infoOf(entry, name, now),
      holder: name === "in use" && lease !== undefined ? callerOf(entry, lease, now) : undefined
    })
  })
  return {
    inUse: state.inUse.length,
    waiting: state.waiters.length,
    max: state.settings.max,
    total: total(state),
    isOpen: state.phase === "open",
    isPaused: state.paused,
    seen
  }
}

/** The highest id of the oldest connections, if there are at most `most` of them. */
const lastOf = <C>(state: State<C>, most: number): number => {
  const count = total(state)
  if (count <= most) return Infinity
  const ids = new Float64Array(count)
  let next = 0
  forEach(state, ({ id }) => {
    ids[next++] = id
  })
  return ids.toSorted()[most - 1] ?? -1
}

/** The state of a pool as an inspector shows it, besides its numbers. */
export interface Inspection {
  readonly isPaused: boolean
  readonly isOpen: boolean
  /** How long the first caller in line has waited. */
  readonly longestWaitMillis: number
  /** `undefined` if the pool has no metrics. */
  readonly times: Times | undefined
}

/** All durations since the pool was made. Callers who did not wait are in `waits` with 0. */
export interface Times {
  readonly waits: Histogram.Histogram
  readonly uses: Histogram.Histogram
  readonly connects: Histogram.Histogram
}

export const inspection = <C>(state: State<C>, now: number): Inspection => {
  const first = state.waiters.head
  return {
    isPaused: state.paused,
    isOpen: state.phase === "open",
    longestWaitMillis: first === undefined ? 0 : now - first.timedFrom,
    times: state.isMeasured ? timesOf(state) : undefined
  }
}

const timesOf = <C>({ connectTimes, counters, useTimes, waitTimes }: State<C>): Times => {
  const waits = Histogram.copy(waitTimes)
  // Callers who did not wait are not recorded one by one.
  Histogram.recordZero(waits, counters.checkouts - Histogram.count(waitTimes))
  return { waits, uses: Histogram.copy(useTimes), connects: Histogram.copy(connectTimes) }
}
