/**
 * Random programs of many callers that write at the same time. Each is told what it would be told alone, in order of arrival,
 * and what another handle sees in the end is what is stored then.
 */
import { assert, describe, it } from "@effect/vitest"
import { Effect, Layer, Logger, Metric, type Scope, Tracer } from "effect"
import { PoolMetrics } from "effect-connection-pool"
import { TestClock } from "effect/testing"
import * as fc from "fast-check"
import { settle } from "../support/pools.ts"
import { Oracle } from "../support/writers/oracle.ts"
import { type Caller, type Program, programs } from "../support/writers/programs.ts"
import { run } from "../support/writers/run.ts"
import { droppedIn, pooled, type Watched } from "../support/writers/targets.ts"

const world = Layer.mergeAll(
  TestClock.layer(),
  Logger.layer([]),
  Layer.sync(Metric.MetricRegistry, () => new Map())
)

/** More for a longer look: `MODEL_RUNS=10000 npm test -- test/sqlite/groupCommitModel`. */
const usualRuns = 40
const numRuns = Number(process.env["MODEL_RUNS"] ?? usualRuns)
const timeout = numRuns * 5000 + 120_000

/** What is seen in all programs, so that the test can tell that it has tested something. */
interface Seen {
  callers: number
  readonly told: Record<string, number>
  readonly sizes: Array<number>
  readonly reasons: Set<string>
}

const check = (seen: Seen, watched: Watched, program: Program) =>
  Effect.gen(function*() {
    const before = yield* watched.pool.stats
    const waves = yield* run(watched, program)
    // The last events are heard of.
    yield* settle
    const oracle = new Oracle(program, watched.lasts)
    let served = 0
    let mayBeTemporary = false
    const counts = { interrupted: 0, late: 0, reads: 0 }
    for (const [at, { callers, isHeld, outside }] of program.waves.entries()) {
      if (outside !== undefined) oracle.outside(outside)
      if (isHeld) served++
      mayBeTemporary ||= watched.lasts && /create temp|attach/.test(JSON.stringify(callers))
      for (const [index, caller] of callers.entries()) {
        const answer = waves[at]![index]!
        seen.callers++
        seen.told[answer.told] = (seen.told[answer.told] ?? 0) + 1
        if (caller.operation.kind === "read") {
          // It may be over before it is interrupted.
          assert.include(["rows", "interrupted"], answer.told)
        } else if (isHeld && caller.fate === "interrupted") {
          counts.interrupted++
          assert.strictEqual(answer.told, "interrupted")
        } else if (isHeld && isLate(caller)) {
          counts.late++
          assert.strictEqual(answer.told, "too late")
        } else {
          served++
          const expected = oracle.answer(caller.operation)
          assert.deepStrictEqual(
            oracle.explained(answer),
            expected,
            `wave ${at}, caller ${index}: ${JSON.stringify(caller)}`
          )
        }
      }
      // Where a temporary table or a database in memory may be meant, a read runs on the connection that has it.
      if (mayBeTemporary) {
        counts.reads += callers.filter(({ operation }) => operation.kind === "read").length
      }
    }
    assert.deepStrictEqual(yield* watched.stored, oracle.dump())
    oracle.close()
    seen.sizes.push(...watched.groups.filter(([, why]) => why === undefined).map(([size]) => size))
    for (const [, why] of watched.groups) if (why !== undefined) seen.reasons.add(why)
    return { before, served, ...counts }
  })

const isLate = ({ fate, operation }: Caller) => fate === "late" && operation.kind === "body"

/** The numbers are those of callers that run alone, and those of the groups are those of the events. */
const checkNumbers = ({ groups, pool }: Watched, expected: Effect.Success<ReturnType<typeof check>>) =>
  Effect.gen(function*() {
    const { readers, writer } = yield* pool.stats
    const { before } = expected
    const checkouts = writer.checkouts - before.writer.checkouts
    const reads = [checkouts - expected.served, writer.cancelled - expected.interrupted] as const
    assert.isTrue(Math.min(...reads) >= 0 && reads[0] + reads[1] <= expected.reads, `reads: ${reads.join()}`)
    assert.deepStrictEqual(
      {
        open: writer.checkouts - writer.returns,
        timeouts: writer.timeouts,
        left: [writer.waiting, writer.inUse, readers.inUse, readers.waiting]
      },
      {
        open: 0,
        timeouts: expected.late,
        left: [0, 0, 0, 0]
      }
    )
    const metrics = PoolMetrics.of(writerName)
    const sizes = yield* Metric.value(metrics.groupSize)
    const done = groups.filter(([, why]) => why === undefined).map(([size]) => size)
    assert.deepStrictEqual([sizes.count, sizes.sum], [done.length, done.reduce((sum, size) => sum + size, 0)])
    assert.strictEqual((yield* Metric.value(metrics.undoneGroups)).count, groups.length - done.length)
    assert.strictEqual((yield* Metric.value(metrics.useTime)).count, writer.returns)
    assert.strictEqual((yield* Metric.value(metrics.waitTime)).count, writer.checkouts)
  })

const writerName = "writers/writer"

type Around = <A, E, R>(effect: Effect.Effect<A, E, R>) => Effect.Effect<A, E, R>

const property = (
  seen: Seen,
  make: (program: Program) => Effect.Effect<Watched, unknown, Scope.Scope>,
  { around = (effect) => effect, isCounted }: { readonly isCounted: boolean; readonly around?: Around }
) =>
  fc.asyncProperty(programs(100), (program) =>
    Effect.runPromise(
      Effect.gen(function*() {
        const watched = yield* make(program)
        const expected = yield* check(seen, watched, program)
        if (isCounted) yield* checkNumbers(watched, expected)
      }).pipe(around, Effect.scoped, Effect.provide(world, { local: true }))
    ))

/** What each group of tests has to have seen: a test in which nothing happens shows nothing. */
const outcomes = ["rows", "failure", "defect", "interrupted", "too late"]
const whyUndone = ["SQLite has ended the transaction", "a part of", "defer_foreign_keys"]

const missing = ({ reasons, sizes, told }: Seen, isGrouped: boolean): ReadonlyArray<string> => {
  const missed = outcomes.filter((outcome) => told[outcome] === undefined)
  if (!isGrouped) return missed
  missed.push(...whyUndone.filter((why) => ![...reasons].some((reason) => reason.includes(why))))
  if (sizes.length <= 10 || Math.max(...sizes) <= 5) missed.push("large groups")
  return missed
}

const test = async (
  make: (program: Program) => Effect.Effect<Watched, unknown, Scope.Scope>,
  options: {
    readonly isCounted: boolean
    readonly isGrouped?: boolean
    readonly runs?: number
    readonly around?: Around
  }
): Promise<Seen> => {
  const seen: Seen = { callers: 0, told: {}, sizes: [], reasons: new Set() }
  const { isGrouped = false, runs = numRuns } = options
  await fc.assert(property(seen, make, options), { numRuns: runs })
  // In a few programs, not everything happens.
  if (numRuns < usualRuns) return seen
  assert.isAbove(seen.callers, 10 * runs)
  // What is in a fifth of all programs may be in none of so few.
  for (let more = 0; more < 20 && missing(seen, isGrouped).length > 0; more++) {
    // oxlint-disable-next-line no-await-in-loop -- Most often, none is needed.
    await fc.assert(property(seen, make, options), { numRuns: 10 })
  }
  assert.deepStrictEqual(missing(seen, isGrouped), [])
  return seen
}

const tracer = Tracer.make({
  span: (options) => new Tracer.NativeSpan(options)
})

const step = (sql: string, isCaught = false) => ({ sql, isCaught })

const body = (...steps: ReadonlyArray<ReturnType<typeof step>>): Caller => ({
  operation: { kind: "body", steps, ends: "returns" },
  fate: "served"
})

describe("callers that write at the same time are told what they would be told alone, and that is stored", () => {
  it("in groups", async () => {
    await test(pooled({}), { isCounted: true, isGrouped: true })
  }, timeout)

  it("in groups, with a tracer", async () => {
    const around = Effect.provideService(Tracer.Tracer, tracer) as Around
    await test(pooled({}), { isCounted: true, isGrouped: true, around })
  }, timeout)

  it("without groups", async () => {
    const { sizes } = await test(pooled({ groupCommit: false }), { isCounted: false })
    assert.deepStrictEqual(sizes, [])
  }, timeout)

  it("in memory", async () => {
    await test(pooled({ isMemory: true }), { isCounted: false })
  }, timeout)

  it("through the drop-in client", async () => {
    await test(droppedIn({ groupCommit: true }), { isCounted: true, isGrouped: true })
  }, timeout)

  it("through the drop-in client, after a pragma that came too late for its transaction", async () => {
    const program: Program = {
      hasDeferredKeys: false,
      waves: [{
        isHeld: false,
        callers: [
          body(step("insert into t(n) values (0), (1)")),
          // SQLite would run the pragma while it prepares it, for the transaction of the next caller.
          body(step("update or rollback t set n = n + 1", true), step("pragma defer_foreign_keys = on")),
          body(step("insert into child values (0)", true))
        ]
      }]
    }
    const seen: Seen = { callers: 0, told: {}, sizes: [], reasons: new Set() }
    for (const make of [droppedIn({}), droppedIn({ groupCommit: true }), pooled({})]) {
      // oxlint-disable-next-line no-await-in-loop -- One after the other.
      await Effect.runPromise(
        Effect.flatMap(make(program), (watched) => check(seen, watched, program)).pipe(
          Effect.scoped,
          Effect.provide(world, { local: true })
        )
      )
    }
    assert.deepStrictEqual(seen.told, { rows: 6, failure: 3 })
  })

  it("through the drop-in client without groups", async () => {
    await test(droppedIn({}), { isCounted: false })
  }, timeout)

  it("through the drop-in client without a log", async () => {
    await test(droppedIn({ disableWAL: true, groupCommit: true }), {
      isCounted: false,
      isGrouped: true,
      runs: Math.ceil(numRuns / 2)
    })
  }, timeout)
})
