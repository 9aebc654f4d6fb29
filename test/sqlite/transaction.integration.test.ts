import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import * as Database from "./database.ts"

describe("a transaction", () => {
  it.effect("commits what it did when it succeeds", () =>
    Effect.gen(function*() {
      const db = yield* Database.make()
      const { sql } = db
      const result = yield* db.transaction(Effect.gen(function*() {
        yield* sql`insert into t values (1)`
        assert.deepStrictEqual(db.rows, [])
        yield* db.transaction(sql`insert into t values (2)`)
        yield* sql.withTransaction(sql`insert into t values (3)`)
        return "done"
      }))
      assert.strictEqual(result, "done")
      assert.deepStrictEqual(db.rows, [1, 2, 3])
    }))
})
