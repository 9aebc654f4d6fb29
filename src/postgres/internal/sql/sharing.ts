/** Whether the statements with one text may share a connection with others, by how they have run so far. */

/** What is known of one text. */
export class Sharing {
  #mayShare: boolean
  /** How many quick runs in a row it needs on a connection of its own. */
  #needed = 1
  #quick = 0
  /** How many runs on a shared connection were quick since the last that counted. */
  #good = 0

  constructor(mayShare: boolean) {
    this.#mayShare = mayShare
  }

  /** Whether it may run on a shared connection now. */
  get isAdmitted(): boolean {
    return this.#mayShare && this.#quick >= this.#needed
  }

  /** Whether its next run on a connection of its own tells if it may share one. */
  get isOnTrial(): boolean {
    return this.#mayShare && this.#quick < this.#needed
  }

  /** It has run on a connection of its own. */
  ran(isQuick: boolean): void {
    this.#quick = isQuick ? this.#quick + 1 : 0
  }

  /** It has run on a shared connection, and has not held up the others. */
  wentWell(): void {
    if (++this.#good < goodRuns) return
    this.#good = 0
    this.#needed = Math.max(1, this.#needed / 2)
  }

  /** It has held up the others. Each time it needs twice as many quick runs before it may share again. */
  heldUp(): void {
    this.#good = 0
    this.#quick = 0
    this.#needed = Math.min(mostNeeded, this.#needed * 2)
  }

  /** It does more than read, which its text does not tell. */
  never(): void {
    this.#mayShare = false
  }
}

const goodRuns = 128
const mostNeeded = 1024
