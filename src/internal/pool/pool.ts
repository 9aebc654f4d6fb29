/**
 * A pool: puts its work loop, its operations and its callers together, and has the functions that concern the whole
 * pool: start, check, what an operator does, shutdown.
 */
import { type Context, Deferred, Effect, type Fiber, type Scope } from "effect"
import type { ConnectionFactory } from "../../ConnectionFactory.ts"
import type { ShutdownReport } from "../../ConnectionStats.ts"
import type { AcquireOptions } from "../../PoolConfig.ts"
import type { ConnectError, ConnectFailure, PoolError } from "../../PoolError.ts"
import * as PoolEvent from "../../PoolEvent.ts"
import type { RoundSettings, Settings } from "../options/settings.ts"
import * as Deadlines from "../structures/deadlines.ts"
import { Sizes } from "../structures/sizes.ts"
import * as Asking from "./asking.ts"
import { Callers } from "./callers.ts"
import type { Asked } from "./door.ts"
import * as Groups from "./groups.ts"
import type { CheckResult } from "./health.ts"
import * as Leaving from "./leaving.ts"
import * as Lending from "./lending.ts"
import * as Line from "./line.ts"
import * as Metrics from "./metrics.ts"
import { Operations } from "./operations.ts"
import * as Operator from "./operator.ts"
import * as Outcomes from "./outcomes.ts"
import { Pipeline } from "./pipeline.ts"
import * as Refusals from "./refusals.ts"
import * as Rounds from "./rounds.ts"
import * as Ladder from "./shutdown.ts"
import * as Slow from "./slow.ts"
import * as State from "./state.ts"
import * as View from "./view.ts"
import { guarded, Work } from "./work.ts"

interface Shutdown {
  readonly ladder: Ladder.Ladder
  readonly deferred: Deferred.Deferred<ShutdownReport>
}

export class Pool<C, E> {
  readonly state: State.State<C>
  readonly #work: Work<C>
  readonly #operations: Operations<C, E>
  readonly #callers: Callers<C, E>
  /** An eager start that still waits for its connections. */
  #start: Deferred.Deferred<void, ConnectError<E>> | undefined
  #shutdown: Shutdown | undefined
  readonly #whenShutDown: Array<() => void> = []
  readonly #hideMetrics: () => void

  /** `context` has the services that the factory's effects need. */
  constructor(settings: Settings, factory: ConnectionFactory<C, E, never>, context: Context.Context<never>) {
    const work = new Work<C>(settings, factory, context, {
      operate: (entry) => this.#operations.operate(entry),
      overdue: (entry, now) => this.#operations.overdue(entry, now),
      continueShutdown: (isDue) => this.#continueShutdown(isDue),
      settled: () => this.#endStart()
    })
    this.#work = work
    this.state = work.state
    Slow.begin(work.state)
    this.#operations = new Operations(work, factory, (reason) => this.#failStart(reason))
    this.#callers = new Callers(work)
    this.#hideMetrics = settings.metrics ? Metrics.register(this.state, work.context) : () => {}
    if (settings.metrics && work.state.slow !== undefined) Metrics.showStatements(this.state, work.context)
  }

  // -------------------------------------------------------------------------------------------------------------------
  // Lending
  // -------------------------------------------------------------------------------------------------------------------

  use<A, X, R>(
    f: (connection: C) => Effect.Effect<A, X, R>,
    options: AcquireOptions | undefined
  ): Effect.Effect<A, X | PoolError<E>, R> {
    return this.#callers.use(f, options)
  }

  useSync<A, X>(
    body: (connection: C) => A,
    onThrow: ((thrown: unknown) => X) | undefined,
    options: AcquireOptions | undefined
  ): Effect.Effect<A, X | PoolError<E>> {
    return this.#callers.useSync(body, onThrow, options)
  }

  acquire(options: AcquireOptions | undefined): Effect.Effect<C, PoolError<E>, Scope.Scope> {
    return this.#callers.acquire(options)
  }

  /** Asks for a connection, without a scope, in the present step of a fiber. */
  ask(fiber: Fiber.Fiber<unknown, unknown>, options: AcquireOptions | undefined): Asked<C, E> {
    return Asking.ask(this.#callers, this.#work, fiber, options)
  }

  /** Makes a group: callers whose work the driver may run as one. */
  group<M extends Groups.Member<C>>(driver: Groups.Driver<C, M>): Groups.Group<C, E, M> {
    this.showGroups()
    return new Groups.Group(this.#callers, this.#work, driver)
  }

  /** Has the numbers of the pool tell of groups: of its own, or of those that its driver tells of. */
  showGroups(): void {
    const { state } = this
    state.groups ??= { sizes: new Sizes(), undone: 0 }
    if (state.isMeasured) Metrics.showGroups(state, this.#work.context)
  }

  /** Makes a pipeline: callers whose requests may be sent ahead of their leases. */
  pipeline(): Pipeline<C, E> {
    return new Pipeline(this.#callers, this.#work)
  }

  // -------------------------------------------------------------------------------------------------------------------
  // Start
  // -------------------------------------------------------------------------------------------------------------------

  /** Opens `min` connections. An eager start waits for them. */
  start(): Effect.Effect<void, ConnectError<E>> {
    return Effect.suspend(() => {
      const { settings } = this.state
      const started = Deferred.makeUnsafe<void, ConnectError<E>>()
      if (settings.start === "eager") this.#start = started
      this.#work.change((now) => Lending.settle(this.state, now))
      if (settings.start === "lazy") return Effect.void
      const late = Effect.suspend(() => {
        const reason = this.state.lastFailure as ConnectFailure<E> | undefined
        return Effect.fail(
          this.#operations.connectError(
            reason ?? { _tag: "ConnectTimedOut", afterMillis: settings.acquireTimeoutMillis }
          )
        )
      })
      return Effect.timeoutOrElse(Deferred.await(started), {
        duration: settings.acquireTimeoutMillis,
        orElse: () => late
      })
    })
  }

  /** Ends an eager start once `min` connections are open. */
  #endStart(): void {
    if (this.#start === undefined || State.open(this.state) < this.state.settings.min) return
    Deferred.doneUnsafe(this.#start, Effect.void)
    this.#start = undefined
  }

  /** Fails an eager start after a connect attempt that has failed for good. */
  #failStart(reason: ConnectFailure<E>): void {
    if (this.#start === undefined || Outcomes.isTransient(this.state, reason)) return
    Deferred.doneUnsafe(this.#start, Effect.fail(this.#operations.connectError(reason)))
  }

  // -------------------------------------------------------------------------------------------------------------------
  // What can be seen, and what an operator does
  // -------------------------------------------------------------------------------------------------------------------

  /** Reads the state, after ending the leases whose fiber is gone. */
  look<A>(f: (now: number) => A): A {
    const now = this.#work.now()
    if (!this.#work.isAsking) {
      Line.endLost(this.state, now)
      this.#work.attend()
    }
    return f(now)
  }

  /** The events from now on. Without those of leases, leases cost no more than without a reader. */
  eventStream(readsLeases: boolean) {
    const { events } = this.#work
    return events.stream(() => {
      this.state.isWatched = events.isWatched
      this.state.isNoted = this.state.isMeasured || this.state.isWatched
    }, readsLeases)
  }

  /** Shows the size of a log in the metrics. */
  showLog(log: Metrics.LogSize): void {
    if (this.state.isMeasured && this.state.phase === "open") Metrics.showLog(this.state, this.#work.context, log)
  }

  /** Reports an event of another module of this library. */
  announce(event: PoolEvent.PoolEvent): void {
    if (this.state.phase === "closed") return
    this.#work.change(() => State.report(this.state, event))
  }

  invalidate(connection: C): boolean {
    return this.#work.change((now) => {
      const entries = View.find(this.state, connection)
      for (const entry of entries) Leaving.evict(this.state, entry, "invalidated")
      Lending.settle(this.state, now)
      return entries.length > 0
    })
  }

  recycle(): number {
    return this.#work.change((now) => Operator.recycle(this.state, now))
  }

  pause(): void {
    this.#work.change(() => Operator.pause(this.state))
  }

  resume(): void {
    this.#work.change((now) => Operator.resume(this.state, now))
  }

  resize(min: number, max: number): void {
    this.#work.change((now) => Operator.resize(this.state, min, max, now))
  }

  /** Runs a round: validates all idle connections, and waits until all have answered. */
  check(options: RoundSettings): Effect.Effect<CheckResult> {
    return Effect.callback<CheckResult>((resume) => {
      const { state } = this
      const round = new State.Round<C>(options, () => resume(Effect.succeed(this.#checkResult(round))))
      this.#work.change((now) => {
        if (state.phase === "open") Rounds.beginRound(state, round, now)
        else state.finished.push(round)
      })
      return Effect.sync(() =>
        this.#work.afterQuestion(() => {
          Rounds.cancelRound(state, round, this.#work.now())
          this.#work.run()
        })
      )
    })
  }

  #checkResult({ busy, connected, failed, passed }: State.Round<C>): CheckResult {
    const { state } = this
    const { lastFailure } = state
    const first = state.waiters.head
    const now = this.#work.now()
    return {
      passed,
      failed,
      busy,
      connected,
      isOpen: state.phase === "open",
      isPaused: state.paused,
      connectFailures: lastFailure === undefined ? 0 : state.failures,
      lastConnectFailure: lastFailure,
      longestWaitMillis: first === undefined ? 0 : now - first.timedFrom,
      abandoned: View.abandonedForLong(state, now),
      acquireTimeoutMillis: state.settings.acquireTimeoutMillis,
      stats: View.stats(state)
    }
  }

  // -------------------------------------------------------------------------------------------------------------------
  // Shutdown
  // -------------------------------------------------------------------------------------------------------------------

  /** Begins the shutdown, unless it has begun, and waits for its end. Interrupting it interrupts the wait only. */
  shutdown(drainMillis: number): Effect.Effect<ShutdownReport> {
    return Effect.suspend(() => {
      this.#shutdown ??= this.#beginShutdown(drainMillis)
      return Deferred.await(this.#shutdown.deferred)
    })
  }

  /** Calls a function, which must not throw, in the step in which the shutdown begins. */
  whenShutDown(f: () => void): void {
    this.#whenShutDown.push(f)
  }

  #beginShutdown(drainMillis: number): Shutdown {
    const { state } = this
    const work = this.#work
    work.assertOutside()
    Line.endLost(state, work.now())
    const ladder = new Ladder.Ladder(state.inUse.length, state.counters.closeTimeouts)
    const shutdown = this.#shutdown = { ladder, deferred: Deferred.makeUnsafe<ShutdownReport>() }
    for (const f of this.#whenShutDown) f()
    // An eager start still waits only if its scope was closed, so it is interrupted.
    if (this.#start !== undefined) Deferred.doneUnsafe(this.#start, Effect.interrupt)
    work.change((now) => {
      Deadlines.add(state.deadlines, ladder, now, drainMillis)
      const waiters = Operator.drain(state)
      const error = Refusals.closedError(state)
      for (const waiter of waiters) {
        state.counters.refused++
        Line.refuse(state, waiter, error)
      }
    })
    return shutdown
  }

  /** Continues the shutdown. Answers whether that changed anything. */
  #continueShutdown(isDue: boolean): boolean {
    const { deferred, ladder } = this.#shutdown!
    const { step } = ladder
    const interrupted = Ladder.descend(this.state, ladder, this.#work.now(), isDue)
    for (const fiber of interrupted) guarded(() => fiber.interruptUnsafe())
    if (ladder.step === step) return false
    if (ladder.step === "done") this.#end(ladder, deferred)
    return true
  }

  #end(ladder: Ladder.Ladder, deferred: Shutdown["deferred"]): void {
    const { abandoned, returned, interrupted, revoked } = ladder
    this.#work.stopAlarm()
    this.state.outbox.push(PoolEvent.Closed())
    this.#work.publish()
    this.#work.events.end()
    this.#hideMetrics()
    const closeTimeouts = this.state.counters.closeTimeouts - ladder.closeTimeoutsBefore
    Deferred.doneUnsafe(deferred, Effect.succeed({ returned, interrupted, revoked, abandoned, closeTimeouts }))
  }
}
