/** The metrics of reads that share connections. */
import { Effect, type Scope } from "effect"
import { byName, Series } from "../../../internal/pool/series.ts"
import * as PoolMetrics from "../../../PoolMetrics.ts"
import type { Numbers } from "./numbers.ts"

/** Shows the numbers of reads on the connections of a pool, for the current scope. */
export const show = (pool: string, numbers: Numbers): Effect.Effect<void, never, Scope.Scope> =>
  Effect.flatMap(Effect.context<never>(), (context) => {
    const series = seriesOf(pool, context)
    return Effect.acquireRelease(
      Effect.sync(() => series.join(numbers)),
      () => Effect.sync(() => series.leave(numbers))
    )
  })

const results = ["answered", "abandoned", "refused", "late", "lost"] as const

const seriesOf = byName((pool, context) => {
  const series = new Series<Numbers>(context)
  const { sharedReads } = PoolMetrics.of(pool)
  for (const result of results) series.counter(sharedReads[result], (numbers) => numbers[result])
  return series
})
