/** Draws times from distributions. */
import type { Draw } from "./contract.ts"
import { exponential, normal, Stream } from "./random.ts"

/** `Times`, checked and in milliseconds. */
export type TimeSettings =
  | { readonly _tag: "Fixed"; readonly millis: number }
  | { readonly _tag: "Exponential"; readonly meanMillis: number }
  | { readonly _tag: "Lognormal"; readonly medianMillis: number; readonly p99Millis: number }
  | {
    readonly _tag: "Histogram"
    readonly bounds: ReadonlyArray<number>
    readonly counts: ReadonlyArray<number>
    readonly meanMillis: number | undefined
  }
  | { readonly _tag: "Sampled"; readonly times: ReadonlyArray<number> }
  | { readonly _tag: "Function"; readonly make: (draw: Draw) => number }

/** What draws know of the simulation. */
export interface Surroundings {
  readonly inUse: number
  readonly atMillis: number
}

/** Makes a time in milliseconds from random numbers. */
type Make = (random: () => number, index: number, surroundings: Surroundings) => number

/**
 * Draws the times of one purpose. The time number `index` comes from random numbers of its own, so it is the same in all
 * simulations with one seed, whatever else happens in them.
 */
export const drawer = (
  seed: number,
  stream: number,
  kinds: ReadonlyArray<TimeSettings>
): (index: number, surroundings: Surroundings) => ReadonlyArray<number> => {
  const makes = kinds.map(maker)
  const random = new Stream(seed, stream)
  return (index, surroundings) => {
    random.reset(seed, stream, index)
    return makes.map((make) => make(random.next, index, surroundings))
  }
}

const maker = (kind: TimeSettings): Make => {
  switch (kind._tag) {
    case "Fixed":
      return () => kind.millis
    case "Exponential":
      return (random) => kind.meanMillis * exponential(random)
    case "Lognormal": {
      const deviation = Math.log(kind.p99Millis / kind.medianMillis) / normalP99
      return (random) => kind.medianMillis * Math.exp(deviation * normal(random))
    }
    case "Histogram":
      return fromBuckets(kind.bounds, kind.counts, kind.meanMillis)
    case "Sampled":
      return (random) => kind.times[Math.floor(random() * kind.times.length)]!
    case "Function":
      return (random, index, { atMillis, inUse }) => kind.make({ index, inUse, atMillis, random })
  }
}

/** The 99 % quantile of the normal distribution. */
const normalP99 = 2.3263478740408408

/** Within a bucket, all times are as likely. They are all scaled so that the mean is right. */
const fromBuckets = (
  bounds: ReadonlyArray<number>,
  counts: ReadonlyArray<number>,
  mean: number | undefined
): Make => {
  const buckets = counts.map((count, index) => {
    const from = bounds[index - 1] ?? 0
    return { count, from, to: bounds[index] ?? from * 2 }
  })
  const all = counts.reduce((sum, count) => sum + count, 0)
  const found = buckets.reduce((sum, { count, from, to }) => sum + count * (from + to) / 2, 0) / all
  const scale = mean === undefined ? 1 : mean / found
  return (random) => {
    let rest = random() * all
    let last = buckets[0]!
    for (const bucket of buckets) {
      if (bucket.count === 0) continue
      last = bucket
      if (rest < bucket.count) break
      rest -= bucket.count
    }
    return scale * (last.from + random() * (last.to - last.from))
  }
}
