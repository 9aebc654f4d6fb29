import { assert, describe, it } from "@effect/vitest"
import { Cause, Effect, Exit, Fiber } from "effect"
import { ConnectionPool } from "effect-connection-pool"
import { TestClock } from "effect/testing"
import * as Door from "../src/internal/pool/door.ts"
import type { Answer, Member, Sent } from "../src/internal/pool/pipeline.ts"
import { settle } from "./support/pools.ts"

/** A connection whose requests change something. It answers when the test says so. */
class Line {
  readonly out = new Map<string, (answer: Answer) => void>()
  /** All that was sent, in order. */
  readonly sent: Array<string> = []
  /** The requests that can no longer be taken back. */
  readonly committing = new Set<string>()

  lose(name: string): void {
    this.#end(name, undefined)
  }

  answer(name: string, answer: Answer = Exit.succeed(name)): void {
    this.#end(name, answer)
  }

  #end(name: string, answer: Answer): void {
    const done = this.out.get(name)!
    this.out.delete(name)
    done(answer)
  }
}

const write = (name: string): Member<Line> => ({
  isQuick: () => true,
  isOnce: true,
  send: (line, _, done): Sent => {
    line.out.set(name, done)
    line.sent.push(name)
    return {
      takeBack: () => {
        if (line.committing.has(name)) return false
        line.out.delete(name)
        return true
      },
      own: () => {}
    }
  }
})

const make = Effect.fnUntraced(function*(acquireTimeout = 1000) {
  const line = new Line()
  const pool = yield* ConnectionPool.make<Line>({
    factory: { connect: Effect.succeed(line) },
    min: 1,
    max: 1,
    drainTimeout: 0,
    acquireTimeout
  })
  const pipeline = Door.of(pool)!.pipeline<Line, never>()
  const use = (name: string) => pipeline.use<string, Error>(write(name), undefined)
  return { line, pipeline, pool, use }
})

/** Notes what an effect has told its caller. */
const telling = <A, E>(effect: Effect.Effect<A, E>, told: Array<A>) =>
  Effect.tap(effect, (value) => Effect.sync(() => told.push(value)))

describe("a request that changes something", () => {
  it.effect("is taken back if its caller is interrupted in time, in line and with the connection", () =>
    Effect.gen(function*() {
      const { line, use } = yield* make()
      const fibers = yield* Effect.forEach(["a", "b"], (name) => Effect.forkChild(use(name)))
      yield* settle
      yield* Fiber.interruptAll([...fibers].toReversed())
      assert.deepStrictEqual([...line.out.keys()], [])
      for (const fiber of fibers) {
        const exit = yield* Fiber.await(fiber)
        assert.isTrue(Exit.isFailure(exit) && Cause.hasInterruptsOnly(exit.cause))
      }
    }))

  it.effect("is waited for if the interrupt of its caller comes too late, who is told the answer", () =>
    Effect.gen(function*() {
      const { line, pool, use } = yield* make()
      const told: Array<string> = []
      const fibers = yield* Effect.forEach(["a", "b"], (name) => Effect.forkChild(telling(use(name), told)))
      yield* settle
      line.committing.add("a").add("b")
      for (const fiber of fibers) fiber.interruptUnsafe()
      yield* settle
      assert.deepStrictEqual(told, [])
      assert.strictEqual((yield* pool.stats).waiting, 0)
      line.answer("a")
      line.answer("b")
      yield* Effect.forEach(fibers, Fiber.await)
      assert.deepStrictEqual(told, ["a", "b"])
      assert.strictEqual((yield* pool.stats).inUse, 0)
    }))

  it.effect("is waited for if the deadline of its caller in line comes too late", () =>
    Effect.gen(function*() {
      const { line, use } = yield* make(100)
      const [a, b, c] = yield* Effect.forEach(["a", "b", "c"], (name) => Effect.forkChild(Effect.exit(use(name))))
      yield* settle
      line.committing.add("b")
      yield* TestClock.adjust(200)
      line.answer("b")
      line.answer("a")
      const exits = yield* Effect.forEach([a!, b!, c!], Fiber.join)
      assert.deepStrictEqual(exits.map(Exit.isSuccess), [true, true, false])
    }))

  it.effect("keeps its failure, and that of a caller that was too late", () =>
    Effect.gen(function*() {
      const { line, use } = yield* make()
      const failed = new Error("unique")
      const fibers = yield* Effect.forEach(["a", "b"], (name) => Effect.forkChild(Effect.flip(use(name))))
      yield* settle
      line.committing.add("b")
      fibers[1]!.interruptUnsafe()
      yield* settle
      line.answer("b", Exit.fail(failed))
      line.answer("a", Exit.fail(failed))
      assert.deepStrictEqual(yield* Effect.forEach(fibers, Fiber.join), [failed, failed])
    }))

  it.effect("is sent once, however long it takes and whoever gets the connection meanwhile", () =>
    Effect.gen(function*() {
      const { line, use } = yield* make()
      const names = ["a", "b", "c"]
      const fibers = yield* Effect.forEach(names, (name) => Effect.forkChild(use(name)))
      yield* settle
      for (const name of names) {
        // The next one leads, long after its request was sent, and those behind it are looked at.
        yield* TestClock.adjust(50)
        line.answer(name)
        yield* Fiber.join(fibers[names.indexOf(name)]!)
        yield* settle
        assert.deepStrictEqual(line.sent, names)
      }
    }))

  for (const isOnce of [true, false]) {
    it.effect(`is sent once if its answer comes when its caller has just got the connection (isOnce ${isOnce})`, () =>
      Effect.gen(function*() {
        const { line, pipeline } = yield* make()
        // The fiber lets others go first before it waits for the answer.
        const lead: Member<Line>["lead"] = (_, answer) => {
          line.answer("b")
          return Effect.andThen(Effect.yieldNow, answer)
        }
        const members: ReadonlyArray<Member<Line>> = [write("a"), { ...write("b"), lead }]
        const fibers = yield* Effect.forEach(
          members,
          (member) => Effect.forkChild(pipeline.use<string, Error>({ ...member, isOnce }, undefined))
        )
        yield* settle
        line.answer("a")
        yield* settle
        assert.deepStrictEqual(line.sent, ["a", "b"])
        assert.deepStrictEqual(fibers.map((fiber) => fiber.pollUnsafe()), [Exit.succeed("a"), Exit.succeed("b")])
      }))
  }

  it.effect("is sent again if its connection was lost before its caller had it, and nothing was stored", () =>
    Effect.gen(function*() {
      const { line, use } = yield* make()
      const [a, b] = yield* Effect.forEach(["a", "b"], (name) => Effect.forkChild(use(name)))
      yield* settle
      line.lose("b")
      line.answer("a")
      assert.strictEqual(yield* Fiber.join(a!), "a")
      yield* settle
      assert.deepStrictEqual(line.sent, ["a", "b", "b"])
      line.answer("b")
      assert.strictEqual(yield* Fiber.join(b!), "b")
    }))
})
