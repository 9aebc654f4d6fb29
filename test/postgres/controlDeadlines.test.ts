import { afterEach, assert, beforeEach, describe, it, vi } from "@effect/vitest"
import { Effect } from "effect"
import { AsyncLocalStorage } from "node:async_hooks"
import { ControlDeadlines } from "../../src/postgres/internal/connection/controlDeadlines.ts"
import { alive } from "../support/garbage.ts"

describe("the deadlines of control statements", () => {
  beforeEach(() => {
    vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout", "performance"] })
  })
  afterEach(() => {
    vi.useRealTimers()
  })

  const make = () => {
    const deadlines = new ControlDeadlines()
    const late: Array<string> = []
    return { late, add: (name: string, millis: number) => deadlines.add(millis, () => late.push(name)), deadlines }
  }

  it("pass at their time, also those that were added while the timer ran", () => {
    const { add, late } = make()
    add("first", 1000)
    vi.advanceTimersByTime(400)
    add("second", 1000)
    vi.advanceTimersByTime(598)
    assert.deepStrictEqual(late, [])
    vi.advanceTimersByTime(2)
    assert.deepStrictEqual(late, ["first"])
    vi.advanceTimersByTime(398)
    assert.deepStrictEqual(late, ["first"])
    vi.advanceTimersByTime(2)
    assert.deepStrictEqual(late, ["first", "second"])
    assert.strictEqual(vi.getTimerCount(), 0)
  })

  it("do not pass once they are removed, and then the timer is not set again", () => {
    const { add, deadlines, late } = make()
    const first = add("first", 1000)
    vi.advanceTimersByTime(400)
    deadlines.remove(first)
    deadlines.remove(add("second", 1000))
    vi.advanceTimersByTime(10_000)
    assert.deepStrictEqual(late, [])
    assert.strictEqual(vi.getTimerCount(), 0)
  })

  it("pass in time where a shorter one is added", () => {
    const { add, late } = make()
    add("long", 1000)
    add("short", 12)
    vi.advanceTimersByTime(12)
    assert.deepStrictEqual(late, ["short"])
    vi.advanceTimersByTime(987)
    assert.deepStrictEqual(late, ["short"])
    vi.advanceTimersByTime(2)
    assert.deepStrictEqual(late, ["short", "long"])
  })

  it("may add one when it passes", () => {
    const { add, deadlines, late } = make()
    deadlines.add(100, () => {
      late.push("one")
      add("two", 40)
    })
    add("three", 120)
    vi.advanceTimersByTime(200)
    assert.deepStrictEqual(late, ["one", "three", "two"])
  })

  it("count the time in which the process stands still as one step", () => {
    const { add, deadlines, late } = make()
    const answered = add("answered", 1000)
    add("never", 1000)
    // The process stands still: one timer rings, and is late.
    const now = performance.now()
    const stood = vi.spyOn(performance, "now").mockImplementation(() => now + 60_000)
    vi.advanceTimersByTime(250)
    assert.deepStrictEqual(late, [])
    deadlines.remove(answered)
    let since = 60_250
    stood.mockImplementation(() => now + since)
    for (let step = 0; step < 3; step++) {
      assert.deepStrictEqual(late, [])
      since += 250
      vi.advanceTimersByTime(250)
    }
    assert.deepStrictEqual(late, ["never"])
    stood.mockRestore()
  })

  it.live("pass in the context of the session, and keep nothing of a caller alive whose statement was answered", () =>
    Effect.gen(function*() {
      vi.useRealTimers()
      const storage = new AsyncLocalStorage<object>()
      const own = {}
      const { deadlines } = storage.run(own, make)
      const seen = yield* Effect.callback<object | undefined>((resume) => {
        storage.run({}, () => deadlines.add(4, () => resume(Effect.succeed(storage.getStore()))))
      })
      assert.strictEqual(seen, own)
      const caller = (() => {
        const store = {}
        storage.run(store, () => deadlines.remove(deadlines.add(60_000, () => {})))
        return { ref: new WeakRef(store) }
      })()
      assert.deepStrictEqual(yield* alive([caller]), [])
    }))
})
