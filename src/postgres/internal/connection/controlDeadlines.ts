/**
 * The deadlines of the control statements of one session, on one timer. They are counted in steps: see `deadline.ts`.
 *
 * Most statements are answered long before their deadline. So the timer is not stopped when they are: it finds nothing to do, at
 * most once in the time of a step. To set and stop a timer for each statement would be a tenth of its way.
 */
import * as AsyncContext from "../../../internal/structures/asyncContext.ts"
import * as LinkedList from "../../../internal/structures/linkedList.ts"
import { steps } from "./deadline.ts"

/** A statement that has a deadline. */
export class Late extends LinkedList.Linked<Late> {
  readonly stepMillis: number
  readonly expire: () => void
  stepsLeft = steps
  /** When its present step is over, on the clock of `performance.now`. */
  stepEndsAt: number

  constructor(millis: number, expire: () => void) {
    super()
    this.stepMillis = Math.ceil(millis / steps)
    this.expire = expire
    this.stepEndsAt = performance.now() + this.stepMillis
  }
}

export class ControlDeadlines {
  readonly #waiting = new LinkedList.LinkedList<Late>()
  /** Otherwise the timer would keep the context of one caller alive: for a step, and on a busy session for good. */
  readonly #within = AsyncContext.capture()
  #timer: NodeJS.Timeout | undefined = undefined
  /** When the timer rings. */
  #ringsAt = Infinity

  /** Has a function called after a time, unless the result is given to `remove` before. */
  add(millis: number, expire: () => void): Late {
    const late = new Late(millis, expire)
    LinkedList.push(this.#waiting, late)
    if (late.stepEndsAt < this.#ringsAt) this.#set(late.stepEndsAt, late.stepMillis)
    return late
  }

  remove(late: Late): void {
    LinkedList.remove(late)
  }

  #set(at: number, millis: number): void {
    clearTimeout(this.#timer)
    this.#ringsAt = at
    // The socket keeps the process alive as long as an answer may come.
    this.#timer = this.#within(() => setTimeout(() => this.#ring(), millis).unref())
  }

  #ring(): void {
    this.#timer = undefined
    this.#ringsAt = Infinity
    const now = performance.now()
    let next = Infinity
    for (const late of LinkedList.members(this.#waiting)) {
      // A timer may ring a little early.
      if (late.stepEndsAt - now < 1) {
        if (--late.stepsLeft === 0) {
          LinkedList.remove(late)
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
