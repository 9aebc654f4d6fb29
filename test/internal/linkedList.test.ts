import { assert, describe, it } from "@effect/vitest"
import * as fc from "fast-check"
import * as LinkedList from "../../src/internal/structures/linkedList.ts"

class Item extends LinkedList.Linked<Item> {
  readonly name: number

  constructor(name: number) {
    super()
    this.name = name
  }
}

const names = (list: LinkedList.LinkedList<Item>) => Array.from(LinkedList.members(list), (item) => item.name)

const backwards = (list: LinkedList.LinkedList<Item>) => {
  const found: Array<number> = []
  for (let item = list.tail; item !== undefined; item = item.previous) found.push(item.name)
  return found
}

const assertHolds = (list: LinkedList.LinkedList<Item>, model: ReadonlyArray<Item>) => {
  assert.deepStrictEqual(names(list), model.map((item) => item.name))
  assert.deepStrictEqual(backwards(list), model.map((item) => item.name).toReversed())
  assert.strictEqual(list.length, model.length)
  assert.isTrue(model.every((item) => item.list === list))
}

describe("LinkedList", () => {
  it("holds what an array would hold after the same steps, in both directions", () => {
    const step = fc.oneof(
      fc.constant({ _tag: "push" } as const),
      fc.constant({ _tag: "unshift" } as const),
      fc.constant({ _tag: "shift" } as const),
      fc.record({ _tag: fc.constant("remove" as const), place: fc.nat(20) }),
      fc.record({ _tag: fc.constant("move" as const), place: fc.nat(20), isOut: fc.boolean() })
    )
    fc.assert(fc.property(fc.array(step, { maxLength: 60 }), (steps) => {
      const list = new LinkedList.LinkedList<Item>()
      const model: Array<Item> = []
      const other = new LinkedList.LinkedList<Item>()
      const otherModel: Array<Item> = []
      let name = 0
      for (const step of steps) {
        switch (step._tag) {
          case "push": {
            const item = new Item(name++)
            LinkedList.push(list, item)
            model.push(item)
            break
          }
          case "unshift": {
            const item = new Item(name++)
            LinkedList.unshift(list, item)
            model.unshift(item)
            break
          }
          case "shift":
            assert.strictEqual(LinkedList.shift(list), model.shift())
            break
          case "remove": {
            const [item] = model.splice(step.place, 1)
            if (item !== undefined) LinkedList.remove(item)
            break
          }
          case "move": {
            // To the other list, or to the end of its own.
            const [item] = model.splice(step.place, 1)
            if (item === undefined) break
            LinkedList.move(step.isOut ? other : list, item)
            ;(step.isOut ? otherModel : model).push(item)
          }
        }
        assertHolds(list, model)
        assertHolds(other, otherModel)
      }
    }))
  })

  it("moves an item that is in no list", () => {
    const list = new LinkedList.LinkedList<Item>()
    const item = new Item(1)
    LinkedList.move(list, item)
    assertHolds(list, [item])
  })

  it("adds an item before another, also before the first", () => {
    const list = new LinkedList.LinkedList<Item>()
    const [a, b, c] = [new Item(1), new Item(2), new Item(3)]
    LinkedList.push(list, c)
    LinkedList.insertBefore(c, a)
    assertHolds(list, [a, c])
    LinkedList.insertBefore(c, b)
    assertHolds(list, [a, b, c])
  })

  it("leaves an item alone that is in no list", () => {
    const item = new Item(1)
    LinkedList.remove(item)
    assert.isUndefined(item.list)
  })

  it("tells an item which list it is in, until it is removed", () => {
    const list = new LinkedList.LinkedList<Item>()
    const item = new Item(1)
    LinkedList.push(list, item)
    assert.strictEqual(item.list, list)
    LinkedList.remove(item)
    assert.isUndefined(item.list)
  })

  it("goes on to the next member when the one it is at is removed", () => {
    const list = new LinkedList.LinkedList<Item>()
    for (let name = 0; name < 5; name++) LinkedList.push(list, new Item(name))
    for (const item of LinkedList.members(list)) LinkedList.remove(item)
    assert.deepStrictEqual(names(list), [])
  })
})
