import { assert, describe, it } from "@effect/vitest"
import * as fc from "fast-check"
import { inOneLine, labelText, listText, shortTextOf } from "../../src/internal/structures/statementText.ts"

/** What the short text is, in regular expressions that read all of it. */
const folded = (text: string): string =>
  text.trim().replaceAll(/\s+/g, " ")
    .replaceAll(/([?]|\$\d+|@p\d+)(?: ?, ?(?:[?]|\$\d+|@p\d+))+/g, "$1, ...")
    .replaceAll(
      /(\((?:[?]|\$\d+|@p\d+)(?:, \.\.\.)?\))(?: ?, ?\((?:[?]|\$\d+|@p\d+)(?:, \.\.\.)?\))+/g,
      "$1, ..."
    )

/** A text that counts how much of it is read. */
const counting = (text: string) => {
  const counted = { reads: 0, text: "" }
  const read = (index: number): number => {
    counted.reads++
    return text.charCodeAt(index)
  }
  counted.text = { length: text.length, charCodeAt: read } as unknown as string
  return counted
}

const listOf = (length: number) => `select * from t where id in (${Array(length).fill("?").join(", ")}) limit 1`

describe("the short text of a statement", () => {
  it("is in one line, with its lists of placeholders folded, wherever they are", () => {
    const part = fc.constantFrom(
      "?",
      ",",
      ", ",
      " ,",
      "(",
      ")",
      " ",
      "\n",
      "\t ",
      "$1",
      "$23",
      "@p4",
      "@",
      "$",
      "p",
      "a",
      "é"
    )
    fc.assert(
      fc.property(fc.array(part, { maxLength: 60 }), (parts) => {
        const text = parts.join("")
        assert.strictEqual(shortTextOf(text), folded(text))
      }),
      { numRuns: 3000 }
    )
    assert.strictEqual(
      shortTextOf("  insert into t\n values (?, ?),(?,?) ,\n (?, ?) returning *;  "),
      "insert into t values (?, ...), ... returning *;"
    )
    assert.strictEqual(
      shortTextOf("select * from t where a in ($1,$2, $3) and b = @p1"),
      "select * from t where a in ($1, ...) and b = @p1"
    )
    assert.strictEqual(shortTextOf(""), "")
    assert.strictEqual(shortTextOf(" \n "), "")
  })

  it("is cut after 1000 characters, and never in the middle of one", () => {
    assert.strictEqual(shortTextOf("x".repeat(1000)), "x".repeat(1000))
    assert.strictEqual(shortTextOf(`${"x".repeat(1000)}  \n`), "x".repeat(1000))
    assert.strictEqual(shortTextOf("x".repeat(1001)), `${"x".repeat(1000)}...`)
    assert.strictEqual(shortTextOf(`${"x".repeat(999)}😀`), `${"x".repeat(999)}...`)
  })

  it("is read no further than it is shown, so that a text of megabytes costs no more than a short one", () => {
    const long = counting(`insert into t values ('${"x".repeat(5_000_000)}')`)
    assert.strictEqual(shortTextOf(long.text).length, 1003)
    assert.isBelow(long.reads, 10_000)
    for (const text of ["?, ", "(?, ?), ", " ", "(?,?,?(", "$1 ", "((", "?,(?),"]) {
      const list = counting(text.repeat(1_000_000))
      assert.isAtMost(shortTextOf(list.text).length, 1003, text)
      assert.isBelow(list.reads, 1_000_000, text)
    }
  })

  it("is the same for every length of a list, up to the most placeholders that SQLite allows", () => {
    assert.strictEqual(shortTextOf(listOf(32_766)), shortTextOf(listOf(2)))
    assert.match(shortTextOf(listOf(100_000)), /^select \* from t where id in \(\?, \.\.\./)
  })
})

describe("a text of others in a message", () => {
  it("is one line without what a terminal obeys, and cut", () => {
    assert.strictEqual(inOneLine("  a\n\u001b[2Jb\u2028c\td ", 100), "a [2Jb c d")
    assert.strictEqual(inOneLine("x".repeat(50), 50), "x".repeat(50))
    assert.strictEqual(inOneLine("x".repeat(51), 50), `${"x".repeat(50)}...`)
    assert.strictEqual(inOneLine(`${" ".repeat(190)}x${" ".repeat(190)}y`, 50), "x...")
    assert.strictEqual(labelText("x".repeat(100_000)), `${"x".repeat(200)}...`)
  })

  it("is one of the first of many, and their number", () => {
    const numbers = Array.from({ length: 5000 }, (_, index) => index)
    assert.strictEqual(listText(numbers.slice(0, 3), String, "; "), "0; 1; 2")
    assert.strictEqual(listText(numbers, String, "; "), "0; 1; 2; 3; 4; 5; 6; 7; 8; 9; and 4990 more")
  })
})
