/**
 * Everything that leans on the inside of Effect, and would not be found out by the type checker. Read this before raising
 * Effect's version: each trick names the test that fails when it no longer works.
 */
import { Cause, Effect, Exit, type Fiber, Scope } from "effect"

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
