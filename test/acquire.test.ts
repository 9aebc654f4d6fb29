import { assert, describe, it } from "@effect/vitest"
import { Effect, Exit, Fiber, Option, Scheduler, Scope } from "effect"
import { ConnectionPool } from "effect-connection-pool"
import { FaultyFactory, PoolAssert } from "effect-connection-pool/testing"
import { TestClock } from "effect/testing"
import { borrow, make, settle, shape } from "./support/pools.ts"

describe("lending", () => {
  it.effect("opens a connection for the first caller and lends it again to the next", () =>
    Effect.gen(function*() {
      const { faulty, pool } = yield* make({ max: 5 })
      assert.strictEqual(yield* pool.use((connection) => Effect.succeed(connection.id)), 1)
      assert.strictEqual(yield* pool.use((connection) => Effect.succeed(connection.id)), 1)
      assert.strictEqual((yield* faulty.counters).opened, 1)
      yield* PoolAssert.nothingLeaked(faulty, pool)
    }))

  it.effect("lends the connection returned last", () =>
    Effect.gen(function*() {
      const { pool } = yield* make({ max: 3 })
      const [first, second, third] = yield* Effect.all([borrow(pool), borrow(pool), borrow(pool)])
      yield* second.giveBack
      yield* first.giveBack
      yield* third.giveBack
      const order = [yield* borrow(pool), yield* borrow(pool), yield* borrow(pool)]
      assert.deepStrictEqual(order.map((lease) => lease.connection?.id), [3, 1, 2])
    }))

  it.effect("serves waiters in order of arrival, also if some give up", () =>
    Effect.gen(function*() {
      const { faulty, pool } = yield* make({ max: 1 })
      const holder = yield* borrow(pool)
      const order: Array<number> = []
      const callers: Array<Fiber.Fiber<number, unknown>> = []
      for (let caller = 0; caller < 20; caller++) {
        callers.push(yield* Effect.forkChild(pool.use(() => Effect.sync(() => order.push(caller)))))
        yield* settle
      }
      for (const caller of [3, 4, 0, 19, 10]) yield* Fiber.interrupt(callers[caller]!)
      assert.deepStrictEqual(yield* shape(pool), { inUse: 1, waiting: 15 })
      yield* holder.giveBack
      yield* Fiber.awaitAll(callers)
      assert.deepStrictEqual(order, [1, 2, 5, 6, 7, 8, 9, 11, 12, 13, 14, 15, 16, 17, 18])
      yield* PoolAssert.nothingLeaked(faulty, pool)
    }))

  it.effect("never lets a newcomer overtake a waiter", () =>
    Effect.gen(function*() {
      const { pool } = yield* make({ max: 1 })
      const holder = yield* borrow(pool)
      const first = yield* borrow(pool)
      const order: Array<string> = []
      // The one who returns it asks again in the same step.
      yield* Effect.forkChild(
        Effect.andThen(holder.giveBack, pool.use(() => Effect.sync(() => order.push("newcomer"))))
      )
      yield* settle
      assert.isDefined(first.connection)
      order.push("first")
      yield* first.giveBack
      yield* settle
      assert.deepStrictEqual(order, ["first", "newcomer"])
    }))

  it.effect("hands a returned connection straight to the first in line", () =>
    Effect.gen(function*() {
      const { pool } = yield* make({ max: 1 })
      const holder = yield* borrow(pool)
      const next = yield* borrow(pool)
      yield* holder.giveBack
      assert.deepStrictEqual(yield* shape(pool), { inUse: 1 })
      assert.strictEqual(next.connection?.id, 1)
    }))

  it.effect("serves a caller from a return while a connection is being opened for it", () =>
    Effect.gen(function*() {
      const { faulty, pool } = yield* make({ max: 2 })
      const holder = yield* borrow(pool)
      yield* faulty.connect.hold
      const caller = yield* borrow(pool)
      assert.deepStrictEqual(yield* shape(pool), { connecting: 1, inUse: 1, waiting: 1 })
      yield* holder.giveBack
      assert.strictEqual(caller.connection?.id, 1)
      yield* faulty.connect.open
      yield* settle
      assert.deepStrictEqual(yield* shape(pool), { idle: 1, inUse: 1 })
    }))

  it.effect("drains ten thousand callers through four connections on a flat stack", () =>
    Effect.gen(function*() {
      const { faulty, pool } = yield* make({ max: 4, min: 4 })
      const order: Array<number> = []
      yield* Effect.forEach(
        Array.from({ length: 10_000 }, (_, caller) => caller),
        (caller) => pool.use(() => Effect.sync(() => order.push(caller))),
        { concurrency: "unbounded", discard: true }
      )
      assert.deepStrictEqual(order, order.toSorted((a, b) => a - b))
      const stats = yield* pool.stats
      assert.strictEqual(stats.checkouts, 10_000)
      assert.strictEqual(stats.returns, 10_000)
      yield* PoolAssert.nothingLeaked(faulty, pool)
    }))

  it.effect("lets the event loop have its turn while a long line is served", () =>
    Effect.gen(function*() {
      const { pool } = yield* make({ max: 1, min: 1 })
      const holder = yield* borrow(pool)
      const served: Array<number> = []
      const callers: Array<Fiber.Fiber<void, unknown>> = []
      for (let caller = 0; caller < 1000; caller++) {
        callers.push(yield* Effect.forkChild(pool.use(() => Effect.sync(() => void served.push(caller)))))
      }
      yield* settle
      yield* holder.giveBack
      // The one who returned the connection goes on long before the last of them is served.
      assert.isAbove(served.length, 0)
      assert.isBelow(served.length, 500)
      yield* Fiber.joinAll(callers)
      assert.strictEqual(served.length, 1000)
    }))
})

describe("the kinds of a lease", () => {
  it.effect("acquire holds a connection for its scope", () =>
    Effect.gen(function*() {
      const { faulty, pool } = yield* make({ max: 1 })
      yield* Effect.scoped(Effect.gen(function*() {
        const connection = yield* pool.acquire()
        yield* connection.run
        assert.deepStrictEqual(yield* shape(pool), { inUse: 1 })
      }))
      assert.deepStrictEqual(yield* shape(pool), { idle: 1 })
      yield* PoolAssert.nothingLeaked(faulty, pool)
    }))

  it.effect("acquire outlives the fiber that asked", () =>
    Effect.gen(function*() {
      const { pool } = yield* make({ max: 1 })
      const scope = yield* Effect.scope
      const connection = yield* Fiber.join(yield* Effect.forkChild(pool.acquire()))
      yield* settle
      yield* TestClock.adjust("2 hours")
      yield* connection.run
      assert.deepStrictEqual(yield* shape(pool), { inUse: 1 })
      assert.strictEqual(scope.state._tag, "Open")
    }))

  it.effect("acquire that fails leaves nothing in the scope", () =>
    Effect.gen(function*() {
      const { pool } = yield* make({ max: 1 })
      yield* borrow(pool)
      yield* Effect.scoped(Effect.gen(function*() {
        const scope = yield* Effect.scope
        for (let caller = 0; caller < 100; caller++) {
          yield* PoolAssert.failsWith(pool.acquire({ timeout: 0 }), "AcquireTimeoutError")
        }
        assert.strictEqual(scope.state._tag, "Empty")
      }))
    }))

  it.effect("acquire in a scope that is closed already returns the connection at once", () =>
    Effect.gen(function*() {
      // With and without an idle connection.
      for (const min of [0, 1]) {
        const { faulty, pool } = yield* make({ min, max: 1 })
        const scope = yield* Effect.scoped(Effect.scope)
        const connection = yield* Effect.provideService(pool.acquire(), Scope.Scope, scope)
        yield* PoolAssert.failsWith(connection.run, "LeaseExpiredError")
        assert.strictEqual((yield* pool.stats).checkouts, 1)
        yield* PoolAssert.nothingLeaked(faulty, pool)
      }
    }))

  it.effect("acquire in a scope that ends at any point of it keeps nothing", () =>
    Effect.gen(function*() {
      for (let budget = 3; budget < 10; budget++) {
        const { faulty, pool } = yield* make({ max: 2, min: 1 })
        for (let turns = 0; turns < 8; turns++) {
          const scope = yield* Scope.make()
          const ending = Effect.andThen(Effect.repeat(Effect.yieldNow, { times: turns }), Scope.close(scope, Exit.void))
          const end = yield* Effect.forkDetach(ending, { startImmediately: true })
          yield* Effect.provideService(Scope.provide(pool.acquire(), scope), Scheduler.MaxOpsBeforeYield, budget)
          yield* Fiber.join(end)
        }
        yield* PoolAssert.nothingLeaked(faulty, pool)
      }
    }))

  it.effect("acquire whose scope ends while it waits stays in line, and returns its connection at once", () =>
    Effect.gen(function*() {
      const { faulty, pool } = yield* make({ max: 1 })
      const holder = yield* borrow(pool)
      const scope = yield* Scope.make()
      const waiting = yield* Effect.forkChild(Scope.provide(pool.acquire(), scope))
      const late = yield* Effect.forkChild(Effect.flip(Scope.provide(pool.acquire({ timeout: "1 second" }), scope)))
      yield* settle
      yield* Scope.close(scope, Exit.void)
      assert.deepStrictEqual(yield* shape(pool), { inUse: 1, waiting: 2 })
      yield* TestClock.adjust("1 second")
      assert.strictEqual((yield* Fiber.join(late))._tag, "AcquireTimeoutError")
      yield* holder.giveBack
      yield* PoolAssert.failsWith((yield* Fiber.join(waiting)).run, "LeaseExpiredError")
      yield* PoolAssert.nothingLeaked(faulty, pool)
    }))

  it.effect("useSync runs a function, and waits for its turn like use", () =>
    Effect.gen(function*() {
      const { faulty, pool } = yield* make({ max: 1 })
      assert.strictEqual(yield* pool.useSync((connection) => connection.id), 1)
      const holder = yield* borrow(pool)
      const caller = yield* Effect.forkChild(pool.useSync((connection) => `connection ${connection.id}`))
      yield* settle
      yield* holder.giveBack
      assert.strictEqual(yield* Fiber.join(caller), "connection 1")
      yield* PoolAssert.nothingLeaked(faulty, pool)
    }))

  it.effect("useSync fails with what catch makes of a throw, at once or after a wait", () =>
    Effect.gen(function*() {
      const { faulty, pool } = yield* make({ max: 1 })
      const failing = pool.useSync({
        try: (): number => {
          throw new Error("no such table")
        },
        catch: (thrown) => ({ _tag: "Sql", message: (thrown as Error).message }) as const
      })
      assert.deepStrictEqual(yield* Effect.flip(failing), { _tag: "Sql", message: "no such table" })
      const holder = yield* borrow(pool)
      const caller = yield* Effect.forkChild(Effect.flip(failing))
      yield* settle
      yield* holder.giveBack
      assert.deepStrictEqual(yield* Fiber.join(caller), { _tag: "Sql", message: "no such table" })
      assert.strictEqual(yield* pool.useSync({ try: () => 5, catch: () => "never" }), 5)
      yield* PoolAssert.nothingLeaked(faulty, pool)
    }))

  it.effect("useSync that throws dies, and returns the connection", () =>
    Effect.gen(function*() {
      const { faulty, pool } = yield* make({ max: 1 })
      const boom = new Error("boom")
      const throwing = pool.useSync(() => {
        throw boom
      })
      assert.deepStrictEqual(yield* Effect.exit(throwing), Exit.die(boom))
      const holder = yield* borrow(pool)
      const caller = yield* Effect.forkChild(throwing)
      yield* settle
      yield* holder.giveBack
      assert.deepStrictEqual(yield* Fiber.await(caller), Exit.die(boom))
      yield* PoolAssert.nothingLeaked(faulty, pool)
    }))
})

describe("statistics", () => {
  it.effect("count every acquire once, and measure the wait", () =>
    Effect.gen(function*() {
      const { pool } = yield* make({ max: 1, min: 1, name: "orders" })
      const holder = yield* borrow(pool)
      const waiting = yield* Effect.forkChild(pool.use(() => Effect.void))
      yield* settle
      yield* TestClock.adjust("3 seconds")
      yield* holder.giveBack
      yield* Fiber.join(waiting)
      yield* pool.use(() => Effect.void)
      const stats = yield* pool.stats
      assert.deepStrictEqual(
        [stats.pool, stats.min, stats.max, stats.utilization, stats.checkouts, stats.returns],
        ["orders", 1, 1, 0, 3, 3]
      )
      assert.deepStrictEqual([stats.averageWaitMillis, stats.maxWaitMillis], [1000, 3000])
    }))

  it.effect("can be read any number of times while the pool is busy", () =>
    Effect.gen(function*() {
      const { pool } = yield* make({ max: 4 })
      let reads = 0
      yield* Effect.all([
        Effect.forEach(Array.from({ length: 1000 }), () => pool.use(() => Effect.yieldNow), {
          concurrency: "unbounded",
          discard: true
        }),
        Effect.forEach(
          Array.from({ length: 100_000 }),
          () =>
            Effect.map(pool.stats, (stats) => {
              reads++
              assert.isTrue(stats.total <= stats.max)
            }),
          { discard: true }
        )
      ], { concurrency: 2 })
      assert.strictEqual(reads, 100_000)
      assert.strictEqual((yield* pool.stats).checkouts, 1000)
    }))
})

describe("Service", () => {
  class Orders extends ConnectionPool.Service<
    Orders,
    FaultyFactory.FaultyConnection,
    FaultyFactory.FaultyError
  >()("test/Orders") {}
  class Users extends ConnectionPool.Service<
    Users,
    FaultyFactory.FaultyConnection,
    FaultyFactory.FaultyError
  >()("test/Users") {}

  it.effect("provides pools side by side, each closed with its layer", () =>
    Effect.gen(function*() {
      const orders = yield* FaultyFactory.make()
      const users = yield* FaultyFactory.make()
      const names = yield* Effect.gen(function*() {
        const pool = yield* Orders
        yield* pool.use((connection) => connection.run)
        return [pool.name, (yield* Users).name]
      }).pipe(
        Effect.provide(Orders.layer({ factory: orders.factory, name: "orders" })),
        Effect.provide(Users.layer({ factory: users.factory, name: "users", min: 2 }))
      )
      assert.deepStrictEqual(names, ["orders", "users"])
      assert.deepStrictEqual((yield* orders.counters).closed, 1)
      assert.deepStrictEqual((yield* users.counters).closed, 2)
    }))

  it.effect("fails its layer with the error of the pool", () =>
    Effect.gen(function*() {
      const faulty = yield* FaultyFactory.make()
      const badOptions = Effect.asVoid(Orders).pipe(Effect.provide(Orders.layer({ factory: faulty.factory, max: 0 })))
      assert.strictEqual((yield* PoolAssert.failsWith(badOptions, "PoolConfigError")).field, "max")
      yield* faulty.connect.fail(10)
      const noConnection = Effect.asVoid(Orders).pipe(
        Effect.provide(Orders.layer({ factory: faulty.factory, min: 2 }))
      )
      yield* PoolAssert.failsWith(noConnection, "ConnectError")
      assert.isTrue(Option.isNone(yield* Effect.serviceOption(Orders)))
    }))
})

describe("an observer of a caller's fiber", () => {
  it.effect("that throws harms neither the caller that returns a connection nor the next in line", () =>
    Effect.gen(function*() {
      const { pool } = yield* make({ max: 1 })
      const holder = yield* borrow(pool)
      const watched = yield* Effect.forkDetach(pool.use(() => Effect.void))
      const next = yield* Effect.forkDetach(pool.use(() => Effect.succeed("served")))
      yield* settle
      watched.addObserver(() => {
        throw new Error("thrown by a watcher")
      })
      const uncaught: Array<unknown> = []
      const listeners = process.listeners("uncaughtException")
      process.removeAllListeners("uncaughtException")
      process.on("uncaughtException", (thrown) => uncaught.push(thrown))
      yield* holder.giveBack
      assert.strictEqual(yield* Fiber.join(next), "served")
      yield* Effect.promise(() => new Promise<void>((resolve) => void setImmediate(resolve)))
      process.removeAllListeners("uncaughtException")
      for (const listener of listeners) process.on("uncaughtException", listener)
      assert.deepStrictEqual(uncaught.map(String), ["Error: thrown by a watcher"])
    }))
})
