/**
 * The loop of a pool: it does the work that the state has left. Here the state meets the clock, fibers, and the driver.
 *
 * It decides nothing. Every function that changes the state calls `attend` or `run` afterwards, and the loop does what
 * is left to do. `Above` has the parts that the modules above it do (`operations`, `callers` and `pool`).
 */
import { Context, Effect, type Fiber, Random, Scheduler } from "effect"
import type { ConnectionFactory } from "../../ConnectionFactory.ts"
import * as PoolEvent from "../../PoolEvent.ts"
import type { Settings } from "../options/settings.ts"
import * as AsyncContext from "../structures/asyncContext.ts"
import * as Deadlines from "../structures/deadlines.ts"
import * as LinkedList from "../structures/linkedList.ts"
import { forkWith, withoutSpan } from "../structures/ownFibers.ts"
import * as Alarm from "../structures/timer.ts"
import { Events } from "./events.ts"
import { cannotWait, Gathering } from "./gathering.ts"
import * as Lending from "./lending.ts"
import * as Line from "./line.ts"
import { logOf } from "./log.ts"
import * as Refusals from "./refusals.ts"
import * as State from "./state.ts"
import * as Upkeep from "./upkeep.ts"

/** The parts of the loop that the modules above it do. */
export interface Above<C> {
  /** Starts the operation that the list of the connection asks for. */
  readonly operate: (entry: State.Entry<C>) => void
  /** The deadline of the operation on the connection has passed. */
  readonly overdue: (entry: State.Entry<C>, now: number) => void
  /** Continues the shutdown. Answers whether that changed anything. `isDue` says whether its deadline has passed. */
  readonly continueShutdown: (isDue: boolean) => boolean
  /** Called when the loop has nothing left to do. */
  readonly settled: () => void
}

/** Callers woken in one turn of the event loop; the others are woken in the next turns. */
const wakesPerTurn = 64

export class Work<C> {
  readonly state: State.State<C>
  readonly events = new Events<PoolEvent.PoolEvent>((events) => PoolEvent.Missed({ events }), isOfLease)
  /** The time in milliseconds, on a clock that never goes back. */
  readonly now: () => number
  readonly context: Context.Context<never>
  /** Runs a function in the asynchronous context of the pool, instead of that of the present caller. */
  readonly within = AsyncContext.capture()
  /** Starts a fiber that belongs to the pool, in the pool's own context. */
  readonly fork: <A, X>(effect: Effect.Effect<A, X>) => Fiber.Fiber<A, X>
  readonly #above: Above<C>
  readonly #dispatcher: Scheduler.SchedulerDispatcher
  readonly #alarm: Alarm.Alarm
  readonly #postponed: Array<() => void> = []
  #gathering: Gathering | undefined = undefined
  #isAsking = false
  #isRunning = false
  #isScheduled = false
  /** The number of callers woken in this turn of the event loop. */
  #wakes = 0

  /** `context` has the services that the factory's effects need. */
  constructor(
    settings: Settings,
    factory: Omit<ConnectionFactory<C, never, never>, "connect">,
    context: Context.Context<never>,
    above: Above<C>
  ) {
    const own = withoutSpan(context)
    const random = Context.get(own, Random.Random)
    const { beginLease } = factory
    this.#above = above
    this.context = own
    this.fork = forkWith(own, this.within)
    this.#dispatcher = Context.get(own, Scheduler.Scheduler).makeDispatcher()
    this.#alarm = Alarm.make(own, this.#ring)
    this.now = this.#alarm.now
    this.state = new State.State<C>(settings, {
      isAlive: this.#guard(factory.isAlive),
      needsReset: this.#guard(factory.needsReset),
      isInTransaction: this.#guard(factory.isInTransaction),
      beginLease: this.#guard(beginLease && ((connection) => beginLease(connection, settings.name))),
      endLease: this.#guard(factory.endLease),
      unfinished: this.#guard(factory.unfinished),
      isTold: factory.endLease !== undefined || factory.unfinished !== undefined,
      judge: this.#guard(factory.judge),
      isTransient: this.#guard(factory.isTransient as ((error: unknown) => boolean) | undefined),
      validates: factory.validate !== undefined,
      resets: factory.reset !== undefined
    }, () => random.nextDoubleUnsafe())
  }

  // -------------------------------------------------------------------------------------------------------------------
  // Questions to the driver: the pool asks them in the middle of a change, so they must not change the state
  // -------------------------------------------------------------------------------------------------------------------

  #guard<A, B>(question: ((value: A) => B) | undefined): ((value: A) => B) | undefined {
    return question && ((value) => {
      this.#isAsking = true
      try {
        return question(value)
      } finally {
        this.#isAsking = false
      }
    })
  }

  /** Whether a function of the driver runs now. */
  get isAsking(): boolean {
    return this.#isAsking
  }

  /** Throws if a function of the driver uses the pool. */
  assertOutside(): void {
    if (this.#isAsking) throw new Error("a function of the connection factory used its own pool")
  }

  /** Runs a function now; while a function of the driver runs, after it. */
  afterQuestion(f: () => void): void {
    if (this.#isAsking) {
      this.#postponed.push(f)
      this.state.isPending = true
    } else f()
  }

  // -------------------------------------------------------------------------------------------------------------------
  // The loop
  // -------------------------------------------------------------------------------------------------------------------

  /** Changes the state, and runs the loop. */
  change<A>(f: (now: number) => A): A {
    this.assertOutside()
    const result = f(this.now())
    this.run()
    return result
  }

  /** Runs the loop after a change of the state that usually leaves nothing to do. */
  attend(): void {
    if (this.state.isPending) this.run()
  }

  /**
   * Does the work that the state has left. New work that this causes is done by the same loop, never by a loop inside
   * it: if a thousand callers each wake the next, the stack does not grow. After `wakesPerTurn` callers, the others
   * wait for the next turn of the event loop.
   */
  run(): void {
    if (this.#isRunning) return
    this.#isRunning = true
    try {
      this.#loop()
    } finally {
      this.#isRunning = false
    }
    this.state.isPending = false
    this.#above.settled()
    this.setAlarm()
  }

  #loop(): void {
    const { state } = this
    for (;;) {
      if (this.#postponed.length > 0) {
        this.#postponed.shift()!()
        continue
      }
      if (state.starting.length > 0) {
        const entry = state.starting.shift()!
        entry.isStarting = false
        this.#above.operate(entry)
        continue
      }
      if (state.outbox.length > 0) {
        this.publish()
        continue
      }
      if (state.finished.length > 0) {
        const round = state.finished.shift()!
        guarded(() => round.resume())
        continue
      }
      if (state.phase !== "open" && this.#above.continueShutdown(false)) continue
      if (state.ready.length === 0) break
      if (this.#wakes === wakesPerTurn) {
        this.runSoon()
        break
      }
      this.#wakes++
      wake(LinkedList.shift(state.ready)!)
    }
  }

  /** Runs the loop in the next turn of the event loop. */
  runSoon(): void {
    if (this.#isScheduled) return
    this.#isScheduled = true
    const task = () => {
      this.#isScheduled = false
      this.#wakes = 0
      this.run()
    }
    this.within(() => this.#dispatcher.scheduleTask(task, 0))
  }

  /** Has a function run when the event loop has had its turn, and those who were ready before have gone on. */
  nextTurn(task: () => void): void {
    this.within(() => this.#dispatcher.scheduleTask(task, 1))
  }

  /** Publishes the events of the outbox, and logs them. */
  publish(): void {
    const events = this.state.outbox
    this.state.outbox = []
    for (const event of events) {
      this.events.publish(event)
      const log = logOf(event)
      if (log !== undefined) this.fork(Effect.annotateLogs(log, "pool", this.state.settings.name))
    }
  }

  // -------------------------------------------------------------------------------------------------------------------
  // Callers that wait for others
  // -------------------------------------------------------------------------------------------------------------------

  /** Tells callers whether to wait for others. Made when it is needed, as most pools have no groups. */
  get gathering(): Gathering {
    return this.#gathering ??= new Gathering((task) => this.nextTurn(task), () => this.state.ready.length > 0)
  }

  /**
   * Whether a caller has a connection now, because one that only waited for others has gone on. That one goes on for a
   * caller that cannot wait, or that would be refused: without company, it would have found the connection idle.
   */
  takeFromGatherer(lease: State.Lease<C>): boolean {
    const { state } = this
    if (this.#gathering?.isWaiting !== true) return false
    const isFull = state.waiters.length >= state.settings.maxWaiting
    if (!isFull && !cannotWait(lease.fiber, lease.options)) return false
    this.#gathering.flush()
    return Lending.take(state, lease, this.now())
  }

  // -------------------------------------------------------------------------------------------------------------------
  // The timer
  // -------------------------------------------------------------------------------------------------------------------

  /** Sets the timer for what is due next. It keeps the process alive only while a caller waits or an operation runs. */
  setAlarm(): void {
    const { closing, connecting, phase, resetting, validating, waiters } = this.state
    const isAwaited = waiters.length + connecting.length + validating.length + resetting.length + closing.length > 0 ||
      phase !== "open"
    this.#alarm.set(Upkeep.nextDue(this.state, this.now), isAwaited)
  }

  stopAlarm(): void {
    this.#alarm.stop()
  }

  readonly #ring = (now: number): void => {
    this.#isRunning = true
    try {
      this.#lookAfter(now)
    } finally {
      this.#isRunning = false
    }
    this.run()
  }

  /** Does everything that is due. */
  #lookAfter(now: number): void {
    const { state } = this
    if (Deadlines.nextDue(state.deadlines) <= now) Line.endLost(state, now)
    const late: Array<State.Waiter<C>> = []
    for (;;) {
      const due = Deadlines.takeDue(state.deadlines, now)
      if (due === undefined) break
      if (due instanceof State.Waiter) late.push(due)
      else if (due instanceof State.Entry) this.#above.overdue(due, now)
      else this.#above.continueShutdown(true)
    }
    Refusals.timeOut(state, late, now)
    Upkeep.upkeep(state, now)
    Lending.settle(state, now)
  }
}

/**
 * Continues or interrupts a fiber that does not belong to the pool. If an observer of that fiber throws, the error is
 * thrown again in a microtask, because it must not stop the loop.
 */
export const guarded = (f: () => void): void => {
  try {
    f()
  } catch (thrown) {
    throwLater(thrown)
  }
}

/** Continues a caller in line. It does what `guarded` does, but without a closure for each caller. */
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

/** Whether an event happens with every lease. */
const isOfLease = ({ _tag }: PoolEvent.PoolEvent): boolean =>
  _tag === "CheckedOut" || _tag === "Returned" || _tag === "Grouped"
