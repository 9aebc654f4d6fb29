/** What a round of checks says about the health of a pool. Nothing here is an Effect. */
import type { DateTime } from "effect"
import type { CheckReport, HealthReason, HealthReport, HealthStatus } from "../HealthReport.ts"
import { failureText } from "../PoolError.ts"

/** The report on a check, given the check and the report before. */
export const judge = (
  check: CheckReport,
  before: { readonly check: CheckReport; readonly report: HealthReport } | undefined,
  now: DateTime.Utc
): HealthReport => {
  const reasons = reasonsOf(check, before?.check)
  const hasReached = check.passed > 0 || check.connected === true
  const error = errorOf(check)
  const lastSuccessAt = hasReached ? now : before?.report.lastSuccessAt
  const lastError = error === undefined ? before?.report.lastError : { at: now, error }
  return {
    pool: check.stats.pool,
    status: statusOf(check, reasons, hasReached),
    reasons,
    checkedAt: now,
    ...(lastSuccessAt === undefined ? undefined : { lastSuccessAt }),
    ...(lastError === undefined ? undefined : { lastError }),
    connections: {
      passed: check.passed,
      failed: check.failed.length,
      opened: check.connected === true ? 1 : 0,
      inUse: check.stats.inUse
    }
  }
}

const statusOf = (check: CheckReport, reasons: ReadonlyArray<HealthReason>, hasReached: boolean): HealthStatus => {
  if (!check.isOpen) return "unhealthy"
  if (reasons.length === 0) return "healthy"
  if (hasReached) return "degraded"
  // Connections in use may well work. Those that were idle do not, and no other can be opened.
  const isLost = check.failed.length > 0 || (check.connectFailures > 0 && check.stats.inUse === 0)
  return isLost ? "unhealthy" : "degraded"
}

const reasonsOf = (check: CheckReport, before: CheckReport | undefined): ReadonlyArray<HealthReason> => {
  const { connectFailures, failed, isOpen, isPaused, lastConnectFailure, passed, stats } = check
  if (!isOpen) return [{ _tag: "Closed" }]
  const reasons: Array<HealthReason> = []
  if (lastConnectFailure !== undefined) {
    reasons.push({ _tag: "CannotConnect", attempts: connectFailures, error: failureText(lastConnectFailure) })
  }
  if (failed.length > 0) reasons.push({ _tag: "ConnectionsFailed", checked: passed + failed.length, failed })
  if (isPaused) reasons.push({ _tag: "Paused" })
  if (before !== undefined) {
    const timeouts = stats.timeouts - before.stats.timeouts
    const refused = stats.refused - before.stats.refused
    if (timeouts + refused > 0) reasons.push({ _tag: "CallersTurnedAway", timeouts, refused })
  }
  if (check.longestWaitMillis > check.acquireTimeoutMillis / 2) {
    reasons.push({ _tag: "CallersWaiting", waiting: stats.waiting, longestMillis: check.longestWaitMillis })
  }
  return reasons
}

const errorOf = ({ failed, lastConnectFailure }: CheckReport): string | undefined => {
  if (lastConnectFailure !== undefined) return failureText(lastConnectFailure)
  const last = failed.at(-1)
  if (last === undefined) return undefined
  return last.reason === "dead"
    ? `connection ${last.connection} was no longer alive`
    : `connection ${last.connection} failed its validation`
}
