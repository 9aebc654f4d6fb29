/** Records of statements: those of a lease, and those of the driver itself. */
import { assert, describe, it } from "@effect/vitest"
import { type Ended, Recorder } from "../../src/internal/pool/recorder.ts"
import { Statements } from "../../src/internal/pool/statements.ts"
import * as LinkedList from "../../src/internal/structures/linkedList.ts"

const make = (lease: object | undefined) => {
  const clock = { now: 5000 }
  const ended: Array<Ended> = []
  const subject = { lease, statements: new Statements() }
  const recorder = new Recorder(subject, { now: () => clock.now, ended: (one) => void ended.push(one) })
  const work = (millis: number) => () => void (clock.now += millis)
  return { clock, ended, recorder, subject, work }
}

describe("a statement", () => {
  it("of a lease is kept with the time that it took, in one step and in several", () => {
    const lease = {}
    const { clock, ended, recorder, subject, work } = make(lease)
    recorder.runSync("in one step", work(30))
    assert.deepStrictEqual([subject.statements.last, subject.statements.lastMillis], ["in one step", 30])
    const run = recorder.start("in several")
    recorder.enter(run)
    clock.now += 40
    recorder.leave(run)
    clock.now += 100
    recorder.finish(run)
    assert.deepStrictEqual([subject.statements.last, subject.statements.lastMillis], ["in several", 40])
    assert.deepStrictEqual(ended, [
      { text: "in one step", tookMillis: 30, isBlocking: true, lease },
      { text: "in several", tookMillis: 40, isBlocking: false, lease }
    ])
  })

  it("of the driver itself is measured, and is not shown as one of the next lease", () => {
    const { clock, ended, recorder, subject, work } = make(undefined)
    recorder.runSync("ping", work(30))
    const run = recorder.start("ping in steps")
    recorder.enter(run)
    clock.now += 40
    recorder.finish(run)
    assert.deepStrictEqual([subject.statements.last, subject.statements.lastMillis], [undefined, undefined])
    assert.deepStrictEqual(ended.map(({ lease, text, tookMillis }) => [text, tookMillis, lease]), [
      ["ping", 30, undefined],
      ["ping in steps", 40, undefined]
    ])
  })

  it("that is finished again is not counted again", () => {
    const { ended, recorder, subject, work } = make({})
    const run = recorder.start("first")
    recorder.finish(run)
    recorder.runSync("second", work(1))
    recorder.finish(run)
    assert.deepStrictEqual(ended.map(({ text }) => text), ["first", "second"])
    assert.strictEqual(subject.statements.last, "second")
  })

  it("whose rows are read in further steps keeps the time of its first step", () => {
    const { clock, ended, recorder, subject } = make({})
    recorder.begin("select")
    clock.now += 30
    const run = recorder.goOn("select")
    // The step has ended for the caller, but the statement goes on.
    recorder.end()
    assert.deepStrictEqual([ended, run.spentMillis, run.startedAt], [[], 30, 5030])
    assert.deepStrictEqual([...LinkedList.members(subject.statements.running!)], [run])
    clock.now += 100
    recorder.enter(run)
    clock.now += 4
    recorder.leave(run)
    recorder.leave(run)
    clock.now += 100
    recorder.finish(run)
    assert.deepStrictEqual(ended.map(({ isBlocking, text, tookMillis }) => [text, tookMillis, isBlocking]), [
      ["select", 34, false]
    ])
    assert.strictEqual(subject.statements.running!.length, 0)
    // A second end changes nothing.
    recorder.finish(run)
    assert.strictEqual(ended.length, 1)
    // One that no step has begun has taken no time yet.
    assert.strictEqual(recorder.goOn("other").spentMillis, 0)
  })

  it("that runs now has no time yet, and gets its last name", () => {
    const { clock, ended, recorder, subject, work } = make({})
    recorder.runSync("first", work(30))
    recorder.begin("second")
    assert.deepStrictEqual([subject.statements.last, subject.statements.lastMillis], ["second", undefined])
    recorder.named("second, as the driver calls it")
    clock.now += 5
    recorder.end()
    recorder.end()
    assert.deepStrictEqual([subject.statements.last, subject.statements.lastMillis], [
      "second, as the driver calls it",
      5
    ])
    assert.deepStrictEqual(ended.map(({ text, tookMillis }) => [text, tookMillis]), [["first", 30], ["second", 5]])
  })

  it("that throws has ended, and is measured from the beginning of the clock too", () => {
    const { clock, ended, recorder } = make({})
    clock.now = 0
    const fails = () =>
      recorder.runSync("fails", () => {
        clock.now += 7
        throw new Error("no")
      })
    assert.throws(fails, "no")
    assert.deepStrictEqual(ended.map(({ text, tookMillis }) => [text, tookMillis]), [["fails", 7]])
  })

  it("of another lease than the present one is not shown as its own", () => {
    const { recorder, subject } = make({})
    const run = recorder.start("late")
    const next = { lease: {}, statements: subject.statements }
    Object.assign(subject, next)
    recorder.finish(run)
    assert.isUndefined(subject.statements.last)
  })

  it("is not timed where statements are not measured", () => {
    const subject = { lease: {}, statements: new Statements() }
    let looks = 0
    const recorder = new Recorder(subject, { now: () => ++looks, ended: undefined })
    recorder.runSync("one", () => 1)
    assert.deepStrictEqual([recorder.isMeasured, looks, subject.statements.last], [false, 0, "one"])
    const run = recorder.start("several")
    recorder.enter(run)
    recorder.leave(run)
    recorder.finish(run)
    assert.deepStrictEqual([run.spentMillis, run.enteredAt], [0, -1])
    assert.deepStrictEqual([subject.statements.last, subject.statements.lastMillis], ["several", undefined])
  })
})

describe("a recorder", () => {
  it("records for the connection of another from the moment on in which it follows that", () => {
    const { clock, ended, recorder: measured, subject } = make({})
    const recorder = Recorder.unread()
    assert.isFalse(recorder.isMeasured)
    recorder.runSync("nobody reads this", () => {})
    recorder.follow(measured)
    assert.isTrue(recorder.isMeasured)
    recorder.runSync("select", () => void (clock.now += 3))
    assert.deepStrictEqual([subject.statements.last, subject.statements.lastMillis], ["select", 3])
    assert.deepStrictEqual(ended.map(({ text }) => text), ["select"])
  })
})
