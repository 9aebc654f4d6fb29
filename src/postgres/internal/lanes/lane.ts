/**
 * One connection that many reads share: what is on its way, how fast it answers, and until when it may be used. Data; `lanes.ts`
 * opens and closes it.
 *
 * The server answers in the order in which it was asked. So when a read has ended, all that were sent before it have ended too: also
 * those whose callers were interrupted, which cannot be cancelled here, because a cancel would hit whatever runs.
 */
import type { PgConnection as Driver } from "@effect/sql-pg/PgConnection"
import type { Session } from "../connection/session.ts"

export interface Options {
  readonly session: Session
  readonly now: () => number
  /** How many reads may be on their way at first, and at most. */
  readonly window: number
  readonly mostInFlight: number
  /** How long the server lets a read run. */
  readonly timeoutMillis: number
  /** Called once, when nothing more is sent and nothing is on its way. */
  readonly left: () => void
  /** Sends a statement whose answer nobody needs, and calls the function at its end. */
  readonly probe: (lane: Lane, ended: () => void) => void
}

export class Lane {
  readonly driver: Driver
  readonly session: Session
  readonly #options: Options
  readonly #openedAt: number
  /** How many reads were sent, and how many of them have ended. The number of a read is how many were sent before it. */
  #sent = 0
  #ended = 0
  /** How many callers wait. */
  #waiting = 0
  #isLeaving = false
  #hasLeft = false
  /** How many reads may be on their way now: more while they are answered soon, half as many when they are not. */
  #window: number
  #hasShrunk = false
  #usedAt: number
  /** What was sent and had ended at the last looks. */
  readonly #sentAtLooks: Array<number> = []
  #endedAtLook = 0
  #isSecondLook = false
  /** Whether the server has worked for one read for a whole look. */
  #isStalled = false

  constructor(options: Options) {
    this.#options = options
    this.session = options.session
    this.driver = options.session.driver
    this.#window = options.window
    this.#openedAt = this.#usedAt = options.now()
  }

  /** How many reads are on their way, those of interrupted callers included. */
  get inFlight(): number {
    return this.#sent - this.#ended
  }

  get waiting(): number {
    return this.#waiting
  }

  get window(): number {
    return this.#window
  }

  /** Whether one more read may be sent. It would be answered soon, as far as one knows. */
  get isFree(): boolean {
    return !this.#isLeaving && !this.#isStalled && this.inFlight < this.#window && this.session.mayBeLent
  }

  /** A read is sent. Returns its number. */
  begin(): number {
    this.#waiting++
    return this.#sent++
  }

  /** The server has answered a read, after so long. Returns whether it has held up the others. */
  answered(number: number, tookMillis: number): boolean {
    this.#waiting--
    const hasHeldUp = this.#isStalled && number === this.#ended
    // The driver sends a read again whose table has changed. Then it ends after later ones.
    if (number >= this.#ended) {
      this.#ended = number + 1
      this.#isStalled = false
    }
    this.#fit(tookMillis)
    this.#leaveIfDone()
    return hasHeldUp
  }

  /** The caller of a read was interrupted. The server goes on with it. Returns whether it has held up the others already. */
  abandoned(number: number): boolean {
    this.#waiting--
    const hasHeldUp = this.#isStalled && number === this.#ended
    // No later read will tell when this one has ended.
    if (number === this.#sent - 1 && this.session.isAlive) {
      const probe = this.begin()
      this.#options.probe(this, () => this.answered(probe, 0))
    }
    this.#leaveIfDone()
    return hasHeldUp
  }

  /** The connection is lost. Returns whether this read was the one that the server worked for. */
  lost(number: number): boolean {
    this.#waiting--
    const wasFirst = number === this.#ended
    this.#ended = this.#sent
    this.leave()
    return wasFirst
  }

  /** Sends nothing more. */
  leave(): void {
    this.#isLeaving = true
    this.#leaveIfDone()
  }

  /**
   * Looks after the lane. Returns after how many milliseconds it has to be looked at again.
   *
   * The time of a read is counted in looks, of which there are two for each `timeoutMillis`: while this process is busy with
   * something else there are none, so the server is not blamed for that.
   */
  look(now: number): number {
    const nextMillis = this.#options.timeoutMillis / 2
    const sentBefore = this.#sentAtLooks.at(-1) ?? 0
    const hasMoved = this.#ended > this.#endedAtLook || sentBefore <= this.#ended
    if (!hasMoved && !this.#isSecondLook) {
      // What has arrived while this process was busy is read now. After that, who has not ended is slow.
      this.#isSecondLook = true
      return Math.min(1, nextMillis)
    }
    this.#isSecondLook = false
    this.#isStalled = !hasMoved
    this.#hasShrunk = false
    const longAgo = this.#sentAtLooks.length === mostLooks ? this.#sentAtLooks.shift()! : 0
    if (this.#sent > sentBefore) this.#usedAt = now
    this.#sentAtLooks.push(this.#sent)
    this.#endedAtLook = this.#ended
    if (this.#ended < longAgo) {
      const waitedMillis = Math.round(mostLooks * nextMillis)
      this.session.abort(`a read has waited for more than ${waitedMillis} ms on a shared connection`)
    } else if (now - this.#openedAt >= keptMillis || (this.inFlight === 0 && now - this.#usedAt >= idleMillis)) {
      this.leave()
    }
    return nextMillis
  }

  /** Fits the window to how soon reads are answered. It shrinks once in a look, for those that wait already will be late too. */
  #fit(tookMillis: number): void {
    const { mostInFlight, timeoutMillis } = this.#options
    if (tookMillis <= timeoutMillis / 2) {
      if (this.#window < mostInFlight) this.#window++
    } else if (!this.#hasShrunk) {
      this.#window = Math.max(1, this.#window >> 1)
      this.#hasShrunk = true
    }
  }

  #leaveIfDone(): void {
    // Whatever is on its way is before a read that a caller, or a probe, waits for.
    if (!this.#isLeaving || this.#hasLeft || this.#waiting > 0) return
    this.#hasLeft = true
    this.#options.left()
  }
}

/** A read that takes longer on a connection of its own does not belong on a shared one. */
export const slowMillisOf = (timeoutMillis: number): number => timeoutMillis / 4

/** A read may wait for so many looks: twice the time that the server lets one run. */
const mostLooks = 4

/** After this time without a read, the connection goes back to its pool. */
const idleMillis = 1000

/** After this time, the connection goes back to its pool also while it is used, so that the pool can replace it. */
const keptMillis = 10_000
