import { assert, describe, it } from "@effect/vitest"
import { Effect, Fiber, Latch, Logger, References, Stream } from "effect"
import { PoolMap, type PoolMapEvent } from "effect-connection-pool"
import { PoolAssert } from "effect-connection-pool/testing"
import { TestClock } from "effect/testing"
import { hold, makeMap, OpenError, type TestMap } from "./support/poolMaps.ts"
import { settle } from "./support/pools.ts"

/** The log lines of an effect: level, message, and the map they were annotated with. */
const logged = <A, E, R>(effect: Effect.Effect<A, E, R>) =>
  Effect.gen(function*() {
    const lines: Array<string> = []
    const logger = Logger.make(({ fiber, logLevel, message }) => {
      const { map } = fiber.getRef(References.CurrentLogAnnotations)
      lines.push(`${logLevel} ${String(map)}: ${String(message)}`)
    })
    yield* Effect.provide(
      Effect.provideService(effect, References.MinimumLogLevel, "Debug"),
      Logger.layer([logger])
    )
    return lines.map((line) => line.replaceAll(/#\d+/g, "#?"))
  })

/** Does everything that a map tells of, at times that differ from each other. */
const story = Effect.fnUntraced(function*(before: (map: TestMap["map"]) => Effect.Effect<void>) {
  yield* TestClock.adjust("1 minute")
  const dead = new Set<number>()
  const { closing, failures, map, opening } = yield* makeMap({
    name: "customers",
    max: 2,
    acquireTimeout: "20 seconds",
    openTimeout: "5 seconds",
    closeTimeout: "3 seconds",
    idleTimeout: "10 seconds",
    stateOf: ({ number }) => dead.has(number) ? "closed" : "idle"
  })
  yield* before(map)
  // Opened after 1.5 seconds, then shut down by others and opened again, then closed for being idle.
  yield* opening.close
  const first = yield* Effect.forkChild(map.use("a", Effect.succeed))
  yield* settle
  yield* TestClock.adjust("1500 millis")
  yield* opening.open
  dead.add((yield* Fiber.join(first)).number)
  yield* map.use("a", Effect.succeed)
  yield* TestClock.adjust("10 seconds")
  // One that fails, and one that does not open in time.
  failures.push(new OpenError("no disk"))
  yield* PoolAssert.failsWith(map.use("b", Effect.succeed), "OpenError")
  yield* opening.close
  const late = yield* Effect.forkChild(PoolAssert.failsWith(map.use("c", Effect.succeed), "PoolOpenTimeoutError"))
  yield* settle
  yield* TestClock.adjust("5 seconds")
  yield* Fiber.join(late)
  yield* opening.open
  // One whose close takes 4 seconds.
  yield* map.use("d", Effect.succeed)
  yield* closing.close
  yield* map.invalidate("d")
  yield* TestClock.adjust("4 seconds")
  yield* closing.open
  yield* settle
  // Two that are held for different times when the map is shut down, and a caller that gets no room.
  yield* hold(map, "e", { label: "report" })
  yield* TestClock.adjust("2 seconds")
  yield* hold(map, "f")
  const refused = yield* Effect.forkChild(
    PoolAssert.failsWith(map.use("g", Effect.succeed, { timeout: 700 }), "PoolMapTimeoutError")
  )
  yield* settle
  yield* TestClock.adjust(700)
  yield* Fiber.join(refused)
  const report = yield* Effect.forkChild(map.shutdown({ drainTimeout: "1 second" }))
  yield* settle
  yield* TestClock.adjust("1 second")
  yield* Fiber.join(report)
})

describe("the log of a map of pools", () => {
  it.effect("tells an operator what happens to pools, with the name of the map", () =>
    Effect.gen(function*() {
      assert.deepStrictEqual(yield* logged(Effect.scoped(story(() => Effect.void))), [
        "Debug customers: the pool for \"a\" is open, after 1500 ms",
        "Warn customers: the pool for \"a\" was shut down by others, and is opened again when needed",
        "Debug customers: the pool for \"a\" is open, after 0 ms",
        "Debug customers: the pool for \"a\" is evicted: idle",
        "Warn customers: the pool for \"b\" could not be opened: OpenError: no disk",
        "Warn customers: the pool for \"c\" could not be opened: PoolOpenTimeoutError: map \"customers\": the pool for " +
        "\"c\" did not open within 5000 ms, which is openTimeout: its open was interrupted; look at what open waits for, " +
        "or raise openTimeout",
        "Debug customers: the pool for \"d\" is open, after 0 ms",
        "Debug customers: the pool for \"d\" is evicted: invalidated",
        "Warn customers: the pool for \"d\" has not closed within 3000 ms, and takes up room until it has",
        "Debug customers: the pool for \"e\" is open, after 0 ms",
        "Debug customers: the pool for \"f\" is open, after 0 ms",
        "Debug customers: shutting down: 2 leases are held",
        "Warn customers: shutting down: fibers that still hold a pool are interrupted: report #? holds \"e\" for 3700 ms; " +
        "fiber #? holds \"f\" for 1700 ms",
        "Debug customers: the pool for \"e\" is evicted: shutdown",
        "Debug customers: the pool for \"f\" is evicted: shutdown",
        "Debug customers: closed"
      ])
    }))

  it.effect("tells of a pool that was closed with an error, and of a single lease", () =>
    Effect.gen(function*() {
      const lines = yield* logged(Effect.scoped(Effect.gen(function*() {
        const map = yield* PoolMap.make({
          name: "customers",
          open: (key: string) => Effect.acquireRelease(Effect.succeed(key), () => Effect.die(new Error("no disk")))
        })
        const latch = yield* Latch.make(false)
        const holder = yield* Effect.forkChild(map.use("a", () => latch.await))
        yield* settle
        const shutdown = yield* Effect.forkChild(map.shutdown({ drainTimeout: "1 minute" }))
        yield* settle
        yield* latch.open
        yield* Fiber.join(holder)
        yield* Fiber.join(shutdown)
      })))
      assert.deepStrictEqual(lines, [
        "Debug customers: the pool for \"a\" is open, after 0 ms",
        "Debug customers: shutting down: 1 lease is held",
        "Debug customers: the pool for \"a\" is evicted: shutdown",
        "Warn customers: the pool for \"a\" was closed with an error: Error: no disk",
        "Debug customers: closed"
      ])
    }))
})

const opened = (key: string, tookMillis: number) => ({ _tag: "Opened", key, tookMillis })
const evicted = (key: string, reason: string) => ({ _tag: "Evicted", key, reason })
const closed = (key: string, tookMillis: number) => ({ _tag: "Closed", key, error: undefined, tookMillis })

describe("the events of a map of pools", () => {
  it.effect("say what happened, and how long it took", () =>
    Effect.gen(function*() {
      const events: Array<PoolMapEvent.PoolMapEvent<string>> = []
      yield* Effect.scoped(story((map) =>
        Effect.andThen(
          Effect.forkDetach(Stream.runForEach(map.events, (event) => Effect.sync(() => void events.push(event)))),
          settle
        )
      ))
      yield* settle
      const shown: ReadonlyArray<unknown> = events.map((event) => {
        switch (event._tag) {
          case "OpenFailed":
            return {
              _tag: "OpenFailed",
              key: event.key,
              error: (event.error as OpenError)._tag,
              tookMillis: event.tookMillis
            }
          case "TimedOut":
            assert.isNumber(event.fiber)
            return { _tag: "TimedOut", key: event.key, waitedMillis: event.waitedMillis }
          case "Interrupting":
            return event.holders.map(({ heldMillis, key, label }) => [key, label, heldMillis])
          default:
            return event
        }
      })
      assert.deepStrictEqual(shown, [
        opened("a", 1500),
        evicted("a", "closed"),
        closed("a", 0),
        opened("a", 0),
        evicted("a", "idle"),
        closed("a", 0),
        { _tag: "OpenFailed", key: "b", error: "OpenError", tookMillis: 0 },
        { _tag: "OpenFailed", key: "c", error: "PoolOpenTimeoutError", tookMillis: 5000 },
        opened("d", 0),
        evicted("d", "invalidated"),
        { _tag: "CloseOverdue", key: "d", waitedMillis: 3000 },
        closed("d", 4000),
        opened("e", 0),
        opened("f", 0),
        { _tag: "TimedOut", key: "g", waitedMillis: 700 },
        { _tag: "Draining", leases: 2 },
        [["\"e\"", "report", 3700], ["\"f\"", undefined, 1700]],
        evicted("e", "shutdown"),
        evicted("f", "shutdown"),
        closed("e", 0),
        closed("f", 0),
        { _tag: "ShutDown" }
      ])
    }))
})
