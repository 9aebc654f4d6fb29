/** The checked options of several hosts. */
import type { Address } from "../connection/wire.ts"

export interface Settings {
  readonly addresses: ReadonlyArray<Address>
  /** `undefined`: reads go to the primary. */
  readonly replicas: { readonly min: number; readonly max: number } | undefined
  readonly maxLagMillis: number
  readonly mayFallBack: boolean
  /** How long a read waits for a replica to reach its position. */
  readonly catchUpMillis: number
  /** How often the hosts are asked. */
  readonly intervalMillis: number
  /** How long a host may take to answer. */
  readonly timeoutMillis: number
  /** How long one connect attempt looks for a host. */
  readonly searchMillis: number
}
