import { assert, describe, it } from "@effect/vitest"
import { Clock, Context, Effect, Fiber, Scheduler } from "effect"
import * as fc from "fast-check"
import { Threads } from "../../src/internal/simulation/threads.ts"
import { VirtualTime } from "../../src/internal/simulation/virtualTime.ts"

const toEnd = (time: VirtualTime) => {
  while (time.step());
}

describe("virtual time", () => {
  it("does everything in the order of its time, and of two at one time the first that was added", () => {
    fc.assert(fc.property(
      fc.array(fc.record({ at: fc.nat(60), isCancelled: fc.boolean() }), { maxLength: 120, size: "max" }),
      (tasks) => {
        const time = new VirtualTime()
        const order: Array<string> = []
        const cancels = tasks.map(({ at }, index) => time.at(at, () => order.push(`${index} at ${time.now}`)))
        for (const [index, { isCancelled }] of tasks.entries()) if (isCancelled) cancels[index]!()
        toEnd(time)
        const expected = Array.from(tasks.entries())
          .filter(([, { isCancelled }]) => !isCancelled)
          .toSorted(([, one], [, other]) => one.at - other.at)
          .map(([index, { at }]) => `${index} at ${at}`)
        assert.deepStrictEqual(order, expected)
      }
    ))
  })

  it("does what is added meanwhile in its turn, at once what is past, and never what is infinitely far", () => {
    const time = new VirtualTime()
    const order: Array<string> = []
    const note = (text: string) => () => void order.push(`${text} ${time.now}`)
    time.at(10, () => {
      note("first")()
      time.at(5, note("past"))
      time.at(15, note("later"))
    })
    time.at(10, note("second"))
    time.at(20, note("last"))
    time.at(Infinity, note("never"))
    toEnd(time)
    assert.deepStrictEqual(order, ["first 10", "second 10", "past 10", "later 15", "last 20"])
    assert.isFalse(time.step())
    assert.strictEqual(time.now, 20)
  })

  it("does one thing in a step, with all that follows from it at once", () => {
    const time = new VirtualTime()
    const done: Array<string> = []
    const context = time.provide(Context.empty())
    const fiber = (name: string, millis: number) =>
      Effect.runForkWith(context)(
        Effect.sleep(millis).pipe(Effect.andThen(Effect.yieldNow), Effect.andThen(Effect.sync(() => done.push(name))))
      )
    fiber("one", 5)
    fiber("two", 7)
    const cancel = time.at(6, () => {})
    cancel()
    assert.isTrue(time.step())
    assert.deepStrictEqual([done.slice(), time.now], [["one"], 5])
    // One that was cancelled is no step.
    assert.isTrue(time.step())
    assert.deepStrictEqual([done.slice(), time.now], [["one", "two"], 7])
    assert.isFalse(time.step())
  })

  it("first does what is left to do at the present time", () => {
    const time = new VirtualTime()
    const done: Array<string> = []
    const context = time.provide(Context.empty())
    const run = (effect: Effect.Effect<void>) => Effect.runForkWith(context)(effect)
    // Its sleep begins only in the next turn.
    run(Effect.sleep(5).pipe(Effect.delay(0), Effect.andThen(Effect.sync(() => done.push("slept")))))
    time.at(9, () => done.push("later"))
    assert.isTrue(time.step())
    assert.deepStrictEqual([done, time.now], [[], 0])
    run(Effect.andThen(Effect.yieldNow, Effect.andThen(Effect.sleep(1), Effect.sync(() => done.push("brief")))))
    assert.isTrue(time.step())
    assert.deepStrictEqual([done, time.now], [["brief"], 1])
  })

  it("counts whole nanoseconds", () => {
    const time = new VirtualTime()
    let now = 0
    time.at(1.23456789, () => now = time.now)
    toEnd(time)
    assert.strictEqual(now, 1.234568)
  })

  it("is the clock of its fibers", () => {
    const time = new VirtualTime()
    const seen: Array<unknown> = []
    const context = time.provide(Context.empty())
    Effect.runForkWith(context)(Effect.gen(function*() {
      yield* Effect.sleep("1500 millis")
      const clock = yield* Clock.Clock
      seen.push(
        clock.currentTimeMillisUnsafe(),
        clock.currentTimeNanosUnsafe(),
        clock.monotonicTimeNanosUnsafe(),
        yield* clock.currentTimeMillis,
        yield* clock.currentTimeNanos,
        yield* clock.monotonicTimeNanos
      )
    }))
    toEnd(time)
    const nanos = 1_500_000_000n
    assert.deepStrictEqual(seen, [1500, nanos, nanos, 1500, nanos, nanos])
  })

  it("forgets the sleep of a fiber that is interrupted, and a task that is cancelled", () => {
    const time = new VirtualTime()
    const context = time.provide(Context.empty())
    const fiber = Effect.runForkWith(context)(Effect.sleep(50))
    time.settle()
    fiber.interruptUnsafe()
    assert.isFalse(time.step())
    assert.strictEqual(time.now, 0)
    assert.isDefined(fiber.pollUnsafe())
    const done: Array<string> = []
    const dispatcher = Context.get(context, Scheduler.Scheduler).makeDispatcher()
    dispatcher.scheduleTask(() => done.push("task"), 0)
    time.settle()
    assert.deepStrictEqual(done, ["task"])
  })

  it.effect("does not depend on the clock around it", () =>
    Effect.gen(function*() {
      const time = new VirtualTime()
      const fiber = Effect.runForkWith(time.provide(Context.empty()))(Effect.as(Effect.sleep("1 hour"), "slept"))
      toEnd(time)
      assert.strictEqual(yield* Fiber.join(fiber), "slept")
      assert.strictEqual(time.now, 3_600_000)
    }))
})

describe("threads that leases share", () => {
  const run = (size: number, jobs: ReadonlyArray<number>) => {
    const time = new VirtualTime()
    const threads = new Threads(time, size)
    const log: Array<string> = []
    for (const [job, millis] of jobs.entries()) {
      threads.run(millis, () => log.push(`${time.now}: begin ${job}`), () => log.push(`${time.now}: end ${job}`))
    }
    toEnd(time)
    return log
  }

  it("do as many jobs at one time as there are threads, the others in the order in which they came", () => {
    assert.deepStrictEqual(run(2, [10, 30, 5, 5]), [
      "0: begin 0",
      "0: begin 1",
      "10: begin 2",
      "10: end 0",
      "15: begin 3",
      "15: end 2",
      "20: end 3",
      "30: end 1"
    ])
    assert.deepStrictEqual(run(Infinity, [10, 10]), ["0: begin 0", "0: begin 1", "10: end 0", "10: end 1"])
  })

  it("begin a job at once if a thread is free again", () => {
    const time = new VirtualTime()
    const threads = new Threads(time, 1)
    const log: Array<string> = []
    const job = (name: string) => () =>
      threads.run(3, () => log.push(`begin ${name} at ${time.now}`), () => log.push(`end ${name} at ${time.now}`))
    time.at(0, job("a"))
    time.at(1, job("b"))
    time.at(100, job("c"))
    toEnd(time)
    assert.deepStrictEqual(log, [
      "begin a at 0",
      "begin b at 3",
      "end a at 3",
      "end b at 6",
      "begin c at 100",
      "end c at 103"
    ])
  })

  it("keep the order of a very long line", () => {
    const jobs = Array.from({ length: 5000 }, () => 1)
    const begun = run(1, jobs).filter((line) => line.includes("begin"))
    assert.deepStrictEqual(begun, jobs.map((_, index) => `${index}: begin ${index}`))
  })
})
