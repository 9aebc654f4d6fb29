/** Leases and abandoned connections as errors, events and reports show them. */
import type { AbandonedConnection, Holder } from "../../PoolError.ts"
import type { Entry, Lease } from "./state.ts"
import { statementOf } from "./statements.ts"

/** A lease as errors and events show it. */
export const holderOf = <C>(entry: Entry<C>, now: number): Holder => {
  const lease = entry.lease!
  const statement = statementOf(entry.statements, lease, now)
  const caller = callerOf(entry, lease, now)
  return statement === undefined ? caller : { ...caller, statement }
}

/** The lease of a caller, without the statement that it runs. */
export const callerOf = <C>(entry: Entry<C>, lease: Lease<C>, now: number): Holder => {
  const { span } = lease
  const label = lease.options?.label ?? (span?._tag === "Span" ? span.name : undefined)
  return {
    connection: entry.id,
    ...(label === undefined ? undefined : { label }),
    ...(span === undefined ? undefined : { span: { traceId: span.traceId, spanId: span.spanId } }),
    fiber: lease.fiber.id,
    heldMillis: now - entry.leasedAt
  }
}

/** An abandoned connection as errors, events and reports show it. */
export const abandonedOf = <C>(entry: Entry<C>, now: number): AbandonedConnection => {
  const { holder: { heldMillis: _, statement, ...holder }, unfinished } = entry.abandonment!
  const running = statement?.isRunning === true ? statement.text : undefined
  const description = typeof unfinished.description === "string" ? unfinished.description : running
  return {
    ...holder,
    ...(description === undefined ? undefined : { description }),
    abandonedMillis: now - entry.beganAt
  }
}
