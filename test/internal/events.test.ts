import { assert, describe, it } from "@effect/vitest"
import { Effect, Fiber, Stream } from "effect"
import { Events } from "../../src/internal/pool/events.ts"
import * as PoolEvent from "../../src/PoolEvent.ts"
import { settle } from "../support/pools.ts"

describe("Events", () => {
  it.effect("are watched as long as they have a reader, however the reader ends", () =>
    Effect.gen(function*() {
      const events = new Events<PoolEvent.PoolEvent>((events) => PoolEvent.Missed({ events }))
      const changes: Array<boolean> = []
      const stream = events.stream(() => changes.push(events.isWatched))
      const one = yield* Effect.forkChild(Stream.runDrain(Stream.take(stream, 1)))
      const other = yield* Effect.forkChild(Stream.runDrain(stream))
      yield* settle
      events.publish(PoolEvent.Paused())
      yield* Fiber.join(one)
      assert.isTrue(events.isWatched)
      yield* Fiber.interrupt(other)
      assert.isFalse(events.isWatched)
      assert.deepStrictEqual(changes, [true, true, true, false])
    }))

  it.effect("of leases are left out for a reader that does without them, and do not count as missed", () =>
    Effect.gen(function*() {
      const events = new Events<string>((events) => `missed ${events}`, (event) => event === "lease")
      const [all, some]: [Array<string>, Array<string>] = [[], []]
      const gather = (stream: Stream.Stream<string>, into: Array<string>) =>
        Effect.forkChild(Stream.runForEach(stream, (event) => Effect.sync(() => void into.push(event))))
      yield* gather(events.stream(() => {}, false), some)
      yield* settle
      assert.isFalse(events.isWatched)
      yield* gather(events.stream(() => {}), all)
      yield* settle
      assert.isTrue(events.isWatched)
      // More than a reader may be behind.
      for (let lease = 0; lease < 2000; lease++) events.publish("lease")
      events.publish("paused")
      yield* settle
      assert.deepStrictEqual(some, ["paused"])
      assert.deepStrictEqual([all.length, all.at(-1)], [1024, "lease"])
      events.publish("resumed")
      events.end()
      yield* settle
      assert.deepStrictEqual(some, ["paused", "resumed"])
      assert.deepStrictEqual(all.slice(1024), ["missed 977", "resumed"])
    }))

  it.effect("are all the same to a reader, if none is called one of a lease", () =>
    Effect.gen(function*() {
      const events = new Events<string>((events) => `missed ${events}`)
      const read = yield* Effect.forkChild(Stream.runCollect(events.stream(() => {}, false)))
      yield* settle
      events.publish("opened")
      events.publish("closed")
      events.end()
      assert.deepStrictEqual(yield* Fiber.join(read), ["opened", "closed"])
    }))
})
