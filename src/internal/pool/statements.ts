/** The statements of one connection, as far as its driver reports them: data. `recorder.ts` changes it. */
import type { HolderStatement } from "../../PoolError.ts"
import * as LinkedList from "../structures/linkedList.ts"
import { shortTextOf } from "../structures/statementText.ts"

export class Statements {
  /** The statement that ran last under the present lease. A statement that runs in one step is never seen to run. */
  last: string | undefined = undefined
  /** How long that took, if it was measured. */
  lastMillis: number | undefined = undefined
  /** The statements that run now, and take several steps: the first began first. Not set before the first of them. */
  running: LinkedList.LinkedList<Run> | undefined = undefined
}

/** A statement that takes several steps. */
export class Run extends LinkedList.Linked<Run> {
  readonly text: string
  /** The lease that has begun it. */
  readonly lease: object | undefined
  readonly startedAt: number
  /** How long the database has worked for it so far. */
  spentMillis = 0
  /** Since when the database works for it; a negative number while it does not. */
  enteredAt = -1

  constructor(text: string, lease: object | undefined, startedAt: number) {
    super()
    this.text = text
    this.lease = lease
    this.startedAt = startedAt
  }
}

/** Many leases may be looked at in one step, so less is read of each text than for the list of slow statements. */
const mostRead = 5000

/** The statement that a lease runs, or has run last, as errors and events show it. */
export const statementOf = (
  { last, lastMillis, running }: Statements,
  lease: object | undefined,
  now: number
): HolderStatement | undefined => {
  if (running !== undefined) {
    for (const run of LinkedList.members(running)) {
      if (run.lease === lease) {
        return { text: shortTextOf(run.text, mostRead), isRunning: true, ranMillis: now - run.startedAt }
      }
    }
  }
  if (last === undefined) return undefined
  const ran = lastMillis === undefined ? undefined : { ranMillis: lastMillis }
  return { text: shortTextOf(last, mostRead), isRunning: false, ...ran }
}
