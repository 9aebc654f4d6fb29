/** How long the runs of one text take, and whether it moves to workers with `execution: "auto"`. */

/** A run that takes longer is slow. */
const slowAfterMillis = 1
/**
 * A text that was slow is away until so many runs in a row were fast: after its first slow run, after its second, and
 * after each one from the third on. One slow run may be the fault of the machine: a pause of the garbage collector, a cold
 * cache. With an average, a text would move all the time.
 */
const fastInARow = [0, 10, 100, 1000] as const
/** A single run counts for no more than this in the average: the system may have stopped its thread meanwhile. */
const mostMillis = 12
const mostOfFirst = 4
const weight = 1 / 16

export class Pace {
  /** The slow runs since the last time that a thousand in a row were fast. Three stand for more. */
  #slow: 0 | 1 | 2 | 3 = 0
  /** The fast runs since the last slow one. */
  #fast = 0
  #average: number | undefined = undefined

  /** Whether a run was slow, and not enough runs since then were fast. One more in process would stop the event loop. */
  get isSlow(): boolean {
    return this.#fast < fastInARow[this.#slow]
  }

  /** Whether a run takes long on average, so that others should not wait behind it. */
  get isLong(): boolean {
    return this.#average !== undefined && this.#average > slowAfterMillis
  }

  took(millis: number): void {
    const average = this.#average
    this.#average = average === undefined
      ? Math.min(millis, mostOfFirst)
      : average + (Math.min(millis, mostMillis) - average) * weight
    if (millis > slowAfterMillis) {
      this.#slow = this.#slow === 3 ? 3 : this.#slow + 1 as 1 | 2 | 3
      this.#fast = 0
    } else if (this.#slow > 0 && ++this.#fast === fastInARow[3]) {
      this.#slow = 0
      this.#fast = 0
    }
  }
}
