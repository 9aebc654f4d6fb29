/** When the next connect attempt may be made, after failed attempts and after bad starts. */
import type { EvictReason } from "../../Connection.ts"
import { type Entry, type State, upkeepBy } from "./state.ts"

/**
 * Whether the database may be down. Then one connect attempt is made at a time. Another is made beside it only if the
 * first has no answer within the present backoff. As soon as one succeeds, the pool opens connections as usual again.
 */
export const isProbing = <C>(state: State<C>): boolean =>
  state.failures > 0 || state.isDoubtful || state.badStarts >= badStartsForgiven

export const endProbing = <C>(state: State<C>): void => {
  state.lastFailure = undefined
  state.retryAt = -Infinity
  state.refillAt = -Infinity
}

/** The time before the next connect attempt, after this number of failures in a row. */
export const backoffMillis = <C>({ random, settings }: State<C>, failures: number): number =>
  Math.ceil(
    Math.min(settings.connectBackoffMaxMillis, settings.connectBackoffMillis * 2 ** (failures - 1)) * (1 - random() / 5)
  )

export const isFault = (reason: EvictReason | undefined): boolean =>
  reason === "dead" || reason === "invalid" || reason === "reset" || reason === "fatal" ||
  reason === "abandoned" || reason === "driver"

/** Whether a connection was open for less than the longest backoff when it failed. */
export const isYoung = <C>(state: State<C>, entry: Entry<C>, now: number): boolean => {
  const isChecked = entry.list === state.validating || entry.list === state.resetting
  return (isChecked ? entry.beganAt : now) - entry.connectedAt! < state.settings.connectBackoffMaxMillis
}

/**
 * Counts a bad start: a connection that was opened just now failed its first validation, or its first lease could not
 * begin or did not end well. A few of them may be chance. After that, a bad start counts as a failure to connect, with
 * a backoff before the next attempt. Without it, the pool would open connections without end.
 */
export const noteBadStart = <C>(state: State<C>, reason: EvictReason, now: number): void => {
  state.badStarts++
  if (state.badStarts < badStartsForgiven) return
  state.lastFailure = {
    _tag: "ConnectDied",
    defect: new Error(`connections fail as soon as they are open (${reason})`)
  }
  state.refillAt = now + backoffMillis(state, state.badStarts - badStartsForgiven + 1)
  state.retryAt = state.refillAt
}

/** The first lease of a connection has ended well. */
export const noteGoodStart = <C>(state: State<C>, entry: Entry<C>, now: number): void => {
  entry.isFresh = false
  if (state.badStarts === 0) return
  state.badStarts = 0
  if (isProbing(state)) return
  endProbing(state)
  upkeepBy(state, now)
}

export const badStartsForgiven = 5
