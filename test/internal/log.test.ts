import { assert, describe, it } from "@effect/vitest"
import { DateTime, Effect, Logger, References } from "effect"
import type { HealthReport, PoolEvent } from "effect-connection-pool"
import { logOf } from "../../src/internal/pool/log.ts"
import { failureText } from "../../src/PoolError.ts"

/** The line in the log for an event: its level and its text. */
const lineOf = (event: PoolEvent.PoolEvent) =>
  Effect.gen(function*() {
    const log = logOf(event)
    if (log === undefined) return undefined
    const lines: Array<string> = []
    const logger = Logger.make(({ logLevel, message }) => lines.push(`${logLevel}: ${String(message)}`))
    yield* log.pipe(
      Effect.provideService(References.MinimumLogLevel, "Debug"),
      Effect.provide(Logger.layer([logger]))
    )
    assert.strictEqual(lines.length, 1)
    return lines[0]
  })

const assertLines = (table: ReadonlyArray<readonly [event: object, line: string | undefined]>) =>
  Effect.forEach(
    table,
    ([event, line]) => Effect.map(lineOf(event as PoolEvent.PoolEvent), (found) => assert.strictEqual(found, line))
  )

const holder = { connection: 7, fiber: 21, heldMillis: 1499.6 }
const span = { spanId: "s1", traceId: "t1" }
const abandoned = { connection: 4, fiber: 9, abandonedMillis: 12.4 }

const changed = (from: HealthReport.HealthStatus | undefined, report: HealthReport.HealthReport) => ({
  _tag: "HealthChanged",
  from,
  report
})

const many = <A>(one: A) => Array.from({ length: 5000 }, () => one)

describe("the log of a pool", () => {
  it.effect("tells of connections that open, fail, leave and close", () =>
    assertLines([
      [{ _tag: "Connected", connection: 3, tookMillis: 12.4 }, "Debug: connection 3 is open, after 12 ms"],
      [
        { _tag: "ConnectFailed", connection: 3, reason: { _tag: "ConnectTimedOut", afterMillis: 70 } },
        "Warn: connection 3 could not be opened: no answer within 70 ms"
      ],
      [
        { _tag: "ConnectFailed", connection: 3, reason: { _tag: "ConnectFailed", error: new Error("refused") } },
        "Warn: connection 3 could not be opened: Error: refused"
      ],
      [
        { _tag: "ConnectFailed", connection: 3, reason: { _tag: "ConnectDied", defect: new TypeError("a bug") } },
        "Warn: connection 3 could not be opened: TypeError: a bug"
      ],
      ...Object.entries({
        dead: "it is no longer alive",
        invalid: "it failed its validation",
        reset: "it could not be reset",
        fatal: "a lease ended with a failure that its driver calls fatal"
      }).map(([reason, text]) =>
        [{ _tag: "Evicted", connection: 5, reason }, `Warn: connection 5 is evicted: ${text}`] as const
      ),
      [
        { _tag: "Evicted", connection: 5, reason: "driver", error: undefined },
        "Warn: connection 5 is evicted: its driver threw when a lease began or ended"
      ],
      [
        { _tag: "Evicted", connection: 5, reason: "driver", error: new Error("a bug") },
        "Warn: connection 5 is evicted: Error: a bug (its driver threw when a lease began or ended)"
      ],
      [
        { _tag: "Evicted", connection: 5, reason: "abandoned", error: new Error("lost") },
        "Warn: connection 5 is evicted: the end of what a caller has left was not seen: Error: lost"
      ],
      [{ _tag: "Evicted", connection: 5, reason: "lifetime" }, "Debug: connection 5 is evicted: lifetime"],
      [{ _tag: "Disconnected", connection: 5, error: undefined }, undefined],
      [
        { _tag: "Disconnected", connection: 5, error: new Error("no disk") },
        "Warn: connection 5 was closed with an error: Error: no disk"
      ],
      [
        { _tag: "CloseTimedOut", connection: 5 },
        "Warn: connection 5 did not close in time and was given up"
      ]
    ]))

  it.effect("tells of what callers have left on a connection", () =>
    assertLines([
      [
        { _tag: "ConnectionAbandoned", abandoned: { ...abandoned, label: "report", description: "select\n  1" } },
        "Debug: connection 4 is abandoned: it still runs what a caller has left: report #9, 12 ms ago (select 1)"
      ],
      [
        { _tag: "ConnectionAbandoned", abandoned: { ...abandoned, description: `select ${"x".repeat(113)}` } },
        `Debug: connection 4 is abandoned: it still runs what a caller has left: fiber #9, 12 ms ago (select ${
          "x".repeat(113)
        })`
      ],
      [
        { _tag: "ConnectionAbandoned", abandoned: { ...abandoned, description: `select ${"x".repeat(114)}` } },
        `Debug: connection 4 is abandoned: it still runs what a caller has left: fiber #9, 12 ms ago (select ${
          "x".repeat(113)
        }...)`
      ],
      [
        { _tag: "ConnectionSettled", abandoned, error: undefined },
        "Debug: connection 4 has settled: fiber #9, 12 ms ago"
      ],
      [{ _tag: "ConnectionSettled", abandoned, error: new Error("late") }, undefined],
      [
        { _tag: "LeftRunning", abandoned: [abandoned, { ...abandoned, connection: 6, label: "import" }] },
        "Warn: shutting down: what callers have left is still running, and is not waited for: connection 4: fiber #9, " +
        "12 ms ago; connection 6: import #9, 12 ms ago"
      ]
    ]))

  it.effect("tells of leases that are too long, and of transactions left open, with their holder", () =>
    assertLines([
      [
        { _tag: "LeakSuspected", holder },
        "Warn: possible leak: a caller (fiber #21) held connection 7 for 1500 ms and still does"
      ],
      [
        { _tag: "LeakReturned", holder: { ...holder, label: "report", span } },
        "Warn: no leak after all: report (fiber #21, span s1 of trace t1) held connection 7 for 1500 ms and has returned it"
      ],
      [
        { _tag: "TransactionLeftOpen", holder },
        "Warn: a transaction was left open and is rolled back: a caller (fiber #21) held connection 7 for 1500 ms, and " +
        "has returned it without a commit; use `transaction`, which ends with its body, or end it before the lease ends"
      ]
    ]))

  it.effect("tells of slow statements, of callers and of the driver", () => {
    const slow = {
      _tag: "StatementSlow",
      connection: 7,
      text: "select 1",
      tookMillis: 1499.6,
      slowAfterMillis: 100,
      isBlocking: false,
      isLogged: true,
      unlogged: 0
    }
    const statement = `Warn: slow statement: "select 1" of`
    const took = "took 1500 ms on connection 7 (slowStatement is 100 ms)"
    return assertLines([
      [{ ...slow, holder: undefined }, `${statement} the driver ${took}`],
      [{ ...slow, holder }, `${statement} a caller (fiber #21) ${took}`],
      [
        { ...slow, holder: { ...holder, label: "report" }, isBlocking: true, unlogged: 1 },
        `${statement} report (fiber #21) ${took}; nothing else in this process could run meanwhile; ` +
        "1 more was slow since the last such warning"
      ],
      [
        { ...slow, holder, isBlocking: true, advice: "run it elsewhere" },
        `${statement} a caller (fiber #21) ${took}; nothing else in this process could run meanwhile (run it elsewhere)`
      ],
      [{ ...slow, holder, isLogged: false }, undefined]
    ])
  })

  it.effect("has the texts of others in one line and cut, in every message", () => {
    const label = `report\n2026-01-01 ERROR forged\u001b[2J${"x".repeat(1_000_000)}`
    const text = `select\n'${"y".repeat(1_000_000)}'`
    const long = { ...holder, label, statement: { text: text.slice(0, 1000), isRunning: true, ranMillis: 3 } }
    const left = { ...abandoned, label, description: text }
    const events: ReadonlyArray<object> = [
      { _tag: "LeakSuspected", holder: long },
      { _tag: "LeakReturned", holder: long },
      { _tag: "TransactionLeftOpen", holder: long },
      { _tag: "Interrupting", holders: many(long) },
      { _tag: "ConnectionAbandoned", abandoned: left },
      { _tag: "ConnectionSettled", abandoned: left, error: undefined },
      { _tag: "LeftRunning", abandoned: many(left) },
      {
        _tag: "StatementSlow",
        connection: 7,
        text,
        tookMillis: 1,
        slowAfterMillis: 1,
        isBlocking: true,
        isLogged: true,
        unlogged: 9,
        holder: long
      },
      { _tag: "ConnectFailed", connection: 3, reason: { _tag: "ConnectFailed", error: new Error(text) } },
      { _tag: "Evicted", connection: 5, reason: "driver", error: new Error(text) },
      { _tag: "Disconnected", connection: 5, error: text },
      changed("healthy", {
        pool: "orders",
        status: "unhealthy",
        reasons: [{ _tag: "CannotConnect", attempts: 3, error: failureText({ _tag: "ConnectFailed", error: text }) }],
        checkedAt: DateTime.makeUnsafe(0)
      } as unknown as HealthReport.HealthReport)
    ]
    return Effect.forEach(events, (event) =>
      Effect.map(lineOf(event as PoolEvent.PoolEvent), (line) => {
        const name = (event as PoolEvent.PoolEvent)._tag
        assert.isBelow(line!.length, name === "Interrupting" || name === "LeftRunning" ? 6000 : 1300, name)
        assert.notMatch(line!, /\p{Cc}/u, name)
      }))
  })

  it.effect("tells what an operator did, and how the pool shuts down", () =>
    assertLines([
      [{ _tag: "Paused" }, "Info: paused: callers wait"],
      [{ _tag: "Resumed" }, "Info: resumed"],
      [{ _tag: "Resized", min: 1, max: 8 }, "Info: resized: min is 1, max is 8"],
      [{ _tag: "Recycled", connections: 1 }, "Info: recycled: 1 connection is evicted"],
      [{ _tag: "Recycled", connections: 2 }, "Info: recycled: 2 connections are evicted"],
      [{ _tag: "Draining", leases: 1 }, "Debug: shutting down: 1 lease is held"],
      [{ _tag: "Draining", leases: 0 }, "Debug: shutting down: 0 leases are held"],
      [
        { _tag: "Interrupting", holders: [holder, { ...holder, label: "report", connection: 8 }] },
        "Warn: shutting down: fibers that still hold a connection are interrupted: a caller (fiber #21) held connection 7 " +
        "for 1500 ms; report (fiber #21) held connection 8 for 1500 ms"
      ],
      [{ _tag: "Closed" }, "Debug: closed"],
      [{ _tag: "Returned", connection: 1 }, undefined]
    ]))

  it.effect("tells of a change of health, louder the worse it is", () =>
    Effect.gen(function*() {
      const report = (status: HealthReport.HealthStatus, ...reasons: HealthReport.HealthReport["reasons"]) => ({
        pool: "orders",
        status,
        reasons,
        checkedAt: DateTime.makeUnsafe(0),
        connections: { passed: 0, failed: 0, opened: 0, inUse: 0 }
      })
      yield* assertLines([
        [changed(undefined, report("healthy")), "Debug: health: healthy"],
        [changed("degraded", report("healthy")), "Info: health: healthy, was degraded"],
        [
          changed(
            "healthy",
            report("degraded", { _tag: "Paused" }, { _tag: "CallersTurnedAway", timeouts: 1, refused: 2 })
          ),
          "Warn: health: degraded, was healthy: the pool is paused; 1 caller timed out and 2 were refused lately"
        ],
        [changed("degraded", report("degraded", { _tag: "Paused" })), "Warn: health: degraded: the pool is paused"],
        [changed(undefined, report("unhealthy", { _tag: "Closed" })), "Error: health: unhealthy: the pool is closed"]
      ])
    }))
})
