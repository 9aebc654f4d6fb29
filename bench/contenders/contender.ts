/** The pools that are compared, behind one of two interfaces, so that each kind of work is written only twice. */
import type { Effect } from "effect"
import type { Ledger, Lent } from "./ledger.ts"

export interface Contender {
  readonly name: string
  readonly open: (options: OpenOptions) => Promise<Pool>
}

export interface OpenOptions {
  /** The number of connections. All are open when `open` has ended. */
  readonly size: number
  /** How long each caller may wait. Default: the default of the pool. */
  readonly acquireTimeoutMillis?: number | undefined
}

export type Pool = EffectPool | PromisePool

interface AnyPool {
  readonly ledger: Ledger
  /** Whether a value is the timeout error of the pool. */
  readonly isTimeout: (error: unknown) => boolean
  /** Closes the pool and checks the ledger. */
  readonly close: () => Promise<void>
}

export interface EffectPool extends AnyPool {
  readonly style: "effect"
  /** The least that a caller can do with a connection: this measures the pool alone. */
  readonly touch: () => Effect.Effect<void, unknown>
  readonly use: (body: (lent: Lent) => Effect.Effect<void>) => Effect.Effect<void, unknown>
}

export interface PromisePool extends AnyPool {
  readonly style: "promise"
  readonly acquire: () => Promise<Lent>
  /** An `acquire` that can be cancelled. Not every pool has one. */
  readonly request?: () => { readonly promise: Promise<Lent>; readonly abort: () => void }
  release(lent: Lent): void
}

/** For pools without a timeout. */
export const never = (): boolean => false
