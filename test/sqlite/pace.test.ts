import { assert, describe, it } from "@effect/vitest"
import type { Fiber } from "effect"
import { Pace } from "../../src/sqlite/internal/pace.ts"

/** A fiber with so many operations of its turn behind it. */
const fiber = (id: number, currentOpCount: number, preventYield = false) =>
  ({ id, currentOpCount, cache: { maxOpsBeforeYield: 100, preventYield } }) as Fiber.Fiber<unknown, unknown>

describe("the pace of a fiber", () => {
  it("ends its turn early after statement upon statement", () => {
    const pace = new Pace()
    const ended: Array<number> = []
    for (let count = 1; count < 40; count++) if (pace.isOver(fiber(1, count))) ended.push(count)
    // Ten operations are saved by each but the first: 10 + 90 are enough.
    assert.strictEqual(ended[0], 10)
  })

  it("begins anew with each turn, and with each fiber", () => {
    const pace = new Pace()
    for (let turn = 0; turn < 100; turn++) assert.isFalse(pace.isOver(fiber(1, 3)))
    for (let count = 1; count < 80; count++) assert.isFalse(pace.isOver(fiber(count & 1, count)))
  })

  it("is not kept where a fiber is not to yield", () => {
    const pace = new Pace()
    for (let count = 1; count < 200; count++) assert.isFalse(pace.isOver(fiber(1, count, true)))
  })
})
