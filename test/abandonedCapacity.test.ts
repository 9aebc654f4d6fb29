import { assert, describe, it } from "@effect/vitest"
import { Effect, Fiber } from "effect"
import { ConnectionFactory, ConnectionPool } from "effect-connection-pool"
import { PoolAssert } from "effect-connection-pool/testing"
import { TestClock } from "effect/testing"
import { borrow, leaveRunning, make, type Pool, settle, shape } from "./support/pools.ts"

/** A caller in a fiber of its own, that would get its connection's number. */
const ask = (pool: Pool, timeout?: number) =>
  Effect.andThen(
    Effect.forkChild(pool.use(({ id }) => Effect.succeed(id), { timeout })),
    (fiber) => Effect.as(settle, fiber)
  )

describe("an abandoned connection counts against max", () => {
  it.effect("so a caller waits until it has settled, if none may be replaced", () =>
    Effect.gen(function*() {
      const { faulty, pool } = yield* make({ max: 1, maxAbandoned: 0 })
      yield* faulty.settle.hold
      yield* leaveRunning(pool)
      const next = yield* ask(pool)
      yield* TestClock.adjust("10 seconds")
      assert.deepStrictEqual(yield* shape(pool), { abandoned: 1, waiting: 1 })
      yield* faulty.settle.open
      assert.strictEqual(yield* Fiber.join(next), 1)
      assert.strictEqual((yield* faulty.counters).mostOpen, 1)
      yield* PoolAssert.nothingLeaked(faulty, pool)
    }))

  it.effect("but others are opened up to max as if it were in use", () =>
    Effect.gen(function*() {
      const { faulty, pool } = yield* make({ max: 3, maxAbandoned: 0 })
      yield* faulty.settle.hold
      yield* leaveRunning(pool)
      const [first, second] = [yield* borrow(pool), yield* borrow(pool)]
      assert.deepStrictEqual([first.connection?.id, second.connection?.id], [2, 3])
      yield* ask(pool)
      assert.deepStrictEqual(yield* shape(pool), { inUse: 2, abandoned: 1, waiting: 1 })
      yield* first.giveBack
      yield* second.giveBack
      yield* faulty.settle.open
      yield* settle
      yield* PoolAssert.nothingLeaked(faulty, pool)
    }))

  it.effect("and may be replaced for callers who wait, up to maxAbandoned at the same time", () =>
    Effect.gen(function*() {
      const { faulty, pool } = yield* make({ max: 3, maxAbandoned: 2 })
      yield* faulty.settle.hold
      const leases = yield* Effect.forEach([1, 2, 3], () => borrow(pool))
      for (const { connection, fiber } of leases) {
        yield* connection!.start
        yield* Fiber.interrupt(fiber)
      }
      yield* settle
      assert.deepStrictEqual(yield* shape(pool), { abandoned: 3 })
      const callers = yield* Effect.forEach([1, 2, 3], () => borrow(pool))
      assert.deepStrictEqual(callers.map(({ connection }) => connection?.id), [4, 5, undefined])
      assert.deepStrictEqual(yield* shape(pool), { inUse: 2, abandoned: 3, waiting: 1 })
      yield* PoolAssert.addUp(faulty, pool)
      assert.strictEqual((yield* faulty.counters).mostOpen, 5)
      // One settles: two are still abandoned, and both are replaced, so it stays and serves the waiter.
      yield* faulty.settle.pass()
      yield* settle
      assert.strictEqual(callers[2]!.connection?.id, 1)
      assert.deepStrictEqual(yield* shape(pool), { inUse: 3, abandoned: 2 })
      // The next to settle is one too many.
      yield* faulty.settle.pass()
      yield* settle
      assert.deepStrictEqual(yield* shape(pool), { inUse: 3, abandoned: 1 })
      assert.strictEqual((yield* pool.stats).evictions.excess, 1)
      for (const caller of callers) yield* caller.giveBack
      yield* faulty.settle.open
      yield* settle
      assert.deepStrictEqual(yield* shape(pool), { idle: 3 })
      assert.strictEqual((yield* faulty.counters).mostOpen, 5)
      yield* PoolAssert.nothingLeaked(faulty, pool)
    }))

  it.effect("is replaced for a caller only, not for min", () =>
    Effect.gen(function*() {
      const { faulty, pool } = yield* make({ min: 2, max: 2 })
      yield* faulty.settle.hold
      yield* leaveRunning(pool)
      yield* TestClock.adjust("10 seconds")
      assert.deepStrictEqual(yield* shape(pool), { idle: 1, abandoned: 1 })
      assert.strictEqual((yield* pool.stats).connects, 2)
      yield* faulty.settle.open
      yield* settle
      yield* PoolAssert.nothingLeaked(faulty, pool)
    }))

  it.effect("is replaced for min when it will not come back", () =>
    Effect.gen(function*() {
      const { faulty, pool } = yield* make({ min: 1, max: 1 })
      yield* faulty.settle.hold
      yield* leaveRunning(pool)
      yield* pool.recycle
      yield* settle
      assert.deepStrictEqual(yield* shape(pool), { idle: 1, abandoned: 1 })
      yield* faulty.settle.open
      yield* settle
      assert.deepStrictEqual(yield* shape(pool), { idle: 1 })
      yield* PoolAssert.nothingLeaked(faulty, pool)
    }))
})

describe("a replacement", () => {
  it.effect("is opened only when it was abandoned for as long as it took to open it", () =>
    Effect.gen(function*() {
      // The pool has something else to look after in the meantime.
      const { faulty, pool } = yield* make({ max: 1, leakThreshold: "100 millis" })
      yield* faulty.connect.delay("300 millis")
      const opening = yield* Effect.forkChild(pool.use(() => Effect.void))
      yield* TestClock.adjust("300 millis")
      yield* Fiber.join(opening)
      yield* faulty.settle.hold
      yield* leaveRunning(pool)
      const next = yield* ask(pool)
      yield* TestClock.adjust("299 millis")
      assert.deepStrictEqual(yield* shape(pool), { abandoned: 1, waiting: 1 })
      yield* TestClock.adjust("1 millis")
      assert.deepStrictEqual(yield* shape(pool), { connecting: 1, abandoned: 1, waiting: 1 })
      yield* TestClock.adjust("300 millis")
      assert.strictEqual(yield* Fiber.join(next), 2)
      yield* faulty.settle.open
      yield* settle
      yield* faulty.connect.clear
      yield* PoolAssert.nothingLeaked(faulty, pool)
    }))

  it.effect("is not waited for longer than a second, however long it took to open it", () =>
    Effect.gen(function*() {
      const { faulty, pool } = yield* make({ max: 1 })
      yield* faulty.connect.delay("5 seconds")
      const opening = yield* Effect.forkChild(pool.use(() => Effect.void))
      yield* TestClock.adjust("5 seconds")
      yield* Fiber.join(opening)
      yield* faulty.settle.hold
      yield* leaveRunning(pool)
      yield* ask(pool)
      yield* TestClock.adjust("999 millis")
      assert.deepStrictEqual(yield* shape(pool), { abandoned: 1, waiting: 1 })
      yield* TestClock.adjust("1 millis")
      assert.deepStrictEqual(yield* shape(pool), { connecting: 1, abandoned: 1, waiting: 1 })
      yield* Effect.all([faulty.connect.clear, faulty.settle.open])
      yield* TestClock.adjust("5 seconds")
      yield* PoolAssert.nothingLeaked(faulty, pool)
    }))

  it.effect("is never opened for what ends sooner", () =>
    Effect.gen(function*() {
      const { faulty, pool } = yield* make({ max: 1 })
      yield* faulty.connect.delay("300 millis")
      const opening = yield* Effect.forkChild(pool.use(() => Effect.void))
      yield* TestClock.adjust("300 millis")
      yield* Fiber.join(opening)
      yield* faulty.settle.delay("299 millis")
      for (let round = 0; round < 5; round++) {
        yield* leaveRunning(pool)
        const next = yield* ask(pool)
        yield* TestClock.adjust("299 millis")
        assert.strictEqual(yield* Fiber.join(next), 1)
      }
      assert.strictEqual((yield* pool.stats).connectAttempts, 1)
      yield* faulty.connect.clear
      yield* PoolAssert.nothingLeaked(faulty, pool)
    }))

  for (const withoutIsAlive of [false, true]) {
    const among = withoutIsAlive ? ", with a driver that is asked nothing" : ""
    it.effect(`stays if it is open when the other has settled, and the other closes${among}`, () =>
      Effect.gen(function*() {
        const { faulty, pool } = yield* make({ max: 1, driver: { withoutIsAlive } })
        yield* faulty.settle.hold
        yield* leaveRunning(pool)
        assert.strictEqual(yield* Fiber.join(yield* ask(pool)), 2)
        assert.deepStrictEqual(yield* shape(pool), { idle: 1, abandoned: 1 })
        yield* faulty.settle.open
        yield* settle
        const found = (yield* pool.connections).map(({ id, state }) => [id, state])
        assert.deepStrictEqual(found, [[2, "idle"]])
        const { evictions, total } = yield* pool.stats
        assert.deepStrictEqual([evictions.excess, total, (yield* faulty.counters).resets], [1, 1, 0])
        yield* PoolAssert.nothingLeaked(faulty, pool)
      }))

    it.effect(`that is not open yet leaves as soon as it is open, and the settled one serves the waiter${among}`, () =>
      Effect.gen(function*() {
        const { faulty, pool } = yield* make({ max: 1, driver: { withoutIsAlive } })
        yield* faulty.settle.hold
        yield* leaveRunning(pool)
        yield* faulty.connect.hold
        const next = yield* borrow(pool)
        assert.deepStrictEqual(yield* shape(pool), { connecting: 1, abandoned: 1, waiting: 1 })
        yield* faulty.settle.open
        yield* settle
        assert.strictEqual(next.connection?.id, 1)
        assert.deepStrictEqual(yield* shape(pool), { connecting: 1, inUse: 1 })
        yield* PoolAssert.addUp(faulty, pool)
        yield* faulty.connect.open
        yield* settle
        assert.deepStrictEqual(yield* shape(pool), { inUse: 1 })
        assert.strictEqual((yield* pool.stats).evictions.excess, 1)
        yield* next.giveBack
        assert.deepStrictEqual(yield* shape(pool), { idle: 1 })
        yield* PoolAssert.nothingLeaked(faulty, pool)
      }))
  }

  it.effect("is not given up for a connection that cannot be used when it has settled", () =>
    Effect.gen(function*() {
      const { faulty, pool } = yield* make({ max: 1 })
      yield* faulty.settle.hold
      yield* leaveRunning(pool)
      yield* faulty.connect.hold
      const next = yield* borrow(pool)
      yield* faulty.kill(1)
      yield* faulty.settle.open
      yield* settle
      assert.deepStrictEqual(yield* shape(pool), { connecting: 1, waiting: 1 })
      yield* faulty.connect.open
      yield* settle
      assert.strictEqual(next.connection?.id, 2)
      yield* next.giveBack
      yield* PoolAssert.nothingLeaked(faulty, pool)
    }))

  it.effect("of one that cannot be opened does not refuse callers, for the abandoned one will serve them", () =>
    Effect.gen(function*() {
      const { faulty, pool } = yield* make({ max: 1 })
      yield* faulty.settle.hold
      yield* leaveRunning(pool)
      yield* faulty.connect.fail(Infinity)
      const next = yield* ask(pool)
      yield* TestClock.adjust("5 seconds")
      assert.deepStrictEqual(yield* shape(pool), { abandoned: 1, waiting: 1 })
      yield* faulty.settle.open
      assert.strictEqual(yield* Fiber.join(next), 1)
      yield* faulty.connect.clear
      yield* PoolAssert.nothingLeaked(faulty, pool)
    }))
})

describe("callers behind abandoned connections", () => {
  it.effect("are served in the order in which they asked", () =>
    Effect.gen(function*() {
      const { faulty, pool } = yield* make({ max: 1, maxAbandoned: 0 })
      yield* faulty.settle.hold
      yield* leaveRunning(pool)
      const served: Array<number> = []
      for (let caller = 0; caller < 5; caller++) {
        yield* Effect.forkChild(pool.use(() => Effect.sync(() => void served.push(caller))))
        yield* settle
      }
      yield* faulty.settle.open
      yield* settle
      assert.deepStrictEqual(served, [0, 1, 2, 3, 4])
      yield* PoolAssert.nothingLeaked(faulty, pool)
    }))

  it.effect("time out with an error that names what runs, whose it was and since when", () =>
    Effect.gen(function*() {
      const { faulty, pool } = yield* make({ max: 2, maxAbandoned: 0, name: "orders", acquireTimeout: "12 seconds" })
      yield* faulty.settle.hold
      const first = yield* leaveRunning(pool, { label: "report" })
      const second = yield* leaveRunning(pool)
      const failing = yield* Effect.forkChild(PoolAssert.failsWith(pool.use(() => Effect.void), "AcquireTimeoutError"))
      yield* TestClock.adjust("12 seconds")
      const error = yield* Fiber.join(failing)
      assert.deepStrictEqual([error.phase, error.holders, error.occupancy.abandoned], ["abandoned", [], 2])
      assert.deepStrictEqual(error.abandoned?.map(({ abandonedMillis, connection }) => [connection, abandonedMillis]), [
        [1, 12_000],
        [2, 12_000]
      ])
      assert.strictEqual(
        error.message,
        `pool "orders": no connection within 12000 ms, waiting for the end of what earlier callers have left running ` +
          `(0 of 2 in use, 2 abandoned, 1 waiting); 2 of 2 still run what callers have left: report #${first.fiber.id}, ` +
          `12000 ms ago (what was started on connection 1), fiber #${second.fiber.id}, 12000 ms ago (what was started on ` +
          "connection 2)"
      )
      yield* faulty.settle.open
      yield* settle
      yield* PoolAssert.nothingLeaked(faulty, pool)
    }))

  it.effect("wait for a return while others hold connections, and the error says both", () =>
    Effect.gen(function*() {
      const { faulty, pool } = yield* make({ max: 2, maxAbandoned: 0, acquireTimeout: "1 second" })
      yield* faulty.settle.hold
      const holder = yield* borrow(pool)
      const left = yield* leaveRunning(pool)
      const failing = yield* Effect.forkChild(PoolAssert.failsWith(pool.use(() => Effect.void), "AcquireTimeoutError"))
      yield* TestClock.adjust("1 second")
      const error = yield* Fiber.join(failing)
      assert.deepStrictEqual([error.phase, error.holders.length, error.abandoned?.length], ["queue", 1, 1])
      assert.include(error.message, `1 of 2 still runs what a caller has left: fiber #${left.fiber.id}, 1000 ms ago`)
      yield* holder.giveBack
      yield* faulty.settle.open
      yield* settle
      yield* PoolAssert.nothingLeaked(faulty, pool)
    }))

  it.effect("are in no self-deadlock, if they hold all others", () =>
    Effect.gen(function*() {
      const { faulty, pool } = yield* make({ max: 2, maxAbandoned: 0 })
      yield* faulty.settle.hold
      yield* leaveRunning(pool)
      const both = yield* Effect.forkChild(
        pool.use((outer) => pool.use((inner) => Effect.succeed([outer.id, inner.id])))
      )
      yield* settle
      assert.deepStrictEqual(yield* shape(pool), { inUse: 1, abandoned: 1, waiting: 1 })
      yield* faulty.settle.open
      assert.deepStrictEqual(yield* Fiber.join(both), [2, 1])
      yield* PoolAssert.nothingLeaked(faulty, pool)
    }))

  it.effect("are in no self-deadlock, if they hold max themselves: theirs may leave, so that the abandoned one stays", () =>
    Effect.gen(function*() {
      const { faulty, pool } = yield* make({ max: 1 })
      yield* faulty.settle.hold
      yield* leaveRunning(pool)
      const both = yield* Effect.forkChild(
        pool.use((outer) => pool.use((inner) => Effect.succeed([outer.id, inner.id])))
      )
      yield* settle
      assert.deepStrictEqual(yield* shape(pool), { inUse: 1, abandoned: 1, waiting: 1 })
      yield* faulty.drop(2)
      yield* faulty.settle.open
      assert.deepStrictEqual(yield* Fiber.join(both), [2, 1])
      yield* settle
      yield* PoolAssert.nothingLeaked(faulty, pool)
    }))

  it.effect("are refused at once when the line is full, as behind connections in use", () =>
    Effect.gen(function*() {
      const { faulty, pool } = yield* make({ max: 1, maxAbandoned: 0, maxWaiting: 1 })
      yield* faulty.settle.hold
      yield* leaveRunning(pool)
      yield* ask(pool)
      const error = yield* PoolAssert.failsWith(pool.use(() => Effect.void), "QueueFullError")
      assert.include(error.message, "0 of 1 in use, 1 abandoned, 1 waiting")
      yield* faulty.settle.open
      yield* settle
      yield* PoolAssert.nothingLeaked(faulty, pool)
    }))

  it.effect("who all leave something running are served one after the other, by no more connections than may be open", () =>
    Effect.gen(function*() {
      let [open, mostOpen, running] = [0, 0, 0]
      const factory = ConnectionFactory.make({
        connect: Effect.acquireRelease(
          Effect.sync(() => {
            mostOpen = Math.max(mostOpen, ++open)
            return { isRunning: false }
          }),
          () => Effect.sync(() => void open--)
        ),
        judge: () => "healthy",
        unfinished: (connection) => {
          if (!connection.isRunning) return undefined
          running++
          const over = Effect.sync(() => {
            connection.isRunning = false
            running--
          })
          return { settled: Effect.ensuring(Effect.sleep("3 seconds"), over) }
        }
      })
      const pool = yield* ConnectionPool.make({ factory, max: 2 })
      const scan = pool.use((connection) =>
        Effect.suspend(() => {
          connection.isRunning = true
          return Effect.timeoutOption(Effect.never, "200 millis")
        })
      )
      const client = Effect.repeat(scan, { times: 9 })
      const clients = yield* Effect.forEach([1, 2, 3, 4, 5], () => Effect.forkChild(client))
      for (let step = 0; step < 1000; step++) {
        yield* TestClock.adjust("100 millis")
        assert.isAtMost(running, 3)
      }
      yield* Effect.forEach(clients, Fiber.join)
      assert.strictEqual((yield* pool.stats).abandonments, 50)
      assert.isAtMost(mostOpen, 3)
      const { abandoned, settlements, total } = yield* pool.stats
      assert.deepStrictEqual([abandoned, settlements, total <= 2], [0, 50, true])
    }))
})
