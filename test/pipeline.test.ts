import { assert, describe, it } from "@effect/vitest"
import { Cause, Deferred, Effect, Exit, Fiber } from "effect"
import { ConnectionPool, type PoolError } from "effect-connection-pool"
import { PoolAssert } from "effect-connection-pool/testing"
import { TestClock } from "effect/testing"
import * as Door from "../src/internal/pool/door.ts"
import type { Answer, Member, Sent } from "../src/internal/pool/pipeline.ts"
import { settle } from "./support/pools.ts"

/** A connection that answers when the test says so. */
class Line {
  readonly id: number
  readonly out: Array<{ readonly name: string; isAhead: boolean; readonly done: (answer: Answer) => void }> = []
  /** The names of the requests that were sent, in order; those sent ahead in brackets. */
  readonly sent: Array<string> = []
  readonly takenBack: Array<string> = []
  /** What was sent in one go. */
  unfinished = false

  constructor(id: number) {
    this.id = id
  }

  answer(name: string, answer: Answer = Exit.succeed(`${name} by ${this.id}`)): void {
    this.#end(name, answer)
  }

  lose(name: string): void {
    this.#end(name, undefined)
  }

  #end(name: string, answer: Answer): void {
    const at = this.out.findIndex((request) => request.name === name)
    const [request] = this.out.splice(at, 1)
    request!.done(answer)
  }

  answerAll(): void {
    while (this.out.length > 0) this.answer(this.out[0]!.name)
  }
}

const ask = (name: string, isQuick = true): Member<Line> => ({
  isQuick: () => isQuick,
  isOnce: false,
  send: (line, isAhead, done): Sent => {
    const request = { name, isAhead, done }
    line.out.push(request)
    line.sent.push(isAhead ? `(${name})` : name)
    return {
      takeBack: () => {
        line.takenBack.push(name)
        const at = line.out.indexOf(request)
        if (at >= 0) line.out.splice(at, 1)
        return true
      },
      own: () => {
        request.isAhead = false
      }
    }
  }
})

const make = Effect.fnUntraced(function*(options?: { readonly max?: number; readonly acquireTimeout?: number }) {
  const lines: Array<Line> = []
  const pool = yield* ConnectionPool.make<Line>({
    factory: {
      connect: Effect.sync(() => {
        const line = new Line(lines.length + 1)
        lines.push(line)
        return line
      })
    },
    name: "lines",
    min: options?.max ?? 1,
    max: options?.max ?? 1,
    drainTimeout: 0,
    ...(options?.acquireTimeout === undefined ? undefined : { acquireTimeout: options.acquireTimeout })
  })
  const pipeline = Door.of(pool)!.pipeline<Line, never>()
  const use = (name: string, isQuick = true) => pipeline.use<string, never>(ask(name, isQuick), undefined)
  return { pool, lines, use }
})

const fork = (uses: ReadonlyArray<Effect.Effect<string, PoolError.PoolError>>) =>
  Effect.forEach(uses, (use) => Effect.forkChild(use))

describe("a pipeline", () => {
  it.effect("sends the requests of callers in line with that of the caller that has the connection", () =>
    Effect.gen(function*() {
      const { lines, pool, use } = yield* make()
      const fibers = yield* fork(["a", "b", "c"].map((name) => use(name)))
      yield* settle
      const [line] = lines
      assert.deepStrictEqual(line!.sent, ["a", "(b)", "(c)"])
      const before = yield* pool.stats
      assert.deepStrictEqual([before.inUse, before.waiting], [1, 2])
      line!.answerAll()
      assert.deepStrictEqual(yield* Effect.forEach(fibers, Fiber.join), ["a by 1", "b by 1", "c by 1"])
      const { checkouts, idle, inUse, returns, waiting } = yield* pool.stats
      assert.deepStrictEqual({ checkouts, returns, idle, inUse, waiting }, {
        checkouts: 3,
        returns: 3,
        idle: 1,
        inUse: 0,
        waiting: 0
      })
      assert.deepStrictEqual(line!.takenBack, [])
    }))

  it.effect("answers each caller when its own answer comes, whoever has the connection", () =>
    Effect.gen(function*() {
      const { lines, pool, use } = yield* make()
      const fibers = yield* fork(["a", "b", "c"].map((name) => use(name)))
      yield* settle
      const [line] = lines
      line!.answer("b")
      assert.strictEqual(yield* Fiber.join(fibers[1]!), "b by 1")
      line!.answer("a")
      assert.strictEqual(yield* Fiber.join(fibers[0]!), "a by 1")
      // The last one in line has the connection now, and its request stays where it is.
      yield* settle
      const { inUse, waiting } = yield* pool.stats
      assert.deepStrictEqual([inUse, waiting], [1, 0])
      assert.isFalse(line!.out[0]!.isAhead)
      line!.answer("c")
      assert.strictEqual(yield* Fiber.join(fibers[2]!), "c by 1")
      assert.deepStrictEqual(line!.sent, ["a", "(b)", "(c)"])
      assert.strictEqual((yield* pool.stats).returns, 3)
    }))

  it.effect("sends nothing ahead past a caller of another kind, nor anything that is slow, nor behind it", () =>
    Effect.gen(function*() {
      const { lines, pool, use } = yield* make()
      const held = yield* Deferred.make<void>()
      const fibers = yield* fork([use("a"), use("b")])
      const other = yield* Effect.forkChild(pool.use((line) => Effect.as(Deferred.await(held), `lease of ${line.id}`)))
      fibers.push(...yield* fork([use("c"), use("slow", false), use("d")]))
      yield* settle
      const [line] = lines
      assert.deepStrictEqual(line!.sent, ["a", "(b)"])
      line!.answerAll()
      yield* settle
      assert.deepStrictEqual(line!.sent, ["a", "(b)"])
      yield* Deferred.succeed(held, undefined)
      assert.strictEqual(yield* Fiber.join(other), "lease of 1")
      yield* settle
      assert.deepStrictEqual(line!.sent, ["a", "(b)", "c"])
      line!.answerAll()
      yield* settle
      assert.deepStrictEqual(line!.sent, ["a", "(b)", "c", "slow"])
      line!.answerAll()
      yield* settle
      assert.deepStrictEqual(line!.sent, ["a", "(b)", "c", "slow", "d"])
      line!.answerAll()
      assert.deepStrictEqual(
        yield* Effect.forEach(fibers, Fiber.join),
        ["a", "b", "c", "slow", "d"].map((name) => `${name} by 1`)
      )
    }))

  it.effect("takes a request back that waits too long, when its caller gets another connection", () =>
    Effect.gen(function*() {
      const { lines, pool, use } = yield* make({ max: 2 })
      const free = yield* Deferred.make<void>()
      const other = yield* Effect.forkChild(pool.use(() => Deferred.await(free)))
      yield* settle
      const fibers = yield* fork(["a", "b", "c"].map((name) => use(name)))
      yield* settle
      const [one, two] = lines[0]!.sent.length > 0 ? [lines[0]!, lines[1]!] : [lines[1]!, lines[0]!]
      assert.deepStrictEqual(one.sent, ["a", "(b)", "(c)"])
      yield* TestClock.adjust(10)
      yield* Deferred.succeed(free, undefined)
      yield* Fiber.join(other)
      yield* settle
      // "a" is slow: the others go where the connection is free.
      assert.deepStrictEqual(two.sent, ["b", "(c)"])
      assert.deepStrictEqual(one.takenBack, ["b", "c"])
      two.answerAll()
      assert.deepStrictEqual(yield* Effect.forEach(fibers.slice(1), Fiber.join), [`b by ${two.id}`, `c by ${two.id}`])
      one.answerAll()
      assert.strictEqual(yield* Fiber.join(fibers[0]!), `a by ${one.id}`)
      const { checkouts, returns } = yield* pool.stats
      assert.deepStrictEqual([checkouts, returns], [4, 4])
    }))

  it.effect("shares the line among the connections that are ready at the same time", () =>
    Effect.gen(function*() {
      const { lines, use } = yield* make({ max: 2 })
      const names = Array.from({ length: 8 }, (_, at) => String(at))
      const fibers = yield* fork(names.map((name) => use(name)))
      yield* settle
      assert.deepStrictEqual(lines.map(({ sent }) => sent.length), [4, 4])
      for (const line of lines) line.answerAll()
      yield* Effect.forEach(fibers, Fiber.join)
      assert.deepStrictEqual(lines.map(({ sent }) => sent.length), [4, 4])
    }))

  it.effect("keeps the deadlines of those in line, and takes their requests back", () =>
    Effect.gen(function*() {
      const { lines, pool, use } = yield* make({ acquireTimeout: 1000 })
      const first = yield* Effect.forkChild(use("a"))
      const late = yield* Effect.forkChild(Effect.flip(use("b")))
      yield* settle
      yield* TestClock.adjust(1000)
      const error = yield* Fiber.join(late)
      assert.strictEqual(error._tag, "AcquireTimeoutError")
      assert.deepStrictEqual(lines[0]!.takenBack, ["b"])
      lines[0]!.answer("a")
      assert.strictEqual(yield* Fiber.join(first), "a by 1")
      const { checkouts, idle, timeouts } = yield* pool.stats
      assert.deepStrictEqual({ checkouts, idle, timeouts }, { checkouts: 1, idle: 1, timeouts: 1 })
    }))

  it.effect("takes back the request of a caller that is interrupted, in line or with the connection", () =>
    Effect.gen(function*() {
      const { lines, pool, use } = yield* make()
      const [a, b, c] = yield* fork(["a", "b", "c"].map((name) => use(name)))
      yield* settle
      const [line] = lines
      yield* Fiber.interrupt(b!)
      assert.deepStrictEqual(line!.takenBack, ["b"])
      yield* Fiber.interrupt(a!)
      assert.deepStrictEqual(line!.takenBack, ["b", "a"])
      yield* settle
      assert.deepStrictEqual(line!.out.map(({ isAhead, name }) => [name, isAhead]), [["c", false]])
      line!.answer("c")
      assert.strictEqual(yield* Fiber.join(c!), "c by 1")
      const { cancelled, checkouts, idle, returns } = yield* pool.stats
      assert.deepStrictEqual({ cancelled, checkouts, idle, returns }, {
        cancelled: 1,
        checkouts: 2,
        idle: 1,
        returns: 2
      })
    }))

  it.effect("fails, or dies, with the answer", () =>
    Effect.gen(function*() {
      const { lines, use } = yield* make()
      const [a, b] = yield* fork(["a", "b"].map((name) => use(name)))
      yield* settle
      lines[0]!.answer("a", Exit.fail("no"))
      lines[0]!.answer("b", Exit.die("bug"))
      assert.strictEqual((yield* Effect.flip(Fiber.join(a!))) as unknown, "no")
      const exit = yield* Fiber.await(b!)
      assert.isTrue(Exit.isFailure(exit) && Cause.hasDies(exit.cause))
    }))

  it.effect("sends a request again whose connection was lost before its caller had it", () =>
    Effect.gen(function*() {
      const { lines, use } = yield* make()
      const [a, b] = yield* fork(["a", "b"].map((name) => use(name)))
      yield* settle
      const [line] = lines
      line!.lose("b")
      line!.answer("a")
      assert.strictEqual(yield* Fiber.join(a!), "a by 1")
      yield* settle
      assert.deepStrictEqual(line!.sent, ["a", "(b)", "b"])
      line!.answer("b")
      assert.strictEqual(yield* Fiber.join(b!), "b by 1")
    }))

  it.effect("refuses all in line at a shutdown, whatever is out", () =>
    Effect.gen(function*() {
      const { lines, pool, use } = yield* make()
      const [a, b] = yield* fork(["a", "b"].map((name) => use(name)))
      yield* settle
      const closing = yield* Effect.forkChild(pool.shutdown())
      yield* settle
      yield* PoolAssert.failsWith(Fiber.join(b!), "PoolClosedError")
      assert.isTrue(Exit.isFailure(yield* Fiber.await(a!)))
      assert.deepStrictEqual(lines[0]!.takenBack.toSorted(), ["a", "b"])
      yield* Fiber.join(closing)
    }))

  it.effect("lends nothing ahead while the pool is paused", () =>
    Effect.gen(function*() {
      const { lines, pool, use } = yield* make()
      const a = yield* Effect.forkChild(use("a"))
      yield* settle
      yield* pool.pause
      const b = yield* Effect.forkChild(use("b"))
      yield* settle
      lines[0]!.answer("a")
      yield* Fiber.join(a)
      yield* settle
      assert.deepStrictEqual(lines[0]!.sent, ["a"])
      yield* pool.resume
      yield* settle
      lines[0]!.answerAll()
      assert.strictEqual(yield* Fiber.join(b), "b by 1")
    }))
})
