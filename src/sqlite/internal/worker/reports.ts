/** The commits that a thread reports, while somebody observes them. */
import type { Observed } from "../connection/observed.ts"
import type { ChangesData } from "../sql/tables.ts"
import type { Answers } from "./protocol.ts"

export class Reports {
  #observed: Observed | undefined = undefined
  #commits: Array<ChangesData> = []

  watch(isOn: boolean, observed: Observed): void {
    this.#commits = []
    this.#observed = isOn ? observed : undefined
    observed.watch(isOn ? (changes) => void this.#commits.push(changes.copy().data) : undefined)
    // Later answers are about the time since this one.
    if (isOn) haveOthersCommitted(observed)
  }

  /** What was not reported yet; `undefined` if nothing. */
  take(): Pick<Answers, "commits" | "haveOthersCommitted"> | undefined {
    if (this.#observed === undefined) return undefined
    const commits = this.#commits
    const isChanged = haveOthersCommitted(this.#observed)
    if (commits.length === 0 && !isChanged) return undefined
    this.#commits = []
    return { commits, haveOthersCommitted: isChanged }
  }
}

/** What cannot be asked now is asked the next time. */
const haveOthersCommitted = (observed: Observed): boolean => {
  try {
    return observed.haveOthersCommitted() === true
  } catch {
    // Another process has a lock, or the connection is closed.
    return false
  }
}
