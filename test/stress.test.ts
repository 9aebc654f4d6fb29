import { assert, describe, it } from "@effect/vitest"
import { Cause, Effect, Exit, Random } from "effect"
import { PoolAssert } from "effect-connection-pool/testing"
import { TestClock } from "effect/testing"
import { make } from "./support/pools.ts"

describe("under stress", () => {
  for (const callers of [100, 10_000]) {
    it.effect(
      `${callers} callers over 4 connections, some interrupted, some failing, lose nothing`,
      () =>
        Effect.gen(function*() {
          const { faulty, pool } = yield* make({ max: 4, maxUses: 50, validateAfterIdle: 0 })
          yield* faulty.validate.fail(4)
          const ends = { succeeded: 0, failed: 0, died: 0, interrupted: 0 }
          const inside = new Set<number>()
          let most = 0
          const caller = Effect.gen(function*() {
            const dice = yield* Random.nextIntBetween(0, 10)
            const steps = yield* Random.nextIntBetween(0, 5)
            const use = pool.use((connection) =>
              Effect.gen(function*() {
                assert.isFalse(inside.has(connection.id), "two callers in one connection")
                inside.add(connection.id)
                most = Math.max(most, inside.size)
                yield* connection.run
                for (let step = 0; step < steps; step++) yield* Effect.yieldNow
                if (dice === 0) return yield* Effect.fail("failed")
                if (dice === 1) return yield* Effect.die("died")
                if (dice === 2) yield* connection.soil
                if (dice === 3) yield* faulty.kill(connection.id)
              }).pipe(Effect.ensuring(Effect.sync(() => inside.delete(connection.id))))
            )
            const work = dice === 4
              ? pool.useSync((connection) => connection.id)
              : dice === 5
              ? Effect.scoped(Effect.flatMap(pool.acquire(), (connection) => connection.run))
              : use
            const turns = yield* Random.nextIntBetween(0, 40)
            const exit = yield* Effect.exit(
              dice >= 8
                ? Effect.raceFirst(
                  work,
                  Effect.andThen(Effect.repeat(Effect.yieldNow, { times: turns }), Effect.interrupt)
                )
                : work
            )
            if (Exit.isSuccess(exit)) ends.succeeded++
            else if (Cause.hasDies(exit.cause)) ends.died++
            else if (Cause.hasFails(exit.cause)) ends.failed++
            else ends.interrupted++
          })
          yield* Effect.forEach(Array.from({ length: callers }), () => caller, {
            concurrency: "unbounded",
            discard: true
          })
          const stats = yield* pool.stats
          assert.strictEqual(ends.succeeded + ends.failed + ends.died + ends.interrupted, callers)
          for (const count of Object.values(ends)) assert.isAbove(count, 0)
          assert.isAtMost(most, 4)
          assert.isAtMost((yield* faulty.counters).mostOpen, 4)
          assert.strictEqual(stats.checkouts, stats.returns)
          assert.deepStrictEqual([stats.inUse, stats.waiting], [0, 0])
          assert.isAtLeast(stats.checkouts, ends.succeeded + ends.failed + ends.died)
          // Whoever was interrupted was in line, or had a connection, or had not yet asked.
          assert.isAtMost(stats.checkouts + stats.cancelled, callers)
          yield* faulty.validate.clear
          yield* PoolAssert.nothingLeaked(faulty, pool)
        }).pipe(Random.withSeed(callers)),
      120_000
    )
  }

  it.effect(
    "10 000 leases that leave something running, however they and it end, are counted, and lose nothing",
    () =>
      Effect.gen(function*() {
        const { faulty, pool } = yield* make({ max: 3, maxAbandoned: 2, connectBackoff: 1, acquireTimeout: "Infinity" })
        yield* faulty.settle.hold
        const ends = { settled: 0, failed: 0, died: 0 }
        const most = { abandoned: 0, total: 0 }
        for (let round = 0; round < 1000; round++) {
          const callers = yield* Effect.forEach(
            Array.from({ length: 10 }),
            () =>
              Effect.map(Random.nextIntBetween(0, 6), (dice) => {
                const end = [
                  Effect.void,
                  Effect.fail("failed"),
                  Effect.die("died"),
                  Effect.interrupt,
                  Effect.yieldNow
                ][dice] ?? Effect.never
                const use = pool.use((connection) => Effect.andThen(connection.start, end))
                return dice >= 5 ? Effect.timeoutOption(use, "20 millis") : use
              }).pipe(Effect.flatMap(Effect.forkDetach))
          )
          for (let turn = 0; callers.some((caller) => caller.pollUnsafe() === undefined); turn++) {
            assert.isBelow(turn, 1000, "somebody waits for ever")
            const dice = yield* Random.nextIntBetween(0, 10)
            if (dice === 0) yield* faulty.settle.fail()
            if (dice === 1) yield* faulty.settle.die()
            const [left] = yield* pool.abandoned
            if (dice === 2 && left !== undefined) yield* faulty.drop(left.connection)
            yield* faulty.settle.pass()
            yield* TestClock.adjust("10 millis")
            const { abandoned, inUse, total } = yield* pool.stats
            most.abandoned = Math.max(most.abandoned, abandoned)
            most.total = Math.max(most.total, total)
            assert.isAtMost(inUse, 3)
            yield* PoolAssert.addUp(faulty, pool)
          }
          for (const caller of callers) {
            const exit = caller.pollUnsafe()!
            ends[Exit.isSuccess(exit) ? "settled" : Cause.hasDies(exit.cause) ? "died" : "failed"]++
          }
        }
        yield* faulty.settle.clear
        yield* faulty.settle.open
        yield* TestClock.adjust("10 seconds")
        const { abandoned, abandonments, cancelled, checkouts, returns, settlements, timeouts } = yield* pool.stats
        assert.strictEqual(ends.settled + ends.failed + ends.died, 10_000)
        // Some of those that time out were still in line.
        assert.strictEqual(checkouts + cancelled + timeouts, 10_000)
        assert.deepStrictEqual([returns, abandonments, settlements, abandoned], [checkouts, checkouts, checkouts, 0])
        assert.deepStrictEqual(most, { abandoned: 5, total: 5 })
        assert.strictEqual((yield* faulty.counters).mostOpen, 5)
        yield* PoolAssert.nothingLeaked(faulty, pool)
      }).pipe(Random.withSeed("left")),
    120_000
  )

  it.effect("a hundred thousand leases in one long scope leave nothing in it", () =>
    Effect.gen(function*() {
      const { faulty, pool } = yield* make({ max: 2 })
      yield* Effect.scoped(Effect.gen(function*() {
        const scope = yield* Effect.scope
        for (let lease = 0; lease < 100_000; lease++) yield* Effect.scoped(pool.acquire())
        assert.strictEqual(scope.state._tag, "Empty")
      }))
      assert.strictEqual((yield* pool.stats).checkouts, 100_000)
      yield* PoolAssert.nothingLeaked(faulty, pool)
    }), 120_000)
})
