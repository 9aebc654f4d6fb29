/**
 * Callers and their fibers: how a lease begins, waits, is held, and ends.
 *
 * `use`, `useSync` and `acquire` install the end of a lease before the lease begins. In the other order there would be
 * a step between the two, and an interrupt in that step would lose the connection.
 */
import { Context, Effect, Exit, type Fiber, Scope, type Tracer } from "effect"
import type { AcquireOptions } from "../../PoolConfig.ts"
import type { PoolConfigError, PoolError } from "../../PoolError.ts"
import * as Calls from "../options/call.ts"
import type { CallSettings } from "../options/settings.ts"
import * as Runtime from "../runtime.ts"
import * as Body from "./body.ts"
import { Acquire } from "./heldByFiber.ts"
import * as Lending from "./lending.ts"
import * as Line from "./line.ts"
import * as Refusals from "./refusals.ts"
import * as Spans from "./spans.ts"
import * as State from "./state.ts"
import type { Work } from "./work.ts"

export class Callers<C, E> {
  readonly state: State.State<C>
  readonly #work: Work<C>

  constructor(work: Work<C>) {
    this.state = work.state
    this.#work = work
  }

  use<A, X, R>(
    f: (connection: C) => Effect.Effect<A, X, R>,
    options: AcquireOptions | undefined
  ): Effect.Effect<A, X | PoolError<E>, R> {
    return new Use(this, f, options)
  }

  useSync<A, X>(
    body: (connection: C) => A,
    onThrow: ((thrown: unknown) => X) | undefined,
    options: AcquireOptions | undefined
  ): Effect.Effect<A, X | PoolError<E>> {
    return new UseSync(this, body, onThrow, options)
  }

  /** Takes a connection and runs a synchronous body with it, all in one step; or waits for one. */
  runSync<A, X>(
    lease: LeaseEffect<C, E, A, X, never>,
    body: (connection: C) => A,
    onThrow: ((thrown: unknown) => X) | undefined
  ): Effect.Effect<A, X | PoolError<E>> {
    const { state } = this
    const work = this.#work
    work.assertOutside()
    const mayTake = state.idle.length > 0 && state.waiters.length === 0 && !state.paused
    const invalid = mayTake ? lease.resolve() : undefined
    if (invalid !== undefined) return Effect.fail(invalid)
    const now = work.now()
    if (!mayTake || !Lending.take(state, lease, now)) {
      // The caller joins the line only after the end of its lease is installed: see `Use`.
      lease.f = (connection) => Body.sync(connection, body, onThrow)
      // `take` may have found a connection that has to be closed.
      work.attend()
      return secured(lease)
    }
    // All in one step, which nothing can interrupt, so no finalizer is needed. The clock is read again only if the
    // lease has to be timed. Otherwise the connection counts as idle from the time at which it was taken.
    const exit = Body.sync(lease.entry!.leased!, body, onThrow)
    const failure = Body.failureIn(exit)
    if (Lending.isTimed(state)) {
      const ended = work.now()
      state.syncMillis = ended - now
      Lending.end(state, lease, ended, failure)
    } else Lending.end(state, lease, now, failure)
    work.attend()
    return exit
  }

  acquire(options: AcquireOptions | undefined): Effect.Effect<C, PoolError<E>, Scope.Scope> {
    return new Acquire((fiber, isOfFiber) => this.#acquire(fiber, options, isOfFiber))
  }

  /** Takes a connection for the scope of the fiber in the present step, or waits for one. */
  #acquire(
    fiber: Fiber.Fiber<unknown, unknown>,
    options: AcquireOptions | undefined,
    isOfFiber: boolean
  ): Effect.Effect<C, PoolError<E>> {
    const { idle, paused, waiters } = this.state
    const work = this.#work
    const scope = Context.getUnsafe(fiber.context, Scope.Scope)
    const mayTake = idle.length > 0 && waiters.length === 0 && !paused && scope.state._tag !== "Closed"
    if (!mayTake) return this.#acquireLater(scope, options, isOfFiber)
    work.assertOutside()
    const lease = new ScopedLeaseEffect<C, E>(this, fiber, options, scope, isOfFiber)
    const invalid = lease.resolve()
    if (invalid !== undefined) return Effect.fail(invalid)
    // All in one step: an acquire that fails adds nothing to the scope, and one that succeeds cannot be lost.
    let isSecured = false
    if (Lending.take(this.state, lease, work.now())) {
      isSecured = Runtime.addFinalizer(scope, fiber, (exit) => this.#ended(lease, exit))
      if (!isSecured) this.end(lease)
    }
    const leased = lease.entry?.leased
    work.attend()
    if (!isSecured) return this.#acquireLater(scope, options, isOfFiber)
    lease.watch()
    return Exit.succeed(leased!)
  }

  /** Acquires for a caller that will have to wait, or may be refused. */
  #acquireLater(
    scope: Scope.Scope,
    options: AcquireOptions | undefined,
    isOfFiber: boolean
  ): Effect.Effect<C, PoolError<E>> {
    return Effect.withFiber((fiber) => {
      const lease = new ScopedLeaseEffect<C, E>(this, fiber, options, scope, isOfFiber)
      let own: Scope.Closeable | undefined
      return Effect.onExitPrimitive(
        Effect.suspend(() => {
          // A scope of its own, so that an acquire that fails leaves nothing in the caller's scope.
          own = Scope.forkUnsafe(scope)
          return Effect.andThen(
            // If the scope closes while the caller waits, the caller goes on waiting, and returns the connection at
            // once.
            Scope.addFinalizerExit(own, (exit) => lease.stage === "held" ? this.#ended(lease, exit) : Exit.void),
            lease
          )
        }),
        (exit) => {
          if (Exit.isSuccess(exit) && own!.state._tag !== "Closed") {
            lease.watch()
            return undefined
          }
          this.end(lease)
          return own === undefined ? undefined : Scope.closeUnsafe(own, exit)
        }
      )
    })
  }

  /**
   * Ends a lease, or the wait for one. Calling it again does nothing. `exit` is the exit of the effect that had the
   * lease, or of the scope.
   */
  end(lease: State.Lease<C>, exit?: Exit.Exit<unknown, unknown>): undefined {
    if (lease.stage === "ended") return
    if (this.#work.isAsking) this.#work.afterQuestion(() => this.end(lease, exit))
    else {
      Lending.end(this.state, lease, this.#work.now(), exit && Body.failureIn(exit))
      this.#work.attend()
    }
  }

  #ended(lease: ScopedLeaseEffect<C, E>, exit: Exit.Exit<unknown, unknown>): Effect.Effect<void> {
    lease.unwatch()
    this.end(lease, exit)
    return Exit.void
  }

  /** Ends a lease whose fiber was dropped, and cannot return it. */
  lose(lease: State.Lease<C>): void {
    this.#work.afterQuestion(() => {
      Line.lose(this.state, lease, this.#work.now())
      this.#work.attend()
    })
  }

  /**
   * Takes a connection and runs the caller's effect with it, or joins the line. Asking and joining are one step, so
   * callers wait in the order in which they asked.
   */
  begin<A, X, R>(lease: LeaseEffect<C, E, A, X, R>): Effect.Effect<A, X | PoolError<E>, R> {
    const work = this.#work
    work.assertOutside()
    const invalid = lease.resolve()
    if (invalid !== undefined) return Effect.fail(invalid)
    const now = work.now()
    if (!Lending.take(this.state, lease, now)) return this.#wait(lease, now)
    const leased = lease.entry!.leased!
    work.attend()
    return Body.run(lease.f!, leased)
  }

  /** Continues a caller that was granted a connection. */
  goOn<A, X, R>(lease: LeaseEffect<C, E, A, X, R>): Effect.Effect<A, X | PoolError<E>, R> {
    // A shutdown may have taken back the connection that was granted.
    if (lease.stage !== "granted") return Effect.fail(Refusals.closedError(this.state))
    Lending.hold(this.state, lease)
    const leased = lease.entry!.leased!
    this.#work.attend()
    return Body.run(lease.f!, leased)
  }

  #wait<A, X, R>(lease: LeaseEffect<C, E, A, X, R>, now: number): Effect.Effect<A, X | PoolError<E>, R> {
    const { state } = this
    const work = this.#work
    const refusal = Refusals.refusal(state, lease, now)
    if (refusal !== undefined) {
      Line.turnAway(state, lease, refusal)
      work.attend()
      return Effect.fail(refusal as PoolError<E>)
    }
    const waiter = new FiberWaiter<C, E, A, X, R>(lease)
    Line.join(state, waiter, now)
    Lending.settle(state, now)
    if (state.isPending) work.run()
    else work.setAlarm()
    // With a timeout of zero, the caller does not wait at all.
    if (lease.options?.timeoutMillis === 0 && lease.stage === "waiting") {
      Refusals.timeOut(state, [waiter], now)
      work.run()
    }
    if (!Runtime.isTraced(lease.fiber)) return waiter.outcome()
    // The span covers the wait only, and ends before the caller's effect begins.
    const f = lease.f!
    const wait = lease as LeaseEffect<C, E, unknown, X, R> as LeaseEffect<C, E, C, never, never>
    wait.f = Exit.succeed
    const outcome = Effect.suspend(() => (wait.waiter as FiberWaiter<C, E, C, never, never>).outcome())
    return Effect.flatMap(Spans.acquire(state.settings.name, outcome), (connection) => Body.run(f, connection))
  }
}

class Use<C, E, A, X, R> extends Runtime.Step<A, X | PoolError<E>, R> {
  readonly #callers: Callers<C, E>
  readonly #f: (connection: C) => Effect.Effect<A, X, R>
  readonly #options: AcquireOptions | undefined

  constructor(
    callers: Callers<C, E>,
    f: (connection: C) => Effect.Effect<A, X, R>,
    options: AcquireOptions | undefined
  ) {
    super()
    this.#callers = callers
    this.#f = f
    this.#options = options
  }

  step(fiber: Fiber.Fiber<unknown, unknown>): Effect.Effect<A, X | PoolError<E>, R> {
    return secured(new LeaseEffect(this.#callers, this.#f, fiber, this.#options))
  }
}

/** A lease with its end installed, before it begins. */
const secured = <C, E, A, X, R>(lease: LeaseEffect<C, E, A, X, R>): Effect.Effect<A, X | PoolError<E>, R> =>
  Effect.onExitPrimitive(lease, (exit) => lease.callers.end(lease, exit))

class UseSync<C, E, A, X> extends Runtime.Step<A, X | PoolError<E>, never> {
  readonly #callers: Callers<C, E>
  readonly #body: (connection: C) => A
  readonly #onThrow: ((thrown: unknown) => X) | undefined
  readonly #options: AcquireOptions | undefined

  constructor(
    callers: Callers<C, E>,
    body: (connection: C) => A,
    onThrow: ((thrown: unknown) => X) | undefined,
    options: AcquireOptions | undefined
  ) {
    super()
    this.#callers = callers
    this.#body = body
    this.#onThrow = onThrow
    this.#options = options
  }

  step(fiber: Fiber.Fiber<unknown, unknown>): Effect.Effect<A, X | PoolError<E>> {
    const lease = new LeaseEffect<C, E, A, X, never>(this.#callers, undefined, fiber, this.#options)
    return this.#callers.runSync(lease, this.#body, this.#onThrow)
  }
}

/**
 * A lease with the effect that the caller runs with the connection. It is an effect itself: it is evaluated when the
 * caller asks, and again when its wait is over. So a long line needs few objects for each caller.
 */
class LeaseEffect<C, E, A, X, R> extends Runtime.Step<A, X | PoolError<E>, R> implements State.Lease<C> {
  readonly callers: Callers<C, E>
  /** The effect to run with the connection. `useSync` sets it only if the caller has to wait. */
  f: ((connection: C) => Effect.Effect<A, X, R>) | undefined
  readonly fiber: Fiber.Fiber<unknown, unknown>
  readonly #given: AcquireOptions | undefined
  options: CallSettings | undefined = undefined
  readonly span: Tracer.AnySpan | undefined
  stage: State.Stage = "new"
  entry: State.Entry<C> | undefined = undefined
  waiter: State.Waiter<C> | undefined = undefined

  constructor(
    callers: Callers<C, E>,
    f: ((connection: C) => Effect.Effect<A, X, R>) | undefined,
    fiber: Fiber.Fiber<unknown, unknown>,
    options: AcquireOptions | undefined
  ) {
    super()
    this.callers = callers
    this.f = f
    this.fiber = fiber
    this.#given = options
    this.span = Runtime.spanOf(fiber)
  }

  /** Reads the options in the step in which the caller asks. Returns an error if they are invalid. */
  resolve(): PoolConfigError | undefined {
    return this.#given === undefined ? undefined : this.#resolve(this.#given)
  }

  #resolve(given: AcquireOptions): PoolConfigError | undefined {
    const options = Calls.resolve(this.callers.state.settings.name, given)
    if (Calls.isRefused(options)) return options
    this.options = options
    return undefined
  }

  // Getters, not fields: a long line has one of these objects for each caller.
  get scope(): Scope.Scope | undefined {
    return undefined
  }

  get surrounding(): Scope.Scope | undefined {
    return Context.getOrUndefined(this.fiber.context, Scope.Scope)
  }

  step(): Effect.Effect<A, X | PoolError<E>, R> {
    return this.stage === "new" ? this.callers.begin(this) : this.callers.goOn(this)
  }
}

/** A lease that belongs to a scope. */
class ScopedLeaseEffect<C, E> extends LeaseEffect<C, E, C, never, never> {
  readonly #scope: Scope.Scope
  readonly #isOfFiber: boolean
  #unwatch: (() => void) | undefined = undefined

  constructor(
    callers: Callers<C, E>,
    fiber: Fiber.Fiber<unknown, unknown>,
    options: AcquireOptions | undefined,
    scope: Scope.Scope,
    isOfFiber: boolean
  ) {
    super(callers, Exit.succeed, fiber, options)
    this.#scope = scope
    this.#isOfFiber = isOfFiber
  }

  override get scope(): Scope.Scope | undefined {
    return this.#isOfFiber ? undefined : this.#scope
  }

  /** Ends the lease if its fiber is dropped: such a fiber does not close its scope. */
  watch(): void {
    this.#unwatch = this.fiber.addObserver((exit) => {
      if (this.stage === "held" && Runtime.wasDropped(this.fiber, exit)) this.callers.lose(this)
    })
  }

  unwatch(): void {
    this.#unwatch?.()
    this.#unwatch = undefined
  }
}

/** A fiber in line. Lines may be long, so it makes no closure but the one that resumes the fiber. */
class FiberWaiter<C, E, A, X, R> extends State.Waiter<C> {
  declare readonly lease: LeaseEffect<C, E, A, X, R>
  #go: ((effect: Effect.Effect<A, X | PoolError<E>, R>) => void) | undefined = undefined
  #error: PoolError<E> | undefined = undefined

  /** Returns the result of the wait, or waits for it. An interrupt needs no cleanup here: `end` leaves the line. */
  outcome(): Effect.Effect<A, X | PoolError<E>, R> {
    if (this.#error !== undefined) return Effect.fail(this.#error)
    if (this.lease.stage !== "waiting") return this.lease
    return Effect.callback<A, X | PoolError<E>, R>((resume) => {
      // The wait may be over already: after it joined the line, the fiber may have yielded to others.
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
