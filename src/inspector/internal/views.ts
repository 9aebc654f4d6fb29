/** What the page shows of one pool at the present moment. */
import { Effect } from "effect"
import { leftText } from "../../internal/holder.ts"
import * as Histogram from "../../internal/structures/histogram.ts"
import { labelText } from "../../internal/structures/statementText.ts"
import type { Holder } from "../../PoolError.ts"
import type { HolderView, PoolView, Times } from "./contract.ts"
import { type Recorder, timesSeen } from "./recorder.ts"
import type { Source } from "./sources.ts"

/** The most holders that are listed, and the most who have left something running. */
const mostHolders = 100
const mostAbandoned = 50

export const poolView = Effect.fnUntraced(function*(
  { door, name, pool }: Source,
  recorder: Recorder,
  index: number,
  at: number
): Effect.fn.Return<PoolView> {
  const stats = door.stats()
  const { isOpen, isPaused, longestWaitMillis, times } = door.inspect()
  const seen = timesSeen(recorder, index, times, at)
  const holders = door.holders(mostHolders)
  const abandoned = door.abandoned(mostAbandoned)
  const slow = yield* pool.slowStatements
  return {
    name,
    stats,
    isPaused,
    isOpen,
    longestWaitMillis,
    waits: seen && timesOf(seen.before.waits, seen.after.waits, seen.overMillis),
    leases: seen && timesOf(seen.before.uses, seen.after.uses, seen.overMillis),
    holders: holders.map(holderView),
    slowStatements: slow.map(({ pool: _, ...statement }) => statement),
    abandoned: abandoned.map((one) => ({ connection: one.connection, text: leftText(one) })),
    moreHolders: stats.inUse - holders.length,
    moreAbandoned: stats.abandoned - abandoned.length
  }
})

const timesOf = (before: Histogram.Histogram, after: Histogram.Histogram, overMillis: number): Times => {
  const recorded = Histogram.between(before, after)
  const count = Histogram.count(recorded)
  return {
    count,
    overMillis,
    mean: count === 0 ? 0 : recorded.sumMillis / count,
    p50: Histogram.quantile(recorded, 0.5),
    p99: Histogram.quantile(recorded, 0.99)
  }
}

export const holderView = ({ connection, fiber, heldMillis, label, span, statement }: Holder): HolderView => ({
  connection,
  label: label && labelText(label),
  trace: span?.traceId,
  span: span?.spanId,
  fiber,
  heldMillis,
  statement: statement && {
    text: statement.text,
    isRunning: statement.isRunning,
    ranMillis: statement.ranMillis
  }
})
