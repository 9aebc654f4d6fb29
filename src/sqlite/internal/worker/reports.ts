/** The commits that a thread reports, while somebody observes them. */
import { haveOthersCommitted, type Observed } from "../connection/observed.ts"
import type { ChangesData } from "../sql/tables.ts"
import type { Reported } from "./protocol.ts"

export class Reports {
  #observed: Observed | undefined = undefined
  #commits: Array<ChangesData> = []
  /** Whether others had committed before the present watch, since the last question. */
  #isEarlier = false

  watch(isOn: boolean, observed: Observed): void {
    this.#commits = []
    this.#observed = isOn ? observed : undefined
    observed.watch(isOn ? (changes) => void this.#commits.push(changes.copy().data) : undefined)
    // It takes a moment until the thread is told to watch. What others have committed meanwhile may be missing in what the
    // observer has read meanwhile.
    this.#isEarlier = isOn && haveOthersCommitted(observed)
  }

  /** What was not reported yet; `undefined` if nothing is watched. */
  take(): Reported | undefined {
    if (this.#observed === undefined) return undefined
    const reported = {
      commits: this.#commits,
      haveOthersCommitted: haveOthersCommitted(this.#observed) || this.#isEarlier
    }
    this.#commits = []
    this.#isEarlier = false
    return reported
  }
}
