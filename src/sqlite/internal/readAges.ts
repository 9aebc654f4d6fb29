/** How old reads may become. One that sees the database as it was keeps the log from being cut back. */
import type { Context } from "effect"
import * as Alarm from "../../internal/alarm.ts"
import * as SqliteConnection from "../SqliteConnection.ts"

/** One lease on a connection that reads. */
export interface Reading {
  readonly lent: SqliteConnection.SqliteConnection
  readonly begunAt: number
  /** What else is to be done when it is ended for its age. */
  onExpiry: ((heldMillis: number) => void) | undefined
  /** Whether it may become as old as it likes. */
  isExempt: boolean
}

export class ReadAges {
  readonly #readings = new Map<SqliteConnection.SqliteConnection, Reading>()
  readonly #maxAge: number
  readonly #alarm: Alarm.Alarm
  readonly #onExpired: (heldMillis: number) => void

  constructor(maxAgeMillis: number, context: Context.Context<never>, onExpired: (heldMillis: number) => void) {
    this.#maxAge = maxAgeMillis
    this.#alarm = Alarm.make(context, (now) => this.#ring(now))
    this.#onExpired = onExpired
  }

  now(): number {
    return this.#alarm.now()
  }

  begin(lent: SqliteConnection.SqliteConnection, now: number): void {
    this.#readings.set(lent, { lent, begunAt: now, onExpiry: undefined, isExempt: false })
    // Nobody waits for it: it may ring when the lease is long over.
    if (this.#maxAge !== Infinity && this.#alarm.setFor() === Infinity) this.#alarm.set(now + this.#maxAge, false)
  }

  end(lent: SqliteConnection.SqliteConnection): void {
    this.#readings.delete(lent)
  }

  get(lent: SqliteConnection.SqliteConnection): Reading | undefined {
    return this.#readings.get(lent)
  }

  /** For how long the oldest of those has been lent that hold on to the database as it was. */
  oldestPin(now: number): number | undefined {
    for (const { begunAt, lent } of this.#readings.values()) {
      if (SqliteConnection.handleOf(lent).pins) return now - begunAt
    }
    return undefined
  }

  /** Ends all leases now. */
  revokeAll(reason: string): void {
    for (const { lent } of this.#readings.values()) revoke(lent, reason)
    this.#readings.clear()
  }

  stop(): void {
    this.#alarm.stop()
  }

  #ring(now: number): void {
    let next = Infinity
    for (const reading of this.#readings.values()) {
      const heldMillis = now - reading.begunAt
      // One that holds on to nothing may do so later.
      if (heldMillis < this.#maxAge) next = Math.min(next, reading.begunAt + this.#maxAge)
      else if (!this.#expire(reading, heldMillis)) next = Math.min(next, now + this.#maxAge)
    }
    if (next !== Infinity) this.#alarm.set(next, false)
  }

  /** Ends a lease for its age, if that is of any use. */
  #expire(reading: Reading, heldMillis: number): boolean {
    if (reading.isExempt || !SqliteConnection.handleOf(reading.lent).pins) return false
    this.#readings.delete(reading.lent)
    revoke(reading.lent, `it was held for ${Math.round(heldMillis)} ms, more than maxReadAge, ${this.#maxAge} ms`)
    this.#onExpired(heldMillis)
    reading.onExpiry?.(heldMillis)
    return true
  }
}

/** Ends a lease from outside, and whatever is open on its connection. */
export const revoke = (lent: SqliteConnection.SqliteConnection, reason: string): void => {
  try {
    SqliteConnection.revoke(lent, reason)
  } catch {
    // The pool finds it in a transaction when it comes back, and closes it if that cannot be ended.
  }
}
