import { assert, describe, it } from "@effect/vitest"
import { Effect, Exit, Fiber, Scope } from "effect"
import { ConnectionFactory, ConnectionPool } from "effect-connection-pool"
import { PoolAssert } from "effect-connection-pool/testing"
import { TestClock } from "effect/testing"
import { settle, shape } from "./support/pools.ts"

interface Session {
  readonly id: number
}
type Hooks = Partial<ConnectionFactory.ConnectionFactory<Session>>

const no = (): never => {
  throw new Error("the driver has a bug")
}

/** Every way in which a connection that was opened just now is no good, until it `isCured`. */
const faults: Readonly<Record<string, (isCured: () => boolean) => Hooks & { readonly fails?: boolean }>> = {
  "is dead": (isCured) => ({ isAlive: isCured }),
  "is not valid": (isCured) => ({ validate: () => Effect.sync(isCured) }),
  "cannot be asked": (isCured) => ({ validate: () => isCured() ? Effect.succeed(true) : Effect.die("no") }),
  "is refused by beginLease": (isCured) => ({ beginLease: (session) => isCured() ? session : no() }),
  "is valid, and refused by beginLease": (isCured) => ({
    validate: () => Effect.succeed(true),
    beginLease: (session) => isCured() ? session : no()
  }),
  "is valid once, and dead after that": (isCured) => {
    const asked = new Set<Session>()
    return {
      validate: (session) => Effect.sync(() => asked.add(session) !== undefined),
      isAlive: (session) => isCured() || !asked.has(session)
    }
  },
  "is refused by endLease": (isCured) => ({ endLease: () => isCured() ? undefined : no() }),
  "cannot be reset": (isCured) => ({ reset: () => isCured() ? Effect.void : Effect.fail("no") }),
  "is not known to need a reset": (isCured) => ({
    reset: () => Effect.void,
    needsReset: () => isCured() ? false : no()
  }),
  "fails its first use fatally": () => ({ fails: true, judge: () => "fatal" }),
  "fails its first use, and is not valid after that": (isCured) => {
    const used = new Set<Session>()
    return {
      fails: true,
      beginLease: (session) => used.add(session) && session,
      validate: (session) => Effect.sync(() => isCured() || !used.has(session))
    }
  },
  "fails its first use, and is dead after that": (isCured) => {
    const used = new Set<Session>()
    return {
      fails: true,
      beginLease: (session) => used.add(session) && session,
      isAlive: (session) => isCured() || !used.has(session)
    }
  },
  "fails its first use in a way that cannot be judged": () => ({ fails: true, judge: no }),
  "fails its first use, leaves something running, and is not valid after that": (isCured) => {
    const used = new Set<Session>()
    return {
      fails: true,
      beginLease: (session) => used.add(session) && session,
      unfinished: () => isCured() ? undefined : { settled: Effect.void },
      validate: (session) => Effect.sync(() => isCured() || !used.has(session))
    }
  },
  "is not known to need a reset after what its first use has left running": (isCured) => ({
    unfinished: () => isCured() ? undefined : { settled: Effect.void },
    reset: () => Effect.void,
    needsReset: () => isCured() ? false : no()
  }),
  "cannot be reset after what its first use has left running": (isCured) => ({
    unfinished: () => isCured() ? undefined : { settled: Effect.void },
    reset: () => isCured() ? Effect.void : Effect.fail("no")
  })
}

/** Not TestClock's time: a driver that answers within the step, or a turn later. */
const ways = {
  "at once": (id: number) => Effect.succeed({ id }),
  "after a turn": (id: number) => Effect.as(Effect.yieldNow, { id })
}

for (const [way, open] of Object.entries(ways)) {
  describe(`a connection that is open ${way} and no good`, () => {
    for (const [how, hooks] of Object.entries(faults)) {
      const make = Effect.fnUntraced(function*(min: number) {
        const driver = { opened: 0, isCured: false }
        const { fails, ...rest } = hooks(() => driver.isCured)
        const factory = ConnectionFactory.make<Session>({
          connect: Effect.acquireRelease(
            Effect.suspend(() => {
              // What follows without a turn of anybody else's would never end.
              if (++driver.opened === 1000) return Effect.never
              return open(driver.opened)
            }),
            () => Effect.void
          ),
          ...rest
        })
        const pool = yield* ConnectionPool.make({
          factory,
          min,
          max: 2,
          maxAbandoned: 0,
          start: "lazy",
          acquireTimeout: "1 hour",
          connectBackoff: "100 millis",
          connectBackoffMax: "2 seconds",
          ...(factory.validate === undefined ? undefined : { validateAfterIdle: 0 })
        })
        const use = pool.use(() => fails === true && !driver.isCured ? Effect.fail("no") : Effect.succeed("served"))
        return { driver, pool, use }
      })

      it.effect(`because it ${how}, is not followed by others without a pause, for callers`, () =>
        Effect.gen(function*() {
          const { driver, pool, use } = yield* make(0)
          const caller = Effect.whileLoop({
            while: () => !driver.isCured,
            body: () => Effect.andThen(Effect.exit(use), Effect.yieldNow),
            step: () => {}
          })
          const callers = yield* Effect.forkChild(Effect.all([caller, caller, caller], { concurrency: "unbounded" }))
          for (let turn = 0; turn < 5; turn++) yield* settle
          // Five are forgiven, whoever had two others opened beside them.
          assert.isAtMost(driver.opened, 8)
          yield* TestClock.adjust("1 minute")
          // 0.1, 0.2, 0.4, 0.8, 1.6, and then 2 seconds apart, less up to a fifth.
          assert.isAtMost(driver.opened, 48)
          const { connects } = yield* pool.stats
          driver.isCured = true
          yield* TestClock.adjust("4 seconds")
          yield* Fiber.join(callers)
          // Those that are good again are opened as they are needed.
          assert.isAtMost((yield* pool.stats).connects, connects + 3)
          assert.strictEqual(yield* use, "served")
        }))

      if (how.includes("use") || how.includes("Lease") || how.includes("reset")) continue
      it.effect(`because it ${how}, is not followed by others without a pause, for min`, () =>
        Effect.gen(function*() {
          const { driver, pool } = yield* make(2)
          for (let turn = 0; turn < 5; turn++) yield* settle
          assert.isAtMost(driver.opened, 8)
          yield* TestClock.adjust("1 minute")
          assert.isAtMost(driver.opened, 48)
          driver.isCured = true
          yield* TestClock.adjust("4 seconds")
          assert.deepStrictEqual(yield* shape(pool), { idle: 2 })
        }))
    }
  })
}

describe("a connect attempt after bad starts", () => {
  it.effect("has another one beside it only after the pause that so many bad starts cause", () =>
    Effect.gen(function*() {
      let opened = 0
      const factory = ConnectionFactory.make<Session>({
        // Eight are dead. Those after them never open.
        connect: Effect.suspend(() => ++opened <= 8 ? Effect.succeed({ id: opened }) : Effect.never),
        isAlive: () => false
      })
      const pool = yield* ConnectionPool.make({
        factory,
        max: 2,
        acquireTimeout: "1 hour",
        connectBackoff: "100 millis",
        connectBackoffMax: "1 minute",
        drainTimeout: 0
      })
      yield* Effect.forkChild(pool.use(() => Effect.void))
      for (let turn = 0; turn < 5; turn++) yield* settle
      while (opened < 9) yield* TestClock.adjust(1)
      // The fourth pause is 800 ms, less up to a fifth.
      yield* TestClock.adjust(600)
      assert.strictEqual(opened, 9)
      yield* TestClock.adjust(210)
      assert.strictEqual(opened, 10)
    }))
})

describe("a connection that was lost in its first lease", () => {
  it.effect("is no bad start if it had been open for longer than any pause", () =>
    Effect.gen(function*() {
      let opened = 0
      const factory = ConnectionFactory.make<Session>({
        connect: Effect.sync(() => ({ id: ++opened })),
        judge: () => "fatal"
      })
      const pool = yield* ConnectionPool.make({ factory, max: 1 })
      for (let round = 1; round <= 20; round++) {
        const use = yield* Effect.forkChild(Effect.flip(pool.use(() => Effect.delay(Effect.fail("lost"), "3 seconds"))))
        yield* settle
        assert.strictEqual(opened, round)
        yield* TestClock.adjust("3 seconds")
        yield* Fiber.join(use)
      }
    }))

  it.effect("is no bad start if the lease ended well: a caller that uses connections up gets others without a pause", () =>
    Effect.gen(function*() {
      let opened = 0
      const dead = new Set<number>()
      const factory = ConnectionFactory.make<Session>({
        connect: Effect.sync(() => ({ id: ++opened })),
        isAlive: ({ id }) => !dead.has(id)
      })
      const pool = yield* ConnectionPool.make({ factory, max: 1 })
      for (let round = 1; round <= 20; round++) yield* pool.use(({ id }) => Effect.sync(() => dead.add(id)))
      assert.strictEqual(opened, 20)
      assert.strictEqual((yield* pool.stats).evictions.dead, 20)
    }))

  it.effect("is no bad start if what that lease left running has ended well", () =>
    Effect.gen(function*() {
      let opened = 0
      const [dead, running] = [new Set<number>(), new Set<number>()]
      const factory = ConnectionFactory.make<Session>({
        connect: Effect.sync(() => ({ id: ++opened })),
        isAlive: ({ id }) => !dead.has(id),
        unfinished: ({ id }) => running.delete(id) ? { settled: Effect.void } : undefined
      })
      const pool = yield* ConnectionPool.make({ factory, max: 1, maxAbandoned: 0 })
      for (let round = 1; round <= 20; round++) {
        const use = yield* Effect.forkChild(pool.use(({ id }) => Effect.sync(() => running.add(id))))
        yield* settle
        assert.strictEqual(opened, round)
        yield* Fiber.join(use)
        dead.add(round)
      }
      const { evictions, settlements } = yield* pool.stats
      assert.deepStrictEqual([evictions.dead, settlements], [19, 20])
    }))

  it.effect("is followed by a pause, whatever ends well on a connection that has worked for long", () =>
    Effect.gen(function*() {
      let opened = 0
      const running = new Set<number>()
      const factory = ConnectionFactory.make<Session>({
        connect: Effect.sync(() => ({ id: ++opened })),
        beginLease: (session) => session.id === 1 ? session : no(),
        unfinished: ({ id }) => running.delete(id) ? { settled: Effect.void } : undefined
      })
      const pool = yield* ConnectionPool.make({
        factory,
        max: 2,
        maxAbandoned: 0,
        acquireTimeout: "1 hour",
        connectBackoff: "10 seconds",
        connectBackoffMax: "10 seconds",
        drainTimeout: 0
      })
      yield* pool.use(() => Effect.void)
      const holder = yield* Scope.make()
      yield* Scope.provide(pool.acquire(), holder)
      const callers = yield* Effect.forEach([1, 2], () => Effect.forkChild(pool.use(() => Effect.never)))
      yield* settle
      assert.strictEqual(opened, 6)
      // The first caller gets the old connection when what ran on it has ended. The other one waits for a new one.
      running.add(1)
      yield* Scope.close(holder, Exit.void)
      yield* settle
      assert.deepStrictEqual(yield* shape(pool), { inUse: 1, waiting: 1 })
      yield* TestClock.adjust("10 seconds")
      assert.strictEqual(opened, 7)
      yield* Effect.forEach(callers, Fiber.interrupt)
    }))

  it.effect("delays no caller after a lease has ended well", () =>
    Effect.gen(function*() {
      let isBroken = true
      const factory = ConnectionFactory.make<Session>({
        connect: Effect.sync(() => ({ id: 1 })),
        reset: () => isBroken ? Effect.fail("no") : Effect.void
      })
      const pool = yield* ConnectionPool.make({ factory, max: 4, acquireTimeout: "20 seconds" })
      const uses = yield* Effect.forkChild(Effect.repeat(pool.use(() => Effect.void), { times: 8 }))
      yield* TestClock.adjust("10 seconds")
      yield* Fiber.join(uses)
      isBroken = false
      yield* TestClock.adjust("2 seconds")
      yield* pool.use(() => Effect.void)
      const scope = yield* Scope.make()
      yield* Effect.forEach([1, 2, 3, 4], () => Scope.provide(pool.acquire(), scope))
      assert.deepStrictEqual(yield* shape(pool), { inUse: 4 })
      yield* Scope.close(scope, Exit.void)
      yield* PoolAssert.failsWith(pool.useSync({ try: no, catch: () => ({ _tag: "Caught" as const }) }), "Caught")
    }))
})
