/** Limits how long readers may pin a state of the database. SQLite cannot cut its log back while one is pinned. */
import type { Context } from "effect"
import * as LinkedList from "../../../internal/structures/linkedList.ts"
import * as Alarm from "../../../internal/structures/timer.ts"
import { Pin, type Pinning } from "../connection/pin.ts"
import type { PoolSettings } from "../options/pool.ts"
import { WorkerLeased } from "../worker/workerConnection.ts"

type OnExpired = (heldMillis: number, leased: Pinning) => void

export class Pins {
  /** The pins of leases that have not ended, the oldest first. */
  readonly #pins = new LinkedList.LinkedList<Pin>()
  readonly #maxAgeMillis: number
  readonly #alarm: Alarm.Alarm
  readonly #onExpired: OnExpired

  constructor(maxAgeMillis: number, context: Context.Context<never>, onExpired: OnExpired) {
    this.#maxAgeMillis = maxAgeMillis
    this.#alarm = Alarm.make(context, (now) => this.#ring(now))
    this.#onExpired = onExpired
  }

  now(): number {
    return this.#alarm.now()
  }

  begin(leased: Pinning, now: number): void {
    const pin = new Pin(leased, now)
    leased.pin = pin
    LinkedList.push(this.#pins, pin)
    // The alarm does not keep the process alive. It may ring long after the lease has ended.
    this.#alarm.set(now + this.#maxAgeMillis, false)
  }

  end(leased: Pinning): void {
    LinkedList.remove(leased.pin!)
  }

  /** The age of the oldest lease that may pin a state of the database now. */
  oldestMillis(now: number): number | undefined {
    for (const { begunAt, leased } of LinkedList.members(this.#pins)) {
      if (leased.mayPin) return now - begunAt
    }
    return undefined
  }

  /** The leases that pin a state of the database now, the oldest first. */
  pinning(now: number): ReadonlyArray<{ readonly leased: Pinning; readonly pinnedMillis: number }> {
    return this.#all()
      .filter(({ leased }) => leased.isPinning)
      .map(({ begunAt, leased }) => ({ leased, pinnedMillis: now - begunAt }))
  }

  /** Ends all leases now. */
  revokeAll(reason: string): void {
    for (const pin of this.#all()) {
      LinkedList.remove(pin)
      revoke(pin.leased, reason)
    }
  }

  stop(): void {
    this.#alarm.stop()
  }

  #ring(now: number): void {
    let next = Infinity
    for (const pin of this.#all()) {
      if (pin.list === undefined) continue
      const heldMillis = now - pin.begunAt
      // A lease that pins nothing now may do so later.
      if (heldMillis < this.#maxAgeMillis) next = Math.min(next, pin.begunAt + this.#maxAgeMillis)
      else if (!this.#expire(pin, heldMillis)) next = Math.min(next, now + this.#maxAgeMillis)
    }
    this.#alarm.set(next, false)
  }

  /** All pins, in a copy, because the end of one lease may end others. */
  #all(): ReadonlyArray<Pin> {
    return [...LinkedList.members(this.#pins)]
  }

  /** Ends a lease for its age, if it pins a state now. Answers whether it did. */
  #expire(pin: Pin, heldMillis: number): boolean {
    if (pin.isExempt || !pin.leased.isPinning) return false
    LinkedList.remove(pin)
    // First, because a statement that runs in another thread fails with the end of the lease.
    pin.onExpiry?.(heldMillis)
    revoke(
      pin.leased,
      `it was held for ${Math.round(heldMillis)} ms, more than maxReadAge, ${this.#maxAgeMillis} ms`
    )
    this.#onExpired(heldMillis, pin.leased)
    return true
  }
}

/** The name of the pool of a lease that only reads. */
export const poolOf = ({ connection, name }: PoolSettings, leased: Pinning): string => {
  if (leased instanceof WorkerLeased) return `${name}/workers`
  return connection.isReadOnly ? name : `${name}/readers`
}

/** Ends a lease, and the cursors and the transaction on its connection. */
export const revoke = (leased: Pinning, reason: string): void => {
  try {
    leased.revoke(reason)
  } catch {
    // The pool finds the transaction when the connection comes back, and closes the connection if it cannot be ended.
  }
}
