import { assert, describe, it } from "@effect/vitest"
import { Cause, Context, Deferred, Effect, Exit, Fiber, Latch } from "effect"
import { ConnectionFactory, ConnectionPool, InMemoryConnection } from "effect-connection-pool"
import { PoolAssert } from "effect-connection-pool/testing"
import { TestClock } from "effect/testing"
import { borrow, type Connection, make, settle, shape } from "./support/pools.ts"

const noEffect = 5 as unknown as Effect.Effect<never>

class Service extends Context.Service<Service, number>()("test/lease/Service") {}

describe("a lease ends once, however the body ends", () => {
  const boom = new Error("boom")
  const bodies: Record<string, (connection: Connection) => Effect.Effect<unknown, unknown, never>> = {
    "with success": (connection) => connection.run,
    "with a failure": () => Effect.fail("failed"),
    "with a defect": () => Effect.die(boom),
    "by interrupting itself": () => Effect.interrupt,
    "by throwing": () => {
      throw boom
    },
    "without an effect": () => undefined as never,
    "with a promise": () => Promise.resolve(1) as never,
    "after a step that is no effect": (connection) => Effect.flatMap(connection.run, () => noEffect),
    "with a finalizer that dies": () => Effect.ensuring(Effect.void, Effect.die(boom)),
    "in a scope whose finalizer dies": () => Effect.scoped(Effect.addFinalizer(() => Effect.die(boom)))
  }
  for (const [how, body] of Object.entries(bodies)) {
    it.effect(how, () =>
      Effect.gen(function*() {
        for (const max of [1, 3]) {
          const { faulty, pool } = yield* make({ max })
          for (let use = 0; use < 5; use++) {
            yield* Fiber.await(yield* Effect.forkDetach(pool.use(body)))
          }
          yield* PoolAssert.nothingLeaked(faulty, pool)
        }
      }))
  }

  it.effect("and the caller gets the result of the body", () =>
    Effect.gen(function*() {
      const { pool } = yield* make()
      assert.deepStrictEqual(yield* Effect.exit(pool.use(() => Effect.succeed(1))), Exit.succeed(1))
      assert.deepStrictEqual(yield* Effect.exit(pool.use(() => Effect.fail("no"))), Exit.fail("no"))
      assert.strictEqual(yield* Effect.provideService(pool.use(() => Service), Service, 2), 2)
      assert.deepStrictEqual(yield* Effect.exit(pool.use(() => Effect.die(boom))), Exit.die(boom))
      assert.deepStrictEqual(
        yield* Effect.exit(pool.use((): Effect.Effect<never> => {
          throw boom
        })),
        Exit.die(boom)
      )
      const interrupted = yield* Effect.exit(pool.use(() => Effect.interrupt))
      assert.isTrue(Exit.isFailure(interrupted) && Cause.hasInterruptsOnly(interrupted.cause))
      const given = "the function that was given the connection returned no Effect, but "
      const none = yield* Effect.exit(pool.use(() => null as unknown as Effect.Effect<never>))
      assert.deepStrictEqual(none, Exit.die(new TypeError(`${given}null`)))
      const promise = yield* Effect.exit(pool.use((async () => 1) as unknown as () => Effect.Effect<never>))
      const hint = "an object (Promise): Effect.tryPromise makes an Effect of a promise"
      assert.deepStrictEqual(promise, Exit.die(new TypeError(`${given}${hint}`)))
    }))

  it.effect("and a synchronous function that returns an Effect or a promise is a defect, at once or after a wait", () =>
    Effect.gen(function*() {
      const { faulty, pool } = yield* make({ max: 1 })
      const later: ReadonlyArray<readonly [make: (connection: Connection) => unknown, what: string]> = [
        [(connection) => connection.run, "an Effect, which did not run"],
        [() => Exit.succeed(1), "an Effect, which did not run"],
        // A service is an Effect too, and a class.
        [() => Service, "an Effect, which did not run"],
        [() => Promise.resolve(1), "a promise, which may go on after the lease"]
      ]
      for (const [body, what] of later) {
        const died = Exit.die(new TypeError(`the function given to useSync returned ${what}: use \`use\``))
        const ways = [pool.useSync(body), pool.useSync({ try: body, catch: () => "caught" })]
        for (const way of ways) {
          assert.deepStrictEqual(yield* Effect.exit(way), died)
          const lease = yield* borrow(pool)
          const waiting = yield* Effect.forkChild(Effect.exit(way))
          yield* settle
          yield* lease.giveBack
          assert.deepStrictEqual(yield* Fiber.join(waiting), died)
        }
      }
      for (const value of [null, undefined, 0, "", [], {}, () => 1]) {
        assert.deepStrictEqual(yield* pool.useSync(() => value), value)
      }
      yield* PoolAssert.nothingLeaked(faulty, pool)
    }))

  it.effect("and a finalizer of the caller's that dies does not keep the connection", () =>
    Effect.gen(function*() {
      const { faulty, pool } = yield* make({ max: 1 })
      yield* Effect.exit(Effect.scoped(Effect.andThen(pool.acquire(), Effect.addFinalizer(() => Effect.die(boom)))))
      yield* PoolAssert.nothingLeaked(faulty, pool)
    }))

  it.effect("and an interrupt during its cleanup does not cut that short", () =>
    Effect.gen(function*() {
      const { faulty, pool } = yield* make({ max: 1 })
      const cleaning = yield* Deferred.make<void>()
      const cleaned = yield* Deferred.make<void>()
      const caller = yield* Effect.forkChild(
        pool.use((connection) =>
          Effect.ensuring(
            Effect.never,
            Effect.andThen(Deferred.succeed(cleaning, undefined), Effect.delay(connection.run, "1 second")).pipe(
              Effect.orDie,
              Effect.andThen(Deferred.succeed(cleaned, undefined))
            )
          )
        )
      )
      yield* settle
      const first = yield* Effect.forkChild(Fiber.interrupt(caller))
      yield* Deferred.await(cleaning)
      const second = yield* Effect.forkChild(Fiber.interrupt(caller))
      yield* settle
      assert.deepStrictEqual(yield* shape(pool), { inUse: 1 })
      yield* TestClock.adjust("1 second")
      yield* Fiber.joinAll([first, second])
      assert.isTrue(yield* Deferred.isDone(cleaned))
      yield* PoolAssert.nothingLeaked(faulty, pool)
    }))

  it.effect("and a lease whose fiber the runtime dropped is returned to the waiters", () =>
    Effect.gen(function*() {
      const { faulty, pool } = yield* make({ max: 2 })
      const holder = yield* borrow(pool)
      const caller = yield* borrow(pool)
      const waiting = yield* borrow(pool)
      assert.isUndefined(waiting.connection)
      yield* Effect.forkDetach(Effect.andThen(
        caller.giveBack,
        pool.use(() => Effect.flatMap(Effect.void, () => noEffect))
      ))
      yield* settle
      yield* waiting.giveBack
      yield* settle
      const next = yield* borrow(pool)
      assert.isDefined(next.connection)
      yield* next.giveBack
      yield* holder.giveBack
      yield* PoolAssert.nothingLeaked(faulty, pool)
    }))

  it.effect("and a lost lease is found before the deadline of a waiter, while all others are held", () =>
    Effect.gen(function*() {
      const { pool } = yield* make({ max: 2, acquireTimeout: "5 seconds" })
      yield* borrow(pool)
      yield* Fiber.await(yield* Effect.forkDetach(pool.use(() => Effect.flatMap(Effect.void, () => noEffect))))
      const waiting = yield* borrow(pool)
      yield* TestClock.adjust("5 seconds")
      assert.isDefined(waiting.connection)
      assert.strictEqual((yield* pool.stats).timeouts, 0)
    }))
})

describe("a connection after its lease", () => {
  it.effect("answers with LeaseExpiredError and does nothing", () =>
    Effect.gen(function*() {
      const { faulty, pool } = yield* make({ max: 1 })
      const kept = yield* pool.use((connection) => Effect.succeed(connection))
      const error = yield* PoolAssert.failsWith(kept.run, "LeaseExpiredError")
      assert.strictEqual(
        error.message,
        "run: the lease on this connection of pool \"pool\" has ended (its use or its scope is over, or the pool was shut " +
          "down): use a connection only inside the body that it was given to, or until the scope of its acquire closes, and ask for " +
          "another after that"
      )
      yield* pool.use((connection) =>
        Effect.gen(function*() {
          assert.strictEqual(connection.id, kept.id)
          yield* connection.run
          yield* PoolAssert.failsWith(kept.run, "LeaseExpiredError")
        })
      )
      const log = yield* faulty.log
      assert.strictEqual(log.filter((entry) => entry.operation === "run").length, 1)
    }))

  it.effect("does so too for a fiber that was forked inside and lives on", () =>
    Effect.gen(function*() {
      const { pool } = yield* make({ max: 1 })
      const ended = yield* Deferred.make<void>()
      const left = yield* pool.use((connection) =>
        Effect.forkDetach(Effect.andThen(Deferred.await(ended), connection.run))
      )
      yield* Deferred.succeed(ended, undefined)
      yield* PoolAssert.failsWith(Fiber.join(left), "LeaseExpiredError")
    }))

  it.effect("does so in memory also without a pool, which its error then does not name", () =>
    Effect.gen(function*() {
      const { connect } = InMemoryConnection.factory()
      const kept = yield* Effect.scoped(Effect.tap(connect, (connection) =>
        Effect.gen(function*() {
          yield* connection.set("a", 1)
          // Without a latency it answers at once, without a wait.
          assert.strictEqual(Effect.runSync(connection.get("a")), 1)
        })))
      const error = yield* PoolAssert.failsWith(kept.get("a"), "LeaseExpiredError")
      assert.deepStrictEqual([error.operation, "pool" in error], ["get", false])
      assert.match(error.message, /^get: the lease on this connection has ended/)
    }))

  it.effect("does so too in memory", () =>
    Effect.gen(function*() {
      const pool = yield* ConnectionPool.make({ factory: InMemoryConnection.factory({ latency: "1 millis" }), max: 1 })
      const work = yield* Effect.forkChild(pool.use((connection) =>
        Effect.gen(function*() {
          yield* connection.set("a", 1)
          assert.strictEqual(yield* connection.get("a"), 1)
          assert.isTrue(yield* connection.remove("a"))
          assert.isFalse(yield* connection.remove("a"))
          return connection
        })
      ))
      yield* TestClock.adjust("4 millis")
      const kept = yield* Fiber.join(work)
      for (
        const [operation, late] of [
          ["get", kept.get("a")],
          ["set", kept.set("a", 2)],
          ["remove", kept.remove("a")],
          ["update", kept.update((store) => store.size)]
        ] as const
      ) {
        const failing = yield* Effect.forkChild(
          PoolAssert.failsWith(late as Effect.Effect<unknown, never>, "" as never)
        )
        yield* TestClock.adjust("1 millis")
        assert.isTrue(Exit.isFailure(yield* Fiber.await(failing)))
        const error = yield* Effect.forkChild(
          Effect.flip(late as Effect.Effect<unknown, { readonly operation: string }>)
        )
        yield* TestClock.adjust("1 millis")
        assert.strictEqual((yield* Fiber.join(error)).operation, operation)
      }
    }))
})

describe("a driver's hooks", () => {
  const withHooks = (hooks: Partial<ConnectionFactory.ConnectionFactory<{ readonly id: number }>>) => {
    let opened = 0
    const closed: Array<number> = []
    const factory = ConnectionFactory.make<{ readonly id: number }>({
      connect: Effect.acquireRelease(
        Effect.sync(() => ({ id: ++opened })),
        (connection) => Effect.sync(() => void closed.push(connection.id))
      ),
      ...hooks
    })
    return { factory, closed }
  }

  it.effect("that throw cost the connection, and the caller gets another", () =>
    Effect.gen(function*() {
      let throwing = 1
      const fail = () => {
        if (throwing-- > 0) throw new Error("a bug in the driver")
      }
      for (
        const hook of [
          { beginLease: <C>(connection: C) => (fail(), connection) },
          { isAlive: () => (fail(), true) }
        ]
      ) {
        throwing = 0
        const { closed, factory } = withHooks(hook)
        const pool = yield* ConnectionPool.make({ factory, max: 1, min: 1 })
        throwing = 1
        assert.strictEqual(yield* pool.use((connection) => Effect.succeed(connection.id)), 2)
        assert.deepStrictEqual(closed, [1])
      }
    }))

  it.effect("that throw at the end of a lease cost the connection, and the caller nothing", () =>
    Effect.gen(function*() {
      for (const hook of ["endLease", "needsReset"] as const) {
        let throwing = 1
        const { closed, factory } = withHooks({
          reset: () => Effect.void,
          [hook]: () => {
            if (throwing-- > 0) throw new Error("a bug in the driver")
            return false
          }
        })
        const pool = yield* ConnectionPool.make({ factory, max: 1 })
        assert.strictEqual(yield* pool.use((connection) => Effect.succeed(connection.id)), 1)
        assert.deepStrictEqual(closed, [1])
        assert.strictEqual(yield* pool.use((connection) => Effect.succeed(connection.id)), 2)
        assert.strictEqual((yield* pool.stats).evictions.driver, 1)
      }
    }))

  it.effect("are called in the order of a lease", () =>
    Effect.gen(function*() {
      const { faulty, pool } = yield* make({ max: 1 })
      yield* pool.use((connection) => connection.soil)
      yield* pool.use((connection) => connection.run)
      yield* pool.shutdown()
      assert.deepStrictEqual((yield* faulty.log).map((entry) => entry.operation), [
        "connect",
        "begin lease",
        "run",
        "end lease",
        "reset",
        "begin lease",
        "run",
        "end lease",
        "disconnect"
      ])
    }))

  it.effect("may use the pool themselves", () =>
    Effect.gen(function*() {
      const box: { pool?: ConnectionPool.ConnectionPool<{ readonly id: number }> } = {}
      const seen: Array<number> = []
      let resets = 0
      const { factory } = withHooks({
        isAlive: () => {
          if (box.pool !== undefined) seen.push(Effect.runSync(box.pool.stats).total)
          return true
        },
        needsReset: () => resets++ === 0,
        reset: () => Effect.asVoid(box.pool!.use(() => Effect.void)),
        validate: () => Effect.as(box.pool!.pause, true)
      })
      const pool = box.pool = yield* ConnectionPool.make({ factory, max: 2, drainTimeout: 0 })
      yield* pool.use(() => Effect.void)
      yield* settle
      // The reset waits for a connection, and its own might have been that one.
      assert.deepStrictEqual(yield* shape(pool), { resetting: 1, waiting: 1 })
      yield* TestClock.adjust("1 second")
      assert.deepStrictEqual(yield* shape(pool), { idle: 2 })
      assert.include(seen, 1)
      yield* TestClock.adjust("2 seconds")
      const caller = yield* Effect.forkChild(pool.use((connection) => Effect.succeed(connection.id)))
      yield* settle
      assert.isUndefined(caller.pollUnsafe())
      yield* pool.resume
      assert.strictEqual(yield* Fiber.join(caller), 1)
      // A shutdown from inside a lease interrupts the one who asked for it, like anybody who holds one.
      const last = yield* Fiber.await(yield* Effect.forkDetach(pool.use(() => pool.shutdown())))
      assert.isTrue(Exit.isFailure(last) && Cause.hasInterruptsOnly(last.cause))
    }))

  it.effect("that use the pool in the middle of its work get a defect, and harm nothing", () =>
    Effect.gen(function*() {
      let misuse: (() => unknown) | undefined
      const { factory } = withHooks({
        beginLease: (connection) => {
          misuse?.()
          return connection
        }
      })
      const pool = yield* ConnectionPool.make({ factory, max: 2, min: 1 })
      for (
        const use of [
          () => Effect.runSync(pool.use(() => Effect.void)),
          () => Effect.runSync(pool.useSync(() => 1)),
          () => Effect.runSync(pool.recycle),
          () => Effect.runSync(pool.shutdown())
        ]
      ) {
        let times = 0
        misuse = () => {
          if (times++ === 0) use()
        }
        yield* pool.use(() => Effect.void)
      }
      assert.strictEqual((yield* pool.stats).evictions.driver, 4)
      misuse = undefined
      assert.deepStrictEqual(yield* shape(pool), { idle: 1 })
    }))

  it.effect("that end another lease in the middle of the pool's work have it end after that", () =>
    Effect.gen(function*() {
      let interrupt: (() => void) | undefined
      const { factory } = withHooks({
        beginLease: (connection) => {
          interrupt?.()
          interrupt = undefined
          return connection
        }
      })
      const pool = yield* ConnectionPool.make({ factory, max: 2 })
      const gate = yield* Latch.make()
      const first = yield* Effect.forkDetach(pool.use(() => gate.await))
      const other = yield* Effect.forkDetach(pool.use(() => Effect.never))
      yield* settle
      const next = yield* Effect.forkDetach(pool.use((connection) => Effect.succeed(connection.id)))
      yield* settle
      // While the next is given what the first returns, it could be given what the other loses as well.
      interrupt = () => other.interruptUnsafe()
      yield* gate.open
      yield* Fiber.join(first)
      assert.strictEqual(yield* Fiber.join(next), 1)
      assert.isTrue(Exit.isFailure(yield* Fiber.await(other)))
      const stats = yield* pool.stats
      assert.deepStrictEqual([stats.idle, stats.inUse, stats.returns], [2, 0, 3])
    }))
})
