import { assert, describe, it } from "@effect/vitest"
import { Cause, Context, Effect, Exit, Fiber, type Scope } from "effect"
import { ConnectionPool } from "effect-connection-pool"
import { FaultyFactory, PoolAssert, Sweep } from "effect-connection-pool/testing"
import { TestClock } from "effect/testing"
import { borrow, make, settle, shape } from "./support/pools.ts"

/** The message of the AssertionError an effect dies with. */
const complaint = <A, E, R>(effect: Effect.Effect<A, E, R>) =>
  Effect.map(Effect.exit(effect), (exit) => {
    const defect = Exit.isFailure(exit) ? Cause.squash(exit.cause) : undefined
    return defect instanceof Error && defect.name === "AssertionError" ? defect.message : undefined
  })

const connectOnce = (faulty: FaultyFactory.FaultyFactory) => Effect.exit(Effect.scoped(faulty.factory.connect))

describe("FaultyFactory", () => {
  it.effect("runs statements that take as long as they are told to, and that the pool knows of", () =>
    Effect.gen(function*() {
      const faulty = yield* FaultyFactory.make()
      const pool = yield* ConnectionPool.make({ factory: faulty.factory, slowStatement: "1 second" })
      const leased = yield* Effect.forkChild(
        pool.use((connection) =>
          Effect.andThen(connection.statement("slow", "2 seconds"), connection.statement("quick"))
        )
      )
      yield* TestClock.adjust("1 second")
      const [holder] = yield* pool.holders
      assert.deepStrictEqual(holder?.statement, { text: "slow", isRunning: true, ranMillis: 1000 })
      yield* TestClock.adjust("1 second")
      yield* Fiber.join(leased)
      assert.deepStrictEqual((yield* pool.slowStatements).map(({ maxMillis, text }) => [text, maxMillis]), [[
        "slow",
        2000
      ]])
      const killed = pool.use((connection) => Effect.andThen(faulty.kill(connection.id), connection.statement("late")))
      yield* PoolAssert.failsWith(killed, "FaultyError")
    }))

  it.effect("plans faults in the given order, each for the given number of times", () =>
    Effect.gen(function*() {
      const faulty = yield* FaultyFactory.make()
      yield* faulty.connect.fail(2)
      yield* faulty.connect.die()
      yield* faulty.connect.fail(0)
      yield* faulty.connect.fail(1, { transient: true })
      const kinds: Array<string> = []
      for (let attempt = 0; attempt < 6; attempt++) {
        const exit = yield* connectOnce(faulty)
        const error = Exit.isFailure(exit) ? Cause.squash(exit.cause) : undefined
        kinds.push(
          error === undefined
            ? "opens"
            : error instanceof FaultyFactory.FaultyError
            ? `fails ${error.isTransient}`
            : "dies"
        )
      }
      assert.deepStrictEqual(kinds, ["fails false", "fails false", "dies", "fails true", "opens", "opens"])
    }))

  it.effect("plans any number of faults at once, and without end until they are cleared", () =>
    Effect.gen(function*() {
      const faulty = yield* FaultyFactory.make()
      // One by one, these would not fit into memory.
      yield* faulty.connect.fail(Number.MAX_SAFE_INTEGER)
      yield* faulty.connect.clear
      assert.isTrue(Exit.isSuccess(yield* connectOnce(faulty)))
      yield* faulty.connect.fail(Infinity)
      for (let attempt = 0; attempt < 100; attempt++) assert.isTrue(Exit.isFailure(yield* connectOnce(faulty)))
      yield* faulty.connect.clear
      assert.isTrue(Exit.isSuccess(yield* connectOnce(faulty)))
    }))

  it.effect("dies of an invalid number of faults, and plans nothing", () =>
    Effect.gen(function*() {
      const faulty = yield* FaultyFactory.make()
      for (const kind of ["fail", "die", "hang"] as const) {
        for (const times of [-3, Number.NaN, 1.5, -Infinity]) {
          const exit = yield* Effect.exit(faulty.connect[kind](times))
          assert.deepStrictEqual(
            exit,
            Exit.die(new TypeError(`times is ${times}, but must be a whole number of at least 0, or Infinity`))
          )
        }
      }
      assert.deepStrictEqual(
        yield* Effect.exit(faulty.connect.pass(-1)),
        Exit.die(new TypeError("index is -1, but must be a whole number of at least 0, or Infinity"))
      )
      assert.isTrue(Exit.isSuccess(yield* connectOnce(faulty)))
    }))

  it.effect("dies if it has to break a connection that was never opened, and leaves a closed connection alone", () =>
    Effect.gen(function*() {
      const { faulty, pool } = yield* make({ max: 1 })
      yield* pool.use(() => Effect.void)
      for (const damage of [faulty.kill, faulty.sever]) {
        assert.deepStrictEqual(
          yield* Effect.exit(damage(999)),
          Exit.die(new TypeError("connection is 999, but must be the id of one that was opened"))
        )
      }
      yield* pool.recycle
      yield* settle
      assert.deepStrictEqual(yield* shape(pool), {})
      yield* faulty.kill(1)
      yield* faulty.sever(1)
      yield* PoolAssert.nothingLeaked(faulty, pool)
    }))

  /** What a driver without a pool does, and the mistakes that it is told of. */
  const mistakesOf = (steps: (by: ReturnType<typeof driverOf>) => Effect.Effect<unknown, unknown, Scope.Scope>) =>
    Effect.gen(function*() {
      const faulty = yield* FaultyFactory.make()
      yield* Effect.scoped(steps(driverOf(faulty)))
      return yield* faulty.violations
    })
  const driverOf = ({ factory }: FaultyFactory.FaultyFactory) => ({
    connect: factory.connect,
    validate: factory.validate!,
    reset: factory.reset!,
    begin: (connection: FaultyFactory.FaultyConnection) => factory.beginLease!(connection, "db"),
    end: (lent: FaultyFactory.FaultyConnection) => factory.endLease!(lent)
  })

  it.effect("tells of no mistake if each lease ends before the next, and before its connection is closed", () =>
    Effect.gen(function*() {
      const violations = yield* mistakesOf(({ begin, connect, end }) =>
        Effect.map(connect, (connection) => {
          end(begin(connection))
          end(begin(connection))
        })
      )
      assert.deepStrictEqual(violations, [])
    }))

  it.effect("tells of a connection that is lent twice at once", () =>
    Effect.gen(function*() {
      const violations = yield* mistakesOf(({ begin, connect, end }) =>
        Effect.map(connect, (connection) => {
          begin(connection)
          end(begin(connection))
        })
      )
      assert.deepStrictEqual(violations, ["connection 1 is lent twice at once"])
    }))

  it.effect("tells of a lease that ends twice", () =>
    Effect.gen(function*() {
      const violations = yield* mistakesOf(({ begin, connect, end }) =>
        Effect.map(connect, (connection) => {
          const lent = begin(connection)
          end(lent)
          end(lent)
        })
      )
      assert.deepStrictEqual(violations, ["a lease of connection 1 ends twice"])
    }))

  it.effect("tells of a connection that is lent soiled", () =>
    Effect.gen(function*() {
      const violations = yield* mistakesOf(({ begin, connect, end }) =>
        Effect.gen(function*() {
          const connection = yield* connect
          const lent = begin(connection)
          yield* lent.soil
          end(lent)
          end(begin(connection))
        })
      )
      assert.deepStrictEqual(violations, ["connection 1 is lent soiled"])
    }))

  it.effect("tells of a connection that is closed while its lease goes on, and lent once it is closed", () =>
    Effect.gen(function*() {
      const violations = yield* mistakesOf(({ begin, connect, end }) =>
        Effect.gen(function*() {
          const connection = yield* Effect.scoped(Effect.tap(connect, (opened) => Effect.sync(() => begin(opened))))
          end(begin(connection))
        })
      )
      assert.deepStrictEqual(violations, [
        "connection 1 is closed while its lease goes on",
        "connection 1 is lent twice at once",
        "connection 1 is lent, but closed"
      ])
    }))

  it.effect("tells of a connection that is used while something of an earlier lease runs on it", () =>
    Effect.gen(function*() {
      const violations = yield* mistakesOf(({ begin, connect, end, reset, validate }) =>
        Effect.gen(function*() {
          const connection = yield* connect
          const lent = begin(connection)
          yield* lent.start
          end(lent)
          yield* reset(connection)
          yield* validate(connection)
          end(begin(connection))
        })
      )
      assert.deepStrictEqual(violations, [
        "connection 1 is reset while something runs on it",
        "connection 1 is validated while something runs on it",
        "connection 1 is lent while something runs on it"
      ])
    }))

  it.effect("has connections outside of a lease fail without the name of a pool once they are expired", () =>
    Effect.gen(function*() {
      const faulty = yield* FaultyFactory.make()
      yield* Effect.scoped(Effect.gen(function*() {
        const { begin, connect, end } = driverOf(faulty)
        const connection = yield* connect
        end(connection)
        const outside = yield* PoolAssert.failsWith(connection.run, "LeaseExpiredError")
        assert.deepStrictEqual([outside.operation, "pool" in outside], ["run", false])
        const lent = begin(connection)
        end(lent)
        assert.strictEqual((yield* PoolAssert.failsWith(lent.run, "LeaseExpiredError")).pool, "db")
      }))
    }))

  it.effect("leaves `reset` out on request, so that connections go on as their holders leave them", () =>
    Effect.gen(function*() {
      const faulty = yield* FaultyFactory.make({ withoutReset: true })
      const pool = yield* ConnectionPool.make({ factory: faulty.factory, max: 1 })
      yield* pool.use((connection) => connection.soil)
      yield* pool.use((connection) => connection.run)
      assert.strictEqual((yield* faulty.counters).resets, 0)
      assert.deepStrictEqual(yield* faulty.violations, ["connection 1 is lent soiled"])
    }))

  it.effect("forgets an operation that is interrupted while it is held, and passes the next one", () =>
    Effect.gen(function*() {
      const faulty = yield* FaultyFactory.make({ interruptibleConnect: true })
      yield* faulty.connect.hold
      const [first, second] = yield* Effect.forEach(
        [1, 2],
        () => Effect.forkChild(connectOnce(faulty), { startImmediately: true })
      )
      assert.strictEqual(yield* faulty.connect.waiting, 2)
      yield* Fiber.interrupt(first!)
      assert.strictEqual(yield* faulty.connect.waiting, 1)
      yield* faulty.connect.pass()
      assert.isTrue(Exit.isSuccess(yield* Fiber.join(second!)))
      assert.strictEqual((yield* faulty.counters).opened, 1)
    }))
})

describe("PoolAssert.failsWith", () => {
  const error = new FaultyFactory.FaultyError({ operation: "run", connection: 1, isTransient: false })
  const beside = (cause: Cause.Cause<FaultyFactory.FaultyError>) =>
    PoolAssert.failsWith(Effect.failCause(Cause.combine(Cause.fail(error), cause)), "FaultyError")

  it.effect("gives the error, also if there is more than one of its kind", () =>
    Effect.gen(function*() {
      assert.strictEqual(yield* PoolAssert.failsWith(Effect.fail(error), "FaultyError"), error)
      const another = new FaultyFactory.FaultyError({ operation: "run", connection: 2, isTransient: false })
      assert.strictEqual(yield* beside(Cause.fail(another)), error)
    }))

  it.effect("does not hide failures beside the error", () =>
    Effect.gen(function*() {
      assert.match(
        (yield* complaint(beside(Cause.die(new Error("a bug")))))!,
        /expected FaultyError, which is there, but nothing can catch it.*a bug/s
      )
      assert.match((yield* complaint(beside(Cause.interrupt(7))))!, /expected FaultyError/)
    }))

  it.effect("does not mistake anything else for the error", () =>
    Effect.gen(function*() {
      const failsWith = (effect: Effect.Effect<void, FaultyFactory.FaultyError>) =>
        complaint(PoolAssert.failsWith(effect, "FaultyError"))
      assert.strictEqual(yield* failsWith(Effect.void), "expected FaultyError, but it succeeded")
      assert.match((yield* failsWith(Effect.die("a bug")))!, /a bug/)
      assert.isDefined(yield* failsWith(Effect.failCause(Cause.empty)))
      const two = Effect.failCause(Cause.combine(Cause.fail(error), Cause.fail(new Cause.TimeoutError("too late"))))
      assert.match((yield* complaint(PoolAssert.failsWith(two, "FaultyError")))!, /too late/)
      assert.match((yield* complaint(PoolAssert.failsWith(two, "TimeoutError")))!, /expected TimeoutError/)
    }))
})

describe("PoolAssert.addUp", () => {
  it.effect("holds while a pool that was resized to less still has leases, if it knows the old max", () =>
    Effect.gen(function*() {
      const { faulty, pool } = yield* make({ max: 4 })
      const leases = yield* Effect.forEach([1, 2, 3], () => borrow(pool))
      yield* pool.resize({ max: 1 })
      yield* PoolAssert.addUp(faulty, pool, { resizedFrom: 4 })
      assert.match((yield* complaint(PoolAssert.addUp(faulty, pool)))!, /more connections than max/)
      assert.match((yield* complaint(PoolAssert.addUp(faulty, pool, { resizedFrom: 2 })))!, /more connections than max/)
      for (const lease of leases) {
        yield* lease.giveBack
        yield* PoolAssert.addUp(faulty, pool, { resizedFrom: 4 })
      }
      yield* PoolAssert.addUp(faulty, pool)
      yield* PoolAssert.nothingLeaked(faulty, pool)
    }))

  it.effect("holds while connections that a resize has evicted are closing beside idle ones", () =>
    Effect.gen(function*() {
      const { faulty, pool } = yield* make({ min: 3, max: 3 })
      yield* faulty.disconnect.hold
      yield* pool.resize({ min: 1, max: 1 })
      yield* settle
      assert.deepStrictEqual(yield* shape(pool), { idle: 1, closing: 2 })
      yield* PoolAssert.addUp(faulty, pool, { resizedFrom: 3 })
    }))

  it.effect("does not hold while connections beyond max are idle", () =>
    Effect.gen(function*() {
      const { faulty, pool } = yield* make({ min: 2, max: 2 })
      const broken = { ...pool, stats: Effect.map(pool.stats, (stats) => ({ ...stats, max: 1 })) }
      assert.match(
        (yield* complaint(PoolAssert.addUp(faulty, broken, { resizedFrom: 2 })))!,
        /idle connections beyond max/
      )
    }))
})

describe("Sweep.run", () => {
  it.effect("names the case in the cause of its failure", () =>
    Effect.gen(function*() {
      const failing = (outcome: Effect.Effect<void, string>) =>
        Effect.exit(Sweep.run({
          setup: Effect.void,
          scenario: () => Effect.yieldNow,
          check: (_, __, { budget, turns }) => budget === 5 && turns === 3 ? outcome : Effect.void
        }))
      for (const [outcome, squashed] of [[Effect.fail("no"), "no"], [Effect.die("a bug"), "a bug"]] as const) {
        const exit = yield* failing(outcome)
        assert.isTrue(Exit.isFailure(exit))
        if (!Exit.isFailure(exit)) continue
        assert.strictEqual(Cause.squash(exit.cause), squashed)
        assert.deepStrictEqual(Context.getOrUndefined(Cause.annotations(exit.cause), Sweep.FailedCut), {
          budget: 5,
          turns: 3
        })
      }
    }))
})
