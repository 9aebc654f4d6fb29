/** What other modules of this library may do with a pool, and its users may not. */
import type { Effect } from "effect"
import type { PoolEvent } from "../../PoolEvent.ts"
import type { RoundSettings } from "../options/settings.ts"
import type { CheckResult } from "./health.ts"

export interface Door {
  /** Puts an event among those of the pool. */
  readonly announce: (event: PoolEvent) => void
  /** Validates all idle connections, and tells what the health of the pool is judged by. */
  readonly check: (settings: RoundSettings) => Effect.Effect<CheckResult>
  /** The deadline of an acquire, for modules that have callers wait for something else. */
  readonly acquireTimeoutMillis: number
}

// A property, and not an entry of a WeakMap: a copy of a pool with another `acquire` keeps it.
const door = Symbol("effect-connection-pool/door")

/** Adds the door to a pool. */
export const add = <Pool extends object>(pool: Pool, its: Door): Pool => Object.assign(pool, { [door]: its })

/** The door of a pool; `undefined` for an object that no pool was made of. */
export const of = (pool: object): Door | undefined => (pool as { readonly [door]?: Door })[door]
