/** Slow statements: the event, the warning, and the list. */
import { assert, describe, it } from "@effect/vitest"
import { Effect, Fiber, Latch, Logger, Stream } from "effect"
import { ConnectionFactory, ConnectionPool, PoolEvent } from "effect-connection-pool"
import { TestClock } from "effect/testing"
import { SlowStatements } from "../src/internal/pool/slowStatements.ts"
import { Quantiles } from "../src/internal/structures/quantiles.ts"
import { settle } from "./support/pools.ts"
import { onWorkClock, slowOf } from "./support/slowStatements.ts"

const make = ConnectionPool.make({
  factory: ConnectionFactory.make<ConnectionFactory.Statements>({ connect: ConnectionFactory.Statements }),
  name: "app",
  max: 1,
  slowStatement: "100 millis",
  drainTimeout: 0
})

describe("a slow statement", () => {
  it.effect("is an event with its holder, from slowStatement on, however it ends", () =>
    onWorkClock((clock) =>
      Effect.gen(function*() {
        const pool = yield* make
        const slow = yield* slowOf(pool)
        const fiber = yield* Effect.fiberId
        yield* pool.use((connection) =>
          Effect.gen(function*() {
            connection.runSync("quick", () => clock.work(99.5))
            connection.runSync("in one step", () => clock.work(100))
            assert.throws(() =>
              connection.runSync("threw", () => {
                clock.work(200)
                throw new Error("no")
              })
            )
            yield* Effect.ignore(connection.run("failed", Effect.andThen(TestClock.adjust(300), Effect.fail("no"))))
            const fiber = yield* Effect.forkChild(connection.run("interrupted", Effect.never), {
              startImmediately: true
            })
            yield* TestClock.adjust(400)
            yield* Fiber.interrupt(fiber)
          }), { label: "report" })
        const events = yield* slow
        assert.deepStrictEqual(
          events.map(({ isBlocking, text, tookMillis }) => [text, tookMillis, isBlocking]),
          [
            ["in one step", 100, true],
            ["threw", 200, true],
            ["failed", 300, false],
            ["interrupted", 400, false]
          ]
        )
        assert.deepStrictEqual(
          events[0],
          PoolEvent.StatementSlow({
            connection: 1,
            text: "in one step",
            tookMillis: 100,
            slowAfterMillis: 100,
            isBlocking: true,
            holder: { connection: 1, label: "report", fiber, heldMillis: 199.5 },
            isLogged: true,
            unlogged: 0
          })
        )
      })
    ))

  it.effect("is reported before the lease ends, and not in the step of the statement", () =>
    onWorkClock((clock) =>
      Effect.gen(function*() {
        const pool = yield* make
        const slow = yield* slowOf(pool)
        yield* pool.use((connection) =>
          Effect.gen(function*() {
            connection.runSync("slow", () => clock.work(100))
            assert.strictEqual((yield* slow).length, 1)
          })
        )
      })
    ))

  it.effect("is reported while the pool shuts down, and not once it is closed", () =>
    onWorkClock((clock) =>
      Effect.gen(function*() {
        const pool = yield* make
        const slow = yield* slowOf(pool)
        const gate = yield* Latch.make()
        let used: ConnectionFactory.Statements | undefined
        yield* Effect.forkChild(
          pool.use((connection) => {
            used = connection
            return gate.await
          })
        )
        yield* settle
        const run = (text: string) =>
          Effect.andThen(Effect.sync(() => used!.runSync(text, () => clock.work(100))), settle)
        const closing = yield* Effect.forkChild(pool.shutdown({ drainTimeout: "1 minute" }))
        yield* settle
        yield* run("while it drains")
        yield* gate.open
        yield* Fiber.join(closing)
        yield* run("too late")
        assert.deepStrictEqual((yield* slow).map(({ text }) => text), ["while it drains"])
        assert.deepStrictEqual((yield* pool.slowStatements).map(({ runs, text }) => [text, runs]), [[
          "while it drains",
          1
        ]])
        assert.strictEqual((yield* pool.stats).slowStatements, 1)
      })
    ))

  it.effect("that is a stream takes as long as its reader waits for rows, and not as long as that works with them", () =>
    Effect.gen(function*() {
      const pool = yield* make
      const slow = yield* slowOf(pool)
      const rows = Stream.fromEffectRepeat(Effect.sleep(60)).pipe(Stream.take(3), Stream.rechunk(1))
      const read = yield* Effect.forkChild(
        pool.use((connection) => Stream.runForEach(connection.stream("rows", rows), () => Effect.sleep("1 minute")))
      )
      for (let turn = 0; turn < 10; turn++) yield* TestClock.adjust("1 minute")
      assert.isDefined(read.pollUnsafe())
      assert.deepStrictEqual((yield* slow).map(({ text, tookMillis }) => [text, tookMillis]), [["rows", 180]])
    }))

  it.effect("is logged once a minute for each text, and once a second for all, with the number of others", () =>
    onWorkClock((clock) =>
      Effect.gen(function*() {
        const lines: Array<string> = []
        const logger = Logger.make(({ logLevel, message }) =>
          void lines.push(`${logLevel} ${String(message)}`.replaceAll(/#\d+/g, "#?"))
        )
        yield* Effect.gen(function*() {
          const pool = yield* make
          yield* pool.use((connection) =>
            Effect.gen(function*() {
              const run = (text: string, millis: number) =>
                Effect.andThen(Effect.sync(() => connection.runSync(text, () => clock.work(millis))), settle)
              yield* run("a", 100)
              yield* run("b", 100)
              yield* run("a", 950)
              yield* run("b", 100)
              yield* run("a", 100)
              clock.work(60_000)
              yield* run("a", 100)
            }), { label: "report" })
        }).pipe(Effect.provide(Logger.layer([logger])))
        const blocking = "; nothing else in this process could run meanwhile"
        const line = (text: string, millis: number) =>
          `Warn slow statement: "${text}" of report (fiber #?) took ${millis} ms on connection 1 ` +
          `(slowStatement is 100 ms)${blocking}`
        assert.deepStrictEqual(lines, [
          line("a", 100),
          `${line("b", 100)}; 2 more were slow since the last such warning`,
          `${line("a", 100)}; 1 more was slow since the last such warning`
        ])
      })
    ))
})

describe("the list of slow statements", () => {
  it.effect("has their runs by text, those that took longest in total first", () =>
    onWorkClock((clock) =>
      Effect.gen(function*() {
        const pool = yield* make
        yield* pool.use((connection) =>
          Effect.sync(() => {
            for (let n = 0; n < 99; n++) connection.runSync("often", () => clock.work(100))
            connection.runSync("often", () => clock.work(2000))
            connection.runSync("once", () => clock.work(500))
            connection.runSync("quick", () => clock.work(99))
          })
        )
        clock.work(1000)
        const list = yield* pool.slowStatements
        // The buckets are 9 % wide.
        assert.closeTo(list[0]!.p99Millis, 100, 10)
        assert.deepStrictEqual(list, [
          {
            pool: "app",
            text: "often",
            runs: 100,
            totalMillis: 11_900,
            p99Millis: list[0]!.p99Millis,
            maxMillis: 2000,
            lastMillis: 2000,
            lastAgoMillis: 1599
          },
          {
            pool: "app",
            text: "once",
            runs: 1,
            totalMillis: 500,
            p99Millis: 500,
            maxMillis: 500,
            lastMillis: 500,
            lastAgoMillis: 1099
          }
        ])
      })
    ))

  it("keeps 100 texts: the one with the smallest total goes for another", () => {
    const slow = new SlowStatements()
    for (let n = 0; n < 100; n++) slow.note(`text ${n}`, 100 + ((n + 50) % 100), n)
    slow.note("another", 1, 100)
    slow.note("one more", 1, 101)
    const texts = slow.list("app", 200).map(({ text }) => text)
    assert.strictEqual(texts.length, 100)
    assert.notInclude(texts, "text 50")
    assert.notInclude(texts, "another")
    assert.include(texts, "text 51")
    assert.deepStrictEqual([texts[0], texts[99]], ["text 49", "one more"])
  })
})

describe("a quantile", () => {
  it("is at most a tenth too high, and never above the longest", () => {
    for (const scale of [0.02, 1, 37, 1000]) {
      const times = new Quantiles()
      for (let n = 1; n <= 1000; n++) times.record(n * scale)
      for (const part of [0.5, 0.9, 0.99, 1]) {
        const exact = part * 1000 * scale
        assert.isAtLeast(times.of(part), exact * 0.999_999)
        assert.isAtMost(times.of(part), Math.min(exact * 1.1, 1000 * scale))
      }
    }
  })

  it("of no duration is 0, and those of nothing and of hours count too", () => {
    const times = new Quantiles()
    assert.strictEqual(times.of(0.99), 0)
    times.record(0)
    assert.strictEqual(times.of(0.5), 0)
    times.record(10_000_000)
    assert.strictEqual(times.of(1), 10_000_000)
  })
})
