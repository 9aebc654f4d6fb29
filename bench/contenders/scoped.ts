import { Effect, Exit, Scope } from "effect"

/** Runs an effect that opens something. Returns its result, and a function that closes it. */
export const scoped = async <A, E>(
  open: Effect.Effect<A, E, Scope.Scope>
): Promise<{ readonly value: A; readonly close: () => Promise<void> }> => {
  const scope = Scope.makeUnsafe()
  const value = await Effect.runPromise(Scope.provide(open, scope))
  return { value, close: () => Effect.runPromise(Scope.close(scope, Exit.void)) }
}
