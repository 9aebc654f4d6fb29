import type { Fiber } from "effect"
import * as PoolEvent from "../../PoolEvent.ts"
import * as Deadlines from "../structures/deadlines.ts"
import * as LinkedList from "../structures/linkedList.ts"
import * as Operator from "./operator.ts"
import * as State from "./state.ts"
import * as View from "./view.ts"

/**
 * A shutdown on its way down, one step after the other, each with an end:
 *
 * 1. `draining`: nothing is lent, those in line are refused, what is idle closes; leases may come back by themselves
 * 2. `interrupting`: a fiber that still holds one has been interrupted, and may clean up; what belongs to a scope has been
 *    taken away, for nobody knows who closes that
 * 3. `closing`: what has still not come back has been taken away; all connections are closing, each with its deadline
 * 4. `done`
 */
export class Ladder extends Deadlines.Timed<Ladder> {
  step: "draining" | "interrupting" | "closing" | "done" = "draining"
  returned = 0
  interrupted = 0
  revoked = 0
  readonly leases: number
  readonly abandonedBefore: number

  constructor(leases: number, abandonedBefore: number) {
    super()
    this.leases = leases
    this.abandonedBefore = abandonedBefore
  }
}

/** Goes down as far as it can. `isDue` is whether the deadline of the present step has passed. */
export const descend = <C>(
  state: State.State<C>,
  ladder: Ladder,
  now: number,
  isDue: boolean
): ReadonlyArray<Fiber.Fiber<unknown, unknown>> => {
  const { inUse, settings } = state
  const interrupted: Array<Fiber.Fiber<unknown, unknown>> = []
  if (ladder.step === "draining" && (isDue || inUse.length === 0)) {
    ladder.step = "interrupting"
    ladder.returned = ladder.leases - inUse.length
    if (inUse.length > 0) {
      State.report(state, PoolEvent.Interrupting({ holders: View.holders(state, now, Infinity) }))
    }
    for (const entry of LinkedList.members(inUse)) {
      const { fiber, scope } = entry.lease!
      if (scope === undefined) interrupted.push(fiber)
      else Operator.revoke(state, entry, now)
    }
    ladder.interrupted = interrupted.length
    ladder.revoked = ladder.leases - ladder.returned - ladder.interrupted
    Deadlines.add(state.deadlines, ladder, now, settings.closeTimeoutMillis)
  } else if (ladder.step === "interrupting" && isDue) {
    for (const entry of LinkedList.members(inUse)) Operator.revoke(state, entry, now)
  }
  if (ladder.step === "interrupting" && inUse.length === 0) {
    ladder.step = "closing"
    Deadlines.cancel(state.deadlines, ladder)
  }
  if (ladder.step === "closing" && State.total(state) === 0) {
    ladder.step = "done"
    state.phase = "closed"
  }
  return interrupted
}
