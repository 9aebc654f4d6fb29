import { assert, describe, it } from "@effect/vitest"
import { Clock, Effect, Fiber } from "effect"
import { LockTimeoutError, SqlError } from "effect/sql/SqlError"
import { TestClock } from "effect/testing"
import { retryWhileLocked } from "../../src/sqlite/internal/connection/retryWhileLocked.ts"
import { toSqlError } from "../../src/sqlite/internal/errors.ts"
import { fromSqlite } from "../../src/sqlite/internal/failures.ts"

const sqlite = (errcode: number) =>
  toSqlError(fromSqlite(Object.assign(new Error(`code ${errcode}`), { errcode }), "query"))

describe("retryWhileLocked", () => {
  it.effect("tries again about every millisecond until the lock is gone", () =>
    Effect.gen(function*() {
      const attempts: Array<number> = []
      const attempt = Effect.gen(function*() {
        attempts.push(yield* Clock.currentTimeMillis)
        if (attempts.length < 100) return yield* sqlite(5)
        return "done"
      })
      const fiber = yield* Effect.forkChild(retryWhileLocked(attempt, 5000))
      yield* TestClock.adjust("1 second")
      assert.strictEqual(yield* Fiber.join(fiber), "done")
      const pauses = attempts.slice(1).map((at, before) => at - attempts[before]!)
      for (const pause of pauses) assert.isTrue(pause >= 0.5 && pause <= 1.5, `${pause}`)
      assert.isAbove(new Set(pauses).size, 50)
    }))

  it.effect("gives up with the last lock after the timeout", () =>
    Effect.gen(function*() {
      let attempts = 0
      const attempt = Effect.suspend(() => {
        attempts++
        return Effect.fail(sqlite(attempts % 2 === 0 ? 5 : 261))
      })
      const fiber = yield* Effect.forkChild(Effect.flip(retryWhileLocked(attempt, 100)))
      yield* TestClock.adjust("99 millis")
      assert.isUndefined(fiber.pollUnsafe())
      yield* TestClock.adjust("3 millis")
      const error = yield* Fiber.join(fiber)
      assert.instanceOf(error, SqlError)
      assert.instanceOf(error.reason, LockTimeoutError)
      assert.isAtLeast(attempts, 67)
    }))

  it.effect("tries once if there is no time", () =>
    Effect.gen(function*() {
      let attempts = 0
      const attempt = Effect.suspend(() => {
        attempts++
        return Effect.fail(sqlite(5))
      })
      yield* Effect.flip(retryWhileLocked(attempt, 0))
      assert.strictEqual(attempts, 1)
    }))

  for (const code of [5, 261, 773, 262, 15]) {
    it.effect(`takes code ${code} for a lock of others`, () =>
      Effect.gen(function*() {
        let attempts = 0
        const attempt = Effect.suspend(() => ++attempts === 1 ? Effect.fail(sqlite(code)) : Effect.void)
        const fiber = yield* Effect.forkChild(retryWhileLocked(attempt, 100))
        yield* TestClock.adjust("2 millis")
        yield* Fiber.join(fiber)
        assert.instanceOf(sqlite(code).reason, LockTimeoutError)
      }))
  }

  for (const code of [1, 6, 8, 10, 11, 13, 14, 26, 517, 518, 2067]) {
    it.effect(`fails at once with code ${code}`, () =>
      Effect.gen(function*() {
        const error = sqlite(code)
        assert.strictEqual(yield* Effect.flip(retryWhileLocked(Effect.fail(error), 100)), error)
        assert.notInstanceOf(error.reason, LockTimeoutError)
      }))
  }
})
