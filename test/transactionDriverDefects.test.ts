import { assert, describe, it } from "@effect/vitest"
import { Cause, Data, Effect, Exit, Fiber, Schedule, Tracer } from "effect"
import { TransactionError } from "effect-connection-pool"
import { PoolAssert } from "effect-connection-pool/testing"
import { settle } from "./support/pools.ts"
import { dialect, makeWith, type Options } from "./support/words.ts"

const { failsWith } = PoolAssert
const { rollbackFailureOf } = TransactionError

class Refused extends Data.TaggedError("Refused") {}

/** The ways in which a function of a driver goes wrong without a failing effect. */
const ways: Record<string, () => Effect.Effect<never>> = {
  "throws": () => {
    throw new Error("no driver")
  },
  "gives an effect that dies": () => Effect.die(new Error("no driver")),
  "gives an effect that interrupts itself": () => Effect.interrupt,
  "gives no effect": () => undefined as never
}

const throws = () => {
  throw new Error("no driver")
}

/** How an inner transaction ends when a function of the dialect goes wrong, and what the error calls the function. */
const expected = {
  savepoint: ["TransactionBeginError", "savepoint"],
  release: ["TransactionCommitError", "release"],
  rollbackTo: ["Refused", "rollback to savepoint"]
} as const

/** Runs in a transaction: each of the two bodies ends, and no connection is lent with a transaction open on it. */
const withDialect = (dialect: Options["dialect"], rest: Omit<Options, "dialect"> = {}) =>
  Effect.map(makeWith({ ...rest, dialect: dialect! }), (made) => ({
    ...made,
    assertClean: made.pool.use((connection) =>
      Effect.sync(() => {
        assert.isFalse(connection.isOpen)
        assert.deepStrictEqual(made.words.connections.size, 1)
      })
    )
  }))

for (const [how, fault] of Object.entries(ways)) {
  describe(`a function of a dialect that ${how}`, () => {
    it.effect("fails the transaction that it should begin, and costs the connection", () =>
      Effect.gen(function*() {
        const { assertClean, pool, say, transaction } = yield* withDialect({
          begin: (words) => {
            words.isOpen = true
            return fault()
          }
        })
        const ended = yield* Effect.exit(
          Effect.catchTag(transaction(say("a")), "TransactionBeginError", Effect.succeed)
        )
        // An interrupt while a transaction begins may come from the application: it stays one.
        if (how.includes("interrupts")) assert.isTrue(Exit.isFailure(ended) && Cause.hasInterruptsOnly(ended.cause))
        else {
          const caught = yield* ended
          assert.strictEqual(caught!.depth, 0)
          const why = how.includes("no effect")
            ? "TypeError: the dialect's function for begin returned no Effect"
            : "Error: no driver"
          assert.include(caught!.message, `the driver died of begin, so its connection is closed: ${why}`)
        }
        yield* assertClean
        assert.strictEqual((yield* pool.stats).evictions.invalidated, 1)
      }))

    it.effect("leaves the outcome of a commit unknown, is not run again, and costs the connection", () =>
      Effect.gen(function*() {
        const { assertClean, pool, say, transaction, words } = yield* withDialect({ commit: fault })
        const run = transaction(say("a"), { retry: Schedule.recurs(3) })
        const caught = yield* Effect.catchTag(run, "TransactionOutcomeUnknownError", Effect.succeed)
        assert.include(caught!.message, "the driver died of commit")
        assert.deepStrictEqual(words.said, ["begin strict", "a"])
        yield* assertClean
        assert.strictEqual((yield* pool.stats).evictions.invalidated, 1)
      }))

    it.effect("leaves the error of the body what it is when it should roll back, and costs the connection", () =>
      Effect.gen(function*() {
        const { assertClean, pool, say, transaction } = yield* withDialect({ rollback: fault })
        const refused = new Refused()
        const run = transaction(Effect.andThen(say("a"), Effect.fail(refused)))
        assert.strictEqual(yield* Effect.catchTag(run, "Refused", Effect.succeed), refused)
        assert.include(rollbackFailureOf(refused)!.message, "the driver died of rollback")
        yield* assertClean
        assert.strictEqual((yield* pool.stats).evictions.invalidated, 1)
      }))

    for (const which of ["savepoint", "release", "rollbackTo"] as const) {
      it.effect(`fails a savepoint, and the transaction around it, as its ${which}`, () =>
        Effect.gen(function*() {
          const { assertClean, pool, say, transaction, words } = yield* withDialect({ [which]: fault })
          const refused = new Refused()
          const inner = transaction(
            Effect.andThen(say("b"), which === "rollbackTo" ? Effect.fail(refused) : Effect.succeed(undefined))
          )
          const run = transaction(Effect.gen(function*() {
            yield* say("a")
            const error = yield* Effect.flip(inner)
            const [tag, operation] = expected[which]
            assert.strictEqual(error._tag, tag)
            const shown = which === "rollbackTo" ? rollbackFailureOf(refused)! : error
            assert.include(shown.message, `the driver died of ${operation}, so its connection is closed`)
          }))
          const lost = yield* Effect.catchTag(run, "TransactionLostError", Effect.succeed)
          assert.include(lost!.message, "its driver died")
          assert.notInclude(words.said, "commit")
          yield* assertClean
          assert.strictEqual((yield* pool.stats).evictions.invalidated, 1)
        }))
    }
  })
}

describe("a begin of a dialect that dies while its caller is interrupted", () => {
  it.effect("costs the connection, though no transaction is open on it", () =>
    Effect.gen(function*() {
      const { assertClean, pool, say, transaction } = yield* withDialect({
        begin: (_, __, ___, restore) =>
          Effect.onInterrupt(restore(Effect.never), () => Effect.die(new Error("no driver")))
      })
      const fiber = yield* Effect.forkChild(transaction(say("a")))
      yield* settle
      assert.strictEqual((yield* pool.stats).inUse, 1)
      yield* Fiber.interrupt(fiber)
      assert.strictEqual((yield* pool.stats).evictions.invalidated, 1)
      yield* assertClean
    }))
})

describe("a begin of a dialect that evaluates something that is no Effect", () => {
  for (const [where, options] of [["at once", {}], ["after a wait in line", { label: "queued" }]] as const) {
    it.effect(`frees the connection, which it costs if a transaction is open there (${where})`, () =>
      Effect.gen(function*() {
        for (const isOpen of [false, true]) {
          let isFaulty = true
          const { pool, say, transaction, words } = yield* withDialect({
            begin: (connection, mode, ...rest) => {
              if (!isFaulty) return dialect.begin(connection, mode, ...rest)
              isFaulty = false
              connection.isOpen = isOpen
              return Effect.flatMap(Effect.void, () => undefined as never)
            }
          })
          const holder = where === "at once" ? undefined : yield* Effect.forkChild(pool.use(() => settle))
          if (holder !== undefined) yield* Effect.yieldNow
          const fiber = yield* Effect.forkDetach(transaction(say("a"), options))
          yield* settle
          assert.isDefined(fiber.pollUnsafe())
          assert.strictEqual((yield* pool.stats).inUse, 0)
          if (holder !== undefined) assert.strictEqual((yield* pool.stats).checkouts, 2)
          yield* transaction(say("b"))
          assert.deepStrictEqual(words.stored, ["b"])
          assert.deepStrictEqual(words.said, ["begin strict", "b", "commit"])
          assert.strictEqual((yield* pool.stats).evictions.invalidated, isOpen ? 1 : 0)
        }
      }))
  }
})

describe("a tracer that throws at the event of a transaction", () => {
  it.effect("adds to the error of the body, and the transaction is rolled back", () =>
    Effect.gen(function*() {
      const { assertClean, say, transaction, words } = yield* withDialect({})
      class Faulty extends Tracer.NativeSpan {
        override event(): void {
          throw new Error("no event")
        }
      }
      const tracer = Tracer.make({ span: (options) => new Faulty(options) })
      const exit = yield* Effect.exit(
        Effect.withTracer(transaction(Effect.andThen(say("a"), Effect.fail(new Refused()))), tracer)
      )
      if (Exit.isSuccess(exit)) return assert.fail("it succeeded")
      const [failure, defect] = exit.cause.reasons
      assert.instanceOf(failure?._tag === "Fail" && failure.error, Refused)
      assert.propertyVal(defect?._tag === "Die" && defect.defect, "message", "no event")
      assert.deepStrictEqual(words.said, ["begin strict", "a", "rollback"])
      yield* assertClean
    }))
})

describe("a question to a dialect that throws", () => {
  it.effect("about an open transaction leaves the error of the body what it is, and the transaction is rolled back", () =>
    Effect.gen(function*() {
      let throwing = false
      const { assertClean, say, transaction, words } = yield* withDialect({
        isTransaction: (words) => throwing ? throws() : dialect.isTransaction(words)
      })
      const refused = new Refused()
      const run = transaction(Effect.gen(function*() {
        yield* say("a")
        throwing = true
        return yield* Effect.fail(refused)
      }))
      assert.strictEqual(yield* Effect.catchTag(run, "Refused", Effect.succeed), refused)
      assert.deepStrictEqual(words.said, ["begin strict", "a", "rollback"])
      yield* assertClean
    }))

  it.effect("about the reason of a loss leaves the loss without a reason", () =>
    Effect.gen(function*() {
      const { assertClean, say, transaction } = yield* withDialect({ reasonOfLoss: throws })
      const run = transaction(Effect.andThen(say("lose"), say("a")))
      const lost = yield* Effect.catchTag(run, "TransactionLostError", Effect.succeed)
      assert.isUndefined(lost!.reason)
      yield* assertClean
    }))

  it.effect("about the outcome of a commit leaves it unknown", () =>
    Effect.gen(function*() {
      const { assertClean, say, transaction, words } = yield* withDialect({ commitOutcome: throws })
      words.failing.push("commit")
      yield* failsWith(transaction(say("a")), "TransactionOutcomeUnknownError")
      yield* assertClean
    }))

  it.effect("whether an error is curable ends the retries", () =>
    Effect.gen(function*() {
      const { assertClean, say, transaction, words } = yield* withDialect({ isCurable: throws })
      words.failing.push("a", "a")
      const error = yield* failsWith(transaction(say("a"), { retry: Schedule.recurs(3) }), "SqlError")
      assert.include(error.message, "no a")
      assert.strictEqual(words.said.filter((word) => word === "a").length, 1)
      yield* assertClean
    }))

  it.effect("about its own options fails the transaction before it has a connection", () =>
    Effect.gen(function*() {
      const { pool, say, transaction } = yield* withDialect({ own: { fields: ["extra" as never], check: throws } })
      const run = transaction(say("a"), { readOnly: true })
      const error = yield* Effect.catchTag(run, "TransactionBeginError", Effect.succeed)
      assert.include(error!.message, "no driver")
      assert.strictEqual((yield* pool.stats).checkouts, 0)
    }))

  it.effect("about its own options fails an inner transaction as one of its depth", () =>
    Effect.gen(function*() {
      const { assertClean, say, transaction, words } = yield* withDialect({
        own: { fields: ["extra" as never], check: throws }
      })
      const inner = Effect.catchTag(transaction(say("b"), { readOnly: false }), "TransactionBeginError", Effect.succeed)
      const error = yield* transaction(Effect.tap(inner, () => say("a")))
      assert.strictEqual(error!.depth, 1)
      assert.include(error!.message, "no driver")
      assert.deepStrictEqual(words.said, ["begin strict", "a", "commit"])
      yield* assertClean
    }))

  it.effect("about the connection of `effect/sql` rolls back what has begun", () =>
    Effect.gen(function*() {
      const { assertClean, say, transaction, words } = yield* withDialect({}, { toSql: throws })
      const error = yield* Effect.catchTag(transaction(say("a")), "TransactionBeginError", Effect.succeed)
      assert.include(error!.message, "no driver")
      assert.deepStrictEqual(words.said, ["begin strict", "rollback"])
      yield* assertClean
    }))
})
