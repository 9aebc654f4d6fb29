/** The rows of a batch: pulled in arrays, from an iterable or from a stream. */
import { type Context, Effect, Pull, type Scope, Stream } from "effect"

/** Gives the next rows; `undefined` at the end, and no empty array. */
export type Source<E, R> = Effect.Effect<ReadonlyArray<unknown> | undefined, E, R>

/** What is known of rows before the first is pulled. */
export const totalOf = (rows: unknown): number | undefined => {
  if (Array.isArray(rows)) return rows.length
  return rows instanceof Set || rows instanceof Map ? rows.size : undefined
}

/**
 * The rows of an iterable. Its own code runs for a short time at once, and not within a step of the connection. It is closed
 * with the scope, so that the `finally` of a generator runs.
 */
export const fromIterable = Effect.fnUntraced(function*<E>(
  rows: Iterable<unknown>,
  now: () => number,
  failed: (thrown: unknown) => E
): Effect.fn.Return<Source<E, never>, E, Scope.Scope> {
  if (Array.isArray(rows)) {
    let isGiven = rows.length === 0
    return Effect.sync(() => {
      if (isGiven) return undefined
      isGiven = true
      return rows
    })
  }
  const iterator = yield* Effect.try({ try: () => rows[Symbol.iterator](), catch: failed })
  let hasEnded = false
  yield* Effect.addFinalizer(() =>
    Effect.sync(() => {
      if (hasEnded) return
      try {
        iterator.return?.()
      } catch {
        // The batch has failed or was interrupted already, which says more.
      }
    })
  )
  let thrown: { readonly cause: unknown } | undefined
  return Effect.suspend(() => {
    if (thrown !== undefined) return Effect.fail(failed(thrown.cause))
    if (hasEnded) return Effect.undefined
    const found: Array<unknown> = []
    const until = now() + pullMillis
    try {
      while (found.length < mostAtOnce) {
        const next = iterator.next()
        if (next.done === true) {
          hasEnded = true
          break
        }
        found.push(next.value)
        if ((found.length & 15) === 0 && now() >= until) break
      }
    } catch (cause) {
      hasEnded = true
      // The rows before it come first, so that the error is about the right row.
      if (found.length === 0) return Effect.fail(failed(cause))
      thrown = { cause }
    }
    return Effect.succeed(found.length === 0 ? undefined : found)
  })
})

/** The most rows that are held at once, and how long an iterable may run at once. */
const mostAtOnce = 1024
const pullMillis = 1

/**
 * The rows of a stream, pulled in the arrays in which it gives them. It runs with `context`, and not with that of the
 * transaction which is open meanwhile; not set: with that of the transaction.
 */
export const fromStream = <E, R>(
  rows: Stream.Stream<unknown, E, R>,
  context: Context.Context<R> | undefined
): Effect.Effect<Source<E, R>, never, R | Scope.Scope> =>
  Effect.map(Stream.toPull(rows), (pull) => {
    const next = Pull.catchDone(pull, () => Effect.undefined) as Source<E, R>
    return context === undefined ? next : Effect.updateContext(next, () => context)
  })
