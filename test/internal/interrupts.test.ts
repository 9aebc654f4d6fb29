/** What becomes of an interrupt that came too late, and was taken back for that. */
import { assert, describe, it } from "@effect/vitest"
import { Cause, Deferred, Effect, Exit, Latch } from "effect"
import * as Runtime from "../../src/internal/runtime.ts"
import { settle } from "../support/pools.ts"

/** Work that is stored by the time of an interrupt, and says so. */
const make = Effect.gen(function*() {
  const hasBegun = yield* Deferred.make<void>()
  const answer = yield* Latch.make()
  const work = Effect.uninterruptibleMask((restore) =>
    Effect.andThen(
      Effect.andThen(Deferred.succeed(hasBegun, undefined), answer.await),
      Effect.withFiber((fiber) => {
        Runtime.postponeInterrupt(fiber, restore)
        return Effect.succeed("stored")
      })
    )
  )
  return { answer, hasBegun, work }
})

const interruptorsOf = (exit: Exit.Exit<unknown, unknown> | undefined): ReadonlyArray<number> | undefined =>
  exit !== undefined && Exit.isFailure(exit) && Exit.hasInterrupts(exit)
    ? [...Cause.interruptors(exit.cause)]
    : undefined

describe("an interrupt that came too late", () => {
  it.effect("leaves the value to the fiber, and ends its next wait", () =>
    Effect.gen(function*() {
      const { answer, hasBegun, work } = yield* make
      const seen: Array<unknown> = []
      const fiber = yield* Effect.forkDetach(
        Effect.onExit(work, (exit) => Effect.sync(() => seen.push(exit))).pipe(
          Effect.andThen(Effect.sync(() => seen.push("went on"))),
          Effect.andThen(Effect.never)
        )
      )
      yield* Deferred.await(hasBegun)
      fiber.interruptUnsafe(7)
      yield* answer.open
      yield* settle
      assert.deepStrictEqual(seen, [Exit.succeed("stored"), "went on"])
      assert.deepStrictEqual(interruptorsOf(fiber.pollUnsafe()), [7])
      // Without an interrupt, nothing is taken back.
      assert.strictEqual(yield* work, "stored")
    }))

  it.effect("is of no consequence for a fiber that does not wait again", () =>
    Effect.gen(function*() {
      const { answer, hasBegun, work } = yield* make
      const fiber = yield* Effect.forkDetach(work)
      yield* Deferred.await(hasBegun)
      fiber.interruptUnsafe(7)
      yield* answer.open
      yield* settle
      assert.deepStrictEqual(fiber.pollUnsafe(), Exit.succeed("stored"))
    }))

  it.effect("ends a fiber that never waits when it gives way to others", () =>
    Effect.gen(function*() {
      const { answer, hasBegun, work } = yield* make
      const fiber = yield* Effect.forkDetach(Effect.andThen(work, Effect.forever(Effect.void)))
      yield* Deferred.await(hasBegun)
      fiber.interruptUnsafe(7)
      yield* answer.open
      yield* settle
      assert.deepStrictEqual(interruptorsOf(fiber.pollUnsafe()), [7])
    }))

  it.effect("is one interrupt with all its reasons", () =>
    Effect.gen(function*() {
      const { answer, hasBegun, work } = yield* make
      let caught: Exit.Exit<unknown> | undefined
      const fiber = yield* Effect.forkDetach(Effect.uninterruptibleMask((restore) =>
        Effect.tap(
          Effect.exit(restore(Effect.andThen(work, Effect.never))),
          (exit) => Effect.sync(() => void (caught = exit))
        )
      ))
      yield* Deferred.await(hasBegun)
      for (const id of [7, 8, undefined, 9]) fiber.interruptUnsafe(id)
      yield* answer.open
      yield* settle
      assert.deepStrictEqual(interruptorsOf(caught), [7, 8, 9])
      assert.deepStrictEqual(interruptorsOf(fiber.pollUnsafe()), [7, 8, 9])
    }))

  it.effect("is named beside one that came before the fiber had to wait", () =>
    Effect.gen(function*() {
      const { answer, hasBegun, work } = yield* make
      let caught: Exit.Exit<unknown> | undefined
      const goOn = yield* Latch.make()
      const again = Effect.withFiber((fiber) => Effect.sync(() => fiber.interruptUnsafe(8)))
      const fiber = yield* Effect.forkDetach(Effect.uninterruptibleMask((restore) =>
        Effect.andThen(
          Effect.tap(
            Effect.exit(restore(Effect.andThen(work, again))),
            (exit) => Effect.sync(() => void (caught = exit))
          ),
          goOn.await
        )
      ))
      yield* Deferred.await(hasBegun)
      fiber.interruptUnsafe(7)
      yield* answer.open
      yield* settle
      assert.deepStrictEqual(interruptorsOf(caught), [8])
      assert.isUndefined(fiber.pollUnsafe())
      yield* goOn.open
      yield* settle
      assert.deepStrictEqual(interruptorsOf(fiber.pollUnsafe()), [7, 8])
    }))

  it.effect("waits for the end of the region of its caller, as any other", () =>
    Effect.gen(function*() {
      const { answer, hasBegun, work } = yield* make
      const seen: Array<unknown> = []
      const note = (what: unknown) => Effect.sync(() => void seen.push(what))
      const fiber = yield* Effect.forkDetach(
        Effect.andThen(Effect.uninterruptible(Effect.flatMap(work, note)), note("went on"))
      )
      yield* Deferred.await(hasBegun)
      fiber.interruptUnsafe(7)
      yield* answer.open
      yield* settle
      assert.deepStrictEqual(seen, ["stored"])
      assert.deepStrictEqual(interruptorsOf(fiber.pollUnsafe()), [7])
    }))

  const endings: Record<string, (work: Effect.Effect<string>) => Effect.Effect<unknown>> = {
    "that the interrupt has begun": (work) => Effect.ensuring(Effect.never, work),
    "of a scope": (work) => Effect.scoped(Effect.andThen(Effect.addFinalizer(() => work), Effect.never))
  }
  for (const [name, ending] of Object.entries(endings)) {
    it.effect(`goes on after the work of a finalizer ${name}, and cannot be caught`, () =>
      Effect.gen(function*() {
        const { answer, hasBegun, work } = yield* make
        const caught: Array<unknown> = []
        const fiber = yield* Effect.forkDetach(
          Effect.catchCause(ending(work), (cause) => Effect.sync(() => caught.push(cause)))
        )
        yield* settle
        fiber.interruptUnsafe(7)
        yield* Deferred.await(hasBegun)
        yield* answer.open
        yield* settle
        assert.deepStrictEqual(interruptorsOf(fiber.pollUnsafe()), [7])
        assert.deepStrictEqual(caught, [])
      }))
  }
})
