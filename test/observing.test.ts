import { assert, describe, it } from "@effect/vitest"
import { Effect, Fiber, Latch, Logger, References, Scheduler, Stream, type Tracer } from "effect"
import { ConnectionPool, PoolEvent } from "effect-connection-pool"
import { FaultyFactory, PoolAssert } from "effect-connection-pool/testing"
import { TestClock } from "effect/testing"
import { borrow, make, type Pool, settle } from "./support/pools.ts"

/** The log lines of the effect: level, message and the pool they were annotated with. */
const logged = <A, E, R>(effect: Effect.Effect<A, E, R>) =>
  Effect.gen(function*() {
    const lines: Array<string> = []
    const logger = Logger.make(({ fiber, logLevel, message }) => {
      const { pool } = fiber.getRef(References.CurrentLogAnnotations)
      lines.push(`${logLevel} ${String(pool)}: ${String(message)}`)
    })
    const value = yield* Effect.provide(
      Effect.provideService(effect, References.MinimumLogLevel, "Debug"),
      Logger.layer([logger])
    )
    return { lines, value }
  })

/** The events from now on, as they come. */
const record = Effect.fnUntraced(function*(pool: Pool) {
  const events: Array<PoolEvent.PoolEvent> = []
  yield* Effect.forkDetach(Stream.runForEach(pool.events, (event) => Effect.sync(() => void events.push(event))))
  yield* settle
  return events
})

describe("holders", () => {
  it.effect("are those with a lease, longest first, by label or span", () =>
    Effect.gen(function*() {
      const { pool } = yield* make({ max: 3 })
      const first = yield* borrow(pool, { label: "report" })
      yield* TestClock.adjust("5 seconds")
      const spans: Array<Tracer.Span> = []
      const noted = Effect.andThen(Effect.map(Effect.currentSpan, (span) => spans.push(span)), Effect.never)
      const second = yield* Effect.forkChild(Effect.withSpan(pool.use(() => noted), "checkout"))
      yield* settle
      const { spanId, traceId } = spans[0]!
      yield* TestClock.adjust("1 second")
      const third = yield* borrow(pool)
      assert.deepStrictEqual(yield* pool.holders, [
        { connection: 1, label: "report", fiber: first.fiber.id, heldMillis: 6000 },
        { connection: 2, label: "checkout", span: { traceId, spanId }, fiber: second.id, heldMillis: 1000 },
        { connection: 3, fiber: third.fiber.id, heldMillis: 0 }
      ])
    }))
})

describe("connections", () => {
  it.effect("tell what each is doing", () =>
    Effect.gen(function*() {
      const { faulty, pool } = yield* make({ max: 7 })
      const leases = yield* Effect.forEach([1, 2, 3, 4, 5], () => borrow(pool))
      yield* TestClock.adjust("5 seconds")
      yield* leases[3]!.giveBack
      yield* TestClock.adjust("2 seconds")
      yield* Effect.all([faulty.connect.hold, faulty.validate.hold, faulty.reset.hold, faulty.disconnect.hold])
      const callers = yield* Effect.forEach([1, 2, 3], () => borrow(pool))
      yield* leases[0]!.connection!.soil
      yield* leases[0]!.giveBack
      yield* pool.invalidate(leases[1]!.connection!)
      yield* leases[1]!.giveBack
      yield* faulty.kill(3)
      yield* leases[2]!.giveBack
      const found = (yield* pool.connections).map(({ ageMillis, id, idleMillis, state, uses }) =>
        [id, state, uses, ageMillis, idleMillis] as const
      )
      assert.deepStrictEqual(found, [
        [6, "connecting", 0, 0, 0],
        [7, "connecting", 0, 0, 0],
        [4, "validating", 1, 7000, 2000],
        [5, "in use", 0, 7000, 7000],
        [1, "resetting", 1, 7000, 0],
        [2, "closing", 1, 7000, 0],
        [3, "error", 1, 7000, 0]
      ])
      yield* Effect.all([faulty.connect.open, faulty.validate.open, faulty.reset.open, faulty.disconnect.open])
      yield* settle
      for (const caller of callers) yield* caller.giveBack
      yield* leases[4]!.giveBack
      yield* PoolAssert.nothingLeaked(faulty, pool)
    }))
})

describe("leaks", () => {
  it.effect("are reported once when a lease is out for too long, and again when it comes back", () =>
    Effect.gen(function*() {
      const { lines } = yield* logged(Effect.scoped(Effect.gen(function*() {
        const { pool } = yield* make({ name: "orders", leakThreshold: "30 seconds" })
        const events = yield* record(pool)
        const lease = yield* borrow(pool, { label: "report" })
        const quick = yield* borrow(pool)
        yield* TestClock.adjust("29 seconds")
        yield* quick.giveBack
        yield* TestClock.adjust("1 second")
        yield* TestClock.adjust("1 minute")
        const holder = { connection: 1, label: "report", fiber: lease.fiber.id }
        yield* lease.giveBack
        yield* settle
        assert.deepStrictEqual(events.filter((event) => event._tag.startsWith("Leak")), [
          PoolEvent.LeakSuspected({ holder: { ...holder, heldMillis: 30_000 } }),
          PoolEvent.LeakReturned({ holder: { ...holder, heldMillis: 90_000 } })
        ])
        assert.strictEqual((yield* pool.stats).leaks, 1)
        yield* borrow(pool)
        yield* TestClock.adjust("30 seconds")
        assert.strictEqual((yield* pool.stats).leaks, 2)
      })))
      const leaks = lines.filter((line) => line.includes("leak"))
      assert.deepStrictEqual(leaks.map((line) => line.replace(/#\d+/, "#?")), [
        "Warn orders: possible leak: report (fiber #?) held connection 1 for 30000 ms and still does",
        "Warn orders: no leak after all: report (fiber #?) held connection 1 for 90000 ms and has returned it",
        "Warn orders: possible leak: a caller (fiber #?) held connection 1 for 30000 ms and still does",
        "Warn orders: no leak after all: a caller (fiber #?) held connection 1 for 30000 ms and has returned it"
      ])
    }))
})

describe("several leaks", () => {
  it.effect("are reported once each, each at its own time", () =>
    Effect.gen(function*() {
      const { pool } = yield* make({ leakThreshold: "30 seconds" })
      const events = yield* record(pool)
      const lease = yield* borrow(pool)
      yield* TestClock.adjust("10 seconds")
      const later = yield* borrow(pool)
      yield* TestClock.adjust("2 minutes")
      assert.deepStrictEqual(
        events.flatMap((event) => event._tag === "LeakSuspected" ? [event.holder.connection] : []),
        [1, 2]
      )
      assert.strictEqual((yield* pool.stats).leaks, 2)
      yield* lease.giveBack
      yield* later.giveBack
    }))
})

describe("events", () => {
  it.effect("tell what happens, in order", () =>
    Effect.gen(function*() {
      const { faulty, pool } = yield* make({ max: 1, maxWaiting: 1, maxUses: 2 })
      const events = yield* record(pool)
      const fiber = yield* Effect.fiberId
      yield* pool.use(() => TestClock.adjust("2 seconds"))
      const lease = yield* borrow(pool)
      const waiting = yield* Effect.forkChild(Effect.flip(pool.use(() => Effect.void, { timeout: "1 second" })))
      yield* settle
      yield* Effect.flip(pool.use(() => Effect.void))
      yield* TestClock.adjust("1 second")
      yield* Fiber.join(waiting)
      yield* lease.giveBack
      yield* faulty.connect.fail()
      yield* Effect.flip(pool.use(() => Effect.void))
      yield* pool.pause
      yield* pool.resume
      yield* pool.resize({ max: 2 })
      yield* pool.recycle
      yield* pool.shutdown()
      yield* settle
      assert.deepStrictEqual(events.map(({ _tag }) => _tag), [
        "Connected",
        "CheckedOut",
        "Returned",
        "CheckedOut",
        "Refused",
        "AcquireTimedOut",
        "Returned",
        "Evicted",
        "Disconnected",
        "ConnectFailed",
        "Paused",
        "Resumed",
        "Resized",
        "Recycled",
        "Draining",
        "Closed"
      ])
      assert.deepStrictEqual(events[1], PoolEvent.CheckedOut({ connection: 1, fiber, waitedMillis: 0 }))
      assert.deepStrictEqual(events[2], PoolEvent.Returned({ connection: 1, fiber, heldMillis: 2000 }))
      assert.deepStrictEqual(events[5], PoolEvent.AcquireTimedOut({ fiber: waiting.id, waitedMillis: 1000 }))
      assert.deepStrictEqual(events[7], PoolEvent.Evicted({ connection: 1, reason: "uses" }))
    }))

  it.effect("end with the pool, also for readers that come later", () =>
    Effect.gen(function*() {
      const { pool } = yield* make()
      const reading = yield* Effect.forkChild(Stream.runCollect(pool.events))
      yield* settle
      yield* pool.shutdown()
      assert.deepStrictEqual(Array.from(yield* Fiber.join(reading)), [
        PoolEvent.Draining({ leases: 0 }),
        PoolEvent.Closed()
      ])
      assert.deepStrictEqual(Array.from(yield* Stream.runCollect(pool.events)), [])
    }))

  it.effect("end with the pool wherever their reader's fiber yields", () =>
    Effect.gen(function*() {
      for (let operations = 3; operations <= 24; operations++) {
        for (let turns = 0; turns < 12; turns++) {
          const { pool } = yield* make()
          const reader = yield* Effect.forkDetach(
            Effect.provideService(Stream.runDrain(pool.events), Scheduler.MaxOpsBeforeYield, operations)
          )
          for (let turn = 0; turn < turns; turn++) yield* Effect.yieldNow
          yield* pool.shutdown()
          for (let turn = 0; turn < 300 && reader.pollUnsafe() === undefined; turn++) yield* Effect.yieldNow
          assert.isDefined(
            reader.pollUnsafe(),
            `reads events of a closed pool: ${operations} operations, ${turns} turns`
          )
        }
      }
    }))

  it.effect("never slow the pool: a reader that is too slow is told how many it missed", () =>
    Effect.gen(function*() {
      const { pool } = yield* make({ max: 1 })
      const events: Array<PoolEvent.PoolEvent> = []
      let isSlow = true
      yield* Effect.forkDetach(
        Stream.runForEach(
          pool.events,
          (event) => isSlow ? Effect.never : Effect.sync(() => void events.push(event))
        ).pipe(Effect.timeoutOption("1 second"), Effect.repeat({ times: 1 }))
      )
      yield* settle
      for (let use = 0; use < 2000; use++) yield* pool.use(() => Effect.void)
      assert.strictEqual((yield* pool.stats).checkouts, 2000)
      isSlow = false
      yield* TestClock.adjust("1 second")
      yield* settle
      yield* pool.use(() => Effect.void)
      yield* settle
      assert.deepStrictEqual(events.map(({ _tag }) => _tag), ["CheckedOut", "Returned"])
    }))

  it.effect("that were missed last are reported at the end", () =>
    Effect.gen(function*() {
      const { pool } = yield* make({ max: 1 })
      const gate = yield* Latch.make()
      const seen: Array<PoolEvent.PoolEvent> = []
      const reader = yield* Effect.forkChild(Stream.runForEach(pool.events, (event) =>
        Effect.andThen(
          Effect.sync(() => {
            seen.push(event)
          }),
          gate.await
        )))
      yield* settle
      yield* pool.use(() => Effect.void)
      // The reader takes the first events, and waits at the gate with them.
      yield* settle
      for (let use = 0; use < 1000; use++) yield* pool.use(() => Effect.void)
      yield* pool.shutdown()
      yield* gate.open
      yield* Fiber.join(reader)
      const missed = seen.filter((event) => event._tag === "Missed").map((event) => event.events)
      const { checkouts, returns } = yield* pool.stats
      // Besides those of the leases: connected, draining, evicted, disconnected, closed.
      assert.strictEqual(seen.length - missed.length + missed.reduce((a, b) => a + b, 0), checkouts + returns + 5)
      assert.strictEqual(seen.at(-1)?._tag, "Missed")
    }))

  it.effect("that were missed are counted for the reader", () =>
    Effect.gen(function*() {
      const { pool } = yield* make({ max: 1 })
      let go: (() => void) | undefined
      const events: Array<PoolEvent.PoolEvent> = []
      yield* Effect.forkDetach(Stream.runForEach(pool.events, (event) =>
        events.push(event) === 1
          ? Effect.callback<void>((resume) => void (go = () => resume(Effect.void)))
          : Effect.void))
      yield* settle
      for (let use = 0; use < 1500; use++) {
        yield* pool.useSync(() => 1)
      }
      yield* settle
      go!()
      yield* settle
      yield* pool.useSync(() => 1)
      yield* settle
      const missed = events.filter((event) => event._tag === "Missed")
      assert.isAbove(missed.length, 0)
      // A connect, and two events for each use: what was read and what was missed is all there was.
      const read = events.length - missed.length
      assert.strictEqual(missed.reduce((sum, event) => sum + event.events, read), 1 + 2 * 1501)
    }))
})

describe("the log", () => {
  it.effect("tells an operator what goes wrong, with the name of the pool", () =>
    Effect.gen(function*() {
      const { lines } = yield* logged(Effect.scoped(Effect.gen(function*() {
        const faulty = yield* FaultyFactory.make()
        const pool = yield* ConnectionPool.make({
          factory: faulty.factory,
          name: "orders",
          max: 1,
          closeTimeout: "1 second",
          connectTimeout: "2 seconds"
        })
        yield* faulty.connect.fail()
        yield* Effect.exit(pool.use(() => Effect.void))
        yield* faulty.connect.hang()
        const waiting = yield* borrow(pool)
        yield* TestClock.adjust("3 seconds")
        yield* waiting.giveBack
        yield* faulty.kill(waiting.connection!.id)
        yield* pool.use(() => Effect.void)
        yield* faulty.disconnect.die()
        yield* pool.recycle
        yield* pool.use(() => Effect.void)
        yield* faulty.disconnect.hang()
        yield* pool.recycle
        yield* TestClock.adjust("1 second")
        yield* pool.pause
        yield* pool.resize({ min: 0, max: 2 })
        yield* pool.resume
        yield* borrow(pool, { label: "report" })
        yield* Effect.forkChild(pool.shutdown({ drainTimeout: "2 seconds" }))
        yield* TestClock.adjust("2 seconds")
      })))
      assert.deepStrictEqual(lines.map((line) => line.replace(/#\d+/, "#?")), [
        "Warn orders: connection 1 could not be opened: FaultyError: connect of connection 1 was made to fail",
        "Warn orders: connection 2 could not be opened: no answer within 2000 ms",
        "Debug orders: connection 3 is open, after 0 ms",
        "Warn orders: connection 3 is evicted: it is no longer alive",
        "Debug orders: connection 4 is open, after 0 ms",
        "Debug orders: connection 4 is evicted: recycled",
        "Info orders: recycled: 1 connection is evicted",
        "Warn orders: connection 4 was closed with an error: Error: disconnect of connection 4 was made to die",
        "Debug orders: connection 5 is open, after 0 ms",
        "Debug orders: connection 5 is evicted: recycled",
        "Info orders: recycled: 1 connection is evicted",
        "Warn orders: connection 5 did not close in time and was given up",
        "Info orders: paused: callers wait",
        "Info orders: resized: min is 0, max is 2",
        "Info orders: resumed",
        "Debug orders: connection 6 is open, after 0 ms",
        "Debug orders: shutting down: 1 lease is held",
        "Warn orders: shutting down: fibers that still hold a connection are interrupted: " +
        "report (fiber #?) held connection 6 for 2000 ms",
        "Debug orders: connection 6 is evicted: shutdown",
        "Debug orders: closed"
      ])
    }))
})
