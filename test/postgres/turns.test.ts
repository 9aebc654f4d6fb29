/** The turns of the fibers that share one session. */
import { assert, describe, it } from "@effect/vitest"
import { Cause, Effect, Exit, Fiber, Latch } from "effect"
import { Sweep } from "effect-connection-pool/testing"
import { Ticket, Turns } from "../../src/postgres/internal/connection/turns.ts"

/** A session that only knows how many use it. */
const make = () => {
  const turns = new Turns()
  const world = { inside: 0, most: 0, ended: 0 }
  const use = <A, E>(effect: Effect.Effect<A, E>, refusal: () => string | undefined = () => undefined) =>
    turns.use<A, E, string>({
      refusal,
      begin: () => {
        world.most = Math.max(world.most, ++world.inside)
        return effect
      },
      ended: () => {
        world.inside--
        world.ended++
      }
    })
  return { turns, use, world }
}

/** Whether the next comes in at once. */
const isFree = ({ use }: Pick<ReturnType<typeof make>, "use">) =>
  Effect.map(
    Effect.forkChild(use(Effect.void), { startImmediately: true }),
    (fiber) => fiber.pollUnsafe() !== undefined
  )

describe("the wire of a session", () => {
  it.effect("is used in order of arrival, by one at a time", () =>
    Effect.gen(function*() {
      const all = make()
      const order: Array<number> = []
      const one = (n: number) => all.use(Effect.andThen(Effect.yieldNow, Effect.sync(() => order.push(n))))
      yield* Effect.forEach(Array.from({ length: 2000 }, (_, n) => n), one, { concurrency: "unbounded" })
      assert.deepStrictEqual(order, Array.from({ length: 2000 }, (_, n) => n))
      assert.deepStrictEqual(all.world, { inside: 0, most: 1, ended: 2000 })
      assert.isTrue(yield* isFree(all))
    }))

  it.effect("is left once by each fiber: after its turn, refused before or after its wait, and interrupted in line", () =>
    Effect.gen(function*() {
      const turns = new Turns()
      const left: Array<string> = []
      const latch = yield* Latch.make()
      let refused = false
      const use = (name: string, effect: Effect.Effect<void>) =>
        turns.use<void, never, string>({
          refusal: () => refused ? name : undefined,
          begin: () => effect,
          ended: () => {},
          left: () => left.push(name)
        })
      const first = yield* Effect.forkChild(use("first", latch.await), { startImmediately: true })
      const waiting = yield* Effect.forkChild(use("waiting", Effect.void), { startImmediately: true })
      const next = yield* Effect.forkChild(use("next", Effect.void), { startImmediately: true })
      const last = yield* Effect.forkChild(use("last", Effect.void), { startImmediately: true })
      assert.deepStrictEqual(left, [])
      yield* Fiber.interrupt(waiting)
      assert.deepStrictEqual(left, ["waiting"])
      yield* latch.open
      yield* Fiber.join(first)
      yield* Fiber.join(next)
      yield* Fiber.join(last)
      refused = true
      assert.strictEqual(yield* Effect.flip(use("refused", Effect.void)), "refused")
      assert.deepStrictEqual(left, ["waiting", "first", "next", "last", "refused"])
      refused = false
      const holding = yield* Effect.forkChild(use("holding", Effect.never), { startImmediately: true })
      const late = yield* Effect.forkChild(Effect.flip(use("late", Effect.void)), { startImmediately: true })
      refused = true
      yield* Fiber.interrupt(holding)
      assert.strictEqual(yield* Fiber.join(late), "late")
      assert.deepStrictEqual(left.slice(5), ["holding", "late"])
    }))

  it.effect("is asked when it is the turn of a statement, whether that may still run", () =>
    Effect.gen(function*() {
      const all = make()
      const latch = yield* Latch.make()
      let isLost = false
      const lost = () => isLost ? "lost" : undefined
      const first = yield* Effect.forkChild(all.use(latch.await, lost), { startImmediately: true })
      const second = yield* Effect.forkChild(all.use(Effect.succeed("ran"), lost), { startImmediately: true })
      isLost = true
      yield* latch.open
      yield* Fiber.join(first)
      assert.deepStrictEqual(yield* Effect.flip(Fiber.join(second)), "lost")
      assert.strictEqual(yield* Effect.flip(all.use(Effect.void, lost)), "lost")
      assert.deepStrictEqual(all.world, { inside: 0, most: 1, ended: 1 })
      isLost = false
      assert.isTrue(yield* isFree(all))
    }))

  it.effect("is given back by a statement that cannot be made, also by one that has waited", () =>
    Effect.gen(function*() {
      const all = make()
      const latch = yield* Latch.make()
      const broken = all.turns.use<void, never, never>({
        refusal: () => undefined,
        begin: () => {
          throw new Error("not made")
        },
        ended: () => {}
      })
      const diesOfIt = (exit: Exit.Exit<void>) =>
        assert.include(Exit.isFailure(exit) ? Cause.pretty(exit.cause) : "success", "not made")
      diesOfIt(yield* Effect.exit(broken))
      const first = yield* Effect.forkChild(all.use(latch.await), { startImmediately: true })
      const second = yield* Effect.forkChild(broken, { startImmediately: true })
      yield* latch.open
      yield* Fiber.join(first)
      diesOfIt(yield* Fiber.await(second))
      assert.isTrue(yield* isFree(all))
    }))

  it.effect("is handed on, however one that has it or waits for it ends", () =>
    Effect.gen(function*() {
      const report = yield* Sweep.run({
        setup: Effect.sync(make),
        scenario: ({ turns, use }) => {
          const one = use(Effect.yieldNow)
          // A stream has the wire for its scope.
          const stream = Effect.suspend(() => {
            const ticket = new Ticket()
            return Effect.ensuring(
              Effect.andThen(turns.wait(ticket), Effect.yieldNow),
              Effect.sync(() => turns.leave(ticket))
            )
          })
          return Effect.all([one, stream, one, stream, Effect.exit(Effect.andThen(one, Effect.fail("no")))], {
            concurrency: "unbounded"
          })
        },
        check: (all) =>
          Effect.gen(function*() {
            for (let turns = 0; turns < 20; turns++) yield* Effect.yieldNow
            assert.isAtMost(all.world.most, 1)
            assert.strictEqual(all.world.inside, 0)
            assert.isTrue(yield* isFree(all))
          }),
        turns: [0, 20]
      })
      assert.isAbove(report.interrupted, 100)
    }), 120_000)
})
