/**
 * Assertions about pools. They are effects that die with Node's `AssertionError`, so they fail a test in any test runner and
 * say what they found.
 */
import { Cause, Effect, Exit, Fiber } from "effect"
import * as assert from "node:assert"
import type { ConnectionPool } from "../ConnectionPool.ts"
import type { ConnectionStats } from "../ConnectionStats.ts"
import { checkOrThrow } from "../internal/options/problems.ts"
import { table } from "../internal/options/rules.ts"
import type { FaultyFactory } from "./FaultyFactory.ts"

/**
 * Asserts that an effect fails with the error of this tag and nothing else, and gives that error.
 *
 * It catches the error as an application would. A success, another error, a defect or an interruption fail the assertion, also
 * beside the expected error; so does an error that nothing can catch because a defect comes beside it.
 */
export const failsWith = <A, E extends { readonly _tag: string }, R, const Tag extends E["_tag"]>(
  effect: Effect.Effect<A, E, R>,
  tag: Tag
): Effect.Effect<Extract<E, { readonly _tag: Tag }>, never, R> =>
  Effect.flatMap(Effect.exit(effect), (exit) =>
    // A failure in the cause of an exit may still be out of reach for `catch`.
    Effect.map(
      Effect.exit(Effect.catch(exit, (error) => Effect.succeed(new Caught(error)))),
      (handled) => {
        if (Exit.isSuccess(exit)) return assert.fail(`expected ${tag}, but it succeeded`)
        const { reasons } = exit.cause
        const errors = reasons.filter(Cause.isFailReason).map((reason) => reason.error)
        const isThere = errors.some((error) => error._tag === tag)
        const caught = Exit.isSuccess(handled) && handled.value instanceof Caught ? handled.value.error : undefined
        if (isThere && caught === undefined) {
          return assert.fail(`expected ${tag}, which is there, but nothing can catch it: ${Cause.pretty(exit.cause)}`)
        }
        if (caught !== undefined && errors.length === reasons.length && errors.every((error) => error._tag === tag)) {
          return caught as Extract<E, { readonly _tag: Tag }>
        }
        return assert.fail(`expected ${tag}, but got ${Cause.pretty(exit.cause)}`)
      }
    ))

class Caught<E> {
  readonly error: E
  constructor(error: E) {
    this.error = error
  }
}

/**
 * Asserts that a pool that is not in use has lost nothing, and shuts it down.
 *
 * It asserts that no lease is held, no caller waits, no connection is abandoned, the numbers add up, and as many callers as `max` get a connection at
 * once. After the shutdown, every connection must be closed exactly once. Open all gates of the factory and clear its faults
 * first: this waits only for turns of the scheduler, so a connection that does not come at once counts as lost.
 */
export const nothingLeaked = <C, E>(
  faulty: FaultyFactory,
  pool: ConnectionPool<C, E>,
  options?: Expected
): Effect.Effect<void> =>
  Effect.gen(function*() {
    const before = yield* settled(pool)
    const holders = JSON.stringify(yield* pool.holders)
    assert.strictEqual(before.inUse, 0, `${before.inUse} leases are still out: ${holders}`)
    assert.strictEqual(before.waiting, 0, `${before.waiting} callers still wait`)
    const left = JSON.stringify(yield* pool.abandoned)
    assert.strictEqual(before.abandoned, 0, `${before.abandoned} connections are still abandoned: ${left}`)
    yield* addUp(faulty, pool)
    yield* everyoneGetsIn(pool)
    yield* pool.shutdown()
    yield* allClosed(faulty, pool, options)
  })

/** Asserts that a pool that was shut down has closed every connection, each exactly once. */
export const allClosed = <C, E>(
  faulty: FaultyFactory,
  pool: ConnectionPool<C, E>,
  options?: Expected
): Effect.Effect<void> =>
  Effect.gen(function*() {
    const after = yield* pool.stats
    assert.strictEqual(after.total, 0, `${after.total} connections are left after the shutdown`)
    const { closed, leased, opened } = yield* faulty.counters
    const { hung } = checkOrThrow("PoolAssert", expectedTable, options)
    assert.ok(
      closed <= opened && closed >= opened - hung,
      `${opened} connections were opened, and ${closed} closed`
    )
    assert.strictEqual(leased, 0, `${leased} leases have not ended`)
    assert.deepStrictEqual(yield* faulty.violations, [])
  })

/** The faults of a test that do not count against the pool. */
export interface Expected {
  /** How many connections at most were made to hang while they were closed. Default: 0. */
  readonly hung?: number | undefined
}

/**
 * Asserts that the numbers of a pool add up, that they agree with the numbers of its driver, and that there are at most `max`
 * connections, and `maxAbandoned` more once connections were abandoned. It holds at any moment. After a `resize` to less there may be more connections: then give the old `max`.
 */
export const addUp = <C, E>(
  faulty: FaultyFactory,
  pool: ConnectionPool<C, E>,
  options?: {
    /** The `max` before the pool was resized to less. So many connections may still exist, but none above `max` is idle. */
    readonly resizedFrom?: number | undefined
  }
): Effect.Effect<void> =>
  Effect.gen(function*() {
    const stats = yield* pool.stats
    const counters = yield* faulty.counters
    const text = JSON.stringify({ stats, counters })
    const { abandoned, closing, connecting, idle, inUse, max, resetting, total, validating } = stats
    assert.strictEqual(
      total,
      connecting + idle + validating + inUse + resetting + abandoned + closing,
      `total: ${text}`
    )
    const { resizedFrom } = checkOrThrow("PoolAssert.addUp", addUpTable, options)
    const most = Math.max(max, resizedFrom ?? max)
    const replaced = stats.abandonments > 0 ? stats.maxAbandoned : 0
    assert.ok(total <= most + replaced, `more connections than max (resized to less? say from what): ${text}`)
    // The last one that replaced an abandoned one may still be opened, and leaves when it is open.
    const beside = closing + Math.min(abandoned + connecting, replaced)
    assert.ok(total - beside <= max || idle === 0, `idle connections beyond max: ${text}`)
    assert.strictEqual(stats.connectAttempts, stats.connects + stats.connectFailures + connecting, `attempts: ${text}`)
    assert.strictEqual(counters.leased, inUse, `leases: ${text}`)
    assert.strictEqual(counters.unfinished, abandoned, `abandoned: ${text}`)
    assert.deepStrictEqual(yield* faulty.violations, [])
  })

/** Asserts that as many callers as `max` hold a connection at the same time. */
const everyoneGetsIn = <C, E>(pool: ConnectionPool<C, E>): Effect.Effect<void> =>
  Effect.gen(function*() {
    const { max } = yield* pool.stats
    let inside = 0
    const fibers: Array<Fiber.Fiber<unknown, unknown>> = []
    for (let caller = 0; caller < max; caller++) {
      fibers.push(
        yield* Effect.forkDetach(pool.use(() =>
          Effect.suspend(() => {
            inside++
            return Effect.never
          })
        ))
      )
    }
    for (let turn = 0; turn < maxTurns && inside < max; turn++) yield* Effect.yieldNow
    const stats = yield* pool.stats
    yield* Fiber.interruptAll(fibers)
    assert.strictEqual(inside, max, `only ${inside} of ${max} callers get a connection: ${JSON.stringify(stats)}`)
    yield* settled(pool)
  })

/** Returns the numbers when no connection changes its state any more. */
const settled = <C, E>(pool: ConnectionPool<C, E>) =>
  Effect.gen(function*() {
    let stats = yield* pool.stats
    for (let turn = 0; turn < maxTurns && isBusy(stats); turn++) {
      yield* Effect.yieldNow
      stats = yield* pool.stats
    }
    return stats
  })

const isBusy = ({ abandoned, closing, inUse, resetting, waiting }: ConnectionStats): boolean =>
  abandoned + closing + inUse + resetting + waiting > 0

const expectedTable = table({ hung: { kind: "count", default: 0, floor: 0 } })

const addUpTable = table({ resizedFrom: { kind: "count", floor: 1, finite: true } })

const maxTurns = 1000
