/** How old reads may become. One that sees the database as it was keeps the log from being cut back. */
import type { Context } from "effect"
import * as LinkedList from "../../../internal/structures/linkedList.ts"
import * as Alarm from "../../../internal/structures/timer.ts"
import * as SqliteConnection from "../../SqliteConnection.ts"

/** One lease on a connection that reads. */
export class Reading extends LinkedList.Linked<Reading> {
  readonly lent: SqliteConnection.SqliteConnection
  readonly begunAt: number
  /** What else is to be done when it is ended for its age. */
  onExpiry: ((heldMillis: number) => void) | undefined = undefined
  /** Whether it may become as old as it likes. */
  isExempt = false

  constructor(lent: SqliteConnection.SqliteConnection, begunAt: number) {
    super()
    this.lent = lent
    this.begunAt = begunAt
  }
}

export class ReadAges {
  /** Those that have not ended, the oldest first. */
  readonly #readings = new LinkedList.LinkedList<Reading>()
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
    const reading = new Reading(lent, now)
    SqliteConnection.setReading(lent, reading)
    LinkedList.push(this.#readings, reading)
    // Nobody waits for it: it may ring when the lease is long over.
    if (this.#maxAge !== Infinity && this.#alarm.setFor() === Infinity) this.#alarm.set(now + this.#maxAge, false)
  }

  end(lent: SqliteConnection.SqliteConnection): void {
    LinkedList.remove(SqliteConnection.readingOf(lent)!)
  }

  get(lent: SqliteConnection.SqliteConnection): Reading | undefined {
    return SqliteConnection.readingOf(lent)
  }

  /** For how long the oldest of those has been lent that hold on to the database as it was. */
  oldestPin(now: number): number | undefined {
    for (const { begunAt, lent } of LinkedList.members(this.#readings)) {
      if (SqliteConnection.handleOf(lent).pins) return now - begunAt
    }
    return undefined
  }

  /** Ends all leases now. */
  revokeAll(reason: string): void {
    for (const reading of this.#all()) {
      LinkedList.remove(reading)
      revoke(reading.lent, reason)
    }
  }

  stop(): void {
    this.#alarm.stop()
  }

  #ring(now: number): void {
    let next = Infinity
    for (const reading of this.#all()) {
      if (reading.list === undefined) continue
      const heldMillis = now - reading.begunAt
      // One that holds on to nothing may do so later.
      if (heldMillis < this.#maxAge) next = Math.min(next, reading.begunAt + this.#maxAge)
      else if (!this.#expire(reading, heldMillis)) next = Math.min(next, now + this.#maxAge)
    }
    if (next !== Infinity) this.#alarm.set(next, false)
  }

  /** A copy: whoever hears of the end of one may end others. */
  #all(): ReadonlyArray<Reading> {
    return [...LinkedList.members(this.#readings)]
  }

  /** Ends a lease for its age, if that is of any use. */
  #expire(reading: Reading, heldMillis: number): boolean {
    if (reading.isExempt || !SqliteConnection.handleOf(reading.lent).pins) return false
    LinkedList.remove(reading)
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
