/** How a step of a fiber masks interrupts, and handles the exit of what it begins. */
import { assert, describe, it } from "@effect/vitest"
import { Effect, Exit, Fiber } from "effect"
import * as Runtime from "../../src/internal/runtime.ts"
import { settle } from "../support/pools.ts"

class Own<A, E> extends Runtime.OwnStep<A, E, never> {
  readonly #f: (fiber: Fiber.Fiber<unknown, unknown>) => Effect.Effect<A, E>

  constructor(f: (fiber: Fiber.Fiber<unknown, unknown>) => Effect.Effect<A, E>) {
    super()
    this.#f = f
  }

  step(fiber: Fiber.Fiber<unknown, unknown>): Effect.Effect<A, E> {
    return this.#f(fiber)
  }
}

const isInterruptible = (fiber: Fiber.Fiber<unknown, unknown>): unknown => Reflect.get(fiber, "interruptible")

describe("a step", () => {
  it.effect("masks interrupts within the step of a fiber", () =>
    Effect.gen(function*() {
      const seen: Array<unknown> = []
      const masked = (body: Effect.Effect<unknown, unknown>) =>
        new Own((fiber) => {
          const next = Runtime.maskWithin(fiber, (restore) => {
            seen.push(isInterruptible(fiber))
            const left = Runtime.restoreWithin(restore, body, fiber)
            seen.push(isInterruptible(fiber))
            return left
          })
          // The body is what is left to do: masking and restoring took no step.
          seen.push(next === body)
          return next
        })
      const look = Effect.withFiber((fiber) => Effect.sync(() => void seen.push(isInterruptible(fiber))))
      yield* Effect.andThen(masked(look), look)
      assert.deepStrictEqual(seen.splice(0), [false, true, true, true, true])
      // Where interrupts are masked already, there is nothing to restore.
      yield* Effect.uninterruptible(Effect.andThen(masked(look), look))
      assert.deepStrictEqual(seen.splice(0), [false, false, true, false, false])
      const fiber = yield* Effect.forkChild(masked(Effect.never))
      yield* settle
      yield* Fiber.interrupt(fiber)
      assert.isTrue(Exit.hasInterrupts(yield* Fiber.await(fiber)))
    }))

  it.effect("handles an exit, and begins, within the step of a fiber", () =>
    Effect.gen(function*() {
      const matched = (effect: Effect.Effect<number, string>) =>
        new Own<string, never>((fiber) => {
          const start = new Own<number, string>(() => effect)
          const next = Runtime.matchWithin(start, fiber, {
            onFailure: (cause) => Effect.succeed(`failed: ${cause.reasons.map(({ _tag }) => _tag)}`),
            onSuccess: (value) => Effect.succeed(`got ${value}`)
          })
          assert.strictEqual<unknown>(next, effect)
          return next
        })
      assert.strictEqual(yield* matched(Effect.succeed(1)), "got 1")
      assert.strictEqual(yield* matched(Effect.map(Effect.yieldNow, () => 2)), "got 2")
      assert.strictEqual(yield* matched(Effect.fail("no")), "failed: Fail")
      // What is thrown on the way is handled too.
      const thrown = new Own<unknown, never>((fiber) =>
        Runtime.matchWithin(
          new Own<number, never>(() => {
            throw new Error("no")
          }),
          fiber,
          {
            onFailure: (cause) => Effect.succeed<string>(cause.reasons[0]!._tag),
            onSuccess: (value) => Effect.succeed(String(value))
          }
        )
      )
      assert.strictEqual(yield* thrown, "Die")
    }))
})
