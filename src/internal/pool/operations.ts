/** The operations on connections, each in a fiber of the pool: connect, validate, reset and close. */
import { Cause, Effect, Exit, Fiber, Scope } from "effect"
import { type ConnectionFactory, Died, Statements } from "../../ConnectionFactory.ts"
import { ConnectError, type ConnectFailure } from "../../PoolError.ts"
import { show } from "../options/rules.ts"
import * as Deadlines from "../structures/deadlines.ts"
import * as Lending from "./lending.ts"
import * as Line from "./line.ts"
import * as Outcomes from "./outcomes.ts"
import { Recorder } from "./recorder.ts"
import { Recording } from "./recording.ts"
import * as Slow from "./slow.ts"
import * as Spans from "./spans.ts"
import type * as State from "./state.ts"
import type { Work } from "./work.ts"

export class Operations<C, E> {
  readonly #work: Work<C>
  readonly #factory: ConnectionFactory<C, E, never>
  readonly #connectFailedWith: (reason: ConnectFailure<E>) => void

  /** `connectFailedWith` is called with the reason of each connect attempt that has failed. */
  constructor(
    work: Work<C>,
    factory: ConnectionFactory<C, E, never>,
    connectFailedWith: (reason: ConnectFailure<E>) => void
  ) {
    this.#work = work
    this.#factory = factory
    this.#connectFailedWith = connectFailedWith
  }

  /** Starts the operation that the list of the connection asks for. */
  operate(entry: State.Entry<C>): void {
    const { state } = this.#work
    switch (entry.list) {
      case state.connecting:
        return this.#connect(entry)
      case state.validating:
        return this.#validate(entry)
      case state.resetting:
        return this.#reset(entry)
      case state.abandoned:
        return this.#settle(entry)
      case state.closing:
        return this.#close(entry)
    }
  }

  #connect(entry: State.Entry<C>): void {
    const { state } = this.#work
    const scope = Scope.makeUnsafe()
    entry.scope = scope
    const statements = new Recording(new Recorder(entry, Slow.listener(this.#work, entry)))
    const attempt = this.#factory.connect.pipe(
      Effect.provideService(Died, () => this.#died(entry)),
      Effect.provideService(Statements, statements),
      Scope.provide(scope)
    )
    this.#perform(
      entry,
      state.settings.connectTimeoutMillis,
      Spans.connect(state.settings.name, entry.id, attempt),
      (exit, now) => {
        if (Exit.isSuccess(exit)) Outcomes.connected(state, entry, exit.value, now)
        else this.#connectFailed(entry, failureOf(exit.cause), now)
      }
    )
  }

  #validate(entry: State.Entry<C>): void {
    const { state } = this.#work
    const validate = Effect.suspend(() => this.#factory.validate!(entry.connection as C))
    const timeout = entry.round?.timeoutMillis ?? state.settings.validateTimeoutMillis
    this.#perform(entry, timeout, validate, (exit, now) => {
      Outcomes.wasValidated(state, entry, Exit.isSuccess(exit) && exit.value === true ? undefined : "invalid", now)
    })
  }

  #reset(entry: State.Entry<C>): void {
    const { state } = this.#work
    const reset = Effect.suspend(() => this.#factory.reset!(entry.connection as C))
    this.#perform(entry, state.settings.resetTimeoutMillis, reset, (exit, now) => {
      Outcomes.wasReset(state, entry, Exit.isSuccess(exit) ? undefined : "reset", now)
    })
  }

  /** Waits until nothing runs on an abandoned connection any more. The pool has no deadline for that. */
  #settle(entry: State.Entry<C>): void {
    const { state } = this.#work
    const settled = Effect.suspend(() => {
      const { settled } = entry.abandonment!.unfinished
      // The runtime drops a fiber that evaluates something that is no Effect. Nothing would end this wait.
      return Effect.isEffect(settled)
        ? settled
        : Effect.die(new TypeError(`factory.unfinished: settled is ${show(settled)}, but must be an Effect`))
    })
    this.#perform(entry, Infinity, settled, (exit, now) => {
      const problem = Exit.isSuccess(exit)
        ? undefined
        : { reason: "abandoned" as const, error: Cause.squash(exit.cause) }
      Outcomes.settled(state, entry, problem, now)
    })
  }

  #close(entry: State.Entry<C>): void {
    const { state } = this.#work
    const { fiber, scope } = entry
    this.#interrupt(entry)
    const close = scope === undefined ? Effect.void : Scope.close(scope, Exit.void)
    // A connect attempt that a shutdown interrupts may still acquire something.
    const all = fiber !== undefined && entry.connectedAt === undefined
      ? Effect.andThen(close, Fiber.await(fiber))
      : close
    this.#perform(entry, state.settings.closeTimeoutMillis, all, (exit, now) => {
      Outcomes.closed(state, entry, Exit.isFailure(exit) ? Cause.squash(exit.cause) : undefined, now)
    })
  }

  /** Runs an operation on a connection, and then `done` with its exit, unless the pool has given up the operation. */
  #perform<A, X>(
    entry: State.Entry<C>,
    timeout: number,
    effect: Effect.Effect<A, X>,
    done: (exit: Exit.Exit<A, X>, now: number) => void
  ): void {
    const work = this.#work
    const { operation } = entry
    Deadlines.add(work.state.deadlines, entry, work.now(), timeout)
    const fiber = work.fork(effect)
    entry.fiber = fiber
    fiber.addObserver((exit) =>
      work.afterQuestion(() => {
        if (entry.operation !== operation) return
        entry.fiber = undefined
        done(exit, work.now())
        work.run()
      })
    )
  }

  /** The driver may report a death at any time: in one of its functions, while it connects, or after the end. */
  #died(entry: State.Entry<C>): void {
    const work = this.#work
    work.afterQuestion(() => {
      if (entry.list === undefined) return
      Outcomes.died(work.state, entry, work.now())
      work.run()
    })
  }

  #connectFailed(entry: State.Entry<C>, reason: ConnectFailure<E>, now: number): void {
    const { state } = this.#work
    const stranded = Outcomes.connectFailed(state, entry, reason, now)
    if (stranded.length > 0) {
      const error = this.connectError(reason)
      state.counters.connectErrors += stranded.length
      for (const waiter of stranded) Line.refuse(state, waiter, error)
    }
    this.#connectFailedWith(reason)
    Lending.settle(state, now)
  }

  connectError(reason: ConnectFailure<E>): ConnectError<E> {
    const { failedAttempts, settings } = this.#work.state
    return new ConnectError<E>({ pool: settings.name, attempts: Math.max(failedAttempts, 1), reason })
  }

  /** The deadline of the operation on the connection has passed. */
  overdue(entry: State.Entry<C>, now: number): void {
    const { state } = this.#work
    if (entry.list !== state.connecting) return Outcomes.overdue(state, entry, now)
    this.#connectFailed(entry, { _tag: "ConnectTimedOut", afterMillis: state.settings.connectTimeoutMillis }, now)
    // What it has acquired is released now. What it acquires later is released at once, because its scope is closed.
    this.#interrupt(entry)
    entry.fiber = undefined
    this.#work.fork(Scope.close(entry.scope!, Exit.void))
  }

  /** Interrupts the operation on the connection. Its finalizers may run at once. */
  #interrupt({ fiber }: State.Entry<C>): void {
    if (fiber !== undefined) this.#work.within(() => fiber.interruptUnsafe())
  }
}

const failureOf = <E>(cause: Cause.Cause<E>): ConnectFailure<E> => {
  const fail = cause.reasons.find(Cause.isFailReason)
  return fail === undefined
    ? { _tag: "ConnectDied", defect: Cause.squash(cause) }
    : { _tag: "ConnectFailed", error: fail.error }
}
