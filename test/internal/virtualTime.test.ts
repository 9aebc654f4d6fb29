import { assert, describe, it } from "@effect/vitest"
import { VirtualTime } from "../../src/internal/simulation/virtualTime.ts"

describe("virtual time", () => {
  it("jumps from one event to the next, in order, and stands still after the last", () => {
    const time = new VirtualTime()
    const seen: Array<readonly [what: string, at: number]> = []
    const note = (what: string) => () => {
      seen.push([what, time.now])
    }
    time.at(5, note("second"))
    time.at(2, note("first"))
    time.at(5, note("third"))
    time.at(Infinity, note("never"))
    time.at(3, note("cancelled"))()
    while (time.step());
    assert.deepStrictEqual(seen, [["first", 2], ["second", 5], ["third", 5]])
    assert.isFalse(time.step())
    assert.strictEqual(time.now, 5)
  })

  it("does at once what is due in the past", () => {
    const time = new VirtualTime()
    let seen = -1
    time.at(5, () => {
      time.at(1, () => {
        seen = time.now
      })
    })
    while (time.step());
    assert.strictEqual(seen, 5)
  })
})
