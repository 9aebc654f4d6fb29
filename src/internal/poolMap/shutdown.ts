/** The steps of the shutdown of a map, and when each of them ends. */
import { Effect, type Fiber } from "effect"
import * as PoolMapEvent from "../../PoolMapEvent.ts"
import * as Deadlines from "../structures/deadlines.ts"
import * as LinkedList from "../structures/linkedList.ts"
import { closedError, end } from "./callers.ts"
import { refuse } from "./leases.ts"
import { close, evict } from "./room.ts"
import { type Lease, report, type State } from "./state.ts"
import * as View from "./view.ts"

/**
 * A shutdown under way. It has four steps:
 *
 * 1. `draining`: callers are refused, pools without a lease close. The map waits for leases to end.
 * 2. `interrupting`: fibers that still hold a lease of `use` were interrupted, and may clean up. Leases of `get` were
 *    ended, because any fiber may close their scopes.
 * 3. `closing`: all leases were ended. All pools are closing, each with its own deadline.
 * 4. `done`
 */
export class Ladder extends Deadlines.Timed<Ladder> {
  step: "draining" | "interrupting" | "closing" | "done" = "draining"
  returned = 0
  interrupted = 0
  revoked = 0
  readonly leases: number

  constructor(leases: number) {
    super()
    this.leases = leases
  }
}

/** Begins: refuses all who wait, and closes all pools without a lease. */
export const drain = <K, P>(state: State<K, P>, ladder: Ladder, now: number, drainMillis: number): void => {
  state.phase = "draining"
  report(state, PoolMapEvent.Draining({ leases: state.leases }))
  Deadlines.add(state.deadlines, ladder, now, drainMillis)
  const refusal = Effect.fail(closedError(state))
  for (const list of [state.line, state.opening, state.leaving, state.closing]) {
    for (const entry of LinkedList.members(list)) {
      for (const lease of LinkedList.members(entry.callers)) {
        state.counters.refused++
        refuse(state, lease, refusal)
      }
    }
  }
  for (const entry of LinkedList.members(state.opening)) {
    state.counters.openFailures++
    close(state, entry, now)
  }
  // A pool with leases that the map does not know of waits for them itself, as long as its own shutdown does.
  for (const entry of LinkedList.members(state.idle)) evict(state, entry, "shutdown", now)
  for (const entry of LinkedList.members(state.leaving)) {
    if (entry.leases.length === 0) evict(state, entry, entry.evictReason!, now)
  }
}

/** Goes to the next steps, as far as possible. Answers with the fibers to interrupt. */
export const descend = <K, P>(
  state: State<K, P>,
  ladder: Ladder,
  now: number,
  isDue: boolean
): ReadonlyArray<Fiber.Fiber<unknown, unknown>> => {
  const interrupted: Array<Fiber.Fiber<unknown, unknown>> = []
  if (ladder.step === "draining" && (isDue || state.leases === 0)) {
    ladder.step = "interrupting"
    ladder.returned = ladder.leases - state.leases
    if (state.leases > 0) report(state, PoolMapEvent.Interrupting({ holders: View.holders(state, now, Infinity) }))
    for (const lease of held(state)) {
      if (lease.scope === undefined) interrupted.push(lease.fiber)
      else end(state, lease, now)
    }
    ladder.interrupted = interrupted.length
    ladder.revoked = ladder.leases - ladder.returned - ladder.interrupted
    Deadlines.add(state.deadlines, ladder, now, state.settings.closeTimeoutMillis)
  } else if (isDue) {
    for (const lease of held(state)) end(state, lease, now)
  }
  if (ladder.step === "interrupting" && state.leases === 0) {
    ladder.step = "closing"
    Deadlines.cancel(state.deadlines, ladder)
  }
  if (ladder.step === "closing" && isClosed(state)) {
    ladder.step = "done"
    state.phase = "closed"
  }
  return interrupted
}

const held = <K, P>(state: State<K, P>): ReadonlyArray<Lease<K, P>> =>
  [state.used, state.leaving].flatMap((list) =>
    Array.from(LinkedList.members(list)).flatMap(({ leases }) => Array.from(LinkedList.members(leases)))
  )

/** Whether every pool is closed, or was waited for long enough. */
const isClosed = <K, P>(state: State<K, P>): boolean => {
  for (const { isOverdue } of LinkedList.members(state.closing)) if (!isOverdue) return false
  return true
}
