import { assert, describe, it } from "@effect/vitest"
import { Clock, Context, Duration, Effect } from "effect"
import * as Alarm from "../../src/internal/structures/timer.ts"
import { settle } from "../support/pools.ts"

/** An alarm on a clock that stands still unless told otherwise, and whose sleepers wake when told. */
const make = Effect.fnUntraced(function*() {
  const slept: Array<number> = []
  const rung: Array<number> = []
  const time = { millis: 0 }
  let wake: (() => void) | undefined
  const clock: Clock.Clock = {
    ...yield* Clock.Clock,
    monotonicTimeNanosUnsafe: () => BigInt(time.millis * 1e6),
    sleep: (duration) => {
      slept.push(Duration.toMillis(duration))
      return Effect.callback<void>((resume) => {
        wake = () => resume(Effect.void)
      })
    }
  }
  const alarm = Alarm.make(Context.make(Clock.Clock, clock) as Context.Context<never>, (now) => rung.push(now))
  return { alarm, rung, slept, time, wake: Effect.andThen(Effect.sync(() => wake?.()), settle) }
})

describe("Alarm", () => {
  it.effect("rings with the time it was set for, even if its timer fires before that", () =>
    Effect.gen(function*() {
      const { alarm, rung, time, wake } = yield* make()
      alarm.set(10, true)
      yield* settle
      time.millis = 9.5
      yield* wake
      assert.deepStrictEqual(rung, [10])
      alarm.set(20, true)
      yield* settle
      time.millis = 25
      yield* wake
      assert.deepStrictEqual(rung, [10, 25])
    }))

  it.effect("rings early rather than sleep for longer than a timer can count", () =>
    Effect.gen(function*() {
      const { alarm, rung, slept, time, wake } = yield* make()
      const longest = 2 ** 31 - 1
      alarm.set(3e9, false)
      yield* settle
      assert.deepStrictEqual(slept, [longest])
      time.millis = longest
      yield* wake
      assert.deepStrictEqual(rung, [longest])
      alarm.set(3e9, false)
      yield* settle
      assert.deepStrictEqual(slept, [longest, 3e9 - longest])
    }))
})
