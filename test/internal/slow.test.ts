/** The times of statements are recorded for the metrics, and only for them. */
import { assert, describe, it } from "@effect/vitest"
import { Effect, Result } from "effect"
import * as PoolOptions from "../../src/internal/options/pool.ts"
import * as Slow from "../../src/internal/pool/slow.ts"
import * as State from "../../src/internal/pool/state.ts"
import type { Work } from "../../src/internal/pool/work.ts"
import * as Histogram from "../../src/internal/structures/histogram.ts"

/** What a pool with these metrics knows after a quick statement and a slow one. */
const after = (metrics: boolean) => {
  const settings = PoolOptions.resolve({ max: 1, metrics, slowStatement: 100, factory: { connect: Effect.void } })
  const state = new State.State<void>(
    Result.getOrThrow(settings),
    {
      isAlive: undefined,
      needsReset: undefined,
      beginLease: undefined,
      endLease: undefined,
      isTransient: undefined,
      validates: false,
      resets: false,
      isTold: false
    },
    () => 0
  )
  Slow.begin(state)
  const work = { state, now: () => 7000, runSoon: () => {} } as unknown as Work<void>
  const { ended } = Slow.listener(work, new State.Entry<void>(1, 1, 0))
  for (const tookMillis of [4, 250]) ended!({ text: "select 1", tookMillis, isBlocking: true, lease: undefined })
  return { times: state.slow!.times, slow: state.counters.slowStatements, events: state.outbox.length }
}

describe("the time of a statement", () => {
  it("is recorded, quick or slow, in a pool with metrics", () => {
    const { events, slow, times } = after(true)
    assert.deepStrictEqual([Histogram.count(times), times.sumMillis, slow, events], [2, 254, 1, 1])
  })

  it("is not recorded in a pool without metrics, which still tells of the slow ones", () => {
    const { events, slow, times } = after(false)
    assert.deepStrictEqual([Histogram.count(times), slow, events], [0, 1, 1])
  })
})
