/** Counts durations in buckets. */
export class Histogram {
  /** The count for each bound, and at the end the count of durations above the last bound. */
  readonly counts = new Float64Array(bounds.length + 1)
  sumMillis = 0
  minMillis = Infinity
  maxMillis = 0
}

/**
 * The upper bounds of the buckets in milliseconds. From 1 ms to 10 s they are the bounds that OpenTelemetry recommends
 * for database calls. A pool also has leases of microseconds, and waits as long as its deadlines.
 */
export const bounds: ReadonlyArray<number> = [0.1, 0.5, 1, 5, 10, 50, 100, 500, 1000, 5000, 10_000, 30_000, 60_000]

export const record = (histogram: Histogram, millis: number): void => {
  // The search begins with the lowest bound, because most durations are short.
  let index = 0
  while (index < bounds.length && millis > bounds[index]!) index++
  histogram.counts[index]!++
  histogram.sumMillis += millis
  if (millis < histogram.minMillis) histogram.minMillis = millis
  if (millis > histogram.maxMillis) histogram.maxMillis = millis
}

export const count = (histogram: Histogram): number => histogram.counts.reduce((sum, count) => sum + count, 0)

/** Records a duration of zero this number of times. */
export const recordZero = (histogram: Histogram, times: number): void => {
  if (times === 0) return
  histogram.counts[0]! += times
  histogram.minMillis = 0
}

/** Adds all durations of another histogram. */
export const add = (histogram: Histogram, other: Histogram): void => {
  for (const [index, count] of other.counts.entries()) histogram.counts[index]! += count
  histogram.sumMillis += other.sumMillis
  histogram.minMillis = Math.min(histogram.minMillis, other.minMillis)
  histogram.maxMillis = Math.max(histogram.maxMillis, other.maxMillis)
}

export const copy = (histogram: Histogram): Histogram => {
  const copied = new Histogram()
  add(copied, histogram)
  return copied
}

/**
 * What was recorded between two looks at one histogram. The shortest and the longest of these are not known: they are those
 * of all.
 */
export const between = (before: Histogram, after: Histogram): Histogram => {
  const difference = copy(after)
  for (const [index, count] of before.counts.entries()) difference.counts[index]! -= count
  difference.sumMillis -= before.sumMillis
  return difference
}

/**
 * The duration that this part of all does not exceed, about: within a bucket, all durations count as equally likely. 0 if
 * there are none.
 */
export const quantile = (histogram: Histogram, part: number): number => {
  const wanted = count(histogram) * part
  if (wanted === 0) return 0
  let below = 0
  for (const [index, count] of histogram.counts.entries()) {
    if (count === 0 || below + count < wanted) {
      below += count
      continue
    }
    const from = bounds[index - 1] ?? 0
    const to = Math.min(bounds[index] ?? histogram.maxMillis, histogram.maxMillis)
    return from >= to ? to : from + (to - from) * (wanted - below) / count
  }
  return histogram.maxMillis
}
