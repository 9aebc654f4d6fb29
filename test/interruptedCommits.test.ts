/** An interrupt that comes while a transaction is committed is too late for it: the caller learns how the commit ended. */
import { assert, describe, it } from "@effect/vitest"
import { Deferred, Effect, Exit, Fiber, Latch } from "effect"
import type { SqlError } from "effect/sql/SqlError"
import { settle } from "./support/pools.ts"
import { makeWith } from "./support/words.ts"

/** A database whose commit waits for the test. */
const make = Effect.gen(function*() {
  const hasAsked = yield* Deferred.make<void>()
  const answer = yield* Latch.make()
  const world = yield* makeWith({
    dialect: {
      commit: (words) =>
        Effect.andThen(
          Effect.andThen(Deferred.succeed(hasAsked, undefined), answer.await),
          words.say("commit")
        ),
      commitOutcome: (error: SqlError) => error.reason._tag === "ConnectionError" ? "unknown" : "rolled back"
    }
  })
  const seen: Array<unknown> = []
  return {
    ...world,
    seen,
    note: (what: unknown) => Effect.sync(() => void seen.push(what)),
    /** Starts an effect, and interrupts it while its transaction is committed. */
    interrupted: <A, X>(effect: Effect.Effect<A, X>) =>
      Effect.gen(function*() {
        const fiber = yield* Effect.forkDetach(effect)
        yield* Deferred.await(hasAsked)
        fiber.interruptUnsafe()
        yield* answer.open
        yield* settle
        return fiber
      })
  }
})

describe("an interrupt during a commit", () => {
  it.effect("leaves the caller its result, and ends its next wait", () =>
    Effect.gen(function*() {
      const { interrupted, note, say, seen, transaction, words } = yield* make
      const fiber = yield* interrupted(
        transaction(Effect.as(say("a"), "result")).pipe(
          Effect.flatMap(note),
          Effect.andThen(Effect.yieldNow),
          Effect.andThen(note("too far"))
        )
      )
      assert.deepStrictEqual(seen, ["result"])
      assert.deepStrictEqual(words.stored, ["a"])
      assert.isTrue(Exit.hasInterrupts(yield* Fiber.await(fiber)))
    }))

  it.effect("does not hide that its outcome is unknown", () =>
    Effect.gen(function*() {
      const { interrupted, note, say, seen, transaction, words } = yield* make
      words.unheard.push("commit")
      yield* interrupted(Effect.catchTag(
        transaction(say("a")),
        "TransactionOutcomeUnknownError",
        ({ _tag }) => note(_tag)
      ))
      assert.deepStrictEqual(seen, ["TransactionOutcomeUnknownError"])
      assert.deepStrictEqual(words.stored, ["a"])
    }))

  it.effect("does not hide that it failed, but there is no other run of it", () =>
    Effect.gen(function*() {
      const { interrupted, note, say, seen, transaction, words } = yield* make
      words.failing.push("commit")
      const once = transaction(say("a"))
      const fiber = yield* interrupted(
        Effect.catchTag(once, "TransactionCommitError", ({ _tag }) => Effect.andThen(note(_tag), once))
      )
      assert.deepStrictEqual(seen, ["TransactionCommitError"])
      assert.isTrue(Exit.hasInterrupts(yield* Fiber.await(fiber)))
      assert.deepStrictEqual(words.stored, [])
    }))

  it.effect("undoes a transaction of which only an inner one has ended", () =>
    Effect.gen(function*() {
      const { note, say, seen, transaction, words } = yield* make
      const fiber = yield* Effect.forkDetach(
        transaction(Effect.andThen(transaction(say("a")), note("went on")))
      )
      while (words.said.at(-1) !== "release 1") yield* Effect.yieldNow
      yield* Fiber.interrupt(fiber)
      assert.deepStrictEqual(seen, [])
      assert.strictEqual(words.said.at(-1), "rollback")
      assert.deepStrictEqual(words.stored, [])
    }))

  it.effect("ends a caller that had masked it when its own region ends", () =>
    Effect.gen(function*() {
      const { interrupted, note, say, seen, transaction, words } = yield* make
      const masked = Effect.uninterruptible(Effect.flatMap(transaction(Effect.as(say("a"), "result")), note))
      const fiber = yield* interrupted(Effect.andThen(masked, note("too far")))
      assert.deepStrictEqual(seen, ["result"])
      assert.deepStrictEqual(words.stored, ["a"])
      assert.isTrue(Exit.hasInterrupts(yield* Fiber.await(fiber)))
    }))
})

describe("a transaction in a finalizer of what was interrupted", () => {
  it.effect("is committed, and nothing catches the interrupt after it", () =>
    Effect.gen(function*() {
      const { say, transaction, words } = yield* makeWith({})
      const caught: Array<unknown> = []
      const fiber = yield* Effect.forkDetach(
        Effect.catchCause(
          Effect.ensuring(Effect.never, Effect.orDie(transaction(say("a")))),
          (cause) => Effect.sync(() => caught.push(cause))
        )
      )
      yield* settle
      yield* Fiber.interrupt(fiber)
      assert.deepStrictEqual(words.stored, ["a"])
      assert.deepStrictEqual(caught, [])
      assert.isTrue(Exit.hasInterrupts(yield* Fiber.await(fiber)))
    }))
})
