import { assert } from "@effect/vitest"
import { Effect, type Exit, type Fiber, type Metric } from "effect"
import type { PoolMetrics } from "effect-connection-pool"
import type { FaultyFactory } from "effect-connection-pool/testing"
import { type Connection, type Pool, settle } from "../pools.ts"

/**
 * What a test knows of a pool that it works: the callers, who asked when and in which order, who holds what, and which
 * connections must not be lent any more. It does not know how the pool decides, only what it may not do.
 */
export interface Model {
  now: number
  min: number
  max: number
  readonly maxAbandoned: number
  isPaused: boolean
  /** Whether `resize` has lowered max. */
  isShrunk: boolean
  closedAt: number
  /** In the order in which they asked. */
  readonly callers: Array<Caller>
  /** Connections up to this number must not be lent again. */
  retired: number
  readonly invalidated: Set<number>
  /** Connections whose last lease did not succeed, and that were not validated since. */
  readonly suspects: Set<number>
  /** Lines of the driver's log that were read. */
  read: number
  /** Whether attempts to connect may have failed, for now or for good. */
  mayFail: boolean
  /** Checks that were asked for. */
  readonly checks: Array<Fiber.Fiber<unknown, unknown>>
  /** Connections that may hang while they are closed. */
  hung: number
  readonly counts: {
    checkouts: number
    returns: number
    timeouts: number
    cancelled: number
    refused: number
    connectErrors: number
  }
}

export interface Caller {
  readonly deadline: number
  /** Whether the line was full when it asked. */
  readonly mayBeRefused: boolean
  readonly isSync: boolean
  outcome: "waiting" | "holding" | "over"
  isInterrupted: boolean
  readonly isScoped: boolean
  connection: Connection | undefined
  fiber: Fiber.Fiber<unknown, unknown> | undefined
  finish: ((body: Effect.Effect<unknown, unknown>) => void) | undefined
}

export interface Real {
  readonly pool: Pool
  readonly faulty: FaultyFactory.FaultyFactory
  readonly metrics: PoolMetrics.PoolMetrics
  readonly run: <A, E>(effect: Effect.Effect<A, E>) => Promise<A>
  /** What became of callers since the last look, in the order in which it did. */
  readonly log: Array<{ readonly caller: Caller; readonly exit: Exit.Exit<unknown, unknown> | "served" }>
}

export const limits = {
  maxWaiting: 6,
  acquireTimeout: 30_000,
  drainTimeout: 3000,
  closeTimeout: 5000,
  maxUses: 7
} as const

export const initial = (min: number, max: number, maxAbandoned: number): Model => ({
  now: 0,
  min,
  max,
  maxAbandoned,
  isPaused: false,
  isShrunk: false,
  closedAt: Infinity,
  callers: [],
  retired: 0,
  invalidated: new Set(),
  suspects: new Set(),
  read: 0,
  mayFail: false,
  checks: [],
  hung: 0,
  counts: { checkouts: 0, returns: 0, timeouts: 0, cancelled: 0, refused: 0, connectErrors: 0 }
})

export const waiting = (model: Readonly<Model>): ReadonlyArray<Caller> =>
  model.callers.filter((caller) => caller.outcome === "waiting")

export const holding = (model: Readonly<Model>): ReadonlyArray<Caller> =>
  model.callers.filter((caller) => caller.outcome === "holding")

/** Takes note of what the pool did in a step, and checks that it was allowed to, and that it left nothing undone. */
export const observe = (model: Model, real: Real): Effect.Effect<void> =>
  Effect.gen(function*() {
    yield* settle
    for (const { caller, exit } of real.log.splice(0)) {
      if (exit === "served") serve(model, caller)
      else if (caller.outcome === "waiting") giveUp(model, caller, exit)
      else if (caller.outcome === "holding") {
        // A shutdown interrupts whoever still holds a connection after the drain timeout.
        const isShutdown = model.now >= model.closedAt + limits.drainTimeout
        assert.isTrue(caller.isInterrupted || isShutdown, "a lease was ended by nobody")
        caller.outcome = "over"
        model.counts.returns++
      }
    }
    // It takes what belongs to a scope, and leaves the fiber alone.
    for (const caller of holding(model)) {
      if (!caller.isScoped || model.now < model.closedAt + limits.drainTimeout) continue
      caller.outcome = "over"
      model.counts.returns++
    }
    for (const caller of waiting(model)) {
      assert.isBelow(model.now, caller.deadline, "waits beyond its deadline")
      assert.isBelow(model.now, model.closedAt, "waits for a closed pool")
    }
    const log = yield* real.faulty.log
    for (const { connection, operation } of log.slice(model.read)) {
      if (operation === "validate") model.suspects.delete(connection)
      if (operation === "begin lease") assert.isFalse(model.suspects.has(connection), "lent in spite of a suspicion")
    }
    model.read = log.length
    yield* compare(model, real)
    yield* compareMetrics(model, real)
  })

/** Somebody was served: it was its turn, and it got a connection that it may have. */
const serve = (model: Model, caller: Caller): void => {
  assert.strictEqual(caller, waiting(model)[0], "served out of turn")
  const { id } = caller.connection!
  assert.isFalse(model.isPaused, "served while the pool is paused")
  const holder = holding(model).find((other) => other.connection!.id === id)
  assert.isTrue(holder === undefined || holder.isInterrupted, "lent twice at once")
  assert.isAbove(id, model.retired, "lent after a recycle")
  assert.isFalse(model.invalidated.has(id), "lent after it was invalidated")
  model.counts.checkouts++
  caller.outcome = caller.isSync ? "over" : "holding"
  if (caller.isSync) model.counts.returns++
}

/** Whoever waits no longer, and was not served, ended for a reason. */
const giveUp = (model: Model, caller: Caller, exit: Exit.Exit<unknown, unknown>): void => {
  caller.outcome = "over"
  const reason = exit._tag === "Failure" ? exit.cause.reasons[0] : undefined
  if (reason?._tag === "Interrupt" && caller.isInterrupted) {
    model.counts.cancelled++
    return
  }
  const error = reason?._tag === "Fail" ? reason.error as { readonly _tag: string } : undefined
  switch (error?._tag) {
    case "AcquireTimeoutError":
      assert.isAtLeast(model.now, caller.deadline, "timed out before its deadline")
      model.counts.timeouts++
      break
    case "QueueFullError":
      assert.isTrue(caller.mayBeRefused, "refused although there was room in the line")
      model.counts.refused++
      break
    case "PoolClosedError":
      assert.isAtLeast(model.now, model.closedAt, "told that an open pool is closed")
      model.counts.refused++
      break
    case "ConnectError":
      assert.isTrue(model.mayFail, "told that connecting failed")
      model.counts.connectErrors++
      break
    default:
      assert.fail(`a caller that waited ended with ${JSON.stringify(exit)}`)
  }
}

/** The metrics are those of the model, and of the numbers. */
const compareMetrics = (model: Model, { metrics, pool }: Real) =>
  Effect.gen(function*() {
    const stats = yield* pool.stats
    if (stats.total === 0 && model.closedAt < Infinity) return
    const context = yield* Effect.context<never>()
    const gauge = (metric: Metric.Gauge<number>) => metric.valueUnsafe(context).value
    const counter = (metric: Metric.Counter<number>) => metric.valueUnsafe(context).count
    const waits = metrics.waitTime.valueUnsafe(context)
    const uses = metrics.useTime.valueUnsafe(context)
    const connects = metrics.createTime.valueUnsafe(context)
    assert.deepStrictEqual({
      total: sum(Object.values(metrics.count).map(gauge)),
      used: gauge(metrics.count.used),
      pending: gauge(metrics.pendingRequests),
      bounds: [gauge(metrics.idleMin), gauge(metrics.idleMax), gauge(metrics.max)],
      timeouts: counter(metrics.timeouts),
      opened: counter(metrics.connects.succeeded),
      failed: counter(metrics.connects.failed) + counter(metrics.connects.timed_out),
      evictions: sum(Object.values(metrics.evictions).map(counter)),
      waits: waits.count,
      uses: uses.count,
      connects: connects.count
    }, {
      total: stats.total,
      used: holding(model).length,
      pending: waiting(model).length,
      bounds: [model.min, model.max, model.max],
      timeouts: model.counts.timeouts,
      opened: stats.connects,
      failed: stats.connectFailures,
      evictions: sum(Object.values(stats.evictions)),
      waits: model.counts.checkouts,
      uses: model.counts.returns,
      connects: stats.connects
    })
    assert.closeTo(waits.sum * 1000, stats.averageWaitMillis * stats.checkouts, 0.001)
    for (const histogram of [waits, uses, connects]) {
      assert.isAtMost(histogram.max, model.now / 1000, "longer than there was time: not in seconds")
      assert.isAtLeast(histogram.sum + 1e-6, leastSum(histogram))
    }
  })

const sum = (values: ReadonlyArray<number>) => values.reduce((sum, value) => sum + value, 0)

/** What the durations must add up to at least, going by their buckets. */
const leastSum = ({ buckets, count }: Metric.HistogramState) => {
  let least = 0
  let below = 0
  let bound = 0
  for (const [upper, upTo] of [...buckets, [Infinity, count] as const]) {
    least += (upTo - below) * bound
    below = upTo
    bound = upper
  }
  return least
}

/** The numbers are those of the model, they add up, and nothing that could be done is left undone. */
const compare = (model: Model, { faulty, pool }: Real) =>
  Effect.gen(function*() {
    const stats = yield* pool.stats
    const text = JSON.stringify(stats)
    const { abandoned, closing, connecting, idle, inUse, resetting, total, validating } = stats
    for (const [name, count] of Object.entries(model.counts)) {
      assert.strictEqual(stats[name as keyof typeof model.counts], count, `${name}: ${text}`)
    }
    assert.strictEqual(stats.waiting, waiting(model).length, text)
    assert.strictEqual(inUse, holding(model).length, text)
    assert.strictEqual((yield* pool.holders).length, inUse)
    assert.strictEqual((yield* pool.connections).length, total)
    assert.strictEqual(total, connecting + idle + validating + inUse + resetting + abandoned + closing, text)
    assert.strictEqual(abandoned, (yield* faulty.counters).unfinished, text)
    assert.strictEqual(stats.connectAttempts, stats.connects + stats.connectFailures + connecting, text)
    assert.deepStrictEqual(yield* faulty.violations, [])
    assert.strictEqual((yield* faulty.counters).leased, inUse)
    // After a resize, more than max may be in use, being opened or closed; they leave as that ends.
    const replaced = stats.abandonments === 0 ? 0 : model.maxAbandoned
    if (!model.isShrunk) assert.isAtMost(total, model.max + replaced, text)
    const staying = (yield* pool.connections).filter(({ evictReason, state }) =>
      evictReason === undefined && state !== "closing" && state !== "error"
    )
    const most = model.max + Math.min(abandoned, model.maxAbandoned)
    if (staying.length > most) assert.strictEqual(idle, 0, `kept beyond max: ${text}`)
    if (model.closedAt === Infinity) {
      assert.strictEqual(stats.abandonments, stats.settlements + abandoned, `abandoned and never settled: ${text}`)
    }
    if (model.now >= model.closedAt) {
      assert.strictEqual(idle + connecting + validating + resetting, 0, text)
      return
    }
    if (model.isPaused) return
    const coming = connecting + validating + resetting
    // After five connections in a row that were no good, the next attempt has to wait, as after one that failed.
    const { dead, driver, fatal, invalid, reset, abandoned: unseen, ...others } = stats.evictions
    // One that was to leave anyway, and then failed, was no good either, but is counted by the reason that came first.
    const failures = stats.validationFailures + stats.resetFailures + stats.settlements - invalid - reset - unseen
    const noGood = dead + driver + fatal + invalid + reset + unseen +
      Math.max(0, Math.min(sum(Object.values(others)), failures))
    const mayWait = model.mayFail || noGood >= 5
    if (stats.waiting > 0) {
      // While some are being validated for them, others that would have to be validated as well may stay idle.
      assert.isTrue(idle === 0 || validating >= stats.waiting, `somebody waits beside an idle connection: ${text}`)
      // However long it took to open it, a connection that was abandoned a second ago may be replaced.
      const long = (yield* pool.abandoned).filter(({ abandonedMillis }) => abandonedMillis >= 1000)
      const room = model.max + Math.min(long.length, model.maxAbandoned)
      if (!mayWait) assert.isTrue(coming > 0 || total >= room, `somebody waits for nothing: ${text}`)
    }
    if (!mayWait) {
      assert.isTrue(coming + idle + inUse + abandoned >= model.min || total >= model.max, `below min: ${text}`)
    }
  })
