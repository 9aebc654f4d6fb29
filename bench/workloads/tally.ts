import type { Counts } from "../harness/case.ts"

/** How the callers of one round fare. */
export class Tally implements Counts {
  served = 0
  timedOut = 0
  interrupted = 0
  busy = 0
  /** When all of them are done. */
  readonly done: Promise<void>
  readonly #finish: () => void
  readonly #callers: number
  #ended = 0

  /** `onDone` is called in the very moment in which the last of them is done. */
  constructor(callers: number, onDone: () => void) {
    const { promise, resolve } = Promise.withResolvers<void>()
    this.done = promise
    this.#callers = callers
    this.#finish = () => {
      onDone()
      resolve()
    }
  }

  add(outcome: keyof Counts): void {
    this[outcome]++
    if (++this.#ended === this.#callers) this.#finish()
  }

  get counts(): Counts {
    const { busy, interrupted, served, timedOut } = this
    return { served, timedOut, interrupted, busy }
  }
}
