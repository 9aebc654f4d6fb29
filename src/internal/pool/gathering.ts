/**
 * Decides whether a caller waits for others, and when that wait ends. A wait is worthwhile if other callers are likely to
 * ask in the same turn of the event loop.
 *
 * It learns from what happens. Callers have company after two of them have asked in one turn. They have none after one of
 * them has waited in vain. A single caller that asks again and again never has to wait.
 */

import type { Fiber } from "effect"
import type { PoolConfigError } from "../../PoolError.ts"
import { isRefused } from "../options/call.ts"
import type { CallSettings } from "../options/settings.ts"
import * as Runtime from "../runtime.ts"

/** Runs a function after the present turn of the event loop. */
export type NextTurn = (task: () => void) => void

/**
 * The maximum number of hints that are ignored. Fibers that ask one after the other, each after the last has ended, look
 * like company but are not. A wait costs as much as a small write, so most hints of such fibers are ignored.
 */
const mostDoubt = 15

export class Gathering {
  readonly #nextTurn: NextTurn
  /** Whether some callers were served but have not gone on yet. They may ask again. */
  readonly #isWaking: () => boolean
  /** The id of the fiber that has asked last. A reference to the fiber would keep it alive. */
  #last = -1
  /** Whether the end of the present turn is scheduled. */
  #isScheduled = false
  #hasCompany = false
  /** How often another fiber has asked in the same turn. */
  #hints = 0
  /** How many hints are ignored: more after each wait in vain. */
  #doubt = 0
  #hasRun = false
  #resume: (() => void) | undefined = undefined

  constructor(nextTurn: NextTurn, isWaking: () => boolean) {
    this.#nextTurn = nextTurn
    this.#isWaking = isWaking
  }

  /** Whether others are likely to ask before the turn ends. */
  get hasCompany(): boolean {
    return this.#hasCompany
  }

  /** Whether a group has run in this turn. The next group runs after the event loop has had its turn. */
  get hasRun(): boolean {
    return this.#hasRun
  }

  /** Whether a caller waits for others. */
  get isWaiting(): boolean {
    return this.#resume !== undefined
  }

  /** Notes that a fiber asks, and returns whether others are likely to ask before the turn ends. */
  expects(fiber: number): boolean {
    if (this.#hasCompany) return true
    return fiber === this.#last ? false : this.#notice(fiber)
  }

  #notice(fiber: number): boolean {
    this.#last = fiber
    if (!this.#isScheduled) this.#schedule()
    else if (++this.#hints > this.#doubt) {
      this.#hints = 0
      this.#hasCompany = true
    }
    return this.#hasCompany
  }

  /** Resumes a caller at the end of the turn. Only one caller waits at a time: the one that holds the connection. */
  wait(resume: () => void): void {
    this.#resume = resume
    this.#schedule()
  }

  /** Ends the wait without resuming the caller. */
  cancel(): void {
    this.#resume = undefined
  }

  /** Resumes the waiting caller now. */
  flush(): void {
    const resume = this.#resume
    this.#resume = undefined
    resume?.()
  }

  /** Notes that a caller has waited in vain. */
  wasAlone(fiber: number): void {
    this.#hasCompany = false
    this.#last = fiber
    this.#doubt = Math.min(2 * this.#doubt + 1, mostDoubt)
  }

  /** Notes that a group has run. */
  ran(): void {
    this.#hasCompany = true
    this.#hasRun = true
    this.#doubt = 0
    this.#schedule()
  }

  /** Stops waits for others until callers have company again. */
  leave(): void {
    this.#hasCompany = false
  }

  #schedule(): void {
    if (this.#isScheduled) return
    this.#isScheduled = true
    this.#nextTurn(this.#endTurn)
  }

  readonly #endTurn = (): void => {
    this.#isScheduled = false
    this.#hasRun = false
    if (this.#resume === undefined) return
    // The pool wakes a limited number of callers in a turn. The others have not had a chance to ask yet.
    if (this.#isWaking()) this.#schedule()
    else this.flush()
  }
}

/** Whether a caller cannot wait at all: its timeout is zero, or `Effect.runSync` runs its fiber. */
export const cannotWait = (
  fiber: Fiber.Fiber<unknown, unknown>,
  settings: CallSettings | PoolConfigError | undefined
): boolean =>
  (settings !== undefined && !isRefused(settings) && settings.timeoutMillis === 0) || Runtime.isSynchronous(fiber)
