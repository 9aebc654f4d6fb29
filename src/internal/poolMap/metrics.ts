/** The metrics of maps of pools: which number of a map's state each of them shows. */
import type { Context } from "effect"
import type { PoolEvictReason } from "../../PoolMapEvent.ts"
import * as PoolMetrics from "../../PoolMetrics.ts"
import { byName, Series } from "../pool/series.ts"
import * as Histogram from "../structures/histogram.ts"
import type { State } from "./state.ts"
import { occupancy } from "./view.ts"

type Source = State<unknown, unknown>

/** Shows a map in the metrics. Returns the function to call when the map is closed. */
export const register = <K, P>(state: State<K, P>, context: Context.Context<never>): () => void => {
  const series = seriesOf(state.settings.name, context)
  const source = state as unknown as Source
  series.join(source)
  return () => series.leave(source)
}

const seriesOf = byName((name, context) => {
  const series = new Series<Source>(context)
  const metrics = PoolMetrics.ofMap(name)
  const { count, evictions, max, openTime, opens, pendingRequests, requests, waitTime } = metrics
  series.gauge(count.idle, (source) => occupancy(source).idle)
  series.gauge(count.inUse, (source) => occupancy(source).inUse)
  // These two do not have to ask every pool what it does.
  series.gauge(count.opening, ({ opening }) => opening.length)
  series.gauge(count.closing, ({ closing }) => closing.length)
  series.gauge(max, ({ settings }) => settings.max)
  series.gauge(pendingRequests, ({ waiting }) => waiting)
  series.counter(requests.hit, ({ counters }) => counters.hits)
  series.counter(requests.miss, ({ counters }) => counters.misses)
  series.counter(requests.open_failed, ({ counters }) => counters.openErrors)
  series.counter(requests.timed_out, ({ counters }) => counters.timeouts)
  series.counter(requests.refused, ({ counters }) => counters.refused)
  series.counter(requests.cancelled, ({ counters }) => counters.cancelled)
  series.counter(opens.succeeded, ({ counters }) => counters.opens)
  series.counter(opens.failed, ({ counters }) => counters.openFailures - counters.openTimeouts)
  series.counter(opens.timed_out, ({ counters }) => counters.openTimeouts)
  for (const reason of Object.keys(evictions) as ReadonlyArray<PoolEvictReason>) {
    series.counter(evictions[reason], ({ counters }) => counters.evictions[reason])
  }
  series.times(openTime, (sum, { openTimes }) => Histogram.add(sum, openTimes))
  series.times(waitTime, (sum, { waitTimes }) => Histogram.add(sum, waitTimes))
  return series
})
