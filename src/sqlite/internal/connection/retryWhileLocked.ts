/** Retries statements that meet the lock of another process, without stopping the event loop. */
import { Clock, Effect, identity, Random } from "effect"
import { isSuccess, withFiber, within } from "../../../internal/runtime.ts"
import { codeOf } from "../errors.ts"
import { isLock } from "../failures.ts"

/** How long a statement is retried while another process has a lock. An application may change it while it runs. */
export interface BusyTimeout {
  readonly millis: number
}

export interface LockOptions {
  /** Whether another try may help after a failure with this code. Default: after locks. */
  readonly isWorthwhile?: ((code: number | undefined, error: unknown) => boolean) | undefined
  /** Makes the waits interruptible where the rest is uninterruptible. */
  readonly restore?: (<A, E, R>(effect: Effect.Effect<A, E, R>) => Effect.Effect<A, E, R>) | undefined
}

/**
 * Runs an effect again while it meets a lock, about every millisecond, for at most `timeoutMillis`. Then it fails with
 * the last error.
 *
 * The time between tries does not grow. If it did, the callers that wait longest would try least often, and the latest
 * caller would win.
 */
export const retryWhileLocked = <A, E, R>(
  once: Effect.Effect<A, E, R>,
  timeoutMillis: number,
  options?: LockOptions
): Effect.Effect<A, E, R> => {
  return withFiber((fiber) => {
    // Most statements succeed at once.
    const first = within(once, fiber)
    if (isSuccess(first)) return first
    const { isWorthwhile = isLock, restore = identity } = options ?? {}
    return Effect.catch(
      first,
      (error) =>
        isWorthwhile(codeOf(error), error)
          ? goOn(error, once, timeoutMillis, isWorthwhile, restore)
          : Effect.fail(error)
    )
  })
}

const goOn = Effect.fnUntraced(function*<A, E, R>(
  met: E,
  once: Effect.Effect<A, E, R>,
  timeoutMillis: number,
  isWorthwhile: (code: number | undefined, error: unknown) => boolean,
  restore: (pause: Effect.Effect<void>) => Effect.Effect<void>
): Effect.fn.Return<A, E, R> {
  const clock = yield* Clock.Clock
  const startedAt = clock.monotonicTimeNanosUnsafe()
  let error = met
  for (;;) {
    const waitedMillis = Number(clock.monotonicTimeNanosUnsafe() - startedAt) / 1e6
    if (!isWorthwhile(codeOf(error), error) || waitedMillis >= timeoutMillis) return yield* Effect.fail(error)
    yield* restore(Effect.sleep(0.5 + (yield* Random.next)))
    const exit = yield* Effect.result(once)
    if (exit._tag === "Success") return exit.success
    error = exit.failure
  }
})

/**
 * Whether the start of a transaction, or a statement outside of one, may succeed a moment later: it met a lock, or
 * another connection wrote between its first read and its lock (517, BUSY_SNAPSHOT).
 */
export const mayStartLater = (code: number | undefined): boolean => isLock(code) || code === 517
