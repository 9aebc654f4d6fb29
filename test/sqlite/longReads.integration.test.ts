import { assert, describe, it } from "@effect/vitest"
import { Cause, Context, Effect, Exit, type Fiber } from "effect"
import { SqliteConnection, SqlitePool, SqlitePoolError } from "effect-connection-pool/sqlite"
import { TestClock } from "effect/testing"
import { pinningOf } from "../../src/sqlite/internal/connection/leased.ts"
import { Pins } from "../../src/sqlite/internal/file/pins.ts"
import { file } from "../support/files.ts"
import { settle } from "../support/pools.ts"

describe("the ages of reads", () => {
  it.effect("are watched of those that have not ended, nor been ended otherwise", () =>
    Effect.gen(function*() {
      const filename = yield* file
      const expired: Array<number> = []
      const pins = new Pins(1000, yield* Effect.context<never>(), (heldMillis) => expired.push(heldMillis))
      const begin = Effect.fnUntraced(function*() {
        const lent = yield* SqliteConnection.open({ filename })
        pins.begin(pinningOf(lent), pins.now())
        lent.execUnsafe("begin; select * from sqlite_schema")
        return lent
      })
      const ended = yield* begin()
      pins.end(pinningOf(ended))
      const revoked = yield* begin()
      pins.revokeAll("because")
      assert.throws(() => revoked.queryUnsafe("select 1"), /because/)
      yield* TestClock.adjust("500 millis")
      const old = yield* begin()
      assert.strictEqual(pins.oldestMillis(pins.now()), 0)
      yield* TestClock.adjust("999 millis")
      assert.strictEqual(pins.oldestMillis(pins.now()), 999)
      assert.deepStrictEqual(old.valuesUnsafe("select 1"), [[1]])
      yield* TestClock.adjust("1 millis")
      assert.throws(() => old.queryUnsafe("select 1"), /more than maxReadAge/)
      assert.deepStrictEqual(expired, [1000])
      assert.deepStrictEqual(ended.valuesUnsafe("select 1"), [[1]])
      assert.strictEqual(pins.oldestMillis(pins.now()), undefined)
      pins.stop()
    }))

  it.effect("are those of leases that pin a state now, and not of older leases that pin nothing", () =>
    Effect.gen(function*() {
      const filename = yield* file
      const pins = new Pins(Infinity, yield* Effect.context<never>(), () => {})
      const older = yield* SqliteConnection.open({ filename })
      pins.begin(pinningOf(older), pins.now())
      yield* TestClock.adjust("500 millis")
      const newer = yield* SqliteConnection.open({ filename })
      pins.begin(pinningOf(newer), pins.now())
      newer.execUnsafe("begin; select * from sqlite_schema")
      yield* TestClock.adjust("200 millis")
      assert.strictEqual(pins.oldestMillis(pins.now()), 200)
      older.execUnsafe("begin; select * from sqlite_schema")
      assert.strictEqual(pins.oldestMillis(pins.now()), 700)
      pins.stop()
    }))

  it.effect("are watched of all others when the end of one ends another", () =>
    Effect.gen(function*() {
      const pool = yield* SqlitePool.make({
        filename: yield* file,
        readers: 3,
        maxReadAge: "2 seconds",
        drainTimeout: 0
      })
      const fibers: Array<Fiber.Fiber<unknown, unknown>> = []
      const hold = pool.snapshot(Effect.andThen(pool.sql`select count(*) from sqlite_schema`, Effect.never))
      const endsTheNext = Effect.onExit(hold, () => Effect.sync(() => fibers[1]!.interruptUnsafe()))
      for (const one of [endsTheNext, hold, hold]) {
        fibers.push(yield* Effect.forkDetach(one))
        yield* settle
      }
      yield* TestClock.adjust("2 seconds")
      yield* settle
      for (const fiber of [fibers[0]!, fibers[2]!]) {
        const exit = fiber.pollUnsafe()
        assert.isTrue(exit !== undefined && Exit.isFailure(exit))
        assert.instanceOf(
          Cause.squash((exit as Exit.Failure<unknown, unknown>).cause),
          SqlitePoolError.SnapshotExpiredError
        )
      }
    }))

  it.effect("never keep the process alive, not after they were looked at either", () =>
    Effect.gen(function*() {
      const lent = yield* SqliteConnection.open({ filename: yield* file })
      /** Timers that the test lets ring. */
      const timers: Array<{ readonly ring: () => void; isAwaited: boolean }> = []
      const real = globalThis.setTimeout
      yield* Effect.acquireRelease(
        Effect.sync(() => {
          globalThis.setTimeout = ((ring: () => void) => {
            const timer = { ring, isAwaited: true }
            timers.push(timer)
            const set = (isAwaited: boolean) => () => {
              timer.isAwaited = isAwaited
            }
            return { ref: set(true), unref: set(false) }
          }) as unknown as typeof setTimeout
        }),
        () =>
          Effect.sync(() => {
            globalThis.setTimeout = real
          })
      )
      // On the clock of the machine.
      const pins = new Pins(50, Context.empty(), () => {})
      pins.begin(pinningOf(lent), pins.now())
      for (let at = 0; at < 3; at++) {
        assert.strictEqual(timers.length, at + 1)
        assert.isFalse(timers[at]!.isAwaited)
        // It holds on to nothing, so it is looked at again later.
        timers[at]!.ring()
      }
      pins.end(pinningOf(lent))
      pins.stop()
    }))
})
