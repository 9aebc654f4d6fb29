/** What a server says when it ends a session, as its bytes arrive. */
import { assert, describe, it } from "@effect/vitest"
import { lastWordsIn, mayBeLastWords } from "../../src/postgres/internal/connection/lastWords.ts"

const message = (kind: string, body: string): Buffer => {
  const bytes = Buffer.from(body)
  const head = Buffer.alloc(5)
  head.write(kind)
  head.writeInt32BE(4 + bytes.length, 1)
  return Buffer.concat([head, bytes])
}

const error = (...fields: ReadonlyArray<string>) => message("E", `${fields.join("\0")}\0\0`)

const killed = error(
  "SFATAL",
  "VFATAL",
  "C57P01",
  "Mterminating connection due to administrator command",
  "Fpostgres.c"
)

describe("the last words of a server", () => {
  it("are its first error that ends the session", () => {
    const said = "terminating connection due to administrator command (SQLSTATE 57P01)"
    assert.strictEqual(lastWordsIn(killed), said)
    // The messages before it that the server had not sent yet, and what PgBouncer adds.
    const all = Buffer.concat([
      message("1", ""),
      message("2", ""),
      killed,
      error("SFATAL", "C08P01", "Mserver conn crashed?")
    ])
    assert.isTrue(mayBeLastWords(all))
    assert.strictEqual(lastWordsIn(all), said)
    // A view of other bytes.
    assert.strictEqual(lastWordsIn(new Uint8Array(Buffer.concat([Buffer.alloc(3), killed])).subarray(3)), said)
  })

  it("are those of PgBouncer, which has no severity that is never translated", () => {
    assert.strictEqual(
      lastWordsIn(error("SFATAL", "C08P01", "Mquery_wait_timeout")),
      "query_wait_timeout (SQLSTATE 08P01)"
    )
    assert.strictEqual(lastWordsIn(error("SSCHWERWIEGEND", "VPANIC", "Mno code")), "no code")
  })

  it("are not an error after which the session goes on, nor a part of a row", () => {
    assert.isUndefined(lastWordsIn(error("SERROR", "VERROR", "C22012", "Mdivision by zero")))
    assert.isUndefined(lastWordsIn(error("SFATAL", "VERROR", "C22012", "Mtranslated")))
    assert.isUndefined(lastWordsIn(error("SFATAL", "VFATAL")))
    assert.isUndefined(lastWordsIn(Buffer.from("Etext of a row\0\0")))
    assert.isUndefined(lastWordsIn(Buffer.from([0x45, 0, 0, 0, 0, 0, 0])))
    assert.isUndefined(lastWordsIn(Buffer.from([0x45, 255, 255, 255, 255, 0, 0])))
    assert.isUndefined(lastWordsIn(Buffer.alloc(0)))
    assert.isFalse(mayBeLastWords(message("Z", "I")))
    assert.isFalse(mayBeLastWords(Buffer.alloc(0)))
  })
})
