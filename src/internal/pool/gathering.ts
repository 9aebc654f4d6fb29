/**
 * Tells a caller whether others are likely to ask in the same turn of the event loop, so that it is worth waiting for
 * them; and when that wait is over.
 *
 * It learns from what happens. Callers have company from when two of them ask in one turn, until one of them has waited
 * for others in vain. A caller that asks again and again, and is the only one, is never told to wait.
 */

import type { Fiber } from "effect"
import type { PoolConfigError } from "../../PoolError.ts"
import { isRefused } from "../options/call.ts"
import type { CallSettings } from "../options/settings.ts"
import * as Runtime from "../runtime.ts"

/** Has a function run when the event loop has had its turn. */
export type NextTurn = (task: () => void) => void

/**
 * Where fibers ask one after the other, each after the last has ended, they look like company. A wait costs as much as a
 * small write, so most of those hints are ignored then.
 */
const mostDoubt = 15

export class Gathering {
  readonly #nextTurn: NextTurn
  /** Whether callers were served who have yet to hear of it: they may ask again. */
  readonly #isWaking: () => boolean
  /** The number of the fiber that has asked last. A fiber itself would be kept alive. */
  #last = -1
  /** Whether the end of the present turn is scheduled. */
  #isScheduled = false
  #hasCompany = false
  /** How often another fiber asked in the same turn, and how often that is not believed: more after each wait in vain. */
  #hints = 0
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

  /** Whether a group has run in this turn: the event loop comes before the next. */
  get hasRun(): boolean {
    return this.#hasRun
  }

  /** Whether a caller waits for others. */
  get isWaiting(): boolean {
    return this.#resume !== undefined
  }

  /** Notes that a fiber asks, and answers whether others are likely to ask before the turn ends. */
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

  /** Has a caller go on at the end of the turn. One at a time: it has the connection. */
  wait(resume: () => void): void {
    this.#resume = resume
    this.#schedule()
  }

  /** The caller does not wait any longer. */
  cancel(): void {
    this.#resume = undefined
  }

  /** Has the caller that waits go on now. */
  flush(): void {
    const resume = this.#resume
    this.#resume = undefined
    resume?.()
  }

  /** The caller that waited has found nobody. */
  wasAlone(fiber: number): void {
    this.#hasCompany = false
    this.#last = fiber
    this.#doubt = Math.min(2 * this.#doubt + 1, mostDoubt)
  }

  /** A group has run. */
  ran(): void {
    this.#hasCompany = true
    this.#hasRun = true
    this.#doubt = 0
    this.#schedule()
  }

  /** Waiting for others is of no use for the time being. */
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
    // The pool wakes a limited number of callers in a turn, and those that are left have yet to ask.
    if (this.#isWaking()) this.#schedule()
    else this.flush()
  }
}

/** Whether a caller does not wait at all: its timeout is zero, or its fiber is run by `Effect.runSync`. */
export const cannotWait = (
  fiber: Fiber.Fiber<unknown, unknown>,
  settings: CallSettings | PoolConfigError | undefined
): boolean =>
  (settings !== undefined && !isRefused(settings) && settings.timeoutMillis === 0) || Runtime.isSynchronous(fiber)
