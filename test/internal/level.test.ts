import { assert, describe, it } from "@effect/vitest"
import { Effect, Exit, Fiber } from "effect"
import { connectionOf, OpenTransaction, stepWithin } from "../../src/internal/transaction/level.ts"
import type { TransactionConnection } from "../../src/Transaction.ts"
import { TransactionEndedError } from "../../src/TransactionError.ts"

describe("a step of a statement in the present step of a fiber", () => {
  it.effect("is the `step` of the connection where it has no other way", () =>
    Effect.gen(function*() {
      const asked: Array<string> = []
      const connection: TransactionConnection<{ readonly n: number }> = {
        mode: { isolation: "any", readOnly: false },
        connection: { n: 7 },
        step: (statement, f) =>
          Effect.withFiber((fiber) =>
            Effect.sync(() => {
              asked.push(statement)
              return f({ n: 7 }, fiber)
            })
          ),
        steps: () => Effect.die("not asked"),
        stepUnsafe: () => assert.fail("not asked"),
        assertOpen: () => Effect.die("not asked")
      }
      const ran = yield* Effect.withFiber((fiber) => stepWithin(connection, fiber, "select n", ({ n }) => n, String))
      assert.deepStrictEqual([ran, asked], [7, ["select n"]])
    }))
})

describe("a level of a transaction", () => {
  it("that was ended from outside, and ends late, leaves those that were opened at its depth since", () => {
    const fiber = {} as Fiber.Fiber<unknown, unknown>
    const database = { pool: "p", isTransaction: () => true, reasonOfLoss: undefined, turnTimeoutMillis: 1000 }
    const transaction = new OpenTransaction(database, { invalidate: () => Effect.void }, {}, {
      isolation: "any",
      readOnly: false
    }, {})
    transaction.openLevel(fiber)
    const below = transaction.openLevel(fiber)
    const above = transaction.openLevel(fiber)
    below.end()
    assert.isFalse(above.isOpen)
    const [first, second] = [transaction.openLevel(fiber), transaction.openLevel(fiber)]
    above.end()
    assert.isTrue(first.isOpen && second.isOpen)
  })

  it.effect("has its turn back after a statement of several steps that is refused, throws, fails or is interrupted", () =>
    Effect.gen(function*() {
      const { connection, level } = yield* Effect.withFiber((fiber) => {
        const database = { pool: "p", isTransaction: () => true, reasonOfLoss: undefined, turnTimeoutMillis: 1000 }
        const mode = { isolation: "any", readOnly: false }
        const transaction = new OpenTransaction(database, { invalidate: () => Effect.void }, { n: 7 }, mode, {})
        const level = transaction.openLevel(fiber)
        return Effect.succeed({ level, connection: connectionOf(transaction, () => level) })
      })
      assert.strictEqual(yield* connection.steps("select", ({ n }) => Effect.succeed(n)), 7)
      assert.isTrue(level.turn.isFree)
      const thrown = yield* Effect.exit(connection.steps("select", (): Effect.Effect<never> => {
        throw new Error("thrown")
      }))
      assert.isTrue(Exit.hasDies(thrown) && level.turn.isFree)
      assert.strictEqual(yield* Effect.flip(connection.steps("select", () => Effect.fail("no"))), "no")
      assert.isTrue(level.turn.isFree)
      const running = yield* Effect.forkChild(connection.steps("select", () => Effect.never), {
        startImmediately: true
      })
      assert.isFalse(level.turn.isFree)
      const waiting = yield* Effect.forkChild(connection.steps("select", ({ n }) => Effect.succeed(n)), {
        startImmediately: true
      })
      assert.isUndefined(waiting.pollUnsafe())
      yield* Fiber.interrupt(running)
      assert.strictEqual(yield* Fiber.join(waiting), 7)
      assert.isTrue(level.turn.isFree)
      level.end()
      const refused = yield* Effect.flip(connection.steps("select", () => Effect.die("not asked")))
      assert.instanceOf(refused, TransactionEndedError)
      assert.isTrue(level.turn.isFree)
    }))
})
