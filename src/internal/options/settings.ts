/** The options of a pool after they were checked: times in milliseconds, `Infinity` for what is off. */
export interface Settings {
  readonly name: string
  readonly start: "eager" | "lazy"
  min: number
  max: number
  readonly acquireTimeout: number
  readonly maxWaiting: number
  readonly connectTimeout: number
  readonly maxConnecting: number
  readonly connectBackoff: number
  connectBackoffMax: number
  readonly idleTimeout: number
  readonly maxLifetime: number
  readonly lifetimeJitter: number
  readonly maxUses: number
  readonly keepalive: number
  readonly validateAfterIdle: number
  readonly validateTimeout: number
  readonly resetTimeout: number
  readonly closeTimeout: number
  readonly drainTimeout: number
  readonly leakThreshold: number
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
