import { assert, describe, it } from "@effect/vitest"
import { Cause, Deferred, Effect, Exit, Fiber, Scheduler, Scope, Stream } from "effect"
import type { ConnectionPool } from "effect-connection-pool"
import { ConnectionPool as Pools } from "effect-connection-pool"
import { FaultyFactory } from "effect-connection-pool/testing"
import { type Connection, type Pool } from "./support/pools.ts"

/** A pool with connections that are held, and what is known of those who ask. */
interface World {
  readonly pool: Pool
  readonly known: Connection
  /** Which callers have asked, in that order; and who was served, in that order. */
  readonly asked: Array<number>
  readonly served: Array<number>
  readonly scopes: Array<Scope.Scope>
  /** The turns after which an operation is interrupted. */
  readonly turns: number
  nextCaller: number
  max: number
}

type Operation = (world: World) => Effect.Effect<unknown, unknown>

const caller = (
  world: World,
  ask: (served: () => void, options: ConnectionPool.AcquireOptions) => Effect.Effect<unknown, unknown>,
  timeout?: number
) => {
  const id = world.nextCaller++
  return ask(() => void world.served.push(id), {
    timeout,
    get label() {
      // Read in the step in which a caller asks.
      if (!world.asked.includes(id)) world.asked.push(id)
      return "caller"
    }
  })
}

const acquire = (timeout?: number): Operation => (world) =>
  caller(world, (served, options) =>
    Effect.suspend(() => {
      const scope = Scope.makeUnsafe()
      const lease = Effect.andThen(Scope.provide(world.pool.acquire(options), scope), Effect.sync(served))
      return Effect.onExit(Effect.andThen(lease, Effect.yieldNow), (exit) => {
        // One that was interrupted may have had its connection.
        if (Exit.isSuccess(exit) || Cause.hasInterrupts(exit.cause)) return Scope.close(scope, exit)
        world.scopes.push(scope)
        return Effect.void
      })
    }), timeout)

const passing: Record<string, Operation> = {
  use: (world) =>
    caller(world, (served, options) =>
      world.pool.use(() => {
        served()
        return Effect.yieldNow
      }, options)),
  "use, leaving something": (world) =>
    caller(world, (served, options) =>
      world.pool.use((connection) => {
        served()
        return Effect.andThen(connection.start, Effect.yieldNow)
      }, options)),
  useSync: (world) => caller(world, (served, options) => world.pool.useSync(served, options)),
  acquire: acquire(),
  check: ({ pool }) => pool.check(),
  events: ({ pool }) => Stream.runDrain(pool.events),
  shutdown: ({ pool }) => pool.shutdown()
}

const interrupted = (operation: Operation): Operation => (world) =>
  Effect.gen(function*() {
    const fiber = yield* Effect.forkDetach(operation(world))
    for (let turn = 0; turn < world.turns; turn++) yield* Effect.yieldNow
    yield* Fiber.interrupt(fiber)
  })

const operations: Record<string, Operation> = {
  ...passing,
  ...Object.fromEntries(
    Object.entries(passing).map(([name, operation]) => [`${name}, interrupted`, interrupted(operation)])
  ),
  "acquire at once": acquire(0),
  "stats and holders": ({ pool }) => Effect.andThen(pool.stats, pool.holders),
  "resize up": (world) =>
    Effect.andThen(Effect.sync(() => void (world.max = Math.max(world.max, 3))), world.pool.resize({ max: 3 })),
  "resize down": ({ pool }) => pool.resize({ max: 1 }),
  "pause and resume": ({ pool }) => Effect.andThen(pool.pause, Effect.andThen(Effect.yieldNow, pool.resume)),
  recycle: ({ pool }) => pool.recycle,
  invalidate: ({ known, pool }) => pool.invalidate(known)
}

type Within = <A, E, R>(effect: Effect.Effect<A, E, R>) => Effect.Effect<A, E, R>

interface Arrangement {
  readonly max: number
  readonly held: number
  readonly maxWaiting: number
}

const arrangements: ReadonlyArray<Arrangement> = [
  { max: 1, held: 1, maxWaiting: 1 },
  { max: 2, held: 2, maxWaiting: Infinity },
  { max: 2, held: 1, maxWaiting: 1 }
]

/** As many operations in the same turn, then the effect. */
const after = <A, E, R>(count: number, effect: Effect.Effect<A, E, R>): Effect.Effect<A, E, R> =>
  count === 0 ? effect : Effect.suspend(() => after(count - 1, effect))

/** Where fibers yield: after every so many operations, or once, when the budget that all fibers have by default is used. */
const yields: ReadonlyArray<readonly [name: string, turns: number, within: Within]> = [
  ...Array.from({ length: 22 }, (_, index) =>
    [
      `every ${index + 3} operations`,
      index % 4,
      <A, E, R>(effect: Effect.Effect<A, E, R>) => Effect.provideService(effect, Scheduler.MaxOpsBeforeYield, index + 3)
    ] as const),
  ...Array.from({ length: 10 }, (_, index) =>
    [
      `after ${2038 + index} operations`,
      index % 4,
      <A, E, R>(effect: Effect.Effect<A, E, R>) => after(2038 + index, effect)
    ] as const)
]

/** For the arrangement in which most is the same as in the others. */
const fewer = yields.filter((_, index) => index % 2 === 0)

const outcomes = ["checkouts", "timeouts", "refused", "connectErrors", "cancelled"] as const

const runPair = (
  first: Operation,
  second: Operation,
  { held, max, maxWaiting }: Arrangement,
  turns: number,
  within: Within
) =>
  Effect.gen(function*() {
    const faulty = yield* FaultyFactory.make()
    yield* faulty.settle.hold
    const scope = yield* Scope.make()
    const pool: Pool = yield* Scope.provide(
      Pools.make({ factory: faulty.factory, max, min: max, maxWaiting, drainTimeout: 0, metrics: false }),
      scope
    )
    let known: Connection | undefined
    const holders = yield* Effect.forEach(Array.from({ length: held }), () =>
      Effect.gen(function*() {
        const done = yield* Deferred.make<void>()
        const fiber = yield* Effect.forkDetach(pool.use((connection) => {
          known = connection
          return Deferred.await(done)
        }))
        return Effect.andThen(Deferred.succeed(done, undefined), Fiber.await(fiber))
      }))
    yield* Effect.yieldNow
    const world: World = { pool, known: known!, asked: [], served: [], scopes: [], turns, nextCaller: 0, max }
    const fibers = yield* Effect.forEach([first, second], (operation) =>
      Effect.map(Effect.forkDetach(within(operation(world))), (fiber) => ({ fiber, operation })))
    const look = Effect.map(pool.stats, (stats) => {
      const { abandoned, closing, connecting, idle, inUse, resetting, total, validating, waiting } = stats
      assert.strictEqual(total, connecting + idle + validating + inUse + resetting + abandoned + closing)
      const replaced = stats.abandonments === 0 ? 0 : stats.maxAbandoned
      assert.isAtMost(total, world.max + replaced, "more connections than max")
      assert.isAtMost(waiting, maxWaiting, "more callers in line than maxWaiting")
      return stats
    })
    for (let turn = 0; turn < 4; turn++) {
      yield* Effect.yieldNow
      yield* look
    }
    // One after the other, so that callers are served one after the other.
    for (const giveBack of holders) {
      yield* giveBack
      for (let turn = 0; turn < 6; turn++) {
        yield* Effect.yieldNow
      }
    }
    yield* faulty.settle.open
    const areOver = (operations: ReadonlyArray<Operation>) =>
      Effect.gen(function*() {
        const running = () =>
          fibers.some(({ fiber, operation }) => operations.includes(operation) && !fiber.pollUnsafe())
        for (let turn = 0; turn < 300 && running(); turn++) yield* Effect.yieldNow
        assert.isFalse(running(), "one of them is stuck")
      })
    yield* areOver([first, second].filter((operation) => operation !== passing["events"]))
    yield* look
    // Where nothing is idle at first, each was served before the next was granted a connection.
    if (held === max) {
      const order = world.asked.filter((id) => world.served.includes(id))
      assert.deepStrictEqual(world.served, order, "somebody was overtaken")
    }
    for (const scope of world.scopes) assert.strictEqual(scope.state._tag, "Empty", "a failed acquire left something")
    yield* pool.shutdown()
    yield* areOver([first, second])
    const stats = yield* pool.stats
    assert.deepStrictEqual([stats.total, stats.waiting, stats.checkouts - stats.returns], [0, 0, 0])
    const counted = outcomes.reduce((sum, outcome) => sum + stats[outcome], 0)
    assert.strictEqual(counted, held + world.asked.length, "an acquire was not counted once")
    const { closed, leased, opened, unfinished } = yield* faulty.counters
    assert.deepStrictEqual([opened - closed, leased, unfinished], [0, 0, 0])
    assert.deepStrictEqual(yield* faulty.violations, [])
    yield* Scope.close(scope, Exit.void)
  })

describe("every operation keeps what the pool promises beside every other, wherever their fibers yield", () => {
  for (const [name, first] of Object.entries(operations)) {
    it.effect(name, () =>
      Effect.gen(function*() {
        for (const [other, second] of Object.entries(operations)) {
          for (const arrangement of arrangements) {
            for (const [point, turns, within] of arrangement.held < arrangement.max ? fewer : yields) {
              const exit = yield* Effect.exit(runPair(first, second, arrangement, turns, within))
              if (Exit.isSuccess(exit)) continue
              const cause = Cause.squash(exit.cause)
              assert.fail(`${String(cause)}: ${name}, ${other}; ${JSON.stringify(arrangement)}; yields ${point}`)
            }
          }
        }
      }), 120_000)
  }
})
