import { assert, describe, it } from "@effect/vitest"
import { exponential, normal, Stream, streams } from "../../src/internal/simulation/random.ts"

const word = 2n ** 32n

/** The generator sfc32 as its author gives it, with the seeds of `Stream`. */
const reference = (seed: number, stream: number, index: number) => {
  let a = BigInt(seed) % word
  let b = (BigInt(seed) / word) ^ ((BigInt(stream) + 1n) * 0x9e3779b1n % word)
  let c = BigInt(index)
  let counter = 1n
  const next = () => {
    const sum = (a + b + counter) % word
    counter = (counter + 1n) % word
    a = b ^ (b >> 9n)
    b = (c + (c << 3n)) % word
    c = ((c << 21n) % word + (c >> 11n) + sum) % word
    return Number(sum >> 5n) / 2 ** 27
  }
  for (let round = 0; round < 12; round++) next()
  return next
}

describe("a stream of random numbers", () => {
  it("is that of sfc32, for every seed, purpose and index", () => {
    for (const seed of [0, 1, 77, 2 ** 31, 2 ** 32 + 5, Number.MAX_SAFE_INTEGER]) {
      for (const [stream, index] of [[0, 0], [1, 0], [5, 3], [2, 123_456]] as const) {
        const expected = reference(seed, stream, index)
        const found = new Stream(seed, stream, index)
        for (let draw = 0; draw < 100; draw++) assert.strictEqual(found.next(), expected())
      }
    }
    assert.strictEqual(new Stream(9, 1).next(), reference(9, 1, 0)())
  })

  it("begins anew when it is reset", () => {
    const stream = new Stream(1, 2, 3)
    stream.next()
    stream.reset(4, 5, 6)
    const expected = reference(4, 5, 6)
    assert.deepStrictEqual([stream.next(), stream.next()], [expected(), expected()])
  })

  it("is another for each purpose", () => {
    const numbers = Object.values(streams)
    assert.deepStrictEqual(numbers.toSorted(), [0, 1, 2, 3, 4, 5])
  })
})

const scripted = (...numbers: ReadonlyArray<number>) => {
  const left = numbers.values()
  return () => left.next().value!
}

describe("a random number", () => {
  it("of the exponential distribution is the quantile of an even one", () => {
    assert.strictEqual(exponential(scripted(0)), 0)
    assert.closeTo(exponential(scripted(0.5)), Math.LN2, 1e-12)
    assert.closeTo(exponential(scripted(0.99)), Math.log(100), 1e-12)
  })

  it("of the normal distribution is made of two even ones, as Box and Muller say", () => {
    // A radius of the root of 2 ln 2, in four directions.
    const radius = Math.sqrt(2 * Math.LN2)
    assert.closeTo(normal(scripted(0.5, 0)), radius, 1e-12)
    assert.closeTo(normal(scripted(0.5, 0.25)), 0, 1e-12)
    assert.closeTo(normal(scripted(0.5, 0.5)), -radius, 1e-12)
    assert.closeTo(normal(scripted(0.5, 0.125)), radius / Math.SQRT2, 1e-12)
  })
})
