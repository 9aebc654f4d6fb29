import { describe, it } from "@effect/vitest"
import { Effect, Layer, Logger, Metric } from "effect"
import { TestClock } from "effect/testing"
import * as fc from "fast-check"
import { play, type Step } from "./support/model/poolMaps.ts"

const key = fc.constantFrom("a", "b", "c", "d", "e")
const who = fc.nat(20)

const step: fc.Arbitrary<Step> = fc.oneof(
  {
    weight: 10,
    arbitrary: fc.record({ do: fc.constantFrom("use", "get"), key, timeout: fc.constantFrom(0, 1500, 30_000) })
  },
  { weight: 6, arbitrary: fc.record({ do: fc.constant("end"), who }) },
  { weight: 2, arbitrary: fc.record({ do: fc.constant("interrupt"), who }) },
  {
    weight: 3,
    arbitrary: fc.record({
      do: fc.constantFrom("invalidate", "lend outside", "take back outside", "shut down outside"),
      key
    })
  },
  {
    weight: 3,
    arbitrary: fc.record({
      do: fc.constantFrom(
        "fail the next open",
        "opens hang",
        "opens go on",
        "opens go on",
        "closes hang",
        "closes go on",
        "closes go on"
      )
    })
  },
  {
    weight: 3,
    arbitrary: fc.record({ do: fc.constant("advance"), millis: fc.constantFrom(50, 400, 1200, 5000, 70_000) })
  }
)

const world = Layer.mergeAll(
  TestClock.layer(),
  Logger.layer([]),
  Layer.sync(Metric.MetricRegistry, () => new Map())
)

/** More for a longer look: `MODEL_RUNS=10000 npm test -- test/poolMapModel.test.ts`. */
const numRuns = Number(process.env["MODEL_RUNS"] ?? 300)

describe("whatever happens to a map of pools, it keeps what it promises", () => {
  it("with room for one to three of five keys", () =>
    fc.assert(
      fc.asyncProperty(
        fc.integer({ min: 1, max: 3 }),
        fc.array(step, { maxLength: 60, size: "+1" }),
        (max, steps) =>
          Effect.runPromise(Effect.scoped(play(max, steps)).pipe(Effect.provide(world)) as Effect.Effect<void>)
      ),
      { numRuns }
    ), numRuns * 1000)
})
