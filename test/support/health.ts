/** What tests of health checkers share. */
import { Effect } from "effect"
import type { HealthReport } from "effect-connection-pool"
import { borrow, type Pool } from "./pools.ts"

/** The tags of the reasons, after the status. */
export const summary = ({ reasons, status }: HealthReport.HealthReport) => [status, ...reasons.map(({ _tag }) => _tag)]

/** The status, and each reason with its side. */
export const summaryOfSides = ({ reasons, status }: HealthReport.HealthReport) => [
  status,
  ...reasons.map(({ _tag, side }) => `${side}: ${_tag}`)
]

/** Opens connections: takes so many leases at once, and gives them back. */
export const open = (pool: Pool, count: number) =>
  Effect.gen(function*() {
    const leases = yield* Effect.forEach(Array.from({ length: count }), () => borrow(pool))
    for (const lease of leases) yield* lease.giveBack
  })
