import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import { SqliteConnection } from "effect-connection-pool/sqlite"
import { TestClock } from "effect/testing"
import { ReadAges } from "../../src/sqlite/internal/readAges.ts"
import { file } from "./support.ts"

describe("the ages of reads", () => {
  it.effect("are watched of those that have not ended, nor been ended otherwise", () =>
    Effect.gen(function*() {
      const filename = yield* file
      const expired: Array<number> = []
      const ages = new ReadAges(1000, yield* Effect.context<never>(), (heldMillis) => expired.push(heldMillis))
      const begin = Effect.fnUntraced(function*() {
        const lent = yield* SqliteConnection.open({ filename })
        ages.begin(lent, ages.now())
        lent.execUnsafe("begin; select * from sqlite_schema")
        return lent
      })
      const ended = yield* begin()
      ages.end(ended)
      const revoked = yield* begin()
      ages.revokeAll("because")
      assert.throws(() => revoked.queryUnsafe("select 1"), /because/)
      yield* TestClock.adjust("500 millis")
      const old = yield* begin()
      assert.strictEqual(ages.oldestPin(ages.now()), 0)
      yield* TestClock.adjust("999 millis")
      assert.strictEqual(ages.oldestPin(ages.now()), 999)
      assert.deepStrictEqual(old.valuesUnsafe("select 1"), [[1]])
      yield* TestClock.adjust("1 millis")
      assert.throws(() => old.queryUnsafe("select 1"), /more than maxReadAge/)
      assert.deepStrictEqual(expired, [1000])
      assert.deepStrictEqual(ended.valuesUnsafe("select 1"), [[1]])
      assert.strictEqual(ages.oldestPin(ages.now()), undefined)
      ages.stop()
    }))
})
