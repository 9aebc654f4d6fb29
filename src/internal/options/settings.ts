/** The options of a pool, checked and complete. `Infinity` means: off. */
export interface Settings {
  readonly name: string
  readonly start: "eager" | "lazy"
  min: number
  max: number
  readonly acquireTimeoutMillis: number
  readonly maxWaiting: number
  readonly connectTimeoutMillis: number
  readonly maxConnecting: number
  readonly connectBackoffMillis: number
  connectBackoffMaxMillis: number
  readonly idleTimeoutMillis: number
  readonly maxLifetimeMillis: number
  readonly lifetimeJitter: number
  readonly maxUses: number
  readonly keepaliveMillis: number
  readonly validateAfterIdleMillis: number
  readonly validateTimeoutMillis: number
  readonly resetTimeoutMillis: number
  readonly closeTimeoutMillis: number
  readonly drainTimeoutMillis: number
  readonly leakThresholdMillis: number
  readonly metrics: boolean
}

/** What a call asks for, checked. */
export interface CallSettings {
  readonly label: string | undefined
  readonly timeoutMillis: number | undefined
}

/** How a round validates idle connections, checked. */
export interface RoundSettings {
  /** How many may be asked at the same time, and how long each may take if not `validateTimeout`. */
  readonly concurrency: number
  readonly timeoutMillis: number | undefined
  /** Whether to open a connection if none is found that works. */
  readonly mayConnect: boolean
}
