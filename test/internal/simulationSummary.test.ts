import { assert, describe, it } from "@effect/vitest"
import { margin, p99OfAll, summary } from "../../src/internal/simulation/summary.ts"

/** From 1 to a number, in an order that is neither rising nor falling. */
const upTo = (count: number) => Array.from({ length: count }, (_, index) => (index * 7) % count + 1)

describe("a summary of durations", () => {
  it("has the mean, the quantiles and the maximum", () => {
    assert.deepStrictEqual(summary(upTo(100)), { count: 100, mean: 50.5, p50: 50, p95: 95, p99: 99, max: 100 })
    assert.deepStrictEqual(summary(upTo(20)), { count: 20, mean: 10.5, p50: 10, p95: 19, p99: 20, max: 20 })
    assert.deepStrictEqual(summary([5, 3]), { count: 2, mean: 4, p50: 3, p95: 5, p99: 5, max: 5 })
  })

  it("of none is all zero", () => {
    assert.deepStrictEqual(summary([]), { count: 0, mean: 0, p50: 0, p95: 0, p99: 0, max: 0 })
  })
})

describe("the delay of 99 of 100 requests", () => {
  it("counts those that were not served as delayed for ever", () => {
    assert.strictEqual(p99OfAll(upTo(100), 100), 99)
    // One of a hundred was not served.
    assert.strictEqual(p99OfAll(upTo(99), 100), 99)
    assert.strictEqual(p99OfAll(upTo(98), 100), Infinity)
    assert.strictEqual(p99OfAll([], 5), Infinity)
    assert.strictEqual(p99OfAll([], 0), 0)
  })
})

describe("the margin of a mean", () => {
  it("comes from the deviation of the means of twenty batches", () => {
    // Batches of ten whose means are 1 and 3 in turn: their variance is 20 / 19.
    const batches = Array.from(
      { length: 200 },
      (_, index) => (Math.floor(index / 10) % 2 === 0 ? 1 : 3) + index % 2 - 0.5
    )
    assert.closeTo(margin(batches), 2.093 * Math.sqrt(1 / 19), 1e-12)
    // What is left over belongs to no batch.
    assert.closeTo(margin([...batches, ...Array.from({ length: 19 }, () => 1000)]), 2.093 * Math.sqrt(1 / 19), 1e-12)
    assert.strictEqual(margin(Array.from({ length: 400 }, () => 7)), 0)
  })

  it("is infinite for fewer than ten durations in a batch", () => {
    assert.strictEqual(margin(Array.from({ length: 199 }, () => 7)), Infinity)
    assert.strictEqual(margin([]), Infinity)
  })
})
