import { assert, describe, it } from "@effect/vitest"
import type { Fiber } from "effect"
import { OpenTransaction } from "../../src/internal/transaction/level.ts"

describe("a level of a transaction", () => {
  it("that was ended from outside, and ends late, leaves those that were opened at its depth since", () => {
    const fiber = {} as Fiber.Fiber<unknown, unknown>
    const database = { pool: "p", isTransaction: () => true, reasonOfLoss: undefined, turnTimeoutMillis: 1000 }
    const transaction = new OpenTransaction(database, {}, { isolation: "any", readOnly: false }, {})
    transaction.openLevel(fiber)
    const below = transaction.openLevel(fiber)
    const above = transaction.openLevel(fiber)
    below.end()
    assert.isFalse(above.isOpen)
    const [first, second] = [transaction.openLevel(fiber), transaction.openLevel(fiber)]
    above.end()
    assert.isTrue(first.isOpen && second.isOpen)
  })
})
