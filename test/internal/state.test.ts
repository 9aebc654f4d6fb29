import { assert, describe, it } from "@effect/vitest"
import { Effect, type Fiber, Result } from "effect"
import * as PoolOptions from "../../src/internal/options/pool.ts"
import * as Lending from "../../src/internal/pool/lending.ts"
import * as Line from "../../src/internal/pool/line.ts"
import * as Operator from "../../src/internal/pool/operator.ts"
import * as Outcomes from "../../src/internal/pool/outcomes.ts"
import * as Rounds from "../../src/internal/pool/rounds.ts"
import * as State from "../../src/internal/pool/state.ts"
import * as Upkeep from "../../src/internal/pool/upkeep.ts"
import * as Deadlines from "../../src/internal/structures/deadlines.ts"
import * as Histogram from "../../src/internal/structures/histogram.ts"
import type * as PoolConfig from "../../src/PoolConfig.ts"

const driver: State.Driver<string> = {
  isAlive: undefined,
  needsReset: undefined,
  beginLease: undefined,
  endLease: undefined,
  isTransient: undefined,
  validates: false,
  resets: false,
  isTold: false
}

const make = (config: PoolConfig.PoolConfig, asked: Partial<State.Driver<string>> = {}) =>
  new State.State<string>(
    Result.getOrThrow(PoolOptions.resolve({ ...config, factory: { connect: Effect.void } })),
    { ...driver, ...asked },
    () => 0
  )

const caller = (): State.Lease<string> => ({
  fiber: { id: 1, cache: {}, pollUnsafe: () => undefined } as Fiber.Fiber<unknown, unknown>,
  options: undefined,
  scope: undefined,
  surrounding: undefined,
  span: undefined,
  stage: "new",
  entry: undefined,
  waiter: undefined
})

class Waiter extends State.Waiter<string> {
  refuse() {}
  resume() {}
}

/** Does what the coordination would: connects whatever is being opened, and closes whatever closes. */
const perform = (state: State.State<string>, now: number) => {
  for (let entry = state.starting.shift(); entry !== undefined; entry = state.starting.shift()) {
    entry.isStarting = false
    if (entry.list === state.connecting) Outcomes.connected(state, entry, `connection ${entry.id}`, now)
    else if (entry.list === state.closing) Outcomes.closed(state, entry, undefined, now)
  }
}

describe("State", () => {
  it("keeps no deadline for a caller that was served, was refused or has left", () => {
    const state = make({ max: 1 })
    const [served, refused, left] = [caller(), caller(), caller()]
    Line.join(state, new Waiter(served), 0)
    Line.join(state, new Waiter(refused), 0)
    Line.join(state, new Waiter(left), 0)
    assert.strictEqual(Deadlines.nextDue(state.deadlines), 30_000)
    Lending.settle(state, 0)
    perform(state, 0)
    Line.refuse(state, refused.waiter!, { _tag: "PoolClosedError" } as never)
    Lending.end(state, left, 0)
    assert.strictEqual(Deadlines.nextDue(state.deadlines), Infinity)
    assert.deepStrictEqual([served.stage, refused.stage, left.stage], ["granted", "refused", "ended"])
    assert.strictEqual(state.ready.length, 2)
  })

  it("gives a lease back once, however often it is ended", () => {
    const state = make({ max: 1 })
    const lease = caller()
    Line.join(state, new Waiter(lease), 0)
    Lending.settle(state, 0)
    perform(state, 0)
    Lending.hold(state, lease)
    Lending.end(state, lease, 1)
    Lending.end(state, lease, 2)
    assert.deepStrictEqual([state.idle.length, state.inUse.length], [1, 0])
    assert.deepStrictEqual([state.counters.checkouts, state.counters.returns], [1, 1])
  })

  it("lends an idle connection in one step, without a place in line", () => {
    const state = make({ max: 1, min: 1 })
    Lending.settle(state, 0)
    perform(state, 0)
    const lease = caller()
    assert.isTrue(Lending.take(state, lease, 0))
    assert.isUndefined(lease.waiter)
    assert.isFalse(Lending.take(state, caller(), 0))
  })

  it("starts an operation on a connection once, even if it is to be closed before that began", () => {
    const state = make({ max: 2, min: 2 })
    Lending.settle(state, 0)
    assert.deepStrictEqual(state.starting.map((entry) => entry.id), [1, 2])
    Operator.drain(state)
    assert.deepStrictEqual(state.starting.map((entry) => entry.id), [1, 2])
    assert.strictEqual(state.closing.length, 2)
    perform(state, 0)
    assert.strictEqual(State.total(state), 0)
  })

  it("times every eighth synchronous lease, as long as no caller waits and no reader watches", () => {
    const state = make({ max: 1, min: 1 })
    Lending.settle(state, 0)
    perform(state, 0)
    const timed: Array<number> = []
    for (let lease = 0; lease < 20; lease++) {
      const one = caller()
      Lending.take(state, one, lease)
      if (Lending.isTimed(state)) {
        timed.push(lease)
        state.syncMillis = 0.25
        Lending.end(state, one, lease + 0.25)
      } else Lending.end(state, one, lease)
    }
    assert.deepStrictEqual(timed, [0, 8, 16])
    // The others are taken to be as long.
    assert.deepStrictEqual([Histogram.count(state.useTimes), state.useTimes.sumMillis], [20, 5])
    state.isWatched = true
    assert.isTrue(Lending.isTimed(state))
    state.isWatched = false
    assert.isFalse(Lending.isTimed(state))
    Line.join(state, new Waiter(caller()), 20)
    assert.isTrue(Lending.isTimed(state))
  })

  it("replaces an abandoned connection in the same step for a caller in line, if opening it took no time", () => {
    const state = make({ max: 1 }, { isTold: true, unfinished: () => ({ settled: Effect.never }) })
    const holder = caller()
    Line.join(state, new Waiter(holder), 0)
    Lending.settle(state, 0)
    perform(state, 0)
    Lending.hold(state, holder)
    Line.join(state, new Waiter(caller()), 5)
    Lending.end(state, holder, 9)
    assert.deepStrictEqual([state.abandoned.length, state.connecting.length, state.waiters.length], [1, 1, 1])
  })

  it("closes an idle connection that has expired, and that a caller meets before the timer, for its age", () => {
    const state = make({ max: 1, min: 1, maxLifetime: "1 minute", lifetimeJitter: 0 })
    Lending.settle(state, 0)
    perform(state, 0)
    assert.isFalse(Lending.take(state, caller(), 60_000))
    assert.strictEqual(state.counters.evictions.lifetime, 1)
  })

  it("takes only the round that was cancelled out of the line, and only if it is in it", () => {
    const state = make({ max: 1, min: 1 }, { validates: true })
    Lending.settle(state, 0)
    perform(state, 0)
    const [running, next, ended] = [1, 2, 3].map(() =>
      new State.Round<string>({ concurrency: 1, timeoutMillis: undefined, mayConnect: false }, () => {})
    )
    Rounds.beginRound(state, running!, 0)
    Rounds.beginRound(state, next!, 0)
    Rounds.cancelRound(state, ended!, 0)
    assert.deepStrictEqual(state.rounds, [running, next])
    Rounds.cancelRound(state, next!, 0)
    assert.deepStrictEqual(state.rounds, [running])
    assert.isFalse(state.outbox.some(({ _tag }) => _tag === "Checked"))
  })
})

describe("attempts to connect that end in another order than they began", () => {
  it("cost a few steps each, however many there are", () => {
    const count = 2000
    const orders: Readonly<Record<string, (index: number) => number>> = {
      "the last first": (index) => count - 1 - index,
      "the first first": (index) => index,
      "from both ends": (index) => index % 2 === 0 ? index / 2 : count - 1 - (index - 1) / 2
    }
    for (const [order, place] of Object.entries(orders)) {
      for (const now of [0, 1500]) {
        const state = make({ max: count, min: count })
        Lending.settle(state, 0)
        const entries = state.starting.splice(0)
        let steps = 0
        for (const entry of entries) {
          let next = entry.next
          Object.defineProperty(entry, "next", {
            get: () => {
              steps++
              return next
            },
            set: (value: typeof next) => {
              next = value
            }
          })
        }
        for (let index = 0; index < count; index++) {
          Outcomes.connected(state, entries[place(index)]!, `connection ${index}`, now)
        }
        assert.strictEqual(state.idle.length, count)
        assert.isAtMost(steps, 10 * count, `${order}, after ${now} ms`)
      }
    }
  })

  it("no longer count for waiters once they are late and overtaken, the first of them first", () => {
    const state = make({ max: 4 })
    for (let index = 0; index < 3; index++) Line.join(state, new Waiter(caller()), 0)
    Lending.settle(state, 0)
    const [first, second, third] = state.starting.splice(0)
    Outcomes.connected(state, second!, "second", 0)
    assert.strictEqual(state.upkeepAt, 1000)
    Outcomes.connected(state, third!, "third", 0)
    Lending.settle(state, 999)
    assert.deepStrictEqual([state.starting.length, state.waiters.length], [0, 1])
    Upkeep.upkeep(state, 1000)
    assert.deepStrictEqual([state.starting.length, state.connecting.length], [1, 2])
    Outcomes.connected(state, first!, "first", 1001)
    assert.strictEqual(state.waiters.length, 0)
  })

  it("has nothing to look after once it is closed", () => {
    const state = make({ max: 1, min: 1, idleTimeout: "10 seconds" })
    Lending.settle(state, 0)
    perform(state, 0)
    assert.isBelow(Upkeep.nextDue(state, () => 0), Infinity)
    Operator.drain(state)
    perform(state, 0)
    assert.strictEqual(Upkeep.nextDue(state, () => 0), Infinity)
  })
})
