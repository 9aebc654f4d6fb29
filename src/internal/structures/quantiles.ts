/**
 * Counts durations in narrow buckets, so that a quantile is at most a tenth too high. The buckets of a `Histogram` are
 * those of a metric, and too wide for that.
 */
export class Quantiles {
  readonly #counts = new Uint32Array(buckets)
  #count = 0
  #maxMillis = 0

  record(millis: number): void {
    this.#counts[bucketOf(millis)]!++
    this.#count++
    if (millis > this.#maxMillis) this.#maxMillis = millis
  }

  /** The duration that this part of all durations does not exceed. */
  of(part: number): number {
    const wanted = this.#count * part
    let found = 0
    for (const [index, count] of this.#counts.entries()) {
      found += count
      if (count > 0 && found >= wanted) return Math.min(boundOf(index), this.#maxMillis)
    }
    return this.#maxMillis
  }
}

/** The upper bound of the first bucket, in milliseconds. Each bound is 9 % above the one before. */
const least = 0.01
const perOctave = 8
/** Up to 22 minutes. The last bucket has everything that is longer. */
const buckets = 27 * perOctave + 1

const bucketOf = (millis: number): number =>
  millis <= least ? 0 : Math.min(Math.ceil(Math.log2(millis / least) * perOctave), buckets - 1)

const boundOf = (index: number): number => index === buckets - 1 ? Infinity : least * 2 ** (index / perOctave)
