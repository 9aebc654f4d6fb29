/** Listens to the statements of the connections of a pool, and reports those that are slow. */
import * as PoolEvent from "../../PoolEvent.ts"
import * as Histogram from "../structures/histogram.ts"
import { shortTextOf } from "../structures/statementText.ts"
import * as GroupNumbers from "./groupNumbers.ts"
import { callerOf } from "./holders.ts"
import type { Ended, Listener } from "./recorder.ts"
import { SlowStatements } from "./slowStatements.ts"
import { type Entry, type Lease, report, type State } from "./state.ts"
import type { Work } from "./work.ts"

/** Has the state keep what is known of slow statements, if `slowStatement` is set. */
export const begin = <C>(state: State<C>): void => {
  if (state.settings.slowStatementMillis < Infinity) state.slow = new SlowStatements()
}

/** The listener of one connection. */
export const listener = <C>(work: Work<C>, entry: Entry<C>): Listener => ({
  now: work.now,
  ended: work.state.slow === undefined ? undefined : (ended) => note(work, entry, work.state.slow!, ended),
  grouped: (group) => {
    GroupNumbers.note(work.state, entry.id, group)
    if (work.state.isWatched) work.runSoon()
  }
})

const note = <C>(work: Work<C>, entry: Entry<C>, slow: SlowStatements, ended: Ended): void => {
  const { state } = work
  const { isBlocking, tookMillis } = ended
  const { slowStatementMillis } = state.settings
  if (state.isMeasured) Histogram.record(slow.times, tookMillis)
  if (tookMillis < slowStatementMillis || state.phase === "closed") return
  state.counters.slowStatements++
  const now = work.now()
  const text = shortTextOf(ended.text)
  const lease = (isBlocking ? entry.member : undefined) ?? ended.lease as Lease<C> | undefined
  report(
    state,
    PoolEvent.StatementSlow({
      connection: entry.id,
      text,
      tookMillis,
      slowAfterMillis: slowStatementMillis,
      isBlocking,
      ...(isBlocking && state.slowAdvice !== undefined ? { advice: state.slowAdvice } : undefined),
      holder: lease && callerOf(entry, lease, now),
      ...slow.note(text, tookMillis, now)
    })
  )
  // Not now: the statement is in the middle of a step of its caller, and others must not run in it.
  work.runSoon()
}
