import { assert, describe, it } from "@effect/vitest"
import { Clock, Effect, Exit, Fiber, Latch, Schedule } from "effect"
import { type Transaction, type TransactionError, Transactor } from "effect-connection-pool"
import { PoolAssert, Sweep } from "effect-connection-pool/testing"
import { TransactionConnection } from "effect/sql/SqlClient"
import type { Connection } from "effect/sql/SqlConnection"
import { TestClock } from "effect/testing"
import { settle } from "./support/pools.ts"
import { dialect, make, makeWith, type Words } from "./support/words.ts"

const { failsWith } = PoolAssert

describe("transactions on any database", () => {
  it.effect("are spelled as its dialect says", () =>
    Effect.gen(function*() {
      const { say, transaction, words } = yield* make
      yield* transaction(Effect.gen(function*() {
        yield* say("a")
        yield* transaction(Effect.andThen(say("b"), transaction(say("c"))))
        yield* Effect.ignore(transaction(Effect.andThen(say("d"), Effect.fail("no"))))
      }))
      assert.deepStrictEqual(
        words.said.splice(0).join(", "),
        "begin strict, a, savepoint 1, b, savepoint 2, c, release 2, release 1, savepoint 1, d, undo 1, release 1, commit"
      )
      yield* Effect.ignore(transaction(Effect.andThen(say("a"), Effect.fail("no")), { isolation: "loose" }))
      assert.deepStrictEqual(words.said.splice(0), ["begin loose", "a", "rollback"])
      yield* transaction(say("a"), { readOnly: true })
      yield* transaction(say("a"), { readOnly: true, isolation: "strict" })
      assert.deepStrictEqual(words.said.splice(0), [
        "begin loose reading",
        "a",
        "commit",
        "begin strict reading",
        "a",
        "commit"
      ])
    }))

  it.effect("take connections with the `acquire` of the pool that they were given, also of a copy", () =>
    Effect.gen(function*() {
      const { pool, words } = yield* make
      const acquired: Array<unknown> = []
      const transactionService = TransactionConnection(3000)
      const { transaction } = Transactor.make({
        name: "copy",
        dialect,
        pool: {
          ...pool,
          acquire: (options) => Effect.tap(pool.acquire(options), () => Effect.sync(() => acquired.push(options)))
        },
        transactionService,
        toSql: () => ({}) as Connection,
        spanAttributes: []
      })
      yield* transaction(Effect.void)
      yield* transaction(Effect.void, { label: "second" })
      assert.deepStrictEqual(acquired, [undefined, { label: "second", timeout: undefined }])
      assert.deepStrictEqual(words.said.splice(0), ["begin strict", "commit", "begin strict", "commit"])
      assert.strictEqual((yield* pool.stats).inUse, 0)
    }))

  it.effect("begin and end with no timer where the database answers at once, although it has a deadline", () =>
    Effect.gen(function*() {
      const isOpen = (open: boolean) => (connection: { isOpen: boolean }) =>
        Effect.sync(() => {
          connection.isOpen = open
        })
      const { transaction } = yield* makeWith({
        controlTimeout: "1 second",
        dialect: { begin: isOpen(true), commit: isOpen(false) }
      })
      const clock = yield* Clock.Clock
      let sleeps = 0
      const counting: Clock.Clock = {
        currentTimeMillisUnsafe: () => clock.currentTimeMillisUnsafe(),
        currentTimeMillis: clock.currentTimeMillis,
        currentTimeNanosUnsafe: () => clock.currentTimeNanosUnsafe(),
        currentTimeNanos: clock.currentTimeNanos,
        monotonicTimeNanosUnsafe: () => clock.monotonicTimeNanosUnsafe(),
        monotonicTimeNanos: clock.monotonicTimeNanos,
        sleep: (duration) => {
          sleeps++
          return clock.sleep(duration)
        }
      }
      const run = transaction(Effect.succeed("done"))
      assert.strictEqual(yield* Effect.provideService(run, Clock.Clock, counting), "done")
      assert.strictEqual(sleeps, 0)
    }))

  it.effect("let a turn be awaited without limit if their pool is not of this library", () =>
    Effect.gen(function*() {
      const { pool } = yield* make
      const transactionService = TransactionConnection(3001)
      const { transaction } = Transactor.make({
        name: "foreign",
        dialect,
        // The keys that are symbols are left out.
        pool: Object.fromEntries(Object.entries(pool)) as unknown as typeof pool,
        transactionService,
        toSql: () => ({}) as Connection,
        spanAttributes: []
      })
      const done = yield* Latch.make()
      const both = Effect.all([transaction(done.await), transaction(Effect.void)], { concurrency: 2 })
      const fiber = yield* Effect.forkChild(transaction(both))
      yield* TestClock.adjust("10 days")
      assert.isUndefined(fiber.pollUnsafe())
      yield* done.open
      yield* Fiber.join(fiber)
    }))

  it.effect("begin, end and undo without being interrupted, and nothing is left open", () =>
    Effect.gen(function*() {
      const seen = new Set<string>()
      const report = yield* Sweep.run({
        setup: make,
        scenario: ({ say, transaction }) =>
          transaction(Effect.gen(function*() {
            yield* say("a")
            yield* Effect.ignore(transaction(Effect.andThen(say("b"), Effect.fail("no"))))
            yield* transaction(say("c"))
          })),
        check: ({ pool, transaction, words }, exit) =>
          Effect.gen(function*() {
            const said = words.said.join(", ")
            seen.add(said)
            // The pool never had to clean up, and what was begun was ended, once.
            assert.notInclude(said, "reset")
            if (said !== "") {
              assert.match(said, /^begin strict(?:, (?!begin|commit|rollback)[^,]+)*, (?:commit|rollback)$/)
            }
            const savepoints = said.match(/savepoint/g) ?? []
            // One that the interrupt of the whole has ended is gone with the whole.
            assert.isAtMost(savepoints.length - (said.match(/release/g) ?? []).length, 0)
            if (Exit.isSuccess(exit)) {
              assert.include(said, "commit")
            }
            assert.isFalse(words.isOpen)
            assert.strictEqual((yield* pool.stats).inUse, 0)
            yield* Effect.orDie(transaction(Effect.void))
          }),
        turns: [0, 40],
        budgets: [3, 30]
      })
      assert.isAbove(report.interrupted, 300)
      assert.isAbove(seen.size, 5)
      assert.isTrue(
        [...seen].some((said) => said.endsWith("rollback")) && [...seen].some((said) => said.endsWith("commit"))
      )
    }), 120_000)

  it.effect("let the statements of their fibers in one by one", () =>
    Effect.gen(function*() {
      const { say, transaction, words } = yield* make
      yield* transaction(Effect.all([say("a"), transaction(say("b")), say("c"), transaction(say("d"))], {
        concurrency: "unbounded"
      }))
      assert.deepStrictEqual(
        words.said.join(", "),
        "begin strict, a, savepoint 1, b, release 1, c, savepoint 1, d, release 1, commit"
      )
    }))

  it.effect("are run again after a deadlock, if they may", () =>
    Effect.gen(function*() {
      const { say, transaction, words } = yield* make
      words.failing.push("deadlock", "deadlock")
      yield* transaction(say("deadlock"), { retry: Schedule.recurs(2) })
      assert.deepStrictEqual(
        words.said.join(", "),
        "begin strict, deadlock, rollback, begin strict, deadlock, rollback, begin strict, deadlock, commit"
      )
    }))

  it.effect("fail with the first failure", () =>
    Effect.gen(function*() {
      const { pool, say, transaction, words } = yield* make
      const failed = (word: string, tag: TransactionError.TransactionError["_tag"]) =>
        Effect.gen(function*() {
          words.failing.push(word)
          const error = yield* failsWith(transaction(Effect.andThen(say("a"), transaction(say("b")))), tag)
          assert.isFalse(words.isOpen)
          return error as { readonly cause?: unknown }
        })
      yield* failed("begin strict", "TransactionBeginError")
      yield* failed("savepoint 1", "TransactionBeginError")
      yield* failed("release 1", "TransactionCommitError")
      yield* failed("commit", "TransactionCommitError")
      assert.deepStrictEqual(
        words.said.splice(0).join(", "),
        "begin strict, " +
          "begin strict, a, savepoint 1, rollback, " +
          "begin strict, a, savepoint 1, b, release 1, undo 1, release 1, rollback, " +
          "begin strict, a, savepoint 1, b, release 1, commit, rollback"
      )
      yield* failsWith(transaction(Effect.andThen(say("lose"), Effect.exit(say("a")))), "TransactionLostError")
      assert.deepStrictEqual(words.said.splice(0), ["begin strict", "lose"])
      assert.strictEqual((yield* pool.stats).connects, 1)
    }))

  it.effect("fail to commit if the inner transaction of a fiber that outlives them cannot be undone", () =>
    Effect.gen(function*() {
      const { say, transaction, words } = yield* make
      const inside = yield* Latch.make()
      words.failing.push("undo 1")
      const error = yield* failsWith(
        transaction(Effect.gen(function*() {
          yield* Effect.forkDetach(transaction(Effect.andThen(say("a"), Effect.andThen(inside.open, Effect.never))))
          yield* inside.await
        })),
        "TransactionCommitError"
      )
      assert.include(error.message, "no undo 1")
      assert.deepStrictEqual(words.said, ["begin strict", "savepoint 1", "a", "undo 1", "rollback"])
    }))

  it.effect("inside another transaction fail in the same way, and leave nothing of their work", () =>
    Effect.gen(function*() {
      const { say, transaction, words } = yield* make
      const inside = yield* Latch.make()
      words.failing.push("undo 2")
      yield* transaction(Effect.gen(function*() {
        const inner = transaction(Effect.gen(function*() {
          yield* say("a")
          yield* Effect.forkDetach(transaction(Effect.andThen(say("b"), Effect.andThen(inside.open, Effect.never))))
          yield* inside.await
        }))
        assert.strictEqual((yield* failsWith(inner, "TransactionCommitError")).depth, 1)
        yield* say("c")
      }))
      assert.deepStrictEqual(
        words.said.join(", "),
        "begin strict, savepoint 1, a, savepoint 2, b, undo 2, undo 1, release 1, c, commit"
      )
    }))

  it.effect("give no connection to a fiber outside a transaction", () =>
    Effect.gen(function*() {
      const { connectionOf, transaction } = yield* make
      const look = Effect.withFiber((fiber) => Effect.succeed(connectionOf(fiber)?.mode))
      assert.isUndefined(yield* look)
      assert.deepStrictEqual(yield* transaction(look), { isolation: "strict", readOnly: false })
      const fiber = yield* transaction(Effect.forkDetach(Effect.andThen(settle, look)))
      // It still has one, which refuses whatever is asked of it.
      assert.isDefined(yield* Fiber.join(fiber))
    }))
})

describe("the connection of `effect/sql` in a transaction", () => {
  const makeOpen = Effect.fnUntraced(function*(toSql: () => Connection = () => ({}) as Connection) {
    const connections: Array<Transaction.TransactionConnection<Words>> = []
    const made = yield* makeWith({
      pool: { max: 2, acquireTimeout: "1 second" },
      toSql: (connection) => {
        connections.push(connection)
        return toSql()
      }
    })
    /** A statement on the connection of a transaction, the first being 0. Gives the connection that it ran on. */
    const sayOn = (transaction: number, word: string) =>
      Effect.suspend(() => connections[transaction]!.steps(word, (words) => Effect.as(words.say(word), words)))
    return { ...made, sayOn }
  })

  it.effect("runs a statement at the level of the fiber that asks", () =>
    Effect.gen(function*() {
      const { sayOn, transaction, words } = yield* makeOpen()
      yield* transaction(transaction(Effect.gen(function*() {
        // This fiber has not opened the inner transaction, but was begun in it.
        yield* Effect.forkChild(sayOn(0, "inside"))
        yield* settle
        assert.deepStrictEqual(words.said, ["begin strict", "savepoint 1", "inside"])
      })))
    }))

  it.effect("lets a fiber from outside wait for its turn at the outermost level", () =>
    Effect.gen(function*() {
      const { sayOn, transaction, words } = yield* makeOpen()
      yield* transaction(Effect.gen(function*() {
        yield* Effect.promise(() => Effect.runPromise(sayOn(0, "outside")))
        const fiber = yield* transaction(Effect.gen(function*() {
          const fiber = Effect.runFork(sayOn(0, "later"))
          yield* settle
          return fiber
        }))
        yield* Fiber.join(fiber)
      }))
      assert.strictEqual(words.said.join(", "), "begin strict, outside, savepoint 1, release 1, later, commit")
    }))

  it.effect("runs the statement of a fiber that is in another transaction, but not in that one", () =>
    Effect.gen(function*() {
      const { sayOn, transaction } = yield* makeOpen()
      const gate = yield* Latch.make()
      const first = yield* Effect.forkChild(transaction(gate.await))
      yield* settle
      const [there, here] = yield* transaction(Effect.all([sayOn(0, "there"), sayOn(1, "here")]))
      assert.isTrue(there.isOpen)
      assert.isFalse(here.isOpen)
      assert.notStrictEqual(there, here)
      yield* gate.open
      yield* Fiber.join(first)
    }))

  it.effect("refuses every statement if it could not be made", () =>
    Effect.gen(function*() {
      const { sayOn, transaction, words } = yield* makeOpen(() => {
        throw new Error("no driver")
      })
      yield* failsWith(transaction(Effect.void), "TransactionBeginError")
      yield* failsWith(sayOn(0, "late"), "TransactionEndedError")
      assert.deepStrictEqual(words.said, ["begin strict", "rollback"])
    }))

  it.effect("tells whether its transaction is open, without a statement", () =>
    Effect.gen(function*() {
      const { connectionOf, transaction, words } = yield* make
      const connection = Effect.withFiber((fiber) => Effect.succeed(connectionOf(fiber)!))
      const isOpen = Effect.flatMap(connection, (connection) => connection.assertOpen("a look"))
      const ended = yield* transaction(Effect.gen(function*() {
        yield* isOpen
        yield* transaction(isOpen)
        yield* isOpen
        return yield* connection
      }))
      const { operation } = yield* failsWith(ended.assertOpen("a late look"), "TransactionEndedError")
      assert.strictEqual(operation, "a late look")
      assert.deepStrictEqual(words.said, ["begin strict", "savepoint 1", "release 1", "commit"])
    }))
})
