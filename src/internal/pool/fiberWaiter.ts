/** Fibers in line. */
import { Effect } from "effect"
import type { PoolError } from "../../PoolError.ts"
import * as State from "./state.ts"

/** A lease that is also the effect with which its fiber goes on after the wait. */
type Waiting<C, A, E, R> = State.Lease<C> & Effect.Effect<A, E, R>

type Resume<A, E, R> = (effect: Effect.Effect<A, E, R>) => void

/**
 * A fiber in line. Lines may be long, so its only closure is the one that resumes the fiber. An interrupt needs no cleanup
 * here, because the end of the lease removes the waiter from the line.
 */
export class FiberWaiter<C, A, E, R> extends State.Waiter<C> {
  declare readonly lease: Waiting<C, A, E, R>
  #resume: Resume<A, E, R>

  constructor(lease: Waiting<C, A, E, R>, resume: Resume<A, E, R>) {
    super(lease)
    this.#resume = resume
  }

  refuse(error: PoolError<unknown>): void {
    const resume = this.#resume
    this.#resume = () => resume(Effect.fail(error as E))
  }

  resume(): void {
    this.#resume(this.lease)
  }
}

/** Makes a waiter that may join the line before its fiber waits. `outcome` is the wait. */
export const waitLater = <C, A, E, R>(lease: Waiting<C, A, E, R>) => {
  let resume: Resume<A, E, R> | undefined
  let ended: Effect.Effect<A, E, R> | undefined
  const waiter = new FiberWaiter(lease, (effect: Effect.Effect<A, E, R>) => {
    ended = effect
    resume?.(effect)
  })
  const outcome = Effect.callback<A, E, R>((go) => {
    resume = go
    if (ended !== undefined) go(ended)
  })
  return { waiter, outcome }
}
