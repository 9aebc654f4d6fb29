/**
 * The metrics of all sources of one name, in Effect's registry. The registry gets functions, which read the sources when
 * somebody reads the metrics. So a source writes nothing to the registry.
 */
import { Context, Metric } from "effect"
import * as Histogram from "../structures/histogram.ts"

/** The sources of one name: pools, or maps of pools. There may be several, and each metric has one series for all. */
export class Series<Source> {
  readonly #context: Context.Context<never>
  readonly #sources = new Set<Source>()
  readonly #gauges: Array<() => Metric.Registration> = []
  readonly #keepers: Array<(source: Source) => void> = []
  #shown: Array<Metric.Registration> = []

  constructor(context: Context.Context<never>) {
    this.#context = context
  }

  join(source: Source): void {
    if (this.#sources.size === 0) this.#shown = this.#gauges.map((show) => show())
    this.#sources.add(source)
  }

  /** Removes a closed source. Its counts stay in the sums. */
  leave(source: Source): void {
    this.#sources.delete(source)
    for (const keep of this.#keepers) keep(source)
    if (this.#sources.size > 0) return
    for (const gauge of this.#shown) gauge.remove()
  }

  /** Adds a gauge. It is shown while there are sources. */
  gauge(gauge: Metric.Gauge<number>, of: (source: Source) => number): void {
    const get = () => {
      let value = 0
      for (const source of this.#sources) value += of(source)
      return { value }
    }
    const show = () => Metric.registerUnsafe(gauge, this.#context, readOnly(get))
    this.#gauges.push(show)
    if (this.#sources.size > 0) this.#shown.push(show())
  }

  counter(counter: Metric.Counter<number>, of: (source: Source) => number): void {
    let kept = 0
    this.#keepers.push((source) => {
      kept += of(source)
    })
    const get = () => {
      let count = kept
      for (const source of this.#sources) count += of(source)
      return { count, incremental: true }
    }
    Metric.registerUnsafe(counter, this.#context, readOnly(get))
  }

  times(histogram: Metric.Histogram<number>, addTo: (sum: Histogram.Histogram, source: Source) => void): void {
    this.sums(histogram, () => new Histogram.Histogram(), Histogram.add, addTo, inSeconds)
  }

  /** Adds a histogram whose sums have a type of their own. */
  sums<Sum>(
    histogram: Metric.Histogram<number>,
    empty: () => Sum,
    add: (sum: Sum, other: Sum) => void,
    addTo: (sum: Sum, source: Source) => void,
    stateOf: (sum: Sum) => Metric.HistogramState
  ): void {
    const kept = empty()
    this.#keepers.push((source) => addTo(kept, source))
    const get = () => {
      const sum = empty()
      add(sum, kept)
      for (const source of this.#sources) addTo(sum, source)
      return stateOf(sum)
    }
    Metric.registerUnsafe(histogram, this.#context, readOnly(get))
  }
}

const readOnly = <State>(get: () => State) => ({ get, update: nothing, modify: nothing })

const nothing = (): void => {}

const inSeconds = (histogram: Histogram.Histogram): Metric.HistogramState => {
  let cumulated = 0
  const buckets = Histogram.bounds.map((bound, index): [number, number] => [
    bound / 1000,
    cumulated += histogram.counts[index]!
  ])
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

/**
 * Returns a function that finds the series of a name, or makes them: one for each registry, for each name, and for the
 * attributes that the application adds to all metrics.
 */
export const byName = <S>(make: (name: string, context: Context.Context<never>) => S) => {
  const all = new WeakMap<object, Map<string, S>>()
  return (name: string, context: Context.Context<never>): S => {
    const registry = Context.get(context, Metric.MetricRegistry)
    let named = all.get(registry)
    if (named === undefined) {
      named = new Map()
      all.set(registry, named)
    }
    const attributes = Context.get(context, Metric.CurrentMetricAttributes)
    const key = JSON.stringify([name, attributes])
    let series = named.get(key)
    if (series === undefined) {
      // The registry keeps this context, so it has no other services of the application.
      const own = Context.make(Metric.MetricRegistry, registry)
      series = make(name, Context.add(own, Metric.CurrentMetricAttributes, attributes))
      named.set(key, series)
    }
    return series
  }
}
