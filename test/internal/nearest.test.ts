import { assert, describe, it } from "@effect/vitest"
import * as fc from "fast-check"
import { nearest } from "../../src/internal/options/nearest.ts"

/** The number of letters to add, leave out or replace, or of neighbours to exchange: straight from the definition. */
const distance = (a: string, b: string): number => {
  if (a === "" || b === "") return a.length + b.length
  const rest = distance(a.slice(1), b.slice(1)) + (a[0] === b[0] ? 0 : 1)
  const options = [rest, distance(a.slice(1), b) + 1, distance(a, b.slice(1)) + 1]
  if (a.length > 1 && b.length > 1 && a[0] === b[1] && a[1] === b[0]) {
    options.push(distance(a.slice(2), b.slice(2)) + 1)
  }
  return Math.min(...options)
}

const word = fc.array(fc.constantFrom("a", "b", "c"), { maxLength: 6, size: "max" }).map((letters) => letters.join(""))

describe("the nearest of the known names", () => {
  it("is the first with the fewest changes, if these are at most one, or a quarter of the letters", () => {
    fc.assert(
      fc.property(
        word,
        fc.array(word.filter((text) => text.length < 4), { minLength: 1, maxLength: 4 }),
        (name, known) => {
          const distances = known.map((candidate) => distance(name, candidate))
          const least = Math.min(...distances)
          const expected = least <= Math.max(1, Math.floor(name.length / 4))
            ? known[distances.indexOf(least)]
            : undefined
          assert.strictEqual(nearest(name, known), expected)
        }
      ),
      { numRuns: 500 }
    )
  })

  it("may differ in more letters, the longer the name is", () => {
    assert.strictEqual(nearest("acquireTimeuot", ["acquireTimeout"]), "acquireTimeout")
    // Of eight letters two, of eleven two, of twelve three.
    assert.strictEqual(nearest("abcdefxx", ["abcdefgh"]), "abcdefgh")
    assert.strictEqual(nearest("abcdexxx", ["abcdefgh"]), undefined)
    assert.strictEqual(nearest("abcdefghxxx", ["abcdefghijk"]), undefined)
    assert.strictEqual(nearest("abcdefghixxx", ["abcdefghijkl"]), "abcdefghijkl")
    assert.strictEqual(nearest("abcdefghxxxx", ["abcdefghijkl"]), undefined)
    assert.strictEqual(nearest("", ["a"]), "a")
    assert.strictEqual(nearest("", []), undefined)
  })

  it("does not depend on case and separators", () => {
    assert.strictEqual(nearest("ACQUIRE_TIMEOUT", ["acquireTimeout"]), "acquireTimeout")
    assert.strictEqual(nearest("max-wait ing", ["min", "maxWaiting"]), "maxWaiting")
  })

  it("is else the longest with which the name begins, of four letters or more", () => {
    assert.strictEqual(nearest("acquireTimeoutMillis", ["acquire", "acquireTimeout", "timeout"]), "acquireTimeout")
    assert.strictEqual(nearest("maximumOfAll", ["max", "min"]), undefined)
    assert.strictEqual(nearest("namedByMe", ["name"]), "name")
    assert.strictEqual(nearest("myName", ["name"]), undefined)
  })

  it("is found of a very long name by its beginning", () => {
    assert.strictEqual(nearest(`timeout${"x".repeat(1000)}`, ["timeout"]), "timeout")
    assert.strictEqual(nearest("y".repeat(64) + "a".repeat(100), ["y".repeat(64)]), "y".repeat(64))
  })
})
