/** Advisory locks of PostgreSQL, judged by a second connection. */
import { assert } from "@effect/vitest"
import { Deferred, Effect, Fiber } from "effect"
import type { PgPool } from "effect-connection-pool/postgres"
import { PoolAssert } from "effect-connection-pool/testing"
import { describeServer, type Made, make, until } from "../support/postgres.ts"

const { failsWith } = PoolAssert

const locksOf = ({ value }: Made) =>
  value(
    "select count(*)::int4 from pg_locks where locktype = 'advisory' and granted and database = (select oid from pg_database where datname = current_database())"
  )

const waitersOf = ({ value }: Made) =>
  value(
    "select count(*)::int4 from pg_locks where locktype = 'advisory' and not granted and database = (select oid from pg_database where datname = current_database())"
  )

describeServer("an advisory lock", (it) => {
  const keys: ReadonlyArray<readonly [kind: string, key: PgPool.LockKey]> = [
    ["a text", "invoices"],
    ["a number", 7],
    ["a bigint", -(2n ** 63n)],
    ["two numbers", [1, -2]]
  ]
  for (const [kind, key] of keys) {
    it.effect(`lets one effect in at a time, with ${kind} as its key`, () =>
      Effect.gen(function*() {
        const made = yield* make({ max: 6 })
        let [inside, most, runs] = [0, 0, 0]
        const body = Effect.gen(function*() {
          most = Math.max(most, ++inside)
          yield* Effect.sleep(5)
          inside--
          runs++
        })
        yield* Effect.forEach(Array.from({ length: 8 }), () => made.db.lock(key, body), {
          concurrency: "unbounded",
          discard: true
        })
        assert.deepStrictEqual([most, runs, yield* locksOf(made)], [1, 8, 0])
      }))
  }

  it.effect("that is shared lets others in that share it, and nobody else", () =>
    Effect.gen(function*() {
      const made = yield* make({ max: 4 })
      const { db } = made
      const both = yield* Deferred.make<void>()
      let inside = 0
      const body = Effect.suspend(() => ++inside === 2 ? Deferred.succeed(both, undefined) : Effect.void)
      const shared = db.lock("k", Effect.andThen(body, Deferred.await(both)), { shared: true })
      yield* Effect.all([shared, shared], { concurrency: "unbounded" })
      const held = yield* Effect.forkChild(db.lock("k", Effect.never, { shared: true }))
      yield* until("it is held", Effect.map(locksOf(made), (count) => count === 1))
      const exclusive = yield* Effect.forkChild(db.lock("k", Effect.void))
      yield* until("it waits", Effect.map(waitersOf(made), (count) => count === 1))
      yield* Fiber.interrupt(held)
      yield* Fiber.join(exclusive)
    }))

  it.effect("is given back however its effect ends, with nothing of a reset", () =>
    Effect.gen(function*() {
      const made = yield* make({ max: 1 })
      const { backends, db } = made
      assert.strictEqual(yield* db.lock("k", Effect.succeed(1)), 1)
      assert.strictEqual(yield* Effect.flip(db.lock("k", Effect.fail("no"))), "no")
      yield* Effect.exit(db.lock("k", Effect.die("bug")))
      assert.strictEqual(yield* locksOf(made), 0)
      assert.strictEqual((yield* db.stats).primary.resets, 0)
      const running = yield* Effect.forkChild(db.lock("k", Effect.never))
      yield* until("it is held", Effect.map(locksOf(made), (count) => count === 1))
      yield* Fiber.interrupt(running)
      assert.strictEqual(yield* locksOf(made), 0)
      assert.strictEqual((yield* backends).length, 1)
    }))

  it.effect("is not waited for any longer after an interrupt, and not held by nobody", () =>
    Effect.gen(function*() {
      const made = yield* make({ max: 4, cancelTimeout: "5 seconds" })
      const { db } = made
      const holder = yield* Effect.forkChild(db.lock("k", Effect.never))
      yield* until("it is held", Effect.map(locksOf(made), (count) => count === 1))
      const waiter = yield* Effect.forkChild(db.lock("k", Effect.void))
      yield* until("it waits", Effect.map(waitersOf(made), (count) => count === 1))
      yield* Fiber.interrupt(waiter)
      assert.strictEqual(yield* waitersOf(made), 0)
      yield* Fiber.interrupt(holder)
      yield* until("nobody holds it", Effect.map(locksOf(made), (count) => count === 0))
    }))

  it.effect("that is lost with its connection interrupts the effect, and says so", () =>
    Effect.gen(function*() {
      const made = yield* make({ max: 2 })
      const { db, kill } = made
      let isInterrupted = false
      const body = Effect.onInterrupt(Effect.never, () =>
        Effect.sync(() => {
          isInterrupted = true
        }))
      const running = yield* Effect.forkChild(db.lock([1, 2], body))
      yield* until("it is held", Effect.map(locksOf(made), (count) => count === 1))
      yield* kill
      const error = yield* failsWith(Fiber.join(running), "AdvisoryLockLostError")
      assert.deepStrictEqual([error.key, isInterrupted], ["1, 2", true])
      yield* db.lock([1, 2], Effect.void)
    }))

  it.effect("whose server does not answer that it is given back keeps nobody for longer than `controlTimeout`", () =>
    Effect.gen(function*() {
      const made = yield* make({ max: 1, controlTimeout: "100 millis", cancelTimeout: "50 millis" })
      const { db, server } = made
      const frozen = yield* db.write((connection) => connection.processId)
      yield* Effect.scoped(Effect.gen(function*() {
        assert.strictEqual(yield* db.lock("k", Effect.as(server.freeze(frozen), "done")), "done")
        // The server is still frozen.
        assert.notStrictEqual(yield* db.write((connection) => connection.processId), frozen)
      }))
      yield* until("nobody holds it", Effect.map(locksOf(made), (count) => count === 0))
    }))

  it.effect("inside a transaction is held until that ends", () =>
    Effect.gen(function*() {
      const made = yield* make({ max: 2, setup: ["create table t (n int)"] })
      const { db } = made
      yield* db.transaction(Effect.gen(function*() {
        yield* db.lock("k", db.sql`insert into t values (1)`)
        assert.strictEqual(yield* locksOf(made), 1)
      }))
      assert.strictEqual(yield* locksOf(made), 0)
      // It has ended with the transaction, so nothing was left for a reset.
      assert.strictEqual((yield* db.stats).primary.resets, 0)
    }))

  it.effect("with a key that PostgreSQL does not have is refused", () =>
    Effect.gen(function*() {
      const { backends, db } = yield* make({ max: 1 })
      for (const key of ["", "a\0", 0.5, 2 ** 60, 2n ** 63n, [1], [1, 2 ** 31], null, {}]) {
        const error = yield* failsWith(db.lock(key as never, Effect.void), "SqlError")
        assert.include(error.message, "but must be text, a whole number of 64 bits, or two whole numbers of 32 bits")
      }
      const shared = yield* failsWith(db.lock("k", Effect.void, { shared: 1 as never }), "SqlError")
      assert.strictEqual(shared.message, "lock: shared is 1, but must be true or false")
      yield* failsWith(db.lock("k", Effect.void, { timeot: 1 } as never), "PoolConfigError")
      assert.deepStrictEqual(yield* backends, [])
    }))
})
