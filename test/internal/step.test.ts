import { assert, describe, it } from "@effect/vitest"
import { Effect, Exit } from "effect"
import * as Step from "../../src/internal/step.ts"

describe("a step", () => {
  it.effect("can be part of another; what is none is left to be done", () =>
    Effect.withFiber((fiber) => {
      const steps: Array<unknown> = []
      const step = Step.withFiber((its) => {
        steps.push(its)
        return Exit.succeed(1)
      })
      assert.deepStrictEqual(Step.within(step, fiber), Exit.succeed(1))
      assert.deepStrictEqual(steps, [fiber])
      const other = Effect.sync(() => assert.fail("was run"))
      assert.strictEqual(Step.within(other, fiber), other)
      return Effect.map(step, (value) => assert.deepStrictEqual([value, steps], [1, [fiber, fiber]]))
    }))
})
