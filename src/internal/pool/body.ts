/** Runs the caller's function with a connection. If it throws or returns something wrong, the pool is not harmed. */
import { type Cause, Effect, Exit } from "effect"
import { disown, isLater } from "../marks.ts"
import { noEffect } from "../options/noEffect.ts"

export { isLater } from "../marks.ts"

/** Runs the function given to `use`. */
export const run = <C, A, X, R>(f: (connection: C) => Effect.Effect<A, X, R>, connection: C) => {
  const body = f(connection) as Effect.Effect<A, X, R> | undefined
  // The runtime drops a fiber that evaluates something that is no Effect, without running its finalizers.
  // (`Effect.isEffect` would take a tenth of the whole call.)
  return body?.[Effect.TypeId] === undefined
    ? Effect.die(noEffect("the function that was given the connection returned", body))
    : body
}

/**
 * Runs the function given to `useSync`. Never throws: an error of the function becomes the exit of the caller's effect.
 */
export const sync = <C, A, X>(
  connection: C,
  body: (connection: C) => A,
  onThrow: ((thrown: unknown) => X) | undefined
): Exit.Exit<A, X> => {
  try {
    const value = body(connection)
    return isLater(value) ? Exit.die(late("useSync", value, "use `use`")) : Exit.succeed(value)
  } catch (thrown) {
    return onThrow === undefined ? Exit.die(thrown) : caught(thrown, onThrow)
  }
}

/** The defect of a synchronous function that returned such a value. */
export const late = (operation: string, value: unknown, instead: string): TypeError => {
  disown(value)
  return new TypeError(
    `the function given to ${operation} returned ${
      value instanceof Promise ? "a promise, which may go on after the lease" : "an Effect, which did not run"
    }: ${instead}`
  )
}

const caught = <X>(thrown: unknown, onThrow: (thrown: unknown) => X): Exit.Exit<never, X> => {
  try {
    return Exit.fail(onThrow(thrown))
  } catch (defect) {
    return Exit.die(defect)
  }
}

export const failureIn = (exit: Exit.Exit<unknown, unknown>): Cause.Cause<unknown> | undefined =>
  exit._tag === "Failure" ? exit.cause : undefined
