/** The keys and options of advisory locks. */
import type { AcquireOptions } from "../../../PoolConfig.ts"

/**
 * What is locked: a number of 64 bits, two numbers of 32 bits, or any text, of which PostgreSQL makes a number of 64 bits
 * (`hashtextextended`). The three kinds are for all applications of one database: agree on the keys.
 */
export type LockKey = string | number | bigint | readonly [number, number]

/** The options of one lock: those of the lease that holds it, and these. */
export interface LockOptions extends AcquireOptions {
  /** Whether others may hold the lock as well, if they hold it shared too. Default: false. */
  readonly shared?: boolean | undefined
}
