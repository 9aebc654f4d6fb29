/** Which callers are refused, and with which error. */
import {
  type AbandonedConnection,
  AcquireTimeoutError,
  ConnectError,
  type ConnectFailure,
  failureCause,
  failureText,
  type Holder,
  type Occupancy,
  PoolClosedError,
  type PoolError,
  QueueFullError,
  SelfDeadlockError
} from "../../PoolError.ts"
import * as PoolEvent from "../../PoolEvent.ts"
import * as Line from "./line.ts"
import * as Outcomes from "./outcomes.ts"
import * as State from "./state.ts"
import * as View from "./view.ts"

export const closedError = <C>({ phase, settings }: State.State<C>): PoolClosedError =>
  new PoolClosedError({ pool: settings.name, phase: phase === "closed" ? "closed" : "shutting down" })

/** The error of a caller that may not join the line; `undefined` if it may. */
export const refusal = <C>(
  state: State.State<C>,
  lease: State.Lease<C>,
  now: number
): PoolError<unknown> | undefined => {
  const { maxWaiting, name: pool } = state.settings
  if (state.phase !== "open") return closedError(state)
  Line.endLostBeforeWait(state, now)
  if (Line.isSelfDeadlock(state, lease)) {
    const { sizeOption } = state
    const other = sizeOption === "max" ? undefined : { sizeOption }
    return new SelfDeadlockError({ pool, fiber: lease.fiber.id, occupancy: View.occupancy(state), ...other })
  }
  const reason = Outcomes.lastAnswer(state, lease, now)
  if (reason !== undefined) return new ConnectError({ pool, attempts: Math.max(state.failedAttempts, 1), reason })
  if (state.waiters.length >= maxWaiting) {
    State.report(state, PoolEvent.Refused({ fiber: lease.fiber.id, waiting: state.waiters.length }))
    return new QueueFullError({ pool, maxWaiting, occupancy: View.occupancy(state) })
  }
  return undefined
}

/**
 * Ends the wait of callers whose deadline has passed. All errors are made before the first caller leaves the line, so
 * each shows the line as it was.
 */
export const timeOut = <C>(state: State.State<C>, late: ReadonlyArray<State.Waiter<C>>, now: number): void => {
  const waiting = late.filter((waiter) => waiter.lease.stage === "waiting")
  if (waiting.length === 0) return
  const numbers = numbersOf(state, now)
  const leases = Line.leasesByFiber(state)
  // The stack of an error that a timer makes says nothing, and takes time to make.
  const errors = withoutStack(() =>
    waiting.map((waiter) =>
      new AcquireTimeoutError({
        pool: state.settings.name,
        phase: View.phaseOf(state, waiter, now),
        waitedMillis: now - waiter.timedFrom,
        timeoutMillis: State.timeoutOf(state, waiter.lease),
        ...numbers,
        ...heldBy(leases.get(waiter.lease.fiber))
      })
    )
  )
  state.counters.timeouts += waiting.length
  for (const [index, waiter] of waiting.entries()) {
    const error = errors[index]!
    State.report(
      state,
      PoolEvent.AcquireTimedOut({ fiber: waiter.lease.fiber.id, waitedMillis: error.waitedMillis })
    )
    Line.refuse(state, waiter, error)
  }
}

interface Numbers {
  readonly occupancy: Occupancy
  readonly holders: ReadonlyArray<Holder>
  readonly abandoned?: ReadonlyArray<AbandonedConnection>
  readonly lastConnectError?: unknown
}

/** The numbers that all timeouts of one moment report. */
const numbersOf = <C>(state: State.State<C>, now: number): Numbers => ({
  occupancy: View.occupancy(state),
  holders: View.holders(state, now, 5),
  ...(state.abandoned.length === 0 ? undefined : { abandoned: View.abandoned(state, now, 5) }),
  ...(state.lastFailure === undefined ? undefined : { lastConnectError: errorOf(state.lastFailure) })
})

const errorOf = (reason: ConnectFailure<unknown>): unknown =>
  reason._tag === "ConnectTimedOut" ? withoutStack(() => new Error(failureText(reason))) : failureCause(reason)

/** The number of connections that the caller itself holds, as a field of its error; no field if it holds none. */
const heldBy = (leases: number | undefined): { readonly ownLeases?: number } =>
  leases === undefined ? {} : { ownLeases: leases }

const withoutStack = <A>(f: () => A): A => {
  const limit = Error.stackTraceLimit
  Error.stackTraceLimit = 0
  try {
    return f()
  } finally {
    Error.stackTraceLimit = limit
  }
}
