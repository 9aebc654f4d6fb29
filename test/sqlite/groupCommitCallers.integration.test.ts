/** Callers whose work is committed together: how they wait, leave, are late and are refused, as everybody else in line. */
import { assert, describe, it } from "@effect/vitest"
import { Cause, Effect, Exit, Fiber, Latch } from "effect"
import type { SqliteConnection } from "effect-connection-pool/sqlite"
import { TestClock } from "effect/testing"
import { areTimed, assertGroups, type Database, insert, make, together } from "../support/groups.ts"
import { settle } from "../support/pools.ts"

const numbers = (count: number): Array<number> => Array.from({ length: count }, (_, n) => n)

/** A database whose writers have company already, so that the next one waits for others until the turn ends. */
const inCompany = Effect.fnUntraced(function*(options?: Parameters<typeof make>[0]) {
  const db = yield* make(options)
  yield* Effect.all([insert(db, -1), insert(db, -2), insert(db, -3)], { concurrency: "unbounded" })
  return db
})

const fork = <A, E, R>(effect: Effect.Effect<A, E, R>) => Effect.forkChild(effect, { startImmediately: true })

describe("a caller that waits for others", () => {
  it.effect("holds the connection, has nothing stored if it is interrupted, and the next in line leads", () =>
    Effect.gen(function*() {
      const db = yield* inCompany()
      const first = yield* fork(insert(db, 1))
      const second = yield* fork(insert(db, 2))
      const third = yield* fork(insert(db, 3))
      const { writer } = yield* db.pool.stats
      assert.deepStrictEqual([writer.inUse, writer.waiting], [1, 2])
      yield* Fiber.interrupt(first)
      assert.isTrue(Exit.isSuccess(yield* Fiber.await(second)))
      assert.isTrue(Exit.isSuccess(yield* Fiber.await(third)))
      assert.deepStrictEqual(db.rows.slice(3), [2, 3])
      const after = (yield* db.pool.stats).writer
      assert.deepStrictEqual([after.inUse, after.waiting, after.checkouts - after.returns], [0, 0, 0])
    }))

  it.effect("takes no caller along that was interrupted, or refused by a shutdown, and runs itself", () =>
    Effect.gen(function*() {
      const db = yield* inCompany({ drainTimeout: "1 minute" })
      const first = yield* fork(insert(db, 1))
      const second = yield* fork(insert(db, 2))
      const third = yield* fork(insert(db, 3))
      yield* Fiber.interrupt(second)
      yield* fork(db.pool.writer.shutdown())
      const exits = yield* Effect.forEach([first, second, third], Fiber.await)
      // A thread may be faster than the interrupt or the shutdown. Then its caller is told that it is stored.
      const told = [1, 2, 3].filter((_, index) => Exit.isSuccess(exits[index]!))
      assert.deepStrictEqual(told.filter((n) => n === 1 || !areTimed), [1])
      assert.deepStrictEqual(db.rows.slice(3), told)
      if (!told.includes(3)) {
        const refused = yield* Effect.flip(exits[2]!)
        assert.include(refused.message, "shutting down")
      }
    }))

  it.effect("takes no caller along while the pool is paused, or on a connection that has to be evicted", () =>
    Effect.gen(function*() {
      for (const verb of ["pause", "recycle"] as const) {
        const db = yield* inCompany()
        const before = (yield* db.groups).length
        const first = yield* fork(insert(db, 1))
        const others = [yield* fork(insert(db, 2)), yield* fork(insert(db, 3))]
        yield* db.pool.writer[verb]
        assert.isTrue(Exit.isSuccess(yield* Fiber.await(first)))
        yield* settle
        if (verb === "pause") assert.deepStrictEqual(db.rows.slice(3), [1])
        yield* db.pool.writer.resume
        for (const other of others) assert.isTrue(Exit.isSuccess(yield* Fiber.await(other)))
        assert.deepStrictEqual(db.rows.slice(3), [1, 2, 3])
        assertGroups((yield* db.groups).slice(before), [{ size: areTimed ? 3 : 2, undoneBecause: undefined }])
      }
    }))

  it.effect("does not block a caller that does not wait, or a full line", () =>
    Effect.gen(function*() {
      const db = yield* inCompany({ maxWaiting: 2 })
      const body = (n: number) =>
        db.pool.writeSync((connection) => connection.runUnsafe("insert into t values (?)", [n]))
      const hasty = (n: number) =>
        db.pool.writeSync((connection) => connection.runUnsafe("insert into t values (?)", [n]), { timeout: 0 })
      const first = yield* fork(insert(db, 1))
      assert.deepStrictEqual((yield* hasty(2)).changes, 1)
      assert.isTrue(Exit.isSuccess(yield* Fiber.await(first)))
      const exits = yield* Effect.all(numbers(20).map((n) => Effect.exit(body(10 + n))), { concurrency: "unbounded" })
      assert.isTrue(exits.every(Exit.isSuccess))
      assert.deepStrictEqual(db.rows.slice(3), [1, 2, ...numbers(20).map((n) => 10 + n)])
    }))

  it.effect("is followed by another that waits, if it is interrupted", () =>
    Effect.gen(function*() {
      const db = yield* inCompany()
      const before = (yield* db.groups).length
      const first = yield* fork(insert(db, 1))
      yield* Fiber.interrupt(first)
      const others = [yield* fork(insert(db, 2)), yield* fork(insert(db, 3))]
      for (const other of others) assert.isTrue(Exit.isSuccess(yield* Fiber.await(other)))
      assertGroups((yield* db.groups).slice(before), [{ size: 2, undoneBecause: undefined }])
      assert.deepStrictEqual(db.rows.slice(3), [2, 3])
    }))
})

describe("a caller that only waits for others", () => {
  const add = (n: number) => (connection: SqliteConnection.SqliteConnection) =>
    connection.runUnsafe("insert into t values (?)", [n])

  it.effect("does not block a caller that takes the connection in another way and does not wait", () =>
    Effect.gen(function*() {
      const ways: ReadonlyArray<(db: Database, n: number) => Effect.Effect<unknown, unknown>> = [
        ({ pool }, n) => pool.write((connection) => connection.run("insert into t values (?)", [n]), { timeout: 0 }),
        ({ pool, sql }, n) => pool.transaction(sql`insert into t values (${n})`, { timeout: 0 }),
        ({ pool }, n) => pool.writer.useSync(add(n), { timeout: 0 }),
        ({ pool }, n) => Effect.scoped(Effect.map(pool.writer.acquire({ timeout: 0 }), add(n))),
        ({ pool }, n) => pool.writeSync(add(n), { timeout: 0 })
      ]
      for (const [index, way] of ways.entries()) {
        const db = yield* inCompany()
        const first = yield* fork(insert(db, 1))
        assert.strictEqual((yield* db.pool.stats).writer.inUse, 1)
        const exit = yield* Effect.exit(way(db, 2))
        assert.isTrue(Exit.isSuccess(exit), `way ${index}: ${String(exit)}`)
        assert.isTrue(Exit.isSuccess(yield* Fiber.await(first)))
        assert.deepStrictEqual(db.rows.slice(3), [1, 2])
      }
    }))

  it.effect("does not block a caller whose fiber cannot wait, as with runSync", () =>
    Effect.gen(function*() {
      const ways: ReadonlyArray<(db: Database, n: number) => Effect.Effect<unknown, unknown>> = [
        (db, n) => insert(db, n),
        ({ pool }, n) => pool.writeSync(add(n)),
        ({ pool }, n) => pool.writer.useSync(add(n)),
        ({ pool }, n) => pool.write((connection) => connection.run("insert into t values (?)", [n]))
      ]
      for (const way of ways) {
        const db = yield* inCompany()
        Effect.runSync(way(db, 1))
        const second = yield* fork(insert(db, 2))
        Effect.runSync(way(db, 3))
        assert.isTrue(Exit.isSuccess(yield* Fiber.await(second)))
        assert.deepStrictEqual(db.rows.slice(3), [1, 2, 3])
      }
    }))

  it.effect("does not make the line longer than maxWaiting for a lease", () =>
    Effect.gen(function*() {
      const db = yield* inCompany({ maxWaiting: 1 })
      const write = (n: number) => db.pool.write((connection) => connection.run("insert into t values (?)", [n]))
      const fibers = [
        yield* fork<unknown, unknown, never>(insert(db, 1)),
        yield* fork<unknown, unknown, never>(write(2)),
        yield* fork<unknown, unknown, never>(write(3))
      ]
      for (const fiber of fibers) assert.isTrue(Exit.isSuccess(yield* Fiber.await(fiber)))
      assert.deepStrictEqual(db.rows.slice(3), [1, 2, 3])
    }))

  it.effect("goes on although another waits too, after the pool was made larger", () =>
    Effect.gen(function*() {
      const db = yield* inCompany()
      yield* db.pool.writer.resize({ max: 2 })
      yield* db.pool.writer.check()
      // Opens the second connection.
      yield* Effect.all([db.pool.write(() => Effect.yieldNow), db.pool.write(() => settle)], { concurrency: 2 })
      assert.strictEqual((yield* db.pool.stats).writer.idle, 2)
      const fibers = yield* Effect.forEach(numbers(6), (n) => fork(insert(db, n)))
      yield* Effect.repeat(settle, { times: 3 })
      // Two writers in threads may meet each other's locks, and wait.
      if (areTimed) yield* TestClock.adjust("1 second")
      for (const fiber of fibers) assert.isTrue(Exit.isSuccess(fiber.pollUnsafe()!))
      assert.deepStrictEqual(db.rows.slice(3).toSorted(), numbers(6))
    }))
})

describe("a caller in line whose work may be done together with that of others", () => {
  it.effect("times out at its own deadline while a lease has the connection", () =>
    Effect.gen(function*() {
      const db = yield* make({ acquireTimeout: "10 seconds" })
      const gate = yield* Latch.make()
      const holder = yield* fork(db.pool.write(() => gate.await))
      const body = (n: number, timeout: number) =>
        fork(db.pool.writeSync((connection) => connection.runUnsafe("insert into t values (?)", [n]), { timeout }))
      const patient = yield* body(1, 9000)
      const late = yield* body(2, 1000)
      const other = yield* body(3, 9000)
      yield* TestClock.adjust("2 seconds")
      const error = yield* Effect.flip(Fiber.join(late))
      assert.strictEqual(error._tag, "AcquireTimeoutError")
      yield* gate.open
      yield* Fiber.join(holder)
      assert.isTrue(Exit.isSuccess(yield* Fiber.await(patient)))
      assert.isTrue(Exit.isSuccess(yield* Fiber.await(other)))
      assert.deepStrictEqual(db.rows, [1, 3])
      const { writer } = yield* db.pool.stats
      assert.deepStrictEqual([writer.timeouts, writer.checkouts - writer.returns], [1, 0])
    }))

  it.effect("times out at its own deadline, and its statement is not stored", () =>
    Effect.gen(function*() {
      const db = yield* make({ acquireTimeout: "5 seconds" })
      const gate = yield* Latch.make()
      const holder = yield* fork(db.pool.write(() => gate.await))
      const late = yield* fork(Effect.flip(insert(db, 1)))
      yield* TestClock.adjust("3 seconds")
      const others = [yield* fork(insert(db, 2)), yield* fork(insert(db, 3))]
      yield* TestClock.adjust("3 seconds")
      assert.include((yield* Fiber.join(late)).message, "no connection within 5000 ms")
      yield* gate.open
      yield* Fiber.join(holder)
      for (const other of others) assert.isTrue(Exit.isSuccess(yield* Fiber.await(other)))
      assert.deepStrictEqual(db.rows, [2, 3])
      const { writer } = yield* db.pool.stats
      assert.deepStrictEqual([writer.timeouts, writer.checkouts - writer.returns], [1, 0])
    }))

  it.effect("leaves the group if the work of another interrupts it, before its turn or after", () =>
    Effect.gen(function*() {
      for (const victim of ["before", "after"] as const) {
        const db = yield* make()
        const fibers: Record<string, Fiber.Fiber<unknown, unknown>> = {}
        const gate = yield* Latch.make()
        const holder = yield* fork(db.pool.write(() => gate.await))
        const leader = yield* fork(insert(db, 1))
        fibers["before"] = yield* fork(insert(db, 2))
        let runs = 0
        const murderer = yield* fork(db.pool.writeSync((connection) => {
          runs++
          connection.runUnsafe("insert into t values (3)")
          fibers[victim]!.interruptUnsafe()
        }))
        fibers["after"] = yield* fork(insert(db, 4))
        const last = yield* fork(insert(db, 5))
        yield* gate.open
        yield* Fiber.join(holder)
        for (const fiber of [leader, murderer, last] as ReadonlyArray<Fiber.Fiber<unknown, unknown>>) {
          assert.isTrue(Exit.isSuccess(yield* Fiber.await(fiber)), victim)
        }
        const exit = yield* Fiber.await(fibers[victim]!)
        assert.isTrue(Exit.isFailure(exit) && Cause.hasInterruptsOnly(exit.cause), victim)
        // Nobody is told that it was interrupted whose work is stored.
        assert.deepStrictEqual(db.rows, victim === "before" ? [1, 3, 4, 5] : [1, 2, 3, 5])
        assert.strictEqual(runs, victim === "before" ? 2 : 1)
        const { writer } = yield* db.pool.stats
        assert.deepStrictEqual([writer.cancelled, writer.checkouts - writer.returns, writer.waiting], [1, 0, 0])
      }
    }))

  it.effect("cannot be interrupted any more once its work is committed", () =>
    Effect.gen(function*() {
      const db = yield* make()
      const [first, second] = yield* together(db, [1, 2].map((n) => Effect.uninterruptible(insert(db, n))))
      assert.isTrue(Exit.isSuccess(first!) && Exit.isSuccess(second!))
      assert.deepStrictEqual(db.rows, [1, 2])
    }))

  it.effect("is refused if it holds the connection itself", () =>
    Effect.gen(function*() {
      const db = yield* inCompany()
      const error = yield* Effect.flip(db.pool.write(() => insert(db, 1)))
      assert.include(error.message, "would wait for itself")
    }))
})

describe("a line of a thousand writers", () => {
  it.effect("is served in groups of 500 at most, and the event loop has its turn between two", () =>
    Effect.gen(function*() {
      const db = yield* make()
      const gate = yield* Latch.make()
      const holder = yield* fork(db.pool.write(() => gate.await))
      const fibers: Array<Fiber.Fiber<unknown, unknown>> = []
      for (const n of numbers(1200)) fibers.push(yield* fork(insert(db, n)))
      const seen: Array<number> = []
      const look = () => {
        seen.push(db.rows.length)
        handle = setTimeout(look, 0)
      }
      let handle = setTimeout(look, 0)
      yield* gate.open
      yield* Fiber.join(holder)
      for (const fiber of fibers) assert.isTrue(Exit.isSuccess(yield* Fiber.await(fiber)))
      clearTimeout(handle)
      assertGroups(yield* db.groups, [500, 500, 200].map((size) => ({ size, undoneBecause: undefined })))
      assert.deepStrictEqual(db.rows, numbers(1200))
      // The timer saw what was between the groups.
      if (areTimed) assert.isTrue(seen.some((count) => count > 0 && count < 1200))
      else assert.includeMembers(seen, [500, 1000])
    }))

  it.effect("is not served in one turn either where leases between them make the groups small", () =>
    Effect.gen(function*() {
      const db = yield* make()
      const order: Array<number | string> = []
      const body = (n: number) => db.pool.writeSync(() => order.push(n))
      const lease = db.pool.write(() => Effect.sync(() => order.push("lease")))
      const turn = () => {
        order.push("turn")
        handle = setImmediate(turn)
      }
      let handle = setImmediate(turn)
      const exits = yield* together<unknown, unknown>(db, [body(1), body(2), lease, body(3), body(4), lease, body(5)])
      clearImmediate(handle)
      assert.isTrue(exits.every(Exit.isSuccess))
      const between = (one: number, other: number) => order.slice(order.indexOf(one) + 1, order.indexOf(other))
      assert.deepStrictEqual(order.filter((what) => what !== "turn"), [1, 2, "lease", 3, 4, "lease", 5])
      assert.include(between(2, 3), "turn")
      assert.notInclude(between(3, 4), "turn")
      assert.include(between(4, 5), "turn")
    }))

  it.effect("does not starve timers, though its writers come back again and again", () =>
    Effect.gen(function*() {
      const db = yield* inCompany()
      let beats = 0
      const beat = () => {
        beats++
        handle = setTimeout(beat, 0)
      }
      let handle = setTimeout(beat, 0)
      const writers = numbers(20).map((fiber) =>
        Effect.gen(function*() {
          for (let n = 0; beats < 10 && n < 1_000_000; n++) yield* insert(db, 1_000_000 * fiber + n)
        })
      )
      yield* Effect.all(writers, { concurrency: "unbounded", discard: true })
      clearTimeout(handle)
      assert.isAtLeast(beats, 10)
    }))
})

describe("the lock of another process", () => {
  it.effect("makes the leader wait, the others time out at their own deadlines, and all is one commit", () =>
    Effect.gen(function*() {
      const db = yield* make({ busyTimeout: "5 seconds" })
      db.other.exec("begin immediate; insert into t values (0)")
      const body = (n: number, timeout: number) =>
        Effect.result(
          db.pool.writeSync((connection) => connection.runUnsafe("insert into t values (?)", [n]), { timeout })
        )
      const all = yield* fork(
        together<unknown, unknown>(db, [body(1, 9000), body(2, 500), insert(db, 3), body(4, 9000)])
      )
      yield* settle
      yield* TestClock.adjust("1 second")
      const { writer } = yield* db.pool.stats
      assert.deepStrictEqual([writer.inUse, writer.waiting, writer.timeouts], [1, 2, 1])
      db.other.exec("commit")
      const before = db.commits
      yield* TestClock.adjust("1 second")
      const exits = yield* Fiber.join(all)
      assert.isTrue(exits.every(Exit.isSuccess))
      assert.deepStrictEqual(db.rows, [0, 1, 3, 4])
      assert.strictEqual(db.commits - before, 1)
    }))

  it.effect("makes the first wait, those behind it time out at their own deadlines, and the rest is stored in order", () =>
    Effect.gen(function*() {
      const db = yield* make({ busyTimeout: "1 minute", acquireTimeout: "5 seconds" })
      db.other.exec("begin immediate; insert into t values (0)")
      const first = yield* fork(insert(db, 1))
      const late = yield* fork(Effect.flip(insert(db, 2)))
      yield* TestClock.adjust("3 seconds")
      const others = [yield* fork(insert(db, 3)), yield* fork(insert(db, 4))]
      yield* TestClock.adjust("3 seconds")
      assert.include((yield* Fiber.join(late)).message, "no connection within 5000 ms")
      const { writer } = yield* db.pool.stats
      assert.deepStrictEqual([writer.inUse, writer.waiting, writer.timeouts], [1, 2, 1])
      db.other.exec("commit")
      yield* TestClock.adjust("1 second")
      for (const fiber of [first, ...others]) assert.isTrue(Exit.isSuccess(yield* Fiber.await(fiber)))
      assert.deepStrictEqual(db.rows, [0, 1, 3, 4])
    }))

  it.effect("is a typed error for each caller, in turn, after busyTimeout", () =>
    Effect.gen(function*() {
      const db = yield* make({ busyTimeout: "200 millis" })
      db.other.exec("begin immediate; insert into t values (0)")
      const late = yield* fork(together(db, [1, 2, 3].map((n) => Effect.flip(insert(db, n)))))
      yield* settle
      yield* TestClock.adjust("1 second")
      const exits = yield* Fiber.join(late)
      for (const exit of exits) {
        assert.strictEqual(Exit.isSuccess(exit) ? exit.value.reason._tag : exit._tag, "LockTimeoutError")
      }
      db.other.exec("commit")
      yield* insert(db, 4)
      assert.deepStrictEqual(db.rows, [0, 4])
    }))

  it.effect("leaves a lone writer that waits for it interruptible", () =>
    Effect.gen(function*() {
      const db = yield* make({ busyTimeout: "5 seconds" })
      db.other.exec("begin immediate; insert into t values (0)")
      const waiting = yield* fork(insert(db, 1))
      yield* TestClock.adjust("100 millis")
      yield* Fiber.interrupt(waiting)
      const next = yield* fork(insert(db, 2))
      db.other.exec("commit")
      yield* TestClock.adjust("100 millis")
      assert.isTrue(Exit.isSuccess(yield* Fiber.await(next)))
      assert.deepStrictEqual(db.rows, [0, 2])
    }))
})
