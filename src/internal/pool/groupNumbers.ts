/** Notes the groups of callers that were served together, for the metrics and the events of a pool. */
import * as PoolEvent from "../../PoolEvent.ts"
import * as Sizes from "../structures/sizes.ts"
import type { GroupOfCallers } from "./recorder.ts"
import { report, type State } from "./state.ts"

/** Notes a group that was served on a connection, or undone there. `tookMillis` is of use only to those who read events. */
export const note = <C>(
  state: State<C>,
  connection: number,
  { size, tookMillis, undoneBecause }: GroupOfCallers
): void => {
  const { groups } = state
  if (groups === undefined) return
  if (undoneBecause !== undefined) groups.undone++
  else Sizes.record(groups.sizes, size)
  if (state.isWatched) report(state, PoolEvent.Grouped({ connection, size, tookMillis, undoneBecause }))
}
