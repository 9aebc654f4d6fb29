/** Records of statements: those of a lease, and those of the driver itself. */
import { assert, describe, it } from "@effect/vitest"
import { type Ended, Recorder } from "../../src/internal/pool/recorder.ts"
import { Statements } from "../../src/internal/pool/statements.ts"

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
})
