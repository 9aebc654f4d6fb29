import { assert, describe, it } from "@effect/vitest"
import { Cause, Deferred, Effect, Exit, Fiber, Scheduler, Scope, Tracer } from "effect"
import type { ConnectionPool, PoolError } from "effect-connection-pool"
import { type FaultyFactory, PoolAssert } from "effect-connection-pool/testing"
import { TestClock } from "effect/testing"
import { borrow, make, type Pool, settle } from "./support/pools.ts"

/** As many operations in the same turn, then the effect: the fiber yields at another point of it for each number. */
const after = <A, E, R>(operations: number, effect: Effect.Effect<A, E, R>): Effect.Effect<A, E, R> =>
  operations === 0 ? effect : Effect.suspend(() => after(operations - 1, effect))

const budget = 40

const points = Array.from({ length: 30 }, (_, index) => budget - 25 + index)

/** A fiber with a small budget, which it has used up to that point when it asks. */
const ask = <A, E>(point: number, effect: Effect.Effect<A, E>) =>
  Effect.forkDetach(Effect.provideService(after(point, effect), Scheduler.MaxOpsBeforeYield, budget))

/** Whether a scope has anything to do when it closes. */
const holdsSomething = (scope: Scope.Scope): boolean => scope.state._tag === "Open"

const tracer = Tracer.make({ span: (options) => new Tracer.NativeSpan(options) })

const ways: Record<
  string,
  (
    pool: Pool,
    body: () => void,
    options?: ConnectionPool.AcquireOptions
  ) => Effect.Effect<void, PoolError.PoolError<FaultyFactory.FaultyError>>
> = {
  use: (pool, body, options) => pool.use(() => Effect.sync(body), options),
  useSync: (pool, body, options) => pool.useSync(body, options),
  acquire: (pool, body, options) => Effect.scoped(Effect.map(pool.acquire(options), body)),
  "a traced use": (pool, body, options) =>
    Effect.provideService(pool.use(() => Effect.sync(body), options), Tracer.Tracer, tracer)
}

describe("asking and joining the line are one step, wherever the fiber yields", () => {
  for (const [name, way] of Object.entries(ways)) {
    it.effect(`a shutdown refuses callers that asked before it, and callers that ask after it (${name})`, () =>
      Effect.gen(function*() {
        for (const point of points) {
          const { pool } = yield* make({ max: 1, acquireTimeout: "Infinity" })
          yield* pool.pause
          const caller = yield* ask(point, way(pool, () => {}))
          const shutdown = yield* Effect.forkDetach(pool.shutdown())
          yield* settle
          assert.isDefined(shutdown.pollUnsafe(), "the shutdown has not ended")
          assert.isDefined(caller.pollUnsafe(), `stands in the line of a closed pool, after ${point} operations`)
          yield* PoolAssert.failsWith(Fiber.join(caller), "PoolClosedError")
          const { refused, waiting } = yield* pool.stats
          assert.deepStrictEqual({ refused, waiting }, { refused: 1, waiting: 0 })
        }
      }))

    it.effect(`the line never gets longer than maxWaiting (${name})`, () =>
      Effect.gen(function*() {
        const { faulty, pool } = yield* make({ max: 1, maxWaiting: 1 })
        for (const point of points) {
          const holder = yield* borrow(pool)
          const callers = yield* Effect.forEach([1, 2, 3, 4, 5], () => ask(point, way(pool, () => {})))
          for (let turn = 0; turn < 10; turn++) {
            yield* Effect.yieldNow
            assert.isAtMost((yield* pool.stats).waiting, 1)
          }
          yield* holder.giveBack
          const exits = yield* Fiber.awaitAll(callers)
          assert.strictEqual(exits.filter(Exit.isSuccess).length, 1)
        }
        yield* PoolAssert.nothingLeaked(faulty, pool)
      }))

    it.effect(`no caller overtakes an earlier caller (${name})`, () =>
      Effect.gen(function*() {
        const { pool } = yield* make({ max: 1 })
        for (const point of points) {
          const holder = yield* borrow(pool)
          const asked: Array<string> = []
          const served: Array<string> = []
          const caller = (name: string) =>
            way(pool, () => void served.push(name), {
              get label() {
                // Read in the step in which a caller asks.
                asked.splice(0, asked.length, ...asked.filter((other) => other !== name), name)
                return name
              }
            })
          const first = yield* ask(point, caller("first"))
          const second = yield* Effect.forkDetach(caller("second"))
          yield* settle
          yield* holder.giveBack
          yield* Fiber.joinAll([first, second])
          assert.deepStrictEqual(served, asked, `after ${point} operations`)
        }
      }))

    it.effect(`a caller that does not want to wait fails at once, and is never in line (${name})`, () =>
      Effect.gen(function*() {
        const { pool } = yield* make({ max: 1 })
        const holder = yield* borrow(pool)
        for (const point of points) {
          const caller = yield* ask(point, way(pool, () => {}, { timeout: 0 }))
          for (let turn = 0; turn < 10; turn++) {
            yield* Effect.yieldNow
            assert.strictEqual((yield* pool.stats).waiting, 0)
          }
          yield* PoolAssert.failsWith(Fiber.join(caller), "AcquireTimeoutError")
        }
        yield* holder.giveBack
      }))
  }
})

describe("a failed acquire", () => {
  const failures: Record<string, (pool: Pool) => Effect.Effect<unknown, unknown>> = {
    "of a paused pool": (pool) => pool.pause,
    "of a closed pool": (pool) => pool.shutdown(),
    "of a pool whose idle connection has to be validated": (pool) => Effect.as(TestClock.adjust("5 minutes"), pool),
    "of a pool whose connection is lent": (pool) => borrow(pool)
  }
  for (const [name, arrange] of Object.entries(failures)) {
    it.effect(`leaves nothing in the scope of its caller (${name})`, () =>
      Effect.gen(function*() {
        const { faulty, pool } = yield* make({ max: 1, validateAfterIdle: "1 minute", idleTimeout: "Infinity" })
        yield* pool.use(() => Effect.void)
        yield* arrange(pool)
        yield* faulty.validate.hold
        const scope = yield* Scope.make()
        for (let times = 0; times < 5; times++) {
          yield* Effect.flip(Scope.provide(pool.acquire({ timeout: 0 }), scope))
        }
        assert.isFalse(holdsSomething(scope))
        yield* Scope.close(scope, Exit.void)
      }))
  }

  it.effect("leaves nothing either when it is interrupted at any point", () =>
    Effect.gen(function*() {
      const { faulty, pool } = yield* make({ max: 1 })
      const scope = yield* Scope.make()
      for (const isFree of [true, false]) {
        for (const point of points) {
          for (let turns = 0; turns < 4; turns++) {
            const holder = isFree ? undefined : yield* borrow(pool)
            const caller = yield* ask(point, Scope.provide(pool.acquire(), scope))
            for (let turn = 0; turn < turns; turn++) yield* Effect.yieldNow
            yield* Fiber.interrupt(caller)
            const exit = yield* Fiber.await(caller)
            if (Exit.isSuccess(exit)) {
              assert.strictEqual((yield* pool.stats).inUse, 1)
              assert.isTrue(isFree)
              break
            }
            assert.isTrue(Cause.hasInterruptsOnly(exit.cause))
            assert.isFalse(holdsSomething(scope))
            if (holder !== undefined) yield* holder.giveBack
          }
          if ((yield* pool.stats).inUse > 0) break
        }
        if (isFree) assert.strictEqual((yield* pool.stats).inUse, 1)
        yield* Effect.exit(pool.use(() => Effect.void, { timeout: 0 }))
        if (isFree) break
      }
      yield* Scope.close(scope, Exit.void)
      yield* PoolAssert.nothingLeaked(faulty, pool)
    }))
})

describe("every acquire is counted once", () => {
  const outcomes = ["checkouts", "timeouts", "refused", "connectErrors", "cancelled"] as const

  for (const [name, way] of Object.entries(ways)) {
    it.effect(`wherever it is interrupted, whatever comes between (${name})`, () =>
      Effect.gen(function*() {
        let interrupted = 0
        const seen = new Set<string>()
        for (let ops = 3; ops <= 24; ops++) {
          for (let turns = 0; turns <= 8; turns += 2) {
            for (const event of ["return", "shutdown", "deadline", "nothing"] as const) {
              const { pool } = yield* make({ max: 1, closeTimeout: "1 second" })
              const done = yield* Deferred.make<void>()
              const holder = yield* Effect.forkDetach(pool.use(() => Deferred.await(done)))
              yield* settle
              let began = 1
              const options = {
                timeout: event === "deadline" ? "1 second" as const : undefined,
                get label() {
                  began = 2
                  return "caller"
                }
              }
              const caller = yield* Effect.forkDetach(
                Effect.provideService(way(pool, () => {}, options), Scheduler.MaxOpsBeforeYield, ops)
              )
              for (let turn = 0; turn < turns; turn++) yield* Effect.yieldNow
              const action = event === "return"
                ? Deferred.succeed(done, undefined)
                : event === "shutdown"
                ? Effect.forkDetach(pool.shutdown())
                : event === "deadline"
                ? TestClock.adjust("1 second")
                : Effect.void
              yield* action
              for (let turn = 0; turn < turns % 3; turn++) yield* Effect.yieldNow
              yield* Fiber.interrupt(caller)
              const exit = yield* Fiber.await(caller)
              if (Exit.isFailure(exit) && Cause.hasInterrupts(exit.cause)) interrupted++
              yield* Deferred.succeed(done, undefined)
              yield* Fiber.await(holder)
              yield* settle
              const stats = yield* pool.stats
              for (const outcome of outcomes) if (stats[outcome] > (outcome === "checkouts" ? 1 : 0)) seen.add(outcome)
              const counted = outcomes.reduce((sum, outcome) => sum + stats[outcome], 0)
              assert.strictEqual(
                counted,
                began,
                `${event}, ${ops} operations, ${turns} turns: ${JSON.stringify(stats)}`
              )
              assert.deepStrictEqual([stats.waiting, stats.inUse], [0, 0])
            }
          }
        }
        assert.isAbove(interrupted, 50)
        assert.deepStrictEqual(Array.from(seen).toSorted(), ["cancelled", "checkouts", "refused", "timeouts"])
      }), 120_000)
  }
})
