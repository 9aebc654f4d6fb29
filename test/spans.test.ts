import { assert, describe, it } from "@effect/vitest"
import { Effect, Exit, Fiber, Option, Tracer } from "effect"
import { ConnectionPool, InMemoryConnection } from "effect-connection-pool"
import { PoolAssert, Sweep } from "effect-connection-pool/testing"
import { TestClock } from "effect/testing"
import { borrow, make, settle } from "./support/pools.ts"
import { tracing } from "./support/tracing.ts"

/** Runs an effect with a tracer that keeps every span. */
const traced = <A, E, R>(f: (spans: ReadonlyArray<Tracer.Span>) => Effect.Effect<A, E, R>) =>
  Effect.suspend(() => {
    const { spans, tracer } = tracing()
    return Effect.provideService(f(spans), Tracer.Tracer, tracer)
  })

/** Name, parent, milliseconds from its start to its end, and how it ended. */
const told = ({ name, parent, status }: Tracer.Span) => [
  name,
  Option.match(parent, {
    onNone: () => undefined,
    onSome: (parent) => parent._tag === "Span" ? parent.name : "?"
  }),
  status._tag === "Ended" ? Number(status.endTime - status.startTime) / 1e6 : "open",
  status._tag === "Ended" ? status.exit._tag : "open"
]

describe("spans", () => {
  it.effect("are made of the wait in line, under the caller's, and end before its body begins", () =>
    traced((spans) =>
      Effect.gen(function*() {
        const { faulty, pool } = yield* make({ name: "orders", min: 1, max: 1, validateAfterIdle: "Infinity" })
        const lease = yield* borrow(pool)
        const caller = yield* Effect.forkChild(
          Effect.withSpan(pool.use(() => Effect.withSpan(Effect.sleep("5 seconds"), "body")), "request")
        )
        yield* TestClock.adjust("2 seconds")
        yield* lease.giveBack
        yield* TestClock.adjust("5 seconds")
        yield* Fiber.join(caller)
        assert.deepStrictEqual(spans.map(told), [
          ["ConnectionPool.connect", undefined, 0, "Success"],
          ["request", undefined, 7000, "Success"],
          ["ConnectionPool.acquire", "request", 2000, "Success"],
          ["body", "request", 5000, "Success"]
        ])
        assert.deepStrictEqual(spans.map(({ kind }) => kind), ["client", "internal", "internal", "internal"])
        assert.deepStrictEqual(Object.fromEntries(spans[0]!.attributes), {
          "db.client.connection.pool.name": "orders",
          connection: 1
        })
        assert.deepStrictEqual(Object.fromEntries(spans[2]!.attributes), { "db.client.connection.pool.name": "orders" })
        yield* PoolAssert.nothingLeaked(faulty, pool)
      })
    ))

  it.effect("are not made for callers that do not wait", () =>
    traced((spans) =>
      Effect.gen(function*() {
        const { pool } = yield* make({ min: 1 })
        yield* Effect.withSpan(pool.use(() => Effect.void), "request")
        yield* pool.useSync(() => undefined)
        yield* Effect.scoped(pool.acquire())
        assert.deepStrictEqual(spans.map(({ name }) => name), ["ConnectionPool.connect", "request"])
      })
    ))

  it.effect("show whether a wait failed or was interrupted", () =>
    traced((spans) =>
      Effect.gen(function*() {
        const { pool } = yield* make({ max: 1 })
        yield* borrow(pool)
        const late = yield* Effect.forkChild(Effect.flip(pool.use(() => Effect.void, { timeout: "3 seconds" })))
        const gone = yield* Effect.forkChild(Effect.scoped(pool.acquire()))
        const sync = yield* Effect.forkChild(Effect.flip(pool.useSync(() => undefined, { timeout: "4 seconds" })))
        yield* TestClock.adjust("1 second")
        yield* Fiber.interrupt(gone)
        yield* TestClock.adjust("9 seconds")
        assert.deepStrictEqual([(yield* Fiber.join(late))._tag, (yield* Fiber.join(sync))._tag], [
          "AcquireTimeoutError",
          "AcquireTimeoutError"
        ])
        const waits = spans.filter(({ name }) => name === "ConnectionPool.acquire")
        assert.deepStrictEqual(waits.map((span) => told(span)[2]), [0, 3000, 1000, 4000])
        assert.deepStrictEqual(waits.map((span) => told(span)[3]), ["Success", "Failure", "Failure", "Failure"])
      })
    ))

  it.effect("show whether an attempt failed or was given up", () =>
    traced((spans) =>
      Effect.gen(function*() {
        const { faulty, pool } = yield* make({
          max: 1,
          connectTimeout: "2 seconds",
          driver: { interruptibleConnect: true }
        })
        yield* faulty.connect.fail(1, { transient: true })
        yield* faulty.connect.hang()
        yield* Effect.forkChild(Effect.withSpan(pool.use(() => Effect.void), "request"))
        yield* TestClock.adjust("1 minute")
        assert.deepStrictEqual(spans.filter(({ name }) => name === "ConnectionPool.connect").map(told), [
          ["ConnectionPool.connect", undefined, 0, "Failure"],
          ["ConnectionPool.connect", undefined, 2000, "Failure"],
          ["ConnectionPool.connect", undefined, 0, "Success"]
        ])
      })
    ))

  it.effect("change nothing for a body that returns no Effect", () =>
    traced(() =>
      Effect.gen(function*() {
        const { faulty, pool } = yield* make({ max: 1 })
        const exit = yield* Effect.exit(pool.use(() => undefined as unknown as Effect.Effect<void>))
        assert.isTrue(Exit.hasDies(exit))
        yield* PoolAssert.nothingLeaked(faulty, pool)
      })
    ))

  it.effect("lose no connection, wherever the caller is interrupted", () =>
    traced(() =>
      Effect.gen(function*() {
        const report = yield* Sweep.run({
          setup: make({ max: 1 }),
          scenario: ({ pool }) =>
            Effect.all([
              pool.use((connection) => connection.run),
              pool.use((connection) => Effect.andThen(Effect.yieldNow, connection.run)),
              Effect.scoped(Effect.flatMap(pool.acquire(), (connection) => connection.run))
            ], { concurrency: "unbounded" }),
          check: ({ faulty, pool }) => Effect.andThen(settle, PoolAssert.nothingLeaked(faulty, pool)),
          budgets: [3, 24],
          turns: [0, 12]
        })
        assert.isAbove(report.interrupted, report.cases / 4)
      })
    ), 20_000)

  it.effect("are not made without a tracer", () =>
    Effect.gen(function*() {
      const pool = yield* ConnectionPool.make({ factory: InMemoryConnection.factory(), max: 1 })
      const seen: Array<string> = []
      const name = Effect.map(Effect.currentSpan, (span) => seen.push(span.name))
      const hold = yield* Effect.forkChild(pool.use(() => Effect.sleep("1 second")))
      yield* settle
      const waiting = yield* Effect.forkChild(Effect.withSpan(pool.use(() => name), "request"))
      yield* settle
      const span = waiting.cache.span
      assert.strictEqual(span?._tag === "Span" ? span.name : undefined, "request")
      yield* TestClock.adjust("1 second")
      yield* Fiber.join(hold)
      yield* Fiber.join(waiting)
      assert.deepStrictEqual(seen, ["request"])
    }))
})
