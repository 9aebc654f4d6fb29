import { assert, describe, it } from "@effect/vitest"
import { Deferred, Effect, Exit, Fiber, Option, Scope, Tracer } from "effect"
import { ConnectionFactory, ConnectionPool } from "effect-connection-pool"
import { FaultyFactory, PoolAssert } from "effect-connection-pool/testing"
import { TestClock } from "effect/testing"
import { borrow, make, settle, shape } from "./support/pools.ts"

const refused = (connection: number, isTransient: boolean) =>
  new FaultyFactory.FaultyError({ operation: "connect", connection, isTransient })

describe("connecting", () => {
  it.effect("opens as many connections as callers need, and at most max", () =>
    Effect.gen(function*() {
      const { faulty, pool } = yield* make({ max: 3 })
      yield* faulty.connect.hold
      for (let caller = 0; caller < 5; caller++) yield* borrow(pool)
      assert.deepStrictEqual(yield* shape(pool), { connecting: 3, waiting: 5 })
      yield* faulty.connect.open
      yield* settle
      assert.deepStrictEqual(yield* shape(pool), { inUse: 3, waiting: 2 })
      assert.strictEqual((yield* faulty.counters).mostOpen, 3)
    }))

  it.effect("opens no connections for callers that gave up", () =>
    Effect.gen(function*() {
      const { faulty, pool } = yield* make({ max: 5, maxConnecting: 1 })
      yield* faulty.connect.hold
      for (let caller = 0; caller < 4; caller++) yield* Fiber.interrupt((yield* borrow(pool)).fiber)
      yield* faulty.connect.open
      yield* settle
      assert.deepStrictEqual(yield* shape(pool), { idle: 1 })
      assert.strictEqual((yield* faulty.counters).attempts, 1)
    }))

  it.effect("runs at most maxConnecting attempts at once", () =>
    Effect.gen(function*() {
      const { faulty, pool } = yield* make({ max: 8, maxConnecting: 2 })
      yield* faulty.connect.hold
      for (let caller = 0; caller < 5; caller++) yield* borrow(pool)
      assert.deepStrictEqual(yield* shape(pool), { connecting: 2, waiting: 5 })
      yield* faulty.connect.pass()
      yield* settle
      assert.deepStrictEqual(yield* shape(pool), { connecting: 2, inUse: 1, waiting: 4 })
      yield* faulty.connect.open
      yield* settle
      assert.deepStrictEqual(yield* shape(pool), { inUse: 5 })
    }))

  it.effect("gives the connection that opens first to the caller that came first", () =>
    Effect.gen(function*() {
      const { faulty, pool } = yield* make({ max: 2 })
      yield* faulty.connect.hold
      const [first, second] = [yield* borrow(pool), yield* borrow(pool)]
      yield* faulty.connect.pass(1)
      yield* settle
      assert.deepStrictEqual([first.connection?.id, second.connection?.id], [2, undefined])
      assert.deepStrictEqual(yield* shape(pool), { connecting: 1, inUse: 1, waiting: 1 })
      yield* faulty.connect.open
      yield* settle
      assert.strictEqual(second.connection?.id, 1)
    }))

  it.effect("keeps a connection if its caller no longer waits", () =>
    Effect.gen(function*() {
      const { faulty, pool } = yield* make({ max: 2 })
      yield* faulty.connect.hold
      const caller = yield* Effect.forkChild(
        PoolAssert.failsWith(pool.use(() => Effect.void, { timeout: "1 second" }), "AcquireTimeoutError")
      )
      yield* settle
      yield* TestClock.adjust("1 second")
      yield* Fiber.join(caller)
      yield* faulty.connect.open
      yield* settle
      assert.deepStrictEqual(yield* shape(pool), { idle: 1 })
      assert.strictEqual(yield* pool.use((connection) => Effect.succeed(connection.id)), 1)
      yield* PoolAssert.nothingLeaked(faulty, pool)
    }))

  it.effect("releases the resources of an attempt that fails half-way, and frees its slot", () =>
    Effect.gen(function*() {
      let opened = 0
      let closed = 0
      let failing = true
      const factory = ConnectionFactory.make({
        connect: Effect.acquireRelease(Effect.sync(() => ++opened), () => Effect.sync(() => void closed++)).pipe(
          Effect.tap(() => failing ? Effect.fail("the second step failed" as const) : Effect.void)
        )
      })
      const pool = yield* ConnectionPool.make({ factory, max: 1 })
      for (let attempt = 1; attempt <= 4; attempt++) {
        const error = yield* PoolAssert.failsWith(pool.use(() => Effect.void), "ConnectError")
        assert.deepStrictEqual(error.reason, { _tag: "ConnectFailed", error: "the second step failed" })
        assert.deepStrictEqual([opened, closed], [attempt, attempt])
        // Until then, callers get the last answer without another attempt.
        yield* TestClock.adjust("2 seconds")
      }
      failing = false
      assert.strictEqual(yield* pool.use((connection) => Effect.succeed(connection)), 5)
    }))
})

describe("the spans of a factory", () => {
  it.effect("are not part of the span in which the pool happened to be built", () =>
    Effect.gen(function*() {
      const parents: Array<string | undefined> = []
      const look = Effect.map(Effect.serviceOption(Tracer.ParentSpan), (span) => {
        parents.push(Option.isNone(span) || span.value._tag !== "Span" ? undefined : span.value.name)
      })
      const factory = ConnectionFactory.make({
        connect: Effect.acquireRelease(look, () => look),
        validate: () => Effect.as(look, true),
        reset: () => look
      })
      const make = ConnectionPool.make({ factory, min: 1, max: 1, validateAfterIdle: 0 })
      const pool = yield* Effect.withSpan(make, "build")
      yield* Effect.withSpan(pool.use(() => Effect.void), "request")
      yield* pool.shutdown()
      // Connect, validate, reset, and disconnect, which remembers what it undoes.
      assert.deepStrictEqual(parents, ["ConnectionPool.connect", undefined, undefined, "ConnectionPool.connect"])
    }))
})

describe("a connection that fails as soon as it is open", () => {
  /** A driver that connects at once, to something that is of no use until it is `cured`. */
  const faults: Readonly<
    Record<string, (isCured: () => boolean) => Partial<ConnectionFactory.ConnectionFactory<object>>>
  > = {
    "is dead": (isCured) => ({ isAlive: isCured }),
    "is not valid": (isCured) => ({ validate: () => Effect.sync(isCured) }),
    "is refused by beginLease": (isCured) => ({
      beginLease: (connection) => {
        if (!isCured()) throw new Error("no")
        return connection
      }
    })
  }
  for (const [how, hooks] of Object.entries(faults)) {
    it.effect(`because it ${how} is a failure to connect, with a pause before the next attempt`, () =>
      Effect.gen(function*() {
        let isCured = false
        const factory = ConnectionFactory.make<object>({ connect: Effect.sync(() => ({})), ...hooks(() => isCured) })
        const pool = yield* ConnectionPool.make({
          factory,
          max: 2,
          acquireTimeout: "1 minute",
          ...(factory.validate === undefined ? undefined : { validateAfterIdle: 0 })
        })
        const failing = yield* Effect.forkChild(
          PoolAssert.failsWith(pool.use(() => Effect.void), "AcquireTimeoutError")
        )
        yield* TestClock.adjust("1 minute")
        const error = yield* Fiber.join(failing)
        assert.include(String(error.lastConnectError), "fail as soon as they are open")
        const { connects } = yield* pool.stats
        // 0.1, 0.2, 0.4, 0.8, 1.6, and then 2 seconds apart, less up to a fifth.
        assert.isAtLeast(connects, 25)
        assert.isAtMost(connects, 45)
        isCured = true
        const served = yield* Effect.forkChild(pool.use(() => Effect.succeed("served")))
        yield* TestClock.adjust("5 seconds")
        assert.strictEqual(yield* Fiber.join(served), "served")
        assert.deepStrictEqual(yield* shape(pool), { idle: 1 })
      }))
  }

  it.effect("causes no storm of attempts for min either", () =>
    Effect.gen(function*() {
      const factory = ConnectionFactory.make<object>({ connect: Effect.sync(() => ({})), isAlive: () => false })
      const pool = yield* ConnectionPool.make({ factory, min: 2, start: "lazy" })
      yield* TestClock.adjust("1 minute")
      assert.isAtMost((yield* pool.stats).connects, 60)
    }))
})

describe("the floor", () => {
  it.effect("is opened at the start", () =>
    Effect.gen(function*() {
      const { pool } = yield* make({ min: 3, max: 5 })
      assert.deepStrictEqual(yield* shape(pool), { idle: 3 })
    }))

  it.effect("is opened in the background by a lazy start", () =>
    Effect.gen(function*() {
      const faulty = yield* FaultyFactory.make()
      yield* faulty.connect.hold
      const pool = yield* ConnectionPool.make({ factory: faulty.factory, min: 2, start: "lazy" })
      assert.deepStrictEqual(yield* shape(pool), { connecting: 2 })
      yield* faulty.connect.open
      yield* settle
      assert.deepStrictEqual(yield* shape(pool), { idle: 2 })
    }))

  it.effect("that cannot be opened fails an eager start, and nothing goes on after that", () =>
    Effect.gen(function*() {
      const faulty = yield* FaultyFactory.make()
      yield* faulty.connect.hold
      yield* faulty.connect.fail(1)
      const scope = yield* Scope.make()
      const starting = yield* Effect.forkChild(
        PoolAssert.failsWith(
          Scope.provide(ConnectionPool.make({ factory: faulty.factory, min: 2 }), scope),
          "ConnectError"
        )
      )
      yield* settle
      yield* faulty.connect.open
      const error = yield* Fiber.join(starting)
      assert.deepStrictEqual(error.reason, { _tag: "ConnectFailed", error: refused(1, false) })
      yield* TestClock.adjust("1 hour")
      const { attempts, closed, opened } = yield* faulty.counters
      assert.strictEqual(attempts, 2)
      assert.strictEqual(closed, opened)
      yield* Scope.close(scope, Exit.void)
    }))

  it.effect("that will not come in time fails an eager start at acquireTimeout", () =>
    Effect.gen(function*() {
      for (const [plan, reason] of [["fail", "ConnectFailed"], ["hang", "ConnectTimedOut"]] as const) {
        const faulty = yield* FaultyFactory.make()
        yield* plan === "fail" ? faulty.connect.fail(100, { transient: true }) : faulty.connect.hang(100)
        const starting = yield* Effect.forkChild(
          Effect.scoped(PoolAssert.failsWith(
            ConnectionPool.make({
              factory: faulty.factory,
              min: 1,
              acquireTimeout: "4 seconds",
              connectTimeout: "1 minute"
            }),
            "ConnectError"
          ))
        )
        yield* settle
        yield* TestClock.adjust("4 seconds")
        // The hung attempt is uninterruptible; it is given up.
        yield* TestClock.adjust("5 seconds")
        const error = yield* Fiber.join(starting)
        assert.strictEqual(error.reason._tag, reason)
      }
    }))

  it.effect("waits for an eager start that needs another attempt", () =>
    Effect.gen(function*() {
      const faulty = yield* FaultyFactory.make()
      yield* faulty.connect.fail(2, { transient: true })
      const starting = yield* Effect.forkChild(ConnectionPool.make({ factory: faulty.factory, min: 2 }))
      yield* settle
      assert.isUndefined(starting.pollUnsafe())
      yield* TestClock.adjust("100 millis")
      assert.deepStrictEqual(yield* shape(yield* Fiber.join(starting)), { idle: 2 })
    }).pipe(Effect.scoped))

  it.effect("is restored when a connection is lost", () =>
    Effect.gen(function*() {
      const { faulty, pool } = yield* make({ min: 2, max: 3 })
      yield* faulty.kill(2)
      assert.strictEqual(yield* pool.use((connection) => Effect.succeed(connection.id)), 1)
      yield* settle
      assert.deepStrictEqual(yield* shape(pool), { idle: 2 })
      assert.strictEqual((yield* faulty.counters).attempts, 3)
      yield* PoolAssert.nothingLeaked(faulty, pool)
    }))

  it.effect("is back within one pause after an outage", () =>
    Effect.gen(function*() {
      const { faulty, pool } = yield* make({ min: 4, max: 4, connectBackoffMax: "5 seconds" })
      yield* faulty.connect.fail(1_000_000)
      yield* pool.recycle
      yield* TestClock.adjust("10 minutes")
      assert.deepStrictEqual(yield* shape(pool), {})
      const { attempts } = yield* faulty.counters
      // Four at once, and then one every four to five seconds.
      assert.isAtMost(attempts, 4 + 160)
      yield* PoolAssert.failsWith(pool.use(() => Effect.void), "ConnectError")
      yield* faulty.connect.clear
      yield* TestClock.adjust("5 seconds")
      assert.deepStrictEqual(yield* shape(pool), { idle: 4 })
      yield* PoolAssert.nothingLeaked(faulty, pool)
    }))

  it.effect("never lets a failure out of the pool when no caller waits", () =>
    Effect.gen(function*() {
      const faulty = yield* FaultyFactory.make()
      yield* faulty.connect.fail(3)
      yield* faulty.connect.die(3)
      const pool = yield* ConnectionPool.make({ factory: faulty.factory, min: 1, start: "lazy" })
      yield* TestClock.adjust("1 minute")
      assert.deepStrictEqual(yield* shape(pool), { idle: 1 })
      yield* PoolAssert.nothingLeaked(faulty, pool)
    }))

  it.effect("is restored although an attempt from before the last success fails late", () =>
    Effect.gen(function*() {
      const { faulty, pool } = yield* make({ min: 2, max: 2 })
      yield* faulty.connect.fail(1)
      yield* faulty.connect.hang(1)
      yield* pool.recycle
      yield* settle
      yield* TestClock.adjust("1 minute")
      assert.deepStrictEqual(yield* shape(pool), { idle: 2 })
      yield* PoolAssert.nothingLeaked(faulty, pool)
    }))

  it.effect("is the same after an attempt that was recycled has failed", () =>
    Effect.gen(function*() {
      const attempts = [yield* Deferred.make<number, string>(), yield* Deferred.make<number, string>()]
      let begun = 0
      const factory = ConnectionFactory.make<number, string>({
        connect: Effect.suspend(() => Deferred.await(attempts[begun++] ?? attempts[1]!))
      })
      const pool = yield* ConnectionPool.make({ factory, min: 1, max: 4, start: "lazy" })
      yield* settle
      yield* pool.recycle
      yield* settle
      assert.deepStrictEqual(yield* shape(pool), { connecting: 2 })
      yield* Deferred.fail(attempts[0]!, "no")
      yield* Deferred.succeed(attempts[1]!, 1)
      yield* TestClock.adjust("1 minute")
      assert.deepStrictEqual(yield* shape(pool), { idle: 1 })
      assert.strictEqual(begun, 2)
    }))

  it.effect("is not opened beyond max by attempts that finish together", () =>
    Effect.gen(function*() {
      const { faulty, pool } = yield* make({ min: 3, max: 3 })
      yield* faulty.connect.hold
      yield* pool.recycle
      yield* settle
      yield* borrow(pool)
      yield* borrow(pool)
      assert.deepStrictEqual(yield* shape(pool), { connecting: 3, waiting: 2 })
      yield* faulty.connect.open
      yield* settle
      assert.deepStrictEqual(yield* shape(pool), { idle: 1, inUse: 2 })
      assert.isAtMost((yield* faulty.counters).mostOpen, 3)
    }))
})
