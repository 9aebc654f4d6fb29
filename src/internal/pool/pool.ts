/**
 * Where the state of a pool meets fibers, scopes and the clock: it starts what the state wants started, wakes whom the
 * state wants woken, and tells the state how it ended. It decides nothing itself.
 */
import { Cause, Context, Deferred, Effect, Exit, Fiber, Random, Scheduler, Scope, Tracer } from "effect"
import { type ConnectionFactory, Died } from "../../ConnectionFactory.ts"
import type { CheckReport } from "../../HealthReport.ts"
import {
  AcquireTimeoutError,
  ConnectError,
  type ConnectFailure,
  failureCause,
  type Holder,
  type Occupancy,
  PoolClosedError,
  type PoolConfigError,
  type PoolError,
  QueueFullError,
  SelfDeadlockError
} from "../../PoolError.ts"
import * as PoolEvent from "../../PoolEvent.ts"
import * as Calls from "../options/call.ts"
import * as Runtime from "../runtime.ts"
import { Step } from "../step.ts"
import * as AsyncContext from "../structures/asyncContext.ts"
import * as Deadlines from "../structures/deadlines.ts"
import * as LinkedList from "../structures/linkedList.ts"
import * as Alarm from "../structures/timer.ts"
import { Events } from "./events.ts"
import { HeldByFiber } from "./heldByFiber.ts"
import * as Leaving from "./leaving.ts"
import * as Lending from "./lending.ts"
import * as Line from "./line.ts"
import { logOf } from "./log.ts"
import * as Metrics from "./metrics.ts"
import * as Operator from "./operator.ts"
import * as Outcomes from "./outcomes.ts"
import * as Rounds from "./rounds.ts"
import type { Settings } from "./settings.ts"
import * as Ladder from "./shutdown.ts"
import * as Spans from "./spans.ts"
import * as State from "./state.ts"
import * as Upkeep from "./upkeep.ts"
import * as View from "./view.ts"

export interface ShutdownReport {
  readonly returned: number
  readonly interrupted: number
  readonly revoked: number
  readonly abandoned: number
}

/** Callers woken in one turn of the event loop; others get theirs before the next. */
const wakesPerTurn = 64

export class Pool<C, E> {
  readonly state: State.State<C>
  readonly events = new Events()
  readonly #factory: ConnectionFactory<C, E, never>
  /** Runs what belongs to the pool, and not to the caller who happened to cause it, in the pool's own context. */
  readonly #within = AsyncContext.capture()
  readonly #fork: <A, X>(effect: Effect.Effect<A, X>) => Fiber.Fiber<A, X>
  readonly #dispatcher: Scheduler.SchedulerDispatcher
  readonly #alarm: Alarm.Alarm
  #isRunning = false
  #isAsking = false
  readonly #postponed: Array<() => void> = []
  #isScheduled = false
  /** Callers woken since the event loop last had its turn. */
  #wakes = 0
  #start: Deferred.Deferred<void, ConnectError<E>> | undefined
  #shutdown: Shutdown | undefined
  readonly #hideMetrics: () => void

  /** `context` is what the factory's effects need. */
  constructor(settings: Settings, factory: ConnectionFactory<C, E, never>, context: Context.Context<never>) {
    // Spans of the factory's effects belong to the pool, not under the span that happened to build it.
    const own = Context.omit(Tracer.ParentSpan)(context) as Context.Context<never>
    this.#factory = factory
    const fork = Effect.runForkWith(own)
    this.#fork = (effect) => this.#within(() => fork(effect))
    this.#dispatcher = Context.get(own, Scheduler.Scheduler).makeDispatcher()
    const random = Context.get(own, Random.Random)
    const { beginLease } = factory
    this.#alarm = Alarm.make(own, this.#ring)
    this.now = this.#alarm.now
    this.state = new State.State<C>(settings, {
      isAlive: this.#asked(factory.isAlive),
      needsReset: this.#asked(factory.needsReset),
      isInTransaction: this.#asked(factory.isInTransaction),
      beginLease: this.#asked(beginLease && ((connection) => beginLease(connection, settings.name))),
      endLease: this.#asked(factory.endLease),
      judge: this.#asked(factory.judge),
      isTransient: this.#asked(factory.isTransient as ((error: unknown) => boolean) | undefined),
      validates: factory.validate !== undefined,
      resets: factory.reset !== undefined
    }, () => random.nextDoubleUnsafe())
    this.#hideMetrics = settings.metrics ? Metrics.register(this.state, own) : () => {}
  }

  readonly now: () => number

  // -------------------------------------------------------------------------------------------------------------------
  // Questions to the driver: they are asked in the middle of a change of the state, and nothing may come between
  // -------------------------------------------------------------------------------------------------------------------

  #asked<A, B>(question: ((value: A) => B) | undefined): ((value: A) => B) | undefined {
    return question && ((value) => {
      this.#isAsking = true
      try {
        return question(value)
      } finally {
        this.#isAsking = false
      }
    })
  }

  /** Whoever uses the pool from inside a question gets a defect. */
  #checkOutside(): void {
    if (this.#isAsking) throw new Error("a function of the connection factory used the pool it works for")
  }

  /** What happens to happen during a question, the end of a lease or of an operation, is heard of after it. */
  #outside(f: () => void): void {
    if (this.#isAsking) {
      this.#postponed.push(f)
      this.state.isPending = true
    } else f()
  }

  // -------------------------------------------------------------------------------------------------------------------
  // Lending
  // -------------------------------------------------------------------------------------------------------------------

  use<A, X, R>(
    f: (connection: C) => Effect.Effect<A, X, R>,
    options: Calls.CallOptions | undefined
  ): Effect.Effect<A, X | PoolError<E>, R> {
    return new Use(this, f, options)
  }

  useSync<A, X>(
    body: (connection: C) => A,
    onThrow: ((thrown: unknown) => X) | undefined,
    options: Calls.CallOptions | undefined
  ): Effect.Effect<A, X | PoolError<E>> {
    return new UseSync(this, body, onThrow, options)
  }

  /** Takes a connection and runs a synchronous body with it, all in one step; or waits for one. */
  runSync<A, X>(
    claim: Claim<C, E, A, X, never>,
    body: (connection: C) => A,
    onThrow: ((thrown: unknown) => X) | undefined
  ): Effect.Effect<A, X | PoolError<E>> {
    const { state } = this
    this.#checkOutside()
    const mayTake = state.idle.length > 0 && state.waiters.length === 0 && !state.paused
    const refused = mayTake ? claim.resolve() : undefined
    if (refused !== undefined) return Effect.fail(refused)
    const now = this.now()
    if (!mayTake || !Lending.take(state, claim, now)) {
      // It asks once what ends its lease is installed: see `Use`. Until then it has no place in line.
      claim.f = (connection) => sync(connection, body, onThrow)
      // It may have found one that has to be closed.
      this.#attend()
      return secured(claim)
    }
    // All in one step, which nothing can interrupt: no finalizer is needed. Nor is another look at the clock, unless
    // somebody wants to know: the connection counts as idle from when it was taken.
    const exit = sync(claim.entry!.lent!, body, onThrow)
    const failure = failureIn(exit)
    if (Lending.isTimed(state)) {
      const ended = this.now()
      state.syncMillis = ended - now
      Lending.end(state, claim, ended, failure)
    } else Lending.end(state, claim, now, failure)
    this.#attend()
    return exit
  }

  acquire(options: Calls.CallOptions | undefined): Effect.Effect<C, PoolError<E>, Scope.Scope> {
    return Effect.withFiber((fiber) => {
      const { idle, paused, waiters } = this.state
      const scope = Context.getUnsafe(fiber.context, Scope.Scope)
      const mayTake = idle.length > 0 && waiters.length === 0 && !paused && scope.state._tag !== "Closed"
      if (!mayTake) return this.#acquire(scope, options)
      this.#checkOutside()
      const claim = new ScopedClaim<C, E>(this, fiber, options, scope)
      const refused = claim.resolve()
      if (refused !== undefined) return Effect.fail(refused)
      // All in one step: an acquire that fails leaves nothing in the scope, one that succeeds cannot be lost.
      let isSecured = false
      if (Lending.take(this.state, claim, this.now())) {
        isSecured = Runtime.addFinalizer(scope, fiber, (exit) => this.#ended(claim, exit))
        if (!isSecured) this.end(claim)
      }
      const lent = claim.entry?.lent
      this.#attend()
      if (!isSecured) return this.#acquire(scope, options)
      claim.watch()
      return Exit.succeed(lent!)
    })
  }

  /** The same for a caller that will have to wait, or may be refused. */
  #acquire(scope: Scope.Scope, options: Calls.CallOptions | undefined): Effect.Effect<C, PoolError<E>> {
    return Effect.withFiber((fiber) => {
      const claim = new ScopedClaim<C, E>(this, fiber, options, scope)
      let own: Scope.Closeable | undefined
      return Effect.onExitPrimitive(
        Effect.suspend(() => {
          // A scope of its own, so that an acquire that fails leaves nothing behind in the caller's.
          own = Scope.forkUnsafe(scope)
          return Effect.andThen(
            // One that still waits goes on waiting, and returns what it gets at once.
            Scope.addFinalizerExit(own, (exit) => claim.stage === "held" ? this.#ended(claim, exit) : Exit.void),
            claim
          )
        }),
        (exit) => {
          if (Exit.isSuccess(exit) && own!.state._tag !== "Closed") {
            claim.watch()
            return undefined
          }
          this.end(claim)
          return own === undefined ? undefined : Scope.closeUnsafe(own, exit)
        }
      )
    })
  }

  /**
   * The end of a lease, or of the attempt to get one; once is enough, and more does no harm. `exit` is how the effect
   * ended that had the lease, or the scope.
   */
  end(lease: State.Lease<C>, exit?: Exit.Exit<unknown, unknown>): undefined {
    if (lease.stage === "ended") return
    if (this.#isAsking) this.#outside(() => this.end(lease, exit))
    else {
      Lending.end(this.state, lease, this.now(), exit && failureIn(exit))
      this.#attend()
    }
  }

  #ended(claim: ScopedClaim<C, E>, exit: Exit.Exit<unknown, unknown>): Effect.Effect<void> {
    claim.unwatch()
    this.end(claim, exit)
    return Exit.void
  }

  /** The end of a lease whose fiber was dropped, and will not return it. */
  lose(lease: State.Lease<C>): void {
    this.#outside(() => {
      Line.lose(this.state, lease, this.now())
      this.#attend()
    })
  }

  /**
   * Takes a connection and runs what is to be done with it, or joins the line. This is the step in which a caller asks:
   * nothing comes between that and its place in line.
   */
  begin<A, X, R>(claim: Claim<C, E, A, X, R>): Effect.Effect<A, X | PoolError<E>, R> {
    this.#checkOutside()
    const refused = claim.resolve()
    if (refused !== undefined) return Effect.fail(refused)
    const now = this.now()
    if (!Lending.take(this.state, claim, now)) return this.#wait(claim, now)
    const lent = claim.entry!.lent!
    this.#attend()
    return run(claim.f!, lent)
  }

  /** Goes on with a caller who was granted a connection. */
  goOn<A, X, R>(claim: Claim<C, E, A, X, R>): Effect.Effect<A, X | PoolError<E>, R> {
    // A shutdown may have taken back what it was granted.
    if (claim.stage !== "granted") return Effect.fail(this.#closedError())
    Lending.hold(this.state, claim)
    const lent = claim.entry!.lent!
    this.#attend()
    return run(claim.f!, lent)
  }

  #wait<A, X, R>(claim: Claim<C, E, A, X, R>, now: number): Effect.Effect<A, X | PoolError<E>, R> {
    const { state } = this
    const refusal = this.#refusal(claim, now)
    if (refusal !== undefined) {
      Line.turnAway(state, claim)
      this.#attend()
      return Effect.fail(refusal)
    }
    const caller = new Caller<C, E, A, X, R>(claim)
    Line.join(state, caller, now)
    Lending.settle(state, now)
    if (state.isPending) this.#run()
    else this.#setAlarm()
    // The one who does not want to wait at all.
    if (claim.options?.timeoutMillis === 0 && claim.stage === "waiting") {
      this.#timeOut([caller], now)
      this.#run()
    }
    if (!Spans.isTraced(claim.fiber)) return caller.outcome()
    // The span ends with the wait, before what is done with the connection.
    const f = claim.f!
    const wait = claim as Claim<C, E, unknown, X, R> as Claim<C, E, C, never, never>
    wait.f = Exit.succeed
    const outcome = Effect.suspend(() => (wait.waiter as Caller<C, E, C, never, never>).outcome())
    return Effect.flatMap(Spans.acquire(state.settings.name, outcome), (connection) => run(f, connection))
  }

  #closedError(): PoolClosedError {
    const { phase, settings } = this.state
    return new PoolClosedError({ pool: settings.name, phase: phase === "closed" ? "closed" : "shutting down" })
  }

  /** Why the caller may not even wait, if it may not. */
  #refusal(lease: State.Lease<C>, now: number): PoolError<E> | undefined {
    const { state } = this
    const pool = state.settings.name
    if (state.phase !== "open") return this.#closedError()
    Line.endLostBeforeWait(state, now)
    if (Line.isSelfDeadlock(state, lease)) {
      return new SelfDeadlockError({ pool, fiber: lease.fiber.id, occupancy: View.occupancy(state) })
    }
    if (state.waiters.length >= state.settings.maxWaiting) {
      State.report(state, PoolEvent.Refused({ fiber: lease.fiber.id, waiting: state.waiters.length }))
      return new QueueFullError({
        pool,
        maxWaiting: state.settings.maxWaiting,
        occupancy: View.occupancy(state)
      })
    }
    return undefined
  }

  /** Ends the wait of those whose deadline has passed. Each is told where it stood before any of them left the line. */
  #timeOut(late: ReadonlyArray<State.Waiter<C>>, now: number): void {
    const { state } = this
    const waiting = late.filter((waiter) => waiter.lease.stage === "waiting")
    if (waiting.length === 0) return
    const numbers = this.#numbers(now)
    const leases = Line.leasesByFiber(state)
    // Made by a timer, an error has no stack worth its price.
    const errors = withoutStack(() =>
      waiting.map((waiter) =>
        new AcquireTimeoutError({
          pool: state.settings.name,
          phase: View.phaseOf(state, waiter),
          waitedMillis: now - waiter.timedFrom,
          timeoutMillis: State.timeoutOf(state, waiter.lease),
          ...numbers,
          ...heldBy(leases.get(waiter.lease.fiber))
        })
      )
    )
    state.counters.timeouts += waiting.length
    for (const [index, waiter] of waiting.entries()) {
      const error = errors[index]!
      State.report(
        state,
        PoolEvent.AcquireTimedOut({ fiber: waiter.lease.fiber.id, waitedMillis: error.waitedMillis })
      )
      Line.refuse(state, waiter, error)
    }
  }

  /** What every timeout of the same moment reports. */
  #numbers(now: number): Numbers {
    const { lastFailure } = this.state
    return {
      occupancy: View.occupancy(this.state),
      holders: View.holders(this.state, now, 5),
      ...(lastFailure === undefined ? undefined : { lastConnectError: failureCause(lastFailure) })
    }
  }

  // -------------------------------------------------------------------------------------------------------------------
  // Work
  // -------------------------------------------------------------------------------------------------------------------

  /** After a change of the state that usually leaves nothing to do. */
  #attend(): void {
    if (this.state.isPending) this.#run()
  }

  /**
   * Does what the state has left to do. What that causes is done by the same loop, never by one inside it: a thousand
   * callers who each wake the next still need one stack frame. Nor do they keep the event loop: after some of them the
   * rest wait for its next turn.
   */
  #run(): void {
    if (this.#isRunning) return
    this.#isRunning = true
    try {
      this.#work()
    } finally {
      this.#isRunning = false
    }
    this.state.isPending = false
    this.#checkStart()
    this.#setAlarm()
  }

  #work(): void {
    const { state } = this
    for (;;) {
      if (this.#postponed.length > 0) {
        this.#postponed.shift()!()
        continue
      }
      if (state.starting.length > 0) {
        const entry = state.starting.shift()!
        entry.isStarting = false
        this.#operate(entry)
        continue
      }
      if (state.outbox.length > 0) {
        this.#publish()
        continue
      }
      if (state.finished.length > 0) {
        const round = state.finished.shift()!
        guarded(() => round.resume())
        continue
      }
      if (this.#shutdown !== undefined && this.#descend(this.#shutdown, false)) continue
      if (state.ready.length === 0) break
      if (this.#wakes === wakesPerTurn) {
        this.#runLater()
        break
      }
      this.#wakes++
      wake(LinkedList.shift(state.ready)!)
    }
  }

  #runLater(): void {
    if (this.#isScheduled) return
    this.#isScheduled = true
    const task = () => {
      this.#isScheduled = false
      this.#wakes = 0
      this.#run()
    }
    this.#within(() => this.#dispatcher.scheduleTask(task, 0))
  }

  #setAlarm(): void {
    const { closing, connecting, resetting, validating, waiters } = this.state
    const isAwaited = waiters.length + connecting.length + validating.length + resetting.length + closing.length > 0 ||
      this.#shutdown !== undefined
    this.#alarm.set(Upkeep.nextDue(this.state, this.now), isAwaited)
  }

  readonly #ring = (now: number): void => {
    this.#isRunning = true
    try {
      this.#lookAfter(now)
    } finally {
      this.#isRunning = false
    }
    this.#run()
  }

  /** Does what it is time for. */
  #lookAfter(now: number): void {
    const { state } = this
    if (Deadlines.nextDue(state.deadlines) <= now) Line.endLost(state, now)
    const late: Array<State.Waiter<C>> = []
    for (;;) {
      const due = Deadlines.takeDue(state.deadlines, now)
      if (due === undefined) break
      if (due instanceof State.Waiter) late.push(due)
      else if (due instanceof State.Entry) this.#overdue(due, now)
      else this.#descend(this.#shutdown!, true)
    }
    this.#timeOut(late, now)
    Upkeep.upkeep(state, now)
    Lending.settle(state, now)
  }

  #publish(): void {
    const events = this.state.outbox
    this.state.outbox = []
    for (const event of events) {
      this.events.publish(event)
      const log = logOf(event)
      if (log !== undefined) this.#fork(Effect.annotateLogs(log, "pool", this.state.settings.name))
    }
  }

  // -------------------------------------------------------------------------------------------------------------------
  // Operations on connections
  // -------------------------------------------------------------------------------------------------------------------

  #operate(entry: State.Entry<C>): void {
    const { settings } = this.state
    switch (entry.list) {
      case this.state.connecting: {
        const scope = Scope.makeUnsafe()
        entry.scope = scope
        const attempt = Effect.provideService(this.#factory.connect, Died, () => this.#died(entry))
        return this.#perform(
          entry,
          settings.connectTimeout,
          Spans.connect(settings.name, entry.id, Scope.provide(attempt, scope)),
          (exit, now) => {
            if (Exit.isSuccess(exit)) {
              Outcomes.connected(this.state, entry, exit.value, now)
            } else this.#connectFailed(entry, failureOf(exit.cause), now)
          }
        )
      }
      case this.state.validating: {
        const validate = Effect.suspend(() => this.#factory.validate!(entry.connection as C))
        const timeout = entry.round?.timeoutMillis ?? settings.validateTimeout
        return this.#perform(entry, timeout, validate, (exit, now) => {
          Outcomes.wasValidated(this.state, entry, Exit.isSuccess(exit) && exit.value === true, now)
        })
      }
      case this.state.resetting: {
        const reset = Effect.suspend(() => this.#factory.reset!(entry.connection as C))
        return this.#perform(entry, settings.resetTimeout, reset, (exit, now) => {
          Outcomes.wasReset(this.state, entry, Exit.isSuccess(exit), now)
        })
      }
      case this.state.closing:
        return this.#disconnect(entry)
    }
  }

  /** Runs an operation on a connection and has `done` tell the state how it ended, unless the pool gave up on it. */
  #perform<A, X>(
    entry: State.Entry<C>,
    timeout: number,
    effect: Effect.Effect<A, X>,
    done: (exit: Exit.Exit<A, X>, now: number) => void
  ): void {
    const { operation } = entry
    Deadlines.add(this.state.deadlines, entry, this.now(), timeout)
    const fiber = this.#fork(effect)
    entry.fiber = fiber
    fiber.addObserver((exit) =>
      this.#outside(() => {
        if (entry.operation !== operation) return
        entry.fiber = undefined
        done(exit, this.now())
        this.#run()
      })
    )
  }

  /** The driver may say so at any moment: while it is being asked something, while it connects, after the end. */
  #died(entry: State.Entry<C>): void {
    this.#outside(() => {
      if (entry.list === undefined) return
      Outcomes.died(this.state, entry, this.now())
      this.#run()
    })
  }

  #connectFailed(entry: State.Entry<C>, reason: ConnectFailure<E>, now: number): void {
    const { state } = this
    const stranded = Outcomes.connectFailed(state, entry, reason, now)
    if (stranded.length > 0) {
      const error = this.#connectError(reason)
      state.counters.connectErrors += stranded.length
      for (const waiter of stranded) Line.refuse(state, waiter, error)
    }
    if (this.#start !== undefined && !Outcomes.isTransient(state, reason)) {
      Deferred.doneUnsafe(this.#start, Effect.fail(this.#connectError(reason)))
    }
    Lending.settle(state, now)
  }

  #connectError(reason: ConnectFailure<E>): ConnectError<E> {
    return new ConnectError<E>({
      pool: this.state.settings.name,
      attempts: Math.max(this.state.failedAttempts, 1),
      reason
    })
  }

  #overdue(entry: State.Entry<C>, now: number): void {
    if (entry.list !== this.state.connecting) return Outcomes.overdue(this.state, entry, now)
    this.#connectFailed(entry, { _tag: "ConnectTimedOut", afterMillis: this.state.settings.connectTimeout }, now)
    // Whatever it has acquired is released now; what it may still acquire, into a closed scope, as soon as it does.
    this.#interrupt(entry)
    entry.fiber = undefined
    this.#fork(Scope.close(entry.scope!, Exit.void))
  }

  /** Its finalizers may run at once. */
  #interrupt({ fiber }: State.Entry<C>): void {
    if (fiber !== undefined) this.#within(() => fiber.interruptUnsafe())
  }

  #disconnect(entry: State.Entry<C>): void {
    const { fiber, scope } = entry
    this.#interrupt(entry)
    const close = scope === undefined ? Effect.void : Scope.close(scope, Exit.void)
    // An attempt that a shutdown cuts short may still be about to acquire something.
    const all = fiber !== undefined && entry.connectedAt === undefined
      ? Effect.andThen(close, Fiber.await(fiber))
      : close
    this.#perform(entry, this.state.settings.closeTimeout, all, (exit, now) => {
      Outcomes.closed(this.state, entry, Exit.isFailure(exit) ? Cause.squash(exit.cause) : undefined, now)
    })
  }

  // -------------------------------------------------------------------------------------------------------------------
  // Start, operations, end
  // -------------------------------------------------------------------------------------------------------------------

  /** Opens `min` connections; an eager start waits for them. */
  start(): Effect.Effect<void, ConnectError<E>> {
    return Effect.suspend(() => {
      const { settings } = this.state
      const started = Deferred.makeUnsafe<void, ConnectError<E>>()
      if (settings.start === "eager") this.#start = started
      this.#change((now) => Lending.settle(this.state, now))
      if (settings.start === "lazy") return Effect.void
      const late = Effect.suspend(() => {
        const reason = this.state.lastFailure as ConnectFailure<E> | undefined
        return Effect.fail(
          this.#connectError(reason ?? { _tag: "ConnectTimedOut", afterMillis: settings.acquireTimeout })
        )
      })
      return Effect.timeoutOrElse(Deferred.await(started), { duration: settings.acquireTimeout, orElse: () => late })
    })
  }

  #checkStart(): void {
    if (this.#start === undefined || State.open(this.state) < this.state.settings.min) return
    Deferred.doneUnsafe(this.#start, Effect.void)
    this.#start = undefined
  }

  #change<A>(f: (now: number) => A): A {
    this.#checkOutside()
    const result = f(this.now())
    this.#run()
    return result
  }

  /** Reads the state, without leases that nobody has any more. */
  look<A>(f: (now: number) => A): A {
    const now = this.now()
    if (!this.#isAsking) {
      Line.endLost(this.state, now)
      this.#attend()
    }
    return f(now)
  }

  invalidate(connection: C): boolean {
    return this.#change((now) => {
      const entries = View.find(this.state, connection)
      for (const entry of entries) Leaving.evict(this.state, entry, "invalidated")
      Lending.settle(this.state, now)
      return entries.length > 0
    })
  }

  recycle(): number {
    return this.#change((now) => Operator.recycle(this.state, now))
  }

  pause(): void {
    this.#change(() => Operator.pause(this.state))
  }

  resume(): void {
    this.#change((now) => Operator.resume(this.state, now))
  }

  resize(min: number, max: number): void {
    this.#change((now) => Operator.resize(this.state, min, max, now))
  }

  /** Has all idle connections checked. The answer comes when all have answered. */
  check(options: State.RoundOptions): Effect.Effect<CheckReport> {
    return Effect.callback<CheckReport>((resume) => {
      const { state } = this
      const round = new State.Round<C>(options, () => resume(Effect.succeed(this.#checkReport(round))))
      this.#change((now) => {
        if (state.phase === "open") Rounds.beginRound(state, round, now)
        else state.finished.push(round)
      })
      return Effect.sync(() =>
        this.#outside(() => {
          Rounds.cancelRound(state, round, this.now())
          this.#run()
        })
      )
    })
  }

  #checkReport({ busy, connected, failed, passed }: State.Round<C>): CheckReport {
    const { state } = this
    const { lastFailure } = state
    const first = state.waiters.head
    return {
      passed,
      failed,
      busy,
      connected,
      isOpen: state.phase === "open",
      isPaused: state.paused,
      connectFailures: lastFailure === undefined ? 0 : state.failures,
      lastConnectFailure: lastFailure,
      longestWaitMillis: first === undefined ? 0 : this.now() - first.timedFrom,
      acquireTimeoutMillis: state.settings.acquireTimeout,
      stats: View.stats(state)
    }
  }

  /** Reports what was found out elsewhere. */
  announce(event: PoolEvent.PoolEvent): void {
    if (this.state.phase === "closed") return
    this.#change(() => State.report(this.state, event))
  }

  readonly eventStream = this.events.stream(() => {
    this.state.isWatched = this.events.isWatched
    this.state.isNoted = this.state.isMeasured || this.state.isWatched
  })

  /** Begins the shutdown, unless it has begun, and waits for its end. Whoever waits may be interrupted; it goes on. */
  shutdown(drainMillis: number): Effect.Effect<ShutdownReport> {
    return Effect.suspend(() => {
      const { state } = this
      if (this.#shutdown === undefined) {
        this.#checkOutside()
        Line.endLost(state, this.now())
        const ladder = new Ladder.Ladder(state.inUse.length, state.counters.abandoned)
        this.#shutdown = { ladder, deferred: Deferred.makeUnsafe() }
        // Whoever still waits for the start has lost the scope that the pool was to live in.
        if (this.#start !== undefined) Deferred.doneUnsafe(this.#start, Effect.interrupt)
        this.#change((now) => {
          Deadlines.add(state.deadlines, ladder, now, drainMillis)
          const waiters = Operator.drain(state)
          const error = this.#closedError()
          for (const waiter of waiters) {
            state.counters.refused++
            Line.refuse(state, waiter, error)
          }
        })
      }
      return Deferred.await(this.#shutdown.deferred)
    })
  }

  /** Goes on with the shutdown, and answers whether that changed anything. */
  #descend(shutdown: Shutdown, isDue: boolean): boolean {
    const { deferred, ladder } = shutdown
    const { step } = ladder
    const interrupted = Ladder.descend(this.state, ladder, this.now(), isDue)
    for (const fiber of interrupted) guarded(() => fiber.interruptUnsafe())
    if (ladder.step === step) return false
    if (ladder.step === "done") {
      this.#alarm.stop()
      this.state.outbox.push(PoolEvent.Closed())
      this.#publish()
      this.events.end()
      this.#hideMetrics()
      const abandoned = this.state.counters.abandoned - ladder.abandonedBefore
      Deferred.doneUnsafe(
        deferred,
        Effect.succeed({
          returned: ladder.returned,
          interrupted: ladder.interrupted,
          revoked: ladder.revoked,
          abandoned
        })
      )
    }
    return true
  }
}

/**
 * The end of the lease is installed before the lease begins. The other way round there is a step between the two, where
 * an interrupt, or a fiber that has run for its turn, would lose the connection.
 */
class Use<C, E, A, X, R> extends Step<A, X | PoolError<E>, R> {
  readonly #pool: Pool<C, E>
  readonly #f: (connection: C) => Effect.Effect<A, X, R>
  readonly #options: Calls.CallOptions | undefined

  constructor(
    pool: Pool<C, E>,
    f: (connection: C) => Effect.Effect<A, X, R>,
    options: Calls.CallOptions | undefined
  ) {
    super()
    this.#pool = pool
    this.#f = f
    this.#options = options
  }

  step(fiber: Fiber.Fiber<unknown, unknown>): Effect.Effect<A, X | PoolError<E>, R> {
    return secured(new Claim(this.#pool, this.#f, fiber, this.#options))
  }
}

const secured = <C, E, A, X, R>(claim: Claim<C, E, A, X, R>): Effect.Effect<A, X | PoolError<E>, R> =>
  Effect.onExitPrimitive(claim, (exit) => claim.pool.end(claim, exit))

class UseSync<C, E, A, X> extends Step<A, X | PoolError<E>, never> {
  readonly #pool: Pool<C, E>
  readonly #body: (connection: C) => A
  readonly #onThrow: ((thrown: unknown) => X) | undefined
  readonly #options: Calls.CallOptions | undefined

  constructor(
    pool: Pool<C, E>,
    body: (connection: C) => A,
    onThrow: ((thrown: unknown) => X) | undefined,
    options: Calls.CallOptions | undefined
  ) {
    super()
    this.#pool = pool
    this.#body = body
    this.#onThrow = onThrow
    this.#options = options
  }

  step(fiber: Fiber.Fiber<unknown, unknown>): Effect.Effect<A, X | PoolError<E>> {
    const claim = new Claim<C, E, A, X, never>(this.#pool, undefined, fiber, this.#options)
    return this.#pool.runSync(claim, this.#body, this.#onThrow)
  }
}

/**
 * A lease with what is to be done under it. It is an effect, evaluated when the caller asks, and again when its wait is
 * over: so a line, which may be long, needs little else.
 */
class Claim<C, E, A, X, R> extends Step<A, X | PoolError<E>, R> implements State.Lease<C> {
  readonly pool: Pool<C, E>
  /** What is to be done with the connection; given later where that is seldom needed. */
  f: ((connection: C) => Effect.Effect<A, X, R>) | undefined
  readonly fiber: Fiber.Fiber<unknown, unknown>
  readonly #asked: Calls.CallOptions | undefined
  options: State.LeaseOptions | undefined = undefined
  readonly span: Tracer.AnySpan | undefined
  stage: State.Stage = "new"
  entry: State.Entry<C> | undefined = undefined
  waiter: State.Waiter<C> | undefined = undefined

  constructor(
    pool: Pool<C, E>,
    f: ((connection: C) => Effect.Effect<A, X, R>) | undefined,
    fiber: Fiber.Fiber<unknown, unknown>,
    options: Calls.CallOptions | undefined
  ) {
    super()
    this.pool = pool
    this.f = f
    this.fiber = fiber
    this.#asked = options
    this.span = fiber.cache.span
  }

  /** Reads the options, in the step in which the caller asks; gives what it is refused with if they are invalid. */
  resolve(): PoolConfigError | undefined {
    return this.#asked === undefined ? undefined : this.#resolve(this.#asked)
  }

  #resolve(asked: Calls.CallOptions): PoolConfigError | undefined {
    const options = Calls.resolve(this.pool.state.settings.name, asked)
    if (Calls.isRefused(options)) return options
    this.options = options
    return undefined
  }

  // Not fields: there is one of these for each caller in line.
  get scope(): Scope.Scope | undefined {
    return undefined
  }

  get surrounding(): Scope.Scope | undefined {
    return Context.getOrUndefined(this.fiber.context, Scope.Scope)
  }

  step(): Effect.Effect<A, X | PoolError<E>, R> {
    return this.stage === "new" ? this.pool.begin(this) : this.pool.goOn(this)
  }
}

class ScopedClaim<C, E> extends Claim<C, E, C, never, never> {
  readonly #scope: Scope.Scope
  readonly #isOfFiber: boolean
  #unwatch: (() => void) | undefined = undefined

  constructor(
    pool: Pool<C, E>,
    fiber: Fiber.Fiber<unknown, unknown>,
    options: Calls.CallOptions | undefined,
    scope: Scope.Scope
  ) {
    super(pool, Exit.succeed, fiber, options)
    this.#scope = scope
    this.#isOfFiber = fiber.getRef(HeldByFiber)
  }

  override get scope(): Scope.Scope | undefined {
    return this.#isOfFiber ? undefined : this.#scope
  }

  /** Ends the lease should its fiber be dropped, which then closes no scope. */
  watch(): void {
    this.#unwatch = this.fiber.addObserver((exit) => {
      if (this.stage === "held" && Runtime.wasDropped(this.fiber, exit)) this.pool.lose(this)
    })
  }

  unwatch(): void {
    this.#unwatch?.()
    this.#unwatch = undefined
  }
}

/** A caller in line. A line may be long: while it waits, this holds no closure but the fiber's own. */
class Caller<C, E, A, X, R> extends State.Waiter<C> {
  declare readonly lease: Claim<C, E, A, X, R>
  #go: ((effect: Effect.Effect<A, X | PoolError<E>, R>) => void) | undefined = undefined
  #error: PoolError<E> | undefined = undefined

  /**
   * What became of the wait, or the rest of it. No cleanup here: an interrupt reaches the end of the lease, which leaves
   * the line.
   */
  outcome(): Effect.Effect<A, X | PoolError<E>, R> {
    if (this.#error !== undefined) return Effect.fail(this.#error)
    if (this.lease.stage !== "waiting") return this.lease
    return Effect.callback<A, X | PoolError<E>, R>((resume) => {
      // The wait may be over already: between joining the line and this, the fiber may have let others go first.
      if (this.lease.stage === "waiting") this.#go = resume
      else resume(this.outcome())
    })
  }

  refuse(error: PoolError<unknown>): void {
    this.#error = error as PoolError<E>
  }

  resume(): void {
    this.#go?.(this.outcome())
  }
}

/** Runs what a caller wants done with its connection. */
const run = <C, A, X, R>(f: (connection: C) => Effect.Effect<A, X, R>, connection: C) => {
  const body = f(connection) as Effect.Effect<A, X, R> | undefined
  // The runtime drops a fiber that evaluates anything else, without running its finalizers. (`Effect.isEffect` would
  // cost a tenth of the call.)
  return body?.[Effect.TypeId] === undefined
    ? Effect.die(new TypeError("the function given to use returned no Effect"))
    : body
}

/** Never throws: whatever does becomes the end of the caller's effect. */
const sync = <C, A, X>(
  connection: C,
  body: (connection: C) => A,
  onThrow: ((thrown: unknown) => X) | undefined
): Exit.Exit<A, X> => {
  try {
    return Exit.succeed(body(connection))
  } catch (thrown) {
    return onThrow === undefined ? Exit.die(thrown) : caught(thrown, onThrow)
  }
}

const caught = <X>(thrown: unknown, onThrow: (thrown: unknown) => X): Exit.Exit<never, X> => {
  try {
    return Exit.fail(onThrow(thrown))
  } catch (defect) {
    return Exit.die(defect)
  }
}

const failureIn = (exit: Exit.Exit<unknown, unknown>): Cause.Cause<unknown> | undefined =>
  exit._tag === "Failure" ? exit.cause : undefined

interface Shutdown {
  readonly ladder: Ladder.Ladder
  readonly deferred: Deferred.Deferred<ShutdownReport>
}

/** How much the one who waited in vain holds itself, if it does. */
const heldBy = (leases: number | undefined): { readonly ownLeases?: number } =>
  leases === undefined ? {} : { ownLeases: leases }

interface Numbers {
  readonly occupancy: Occupancy
  readonly holders: ReadonlyArray<Holder>
  readonly lastConnectError?: unknown
}

/** Continues or interrupts a fiber that is not the pool's. What its observers throw is not the business of the pool. */
const guarded = (f: () => void): void => {
  try {
    f()
  } catch (thrown) {
    throwLater(thrown)
  }
}

/** The same for a caller in line, without a closure for each. */
const wake = <C>(waiter: State.Waiter<C>): void => {
  try {
    waiter.resume()
  } catch (thrown) {
    throwLater(thrown)
  }
}

const throwLater = (thrown: unknown): void => {
  queueMicrotask(() => {
    throw thrown
  })
}

const failureOf = <E>(cause: Cause.Cause<E>): ConnectFailure<E> => {
  const fail = cause.reasons.find(Cause.isFailReason)
  return fail === undefined
    ? { _tag: "ConnectDied", defect: Cause.squash(cause) }
    : { _tag: "ConnectFailed", error: fail.error }
}

const withoutStack = <A>(f: () => A): A => {
  const limit = Error.stackTraceLimit
  Error.stackTraceLimit = 0
  try {
    return f()
  } finally {
    Error.stackTraceLimit = limit
  }
}
