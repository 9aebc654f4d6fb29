import { assert, describe, it } from "@effect/vitest"
import { Gathering } from "../../src/internal/pool/gathering.ts"

/** A `Gathering` whose turns the test ends. */
const make = () => {
  const tasks: Array<() => void> = []
  const pool = { isWaking: false }
  const callers = { resumed: 0 }
  const gathering = new Gathering((task) => tasks.push(task), () => pool.isWaking)
  const endTurn = () => {
    for (const task of tasks.splice(0)) task()
  }
  return {
    pool,
    callers,
    gathering,
    endTurn,
    /** The number of tasks that wait for the end of the turn. */
    get scheduled(): number {
      return tasks.length
    },
    wait: () => gathering.wait(() => void callers.resumed++),
    /** How many fibers ask in one turn before others are expected. */
    hints: () => {
      let hints = 0
      endTurn()
      for (let fiber = 1000; !gathering.expects(fiber); fiber++) hints++
      return hints
    }
  }
}

describe("others are expected", () => {
  it("after two fibers have asked in one turn, for every fiber and in later turns", () => {
    const { endTurn, gathering } = make()
    assert.isFalse(gathering.hasCompany)
    assert.isFalse(gathering.expects(1))
    assert.isTrue(gathering.expects(2))
    assert.isTrue(gathering.hasCompany)
    assert.isTrue(gathering.expects(2))
    endTurn()
    assert.isTrue(gathering.expects(3))
  })

  it("not after one fiber has asked again and again, which schedules no further task", () => {
    const world = make()
    for (let time = 0; time < 5; time++) assert.isFalse(world.gathering.expects(1))
    assert.strictEqual(world.scheduled, 1)
    world.endTurn()
    for (let time = 0; time < 5; time++) assert.isFalse(world.gathering.expects(1))
    assert.strictEqual(world.scheduled, 0)
  })

  it("not after two fibers have asked in different turns", () => {
    const { endTurn, gathering } = make()
    for (const fiber of [1, 2, 1, 3]) {
      assert.isFalse(gathering.expects(fiber))
      endTurn()
    }
  })

  it("later after each wait in vain, but never after more than 16 others", () => {
    const world = make()
    assert.strictEqual(world.hints(), 1)
    for (const hints of [2, 4, 8, 16, 16, 16]) {
      world.gathering.wasAlone(1)
      assert.isFalse(world.gathering.hasCompany)
      assert.strictEqual(world.hints(), hints)
    }
    world.gathering.ran()
    world.gathering.leave()
    assert.strictEqual(world.hints(), 1)
  })

  it("not because the fiber that has waited in vain asks again", () => {
    const { gathering } = make()
    gathering.expects(1)
    gathering.expects(2)
    gathering.wasAlone(2)
    for (let time = 0; time < 5; time++) assert.isFalse(gathering.expects(2))
    assert.isFalse(gathering.expects(1))
    assert.isTrue(gathering.expects(2))
  })

  it("after a group has run, and not after `leave`", () => {
    const { endTurn, gathering } = make()
    gathering.ran()
    assert.isTrue(gathering.expects(1))
    endTurn()
    gathering.leave()
    assert.isFalse(gathering.hasCompany)
    assert.isFalse(gathering.expects(1))
    assert.isTrue(gathering.expects(2))
  })
})

describe("a caller that waits for others", () => {
  it("is resumed once, at the end of the turn", () => {
    const world = make()
    assert.isFalse(world.gathering.isWaiting)
    world.wait()
    assert.isTrue(world.gathering.isWaiting)
    assert.strictEqual(world.callers.resumed, 0)
    world.endTurn()
    assert.strictEqual(world.callers.resumed, 1)
    assert.isFalse(world.gathering.isWaiting)
    assert.strictEqual(world.scheduled, 0)
    world.gathering.flush()
    assert.strictEqual(world.callers.resumed, 1)
  })

  it("is resumed at the end of a turn that was scheduled before, with no further task", () => {
    const world = make()
    world.gathering.expects(1)
    world.wait()
    assert.strictEqual(world.scheduled, 1)
    world.endTurn()
    assert.strictEqual(world.callers.resumed, 1)
  })

  it("goes on waiting while the pool still wakes callers", () => {
    const world = make()
    world.wait()
    world.pool.isWaking = true
    world.endTurn()
    world.endTurn()
    assert.deepStrictEqual([world.callers.resumed, world.scheduled, world.gathering.isWaiting], [0, 1, true])
    world.pool.isWaking = false
    world.endTurn()
    assert.deepStrictEqual([world.callers.resumed, world.scheduled, world.gathering.isWaiting], [1, 0, false])
  })

  it("is resumed at once by `flush`, and never after `cancel`", () => {
    const world = make()
    world.wait()
    world.gathering.flush()
    assert.strictEqual(world.callers.resumed, 1)
    world.endTurn()
    assert.strictEqual(world.callers.resumed, 1)
    world.wait()
    world.gathering.cancel()
    assert.isFalse(world.gathering.isWaiting)
    world.pool.isWaking = true
    world.endTurn()
    assert.deepStrictEqual([world.callers.resumed, world.scheduled], [1, 0])
  })

  it("may wait again in the step in which it is resumed", () => {
    const world = make()
    world.gathering.wait(() => world.wait())
    world.gathering.flush()
    assert.isTrue(world.gathering.isWaiting)
    world.endTurn()
    assert.strictEqual(world.callers.resumed, 1)
  })
})

describe("a group", () => {
  it("has run until the turn ends", () => {
    const { endTurn, gathering } = make()
    assert.isFalse(gathering.hasRun)
    gathering.ran()
    assert.isTrue(gathering.hasRun)
    endTurn()
    assert.isFalse(gathering.hasRun)
    gathering.ran()
    endTurn()
    assert.isFalse(gathering.hasRun)
  })
})
