import { assert, describe, it } from "@effect/vitest"
import { Cause, Effect, Exit, Scope } from "effect"
import { ConnectionFactory, ConnectionPool } from "effect-connection-pool"
import { settle, shape } from "./support/pools.ts"

/** A pool of a driver whose `beginLease` does something else as well, once. */
const make = Effect.fnUntraced(function*(max: number) {
  const box: { act: (() => void) | undefined } = { act: undefined }
  const factory = ConnectionFactory.make({
    connect: Effect.acquireRelease(Effect.sync(() => ({})), () => Effect.void),
    beginLease: (connection) => {
      const { act } = box
      box.act = undefined
      act?.()
      return connection
    }
  })
  const pool = yield* ConnectionPool.make({ factory, min: 2, max, drainTimeout: 0 })
  yield* settle
  return { box, pool }
})

describe("what happens while the pool asks its driver something", () => {
  it.effect("the end of a scoped lease is not lost, whether its caller had to wait or not", () =>
    Effect.gen(function*() {
      const { box, pool } = yield* make(2)
      for (const waits of [false, true]) {
        const scope = yield* Scope.make()
        yield* Scope.provide(pool.acquire(), scope)
        const blocker = waits ? yield* Scope.make() : undefined
        if (blocker !== undefined) yield* Scope.provide(pool.acquire(), blocker)
        box.act = () => Effect.runSync(Scope.close(scope, Exit.void))
        const caller = yield* Effect.forkChild(pool.use(() => Effect.void))
        yield* settle
        if (blocker !== undefined) yield* Scope.close(blocker, Exit.void)
        yield* settle
        assert.isDefined(caller.pollUnsafe())
        assert.deepStrictEqual(yield* shape(pool), { idle: 2 })
      }
    }))

  it.effect("an acquire whose own scope closes meanwhile holds nothing", () =>
    Effect.gen(function*() {
      const { box, pool } = yield* make(2)
      const scope = yield* Scope.make()
      box.act = () => Effect.runSync(Scope.close(scope, Exit.void))
      // It has a connection, as one has whose scope closes while it waits, but not for long.
      assert.isDefined(yield* Scope.provide(pool.acquire(), scope))
      assert.isUndefined(box.act)
      yield* settle
      assert.deepStrictEqual(yield* shape(pool), { idle: 2 })
      assert.deepStrictEqual(yield* pool.holders, [])
    }))

  it.effect("a use of the pool is a defect, in each way to ask, whether a connection is idle or not", () =>
    Effect.gen(function*() {
      const { box, pool } = yield* make(2)
      const ways: Record<string, Effect.Effect<unknown, unknown>> = {
        use: pool.use(() => Effect.void),
        useSync: pool.useSync(() => 1),
        acquire: Effect.scoped(pool.acquire()),
        recycle: pool.recycle,
        pause: pool.pause,
        check: pool.check(),
        shutdown: pool.shutdown()
      }
      for (const [name, way] of Object.entries(ways)) {
        let exit: Exit.Exit<unknown, unknown> | undefined
        box.act = () => {
          exit = Effect.runSyncExit(way)
        }
        yield* pool.use(() => Effect.void)
        assert.isTrue(exit !== undefined && Exit.isFailure(exit), name)
        if (exit === undefined || Exit.isSuccess(exit)) continue
        assert.match(String(Cause.squash(exit.cause)), /used its own pool/, name)
      }
      assert.deepStrictEqual(yield* shape(pool), { idle: 2 })
    }))
})
