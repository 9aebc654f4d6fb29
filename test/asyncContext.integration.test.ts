/** The asynchronous context of the platform. With real timers, for it is they who pass it on. */
import { assert, describe, it } from "@effect/vitest"
import { Effect, Logger } from "effect"
import { ConnectionFactory, ConnectionPool } from "effect-connection-pool"
import { AsyncLocalStorage } from "node:async_hooks"
import * as AsyncContext from "../src/internal/structures/asyncContext.ts"
import { alive } from "./support/garbage.ts"
import { soon } from "./support/held.ts"

const storage = new AsyncLocalStorage<string>()

/** Runs an effect as the handler of a request does, whose store is `request`. */
const within = <A, E>(store: string, effect: Effect.Effect<A, E>) =>
  Effect.promise(() => storage.run(store, () => Effect.runPromise(effect)))

describe("what a pool runs", () => {
  it.live("runs in the asynchronous context in which the pool was made, not in that of the caller that caused it", () => {
    const seen: Record<string, Set<string | undefined>> = {}
    const look = (what: string) => Effect.sync(() => void (seen[what] ??= new Set()).add(storage.getStore()))
    const program = Effect.scoped(Effect.gen(function*() {
      const factory = ConnectionFactory.make({
        connect: Effect.gen(function*() {
          yield* look("connect")
          yield* Effect.forkScoped(Effect.forever(Effect.andThen(Effect.sleep(1), look("background"))))
          yield* Effect.addFinalizer(() => look("close"))
          return {}
        }),
        validate: () => Effect.as(look("validate"), true),
        reset: () => look("reset")
      })
      const pool = yield* ConnectionPool.make({
        factory,
        max: 2,
        idleTimeout: 20,
        keepalive: 5,
        validateAfterIdle: 0
      })
      yield* within("one", pool.use(() => look("body")))
      yield* within("two", Effect.exit(pool.use(() => Effect.fail("no"))))
      yield* within("three", Effect.forkDetach(pool.use(() => Effect.sleep(5))))
      yield* within("four", pool.recycle)
      yield* Effect.sleep(10)
      yield* within("five", pool.use(() => Effect.void))
      yield* Effect.sleep(60)
      yield* within("six", pool.use(() => Effect.void))
      yield* within("seven", pool.shutdown())
    })).pipe(Effect.provide(Logger.layer([Logger.make(() => Effect.runSync(look("log")))])))
    return Effect.gen(function*() {
      yield* within("the pool's", program)
      assert.deepStrictEqual(seen["body"], new Set(["one"]))
      for (const what of ["connect", "background", "close", "validate", "reset"]) {
        assert.deepStrictEqual(seen[what], new Set(["the pool's"]), what)
      }
    })
  })

  it.live("keeps nothing of a request alive once the pool is idle", () =>
    Effect.scoped(Effect.gen(function*() {
      const objects = new AsyncLocalStorage<object>()
      const pool = yield* ConnectionPool.make({
        factory: { connect: Effect.succeed({}), validate: () => Effect.succeed(true), reset: () => Effect.void },
        max: 2
      })
      const request = () => {
        const store = { body: Array.from({ length: 1000 }, () => 1) }
        const done = objects.run(store, () =>
          Effect.runPromise(Effect.all([
            pool.use(() => Effect.sleep(2)),
            Effect.exit(pool.use(() => Effect.fail("no"))),
            pool.useSync(() => 1)
          ], { concurrency: "unbounded", discard: true })))
        return { store: new WeakRef(store), done }
      }
      const { done, store } = request()
      yield* Effect.promise(() => done)
      assert.deepStrictEqual(yield* alive([{ ref: store }]), [])
    })))

  it.live("hears of a death in the context of the pool, from whichever it is told", () =>
    Effect.gen(function*() {
      const seen: Array<string | undefined> = []
      const told: Array<() => void> = []
      const factory = ConnectionFactory.make({
        connect: (notice) =>
          Effect.sync(() => {
            told.push(notice)
            seen.push(storage.getStore())
            return {}
          })
      })
      yield* Effect.scoped(Effect.gen(function*() {
        yield* ConnectionPool.make({ factory, min: 1, max: 1 })
        storage.run("another", told[0]!)
        yield* soon(() => seen.length > 1)
      }))
      assert.deepStrictEqual(seen, [undefined, undefined])
    }))
})

describe("the asynchronous context", () => {
  it("is the present one for everything that runs in it", () => {
    const inside = storage.run("then", () => AsyncContext.capture())
    assert.strictEqual(storage.run("now", () => inside(() => storage.getStore())), "then")
  })

  for (
    const [how, missing] of [
      ["process", { process: undefined }],
      ["built-in modules", { process: {} }],
      ["such a module", { process: { getBuiltinModule: () => undefined } }],
      ["snapshots", { process: { getBuiltinModule: () => ({ AsyncLocalStorage: {} }) } }]
    ] as const
  ) {
    it(`is left alone on a platform without ${how}`, () => {
      const { process } = globalThis
      try {
        Object.assign(globalThis, missing)
        const inside = storage.run("then", () => AsyncContext.capture())
        assert.strictEqual(inside(() => 1), 1)
      } finally {
        Object.assign(globalThis, { process })
      }
    })
  }
})
