import { assert, describe, it } from "@effect/vitest"
import * as fc from "fast-check"
import * as Histogram from "../../src/internal/structures/histogram.ts"
import * as Sizes from "../../src/internal/structures/sizes.ts"

/** How many values are at most as large as each bound, and larger than the one before it; at the end, those above all. */
const countsOf = (values: ReadonlyArray<number>, bounds: ReadonlyArray<number>) =>
  [...bounds, Infinity].map((bound, index) =>
    values.filter((value) => value <= bound && value > (bounds[index - 1] ?? -Infinity)).length
  )

const sum = (values: ReadonlyArray<number>) => values.reduce((sum, value) => sum + value, 0)

/** Also the bounds themselves, and a little more. */
const durations = fc.array(
  fc.oneof(
    fc.constantFrom(0, ...Histogram.bounds, ...Histogram.bounds.map((bound) => bound * 1.01)),
    fc.integer({ max: 100_000, min: 0 })
  ),
  { size: "max", maxLength: 50 }
)

const histogramOf = (values: ReadonlyArray<number>) => {
  const histogram = new Histogram.Histogram()
  for (const value of values) Histogram.record(histogram, value)
  return histogram
}

const assertHistogram = (histogram: Histogram.Histogram, values: ReadonlyArray<number>) => {
  assert.deepStrictEqual(Array.from(histogram.counts), countsOf(values, Histogram.bounds))
  assert.strictEqual(Histogram.count(histogram), values.length)
  assert.closeTo(histogram.sumMillis, sum(values), 1e-6)
  assert.strictEqual(histogram.minMillis, Math.min(Infinity, ...values))
  assert.strictEqual(histogram.maxMillis, Math.max(0, ...values))
}

describe("a histogram of durations", () => {
  it("counts each in its bucket, and knows their number, sum and ends", () => {
    fc.assert(fc.property(durations, (values) => assertHistogram(histogramOf(values), values)))
  })

  it("is added to another, and counts zeros all at once", () => {
    fc.assert(fc.property(durations, durations, fc.nat(5), (one, other, zeros) => {
      const histogram = histogramOf(one)
      Histogram.add(histogram, histogramOf(other))
      assertHistogram(histogram, [...one, ...other])
      Histogram.recordZero(histogram, zeros)
      assertHistogram(histogram, [...one, ...other, ...Array.from({ length: zeros }, () => 0)])
    }))
  })
})

describe("a histogram of sizes", () => {
  const sizes = fc.array(
    fc.oneof(
      fc.constantFrom(...Sizes.sizeBounds, ...Sizes.sizeBounds.map((bound) => bound + 1)),
      fc.integer({ min: 2, max: 1000 })
    ),
    { size: "max", maxLength: 50 }
  )
  const sizesOf = (values: ReadonlyArray<number>) => {
    const histogram = new Sizes.Sizes()
    for (const value of values) Sizes.record(histogram, value)
    return histogram
  }

  it("counts each in its bucket, knows their sum and ends, and is added to another", () => {
    fc.assert(fc.property(sizes, sizes, (one, other) => {
      const histogram = sizesOf(one)
      for (const [found, values] of [[histogram, one], [sizesOf(other), other]] as const) {
        assert.deepStrictEqual(Array.from(found.counts), countsOf(values, Sizes.sizeBounds))
        assert.deepStrictEqual(
          [found.sum, found.min, found.max],
          [sum(values), Math.min(Infinity, ...values), Math.max(0, ...values)]
        )
      }
      Sizes.add(histogram, sizesOf(other))
      const all = [...one, ...other]
      assert.deepStrictEqual(Array.from(histogram.counts), countsOf(all, Sizes.sizeBounds))
      assert.deepStrictEqual(
        [histogram.sum, histogram.min, histogram.max],
        [sum(all), Math.min(Infinity, ...all), Math.max(0, ...all)]
      )
    }))
  })
})
