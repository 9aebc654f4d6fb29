/**
 * When the next attempt to connect may be made, after attempts that failed and after connections that were no good.
 */
import type { EvictReason } from "../../Connection.ts"
import { type Entry, type State, upkeepBy } from "./state.ts"

/**
 * Whether the database may be away. Then one attempt is made at a time, and another beside it only when it has not been
 * answered within the present backoff; the first that succeeds lets the others go.
 */
export const isProbing = <C>(state: State<C>): boolean =>
  state.failures > 0 || state.isDoubtful || state.badStarts >= badStartsForgiven

export const endProbing = <C>(state: State<C>): void => {
  state.lastFailure = undefined
  state.retryAt = -Infinity
  state.refillAt = -Infinity
}

/** How long to wait before the next attempt, after so many failures in a row. */
export const backoffMillis = <C>({ random, settings }: State<C>, failures: number): number =>
  Math.ceil(
    Math.min(settings.connectBackoffMaxMillis, settings.connectBackoffMillis * 2 ** (failures - 1)) * (1 - random() / 5)
  )

export const isFault = (reason: EvictReason | undefined): boolean =>
  reason === "dead" || reason === "invalid" || reason === "reset" || reason === "fatal" || reason === "driver"

/** Whether a connection had been open for less than the longest backoff when its trouble began. */
export const isYoung = <C>(state: State<C>, entry: Entry<C>, now: number): boolean => {
  const isChecked = entry.list === state.validating || entry.list === state.resetting
  return (isChecked ? entry.beganAt : now) - entry.connectedAt! < state.settings.connectBackoffMaxMillis
}

/**
 * A connection that was opened just now is no good: it failed its first check, or a lease could not begin, or its first
 * lease did not end well. A few times may be chance; after that it is a failure to connect like any other, with a backoff
 * before the next attempt, or the pool would open one after the other without end.
 */
export const noteBadStart = <C>(state: State<C>, reason: EvictReason, now: number): void => {
  state.badStarts++
  if (state.badStarts < badStartsForgiven) return
  state.lastFailure = {
    _tag: "ConnectDied",
    defect: new Error(`connections are no good as soon as they are open (${reason})`)
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
