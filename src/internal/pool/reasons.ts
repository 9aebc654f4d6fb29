/**
 * Judges connections: whether an idle one may be lent, and whether one has a reason to leave the pool. No other module
 * does. Every lease calls these functions, so they test no more than necessary.
 */
import type { EvictReason } from "../../Connection.ts"
import { type Entry, size, type State } from "./state.ts"

/** How many connections there may be: `max`, and those that may replace abandoned ones. */
export const mayExist = <C>({ abandoned, settings }: State<C>): number =>
  settings.max + Math.min(abandoned.length, settings.maxAbandoned)

/** Whether `maxLifetime` has passed. Then the connection is not lent, and leaves as soon as it is not in use. */
export const isExpired = <C>(entry: Entry<C>, now: number): boolean => now >= entry.expiresAt

/** Whether the driver says that the connection is dead. If the driver throws, the connection counts as dead. */
export const isDead = <C>(state: State<C>, entry: Entry<C>): boolean =>
  state.driver.isAlive !== undefined && !isAlive(state, entry)

const isAlive = <C>(state: State<C>, entry: Entry<C>): boolean => {
  try {
    return state.driver.isAlive!(entry.connection!)
  } catch {
    return false
  }
}

/** Whether an idle connection may be lent, has to be validated first, or has to leave, and why. */
export const mayBeLent = <C>(state: State<C>, entry: Entry<C>, now: number): "lend" | "validate" | EvictReason => {
  if (isExpired(entry, now)) return "lifetime"
  if (isDead(state, entry)) return "dead"
  return now - entry.checkedAt >= state.settings.validateAfterIdleMillis ? "validate" : "lend"
}

/** Whether `reasonToLeave` has to be called. For most connections it does not. */
export const mayHaveReason = <C>(state: State<C>, entry: Entry<C>, now: number): boolean =>
  entry.evictReason !== undefined || isExpired(entry, now) || entry.uses >= state.settings.maxUses || state.isSelective

/** Why a connection that is not in use has to leave the pool; `undefined` if it stays. */
export const reasonToLeave = <C>(state: State<C>, entry: Entry<C>, now: number): EvictReason | undefined => {
  if (entry.evictReason !== undefined) return entry.evictReason
  if (state.phase !== "open") return "shutdown"
  if (isExpired(entry, now)) return "lifetime"
  if (entry.uses >= state.settings.maxUses) return "uses"
  if (size(state) > mayExist(state)) return "excess"
  return isDead(state, entry) ? "dead" : undefined
}
