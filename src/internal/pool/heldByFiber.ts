import { Context, Effect } from "effect"

/**
 * Whether the scope of an `acquire` is closed by the fiber that acquires, at the end of an effect that it runs, and by no
 * other. Such a lease is like one of `use`: a shutdown interrupts its fiber, and a fiber that holds all connections like
 * this is refused another.
 */
export const HeldByFiber = Context.Reference<boolean>("effect-connection-pool/HeldByFiber", {
  defaultValue: () => false
})

/** An `acquire` for such a scope. */
export const heldByFiber = <A, E, R>(acquire: Effect.Effect<A, E, R>): Effect.Effect<A, E, R> =>
  Effect.provideService(acquire, HeldByFiber, true)
