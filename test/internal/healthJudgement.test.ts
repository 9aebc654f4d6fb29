import { assert, describe, it } from "@effect/vitest"
import { DateTime } from "effect"
import type { ConnectionStats, HealthReport } from "effect-connection-pool"
import { type CheckResult, combine, isSame, judge, type Judgement } from "../../src/internal/pool/health.ts"

const at = (millis: number) => DateTime.makeUnsafe(millis)

type Given = Partial<Omit<CheckResult, "stats">> & { readonly stats?: Partial<ConnectionStats.ConnectionStats> }

const result = ({ stats, ...given }: Given): CheckResult => ({
  passed: 0,
  failed: [],
  busy: 0,
  connected: undefined,
  isOpen: true,
  isPaused: false,
  connectFailures: 0,
  lastConnectFailure: undefined,
  longestWaitMillis: 0,
  acquireTimeoutMillis: 10_000,
  abandoned: { count: 0, longestMillis: 0 },
  ...given,
  stats: {
    pool: "orders",
    maxAbandoned: 1,
    inUse: 0,
    waiting: 0,
    timeouts: 0,
    refused: 0,
    ...stats
  } as ConnectionStats.ConnectionStats
})

const report = (given: Given) => judge(result(given), undefined, at(5)).report
const noAnswer = { _tag: "ConnectTimedOut", afterMillis: 70 } as const
const failed = [{ connection: 3, reason: "dead" }, { connection: 8, reason: "invalid" }] as const

describe("the judgement of a check", () => {
  it("has the status of a pool that works, that works in part, or that is lost", () => {
    const status = (given: Given) => report(given).status
    assert.strictEqual(status({}), "healthy")
    assert.strictEqual(status({ passed: 3 }), "healthy")
    assert.strictEqual(status({ isOpen: false, passed: 3 }), "unhealthy")
    assert.strictEqual(status({ isPaused: true }), "degraded")
    assert.strictEqual(status({ passed: 1, failed }), "degraded")
    assert.strictEqual(status({ connected: true, failed }), "degraded")
    assert.strictEqual(status({ connected: false, failed }), "unhealthy")
    assert.strictEqual(status({ failed }), "unhealthy")
    const lost = { connectFailures: 1, lastConnectFailure: noAnswer }
    assert.strictEqual(status(lost), "unhealthy")
    assert.strictEqual(status({ ...lost, stats: { inUse: 1 } }), "degraded")
    assert.strictEqual(status({ ...lost, passed: 1 }), "degraded")
    // One that was lost at once has no failed attempt.
    assert.strictEqual(status({ lastConnectFailure: noAnswer }), "degraded")
  })

  it("names all reasons, the worst first, with their numbers", () => {
    const all = {
      connectFailures: 4,
      lastConnectFailure: noAnswer,
      passed: 2,
      failed,
      isPaused: true,
      abandoned: { count: 2, longestMillis: 900 },
      longestWaitMillis: 5001,
      stats: { waiting: 7 }
    }
    const expected = [
      { _tag: "CannotConnect", attempts: 4, error: "no answer within 70 ms" },
      { _tag: "ConnectionsFailed", checked: 4, failed },
      { _tag: "Paused" },
      { _tag: "ConnectionsAbandoned", abandoned: 2, maxAbandoned: 1, longestMillis: 900 },
      { _tag: "CallersWaiting", waiting: 7, longestMillis: 5001 }
    ]
    assert.deepStrictEqual<unknown>(report(all).reasons, expected)
    // At the limits there is no reason.
    assert.deepStrictEqual(report({ longestWaitMillis: 5000, abandoned: { count: 1, longestMillis: 9 } }).reasons, [])
    assert.deepStrictEqual(report({ ...all, isOpen: false }).reasons, [{ _tag: "Closed" }])
  })

  it("counts what the round has found", () => {
    assert.deepStrictEqual(report({ passed: 2, failed, connected: true, stats: { inUse: 5 } }).connections, {
      passed: 2,
      failed: 2,
      opened: 1,
      inUse: 5
    })
    assert.deepStrictEqual(report({ connected: false }).connections, { passed: 0, failed: 0, opened: 0, inUse: 0 })
    assert.deepStrictEqual([report({}).pool, report({}).checkedAt], ["orders", at(5)])
  })

  it("keeps the last success and the last error of the checks before it", () => {
    const first = judge(result({ passed: 1, failed }), undefined, at(10))
    assert.deepStrictEqual([first.report.lastSuccessAt, first.report.lastError], [
      at(10),
      { at: at(10), error: "connection 8 failed its validation" }
    ])
    const second = judge(result({}), first, at(20))
    assert.deepStrictEqual([second.report.lastSuccessAt, second.report.lastError], [at(10), first.report.lastError])
    const third = judge(result({ connected: true, failed: [failed[0]] }), second, at(30))
    assert.deepStrictEqual([third.report.lastSuccessAt, third.report.lastError], [
      at(30),
      { at: at(30), error: "connection 3 was no longer alive" }
    ])
    // An attempt that failed comes before connections that did.
    const fourth = judge(result({ failed, lastConnectFailure: noAnswer, connected: false }), third, at(40))
    assert.deepStrictEqual([fourth.report.lastSuccessAt, fourth.report.lastError], [
      at(30),
      { at: at(40), error: "no answer within 70 ms" }
    ])
    const none = report({})
    assert.isFalse("lastSuccessAt" in none || "lastError" in none)
  })
})

const reasons = ({ report }: Judgement) => report.reasons as ReadonlyArray<unknown>
const away = (timeouts: number, refused: number) => [{ _tag: "CallersTurnedAway", timeouts, refused }]

describe("callers who were turned away", () => {
  const turned = (
    before: Judgement | undefined,
    now: number,
    timeouts: number,
    refused: number,
    acquireTimeoutMillis = 10_000
  ) => judge(result({ acquireTimeoutMillis, stats: { timeouts, refused } }), before, at(now))

  it("are counted from the check before the first of them, until none was for an acquire timeout", () => {
    const first = turned(undefined, 0, 100, 50)
    assert.deepStrictEqual(reasons(first), [])
    const second = turned(first, 1000, 101, 50)
    assert.deepStrictEqual(reasons(second), away(1, 0))
    const third = turned(second, 2000, 101, 53)
    assert.deepStrictEqual(reasons(third), away(1, 3))
    const fourth = turned(third, 11_999, 101, 53)
    assert.deepStrictEqual(reasons(fourth), away(1, 3))
    assert.deepStrictEqual(reasons(turned(fourth, 12_000, 101, 53)), [])
    // Those after that are counted anew.
    const calm = turned(fourth, 12_000, 101, 53)
    assert.deepStrictEqual(reasons(turned(calm, 13_000, 103, 53)), away(2, 0))
    assert.deepStrictEqual(reasons(turned(first, 1000, 100, 51)), away(0, 1))
  })

  it("are told for 30 seconds at most", () => {
    const first = turned(undefined, 0, 0, 0, 60_000)
    const second = turned(first, 1000, 1, 0, 60_000)
    assert.deepStrictEqual(reasons(turned(second, 30_999, 1, 0, 60_000)), away(1, 0))
    assert.deepStrictEqual(reasons(turned(second, 31_000, 1, 0, 60_000)), [])
  })
})

describe("the report of several sides", () => {
  const side = (given: Given, now: number, before?: Judgement) => judge(result(given), before, at(now)).report

  it("has the worst status, and the reasons of all, those of the worst side first", () => {
    const sides = {
      well: side({ passed: 1, stats: { inUse: 1 } }, 30),
      lost: side({ connected: false, failed: [failed[0]], stats: { inUse: 2 } }, 10),
      slow: side({ connected: true, isPaused: true, stats: { inUse: 4 } }, 20)
    }
    const { checkedAt, connections, pool, reasons, sides: given, status } = combine("shop", sides)
    assert.deepStrictEqual([pool, status, checkedAt], ["shop", "unhealthy", at(30)])
    assert.deepStrictEqual<unknown>(reasons, [
      { _tag: "ConnectionsFailed", checked: 1, failed: [failed[0]], side: "lost" },
      { _tag: "Paused", side: "slow" }
    ])
    assert.deepStrictEqual(connections, { passed: 1, failed: 1, opened: 1, inUse: 7 })
    assert.strictEqual(given, sides)
    assert.strictEqual(combine("shop", { slow: sides.slow, well: sides.well }).status, "degraded")
    assert.strictEqual(combine("shop", { well: sides.well }).status, "healthy")
  })

  it("had its last success when all had one, and the last error of any", () => {
    const one = side({ passed: 1, failed: [failed[0]] }, 10)
    const other = side({ passed: 1, failed: [failed[1]] }, 20)
    const both = combine("shop", { other, one })
    assert.deepStrictEqual([both.lastSuccessAt, both.lastError], [
      at(10),
      { at: at(20), error: "other: connection 8 failed its validation" }
    ])
    const never = combine("shop", { one, never: side({}, 30) })
    assert.isFalse("lastSuccessAt" in never)
    assert.deepStrictEqual(never.lastError, { at: at(10), error: "one: connection 3 was no longer alive" })
    assert.isFalse("lastError" in combine("shop", { well: side({ passed: 1 }, 1) }))
  })
})

describe("two reports", () => {
  it("are the same if status, reasons and sides are", () => {
    const paused = report({ isPaused: true })
    assert.isTrue(isSame(paused, report({ isPaused: true, passed: 5 })))
    assert.isFalse(isSame(paused, report({})))
    assert.isFalse(isSame(paused, report({ isPaused: true, passed: 1, failed })))
    assert.isFalse(isSame(report({ passed: 1, failed }), paused))
    assert.isFalse(isSame({ ...paused, status: "unhealthy" }, paused))
    const of = (side: string): HealthReport.HealthReport => ({ ...paused, reasons: [{ _tag: "Paused", side }] })
    assert.isTrue(isSame(of("a"), of("a")))
    assert.isFalse(isSame(of("a"), of("b")))
  })
})
