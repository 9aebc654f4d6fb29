/** Runs the caller's function with a connection. If it throws or returns something wrong, the pool is not harmed. */
import { type Cause, Effect, Exit } from "effect"

/** Runs the function given to `use`. */
export const run = <C, A, X, R>(f: (connection: C) => Effect.Effect<A, X, R>, connection: C) => {
  const body = f(connection) as Effect.Effect<A, X, R> | undefined
  // The runtime drops a fiber that evaluates something that is no Effect, without running its finalizers.
  // (`Effect.isEffect` would take a tenth of the whole call.)
  return body?.[Effect.TypeId] === undefined
    ? Effect.die(new TypeError("the function given to use returned no Effect"))
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

export const failureIn = (exit: Exit.Exit<unknown, unknown>): Cause.Cause<unknown> | undefined =>
  exit._tag === "Failure" ? exit.cause : undefined
