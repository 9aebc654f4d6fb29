import { Context, Effect } from "effect"

/**
 * Whether only the fiber that acquires closes the scope of an `acquire`, when an effect of that fiber ends. Such a
 * lease is like a lease of `use`: a shutdown interrupts the fiber, and the fiber is refused if it holds all connections
 * itself.
 */
export const HeldByFiber = Context.Reference<boolean>("effect-connection-pool/HeldByFiber", {
  defaultValue: () => false
})

/** Marks an `acquire` as one for such a scope. */
export const heldByFiber = <A, E, R>(acquire: Effect.Effect<A, E, R>): Effect.Effect<A, E, R> =>
  Effect.provideService(acquire, HeldByFiber, true)
