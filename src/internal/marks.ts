/**
 * The marks of Effect's values, for code that must not load Effect: it also runs in threads, which would start several times
 * slower with it.
 *
 * Test: `internal/runtime.test.ts`, "knows the marks of Effect's values".
 */

const effectMark = "~effect/Effect"
const asyncFiberErrorMark = "~effect/Cause/AsyncFiberError"
const durationMark = "~effect/Duration"

/** Whether a value stands for work that would be done after the lease, or never: an Effect or a promise. */
export const isLater = (value: unknown): boolean =>
  (typeof value === "object" || typeof value === "function") && value !== null &&
  (effectMark in value || value instanceof Promise)

/**
 * Takes the failure of a promise that is refused. Otherwise a rejection that nobody handles would end the process, although the
 * caller has got the refusal. Other values are left alone.
 */
export const disown = (value: unknown): void => {
  if (value instanceof Promise) Promise.prototype.then.call(value, undefined, () => undefined)
}

/** Whether a value is the error of an Effect that was run synchronously and would have to wait. */
export const isAsyncFiberError = (value: unknown): boolean =>
  typeof value === "object" && value !== null && asyncFiberErrorMark in value

/** Whether a value is a `Duration`. */
export const isDuration = (value: object): boolean => durationMark in value
