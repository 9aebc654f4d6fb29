import { assert, describe, it } from "@effect/vitest"
import { Data, Effect, Exit, Fiber, Latch } from "effect"
import { TransactionError } from "effect-connection-pool"
import { PoolAssert, Sweep } from "effect-connection-pool/testing"
import { TestClock } from "effect/testing"
import { settle } from "./support/pools.ts"
import { makeWith } from "./support/words.ts"

const { failsWith } = PoolAssert

class Refused extends Data.TaggedError("Refused") {}

/** A mistake that types do not always catch. */
const noEffect = Effect.flatMap(Effect.void, () => undefined as unknown as Effect.Effect<void>)

const make = makeWith({ pool: { acquireTimeout: "1 second" } })

describe("the wait for a turn inside a transaction", () => {
  it.effect("has the deadline of an acquire, and its error names the holder of the turn and the way out", () =>
    Effect.gen(function*() {
      const { say, transaction, words } = yield* make
      yield* TestClock.adjust("1 minute")
      const done = yield* Latch.make()
      const errors: Array<TransactionError.TransactionTurnTimeoutError> = []
      const holder = { fiber: 0 }
      const first = Effect.withFiber<void, TransactionError.TransactionError>((fiber) => {
        holder.fiber = fiber.id
        return Effect.asVoid(Effect.orDie(transaction(Effect.andThen(say("a"), done.await), { label: "import" })))
      })
      const second = Effect.gen(function*() {
        yield* settle
        errors.push(yield* failsWith(Effect.withSpan(transaction(say("b")), "second"), "TransactionTurnTimeoutError"))
        yield* done.open
      })
      const fiber = yield* Effect.forkChild(transaction(Effect.all([first, second], { concurrency: 2 })))
      yield* settle
      yield* settle
      yield* TestClock.adjust(999)
      assert.deepStrictEqual(errors, [])
      yield* TestClock.adjust(1)
      yield* Fiber.join(fiber)
      const [error] = errors
      assert.deepInclude({ ...error! }, {
        pool: "words",
        operation: "transaction",
        waitedMillis: 1000,
        timeoutMillis: 1000
      })
      assert.deepInclude({ ...error!.holder }, {
        fiber: holder.fiber,
        label: "import",
        operation: "transaction",
        heldMillis: 1000
      })
      assert.strictEqual(
        error!.message,
        `pool "words": transaction: no turn in the transaction within 1000 ms: another fiber ("import", fiber #${holder.fiber}) ` +
          "has an inner transaction open in it, for 1000 ms; end that before you wait for others, or do both in one fiber"
      )
      assert.isTrue(TransactionError.isTransactionError(error))
      // The transaction itself went on.
      assert.include(words.stored, "a")
    }))

  it.effect("has a deadline for a statement as well", () =>
    Effect.gen(function*() {
      const { say, transaction } = yield* make
      const fiber = yield* Effect.forkChild(transaction(Effect.gen(function*() {
        const done = yield* Latch.make()
        const inner = yield* Effect.forkChild(transaction(done.await))
        yield* settle
        const error = yield* failsWith(say("b"), "TransactionTurnTimeoutError")
        assert.strictEqual(error.operation, "b")
        yield* done.open
        yield* Fiber.join(inner)
        yield* say("c")
      })))
      yield* settle
      yield* TestClock.adjust("1 second")
      yield* Fiber.join(fiber)
    }))

  it.effect("has the transaction's own `timeout`, and with zero does not wait", () =>
    Effect.gen(function*() {
      const { transaction } = yield* make
      const fiber = yield* Effect.forkChild(transaction(Effect.gen(function*() {
        const done = yield* Latch.make()
        const inner = yield* Effect.forkChild(transaction(done.await))
        yield* settle
        const none = yield* failsWith(transaction(Effect.void, { timeout: 0 }), "TransactionTurnTimeoutError")
        assert.strictEqual(none.waitedMillis, 0)
        const error = yield* failsWith(transaction(Effect.void, { timeout: 200 }), "TransactionTurnTimeoutError")
        assert.deepStrictEqual([error.waitedMillis, error.timeoutMillis], [200, 200])
        yield* done.open
        yield* Fiber.join(inner)
        yield* transaction(Effect.void, { timeout: 0 })
      })))
      yield* settle
      yield* TestClock.adjust(200)
      yield* Fiber.join(fiber)
    }))

  it.effect("ends in order of arrival, also if others time out, are interrupted or are granted in between", () =>
    Effect.gen(function*() {
      const { say, transaction, words } = yield* make
      const fiber = yield* Effect.forkChild(transaction(Effect.gen(function*() {
        const done = yield* Latch.make()
        yield* Effect.forkChild(transaction(done.await))
        yield* settle
        const late = yield* Effect.forkChild(transaction(say("late"), { timeout: 500 }))
        const interrupted = yield* Effect.forkChild(transaction(say("interrupted")))
        const third = yield* Effect.forkChild(transaction(say("third")))
        const fourth = yield* Effect.forkChild(say("fourth"))
        yield* settle
        yield* Fiber.interrupt(interrupted)
        yield* failsWith(Fiber.join(late), "TransactionTurnTimeoutError")
        yield* done.open
        yield* Fiber.joinAll([third, fourth])
      })))
      yield* settle
      yield* settle
      yield* settle
      yield* TestClock.adjust(500)
      yield* Fiber.join(fiber)
      assert.deepStrictEqual(words.said.filter((word) => !/ /.test(word)), ["third", "fourth", "commit"])
      // A deadline that was met is no alarm: nothing happens later.
      yield* TestClock.adjust("1 hour")
      assert.strictEqual(words.said.at(-1), "commit")
    }))

  it.effect("is woken or times out once, wherever the fiber yields", () =>
    Effect.gen(function*() {
      let timedOut = 0
      yield* Sweep.run({
        setup: makeWith({ pool: { acquireTimeout: 1 } }),
        scenario: ({ say, transaction }) =>
          transaction(Effect.gen(function*() {
            const one = Effect.catchTag(
              transaction(say("a")),
              "TransactionTurnTimeoutError",
              () => Effect.sync(() => void timedOut++)
            )
            yield* Effect.all([one, one, TestClock.adjust(1), one], { concurrency: "unbounded" })
          })),
        check: ({ pool, transaction }) =>
          Effect.gen(function*() {
            yield* settle
            assert.strictEqual((yield* pool.stats).inUse, 0)
            yield* Effect.orDie(transaction(transaction(Effect.void)))
          }),
        turns: [0, 30],
        budgets: [3, 20]
      })
      assert.isAbove(timedOut, 10)
    }), 120_000)
})

describe("a transaction whose body evaluates something that is no Effect", () => {
  const isFree = ({ pool, say, transaction, words }: Effect.Success<typeof make>) =>
    Effect.gen(function*() {
      yield* settle
      assert.strictEqual((yield* pool.stats).inUse, 0)
      assert.isFalse(words.isOpen)
      yield* transaction(say("next"))
      assert.deepStrictEqual(words.stored.filter((word) => !/ /.test(word)), ["next"])
      assert.notInclude(words.said, "reset")
    })

  it.effect("dies before it has a connection, if it is the body itself", () =>
    Effect.gen(function*() {
      const world = yield* make
      const exit = yield* Effect.exit(world.transaction(undefined as unknown as Effect.Effect<void>))
      assert.include(String(exit), "the body of a transaction is no Effect: undefined")
      assert.deepStrictEqual(world.words.said, [])
      yield* isFree(world)
    }))

  it.effect("is rolled back, and its connection comes back clean, or is closed if that takes a while", () =>
    Effect.gen(function*() {
      const fast = yield* makeWith({
        dialect: {
          rollback: (words) =>
            Effect.sync(() => {
              words.said.push("rollback")
              words.isOpen = false
            })
        }
      })
      yield* Fiber.await(yield* Effect.forkDetach(fast.transaction(Effect.andThen(fast.say("a"), noEffect))))
      yield* isFree(fast)
      assert.strictEqual((yield* fast.pool.stats).connects, 1)
      const world = yield* make
      const { say, transaction, withTransaction } = world
      const body = Effect.andThen(say("a"), noEffect)
      for (const run of [transaction(body), withTransaction(body)]) {
        const exit = yield* Fiber.await(yield* Effect.forkDetach(run))
        assert.include(String(exit), "Not a valid effect")
      }
      yield* isFree(world)
      assert.strictEqual((yield* world.pool.stats).evictions.invalidated, 2)
    }))

  it.effect("is rolled back also where that is at any depth of the same fiber", () =>
    Effect.gen(function*() {
      const world = yield* make
      const { say, transaction } = world
      const fiber = yield* Effect.forkDetach(transaction(Effect.andThen(say("a"), transaction(transaction(noEffect)))))
      yield* Fiber.await(fiber)
      yield* isFree(world)
    }))

  it.effect("ends for the fibers that are still in it", () =>
    Effect.gen(function*() {
      const world = yield* make
      const { say, transaction } = world
      const go = yield* Latch.make()
      let child: Fiber.Fiber<unknown, unknown> | undefined
      const fiber = yield* Effect.forkDetach(transaction(Effect.gen(function*() {
        child = yield* Effect.forkDetach(Effect.andThen(go.await, failsWith(say("b"), "TransactionEndedError")))
        yield* noEffect
      })))
      yield* Fiber.await(fiber)
      yield* go.open
      yield* Fiber.join(child!)
      yield* isFree(world)
    }))

  it.effect("inside another gives up its turn, and keeps that one from being committed", () =>
    Effect.gen(function*() {
      const world = yield* make
      const { say, transaction } = world
      const lost = yield* failsWith(
        transaction(Effect.gen(function*() {
          const inner = yield* Effect.forkDetach(
            transaction(Effect.andThen(say("a"), Effect.andThen(Effect.yieldNow, noEffect)))
          )
          const statement = yield* Effect.forkChild(failsWith(say("b"), "TransactionLostError"))
          const another = yield* Effect.forkChild(failsWith(transaction(say("c")), "TransactionLostError"))
          yield* Fiber.await(inner)
          yield* Fiber.joinAll([statement, another])
        })),
        "TransactionLostError"
      )
      assert.strictEqual(
        lost.message,
        "pool \"words\": the transaction has ended early: the fiber of an inner transaction has evaluated something that " +
          "is no Effect, and ended in the middle of it (nothing of it is stored; run all of it again)"
      )
      yield* isFree(world)
    }))

  it.effect("leaves the turn of a statement as well", () =>
    Effect.gen(function*() {
      const { connectionOf, say, transaction, words } = yield* make
      yield* transaction(Effect.gen(function*() {
        const steps = Effect.withFiber((fiber) => connectionOf(fiber)!.steps<void, never, never>("a", () => noEffect))
        yield* Fiber.await(yield* Effect.forkDetach(steps))
        yield* say("b")
      }))
      assert.include(words.stored, "b")
    }))
})

describe("the options of a transaction", () => {
  it.effect("name it for the holders of the pool, and limit the wait for its connection", () =>
    Effect.gen(function*() {
      const { pool, transaction } = yield* make
      const inside = yield* Latch.make()
      yield* Effect.forkChild(transaction(Effect.andThen(inside.open, Effect.never), { label: "import" }))
      yield* inside.await
      assert.strictEqual((yield* pool.holders)[0]!.label, "import")
      const error = yield* failsWith(transaction(Effect.void, { timeout: 0 }), "AcquireTimeoutError")
      assert.strictEqual(error.holders[0]!.label, "import")
      const waiting = yield* Effect.forkChild(Effect.exit(transaction(Effect.void, { timeout: "10 millis" })))
      yield* settle
      yield* TestClock.adjust(10)
      assert.isTrue(Exit.isFailure(yield* Fiber.join(waiting)))
    }))

  it.effect("are refused if they are invalid, with the allowed values", () =>
    Effect.gen(function*() {
      const { transaction, words } = yield* make
      const refusal = (options: object) =>
        Effect.map(
          failsWith(transaction(Effect.fail(new Refused()), options as never), "TransactionOptionsError"),
          ({ message }) => message.replace("pool \"words\": transaction: ", "")
        )
      assert.deepStrictEqual(
        [
          yield* refusal({ timeout: NaN }),
          yield* refusal({ timeout: -1 }),
          yield* refusal({ timeout: "soon" }),
          yield* refusal({ timeout: true }),
          yield* refusal({ label: 7 }),
          yield* refusal({ readonly: true }),
          yield* refusal({ timout: 7 }),
          yield* refusal({ priority: 7 }),
          yield* refusal({ retry: 3 }),
          yield* refusal(7 as unknown as object),
          yield* refusal({ priority: 7, retry: 3, colour: 1, isolation: "strict", readonly: true, timeout: -1 })
        ],
        [
          "timeout is NaN, but must be a duration of zero or more, such as \"5 seconds\", or Infinity",
          "timeout is -1, but must be a duration of zero or more, such as \"5 seconds\", or Infinity",
          "timeout is \"soon\", but must be a duration of zero or more, such as \"5 seconds\", or Infinity",
          "timeout is true, but must be a duration of zero or more, such as \"5 seconds\", or Infinity",
          "label is 7, but must be text",
          "readonly is no option; did you mean readOnly?",
          "timout is no option; did you mean timeout?",
          "priority is no option; the options are isolation, readOnly, retry, timeout, label",
          "retry is 3, but must be a Schedule",
          "options is 7, but must be an object",
          "priority is no option; colour is no option; the options are isolation, readOnly, retry, timeout, label; " +
          "readonly is no option; did you mean readOnly?; retry is 3, but must be a Schedule; " +
          "timeout is -1, but must be a duration of zero or more, such as \"5 seconds\", or Infinity"
        ]
      )
      assert.deepStrictEqual(words.said, [])
    }))
})
