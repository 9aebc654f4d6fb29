/** What a round of checks says about the health of a pool. Nothing here is an Effect. */
import type { DateTime } from "effect"
import type { CheckReport, HealthReason, HealthReport, HealthStatus } from "../HealthReport.ts"
import { failureText } from "../PoolError.ts"

/** A check, what it came to, and what has to be remembered of it. */
export interface Judgement {
  readonly check: CheckReport
  readonly report: HealthReport
  /** Callers were turned away: since these were the numbers, and last found by the check at `lastAt`. */
  readonly turnedAway: { readonly since: Turned; readonly lastAt: number } | undefined
}

interface Turned {
  readonly timeouts: number
  readonly refused: number
}

/** What a check says, given what the one before said. */
export const judge = (check: CheckReport, before: Judgement | undefined, now: DateTime.Utc): Judgement => {
  const turnedAway = turnedAwayBy(check, before, now.epochMilliseconds)
  const reasons = reasonsOf(check, turnedAway?.since)
  const hasReached = check.passed > 0 || check.connected === true
  const error = errorOf(check)
  const lastSuccessAt = hasReached ? now : before?.report.lastSuccessAt
  const lastError = error === undefined ? before?.report.lastError : { at: now, error }
  return {
    check,
    turnedAway,
    report: {
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
}

/** Callers who come together time out together: it is over only when nobody was turned away for as long as one may wait. */
const turnedAwayBy = (check: CheckReport, before: Judgement | undefined, now: number): Judgement["turnedAway"] => {
  if (before === undefined) return undefined
  const { refused, timeouts } = before.check.stats
  if (check.stats.timeouts > timeouts || check.stats.refused > refused) {
    return { since: before.turnedAway?.since ?? { timeouts, refused }, lastAt: now }
  }
  const calmMillis = Math.min(check.acquireTimeoutMillis, 30_000)
  return before.turnedAway !== undefined && now - before.turnedAway.lastAt < calmMillis ? before.turnedAway : undefined
}

const statusOf = (check: CheckReport, reasons: ReadonlyArray<HealthReason>, hasReached: boolean): HealthStatus => {
  if (!check.isOpen) return "unhealthy"
  if (reasons.length === 0) return "healthy"
  if (hasReached) return "degraded"
  // Connections in use may well work. Those that were idle do not, and no other can be opened.
  const isLost = check.failed.length > 0 || (check.connectFailures > 0 && check.stats.inUse === 0)
  return isLost ? "unhealthy" : "degraded"
}

const reasonsOf = (check: CheckReport, since: Turned | undefined): ReadonlyArray<HealthReason> => {
  const { connectFailures, failed, isOpen, isPaused, lastConnectFailure, passed, stats } = check
  if (!isOpen) return [{ _tag: "Closed" }]
  const reasons: Array<HealthReason> = []
  if (lastConnectFailure !== undefined) {
    reasons.push({ _tag: "CannotConnect", attempts: connectFailures, error: failureText(lastConnectFailure) })
  }
  if (failed.length > 0) reasons.push({ _tag: "ConnectionsFailed", checked: passed + failed.length, failed })
  if (isPaused) reasons.push({ _tag: "Paused" })
  if (since !== undefined) {
    reasons.push({
      _tag: "CallersTurnedAway",
      timeouts: stats.timeouts - since.timeouts,
      refused: stats.refused - since.refused
    })
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
