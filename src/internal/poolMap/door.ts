/** The functions of a map of pools that only other modules of this library may call. */
import type { PoolInfo } from "../../PoolMapStats.ts"
import type { Entry } from "./state.ts"

/** One pool of a map. Only the functions of `MapDoor` look into it. */
export type WatchedPool = Entry<unknown, unknown>

/**
 * A map may have ten thousand pools. So each function looks at one of them, or takes the same time for every number: whoever
 * looks at all can do it in steps.
 */
export interface MapDoor {
  readonly max: number
  /** All pools, and the keys that wait for room. */
  readonly pools: () => ReadonlyArray<WatchedPool>
  /** How many pools there are, and how many callers wait. */
  readonly numbers: () => { readonly total: number; readonly waiting: number }
  readonly isInUse: (pool: WatchedPool) => boolean
  /** The more callers wait for the pool, and then the more leases of the map it has, the higher. 0 if it is idle. */
  readonly rankOf: (pool: WatchedPool) => number
  /** `undefined` if the pool is gone. */
  readonly infoOf: (pool: WatchedPool) => PoolInfo<unknown> | undefined
}

// A property, because a copy of a map keeps it.
const door = Symbol("effect-connection-pool/mapDoor")

/** Adds the door to a map. */
export const add = <PoolMap extends object>(map: PoolMap, its: MapDoor): PoolMap => Object.assign(map, { [door]: its })

/** The door of a map; `undefined` for an object that is no map. */
export const of = (map: object): MapDoor | undefined => (map as { readonly [door]?: MapDoor })[door]
