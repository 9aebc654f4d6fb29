import { assert, describe, it } from "@effect/vitest"
import { times as arrivalsOf } from "../../src/internal/simulation/arrivals.ts"
import { exponential, normal, Stream, streams } from "../../src/internal/simulation/random.ts"
import { drawer, type TimeSettings } from "../../src/internal/simulation/times.ts"

const surroundings = { inUse: 3, atMillis: 70 }
const indexes = Array.from({ length: 300 }, (_, index) => index)

/** Compares the times that are drawn with those that the same random numbers give elsewhere. */
const compare = (kind: TimeSettings, expected: (random: () => number, index: number) => number) => {
  const draw = drawer(11, streams.connect, [kind])
  // In any order: the number of a time decides.
  for (const index of indexes.toReversed()) {
    const [found] = draw(index, surroundings)
    assert.closeTo(found!, expected(new Stream(11, streams.connect, index).next, index), 1e-9)
  }
}

describe("a time that is drawn", () => {
  it("is fixed, exponential or lognormal", () => {
    compare({ _tag: "Fixed", millis: 12 }, () => 12)
    compare({ _tag: "Exponential", meanMillis: 20 }, (random) => 20 * exponential(random))
    // The 99 % quantile of the normal distribution is 2.326.
    compare(
      { _tag: "Lognormal", medianMillis: 5, p99Millis: 100 },
      (random) => 5 * Math.exp(Math.log(20) / 2.3263478740408408 * normal(random))
    )
  })

  it("is one of a list, each as likely", () => {
    const times = [3, 1, 4, 15]
    compare({ _tag: "Sampled", times }, (random) => times[Math.floor(random() * 4)]!)
  })

  it("is what a function makes of the draw", () => {
    const seen: Array<unknown> = []
    compare({
      _tag: "Function",
      make: ({ random, ...rest }) => {
        seen.push(rest)
        return random()
      }
    }, (random) => random())
    assert.deepStrictEqual(seen.at(-1), { index: 0, ...surroundings })
  })

  it("falls into a bucket as often as its count says, anywhere within it", () => {
    const bounds = [10, 20, 40]
    const counts = [2, 0, 5, 3]
    const from = [0, 10, 20, 40]
    const to = [10, 20, 40, 80]
    const expected = (scale: number) => (random: () => number) => {
      const part = random() * 10
      const bucket = part < 2 ? 0 : part < 7 ? 2 : 3
      return scale * (from[bucket]! + random() * (to[bucket]! - from[bucket]!))
    }
    const mean = (2 * 5 + 5 * 30 + 3 * 60) / 10
    compare({ _tag: "Histogram", bounds, counts, meanMillis: undefined }, expected(1))
    compare({ _tag: "Histogram", bounds, counts, meanMillis: 17 }, expected(17 / mean))
  })

  it("has random numbers of its own beside the times of the same request", () => {
    const kinds: ReadonlyArray<TimeSettings> = [
      { _tag: "Exponential", meanMillis: 1 },
      { _tag: "Fixed", millis: 5 },
      { _tag: "Exponential", meanMillis: 2 }
    ]
    const { next } = new Stream(3, streams.service, 8)
    const [first, second] = [exponential(next), exponential(next)]
    assert.deepStrictEqual(drawer(3, streams.service, kinds)(8, surroundings), [first, 5, 2 * second])
  })
})

const sums = (numbers: ReadonlyArray<number>) => {
  let sum = 0
  return numbers.map((number) => sum += number)
}

describe("a time of arrival", () => {
  const take = (count: number, arrivals: Parameters<typeof arrivalsOf>[0]) => {
    const times = arrivalsOf(arrivals, 11)
    return Array.from({ length: count }, () => times.next().value as number)
  }
  /** Random numbers with the mean 1, those of the arrivals. */
  const work = (count: number) => {
    const { next } = new Stream(11, streams.arrivals)
    return Array.from({ length: count }, () => exponential(next))
  }
  const near = (found: ReadonlyArray<number>, expected: ReadonlyArray<number>) => {
    assert.strictEqual(found.length, expected.length)
    for (const [index, time] of found.entries()) assert.closeTo(time, expected[index]!, 1e-6)
  }

  it("comes after an exponential gap, or an equal one", () => {
    near(take(50, { _tag: "Poisson", perSecond: 4 }), sums(work(50)).map((sum) => sum * 250))
    near(take(3, { _tag: "Regular", perSecond: 4 }), [250, 500, 750])
  })

  it("with rates that change comes when all phases before it have done its work", () => {
    const phases = [{ millis: 100, perSecond: 50 }, { millis: 70, perSecond: 0 }, { millis: 300, perSecond: 5 }]
    /** The work that the phases do until a time. */
    const done = (at: number) => {
      let left = at % 470
      let sum = Math.floor(at / 470) * (100 * 0.05 + 300 * 0.005)
      for (const { millis, perSecond } of phases) {
        sum += Math.min(left, millis) * perSecond / 1000
        left = Math.max(left - millis, 0)
      }
      return sum
    }
    near(take(300, { _tag: "Rates", phases }).map(done), sums(work(300)))
  })

  it("in bursts stands among those of the base", () => {
    const base = sums(work(100)).map((sum) => sum * 500).filter((at) => at <= 5000)
    const expected = [...base, ...[1000, 2000, 3000, 4000, 5000].flatMap((at) => [at, at, at])].toSorted((a, b) =>
      a - b
    )
    near(take(expected.length, { _tag: "Bursts", size: 3, everyMillis: 1000, perSecond: 2 }), expected)
    near(take(4, { _tag: "Bursts", size: 2, everyMillis: 10, perSecond: 0 }), [10, 10, 20, 20])
  })

  it("of a recording is one of its times, in order, and then there are none", () => {
    const times = arrivalsOf({ _tag: "Recorded", times: [30, 4, 100] }, 1)
    assert.deepStrictEqual([1, 2, 3, 4].map(() => times.next().value), [4, 30, 100, undefined])
  })
})
