import { type Cause, Effect, Fiber, type Pull, type Scope, Stream } from "effect"
import { settle } from "./pools.ts"

/** A stream that is read one element at a time. */
export interface Reading<A, E> {
  /** Waits for the next element. */
  readonly next: Effect.Effect<A, E | Cause.Done>
  /** The next element if it comes without anything else happening; else `undefined`. The stream is asked for it from then on. */
  readonly now: Effect.Effect<A | undefined, E | Cause.Done>
}

/** Starts to read a stream, for the current scope. */
export const reading = <A, E, R>(
  stream: Stream.Stream<A, E, R>
): Effect.Effect<Reading<A, E>, never, R | Scope.Scope> =>
  Effect.gen(function*() {
    const pull: Pull.Pull<ReadonlyArray<A>, E, void, R> = yield* Stream.toPull(Stream.rechunk(stream, 1))
    const context = yield* Effect.context<R | Scope.Scope>()
    let asked: Fiber.Fiber<A, E | Cause.Done> | undefined
    const ask = Effect.suspend(() =>
      asked === undefined
        ? Effect.tap(Effect.forkScoped(Effect.map(pull, (elements) => elements[0]!)), (fiber) =>
          Effect.sync(() => {
            asked = fiber
          }))
        : Effect.succeed(asked)
    ).pipe(Effect.provideContext(context))
    const answer = (fiber: Fiber.Fiber<A, E | Cause.Done>) =>
      Effect.suspend(() => {
        asked = undefined
        return Fiber.join(fiber)
      })
    return {
      next: Effect.flatMap(ask, answer),
      now: Effect.flatMap(ask, (fiber) =>
        Effect.andThen(
          settle,
          Effect.suspend(() => fiber.pollUnsafe() === undefined ? Effect.succeed(undefined) : answer(fiber))
        ))
    }
  })

/** Reads a stream in a fiber of the scope. Returns what has come, in an array that grows. */
export const readingOf = <A, E>(stream: Stream.Stream<A, E>) =>
  Effect.gen(function*() {
    const seen: Array<A> = []
    const reading = Stream.runForEach(stream, (one) => Effect.sync(() => void seen.push(one)))
    yield* Effect.forkScoped(Effect.orDie(reading), { startImmediately: true })
    return seen
  })
