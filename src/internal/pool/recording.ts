/** Records statements that are effects and streams: what a driver gets as `ConnectionFactory.Statements`. */
import { Effect, type Exit, type Fiber, type Pull, type Scope, Stream } from "effect"
import type * as ConnectionFactory from "../../ConnectionFactory.ts"
import * as Runtime from "../runtime.ts"
import type { Recorder } from "./recorder.ts"
import type { Run } from "./statements.ts"

export class Recording implements ConnectionFactory.Statements {
  readonly recorder: Recorder

  constructor(recorder: Recorder) {
    this.recorder = recorder
  }

  get isMeasured(): boolean {
    return this.recorder.isMeasured
  }

  runSync<A>(text: string, f: () => A): A {
    return this.recorder.runSync(text, f)
  }

  run<A, E, R>(text: string, effect: Effect.Effect<A, E, R>): Effect.Effect<A, E, R> {
    return new Recorded(this.recorder, text, effect)
  }

  stream<A, E, R>(text: string, stream: Stream.Stream<A, E, R>): Stream.Stream<A, E, R> {
    const { recorder } = this
    const pull = Effect.gen(function*() {
      const begun = Effect.acquireRelease(
        Effect.sync(() => recorder.start(text)),
        (run) => Effect.sync(() => recorder.finish(run))
      )
      const run = yield* begun
      const next = yield* Stream.toPull(stream)
      return within(recorder, run, next)
    })
    return Stream.scoped(Stream.fromPull(pull)) as Stream.Stream<A, E, Exclude<R, Scope.Scope>> as Stream.Stream<
      A,
      E,
      R
    >
  }
}

/** Counts the time that a pull takes for a run. */
const within = <A, E, R>(recorder: Recorder, run: Run, pull: Pull.Pull<A, E, void, R>): Pull.Pull<A, E, void, R> =>
  Effect.suspend(() => {
    recorder.enter(run)
    return Effect.onExit(pull, () => Effect.sync(() => recorder.leave(run)))
  })

/** An effect that runs a statement. Its end is installed in the step in which the statement begins. */
class Recorded<A, E, R> extends Runtime.OwnStep<A, E, R> {
  readonly #recorder: Recorder
  readonly #text: string
  readonly #effect: Effect.Effect<A, E, R>

  constructor(recorder: Recorder, text: string, effect: Effect.Effect<A, E, R>) {
    super()
    this.#recorder = recorder
    this.#text = text
    this.#effect = effect
  }

  step(fiber: Fiber.Fiber<unknown, unknown>): Effect.Effect<A, E, R> {
    const recorder = this.#recorder
    const run = recorder.start(this.#text)
    recorder.enter(run)
    const finish = (_: Exit.Exit<A, E>): undefined => void recorder.finish(run)
    return Runtime.onExitWithin(this.#effect, fiber, finish)
  }
}
