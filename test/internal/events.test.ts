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
})
