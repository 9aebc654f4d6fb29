import { assert, describe, it } from "@effect/vitest"
import { Effect, Exit, Layer, Logger, Metric, Scope } from "effect"
import { PoolMetrics } from "effect-connection-pool"
import { PoolAssert } from "effect-connection-pool/testing"
import { TestClock } from "effect/testing"
import * as fc from "fast-check"
import { holding, initial, limits, type Model, observe, type Real, waiting } from "./support/model/model.ts"
import { steps } from "./support/model/steps.ts"
import { make } from "./support/pools.ts"

/** Everything calms down. Then everybody is served, the floor is restored, nothing was lost, and all of it closes. */
const finish = (model: Model, real: Real) =>
  Effect.gen(function*() {
    const { faulty, pool } = real
    for (const faults of [faulty.connect, faulty.validate, faulty.reset, faulty.settle, faulty.disconnect]) {
      yield* faults.clear
      yield* faults.open
    }
    model.isPaused = false
    yield* pool.resume
    for (let round = 0; round < 20; round++) {
      // By now what hung has been given up, and what failed has been tried again.
      model.now += 20_000
      yield* TestClock.adjust(20_000)
      yield* observe(model, real)
      for (const caller of holding(model)) {
        caller.outcome = "over"
        model.counts.returns++
        caller.finish!(Effect.void)
      }
      yield* observe(model, real)
    }
    assert.deepStrictEqual([waiting(model).length, holding(model).length], [0, 0], "somebody was never served")
    const unanswered = model.checks.filter((check) => check.pollUnsafe() === undefined)
    assert.strictEqual(unanswered.length, 0, "a check has never ended")
    const stats = yield* pool.stats
    if (model.closedAt === Infinity) assert.isAtLeast(stats.idle, model.min, "the floor was never restored")
    else assert.strictEqual(stats.total, 0, "the shutdown has not ended")
    if (model.closedAt === Infinity) yield* PoolAssert.nothingLeaked(faulty, pool, { hung: model.hung })
    else yield* PoolAssert.allClosed(faulty, pool, { hung: model.hung })
  })

const world = Layer.mergeAll(
  TestClock.layer(),
  Logger.layer([]),
  Layer.sync(Metric.MetricRegistry, () => new Map())
)

const property = (sizes: fc.Arbitrary<number>) =>
  fc.asyncProperty(
    sizes,
    fc.nat(2),
    fc.nat(2),
    fc.commands(steps(sizes), { maxCommands: 60, size: "+1" }),
    async (max, low, maxAbandoned, commands) => {
      const min = Math.min(low, max)
      const scope = Effect.runSync(Scope.make())
      const context = await Effect.runPromise(Layer.buildWithScope(world, scope))
      const run = Effect.runPromiseWith(context)
      try {
        const { faulty, pool } = await run(Scope.provide(make({ min, max, maxAbandoned, ...limits }), scope))
        const model = initial(min, max, maxAbandoned)
        const real: Real = { faulty, pool, metrics: PoolMetrics.of(pool.name), run, log: [] }
        await fc.asyncModelRun(() => ({ model, real }), commands)
        await run(finish(model, real))
      } finally {
        const closing = run(Scope.close(scope, Exit.void))
        await run(Effect.repeat(TestClock.adjust("1 minute"), { times: 3 }))
        await closing
      }
    }
  )

/** More for a longer look: `MODEL_RUNS=10000 npm test -- test/model.test.ts`. */
const numRuns = Number(process.env["MODEL_RUNS"] ?? 300)
const timeout = numRuns * 1000

describe("whatever happens to a pool, it keeps what it promises", () => {
  it("of one connection", () => fc.assert(property(fc.constant(1)), { numRuns }), timeout)

  it("of two to five connections", () => fc.assert(property(fc.integer({ min: 2, max: 5 })), { numRuns }), timeout)
})
