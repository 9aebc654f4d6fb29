import { assert, describe, it } from "@effect/vitest"
import { Kinds, lengthToKeep } from "../../src/sqlite/internal/sql/statementKind.ts"

describe("kinds of statements", () => {
  it("are told by their text, the first time and ever after", () => {
    const kinds = new Kinds()
    const texts = { "select 1": "read", "delete from t": "write", commit: "control", nonsense: "write" }
    for (let round = 0; round < 2; round++) {
      for (const [sql, kind] of Object.entries(texts)) assert.strictEqual(kinds.of(sql), kind)
    }
  })

  it("are kept for those used last, and not for long ones", () => {
    const kinds = new Kinds()
    for (let n = 0; n < 3000; n++) assert.strictEqual(kinds.of(`select ${n}`), "read")
    assert.strictEqual(kinds.size, 1000)
    const long = `select '${"x".repeat(10_000)}'`
    assert.strictEqual(kinds.of(long), "read")
    assert.strictEqual(kinds.of(`insert into t ${long}`), "write")
    assert.strictEqual(kinds.size, 1000)
    // The oldest of those kept is the one that went.
    kinds.of("commit")
    assert.strictEqual(kinds.size, 1000)
    assert.strictEqual(kinds.of("commit"), "control")
  })

  it("are kept for so many letters at most", () => {
    const kinds = new Kinds()
    for (let n = 0; n < 1000; n++) {
      kinds.of(`select ${n} /* ${"x".repeat(9000)} */`)
      assert.isAtMost(kinds.length, lengthToKeep)
    }
    // As many as fit.
    assert.isAbove(kinds.length, lengthToKeep - 10_000)
    assert.strictEqual(kinds.size, Math.floor(kinds.length / 9000))
  })
})
