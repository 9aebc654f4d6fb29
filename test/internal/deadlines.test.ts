import { assert, describe, it } from "@effect/vitest"
import * as fc from "fast-check"
import * as Deadlines from "../../src/internal/structures/deadlines.ts"

class Member extends Deadlines.Timed<Member> {
  readonly name: number

  constructor(name: number) {
    super()
    this.name = name
  }
}

describe("Deadlines", () => {
  it("takes out due members, earliest first, whatever joined and left before", () => {
    // Few durations make long rows, many make a heap of several levels.
    const stepOf = (durations: number, by: number) =>
      fc.oneof(
        { weight: 3, arbitrary: fc.record({ _tag: fc.constant("add" as const), duration: fc.nat(durations) }) },
        { weight: 2, arbitrary: fc.record({ _tag: fc.constant("cancel" as const), name: fc.nat(120) }) },
        {
          weight: 1,
          arbitrary: fc.record({ _tag: fc.constant("again" as const), name: fc.nat(120), duration: fc.nat(durations) })
        },
        { weight: 1, arbitrary: fc.record({ _tag: fc.constant("advance" as const), by: fc.nat(by) }) }
      )
    const steps = fc.oneof(
      fc.array(stepOf(12, 6), { maxLength: 120 }),
      fc.array(stepOf(1000, 300), { minLength: 60, maxLength: 400, size: "max" })
    )
    fc.assert(
      fc.property(steps, fc.nat(1_000_000), (steps, start) => {
        const deadlines = new Deadlines.Deadlines<Member>()
        const members: Array<Member> = []
        const model = new Map<Member, number>()
        let now = start
        for (const step of steps) {
          if (step._tag === "add") {
            const member = new Member(members.length)
            members.push(member)
            Deadlines.add(deadlines, member, now, step.duration)
            model.set(member, now + step.duration)
          } else if (step._tag === "cancel") {
            const member = members[step.name]
            if (member !== undefined) {
              Deadlines.cancel(deadlines, member)
              model.delete(member)
            }
          } else if (step._tag === "again") {
            const member = members[step.name]
            if (member !== undefined) {
              Deadlines.add(deadlines, member, now, step.duration)
              model.set(member, now + step.duration)
            }
          } else {
            now += step.by
            for (;;) {
              const due = Deadlines.takeDue(deadlines, now)
              const earliest = Math.min(...model.values())
              if (due === undefined) {
                assert.isTrue(earliest > now)
                break
              }
              assert.strictEqual(model.get(due), earliest)
              assert.isTrue(earliest <= now)
              model.delete(due)
            }
          }
          assert.strictEqual(Deadlines.nextDue(deadlines), Math.min(...model.values()))
        }
      }),
      { numRuns: 500 }
    )
  })

  it("lets members with the same duration expire in the order in which they joined", () => {
    const deadlines = new Deadlines.Deadlines<Member>()
    const members = Array.from({ length: 100 }, (_, name) => new Member(name))
    for (const member of members) Deadlines.add(deadlines, member, 0, 10)
    const order: Array<number> = []
    for (let due = Deadlines.takeDue(deadlines, 10); due !== undefined; due = Deadlines.takeDue(deadlines, 10)) {
      order.push(due.name)
    }
    assert.deepStrictEqual(order, members.map((member) => member.name))
  })

  it("keeps the order when one from elsewhere takes the place of one that left", () => {
    const deadlines = new Deadlines.Deadlines<Member>()
    const join = (duration: number) => {
      const member = new Member(duration)
      Deadlines.add(deadlines, member, 0, duration)
      return member
    }
    // The last of these takes the place of 11, below 10, which is due later.
    const [, , , left] = [1, 10, 2, 11, 12, 3, 4].map(join)
    Deadlines.cancel(deadlines, left!)
    join(20)
    join(21)
    const order: Array<number> = []
    for (let due = Deadlines.takeDue(deadlines, 30); due !== undefined; due = Deadlines.takeDue(deadlines, 30)) {
      order.push(due.name)
    }
    assert.deepStrictEqual(order, [1, 2, 3, 4, 10, 12, 20, 21])
  })

  it("forgets an infinite duration", () => {
    const deadlines = new Deadlines.Deadlines<Member>()
    const member = new Member(1)
    Deadlines.add(deadlines, member, 0, 10)
    Deadlines.add(deadlines, member, 0, Infinity)
    assert.strictEqual(Deadlines.nextDue(deadlines), Infinity)
    assert.isUndefined(Deadlines.takeDue(deadlines, Infinity))
  })

  it("keeps no rows for durations that no member has any more", () => {
    const deadlines = new Deadlines.Deadlines<Member>()
    for (let duration = 1; duration <= 10_000; duration++) {
      const member = new Member(duration)
      Deadlines.add(deadlines, member, 0, duration)
      Deadlines.cancel(deadlines, member)
    }
    assert.isTrue(deadlines.rows.size < 100, String(deadlines.rows.size))
    assert.strictEqual(deadlines.heap.length, 0)
  })

  it("competes only once for all members with the same duration, however their durations take turns", () => {
    const deadlines = new Deadlines.Deadlines<Member>()
    const members = Array.from({ length: 100 }, (_, name) => new Member(name))
    for (const member of members) Deadlines.add(deadlines, member, 0, 10 * (1 + member.name % 3))
    assert.strictEqual(deadlines.heap.length, 3)
    for (const member of members) Deadlines.cancel(deadlines, member)
    assert.strictEqual(deadlines.heap.length, 0)
    for (const member of members) Deadlines.add(deadlines, member, 0, 10 * (1 + member.name % 3))
    assert.strictEqual(deadlines.heap.length, 3)
  })
})
