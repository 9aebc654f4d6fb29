/** The one timer of a pool, on the clock of the machine or on another clock. */
import { Clock, Context, Duration, Effect, type Fiber } from "effect"
import { isMachineClock } from "../runtime.ts"
import * as AsyncContext from "./asyncContext.ts"

/** A timer that can be moved to an earlier time. */
export interface Alarm {
  /** The time in milliseconds, on a clock that never goes back. */
  readonly now: () => number
  /** Lets the alarm ring at `at`, or earlier. `isAwaited` says whether the process has to stay alive until then. */
  readonly set: (at: number, isAwaited: boolean) => void
  readonly stop: () => void
}

/**
 * Makes an alarm on the clock of `context`. It is only moved to an earlier time. It may ring too early, which is cheap;
 * to move it for every caller would need a new timer for each of them.
 *
 * On the clock of the machine it is a plain timer. A fiber that sleeps would keep the process alive, and an idle pool
 * must not. On any other clock, such as the clock of a test, it is a fiber that sleeps on that clock.
 *
 * It rings in the asynchronous context in which it was made. Otherwise a timer that waits for minutes would keep the
 * values of one caller's context alive.
 *
 * `ring` gets the time. That is never before the time for which the alarm was set, although a timer may fire a little
 * early.
 */
export const make = (context: Context.Context<never>, ring: (now: number) => void): Alarm => {
  const within = AsyncContext.capture()
  const clock = Context.get(context, Clock.Clock)
  const timer = isMachineClock(clock) ? machineTimer : clockTimer(clock, context)
  const now = nowOf(clock)
  let setFor = Infinity
  let running: Timer | undefined
  const fire = () => {
    const at = Math.max(now(), setFor)
    setFor = Infinity
    running = undefined
    ring(at)
  }
  const stop = () => {
    running?.cancel()
    setFor = Infinity
    running = undefined
  }
  return {
    now,
    set: (at, isAwaited) => {
      if (at < setFor) {
        stop()
        const millis = Math.max(at - now(), 0)
        // A timer cannot wait for longer than `longest`: then it rings early, and is set again.
        setFor = millis > longest ? at - millis + longest : at
        running = within(() => timer(Math.min(millis, longest), fire))
      }
      running?.await(isAwaited)
    },
    stop
  }
}

/**
 * Reads a clock as an alarm does. `performance.now` is the clock behind the machine's `monotonicTimeNanos`, but makes no bigint. A
 * lease reads it up to two times.
 */
export const nowOf = (clock: Clock.Clock): () => number =>
  isMachineClock(clock) ? machineNow : () => Number(clock.monotonicTimeNanosUnsafe()) / 1e6

const machineNow = (): number => machine.now()

// `globalThis.performance` is a getter, so it is read once.
const machine = globalThis.performance

const longest = 2 ** 31 - 1

interface Timer {
  readonly cancel: () => void
  readonly await: (isAwaited: boolean) => void
}

const machineTimer = (millis: number, fire: () => void): Timer => {
  const handle = setTimeout(fire, Math.ceil(millis))
  let wasAwaited = true
  return {
    cancel: () => clearTimeout(handle),
    await: (isAwaited) => {
      if (isAwaited === wasAwaited) return
      wasAwaited = isAwaited
      if (isAwaited) handle.ref()
      else handle.unref()
    }
  }
}

const clockTimer =
  (clock: Clock.Clock, context: Context.Context<never>) => (millis: number, fire: () => void): Timer => {
    // Fractions of a millisecond do not add up exactly on the clock of a test. A microsecond early is better than
    // never.
    const sleep = Number.isInteger(millis) ? millis : Math.max(millis - 0.001, 0)
    // A sleep may end at once, but the alarm must not ring while it is being set.
    const fiber: Fiber.Fiber<void> = Effect.runForkWith(context)(
      clock.sleep(Duration.millis(sleep)).pipe(Effect.andThen(Effect.yieldNow), Effect.andThen(Effect.sync(fire)))
    )
    return { cancel: () => fiber.interruptUnsafe(), await: () => {} }
  }
