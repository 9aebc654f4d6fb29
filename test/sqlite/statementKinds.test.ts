import { assert, describe, it } from "@effect/vitest"
import { lengthToKeep, StatementTexts } from "../../src/sqlite/internal/sql/statementKind.ts"

describe("kinds of statements", () => {
  it("are told by their text, the first time and ever after", () => {
    const texts = new StatementTexts()
    const kinds = { "select 1": "read", "delete from t": "write", commit: "control", nonsense: "write" }
    for (let round = 0; round < 2; round++) {
      for (const [sql, kind] of Object.entries(kinds)) assert.strictEqual(texts.kindOf(sql), kind)
    }
  })

  it("are kept for those used last, and not for long ones", () => {
    const texts = new StatementTexts()
    for (let n = 0; n < 3000; n++) assert.strictEqual(texts.kindOf(`select ${n}`), "read")
    assert.strictEqual(texts.size, 1000)
    const long = `select '${"x".repeat(10_000)}'`
    assert.strictEqual(texts.kindOf(long), "read")
    assert.strictEqual(texts.kindOf(`insert into t ${long}`), "write")
    assert.strictEqual(texts.size, 1000)
    // The oldest of those kept is the one that went.
    texts.kindOf("commit")
    assert.strictEqual(texts.size, 1000)
    assert.strictEqual(texts.kindOf("commit"), "control")
  })

  it("are kept for so many letters at most", () => {
    const texts = new StatementTexts()
    for (let n = 0; n < 1000; n++) {
      texts.kindOf(`select ${n} /* ${"x".repeat(9000)} */`)
      assert.isAtMost(texts.length, lengthToKeep)
    }
    // As many as fit.
    assert.isAbove(texts.length, lengthToKeep - 10_000)
    assert.strictEqual(texts.size, Math.floor(texts.length / 9000))
  })
})
