/**
 * The reasons for which a connection leaves the pool, and whether an idle one may be lent: the one place that judges a
 * connection. The path of every lease runs through here, so each function asks as little as it can.
 */
import type { EvictReason } from "../../Connection.ts"
import { type Entry, size, type State } from "./state.ts"

/** Whether `maxLifetime` has passed: then a connection is not lent, and leaves when nobody uses it. */
export const isExpired = <C>(entry: Entry<C>, now: number): boolean => now >= entry.expiresAt

/** Whether the driver says that the connection is dead. A driver that throws has lost it. */
export const isDead = <C>(state: State<C>, entry: Entry<C>): boolean =>
  state.driver.isAlive !== undefined && !isAlive(state, entry)

const isAlive = <C>(state: State<C>, entry: Entry<C>): boolean => {
  try {
    return state.driver.isAlive!(entry.connection!)
  } catch {
    return false
  }
}

/** Whether an idle connection may be lent now, or has to be validated first, or why it leaves. */
export const mayBeLent = <C>(state: State<C>, entry: Entry<C>, now: number): "lend" | "validate" | EvictReason => {
  if (isExpired(entry, now)) return "lifetime"
  if (isDead(state, entry)) return "dead"
  return now - entry.checkedAt >= state.settings.validateAfterIdleMillis ? "validate" : "lend"
}

/** Whether `reasonToLeave` has to be asked; for most connections this is the only question. */
export const mayHaveReason = <C>(state: State<C>, entry: Entry<C>, now: number): boolean =>
  entry.evictReason !== undefined || isExpired(entry, now) || entry.uses >= state.settings.maxUses || state.isSelective

/** Why a connection that nobody uses leaves the pool; `undefined` if it stays. */
export const reasonToLeave = <C>(state: State<C>, entry: Entry<C>, now: number): EvictReason | undefined => {
  if (entry.evictReason !== undefined) return entry.evictReason
  if (state.phase !== "open") return "shutdown"
  if (isExpired(entry, now)) return "lifetime"
  if (entry.uses >= state.settings.maxUses) return "uses"
  if (size(state) > state.settings.max) return "excess"
  return isDead(state, entry) ? "dead" : undefined
}
