/** A map of pools to which anything happens, and what must hold all the time. */
import { assert } from "@effect/vitest"
import { Cause, Effect, Exit, Fiber, Latch, type Scope } from "effect"
import { PoolMap } from "effect-connection-pool"
import { TestClock } from "effect/testing"
import { settle } from "../pools.ts"

/** What may happen. `who` is one of those who ask or hold now, by a number that is taken modulo their count. */
export type Step =
  | { readonly do: "use" | "get"; readonly key: string; readonly timeout: number }
  | { readonly do: "end" | "interrupt"; readonly who: number }
  | { readonly do: "invalidate" | "lend outside" | "take back outside" | "shut down outside"; readonly key: string }
  | { readonly do: "fail the next open" | "opens hang" | "opens go on" | "closes hang" | "closes go on" }
  | { readonly do: "advance"; readonly millis: number }

interface Small {
  readonly key: string
  readonly number: number
  holders: number
  leasesOutside: number
  /** Whether anybody had it, who could shut it down. */
  isGiven: boolean
  isDead: boolean
}

interface Caller {
  readonly number: number
  readonly key: string
  readonly deadline: number
  readonly fiber: Fiber.Fiber<unknown, unknown>
  readonly latch: Latch.Latch
  pool: Small | undefined
  /** Whether it waits, holds, or is over. */
  state: "waits" | "holds" | "over"
}

/** Failures that must not happen. They are collected, because some happen in fibers whose exit nobody reads. */
const violations = (): { readonly list: Array<string>; readonly that: (holds: boolean, text: string) => void } => {
  const list: Array<string> = []
  return { list, that: (holds, text) => void (holds || list.push(text)) }
}

/** Does the steps, and checks the map after each of them. */
export const play = Effect.fnUntraced(function*(max: number, steps: ReadonlyArray<Step>) {
  const must = violations()
  const open = new Map<string, Small>()
  const callers: Array<Caller> = []
  const opening = yield* Latch.make(true)
  const closing = yield* Latch.make(true)
  let [numbers, failures, isOver, now] = [0, 0, false, 0]

  const waiting = () => callers.filter(({ state }) => state === "waits")
  const holding = () => callers.filter(({ state }) => state === "holds")

  /**
   * Those who asked first, of keys that have no pool, must be served first. Pools that closed in one moment leave room for
   * several, and these may be opened in any order.
   */
  const assertFirst = (key: string) => {
    // While the clock is moved, those whose deadline comes on the way may be gone already.
    const inLine = waiting().filter((caller) => !open.has(caller.key) && (caller.deadline > now || caller.key === key))
    const keys = [...new Set(inLine.map((caller) => caller.key))]
    const rank = keys.indexOf(key)
    const room = max - open.size
    must.that(rank !== -1 && rank < room, `${key} is opened into one of ${room} rooms, but ${keys.join()} is the order`)
  }

  const openPool = (key: string) =>
    Effect.gen(function*() {
      must.that(!open.has(key), `two pools of ${key}`)
      assertFirst(key)
      const pool = {
        key,
        number: ++numbers,
        holders: 0,
        leasesOutside: 0,
        isGiven: false,
        isDead: false
      }
      open.set(key, pool)
      must.that(open.size <= max, `${open.size} pools, more than ${max}`)
      yield* Effect.addFinalizer(() =>
        Effect.gen(function*() {
          must.that(isOver || pool.holders === 0, `${key} is closed under a lease`)
          const may = isOver || pool.isDead
          must.that(may || pool.leasesOutside === 0, `${key} is closed under a lease outside`)
          yield* closing.await
          must.that(open.get(key) === pool, `${key} is closed twice`)
          open.delete(key)
        })
      )
      yield* opening.await
      if (failures === 0) return pool
      failures--
      // Whoever waits for it gets this answer now, and reads it later.
      for (const caller of waiting()) if (caller.key === key) caller.state = "over"
      return yield* Effect.fail("cannot open" as const)
    })

  const map = yield* PoolMap.make({
    max,
    open: openPool,
    drainTimeout: 0,
    idleTimeout: "1 minute",
    openTimeout: "Infinity",
    stateOf: (pool) => pool.isDead ? "closed" : pool.leasesOutside > 0 ? "in use" : "idle"
  })
  // However the test ends, nothing of it hangs.
  yield* Effect.addFinalizer(() => Effect.all([opening.open, closing.open]))

  const ask = Effect.fnUntraced(function*(how: "use" | "get", key: string, timeout: number) {
    const latch = yield* Latch.make(false)
    const body = (pool: Small) =>
      Effect.suspend(() => {
        must.that(!pool.isDead, `${key} was given although it is shut down`)
        must.that(open.get(key) === pool, `${key} was given although it is closed`)
        pool.isGiven = true
        pool.holders++
        Object.assign(caller, { pool, state: "holds" })
        return Effect.ensuring(latch.await, Effect.sync(() => pool.holders--))
      })
    const effect = how === "use"
      ? map.use(key, body, { timeout })
      : Effect.scoped(Effect.flatMap(map.get(key, { timeout }), body))
    const start = yield* Latch.make(false)
    const fiber = yield* Effect.forkDetach(Effect.andThen(start.await, effect))
    const caller: Caller = {
      number: callers.length,
      key,
      deadline: now + timeout,
      fiber,
      latch,
      pool: undefined,
      state: "waits"
    }
    callers.push(caller)
    fiber.addObserver((exit) => {
      caller.state = "over"
      must.that(!(Exit.isFailure(exit) && Cause.hasDies(exit.cause)), `a caller died: ${String(exit)}`)
    })
    yield* start.open
  })

  const end = Effect.fnUntraced(function*(caller: Caller | undefined, how: "end" | "interrupt") {
    if (caller === undefined) return
    caller.state = "over"
    yield* how === "end" ? caller.latch.open : Fiber.interrupt(caller.fiber)
  })

  const advance = Effect.fnUntraced(function*(millis: number) {
    now += millis
    yield* TestClock.adjust(millis)
  })

  const change = (key: string, f: (pool: Small) => void) =>
    Effect.sync(() => {
      const pool = open.get(key)
      if (pool?.isGiven === true) f(pool)
    })

  const take = (step: Step): Effect.Effect<unknown, unknown, Scope.Scope> => {
    switch (step.do) {
      case "use":
      case "get":
        return ask(step.do, step.key, step.timeout)
      case "end":
        return end(holding()[step.who % Math.max(holding().length, 1)], "end")
      case "interrupt": {
        const all = [...waiting(), ...holding()]
        return end(all[step.who % Math.max(all.length, 1)], "interrupt")
      }
      case "invalidate":
        return map.invalidate(step.key)
      case "lend outside":
        return change(step.key, (pool) => void pool.leasesOutside++)
      case "take back outside":
        return change(step.key, (pool) => void (pool.leasesOutside = 0))
      case "shut down outside":
        return change(step.key, (pool) => void (pool.isDead = true))
      case "fail the next open":
        return Effect.sync(() => void failures++)
      case "opens hang":
        return opening.close
      case "opens go on":
        return opening.open
      case "closes hang":
        return closing.close
      case "closes go on":
        return closing.open
      case "advance":
        return advance(step.millis)
    }
  }

  const check = Effect.fnUntraced(function*() {
    yield* settle
    const stats = yield* map.stats
    assert.deepStrictEqual(must.list, [])
    assert.strictEqual(stats.total, open.size, "the map has other pools than there are")
    assert.strictEqual(stats.total, stats.idle + stats.inUse + stats.opening + stats.closing)
    assert.strictEqual(stats.leases, holding().length, "leases")
    assert.strictEqual(stats.waiting, waiting().length, "callers that wait")
    const answers = stats.hits + stats.misses + stats.openErrors + stats.timeouts + stats.refused + stats.cancelled
    assert.strictEqual(answers, callers.length - waiting().length, "answers")
    for (const { key, pool } of holding()) assert.strictEqual(open.get(key), pool, "a pool of a holder is gone")
    // Who waits for room while there is room would wait for nothing.
    const inLine = waiting().some(({ key }) => !open.has(key))
    assert.isFalse(inLine && stats.total < max, "somebody waits although there is room")
    assert.isFalse(inLine && stats.idle > 0 && stats.closing === 0, "somebody waits although a pool is idle")
  })

  for (const step of steps) {
    yield* take(step)
    // Nobody tells the map what happens outside, but it looks again soon.
    if (step.do.endsWith("outside")) yield* advance(100)
    yield* check()
  }

  // Everything calms down: all who wait are served, in bounded time, and all is closed.
  failures = 0
  yield* Effect.all([opening.open, closing.open])
  // A close that was overdue already is not waited for by the shutdown, but it ends now.
  yield* settle
  for (const pool of open.values()) pool.leasesOutside = 0
  const patient = waiting().filter(({ deadline }) => deadline > now + 10_000)
  for (let round = 0; waiting().length + holding().length > 0 && round < 40; round++) {
    for (const caller of holding()) yield* end(caller, "end")
    yield* advance(200)
    yield* check()
  }
  for (const { fiber } of patient) assert.isTrue(Exit.isSuccess(yield* Fiber.await(fiber)), "a caller was not served")
  isOver = true
  yield* map.shutdown()
  assert.strictEqual(open.size, 0, "a pool was left open")
  assert.deepStrictEqual(must.list, [])
})
