/** Records the statements of one connection for its pool. The driver calls it. */
import { Effect, type Exit, type Fiber, type Pull, type Scope, Stream } from "effect"
import type * as ConnectionFactory from "../../ConnectionFactory.ts"
import * as Runtime from "../runtime.ts"
import { Run, Statements } from "./statements.ts"

/** The connection whose statements are recorded: an `Entry` of a pool. */
export interface Subject {
  readonly lease: object | undefined
  readonly statements: Statements
}

/** How a statement has ended. */
export interface Ended {
  readonly text: string
  readonly tookMillis: number
  /** Whether it ran in one step, so that nothing else could run in this process. */
  readonly isBlocking: boolean
  /** The lease that has begun it. */
  readonly lease: object | undefined
}

/** The pool of a connection. */
export interface Listener {
  readonly now: () => number
  /** Called with each statement that has ended. Not set: statements are not measured. */
  readonly ended: ((ended: Ended) => void) | undefined
}

/**
 * Each connection has its own. While statements are not measured, a statement in one step costs a field or two, and no look
 * at the clock.
 */
export class Recorder implements ConnectionFactory.Statements {
  #subject: Subject
  #listener: Listener
  /** Whether statements are measured. */
  #isMeasured: boolean
  /** The statement that runs in one step now, and when it began; a negative number if it is not measured. */
  #text = ""
  #begunAt = -1

  constructor(subject: Subject, listener: Listener) {
    this.#subject = subject
    this.#listener = listener
    this.#isMeasured = listener.ended !== undefined
  }

  /** A recorder that nobody reads. */
  static unread(): Recorder {
    return new Recorder({ lease: undefined, statements: new Statements() }, nowhere)
  }

  /** Records for the connection of another recorder from now on. */
  follow(other: ConnectionFactory.Statements): void {
    if (!(other instanceof Recorder)) return
    this.#subject = other.#subject
    this.#listener = other.#listener
    this.#isMeasured = other.#isMeasured
  }

  get isMeasured(): boolean {
    return this.#isMeasured
  }

  // -------------------------------------------------------------------------------------------------------------------
  // Statements that run in one step
  // -------------------------------------------------------------------------------------------------------------------

  /** A statement begins. */
  begin(text: string): void {
    this.named(text)
    if (this.#isMeasured) this.#measure(text)
  }

  /** Gives the statement that ran last another text. */
  named(text: string): void {
    const subject = this.#subject
    if (subject.lease !== undefined) subject.statements.last = text
  }

  #measure(text: string): void {
    this.#subject.statements.lastMillis = undefined
    this.#text = text
    this.#begunAt = this.#listener.now()
  }

  /** The statement that has begun last has ended. */
  end(): void {
    if (this.#begunAt >= 0) this.#measured()
  }

  #measured(): void {
    const { lease, statements } = this.#subject
    const tookMillis = this.#listener.now() - this.#begunAt
    const text = this.#text
    this.#begunAt = -1
    this.#text = ""
    if (lease !== undefined) statements.lastMillis = tookMillis
    this.#listener.ended!({ text, tookMillis, isBlocking: true, lease })
  }

  runSync<A>(text: string, f: () => A): A {
    this.begin(text)
    try {
      return f()
    } finally {
      this.end()
    }
  }

  // -------------------------------------------------------------------------------------------------------------------
  // Statements that take several steps
  // -------------------------------------------------------------------------------------------------------------------

  /** A statement begins that takes several steps. */
  start(text: string): Run {
    const { lease, statements } = this.#subject
    const run = new Run(text, lease, this.#listener.now())
    statements.running ??= new Set()
    statements.running.add(run)
    return run
  }

  /** Makes a run of the statement that has begun last: its rows will be read in further steps. */
  goOn(text: string): Run {
    const run = this.start(text)
    if (this.#begunAt >= 0) run.spentMillis = this.#listener.now() - this.#begunAt
    this.#begunAt = -1
    this.#text = ""
    return run
  }

  /** The database begins to work for a run. */
  enter(run: Run): void {
    if (this.#isMeasured) run.enteredAt = this.#listener.now()
  }

  /** The database has worked for a run, which goes on. */
  leave(run: Run): void {
    if (run.enteredAt < 0) return
    run.spentMillis += this.#listener.now() - run.enteredAt
    run.enteredAt = -1
  }

  /** A run has ended. A second call does nothing. */
  finish(run: Run): void {
    this.leave(run)
    const { lease, statements } = this.#subject
    if (statements.running?.delete(run) !== true) return
    if (lease !== undefined && run.lease === lease) {
      statements.last = run.text
      statements.lastMillis = this.#isMeasured ? run.spentMillis : undefined
    }
    const { ended } = this.#listener
    ended?.({ text: run.text, tookMillis: run.spentMillis, isBlocking: false, lease: run.lease })
  }

  run<A, E, R>(text: string, effect: Effect.Effect<A, E, R>): Effect.Effect<A, E, R> {
    return new Recorded(this, text, effect)
  }

  stream<A, E, R>(text: string, stream: Stream.Stream<A, E, R>): Stream.Stream<A, E, R> {
    const pull = Effect.gen({ self: this }, function*() {
      const begun = Effect.acquireRelease(
        Effect.sync(() => this.start(text)),
        (run) => Effect.sync(() => this.finish(run))
      )
      const run = yield* begun
      const next = yield* Stream.toPull(stream)
      return this.#within(run, next)
    })
    return Stream.scoped(Stream.fromPull(pull)) as Stream.Stream<A, E, Exclude<R, Scope.Scope>> as Stream.Stream<
      A,
      E,
      R
    >
  }

  /** Counts the time that an effect takes for a run. */
  #within<A, E, R>(run: Run, pull: Pull.Pull<A, E, void, R>): Pull.Pull<A, E, void, R> {
    return Effect.suspend(() => {
      this.enter(run)
      return Effect.onExit(pull, () => Effect.sync(() => this.leave(run)))
    })
  }
}

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

const nowhere: Listener = { now: () => 0, ended: undefined }
