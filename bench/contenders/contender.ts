/** A pool under comparison, brought to one of two shapes, so that each kind of work is written twice and no more. */
import type { Effect } from "effect"
import type { Ledger, Lent } from "./ledger.ts"

export interface Contender {
  readonly name: string
  readonly open: (options: OpenOptions) => Promise<Pool>
}

export interface OpenOptions {
  /** How many connections; all are open when `open` is done. */
  readonly size: number
  /** How long each caller may wait. Default: what the pool itself does. */
  readonly acquireTimeoutMillis?: number | undefined
}

export type Pool = EffectPool | PromisePool

interface AnyPool {
  readonly ledger: Ledger
  /** Whether this is how the pool tells a caller that it has waited too long. */
  readonly isTimeout: (error: unknown) => boolean
  /** Closes the pool and checks the ledger. */
  readonly close: () => Promise<void>
}

export interface EffectPool extends AnyPool {
  readonly style: "effect"
  /** The least one can do with a connection: the pool's own price. */
  readonly touch: () => Effect.Effect<void, unknown>
  readonly use: (body: (lent: Lent) => Effect.Effect<void>) => Effect.Effect<void, unknown>
}

export interface PromisePool extends AnyPool {
  readonly style: "promise"
  readonly acquire: () => Promise<Lent>
  /** `acquire` that can be called off; not every pool has that. */
  readonly request?: () => { readonly promise: Promise<Lent>; readonly abort: () => void }
  release(lent: Lent): void
}

/** For pools that were not asked to time out. */
export const never = (): boolean => false
