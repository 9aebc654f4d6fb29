import { assert, describe, it } from "@effect/vitest"
import { Cause, Data, Effect, Exit, Fiber, Schedule } from "effect"
import { TransactionError } from "effect-connection-pool"
import { PoolAssert } from "effect-connection-pool/testing"
import { TestClock } from "effect/testing"
import { settle } from "./support/pools.ts"
import { makeWith } from "./support/words.ts"

const { failsWith } = PoolAssert
const { rollbackFailureOf } = TransactionError

class Refused extends Data.TaggedError("Refused") {}

/** A database beyond a network: a broken connection during the commit leaves its outcome unknown. */
const remote = {
  commitOutcome: (error: { readonly reason: { readonly _tag: string } }) =>
    error.reason._tag === "ConnectionError" ? "unknown" as const : "rolled back" as const
}

describe("a transaction whose rollback fails as well", () => {
  it.effect("fails with the first error, which can be caught, and has the other attached", () =>
    Effect.gen(function*() {
      const { say, transaction, words } = yield* makeWith({})
      words.failing.push("rollback")
      const refused = new Refused()
      const failed = transaction(Effect.andThen(say("a"), Effect.fail(refused)))
      const caught = yield* Effect.catchTag(failed, "Refused", (error) => Effect.succeed(error))
      assert.strictEqual(caught, refused)
      assert.strictEqual(
        rollbackFailureOf(caught)!.message,
        "pool \"words\": could not roll back the transaction, " +
          "so its connection is closed: no rollback"
      )
      assert.isUndefined(rollbackFailureOf(new Refused()))
      // A cause that is made of the failure again has no annotation.
      const again = Cause.combine(Cause.die("a bug"), Cause.combine(Cause.fail("no object"), Cause.fail(caught)))
      assert.strictEqual(rollbackFailureOf(again), rollbackFailureOf(caught))
      for (const other of [Cause.fail(new Refused()), Cause.die(caught), Cause.empty, "no object", null, undefined]) {
        assert.isUndefined(rollbackFailureOf(other))
      }
    }))

  it.effect("is run again by `retry`", () =>
    Effect.gen(function*() {
      const { say, transaction, words } = yield* makeWith({})
      words.failing.push("deadlock", "rollback")
      yield* transaction(say("deadlock"), { retry: Schedule.recurs(1) })
      assert.deepStrictEqual(words.stored, ["deadlock"])
    }))

  it.effect("has it attached to its cause, also where that is a defect, an interruption or no object", () =>
    Effect.gen(function*() {
      const { say, transaction, words } = yield* makeWith({})
      for (const end of [Effect.fail("no"), Effect.die("no"), Effect.interrupt]) {
        words.failing.push("rollback")
        const exit = yield* Effect.exit(transaction(Effect.andThen(say("a"), end)))
        if (Exit.isSuccess(exit)) return assert.fail("it succeeded")
        assert.strictEqual(exit.cause.reasons.length, 1)
        assert.include(rollbackFailureOf(exit.cause)!.message, "no rollback")
        // What was known stays known, whatever is done to the cause.
        const mapped = yield* Effect.exit(Effect.mapError(exit, () => "other"))
        assert.include(rollbackFailureOf((mapped as Exit.Failure<unknown, string>).cause)!.message, "no rollback")
      }
    }))

  it.effect("keeps that failure where it is an inner one, and the outer one is rolled back", () =>
    Effect.gen(function*() {
      const { say, transaction, words } = yield* makeWith({})
      for (const end of [Effect.fail(new Refused()), Effect.die("no")]) {
        words.failing.push("undo 1")
        const exit = yield* Effect.exit(transaction(transaction(Effect.andThen(say("a"), end))))
        if (Exit.isSuccess(exit)) return assert.fail("it succeeded")
        assert.include(rollbackFailureOf(exit.cause)!.message, "no undo 1")
        const error = Cause.squash(exit.cause)
        if (error instanceof Refused) assert.include(rollbackFailureOf(error)!.message, "no undo 1")
        assert.strictEqual(words.said.at(-1), "rollback")
      }
    }))

  it.effect("may be one of its levels, or a driver that dies of it", () =>
    Effect.gen(function*() {
      const { pool, say, transaction, words } = yield* makeWith({})
      words.dying.push("undo 1")
      const lost = yield* failsWith(
        transaction(Effect.gen(function*() {
          const refused = new Refused()
          const inner = transaction(Effect.andThen(say("a"), Effect.fail(refused)))
          assert.strictEqual(yield* Effect.catchTag(inner, "Refused", (error) => Effect.succeed(error)), refused)
          assert.include(rollbackFailureOf(refused)!.message, "died of undo 1")
        })),
        "TransactionLostError"
      )
      assert.include(lost.message, "its driver died")
      words.dying.push("rollback")
      const refused = yield* failsWith(transaction(Effect.andThen(say("b"), Effect.fail(new Refused()))), "Refused")
      assert.include(rollbackFailureOf(refused)!.message, "died of rollback")
      assert.deepStrictEqual(words.stored, [])
      assert.strictEqual((yield* pool.stats).evictions.invalidated, 2)
    }))
})

describe("a commit whose answer is lost", () => {
  it.effect("has an unknown outcome, says so, and is not run again", () =>
    Effect.gen(function*() {
      const { pool, say, transaction, withTransaction, words } = yield* makeWith({
        dialect: { ...remote, isCurable: () => true }
      })
      words.unheard.push("commit")
      const error = yield* failsWith(
        transaction(say("a"), { retry: Schedule.recurs(3) }),
        "TransactionOutcomeUnknownError"
      )
      assert.strictEqual(
        error.message,
        "pool \"words\": the commit was sent, but not answered, so the transaction is either committed or rolled back; " +
          "look in the database before you run it again, or make it idempotent: no commit"
      )
      assert.strictEqual(error.cause.reason._tag, "ConnectionError")
      assert.isFalse(TransactionError.isCurable(error))
      assert.isTrue(TransactionError.isTransactionError(error))
      assert.deepStrictEqual(words.stored, ["a"])
      assert.deepStrictEqual(words.said.splice(0), ["begin strict", "a", "commit"])
      assert.strictEqual((yield* pool.stats).evictions.invalidated, 1)
      // A client of `effect/sql` must not run it again either.
      words.unheard.push("commit")
      const plain = yield* failsWith(withTransaction(say("b")), "SqlError")
      assert.isFalse(plain.isRetryable)
      assert.instanceOf(plain.reason.cause, TransactionError.TransactionOutcomeUnknownError)
      assert.isFalse(TransactionError.isCurable(plain))
      assert.deepStrictEqual(words.stored, ["a", "b"])
    }))

  it.effect("is never run again, however it is wrapped by a body around it", () =>
    Effect.gen(function*() {
      const { say, transaction, words } = yield* makeWith({ dialect: remote })
      const other = yield* makeWith({ dialect: { isCurable: () => true } })
      words.unheard.push("commit")
      let runs = 0
      const body = Effect.suspend(() => {
        runs++
        return Effect.mapError(transaction(say("a")), (cause) => new Error("booking", { cause }))
      })
      const error = yield* Effect.flip(other.transaction(body, { retry: Schedule.recurs(3) }))
      assert.strictEqual((error as Error).message, "booking")
      assert.strictEqual(runs, 1)
    }))

  it.effect("is a failed commit if the dialect knows that, and is rolled back", () =>
    Effect.gen(function*() {
      const { say, transaction, words } = yield* makeWith({ dialect: remote })
      words.failing.push("commit")
      yield* failsWith(transaction(say("a")), "TransactionCommitError")
      assert.deepStrictEqual(words.said, ["begin strict", "a", "commit", "rollback"])
      assert.deepStrictEqual(words.stored, [])
    }))
})

describe("a commit whose connection the driver has taken away", () => {
  it.effect("is a loss, with the reason of the driver, and not a commit that has failed", () =>
    Effect.gen(function*() {
      const { say, transaction, words } = yield* makeWith({ dialect: { reasonOfLoss: () => "its file was replaced" } })
      words.failing.push("commit")
      const lost = yield* failsWith(transaction(say("a")), "TransactionLostError")
      assert.strictEqual(lost.reason, "its file was replaced")
      assert.include(lost.message, "its file was replaced")
      assert.deepStrictEqual(words.stored, [])
    }))
})

describe("`retry`", () => {
  it.effect("runs a transaction again only if the dialect calls its error curable", () =>
    Effect.gen(function*() {
      const { say, transaction, words } = yield* makeWith({
        dialect: { isCurable: (error) => error.reason._tag === "ConnectionError" }
      })
      words.unheard.push("a")
      yield* transaction(say("a"), { retry: Schedule.recurs(1) })
      assert.deepStrictEqual(words.stored, ["a"])
      words.failing.push("b")
      yield* failsWith(transaction(say("b"), { retry: Schedule.recurs(1) }), "SqlError")
      const plain = yield* makeWith({})
      plain.words.unheard.push("a")
      yield* failsWith(plain.transaction(plain.say("a"), { retry: Schedule.recurs(1) }), "SqlError")
    }))
})

describe("the error of a begin or a commit", () => {
  it.effect("says that a rerun may help where the dialect says so, as `retry` sees it", () =>
    Effect.gen(function*() {
      const { say, transaction, withTransaction, words } = yield* makeWith({
        dialect: { isCurable: (error) => error.message === "no commit" || error.message === "no savepoint 1" }
      })
      words.failing.push("commit")
      const committed = yield* failsWith(transaction(say("a")), "TransactionCommitError")
      assert.deepStrictEqual([committed.isRetryable, TransactionError.isCurable(committed)], [true, true])
      words.failing.push("commit")
      assert.isTrue(TransactionError.isCurable(yield* failsWith(withTransaction(say("a")), "SqlError")))
      words.failing.push("savepoint 1")
      const inner = yield* transaction(failsWith(transaction(say("a")), "TransactionBeginError"))
      assert.isTrue(inner.isRetryable)
      words.failing.push("begin strict")
      const begun = yield* failsWith(transaction(say("a")), "TransactionBeginError")
      assert.deepStrictEqual([begun.isRetryable, TransactionError.isCurable(begun)], [false, false])
    }))
})

describe("a database that does not answer the begin or the end of a transaction", () => {
  const make = makeWith({ controlTimeout: "1 second" })
  type World = Effect.Success<typeof make>
  const nested = ({ say, transaction }: World) =>
    transaction(Effect.andThen(say("a"), Effect.exit(transaction(say("b")))))

  /** Runs it until the deadline, and gives how it ends. */
  const until = <A, E>(effect: Effect.Effect<A, E>) =>
    Effect.gen(function*() {
      const fiber = yield* Effect.forkChild(effect)
      yield* settle
      yield* TestClock.adjust(999)
      assert.isUndefined(fiber.pollUnsafe())
      yield* TestClock.adjust(1)
      return yield* Fiber.join(fiber)
    })

  /** The connection is gone, and the next caller gets another. */
  const goesOn = ({ pool, say, transaction, words }: World) =>
    Effect.gen(function*() {
      yield* transaction(say("next"))
      const { connects, evictions, inUse } = yield* pool.stats
      assert.deepStrictEqual({ connects, invalidated: evictions.invalidated, inUse }, {
        connects: 2,
        invalidated: 1,
        inUse: 0
      })
      assert.strictEqual(words.stored.at(-1), "next")
      assert.isFalse(words.isOpen)
    })

  it.effect("costs its connection, and frees the caller: a begin fails", () =>
    Effect.gen(function*() {
      const world = yield* make
      world.words.hanging.push("begin strict")
      const error = yield* until(failsWith(world.transaction(world.say("a")), "TransactionBeginError"))
      assert.strictEqual(
        error.message,
        "pool \"words\": could not begin the transaction: begin was not answered within 1000 ms (controlTimeout), " +
          "so its connection is closed"
      )
      assert.isTrue(error.isRetryable)
      assert.isTrue(TransactionError.isTransactionError(error))
      yield* goesOn(world)
    }))

  it.effect("a begin is tried again by `retry`, on another connection", () =>
    Effect.gen(function*() {
      const world = yield* make
      world.words.hanging.push("begin strict")
      yield* until(world.transaction(world.say("a"), { retry: Schedule.recurs(1) }))
      assert.deepStrictEqual(world.words.stored, ["a"])
    }))

  it.effect("a commit has an unknown outcome", () =>
    Effect.gen(function*() {
      const world = yield* make
      world.words.hanging.push("commit")
      const error = yield* until(failsWith(
        world.transaction(world.say("a"), { retry: Schedule.recurs(3) }),
        "TransactionOutcomeUnknownError"
      ))
      assert.include(error.message, "commit was not answered within 1000 ms")
      yield* goesOn(world)
    }))

  it.effect("a rollback is no reason to lose the failure of the body", () =>
    Effect.gen(function*() {
      const world = yield* make
      world.words.hanging.push("rollback")
      const body = Effect.andThen(world.say("a"), Effect.fail(new Refused()))
      const error = yield* until(failsWith(world.transaction(body), "Refused"))
      assert.include(rollbackFailureOf(error)!.message, "rollback was not answered within 1000 ms")
      yield* goesOn(world)
    }))

  for (
    const [what, tag] of [
      ["savepoint 1", "TransactionBeginError"],
      ["release 1", "TransactionCommitError"]
    ] as const
  ) {
    it.effect(`a ${what} costs the transaction around it, whatever that makes of the error`, () =>
      Effect.gen(function*() {
        const world = yield* make
        const { say, transaction, words } = world
        words.hanging.push(what)
        const body = Effect.gen(function*() {
          yield* say("a")
          assert.strictEqual((yield* failsWith(transaction(say("b")), tag)).depth, 1)
          yield* failsWith(say("c"), "TransactionLostError")
        })
        const error = yield* until(failsWith(transaction(body), "TransactionLostError"))
        const operation = what.split(" ")[0]
        assert.include(error.message, `${operation} was not answered within 1000 ms (controlTimeout)`)
        assert.notInclude(words.said, "rollback")
        yield* goesOn(world)
      }))
  }

  it.effect("an undo of a savepoint does so as well, and keeps the failure of its body", () =>
    Effect.gen(function*() {
      const world = yield* make
      const { say, transaction, words } = world
      words.hanging.push("undo 1")
      const body = Effect.gen(function*() {
        const inner = transaction(Effect.andThen(say("b"), Effect.fail(new Refused())))
        const error = yield* failsWith(inner, "Refused")
        assert.include(rollbackFailureOf(error)!.message, "rollback to savepoint was not answered")
      })
      yield* until(failsWith(transaction(body), "TransactionLostError"))
      yield* goesOn(world)
    }))

  it.effect("lets the caller's own timeout and interrupt through at the deadline", () =>
    Effect.gen(function*() {
      for (const word of ["begin strict", "commit", "rollback", "savepoint 1", "release 1"]) {
        const world = yield* make
        world.words.hanging.push(word)
        const body = word === "rollback"
          ? world.transaction(Effect.andThen(world.say("a"), Effect.fail(new Refused())))
          : nested(world)
        const fiber = yield* Effect.forkChild(Effect.exit(Effect.timeout(body, 500)))
        yield* settle
        yield* TestClock.adjust(999)
        assert.isUndefined(fiber.pollUnsafe())
        yield* TestClock.adjust(1)
        const exit = yield* Fiber.join(fiber)
        assert.isTrue(Exit.isFailure(exit) && Cause.squash(exit.cause) instanceof Cause.TimeoutError, word)
        yield* goesOn(world)
      }
    }))

  it.effect("is interrupted at the deadline if it can be", () =>
    Effect.gen(function*() {
      const interrupted: Array<string> = []
      const hangs = (what: string) => Effect.onInterrupt(Effect.never, () => Effect.sync(() => interrupted.push(what)))
      for (const what of ["commit", "rollback", "savepoint", "release", "rollbackTo"] as const) {
        const world = yield* makeWith({ controlTimeout: "1 second", dialect: { [what]: () => hangs(what) } })
        const body = what.startsWith("rollback") ? Effect.fail(new Refused()) : Effect.void
        yield* until(Effect.exit(
          what === "commit" || what === "rollback"
            ? world.transaction(body)
            : world.transaction(world.transaction(body))
        ))
        assert.strictEqual(interrupted.at(-1), what)
      }
      // Of a begin, only what it has marked.
      for (const isMarked of [true, false]) {
        const world = yield* makeWith({
          controlTimeout: "1 second",
          dialect: { begin: (_, __, ___, restore) => isMarked ? restore(hangs("marked")) : hangs("begin") }
        })
        yield* until(Effect.exit(world.transaction(Effect.void)))
        assert.strictEqual(interrupted.at(-1), "marked")
      }
    }))

  it.effect("does not keep a caller that is interrupted from a database that answers in time", () =>
    Effect.gen(function*() {
      const { pool, say, transaction, words } = yield* make
      const fiber = yield* Effect.forkChild(transaction(say("a")))
      yield* Effect.yieldNow
      assert.deepStrictEqual(words.said, ["begin strict"])
      yield* Fiber.interrupt(fiber)
      // Begun all the same, so it was ended.
      assert.deepStrictEqual(words.said, ["begin strict", "rollback"])
      assert.strictEqual((yield* pool.stats).evictions.invalidated, 0)
    }))

  it.effect("has a wait of its own in a begin interrupted at once", () =>
    Effect.gen(function*() {
      const { pool, say, transaction, words } = yield* makeWith({
        controlTimeout: "1 second",
        dialect: { begin: (words, _, __, restore) => Effect.andThen(words.say("begin"), restore(Effect.never)) }
      })
      const fiber = yield* Effect.forkChild(transaction(say("a")))
      for (let turn = 0; turn < 5; turn++) yield* Effect.yieldNow
      yield* Fiber.interrupt(fiber)
      assert.strictEqual((yield* pool.stats).inUse, 0)
      assert.deepStrictEqual(words.stored, [])
    }))

  it.effect("has no deadline of zero, or of no time at all", () =>
    Effect.gen(function*() {
      for (const controlTimeout of [0, -1, NaN]) {
        const exit = yield* Effect.exit(makeWith({ controlTimeout }))
        assert.include(String(exit), "must be a duration above zero")
      }
    }))
})
