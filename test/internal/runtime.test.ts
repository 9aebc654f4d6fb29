import { assert, describe, it } from "@effect/vitest"
import { Effect, Exit, Fiber, Scope } from "effect"
import * as Statement from "effect/sql/Statement"
import * as Runtime from "../../src/internal/runtime.ts"

const wrong = Effect.flatMap(Effect.void, () => undefined as unknown as Effect.Effect<void>)

/** What the observers of a fiber are told of its end. */
const droppedAtEnd = (effect: Effect.Effect<unknown, unknown>) =>
  Effect.gen(function*() {
    let dropped: boolean | undefined
    const fiber = yield* Effect.forkDetach(effect)
    fiber.addObserver((exit) => {
      dropped = Runtime.wasDropped(fiber, exit)
    })
    yield* Fiber.await(fiber)
    return dropped
  })

describe("what leans on the inside of Effect", () => {
  it.effect("adds a finalizer within the step of a fiber", () =>
    Effect.gen(function*() {
      const scope = yield* Scope.make()
      let runs = 0
      const added = yield* Effect.withFiber((fiber) =>
        Effect.succeed(Runtime.addFinalizer(scope, fiber, () => Effect.sync(() => void runs++)))
      )
      assert.strictEqual(added, true)
      assert.strictEqual(scope.state._tag, "Open")
      assert.strictEqual(runs, 0)
      yield* Scope.close(scope, Exit.void)
      assert.strictEqual(runs, 1)
    }))

  it.effect("evaluates a primitive within the step of a fiber", () =>
    Effect.gen(function*() {
      const scope = yield* Scope.make()
      const [before, after] = yield* Effect.withFiber((fiber) => {
        const before = scope.state._tag
        Runtime.addFinalizer(scope, fiber, () => Effect.void)
        return Effect.succeed([before, scope.state._tag])
      })
      assert.deepStrictEqual([before, after], ["Empty", "Open"])
    }))

  it.effect("tells a fiber that was dropped from one that has died of it", () =>
    Effect.gen(function*() {
      const finalized: Array<string> = []
      const withFinalizer = (name: string, effect: Effect.Effect<unknown, unknown>) =>
        Effect.ensuring(effect, Effect.sync(() => void finalized.push(name)))
      assert.strictEqual(yield* droppedAtEnd(withFinalizer("dropped", wrong)), true)
      const joined = Effect.flatMap(Effect.forkDetach(withFinalizer("joined", wrong)), Fiber.join)
      assert.strictEqual(yield* droppedAtEnd(withFinalizer("joins", joined)), false)
      assert.deepStrictEqual(finalized, ["joins"])
      // It has nothing left to do that could be missed.
      assert.strictEqual(yield* droppedAtEnd(wrong), false)
      for (const other of [Effect.void, Effect.fail("no"), Effect.die("no"), Effect.interrupt]) {
        assert.strictEqual(yield* droppedAtEnd(Effect.ensuring(other, Effect.void)), false)
      }
    }))

  it("ends the turn of a fiber early that was charged for operations", () => {
    /** How often other fibers have their turn while one does a thousand steps. */
    const turnsWith = (operations: number) => {
      let turns = 0
      let isOver = false
      const others = Effect.whileLoop({
        while: () => !isOver,
        body: () => Effect.yieldNow,
        step: () => {
          turns++
        }
      })
      const step = Effect.withFiber((fiber) => {
        Runtime.charge(fiber, operations)
        return Effect.void
      })
      return Effect.runPromise(Effect.gen(function*() {
        yield* Effect.forkChild(others)
        for (let n = 0; n < 1000; n++) yield* step
        isOver = true
        return turns
      }))
    }
    return Promise.all([turnsWith(0), turnsWith(100)]).then(([plain, charged]) => {
      assert.isAtLeast(charged, 20)
      assert.isAtLeast(charged, plain * 5)
    })
  })

  it("marks a fragment as Effect does", () => {
    const sql = Statement.make(Effect.die("not run"), Statement.makeCompilerSqlite(), [], undefined)
    assert.isTrue(Runtime.fragment in sql`select 1`)
    assert.isTrue(Statement.isFragment({ [Runtime.fragment]: Runtime.fragment }))
  })
})
