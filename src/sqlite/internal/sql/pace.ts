/** How long the runs of one text take. */

/** A run that takes longer is slow. */
const slowAfterMillis = 1
/** After so many fast runs in a row, a text is not slow any more. With an average, it would change all the time. */
const fastInARow = 1000
/** A single run counts for no more than this in the average: the system may have stopped its thread meanwhile. */
const mostMillis = 12
const mostOfFirst = 4
const weight = 1 / 16

export class Pace {
  /** Whether a run was slow, and not enough runs since then were fast. One more in process would stop the event loop. */
  isSlow = false
  #fast = 0
  #average: number | undefined = undefined

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
      this.isSlow = true
      this.#fast = 0
    } else if (this.isSlow && ++this.#fast === fastInARow) {
      this.isSlow = false
      this.#fast = 0
    }
  }
}
