/**
 * Read this before raising Effect's version.
 *
 * Everything that leans on the inside of Effect stands here, for the type checker would not notice when it breaks. Each
 * trick names the test that fails then.
 */
import { Cause, Clock, Context, Effect, Effectable, Exit, type Fiber, Scope, type Tracer } from "effect"

// A class declares its fields on the instance; this way they are what is evaluated, without a constructor to run.
const Base = function() {} as unknown as new<A, E, R>() => Effect.Effect<A, E, R>

Base.prototype = Effectable.Prototype<Step<unknown, unknown, unknown>>({
  label: "Step",
  evaluate(fiber) {
    return this.step(fiber)
  }
})

/**
 * An effect that a method of its own evaluates, like `Effect.withFiber` with fields instead of the variables of a closure.
 * On the path of every lease that saves a tenth of the time.
 *
 * Test: `internal/runtime.test.ts`, "a step can be part of another; what is none is left to be done".
 */
export abstract class Step<A, E, R> extends Base<A, E, R> {
  abstract step(fiber: Fiber.Fiber<unknown, unknown>): Effect.Effect<A, E, R>
}

/** Makes a step of a function: `Effect.withFiber`, for an effect that may be part of a step of others. See `within`. */
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
 * Evaluates an effect within the step that the fiber is in, if it is itself a step; gives what there is left to do. The run
 * loop does not see that step: it neither counts it as an operation nor lets a tracer look at it.
 *
 * Test: `internal/runtime.test.ts`, "a step can be part of another; what is none is left to be done".
 */
export const within = <A, E, R>(
  effect: Effect.Effect<A, E, R>,
  fiber: Fiber.Fiber<unknown, unknown>
): Effect.Effect<A, E, R> => effect instanceof Step ? (effect as Step<A, E, R>).step(fiber) : effect

/**
 * Whether something receives the spans of this fiber. Without a tracer of the application, spans would be made for nothing.
 * The cache of a fiber is declared, but its fields may change with any version.
 *
 * Test: `internal/runtime.test.ts`, "knows whether a fiber is traced, and the span that it is in".
 */
export const isTraced = (fiber: Fiber.Fiber<unknown, unknown>): boolean =>
  fiber.cache.tracer !== undefined && fiber.cache.tracerEnabled

/**
 * Whether the fiber may be traced, with a tracer of the application or without.
 *
 * Test: `internal/runtime.test.ts`, "knows whether a fiber is traced, and the span that it is in".
 */
export const isTracingEnabled = (fiber: Fiber.Fiber<unknown, unknown>): boolean => fiber.cache.tracerEnabled

/**
 * The span that the fiber is in, without a look into its context.
 *
 * Test: `internal/runtime.test.ts`, "knows whether a fiber is traced, and the span that it is in".
 */
export const spanOf = (fiber: Fiber.Fiber<unknown, unknown>): Tracer.AnySpan | undefined => fiber.cache.span

/**
 * Whether this is the clock of the machine, and not one that was provided: the default clock is always the same value. If
 * that changed, a pool would still work, but would keep the process alive.
 *
 * Test: `internal/runtime.test.ts`, "tells the clock of the machine from another".
 */
export const isMachineClock = (clock: Clock.Clock): boolean => clock === Context.get(Context.empty(), Clock.Clock)

/**
 * Evaluates a primitive of Effect within the present step of the fiber, and gives what there is left to do; `undefined` if
 * this version of Effect has no such method.
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
 * `Scope.addFinalizerExit` without a step of its own, so that nothing comes between what was taken and the promise to give
 * it back. The scope has to be open. Answers whether it was added; if not, the caller has to go the longer way.
 *
 * Test: `internal/runtime.test.ts`, "adds a finalizer within the step of a fiber".
 */
export const addFinalizer = (
  scope: Scope.Scope,
  fiber: Fiber.Fiber<unknown, unknown>,
  finalizer: (exit: Exit.Exit<unknown, unknown>) => Effect.Effect<unknown>
): boolean => evaluate(Scope.addFinalizerExit(scope, finalizer), fiber) !== undefined

/**
 * Whether a fiber, whose observers are told of its end, was dropped by the run loop: it was given something that is no
 * Effect. The run loop ends such a fiber where it is, and runs no finalizer that it still has on its stack. The words alone
 * do not tell: another fiber may have joined this one, died of the same cause, and run all its finalizers.
 *
 * Test: `internal/runtime.test.ts`, "tells a fiber that was dropped from one that has died of it".
 */
export const wasDropped = (fiber: Fiber.Fiber<unknown, unknown>, exit: Exit.Exit<unknown, unknown>): boolean =>
  Exit.isFailure(exit) && exit.cause.reasons.some(isNoEffect) && hasStack(fiber)

const isNoEffect = (reason: Cause.Reason<unknown>): boolean =>
  Cause.isDieReason(reason) && typeof reason.defect === "string" && reason.defect.startsWith(noEffect)

const noEffect = "Fiber.runLoop: Not a valid effect"

const hasStack = (fiber: Fiber.Fiber<unknown, unknown>): boolean => {
  const stack: unknown = Reflect.get(fiber, "_stack")
  return Array.isArray(stack) && stack.length > 0
}

/**
 * Counts operations on the turn of a fiber, besides those that its run loop counts. The run loop measures a turn in
 * operations, however long each takes. `Fiber` declares the counter as `readonly`; this parameter type does not.
 *
 * Test: `internal/runtime.test.ts`, "ends the turn of a fiber early that was charged for operations".
 */
export const charge = (fiber: { currentOpCount: number }, operations: number): void => {
  fiber.currentOpCount += operations
}

/**
 * The mark of a fragment of `effect/sql`, by which Effect tells a statement inside another from a value. Effect does not
 * export it.
 *
 * Test: `internal/runtime.test.ts`, "marks a fragment as Effect does".
 */
export const fragment = "~effect/sql/Statement/Fragment"
