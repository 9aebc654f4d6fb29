/**
 * The metrics of pools, in Effect's registry. The registry gets functions, which read the state of the pools when
 * somebody reads the metrics. So a pool writes nothing to the registry.
 */
import { Context, Metric } from "effect"
import type { EvictReason } from "../../Connection.ts"
import * as PoolMetrics from "../../PoolMetrics.ts"
import * as Histogram from "../structures/histogram.ts"
import * as Sizes from "../structures/sizes.ts"
import type { State } from "./state.ts"

/** The part of a pool's state that the metrics read. */
type Source =
  & Pick<State<unknown>, "settings" | "counters" | "connectTimes" | "waitTimes" | "useTimes" | "groups">
  & { readonly [List in Lists]: { readonly length: number } }
type Lists = "connecting" | "idle" | "validating" | "inUse" | "resetting" | "closing" | "waiters"

/** Shows a pool in the metrics. Returns the function to call when the pool is closed. */
export const register = (source: Source, context: Context.Context<never>): () => void => {
  const group = groupOf(source.settings.name, context)
  group.join(source)
  return () => group.leave(source)
}

/** Has the metrics of a registered pool show the groups of its callers too. */
export const showGroups = (source: Source, context: Context.Context<never>): void =>
  groupOf(source.settings.name, context).showGroups()

/** The pools of one name. There may be several, and each metric has one series for all of them. */
class Group {
  readonly #context: Context.Context<never>
  readonly #metrics: PoolMetrics.PoolMetrics
  readonly #sources = new Set<Source>()
  readonly #totals: Array<{ readonly keep: (source: Source) => void }> = []
  #gauges: ReadonlyArray<Metric.Registration> = []
  #showsGroups = false

  constructor(name: string, context: Context.Context<never>) {
    this.#context = context
    this.#metrics = PoolMetrics.of(name)
    this.#showCounts()
  }

  join(source: Source): void {
    if (this.#sources.size === 0) this.#showGauges()
    this.#sources.add(source)
  }

  /** Removes a closed pool. Its counts stay in the sums. */
  leave(source: Source): void {
    this.#sources.delete(source)
    for (const total of this.#totals) total.keep(source)
    if (this.#sources.size > 0) return
    for (const gauge of this.#gauges) gauge.remove()
  }

  /** Not for every pool: most have no groups. */
  showGroups(): void {
    if (this.#showsGroups) return
    this.#showsGroups = true
    const kept = new Sizes.Sizes()
    let keptUndone = 0
    this.#totals.push({
      keep: ({ groups }) => {
        if (groups === undefined) return
        Sizes.add(kept, groups.sizes)
        keptUndone += groups.undone
      }
    })
    const getSizes = () => {
      const sum = new Sizes.Sizes()
      Sizes.add(sum, kept)
      for (const { groups } of this.#sources) if (groups !== undefined) Sizes.add(sum, groups.sizes)
      return stateOf(sum)
    }
    const getUndone = () => {
      let count = keptUndone
      for (const { groups } of this.#sources) count += groups?.undone ?? 0
      return { count, incremental: true }
    }
    const { groupSize, undoneGroups } = this.#metrics
    Metric.registerUnsafe(groupSize, this.#context, readOnly(getSizes))
    Metric.registerUnsafe(undoneGroups, this.#context, readOnly(getUndone))
  }

  #showGauges(): void {
    const gauges: Array<Metric.Registration> = []
    const show = (gauge: Metric.Gauge<number>, of: (source: Source) => number) => {
      const get = () => {
        let value = 0
        for (const source of this.#sources) value += of(source)
        return { value }
      }
      gauges.push(Metric.registerUnsafe(gauge, this.#context, readOnly(get)))
    }
    const { count, idleMax, idleMin, max, pendingRequests } = this.#metrics
    show(count.idle, (source) => source.idle.length)
    show(count.used, (source) => source.inUse.length)
    for (const state of ["connecting", "validating", "resetting", "closing"] as const) {
      show(count[state], (source) => source[state].length)
    }
    show(idleMax, (source) => source.settings.max)
    show(idleMin, (source) => source.settings.min)
    show(max, (source) => source.settings.max)
    show(pendingRequests, (source) => source.waiters.length)
    this.#gauges = gauges
  }

  #showCounts(): void {
    const show = (counter: Metric.Counter<number>, of: (counters: Source["counters"]) => number) => {
      let kept = 0
      this.#totals.push({
        keep: ({ counters }) => {
          kept += of(counters)
        }
      })
      const get = () => {
        let count = kept
        for (const { counters } of this.#sources) count += of(counters)
        return { count, incremental: true }
      }
      Metric.registerUnsafe(counter, this.#context, readOnly(get))
    }
    const showTimes = (
      histogram: Metric.Histogram<number>,
      addTo: (sum: Histogram.Histogram, source: Source) => void
    ) => {
      const kept = new Histogram.Histogram()
      this.#totals.push({ keep: (source) => addTo(kept, source) })
      const get = () => {
        const sum = new Histogram.Histogram()
        Histogram.add(sum, kept)
        for (const source of this.#sources) addTo(sum, source)
        return inSeconds(sum)
      }
      Metric.registerUnsafe(histogram, this.#context, readOnly(get))
    }
    const {
      abandoned,
      connects,
      createTime,
      evictions,
      leaks,
      refusals,
      resets,
      timeouts,
      useTime,
      validations,
      waitTime
    } = this.#metrics
    showTimes(createTime, (sum, source) => Histogram.add(sum, source.connectTimes))
    showTimes(waitTime, (sum, source) => {
      Histogram.add(sum, source.waitTimes)
      // Callers who did not wait are not recorded one by one.
      Histogram.recordZero(sum, source.counters.checkouts - Histogram.count(source.waitTimes))
    })
    showTimes(useTime, (sum, source) => Histogram.add(sum, source.useTimes))
    show(timeouts, (counters) => counters.timeouts)
    show(connects.succeeded, (counters) => counters.connects)
    show(connects.failed, (counters) => counters.connectFailures - counters.connectTimeouts)
    show(connects.timed_out, (counters) => counters.connectTimeouts)
    show(validations.succeeded, (counters) => counters.validations - counters.validationFailures)
    show(validations.failed, (counters) => counters.validationFailures)
    show(resets.succeeded, (counters) => counters.resets - counters.resetFailures)
    show(resets.failed, (counters) => counters.resetFailures)
    for (const reason of Object.keys(evictions) as ReadonlyArray<EvictReason>) {
      show(evictions[reason], (counters) => counters.evictions[reason])
    }
    show(leaks, (counters) => counters.leaks)
    show(refusals, (counters) => counters.refused)
    show(abandoned, (counters) => counters.abandoned)
  }
}

/** The groups in each registry, by the name of the pool and the attributes that the application adds to all metrics. */
const groups = new WeakMap<object, Map<string, Group>>()

const groupOf = (name: string, context: Context.Context<never>): Group => {
  const registry = Context.get(context, Metric.MetricRegistry)
  let named = groups.get(registry)
  if (named === undefined) {
    named = new Map()
    groups.set(registry, named)
  }
  const attributes = Context.get(context, Metric.CurrentMetricAttributes)
  const key = JSON.stringify([name, attributes])
  let group = named.get(key)
  if (group === undefined) {
    // The registry keeps this context, so it has no other services of the application.
    const own = Context.make(Metric.MetricRegistry, registry)
    group = new Group(name, Context.add(own, Metric.CurrentMetricAttributes, attributes))
    named.set(key, group)
  }
  return group
}

const readOnly = <State>(get: () => State) => ({ get, update: nothing, modify: nothing })

const nothing = (): void => {}

const inSeconds = (histogram: Histogram.Histogram): Metric.HistogramState => {
  const buckets: Array<[number, number]> = []
  let cumulated = 0
  for (const [index, boundary] of PoolMetrics.boundaries.entries()) {
    cumulated += histogram.counts[index]!
    buckets.push([boundary, cumulated])
  }
  const { maxMillis, minMillis, sumMillis } = histogram
  const count = Histogram.count(histogram)
  return {
    buckets,
    count,
    min: count === 0 ? 0 : minMillis / 1000,
    max: maxMillis / 1000,
    sum: sumMillis / 1000
  }
}

const stateOf = (sizes: Sizes.Sizes): Metric.HistogramState => {
  let count = 0
  const buckets = Sizes.sizeBounds.map((bound, index): [number, number] => [bound, count += sizes.counts[index]!])
  count += sizes.counts[Sizes.sizeBounds.length]!
  return { buckets, count, min: count === 0 ? 0 : sizes.min, max: sizes.max, sum: sizes.sum }
}
