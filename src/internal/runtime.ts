/**
 * Read this before raising Effect's version.
 *
 * Everything that depends on the inside of Effect is in this file. The type checker does not notice when it breaks. Each
 * doc comment names the test that fails then.
 */
import { Cause, Clock, Context, Effect, Effectable, Exit, type Fiber, Scheduler, Scope, type Tracer } from "effect"

/** A constructor that returns the given object, so that subclasses add their private fields to it. */
const Given = function(object: object) {
  return object
} as unknown as new(object: object) => object

// A constructor function with Effect's prototype: subclasses are effects, and no constructor of Effect has to run.
const Base = function() {} as unknown as new<A, E, R>() => Effect.Effect<A, E, R>

Base.prototype = Effectable.Prototype<OwnStep<unknown, unknown, unknown>>({
  label: "Step",
  evaluate(fiber) {
    return this.step(fiber)
  }
})

/**
 * An effect that its own method `step` evaluates. It is like `Effect.withFiber`, with fields instead of a closure,
 * which saves a tenth of the time of a lease. Only the run loop evaluates it, never `within`, so it may leave something
 * on the stack of the fiber: see `onExitWithin` and `callbackWithin`.
 *
 * Test: `internal/runtime.test.ts`, "a step of its own is never part of another".
 */
export abstract class OwnStep<A, E, R> extends Base<A, E, R> {
  abstract step(fiber: Fiber.Fiber<unknown, unknown>): Effect.Effect<A, E, R>
}

/**
 * A step that may also be a part of another: see `within`.
 *
 * Test: `internal/runtime.test.ts`, "a step can be part of another, and any other effect is left to be done".
 */
export abstract class Step<A, E, R> extends OwnStep<A, E, R> {}

/** Makes a `Step` from a function. Use it instead of `Effect.withFiber` for an effect that is evaluated by `within`. */
export const withFiber = <A, E, R>(
  f: (fiber: Fiber.Fiber<unknown, unknown>) => Effect.Effect<A, E, R>
): Effect.Effect<A, E, R> => new WithFiber(f)

class WithFiber<A, E, R> extends Step<A, E, R> {
  readonly #f: (fiber: Fiber.Fiber<unknown, unknown>) => Effect.Effect<A, E, R>

  constructor(f: (fiber: Fiber.Fiber<unknown, unknown>) => Effect.Effect<A, E, R>) {
    super()
    this.#f = f
  }

  step(fiber: Fiber.Fiber<unknown, unknown>): Effect.Effect<A, E, R> {
    return this.#f(fiber)
  }
}

/**
 * Evaluates an effect within the present step of the fiber, if it is a `Step`. Returns the effect that is left to do.
 * The run loop does not see the inner step: it does not count it as an operation, and no tracer sees it.
 *
 * Test: `internal/runtime.test.ts`, "a step can be part of another, and any other effect is left to be done".
 */
export const within = <A, E, R>(
  effect: Effect.Effect<A, E, R>,
  fiber: Fiber.Fiber<unknown, unknown>
): Effect.Effect<A, E, R> => effect instanceof Step ? (effect as Step<A, E, R>).step(fiber) : effect

/**
 * `within`, for a step that may throw. What it throws is a defect.
 *
 * Test: `internal/runtime.test.ts`, "a step can be part of another, and any other effect is left to be done".
 */
export const attemptWithin = <A, E, R>(
  effect: Effect.Effect<A, E, R>,
  fiber: Fiber.Fiber<unknown, unknown>
): Effect.Effect<A, E, R> => {
  try {
    return within(effect, fiber)
  } catch (thrown) {
    return Exit.die(thrown)
  }
}

/**
 * Whether an effect has succeeded already. Only an exit has this tag. `Exit.isExit` would slow down every statement.
 *
 * Test: `internal/runtime.test.ts`, "recognises only a success as a success".
 */
export const isSuccess = <A, E, R>(effect: Effect.Effect<A, E, R>): effect is Exit.Success<A> =>
  "_tag" in effect && effect._tag === "Success"

/**
 * Whether a tracer of the application receives the spans of this fiber. Without one, spans would be useless. The cache
 * of a fiber is declared, but its fields may change with any version.
 *
 * Test: `internal/runtime.test.ts`, "knows whether a fiber is traced, and the span that it is in".
 */
export const isTraced = (fiber: Fiber.Fiber<unknown, unknown>): boolean =>
  fiber.cache.tracer !== undefined && fiber.cache.tracerEnabled

/**
 * Whether tracing is not turned off for the fiber.
 *
 * Test: `internal/runtime.test.ts`, "knows whether a fiber is traced, and the span that it is in".
 */
export const isTracingEnabled = (fiber: Fiber.Fiber<unknown, unknown>): boolean => fiber.cache.tracerEnabled

/**
 * The span that the fiber is in. Faster than to read it from the context.
 *
 * Test: `internal/runtime.test.ts`, "knows whether a fiber is traced, and the span that it is in".
 */
export const spanOf = (fiber: Fiber.Fiber<unknown, unknown>): Tracer.AnySpan | undefined => fiber.cache.span

/**
 * Whether this is Effect's default clock and not a clock that was provided. The default clock is always the same value. If
 * Effect changed that, a pool would still work, but would keep the process alive.
 *
 * Test: `internal/runtime.test.ts`, "distinguishes the clock of the machine from another".
 */
export const isMachineClock = (clock: Clock.Clock): boolean => clock === Context.get(Context.empty(), Clock.Clock)

/**
 * Evaluates a primitive of Effect within the present step of the fiber. Returns the effect that is left to do, or
 * `undefined` if this version of Effect has no such method.
 *
 * Test: `internal/runtime.test.ts`, "evaluates a primitive within the step of a fiber".
 */
const evaluate = (
  effect: Effect.Effect<unknown>,
  fiber: Fiber.Fiber<unknown, unknown>
): Effect.Effect<unknown> | undefined => {
  const primitive = effect as unknown as Primitive
  return primitive[evaluateKey]?.(fiber)
}

const evaluateKey = `${Effect.TypeId}/evaluate` as const

interface Primitive {
  readonly [evaluateKey]?: (fiber: Fiber.Fiber<unknown, unknown>) => Effect.Effect<unknown>
}

/**
 * Adds a finalizer to an open scope within the present step of the fiber, so that no interrupt comes between a lease
 * and its finalizer. Returns whether it was added. If not, use `Scope.addFinalizerExit`.
 *
 * Test: `internal/runtime.test.ts`, "adds a finalizer within the step of a fiber".
 */
export const addFinalizer = (
  scope: Scope.Scope,
  fiber: Fiber.Fiber<unknown, unknown>,
  finalizer: (exit: Exit.Exit<unknown, unknown>) => Effect.Effect<unknown>
): boolean => evaluate(Scope.addFinalizerExit(scope, finalizer), fiber) !== undefined

/**
 * Returns a function that makes a span within the present step of a fiber. It evaluates `Effect.makeSpan`, so the span has
 * everything that Effect takes from the fiber: parent, links, annotations, sampling and time. The function returns
 * `undefined` if this version of Effect makes spans in another way.
 *
 * Test: `internal/runtime.test.ts`, "makes a span within the step of a fiber".
 */
export const spanMaker = (
  name: string,
  options: Tracer.SpanOptionsNoTrace
): (fiber: Fiber.Fiber<unknown, unknown>) => Tracer.Span | undefined => {
  const make: Effect.Effect<unknown> = Effect.makeSpan(name, options)
  return (fiber) => {
    const made = evaluate(make, fiber)
    return made !== undefined && "_tag" in made && made._tag === "Success"
      ? (made as Exit.Success<Tracer.Span>).value
      : undefined
  }
}

/**
 * `Effect.onExitPrimitive` that installs its finalizer within the present step of the fiber. The finalizer runs even if the
 * fiber is interrupted in this step. The step must return the result of this function unchanged.
 *
 * Tests: `internal/runtime.test.ts`, "installs a finalizer within the step of a fiber", and "goes on, within the step, with
 * the effect whose finalizer was installed there".
 */
export const onExitWithin = <A, E, R>(
  effect: Effect.Effect<A, E, R>,
  fiber: Fiber.Fiber<unknown, unknown>,
  finalizer: (exit: Exit.Exit<A, E>) => Effect.Effect<void> | undefined
): Effect.Effect<A, E, R> => {
  const secured = Effect.onExitPrimitive(effect, finalizer)
  return (evaluate(secured as Effect.Effect<unknown>, fiber) ?? secured) as Effect.Effect<A, E, R>
}

/**
 * `Effect.uninterruptibleMask` that begins within the present step of the fiber. The step must return the result of this
 * function unchanged.
 *
 * Test: `internal/steps.test.ts`, "masks interrupts within the step of a fiber".
 */
export const maskWithin = <A, E, R>(
  fiber: Fiber.Fiber<unknown, unknown>,
  f: (restore: <A2, E2, R2>(effect: Effect.Effect<A2, E2, R2>) => Effect.Effect<A2, E2, R2>) => Effect.Effect<A, E, R>
): Effect.Effect<A, E, R> => {
  const masked = Effect.uninterruptibleMask(f)
  return (evaluate(masked as Effect.Effect<unknown>, fiber) ?? masked) as Effect.Effect<A, E, R>
}

/**
 * The `restore` of a mask, applied within the present step of the fiber. The step must return the result of this function
 * unchanged.
 *
 * Test: `internal/steps.test.ts`, "masks interrupts within the step of a fiber".
 */
export const restoreWithin = <A, E, R>(
  restore: (effect: Effect.Effect<A, E, R>) => Effect.Effect<A, E, R>,
  effect: Effect.Effect<A, E, R>,
  fiber: Fiber.Fiber<unknown, unknown>
): Effect.Effect<A, E, R> => {
  const restored = restore(effect)
  // Outside of a mask, `restore` does nothing.
  if (restored === effect) return effect
  return (evaluate(restored as Effect.Effect<unknown>, fiber) ?? restored) as Effect.Effect<A, E, R>
}

/**
 * `Effect.matchCauseEffect` whose handlers are installed, and whose effect is begun, within the present step of the fiber.
 * The step must return the result of this function unchanged. Each handler must have one parameter.
 *
 * Test: `internal/steps.test.ts`, "handles an exit, and begins, within the step of a fiber".
 */
export const matchWithin = <A, E, R, B, X>(
  effect: OwnStep<A, E, R>,
  fiber: Fiber.Fiber<unknown, unknown>,
  handlers: {
    readonly onFailure: (cause: Cause.Cause<E>) => Effect.Effect<B, X>
    readonly onSuccess: (value: A) => Effect.Effect<B, X>
  }
): Effect.Effect<B, X, R> => {
  const whole = Effect.matchCauseEffect(effect, handlers)
  const next: unknown = evaluate(whole as Effect.Effect<unknown>, fiber) ?? whole
  return (next === effect ? effect.step(fiber) : next) as Effect.Effect<B, X, R>
}

/**
 * `Effect.callback` that registers within the present step of the fiber. No other fiber runs between the decision to wait
 * and the registration. The step must return the result of this function unchanged. `register` must have one parameter.
 *
 * Test: `internal/runtime.test.ts`, "registers a callback within the step of a fiber".
 */
export const callbackWithin = <A, E, R>(
  fiber: Fiber.Fiber<unknown, unknown>,
  register: (resume: (effect: Effect.Effect<A, E, R>) => void) => void
): Effect.Effect<A, E, R> => {
  const whole = Effect.callback(register)
  return (evaluate(whole as Effect.Effect<unknown>, fiber) ?? whole) as Effect.Effect<A, E, R>
}

/**
 * Whether the fiber was interrupted in its present step. The run loop notices that interrupt after the step.
 *
 * Test: `internal/runtime.test.ts`, "knows of an interrupt that comes in the present step".
 */
export const isInterruptedInStep = (fiber: Fiber.Fiber<unknown, unknown>): boolean =>
  (fiber as unknown as Interruptible)._deferredInterrupt === true

interface Interruptible {
  readonly _deferredInterrupt?: boolean
  _interruptedCause?: Cause.Cause<never> | undefined
}

/**
 * Takes back an interrupt that came too late: the fiber goes on with the exit that it has waited for, and is interrupted
 * at its next wait. Without this, leaving an uninterruptible region replaces the exit by the interrupt, so that the
 * caller could not know that its work is done. Call it in the last step of an uninterruptible region, with its `restore`.
 * If the caller itself is in such a region, this does nothing: the interrupt was delivered, or waits for the end of it.
 *
 * Tests: `internal/interrupts.test.ts`.
 */
export const postponeInterrupt = (fiber: Fiber.Fiber<unknown, unknown>, restore: typeof Effect.interruptible): void => {
  const own = fiber as unknown as Interruptible
  const cause = own._interruptedCause
  if (cause === undefined || restore(Effect.void) === Effect.void) return
  own._interruptedCause = undefined
  queueMicrotask(() => {
    const since = own._interruptedCause
    const reasons = cause.reasons.filter(Cause.isInterruptReason)
    // The fiber is interrupted once, for all reasons. If it was interrupted since, that was the time.
    const last = since === undefined ? reasons.pop() : undefined
    own._interruptedCause = Cause.combine(Cause.fromReasons(reasons), since ?? Cause.empty)
    if (last !== undefined) fiber.interruptUnsafe(last.fiberId, Context.makeUnsafe(last.annotations))
  })
}

/**
 * `Fiber.addObserver` for an observer that leaves again, which the result does.
 *
 * The array of observers is made here, and its first member stays. If Effect made it, or if the first member left, V8 would
 * copy what later observers have held as if it were still in use. (Measured: with a hundred fibers that run transactions, a
 * fifth of all garbage was copied twice, which took a tenth of the time.)
 *
 * Test: `internal/runtime.test.ts`, "an observer that leaves is never the first of its fiber".
 */
export const observe = <A, E>(
  fiber: Fiber.Fiber<A, E>,
  observer: (exit: Exit.Exit<A, E>) => void
): () => void => {
  const own = fiber as unknown as Observed
  if ("_observers" in own && (own._observers === undefined || own._observers.length === 0)) own._observers = [stays]
  return fiber.addObserver(observer)
}

interface Observed {
  _observers?: ReadonlyArray<() => void> | undefined
}

const stays = () => {}

/**
 * Attaches values to objects, like a `WeakMap`, but as a private field of each object. It is for objects that are made in
 * large numbers: the garbage collector is slow to empty a `WeakMap`, so adding to one takes a microsecond or two. A copy of
 * an object has nothing attached. An object may get one value.
 *
 * Test: `internal/runtime.test.ts`, "attaches a value to an object, and not to copies of it".
 */
export class Attached<A> {
  readonly #Field = class extends Given {
    readonly #value: A

    constructor(object: object, value: A) {
      super(object)
      this.#value = value
    }

    static add(object: object, value: A): void {
      void new this(object, value)
    }

    static of(object: object): A | undefined {
      return #value in object ? object.#value : undefined
    }
  }

  get(object: object): A | undefined {
    return this.#Field.of(object)
  }

  set(object: object, value: A): void {
    this.#Field.add(object, value)
  }
}

/**
 * Whether the run loop has dropped a fiber because it got a value that is no Effect. The run loop runs no finalizer of
 * such a fiber, so its stack is not empty. The text of the error is not enough: a fiber that joins a dropped fiber dies
 * with the same text, but runs its finalizers.
 *
 * Test: `internal/runtime.test.ts`, "distinguishes a dropped fiber from one that has died of it".
 */
export const wasDropped = (fiber: Fiber.Fiber<unknown, unknown>, exit: Exit.Exit<unknown, unknown>): boolean =>
  Exit.isFailure(exit) && exit.cause.reasons.some(isNoEffect) && hasStack(fiber)

const isNoEffect = (reason: Cause.Reason<unknown>): boolean =>
  Cause.isDieReason(reason) && typeof reason.defect === "string" &&
  reason.defect.startsWith("Fiber.runLoop: Not a valid effect")

const hasStack = (fiber: Fiber.Fiber<unknown, unknown>): boolean => {
  const stack: unknown = Reflect.get(fiber, "_stack")
  return Array.isArray(stack) && stack.length > 0
}

/**
 * Runs a function as if this fiber were the current fiber: `Fiber.getCurrent` returns it. Effect keeps the current fiber
 * under a global name that it does not export.
 *
 * Test: `internal/runtime.test.ts`, "runs a function as another fiber".
 */
export const asFiber = <A>(fiber: Fiber.Fiber<unknown, unknown>, f: () => A): A => {
  const before: unknown = Reflect.get(globalThis, currentFiber)
  Reflect.set(globalThis, currentFiber, fiber)
  try {
    return f()
  } finally {
    Reflect.set(globalThis, currentFiber, before)
  }
}

const currentFiber = "~effect/Fiber/currentFiber"

/**
 * Whether a fiber runs under `Effect.runSync`, so that it cannot wait.
 *
 * Test: `internal/runtime.test.ts`, "tells a fiber that cannot wait".
 */
export const isSynchronous = (fiber: Fiber.Fiber<unknown, unknown>): boolean =>
  fiber.getRef(Scheduler.Scheduler).executionMode === "sync"

/**
 * Adds operations to the turn of a fiber. The run loop ends a turn after a number of operations. It does not count
 * operations within one step. `Fiber` declares the counter as `readonly`, but this parameter type does not.
 *
 * Test: `internal/runtime.test.ts`, "ends the turn of a fiber earlier if it was charged for operations".
 */
export const charge = (fiber: { currentOpCount: number }, operations: number): void => {
  fiber.currentOpCount += operations
}

/**
 * The transaction service of the innermost transaction. The `SqlResolver` of `effect/sql` finds the transaction of a request
 * by this key, which Effect does not export.
 *
 * Test: `internal/runtime.test.ts`, "names the innermost transaction as Effect does".
 */
export const currentTransactionService = Context.Reference<object | undefined>(
  "effect/sql/CurrentTransactionService",
  { defaultValue: () => undefined }
)

/**
 * The key that marks a fragment of `effect/sql`. Effect uses it to recognise a statement inside another, but does not
 * export it.
 *
 * Test: `internal/runtime.test.ts`, "marks a fragment as Effect does".
 */
export const fragment = "~effect/sql/Statement/Fragment"
