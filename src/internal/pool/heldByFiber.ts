import { Context, Effect, type Fiber } from "effect"
import { Step } from "../runtime.ts"

/**
 * Whether only the fiber that acquires closes the scope of an `acquire`, when an effect of that fiber ends. Such a
 * lease is like a lease of `use`: a shutdown interrupts the fiber, and the fiber is refused if it holds all connections
 * itself.
 */
const HeldByFiber = Context.Reference<boolean>("effect-connection-pool/HeldByFiber", {
  defaultValue: () => false
})

type Take<A, E> = (fiber: Fiber.Fiber<unknown, unknown>, isHeldByFiber: boolean) => Effect.Effect<A, E>

/** The effect of an `acquire`. It can be marked without a change of the context of its fiber, which has a price. */
export class Acquire<A, E, R> extends Step<A, E, R> {
  readonly #take: Take<A, E>
  readonly #isHeldByFiber: boolean

  constructor(take: Take<A, E>, isHeldByFiber = false) {
    super()
    this.#take = take
    this.#isHeldByFiber = isHeldByFiber
  }

  heldByFiber(): Acquire<A, E, R> {
    return new Acquire(this.#take, true)
  }

  step(fiber: Fiber.Fiber<unknown, unknown>): Effect.Effect<A, E> {
    return this.#take(fiber, this.#isHeldByFiber || fiber.getRef(HeldByFiber))
  }
}

/** Marks an `acquire` as one for such a scope. */
export const heldByFiber = <A, E, R>(acquire: Effect.Effect<A, E, R>): Effect.Effect<A, E, R> =>
  acquire instanceof Acquire
    ? (acquire as Acquire<A, E, R>).heldByFiber()
    : Effect.provideService(acquire, HeldByFiber, true)
