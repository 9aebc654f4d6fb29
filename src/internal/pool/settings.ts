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
