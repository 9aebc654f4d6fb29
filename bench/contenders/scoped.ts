import { Effect, Exit, Scope } from "effect"

/** Runs an effect that opens something, and gives it together with the way to close it again. */
export const scoped = async <A, E>(
  open: Effect.Effect<A, E, Scope.Scope>
): Promise<{ readonly value: A; readonly close: () => Promise<void> }> => {
  const scope = Scope.makeUnsafe()
  const value = await Effect.runPromise(Scope.provide(open, scope))
  return { value, close: () => Effect.runPromise(Scope.close(scope, Exit.void)) }
}
