/** Counts durations by how long they were. Recording one is a few comparisons and additions. */
export class Histogram {
  /** One for each bound, and one for what is above the last. */
  readonly counts = new Float64Array(bounds.length + 1)
  sumMillis = 0
  minMillis = Infinity
  maxMillis = 0
}

/**
 * Upper bounds in milliseconds. In the middle they are those that OpenTelemetry advises for the duration of database
 * calls; a pool also sees leases of microseconds, and waits as long as its deadlines.
 */
export const bounds: ReadonlyArray<number> = [0.1, 0.5, 1, 5, 10, 50, 100, 500, 1000, 5000, 10_000, 30_000, 60_000]

export const record = (histogram: Histogram, millis: number): void => {
  // From below, for most are short.
  let place = 0
  while (place < bounds.length && millis > bounds[place]!) place++
  histogram.counts[place]!++
  histogram.sumMillis += millis
  if (millis < histogram.minMillis) histogram.minMillis = millis
  if (millis > histogram.maxMillis) histogram.maxMillis = millis
}

export const count = (histogram: Histogram): number => histogram.counts.reduce((sum, count) => sum + count, 0)

/** Records a duration of zero so many times. */
export const recordZero = (histogram: Histogram, times: number): void => {
  if (times === 0) return
  histogram.counts[0]! += times
  histogram.minMillis = 0
}

/** Adds all that another has recorded. */
export const add = (histogram: Histogram, other: Histogram): void => {
  for (const [place, count] of other.counts.entries()) histogram.counts[place]! += count
  histogram.sumMillis += other.sumMillis
  histogram.minMillis = Math.min(histogram.minMillis, other.minMillis)
  histogram.maxMillis = Math.max(histogram.maxMillis, other.maxMillis)
}
