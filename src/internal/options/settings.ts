/** The options of a pool, checked and complete. `Infinity` turns a limit off. */
export interface Settings {
  readonly name: string
  readonly start: "eager" | "lazy"
  min: number
  max: number
  readonly maxAbandoned: number
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
  readonly slowStatementMillis: number
  readonly metrics: boolean
}

/** The options of a call, checked. */
export interface CallSettings {
  readonly label: string | undefined
  readonly timeoutMillis: number | undefined
}

/** The options of a round, checked. */
export interface RoundSettings {
  /** How many connections may be validated at the same time. */
  readonly concurrency: number
  /** How long each validation may take. Not set: `validateTimeout`. */
  readonly timeoutMillis: number | undefined
  /** Whether to open a connection if no idle connection works. */
  readonly mayConnect: boolean
}
