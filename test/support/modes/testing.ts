/** `effect/testing` in a mode: when the clock of a test has moved, the threads have their turn. */
import { Duration, Effect } from "effect"
import * as Testing from "effect/testing"
import { settle } from "../pools.ts"

export * from "effect/testing"

/** Threads answer in real time, so a long time passes in steps, and what begins in one of them may end before the next one. */
const mostSteps = 4
const leastStepMillis = 10

const adjust = (duration: Duration.Input): Effect.Effect<void> =>
  Effect.gen(function*() {
    const millis = Duration.toMillis(Duration.fromInputUnsafe(duration))
    const steps = Number.isInteger(millis) ? Math.min(mostSteps, Math.floor(millis / leastStepMillis)) : 0
    yield* settle
    let before = 0
    for (let step = 1; step < steps; step++) {
      const now = Math.round(millis * step / steps)
      yield* Testing.TestClock.adjust(now - before)
      yield* settle
      before = now
    }
    yield* Testing.TestClock.adjust(before === 0 ? duration : millis - before)
    yield* settle
  })

export const TestClock = { ...Testing.TestClock, adjust }
