/** What a round of checks says about the health of a pool. Nothing here is an Effect. */
import type { DateTime } from "effect"
import type { ConnectionStats } from "../../ConnectionStats.ts"
import type { CheckReport, HealthReason, HealthReport, HealthStatus, SideHealth } from "../../HealthReport.ts"
import { type ConnectFailure, failureText } from "../../PoolError.ts"

/** What a round of checks has found, and the state of the pool that its health is judged by. */
export interface CheckResult extends CheckReport {
  /** Whether the pool has not begun to shut down. */
  readonly isOpen: boolean
  readonly isPaused: boolean
  /** Rounds of attempts to connect that have failed since one succeeded, and why the last did. */
  readonly connectFailures: number
  readonly lastConnectFailure: ConnectFailure<unknown> | undefined
  /** How long the first in line has waited, in milliseconds; 0 if nobody waits. And how long it may. */
  readonly longestWaitMillis: number
  readonly acquireTimeoutMillis: number
  /** The pool's numbers at the end of the round. */
  readonly stats: ConnectionStats
}

/** A check, what it came to, and what has to be remembered of it. */
export interface Judgement {
  readonly check: CheckResult
  readonly report: HealthReport
  /** Callers were turned away: since these were the numbers, and last found by the check at `lastAt`. */
  readonly turnedAway: { readonly since: Turned; readonly lastAt: number } | undefined
}

interface Turned {
  readonly timeouts: number
  readonly refused: number
}

/** What a check says, given what the one before said. */
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

/** Callers who come together time out together: it is over only when nobody was turned away for as long as one may wait. */
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
  // Connections in use may well work. Those that were idle do not, and no other can be opened.
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

/** One report for several sides. The worst comes first, and decides. */
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

/** Whether two reports come to the same: the same status for the same kinds of reasons. */
export const isSame = (a: HealthReport, b: HealthReport): boolean =>
  a.status === b.status && a.reasons.length === b.reasons.length &&
  a.reasons.every(({ _tag, side }, place) => _tag === b.reasons[place]!._tag && side === b.reasons[place]!.side)
