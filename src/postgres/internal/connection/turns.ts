/** Gives the wire of a session to one fiber at a time, in order of arrival. */
import { Effect, Exit, type Fiber } from "effect"
import { onExitWithin, OwnStep } from "../../../internal/runtime.ts"
import * as LinkedList from "../../../internal/structures/linkedList.ts"

/** One that has the wire, or waits for it. */
export class Ticket extends LinkedList.Linked<Ticket> {
  isHolding = false
  /** Lets the waiting fiber go on. */
  wake: (() => void) | undefined = undefined
}

/** What a fiber does in its turn. */
export interface Work<A, E, E2> {
  /** Asked first. With an error, nothing else is done. */
  readonly refusal: () => E2 | undefined
  readonly begin: () => Effect.Effect<A, E>
  /** Called with the exit of what has begun, before the next has its turn. */
  readonly ended: (exit: Exit.Exit<A, E>) => void
  /** Called last, in any case: also if the fiber has waited in vain. */
  readonly left?: (() => void) | undefined
}

export class Turns {
  #isTaken = false
  readonly #line = new LinkedList.LinkedList<Ticket>()

  /** Does some work while no other fiber has the wire. The wait can be interrupted. */
  use<A, E, E2>(work: Work<A, E, E2>): Effect.Effect<A, E | E2> {
    return new Using(this, work)
  }

  /** `use`, in the present step of a fiber, which must return the result unchanged. */
  useWithin<A, E, E2>(fiber: Fiber.Fiber<unknown, unknown>, work: Work<A, E, E2>): Effect.Effect<A, E | E2> {
    if (this.#isTaken) return this.#useLater(fiber, work)
    // Most leases have one fiber, so the wire is free. Asking and taking are one step.
    const refusal = work.refusal()
    if (refusal !== undefined) {
      work.left?.()
      return Effect.fail(refusal)
    }
    this.#isTaken = true
    return onExitWithin(effectOf(work), fiber, (exit) => {
      work.ended(exit)
      this.#pass()
      work.left?.()
      return undefined
    })
  }

  #useLater<A, E, E2>(fiber: Fiber.Fiber<unknown, unknown>, work: Work<A, E, E2>): Effect.Effect<A, E | E2> {
    const ticket = new Ticket()
    // The finalizer is installed before the ticket joins the line.
    return onExitWithin(Effect.andThen(this.wait(ticket), new InTurn(work)), fiber, () => {
      this.leave(ticket)
      work.left?.()
      return undefined
    })
  }

  /** Waits for the wire. Whoever waits calls `leave` afterwards, also if it was interrupted. */
  wait(ticket: Ticket): Effect.Effect<void> {
    return Effect.withFiber((fiber) =>
      Effect.callback<void>((resume) => {
        if (!this.#isTaken) {
          this.#isTaken = true
          ticket.isHolding = true
          return resume(Effect.void)
        }
        // Resumed inline, each fiber would run on the stack of the one before it.
        ticket.wake = () => fiber.currentDispatcher.scheduleTask(() => resume(Effect.void), 0)
        LinkedList.push(this.#line, ticket)
      })
    )
  }

  /** Gives the wire to the next, or leaves the line. A second call does nothing. */
  leave(ticket: Ticket): void {
    LinkedList.remove(ticket)
    if (!ticket.isHolding) return
    ticket.isHolding = false
    this.#pass()
  }

  #pass(): void {
    const next = LinkedList.shift(this.#line)
    if (next === undefined) {
      this.#isTaken = false
      return
    }
    next.isHolding = true
    next.wake?.()
  }
}

class Using<A, E, E2> extends OwnStep<A, E | E2, never> {
  readonly #turns: Turns
  readonly #work: Work<A, E, E2>

  constructor(turns: Turns, work: Work<A, E, E2>) {
    super()
    this.#turns = turns
    this.#work = work
  }

  step(fiber: Fiber.Fiber<unknown, unknown>): Effect.Effect<A, E | E2> {
    return this.#turns.useWithin(fiber, this.#work)
  }
}

/** Work whose turn it is. */
class InTurn<A, E, E2> extends OwnStep<A, E | E2, never> {
  readonly #work: Work<A, E, E2>

  constructor(work: Work<A, E, E2>) {
    super()
    this.#work = work
  }

  step(fiber: Fiber.Fiber<unknown, unknown>): Effect.Effect<A, E | E2> {
    const work = this.#work
    const refusal = work.refusal()
    if (refusal !== undefined) return Effect.fail(refusal)
    return onExitWithin(effectOf(work), fiber, (exit) => {
      work.ended(exit)
      return undefined
    })
  }
}

/** What `begin` returns. What it throws is a defect, so that the turn is given back. */
const effectOf = <A, E, E2>(work: Work<A, E, E2>): Effect.Effect<A, E> => {
  try {
    return work.begin()
  } catch (thrown) {
    return Exit.die(thrown)
  }
}
