import { Clock, Context, Duration, Effect, type Fiber } from "effect"
import { isMachineClock } from "../runtime.ts"
import * as AsyncContext from "./asyncContext.ts"

/** The one timer of a pool. */
export interface Alarm {
  /** Milliseconds on the clock that never goes back. */
  readonly now: () => number
  /** When it will ring. */
  readonly setFor: () => number
  /** Has the alarm ring at `at`, or earlier. `isAwaited` is whether the process should stay alive for that. */
  readonly set: (at: number, isAwaited: boolean) => void
  readonly stop: () => void
}

/**
 * An alarm on the clock of `context`. It is moved only to ring earlier: one that rings too early costs a look around,
 * and moving it with every caller would cost each of them a timer.
 *
 * On the clock of the machine it is a plain timer, for a fiber that sleeps always keeps the process alive, and an idle
 * pool must not. On any other clock, such as a test's, it is a fiber that sleeps on that clock.
 *
 * It rings in the asynchronous context in which it was made: a timer that waits for minutes must not keep alive the store of
 * the caller who had it set.
 *
 * `ring` gets the time. That is never before the time the alarm was set for, even where a timer fires a little early.
 */
export const make = (context: Context.Context<never>, ring: (now: number) => void): Alarm => {
  const within = AsyncContext.capture()
  const clock = Context.get(context, Clock.Clock)
  const isMachine = isMachineClock(clock)
  const timer = isMachine ? machineTimer : clockTimer(clock, context)
  // This is the clock of the machine's `monotonicTimeNanos`, without the price of making a number of a bigint. It is read
  // twice in a lease.
  const now = isMachine ? () => machine.now() : () => Number(clock.monotonicTimeNanosUnsafe()) / 1e6
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
    setFor: () => setFor,
    set: (at, isAwaited) => {
      if (at < setFor) {
        stop()
        const millis = Math.max(at - now(), 0)
        // Longer than a timer can count: it rings early, and is set again.
        setFor = millis > longest ? at - millis + longest : at
        running = within(() => timer(Math.min(millis, longest), fire))
      }
      running?.await(isAwaited)
    },
    stop
  }
}

// Found once: as a global it is a getter.
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
    // Fractions of a millisecond do not add up exactly on a test's clock: rather a microsecond early than never.
    const sleep = Number.isInteger(millis) ? millis : Math.max(millis - 0.001, 0)
    // A sleep may be over at once; the alarm must not ring while it is being set.
    const fiber: Fiber.Fiber<void> = Effect.runForkWith(context)(
      clock.sleep(Duration.millis(sleep)).pipe(Effect.andThen(Effect.yieldNow), Effect.andThen(Effect.sync(fire)))
    )
    return { cancel: () => fiber.interruptUnsafe(), await: () => {} }
  }
