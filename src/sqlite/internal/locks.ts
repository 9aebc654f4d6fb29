/** Waiting for the locks of other processes without holding up this one. */
import { Clock, Effect, Random } from "effect"
import { codeOf, isLock } from "./sqlError.ts"

/**
 * Runs an attempt again while it meets a lock, a millisecond or so after each, until it has done so for `timeoutMillis`;
 * then fails with the last lock.
 *
 * The pause does not grow: the longer others wait, the less often they would ask, and those who come last would win.
 */
export const retryWhileLocked = Effect.fnUntraced(function*<A, E, R>(
  attempt: Effect.Effect<A, E, R>,
  timeoutMillis: number
): Effect.fn.Return<A, E, R> {
  const clock = yield* Clock.Clock
  const startedAt = clock.monotonicTimeNanosUnsafe()
  for (;;) {
    const exit = yield* Effect.result(attempt)
    if (exit._tag === "Success") return exit.success
    const waitedMillis = Number(clock.monotonicTimeNanosUnsafe() - startedAt) / 1e6
    if (!isLock(codeOf(exit.failure)) || waitedMillis >= timeoutMillis) return yield* Effect.fail(exit.failure)
    yield* Effect.sleep(0.5 + (yield* Random.next))
  }
})
