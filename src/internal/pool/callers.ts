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
import { FiberWaiter, waitLater } from "./fiberWaiter.ts"
import { Acquire } from "./heldByFiber.ts"
import * as Lending from "./lending.ts"
import * as Line from "./line.ts"
import * as Refusals from "./refusals.ts"
import * as Spans from "./spans.ts"
import type * as State from "./state.ts"
import type { Work } from "./work.ts"

export class Callers<C, E> {
  readonly state: State.State<C>
  readonly #work: Work<C>

  constructor(work: Work<C>) {
    this.state = work.state
    this.#work = work
  }

  /** The settings from the options of a call, or the error with which the call fails. */
  resolve(options: AcquireOptions | undefined): CallSettings | PoolConfigError | undefined {
    return options === undefined ? undefined : Calls.resolve(this.state.settings.name, options)
  }

  use<A, X, R>(
    f: (connection: C) => Effect.Effect<A, X, R>,
    options: AcquireOptions | undefined
  ): Effect.Effect<A, X | PoolError<E>, R> {
    return options === undefined ? new Use(this, f) : new UseWithOptions(this, f, options)
  }

  useSync<A, X>(
    body: (connection: C) => A,
    onThrow: ((thrown: unknown) => X) | undefined,
    options: AcquireOptions | undefined
  ): Effect.Effect<A, X | PoolError<E>> {
    return new UseSync(this, body, onThrow, options)
  }

  /** Takes a connection and runs a synchronous body with it, in one step. Asks as `use` does if the caller has to wait. */
  runSync<A, X>(
    fiber: Fiber.Fiber<unknown, unknown>,
    body: (connection: C) => A,
    onThrow: ((thrown: unknown) => X) | undefined,
    options: AcquireOptions | undefined
  ): Effect.Effect<A, X | PoolError<E>> {
    // A caller that may have to wait asks in a step of its own: this step may be part of another step. See `Use`.
    return this.runNow(fiber, body, onThrow, options) ??
      this.use((connection) => Body.sync(connection, body, onThrow), options)
  }

  /** Takes a connection and runs a synchronous body with it, in one step. Returns `undefined` if the caller has to wait. */
  runNow<A, X>(
    fiber: Fiber.Fiber<unknown, unknown>,
    body: (connection: C) => A,
    onThrow: ((thrown: unknown) => X) | undefined,
    options: AcquireOptions | undefined
  ): Exit.Exit<A, X | PoolError<E>> | undefined {
    const { state } = this
    const work = this.#work
    work.assertOutside()
    if (!Lending.mayTake(state)) return undefined
    const settings = this.resolve(options)
    if (Calls.isRefused(settings)) return Exit.fail(settings)
    const lease = new LeaseEffect<C, E, A, X, never>(this, undefined, fiber, settings)
    const now = work.now()
    if (!Lending.take(state, lease, now)) {
      // `take` may have found a connection that has to be closed.
      work.attend()
      return undefined
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
    const work = this.#work
    const scope = Context.getUnsafe(fiber.context, Scope.Scope)
    const mayTake = Lending.mayTake(this.state) && scope.state._tag !== "Closed"
    if (!mayTake) return this.#acquireLater(scope, options, isOfFiber)
    work.assertOutside()
    const lease = new ScopedLeaseEffect<C, E>(this, fiber, options, scope, isOfFiber)
    const invalid = lease.resolve()
    if (invalid !== undefined) return Effect.fail(invalid)
    // All in one step: an acquire that fails adds nothing to the scope, and one that succeeds cannot be lost.
    let isSecured = false
    let leased: C | undefined
    if (Lending.take(this.state, lease, work.now())) {
      // Read now: if the driver has just closed the scope, the finalizer ends the lease at once.
      leased = lease.entry!.leased
      isSecured = Runtime.addFinalizer(scope, fiber, (exit) => this.#ended(lease, exit))
      if (!isSecured) this.end(lease)
    }
    work.attend()
    if (isSecured) lease.watch()
    return isSecured ? Exit.succeed(leased!) : this.#acquireLater(scope, options, isOfFiber)
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
   * Ends a lease, or the wait for one. A second call does nothing. `exit` is the exit of the effect that had the lease, or
   * of the scope.
   */
  end(lease: State.Lease<C>, exit?: Exit.Exit<unknown, unknown>): undefined {
    if (lease.stage === "ended") return
    if (this.#work.isAsking) return void this.#work.afterQuestion(() => this.end(lease, exit))
    Lending.end(this.state, lease, this.#work.now(), exit && Body.failureIn(exit))
    this.#work.attend()
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
    const now = work.now()
    if (!Lending.take(this.state, lease, now) && !work.takeFromGatherer(lease)) return this.#wait(lease, now)
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
    const refusal = Refusals.refusal(this.state, lease, now)
    if (refusal !== undefined) {
      // The loop runs when the lease ends, which is next.
      Line.turnAway(this.state, lease, refusal)
      return Effect.fail(refusal as PoolError<E>)
    }
    if (!Runtime.isTraced(lease.fiber)) {
      return Runtime.callbackWithin(lease.fiber, (resume) => this.#join(new FiberWaiter(lease, resume), now))
    }
    // The span ends with the wait, before the connection is used.
    const f = lease.f!
    const wait = lease as LeaseEffect<C, E, unknown, X, R> as LeaseEffect<C, E, C, never, never>
    wait.f = Exit.succeed
    // The caller joins the line now and begins its wait in a later step. Between the two, its fiber may yield.
    const { outcome, waiter } = waitLater(wait)
    this.#join(waiter, now)
    return Effect.flatMap(Spans.acquire(this.state.settings.name, outcome), (connection) => Body.run(f, connection))
  }

  #join(waiter: State.Waiter<C>, now: number): void {
    const { state } = this
    const work = this.#work
    Line.join(state, waiter, now)
    Lending.settle(state, now)
    if (state.isPending) work.run()
    else work.setAlarm()
    // With a timeout of zero, the caller does not wait at all.
    if (waiter.lease.options?.timeoutMillis === 0 && waiter.lease.stage === "waiting") {
      Refusals.timeOut(state, [waiter], now)
      work.run()
    }
  }
}

class Use<C, E, A, X, R> extends Runtime.OwnStep<A, X | PoolError<E>, R> {
  readonly callers: Callers<C, E>
  readonly f: (connection: C) => Effect.Effect<A, X, R>

  constructor(callers: Callers<C, E>, f: (connection: C) => Effect.Effect<A, X, R>) {
    super()
    this.callers = callers
    this.f = f
  }

  step(fiber: Fiber.Fiber<unknown, unknown>): Effect.Effect<A, X | PoolError<E>, R> {
    return secured(new LeaseEffect(this.callers, this.f, fiber, undefined), fiber)
  }
}

/** Most uses have no options, and no field for them. */
class UseWithOptions<C, E, A, X, R> extends Use<C, E, A, X, R> {
  readonly #options: AcquireOptions

  constructor(callers: Callers<C, E>, f: (connection: C) => Effect.Effect<A, X, R>, options: AcquireOptions) {
    super(callers, f)
    this.#options = options
  }

  override step(fiber: Fiber.Fiber<unknown, unknown>): Effect.Effect<A, X | PoolError<E>, R> {
    const settings = this.callers.resolve(this.#options)
    if (Calls.isRefused(settings)) return Effect.fail(settings)
    return secured(new LeaseEffect(this.callers, this.f, fiber, settings), fiber)
  }
}

/** Installs the end of a lease and asks for it in the present step, which is faster than three. For an `OwnStep` only. */
export const secured = <C, E, A, X, R>(
  lease: LeaseEffect<C, E, A, X, R>,
  fiber: Fiber.Fiber<unknown, unknown>
): Effect.Effect<A, X | PoolError<E>, R> => {
  const secured = Runtime.onExitWithin(lease, fiber, (exit) => lease.callers.end(lease, exit))
  return secured === lease ? lease.step() : secured
}

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
    return this.#callers.runSync(fiber, this.#body, this.#onThrow, this.#options)
  }
}

/**
 * A lease with the effect that the caller runs with the connection. It is an effect itself: it is evaluated when the
 * caller asks, and again when its wait is over. So a long line needs few objects for each caller.
 */
export class LeaseEffect<C, E, A, X, R> extends Runtime.OwnStep<A, X | PoolError<E>, R> implements State.Lease<C> {
  readonly callers: Callers<C, E>
  /** The effect to run with the connection. `useSync` has none: a caller of it that has to wait goes on as with `use`. */
  f: ((connection: C) => Effect.Effect<A, X, R>) | undefined
  readonly fiber: Fiber.Fiber<unknown, unknown>
  options: CallSettings | undefined
  readonly span: Tracer.AnySpan | undefined
  stage: State.Stage = "new"
  entry: State.Entry<C> | undefined = undefined
  waiter: State.Waiter<C> | undefined = undefined

  constructor(
    callers: Callers<C, E>,
    f: ((connection: C) => Effect.Effect<A, X, R>) | undefined,
    fiber: Fiber.Fiber<unknown, unknown>,
    options: CallSettings | undefined
  ) {
    super()
    this.callers = callers
    this.f = f
    this.fiber = fiber
    this.options = options
    this.span = Runtime.spanOf(fiber)
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
  readonly #given: AcquireOptions | undefined
  readonly #scope: Scope.Scope
  readonly #isOfFiber: boolean
  #unwatch: (() => void) | undefined = undefined

  constructor(
    callers: Callers<C, E>,
    fiber: Fiber.Fiber<unknown, unknown>,
    given: AcquireOptions | undefined,
    scope: Scope.Scope,
    isOfFiber: boolean
  ) {
    super(callers, Exit.succeed, fiber, undefined)
    this.#given = given
    this.#scope = scope
    this.#isOfFiber = isOfFiber
  }

  /** Reads the options in the step in which the caller asks. Returns the error if they are invalid. */
  resolve(): PoolConfigError | undefined {
    const settings = this.callers.resolve(this.#given)
    if (Calls.isRefused(settings)) return settings
    this.options = settings
    return undefined
  }

  override step(): Effect.Effect<C, PoolError<E>> {
    const invalid = this.stage === "new" ? this.resolve() : undefined
    return invalid === undefined ? super.step() : Effect.fail(invalid)
  }

  override get scope(): Scope.Scope | undefined {
    return this.#isOfFiber ? undefined : this.#scope
  }

  /** Ends the lease if its fiber is dropped: such a fiber does not close its scope. */
  watch(): void {
    this.#unwatch = Runtime.observe(this.fiber, (exit) => {
      if (this.stage === "held" && Runtime.wasDropped(this.fiber, exit)) this.callers.lose(this)
    })
  }

  unwatch(): void {
    this.#unwatch?.()
    this.#unwatch = undefined
  }
}
