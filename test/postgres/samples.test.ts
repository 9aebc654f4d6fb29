import { assert, describe, it } from "@effect/vitest"
import { Samples } from "../../src/postgres/internal/hosts/samples.ts"

describe("what a replica must have replayed to be fresh", () => {
  it("is what the primary had written `maxLag` ago, or what was seen first", () => {
    const samples = new Samples(1000)
    assert.deepStrictEqual([samples.last, samples.neededAt(0)], [undefined, 0n])
    for (const second of [1, 2, 3, 4]) samples.add(second * 1000, BigInt(second))
    assert.deepStrictEqual([3000, 4000, 4999, 5000, 9000].map((now) => samples.neededAt(now)), [3n, 3n, 3n, 4n, 4n])
    assert.strictEqual(samples.last, 4n)
    samples.clear()
    assert.deepStrictEqual([samples.last, samples.neededAt(9000)], [undefined, 0n])
  })

  it("is known from a bounded number of samples, however often the primary answers", () => {
    const maxLagMillis = 5000
    const samples = new Samples(maxLagMillis)
    // The primary writes one byte each millisecond, and answers ten times in it.
    let most = 0
    for (let tenth = 0; tenth <= 200_000; tenth++) {
      const now = tenth / 10
      samples.add(now, BigInt(Math.floor(now)))
      most = Math.max(most, samples.size)
      if (now < maxLagMillis) continue
      const late = now - Number(samples.neededAt(now))
      assert.isAtLeast(late, maxLagMillis)
      assert.isAtMost(late, maxLagMillis * 1.01 + 1)
    }
    assert.isAtMost(most, 210)
  })
})
