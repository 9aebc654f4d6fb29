/** The row of pools: all of them, or of many pools the busiest. */
import type { FramePool, PoolRow } from "./contract.ts"
import { byRank } from "./ranks.ts"
import type { Seen } from "./recorder.ts"
import type { Sources } from "./sources.ts"

/** The most pools that are listed at a time. */
export const mostRows = 50

/** What a page asks for: pools whose names have a text, from which on, and the pool that it shows, which is always listed. */
export interface Wanted {
  readonly find: string
  readonly from: number
  readonly chosen: number
}

export interface Row {
  readonly pools: ReadonlyArray<PoolRow>
  readonly poolCount: number
  readonly foundPools: number
  readonly poolsFrom: number
}

/** Makes a function that lists the pools of a frame. */
export const make = ({ pools }: Sources): (seen: Seen, wanted: Wanted) => Row => {
  const names = pools.map(({ name }) => name.toLowerCase())
  const all = pools.map((_, index) => index)
  /** The order of the last frame is the same for all who ask. */
  let sorted: { readonly of: Seen; readonly indexes: ReadonlyArray<number> } | undefined
  const inOrder = (seen: Seen): ReadonlyArray<number> => {
    // A few pools keep their places.
    if (pools.length <= mostRows) return all
    if (sorted?.of !== seen) sorted = { of: seen, indexes: byRank(seen.pools.map(rankOf)) }
    return sorted.indexes
  }
  return (seen, { chosen, find, from }) => {
    const text = find.toLowerCase()
    const ordered = inOrder(seen)
    const found = text === "" ? ordered : ordered.filter((index) => names[index]!.includes(text))
    const first = firstOf(from, found.length, mostRows)
    const listed = found.slice(first, first + mostRows)
    if (chosen < pools.length && !listed.includes(chosen)) listed.unshift(chosen)
    return {
      pools: listed.map((index) => {
        const { inUse, isOpen, isPaused, max, waiting } = seen.pools[index]!
        return { index, name: pools[index]!.name, inUse, waiting, max, isOpen, isPaused }
      }),
      poolCount: pools.length,
      foundPools: found.length,
      poolsFrom: first
    }
  }
}

/** The number of the first of `most` things that are listed, if it is asked for those from `from` on. */
export const firstOf = (from: number, count: number, most: number): number =>
  Math.max(0, Math.min(from, Math.floor((count - 1) / most) * most))

/** Those first in which callers wait, then those that lend nothing, then those with the largest part in use. */
const rankOf = ({ inUse, isOpen, isPaused, max, waiting }: FramePool): number =>
  2000 * Math.min(waiting, 100_000) + (isOpen && !isPaused ? 0 : 1100) +
  (inUse === 0 ? 0 : Math.ceil(1000 * Math.min(1, inUse / max)))
