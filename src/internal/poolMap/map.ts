/**
 * A map of pools at work: the loop that opens and closes pools, wakes callers and tells the time.
 *
 * It decides nothing. Every function that changes the state goes through `change`, and the loop does what is left to do.
 */
import { Cause, Context, Deferred, Effect, Exit, Fiber, Layer, Scheduler, Scope, type Stream } from "effect"
import * as PoolMapEvent from "../../PoolMapEvent.ts"
import type { PoolMapShutdownReport } from "../../PoolMapStats.ts"
import { noEffect } from "../options/noEffect.ts"
import type { PoolMapSettings } from "../options/poolMap.ts"
import { Events } from "../pool/events.ts"
import { guarded } from "../pool/work.ts"
import * as AsyncContext from "../structures/asyncContext.ts"
import * as Deadlines from "../structures/deadlines.ts"
import { forkWith, withoutSpan } from "../structures/ownFibers.ts"
import * as Alarm from "../structures/timer.ts"
import * as Callers from "./callers.ts"
import { conditionOf, guarded as guardedCondition } from "./condition.ts"
import { logOf } from "./log.ts"
import * as Metrics from "./metrics.ts"
import * as Outcomes from "./outcomes.ts"
import * as Room from "./room.ts"
import * as Ladder from "./shutdown.ts"
import * as State from "./state.ts"
import { keyText } from "./view.ts"

/** What the user says of the pools. */
export interface Pools<K, P> {
  /** Needs the services of the map's context, and the scope of the pool. */
  readonly open: (key: K) => Effect.Effect<P, unknown, Scope.Scope>
  readonly stateOf: ((pool: P) => State.Condition) | undefined
}

/** Callers woken in one turn of the event loop; the others are woken in the next turns. */
const wakesPerTurn = 64

export class MapOfPools<K, P> {
  readonly state: State.State<K, P>
  readonly now: () => number
  readonly #pools: Pools<K, P>
  readonly #events = new Events<PoolMapEvent.PoolMapEvent<K>>((events) => PoolMapEvent.Missed({ events }))
  readonly #within = AsyncContext.capture()
  readonly #fork: <A, X>(effect: Effect.Effect<A, X>) => Fiber.Fiber<A, X>
  readonly #alarm: Alarm.Alarm
  readonly #dispatcher: Scheduler.SchedulerDispatcher
  readonly #hideMetrics: () => void
  #isRunning = false
  #isWaking = false
  #shutdown: { readonly ladder: Ladder.Ladder; readonly deferred: Deferred.Deferred<PoolMapShutdownReport> } | undefined

  constructor(settings: PoolMapSettings, pools: Pools<K, P>, context: Context.Context<never>) {
    // A layer that `open` builds must not be one that the application has built already, over another database.
    const own = withoutSpan(Context.omit(Layer.CurrentMemoMap)(context) as Context.Context<never>)
    this.#pools = pools
    this.#fork = forkWith(own, this.#within)
    this.#dispatcher = Context.get(own, Scheduler.Scheduler).makeDispatcher()
    this.#alarm = Alarm.make(own, this.#ring)
    this.now = this.#alarm.now
    this.state = new State.State(settings)
    this.#hideMetrics = settings.metrics ? Metrics.register(this.state, own) : () => {}
  }

  get events(): Stream.Stream<PoolMapEvent.PoolMapEvent<K>> {
    return this.#events.stream(() => {})
  }

  // -------------------------------------------------------------------------------------------------------------------
  // The loop
  // -------------------------------------------------------------------------------------------------------------------

  /** Changes the state, and does what is left to do. */
  change<A>(f: (now: number) => A): A {
    const result = f(this.now())
    this.#run()
    return result
  }

  /** Reads the state, after ending the leases whose fiber is gone. */
  look<A>(f: (now: number) => A): A {
    return this.change((now) => {
      Callers.endLost(this.state, now)
      return f(now)
    })
  }

  /** Changes the state in a way that seldom leaves something to do. */
  touch(f: (now: number) => void): void {
    f(this.now())
    const { idle, leases, outbox, ready, starting } = this.state
    const isLeft = starting.length + outbox.length + ready.length > 0
    // The alarm is set already if there is another idle pool. A shutdown waits for the last lease.
    if (isLeft || idle.length === 1 || (leases === 0 && this.#shutdown !== undefined)) this.#run()
  }

  /** Lets a caller wait. With a timeout of zero, it does not wait at all. */
  wait(lease: State.Lease<K, P>): void {
    this.change((now) => Callers.wait(this.state, lease, now))
    if (lease.options?.timeoutMillis !== 0 || lease.stage !== "waiting") return
    this.change((now) => Callers.timeOut(this.state, [lease], now))
  }

  /** New work that this causes is done by the same loop, never by a loop inside it. */
  #run(): void {
    if (this.#isRunning) return
    this.#isRunning = true
    try {
      this.#loop()
    } finally {
      this.#isRunning = false
    }
    const { closing, idle, opening, phase, ready, waiting } = this.state
    if (ready.length > 0) this.#wakeLater()
    if (phase === "closed") return
    const due = Math.min(
      Deadlines.nextDue(this.state.deadlines),
      this.state.lookAgainAt,
      idle.length > 0 ? Outcomes.idleDue(this.state) : Infinity
    )
    this.#alarm.set(due, waiting + opening.length + closing.length > 0 || phase !== "open")
  }

  #loop(): void {
    const { state } = this
    for (;;) {
      if (state.starting.length > 0) {
        const entry = state.starting.shift()!
        if (entry.list === state.opening) this.#open(entry)
        else this.#close(entry)
        continue
      }
      if (state.outbox.length > 0) {
        this.#publish()
        continue
      }
      if (this.#shutdown === undefined || !this.#continueShutdown(false)) return
    }
  }

  /** Fibers are not woken by the loop, as they may use the map at once. */
  #wakeLater(): void {
    if (this.#isWaking) return
    this.#isWaking = true
    const task = () => {
      this.#isWaking = false
      for (const { resume } of this.state.ready.splice(0, wakesPerTurn)) if (resume !== undefined) guarded(resume)
      if (this.state.ready.length > 0) this.#wakeLater()
    }
    this.#within(() => this.#dispatcher.scheduleTask(task, 0))
  }

  #publish(): void {
    const events = this.state.outbox
    this.state.outbox = []
    for (const event of events) {
      this.#events.publish(event)
      const log = logOf(event)
      if (log !== undefined) this.#fork(Effect.annotateLogs(log, "map", this.state.settings.name))
    }
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

  /** Does everything that is due. */
  #lookAfter(now: number): void {
    const { state } = this
    const late: Array<State.Lease<K, P>> = []
    if (state.lookAgainAt <= now || Deadlines.nextDue(state.deadlines) <= now) Callers.endLost(state, now)
    for (;;) {
      const due = Deadlines.takeDue(state.deadlines, now)
      if (due === undefined) break
      if (due instanceof State.Lease) late.push(due)
      else if (due instanceof State.Entry) Outcomes.overdue(state, due, now)
      else this.#continueShutdown(true)
    }
    Callers.timeOut(state, late, now)
    Outcomes.closeIdle(state, now)
    Room.settle(state, now)
  }

  // -------------------------------------------------------------------------------------------------------------------
  // Opening and closing
  // -------------------------------------------------------------------------------------------------------------------

  #open(entry: State.Entry<K, P>): void {
    const scope = Scope.makeUnsafe()
    const { key } = entry
    const open = Effect.suspend(() => {
      const opened = this.#pools.open(key)
      // The runtime drops a fiber that evaluates something that is no Effect, without running its finalizers.
      return Effect.isEffect(opened)
        ? opened
        : Effect.die(noEffect("open returned", opened))
    }).pipe(
      Effect.provideService(Scope.Scope, scope),
      Effect.annotateLogs("key", keyText(key))
    )
    const fiber = this.#fork(open)
    entry.scope = scope
    entry.fiber = fiber
    fiber.addObserver((exit) => this.change((now) => this.#opened(entry, exit, now)))
  }

  #opened(entry: State.Entry<K, P>, exit: Exit.Exit<P, unknown>, now: number): void {
    if (Exit.isFailure(exit)) return Outcomes.openFailed(this.state, entry, exit.cause, now)
    const pool = exit.value
    const { stateOf } = this.#pools
    const condition = stateOf === undefined ? conditionOf(pool) : guardedCondition(() => stateOf(pool))
    Outcomes.opened(this.state, entry, pool, condition, now)
  }

  /** Closes the scope of a pool. If the pool is still being opened, that is interrupted, and waited for. */
  #close(entry: State.Entry<K, P>): void {
    const close = Effect.andThen(Fiber.interrupt(entry.fiber!), Scope.close(entry.scope!, Exit.void))
    this.#fork(close).addObserver((exit) => {
      const error = Exit.isFailure(exit) ? Cause.squash(exit.cause) : undefined
      this.change((now) => Outcomes.closed(this.state, entry, error, now))
    })
  }

  // -------------------------------------------------------------------------------------------------------------------
  // Shutdown
  // -------------------------------------------------------------------------------------------------------------------

  /** Begins the shutdown, unless it has begun, and waits for its end. Interrupting it interrupts the wait only. */
  shutdown(drainMillis: number): Effect.Effect<PoolMapShutdownReport> {
    return Effect.suspend(() => {
      this.#shutdown ??= this.#beginShutdown(drainMillis)
      return Deferred.await(this.#shutdown.deferred)
    })
  }

  #beginShutdown(drainMillis: number) {
    const { state } = this
    Callers.endLost(state, this.now())
    const ladder = new Ladder.Ladder(state.leases)
    const shutdown = this.#shutdown = { ladder, deferred: Deferred.makeUnsafe<PoolMapShutdownReport>() }
    this.change((now) => Ladder.drain(state, ladder, now, drainMillis))
    return shutdown
  }

  /** Continues the shutdown. Answers whether that changed anything. */
  #continueShutdown(isDue: boolean): boolean {
    const { deferred, ladder } = this.#shutdown!
    const { step } = ladder
    if (step === "done") return false
    const interrupted = Ladder.descend(this.state, ladder, this.now(), isDue)
    for (const fiber of interrupted) guarded(() => fiber.interruptUnsafe())
    if (ladder.step === "done") this.#end(ladder, deferred)
    return ladder.step !== step
  }

  #end(ladder: Ladder.Ladder, deferred: Deferred.Deferred<PoolMapShutdownReport>): void {
    const { interrupted, returned, revoked } = ladder
    const closeTimeouts = this.state.closing.length
    this.#alarm.stop()
    this.state.outbox.push(PoolMapEvent.ShutDown())
    this.#publish()
    this.#events.end()
    this.#hideMetrics()
    Deferred.doneUnsafe(deferred, Effect.succeed({ returned, interrupted, revoked, closeTimeouts }))
  }
}
