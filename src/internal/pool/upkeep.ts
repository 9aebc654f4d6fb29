/** What has to be done because time has passed: ages, idle connections, keepalive, leaks; and when it is due. */
import * as PoolEvent from "../../PoolEvent.ts"
import * as Deadlines from "../structures/deadlines.ts"
import * as LinkedList from "../structures/linkedList.ts"
import { isProbing } from "./backoff.ts"
import { holderOf } from "./holders.ts"
import { close } from "./leaving.ts"
import { settle } from "./lending.ts"
import { endLost } from "./line.ts"
import { ask } from "./rounds.ts"
import { type Entry, report, size, type State, upkeepBy } from "./state.ts"
import { isLate, isOvertaken, mayProbeForCallers, replaceableFrom, slowAfterMillis } from "./supply.ts"

const longestLookMillis = 60_000

/** When the timer has to ring next. */
export const nextDue = <C>(state: State<C>, clock: () => number): number => {
  const deadline = Deadlines.nextDue(state.deadlines)
  if (state.phase !== "open") return deadline
  const due = Math.min(deadline, state.upkeepAt)
  return isProbing(state) && !state.paused ? Math.min(due, nextProbe(state, clock())) : due
}

const nextProbe = <C>(state: State<C>, now: number): number => {
  const { refillAt, retryAt } = state
  return Math.min(
    now < retryAt && mayProbeForCallers(state, now) ? retryAt : Infinity,
    now < refillAt && state.settings.min > size(state) ? refillAt : Infinity
  )
}

/**
 * Does what is due, and notes when the next thing is due: long leases, and connections that are idle or open for long.
 */
export const upkeep = <C>(state: State<C>, now: number): void => {
  if (now < state.upkeepAt) return
  state.upkeepAt = Infinity
  endLost(state, now)
  const first = state.waiters.head
  // While somebody waits, `endLost` runs again: first after a second, then after longer and longer times.
  if (first !== undefined) {
    upkeepBy(state, now + Math.min(Math.max(now - first.timedFrom, slowAfterMillis), longestLookMillis))
  }
  reportLeaks(state, now)
  const { idle, settings } = state
  for (const list of [idle, state.inUse, state.validating, state.resetting, state.abandoned]) {
    for (const entry of LinkedList.members(list)) {
      if (now < entry.expiresAt) upkeepBy(state, entry.expiresAt)
      else if (list === idle) close(state, entry, "lifetime")
    }
  }
  while (idle.head !== undefined && size(state) > settings.min) {
    const due = idle.head.idleSince + settings.idleTimeoutMillis
    if (now < due) {
      upkeepBy(state, due)
      break
    }
    close(state, idle.head, "idle")
  }
  keepAlive(state, now)
  for (const list of [state.connecting, state.validating, state.resetting]) {
    for (const entry of LinkedList.members(list)) {
      if ((list !== state.connecting || isOvertaken(state, entry)) && !isLate(entry, now)) {
        upkeepBy(state, entry.beganAt + slowAfterMillis)
      }
    }
  }
  for (const entry of LinkedList.members(state.abandoned)) {
    if (now < replaceableFrom(entry)) upkeepBy(state, replaceableFrom(entry))
  }
  settle(state, now)
}

/** Validates the idle connection that was not checked for longest, if its keepalive is due. */
const keepAlive = <C>(state: State<C>, now: number): void => {
  // A round validates all of them, and runs `upkeep` when it is over.
  if (state.keepalive.running > 0 || state.rounds.length > 0) return
  let quietest: Entry<C> | undefined
  for (const entry of LinkedList.members(state.idle)) {
    if (quietest === undefined || entry.checkedAt < quietest.checkedAt) quietest = entry
  }
  if (quietest === undefined) return
  const due = quietest.checkedAt + state.settings.keepaliveMillis
  if (now < due) upkeepBy(state, due)
  else ask(state, quietest, state.keepalive, now)
}

const reportLeaks = <C>(state: State<C>, now: number): void => {
  for (const entry of LinkedList.members(state.inUse)) {
    if (entry.isReported) continue
    const due = entry.leasedAt + state.settings.leakThresholdMillis
    if (now < due) {
      upkeepBy(state, due)
      return
    }
    entry.isReported = true
    state.counters.leaks++
    report(state, PoolEvent.LeakSuspected({ holder: holderOf(entry, now) }))
  }
}
