/** The steps of a shutdown, and when each of them ends. */
import type { Fiber } from "effect"
import type { AbandonedConnection } from "../../PoolError.ts"
import * as PoolEvent from "../../PoolEvent.ts"
import * as Deadlines from "../structures/deadlines.ts"
import * as LinkedList from "../structures/linkedList.ts"
import { close } from "./leaving.ts"
import * as Operator from "./operator.ts"
import * as State from "./state.ts"
import * as View from "./view.ts"

/**
 * A shutdown under way. It has four steps, and each step has a deadline:
 *
 * 1. `draining`: nothing is lent, waiters are refused, idle connections close. The pool waits for leases to end, and for
 *    abandoned connections to settle.
 * 2. `interrupting`: fibers that still hold a connection were interrupted, and may clean up. Leases that belong to a
 * scope
 *    were revoked, because any fiber may close that scope.
 * 3. `closing`: all other leases were revoked, and abandoned connections are not waited for any longer. All connections
 *    are closing, each with its own deadline.
 * 4. `done`
 */
export class Ladder extends Deadlines.Timed<Ladder> {
  step: "draining" | "interrupting" | "closing" | "done" = "draining"
  returned = 0
  interrupted = 0
  revoked = 0
  /** The connections that were still abandoned when the time was over. */
  abandoned: ReadonlyArray<AbandonedConnection> = []
  readonly leases: number
  readonly closeTimeoutsBefore: number

  constructor(leases: number, closeTimeoutsBefore: number) {
    super()
    this.leases = leases
    this.closeTimeoutsBefore = closeTimeoutsBefore
  }
}

/**
 * Goes to the next steps, as far as possible. `isDue` says whether the deadline of the present step has passed. Answers
 * with the fibers to interrupt.
 */
export const descend = <C>(
  state: State.State<C>,
  ladder: Ladder,
  now: number,
  isDue: boolean
): ReadonlyArray<Fiber.Fiber<unknown, unknown>> => {
  const { abandoned, inUse, settings } = state
  const interrupted: Array<Fiber.Fiber<unknown, unknown>> = []
  if (ladder.step === "draining" && (isDue || inUse.length + abandoned.length === 0)) {
    ladder.step = "interrupting"
    ladder.returned = ladder.leases - inUse.length
    // The time of the abandoned ones is over, unless leases end now, on which something may still run.
    if (inUse.length === 0) leaveRunning(state, ladder, now)
    else State.report(state, PoolEvent.Interrupting({ holders: View.holders(state, now, Infinity) }))
    for (const entry of LinkedList.members(inUse)) {
      const { fiber, scope } = entry.lease!
      if (scope === undefined) interrupted.push(fiber)
      else Operator.revoke(state, entry, now)
    }
    ladder.interrupted = interrupted.length
    ladder.revoked = ladder.leases - ladder.returned - ladder.interrupted
    Deadlines.add(state.deadlines, ladder, now, settings.closeTimeoutMillis)
  } else if (isDue) {
    for (const entry of LinkedList.members(inUse)) Operator.revoke(state, entry, now)
    leaveRunning(state, ladder, now)
  }
  if (ladder.step === "interrupting" && inUse.length + abandoned.length === 0) {
    ladder.step = "closing"
    Deadlines.cancel(state.deadlines, ladder)
  }
  if (ladder.step === "closing" && State.total(state) === 0) {
    ladder.step = "done"
    state.phase = "closed"
  }
  return interrupted
}

/** Closes the connections that are still abandoned, whatever runs on them. */
const leaveRunning = <C>(state: State.State<C>, ladder: Ladder, now: number): void => {
  if (state.abandoned.length === 0) return
  ladder.abandoned = View.abandoned(state, now, Infinity)
  State.report(state, PoolEvent.LeftRunning({ abandoned: ladder.abandoned }))
  for (const entry of LinkedList.members(state.abandoned)) close(state, entry, "shutdown")
}
