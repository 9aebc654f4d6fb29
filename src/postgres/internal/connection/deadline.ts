/**
 * Deadlines for answers of a server, which is not blamed for time in which this process stood still.
 *
 * A timer that is late rings before anything is read that has arrived meanwhile. So the time is counted in steps: however long this
 * process is busy, or suspended, that is one step, and what has arrived is read before the next one.
 */
import { Effect } from "effect"

/** In how many steps the time is counted. */
export const steps = 4

/** Ends when so much time has passed, on the clock of the fiber. */
export const passed = (millis: number): Effect.Effect<void> =>
  Effect.asVoid(Effect.repeat(Effect.sleep(millis / steps), { times: steps - 1 }))

/** A deadline on a plain timer, which costs no fiber. */
export class Deadline {
  readonly #stepMillis: number
  readonly #passed: () => void
  #stepsLeft = steps
  #timer: NodeJS.Timeout

  /** Calls `passed` after so long, unless it is stopped before. */
  constructor(millis: number, passed: () => void) {
    this.#stepMillis = Math.ceil(millis / steps)
    this.#passed = passed
    this.#timer = setTimeout(this.#step, this.#stepMillis)
  }

  stop(): void {
    clearTimeout(this.#timer)
  }

  readonly #step = (): void => {
    if (--this.#stepsLeft === 0) this.#passed()
    else this.#timer = setTimeout(this.#step, this.#stepMillis)
  }
}
