/** Answers a caller whose work ran under the lease of another caller. */
import type { Cause } from "effect"
import { conclude, finishWait, hold, noteReturn } from "./lending.ts"
import type { Entry, State, Waiter } from "./state.ts"

/**
 * Ends the wait of a caller that was served under the lease of another caller, on the same connection. The caller counts
 * as a lease of its own, which began at `beganAt` and ends now. `failure` is the answer if the work has failed.
 */
export const serve = <C>(
  state: State<C>,
  waiter: Waiter<C>,
  entry: Entry<C>,
  beganAt: number,
  now: number,
  failure: Cause.Cause<unknown> | undefined
): void => {
  const { lease } = waiter
  const { isReported, leasedAt } = entry
  // A caller may have joined the line after the leader of its group began to run.
  entry.leasedAt = Math.max(beganAt, waiter.timedFrom)
  entry.isReported = false
  lease.entry = entry
  hold(state, lease)
  lease.stage = "ended"
  entry.uses++
  state.counters.returns++
  noteReturn(state, lease, now)
  lease.entry = undefined
  entry.leasedAt = leasedAt
  entry.isReported = isReported
  if (failure !== undefined) conclude(state, entry, failure)
  finishWait(state, waiter)
}
