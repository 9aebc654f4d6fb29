/**
 * The deadlines of the control statements of one session, on one timer. They are counted in steps: see `deadline.ts`.
 *
 * Most statements are answered long before their deadline. So the timer is not stopped when they are: it finds nothing to do, at
 * most once in the time of a step. To set and stop a timer for each statement would be a tenth of its way.
 */
import { steps } from "./deadline.ts"

/** A statement that has a deadline. */
export interface Late {
  readonly stepMillis: number
  readonly expire: () => void
  stepsLeft: number
  /** When its present step is over, on the clock of `performance.now`. */
  stepEndsAt: number
}

export class ControlDeadlines {
  readonly #waiting = new Set<Late>()
  #timer: NodeJS.Timeout | undefined = undefined
  /** When the timer rings. */
  #ringsAt = Infinity

  /** Has a function called after a time, unless the result is given to `remove` before. */
  add(millis: number, expire: () => void): Late {
    const stepMillis = Math.ceil(millis / steps)
    const late = { stepMillis, expire, stepsLeft: steps, stepEndsAt: performance.now() + stepMillis }
    this.#waiting.add(late)
    if (late.stepEndsAt < this.#ringsAt) this.#set(late.stepEndsAt, stepMillis)
    return late
  }

  remove(late: Late): void {
    this.#waiting.delete(late)
  }

  #set(at: number, millis: number): void {
    clearTimeout(this.#timer)
    this.#ringsAt = at
    // The socket keeps the process alive as long as an answer may come.
    this.#timer = setTimeout(() => this.#ring(), millis).unref()
  }

  #ring(): void {
    this.#timer = undefined
    this.#ringsAt = Infinity
    const now = performance.now()
    let next = Infinity
    for (const late of this.#waiting) {
      // A timer may ring a little early.
      if (late.stepEndsAt - now < 1) {
        if (--late.stepsLeft === 0) {
          this.#waiting.delete(late)
          late.expire()
          continue
        }
        late.stepEndsAt = now + late.stepMillis
      }
      next = Math.min(next, late.stepEndsAt)
    }
    if (next < this.#ringsAt) this.#set(next, next - now)
  }
}
