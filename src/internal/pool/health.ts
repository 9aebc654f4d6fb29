/** Judges the health of a pool by what a round has found. Nothing here is an Effect. */
import type { DateTime } from "effect"
import type { ConnectionStats } from "../../ConnectionStats.ts"
import type { CheckReport, HealthReason, HealthReport, HealthStatus, SideHealth } from "../../HealthReport.ts"
import { type ConnectFailure, failureText } from "../../PoolError.ts"

/** What a round has found, and the state of the pool at its end. */
export interface CheckResult extends CheckReport {
  /** Whether the pool has not begun to shut down. */
  readonly isOpen: boolean
  readonly isPaused: boolean
  /** Failures to connect since an attempt succeeded. Attempts that ran beside each other count once. */
  readonly connectFailures: number
  /** Why the last connect attempt failed. Not set if it succeeded. */
  readonly lastConnectFailure: ConnectFailure<unknown> | undefined
  /** How long the first waiter has waited. 0 if nobody waits. */
  readonly longestWaitMillis: number
  readonly acquireTimeoutMillis: number
  /** The connections that have been abandoned for long: their number, and for how long the first has been. */
  readonly abandoned: { readonly count: number; readonly longestMillis: number }
  /** The pool's numbers at the end of the round. */
  readonly stats: ConnectionStats
}

/** The report of a check, and what the next check needs to know of it. */
export interface Judgement {
  readonly check: CheckResult
  readonly report: HealthReport
  /**
   * Set while callers are refused or time out: the numbers before that began, and the time of the last check that saw
   * it.
   */
  readonly turnedAway: { readonly since: Turned; readonly lastAt: number } | undefined
}

interface Turned {
  readonly timeouts: number
  readonly refused: number
}

/** Judges what a check has found. `before` is the judgement of the check before it. */
export const judge = (check: CheckResult, before: Judgement | undefined, now: DateTime.Utc): Judgement => {
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

/**
 * Counts the callers who were refused or timed out. Callers who arrive together time out together, so this ends only
 * after no caller was turned away for one acquire timeout, or for 30 seconds if that is shorter.
 */
const turnedAwayBy = (check: CheckResult, before: Judgement | undefined, now: number): Judgement["turnedAway"] => {
  if (before === undefined) return undefined
  const { refused, timeouts } = before.check.stats
  if (check.stats.timeouts > timeouts || check.stats.refused > refused) {
    return { since: before.turnedAway?.since ?? { timeouts, refused }, lastAt: now }
  }
  const calmMillis = Math.min(check.acquireTimeoutMillis, 30_000)
  return before.turnedAway !== undefined && now - before.turnedAway.lastAt < calmMillis ? before.turnedAway : undefined
}

const statusOf = (check: CheckResult, reasons: ReadonlyArray<HealthReason>, hasReached: boolean): HealthStatus => {
  if (!check.isOpen) return "unhealthy"
  if (reasons.length === 0) return "healthy"
  if (hasReached) return "degraded"
  // Connections in use may still work. Without them, the pool has no connection that is known to work.
  const isLost = check.failed.length > 0 || (check.connectFailures > 0 && check.stats.inUse === 0)
  return isLost ? "unhealthy" : "degraded"
}

const reasonsOf = (check: CheckResult, since: Turned | undefined): ReadonlyArray<HealthReason> => {
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
  const { abandoned: { count, longestMillis } } = check
  if (count > stats.maxAbandoned) {
    reasons.push({ _tag: "ConnectionsAbandoned", abandoned: count, maxAbandoned: stats.maxAbandoned, longestMillis })
  }
  if (check.longestWaitMillis > check.acquireTimeoutMillis / 2) {
    reasons.push({ _tag: "CallersWaiting", waiting: stats.waiting, longestMillis: check.longestWaitMillis })
  }
  return reasons
}

const errorOf = ({ failed, lastConnectFailure }: CheckResult): string | undefined => {
  if (lastConnectFailure !== undefined) return failureText(lastConnectFailure)
  const last = failed.at(-1)
  if (last === undefined) return undefined
  return last.reason === "dead"
    ? `connection ${last.connection} was no longer alive`
    : `connection ${last.connection} failed its validation`
}

const statuses: ReadonlyArray<HealthStatus> = ["unhealthy", "degraded", "healthy"]

/** Makes one report for several sides. The side with the worst status comes first, and decides the status. */
export const combine = (pool: string, sides: Readonly<Record<string, SideHealth>>): HealthReport => {
  const entries = Object.entries(sides).toSorted(([, a], [, b]) =>
    statuses.indexOf(a.status) - statuses.indexOf(b.status)
  )
  const reports = entries.map(([, report]) => report)
  const checks = reports.map(({ checkedAt }) => checkedAt)
  const successes = reports.flatMap(({ lastSuccessAt }) => lastSuccessAt ?? [])
  const errors = entries.flatMap(([side, { lastError }]) =>
    lastError === undefined ? [] : [{ at: lastError.at, error: `${side}: ${lastError.error}` }]
  )
  const lastError = errors.toSorted((a, b) => byTime(a.at, b.at)).at(-1)
  const sum = (count: (report: SideHealth) => number) => reports.reduce((sum, report) => sum + count(report), 0)
  return {
    pool,
    status: reports[0]!.status,
    reasons: entries.flatMap(([side, { reasons }]) => reasons.map((reason) => ({ ...reason, side }))),
    checkedAt: checks.toSorted(byTime).at(-1)!,
    ...(successes.length < reports.length ? undefined : { lastSuccessAt: successes.toSorted(byTime)[0]! }),
    ...(lastError === undefined ? undefined : { lastError }),
    connections: {
      passed: sum(({ connections }) => connections.passed),
      failed: sum(({ connections }) => connections.failed),
      opened: sum(({ connections }) => connections.opened),
      inUse: sum(({ connections }) => connections.inUse)
    },
    sides
  }
}

const byTime = (a: DateTime.Utc, b: DateTime.Utc): number => a.epochMilliseconds - b.epochMilliseconds

/** Whether two reports have the same status and the same kinds of reasons. */
export const isSame = (a: HealthReport, b: HealthReport): boolean =>
  a.status === b.status && a.reasons.length === b.reasons.length &&
  a.reasons.every(({ _tag, side }, index) => _tag === b.reasons[index]!._tag && side === b.reasons[index]!.side)
