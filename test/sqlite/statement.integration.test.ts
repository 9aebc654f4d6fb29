import type { Tracer } from "effect"
import { Cause, Effect, Exit, Fiber, Latch, Scheduler } from "effect"
import { PoolAssert, Sweep } from "effect-connection-pool/testing"
import { SafeIntegers, type SqlClient } from "effect/sql/SqlClient"
import type { SqlError } from "effect/sql/SqlError"
import type * as Statement from "effect/sql/Statement"
import { TestClock } from "effect/testing"
import * as Database from "../support/database.ts"
import { budgets, mode } from "../support/modes/mode.ts"
import { settle } from "../support/pools.ts"
import { ways } from "../support/statements.ts"
import { tracing } from "../support/tracing.ts"

/** What can be seen of a statement, and by whom. */
import { assert, describe, it } from "@effect/vitest"

const { failsWith } = PoolAssert

const everyWay: ReadonlyArray<(statement: Statement.Statement<unknown>) => Effect.Effect<unknown, SqlError>> = Object
  .values(ways)

/** A fiber that does nothing but let others go first, for as long as the test; how often its turn has come. */
const countTurns = Effect.gen(function*() {
  const others = { turns: 0 }
  yield* Effect.forkScoped(Effect.whileLoop({
    while: () => true,
    body: () => Effect.yieldNow,
    step: () => {
      others.turns++
    }
  }))
  return others
})

describe("a statement without a tracer", () => {
  it.effect("ends like a traced one", () =>
    Effect.gen(function*() {
      const db = yield* Database.make({ busyTimeout: 0 })
      yield* db.sql`insert into t values (1)`
      const statements = [
        db.sql`select n from t where n = ${1}`,
        db.sql`select n from t where n = ${1n} or ${"a"} = ${null}`,
        db.sql`insert into t values (${1})`,
        db.sql`select nothing from t where n = ${1}`,
        db.sql`select ${undefined}`,
        db.sql`select ${NaN}`,
        db.sql`select ${new Date(0)}`,
        db.sql`begin`,
        db.sql`pragma busy_timeout = 5`,
        db.sql`select 1; select 2`,
        db.sql``,
        db.sql.unsafe("select '\0'"),
        db.sql.unsafe("select :a", { a: 1 } as never)
      ]
      const outcome = (effect: Effect.Effect<unknown, SqlError>) =>
        Effect.map(Effect.exit(effect), (exit) => {
          if (Exit.isSuccess(exit)) return exit.value
          const error = Cause.squash(exit.cause) as SqlError
          return [
            error.message,
            error.reason._tag,
            error.reason.operation,
            error.isRetryable,
            String(error.reason.cause)
          ]
        })
      const { tracer } = tracing()
      for (const statement of statements) {
        for (const way of everyWay) {
          const seen = yield* outcome(Effect.withTracer(way(statement), tracer))
          assert.deepStrictEqual(yield* outcome(way(statement)), seen)
          const inTransaction = yield* outcome(db.withTransaction(Effect.withTracer(way(statement), tracer)))
          assert.deepStrictEqual(yield* outcome(db.withTransaction(way(statement))), inTransaction)
        }
      }
    }))

  it.effect("fails like a traced one if it gets no connection", () =>
    Effect.gen(function*() {
      const db = yield* Database.make({ readers: 1 })
      const held = yield* Latch.make()
      yield* Effect.forkChild(db.reader.use(() => held.await))
      yield* settle
      const fail = Effect.fnUntraced(function*(tracer?: Tracer.Tracer) {
        const running = yield* Effect.forkChild(
          Effect.flip(tracer === undefined ? db.sql`select ${1}` : Effect.withTracer(db.sql`select ${1}`, tracer))
        )
        yield* TestClock.adjust("1 minute")
        const { reason } = yield* Fiber.join(running)
        return [reason._tag, (reason.cause as { readonly _tag: string })._tag]
      })
      const { tracer } = tracing()
      for (const run of [fail(), fail(tracer)]) {
        assert.deepStrictEqual(yield* run, ["ConnectionError", "AcquireTimeoutError"])
      }
      yield* held.open
      yield* db.reader.shutdown()
      for (const run of [fail(), fail(tracer)]) {
        assert.deepStrictEqual(yield* run, ["UnknownError", "PoolClosedError"])
      }
    }))

  it.effect("is the same when it is run again, elsewhere, and by many at once", () =>
    Effect.gen(function*() {
      const db = yield* Database.make()
      const count = db.sql<{ readonly n: number }>`select count(*) as n from t where n >= ${0}`
      const insert = db.sql`insert into t select ifnull(max(n), 0) + ${1} from t`
      const found = yield* Effect.forEach(
        Array.from({ length: 20 }),
        () => Effect.andThen(insert, count),
        { concurrency: 5 }
      )
      assert.strictEqual(found.length, 20)
      const inside = yield* Effect.flip(db.transaction(
        Effect.gen(function*() {
          yield* insert
          // Elsewhere, it sees nothing of the transaction that this fiber is in.
          return yield* Effect.fail([yield* count, yield* Effect.promise(() => Effect.runPromise(count))] as const)
        })
      ))
      assert.deepStrictEqual(inside, [[{ n: 21 }], [{ n: 20 }]])
      assert.deepStrictEqual(yield* count, [{ n: 20 }])
      if (mode === "in-process") assert.deepStrictEqual(Effect.runSync(count), [{ n: 20 }])
    }))

  it.effect("reads integers as the fiber that runs it wants them, in a transaction too", () =>
    Effect.gen(function*() {
      const db = yield* Database.make()
      const one = db.sql`select ${1} as n`
      const exact = Effect.provideService(one, SafeIntegers, true)
      const both: Effect.Effect<ReadonlyArray<unknown>, SqlError> = Effect.all([one, exact, one])
      const expected = [[{ n: 1 }], [{ n: 1n }], [{ n: 1 }]]
      assert.deepStrictEqual(yield* both, expected)
      assert.deepStrictEqual(yield* db.transaction(both), expected)
    }))

  it.effect("can be part of another, before and after it was run", () =>
    Effect.gen(function*() {
      const db = yield* Database.make()
      yield* db.sql`insert into t values (1), (2), (3)`
      const inner = db.sql`select n from t where n > ${1}`
      const outer = (limit: unknown) => db.sql`select n from (${inner}) where n < ${limit}`
      assert.deepStrictEqual(yield* outer(3).values, [[2]])
      assert.deepStrictEqual(yield* inner.values, [[2], [3]])
      assert.deepStrictEqual(yield* outer(db.sql`(${2} + ${2})`).values, [[2], [3]])
      assert.deepStrictEqual(yield* outer(3).values, [[2]])
      // The same template, with a value first.
      const by = (what: unknown) => db.sql`select n from t where n = ${what}`
      assert.deepStrictEqual(yield* by(1).values, [[1]])
      assert.deepStrictEqual(yield* by(db.sql.literal("n and n > 1")).values, [[2], [3]])
      assert.deepStrictEqual(yield* by(db.sql("n")).values, [[1], [2], [3]])
      assert.deepStrictEqual(yield* by(2).values, [[2]])
    }))

  it.effect("has its own transforms in every copy of the client", () =>
    Effect.gen(function*() {
      const db = yield* Database.make({
        client: {
          transformResultNames: (name) => name.toUpperCase(),
          transformQueryNames: (name) => name.toLowerCase()
        }
      })
      const { sql } = db
      yield* sql`insert into t values (1)`
      const copy: SqlClient = Object.assign((...args: Parameters<SqlClient>) => sql(...args), sql)
      const plain = sql.withoutTransforms()
      const namesOf = (sql: SqlClient) =>
        Effect.forEach(
          [sql`select n from t where n = ${1}`, sql`select n as ${sql("N")} from t`, sql.unsafe("select n from t")],
          (statement) => Effect.map(statement, ([row]) => Object.keys(row!)[0])
        )
      assert.deepStrictEqual(yield* namesOf(sql), ["N", "N", "N"])
      assert.deepStrictEqual(yield* namesOf(copy), ["N", "N", "N"])
      // What SQLite is asked for is as it was written, too.
      for (const one of [plain, copy.withoutTransforms(), plain.safe, plain.withoutTransforms()]) {
        assert.deepStrictEqual(yield* namesOf(one), ["n", "N", "n"])
      }
      assert.strictEqual(sql.withoutTransforms(), plain)
      // A copy that replaces something replaces it for itself.
      const { withTransaction } = plain
      const replaced: typeof withTransaction = (effect) => withTransaction(effect)
      const wrapper = Object.assign(
        (strings: TemplateStringsArray, ...args: Array<unknown>) => sql(strings, ...args as Array<never>),
        sql,
        { withTransaction: replaced }
      ) as typeof sql
      assert.strictEqual(wrapper.withoutTransforms().withTransaction, replaced)
      assert.strictEqual(plain.withTransaction, withTransaction)
      const other = yield* Database.make()
      assert.strictEqual(other.sql.withoutTransforms(), other.sql)
    }))

  it.effect("has its rows transformed when it had to wait for them", () =>
    Effect.gen(function*() {
      const db = yield* Database.make({ readers: 1, client: { transformResultNames: (name) => name.toUpperCase() } })
      const held = yield* Latch.make()
      yield* Effect.forkChild(db.reader.use(() => held.await))
      yield* settle
      const waiting = yield* Effect.forkChild(db.sql`select ${1} as n`)
      yield* settle
      yield* held.open
      assert.deepStrictEqual(yield* Fiber.join(waiting), [{ N: 1 }])
    }))

  it.effect("gives its connection back before its rows are transformed, and dies of what that throws", () =>
    Effect.gen(function*() {
      const boom = new Error("boom")
      const db = yield* Database.make({
        client: {
          transformResultNames: () => {
            throw boom
          }
        }
      })
      const exit = yield* Effect.exit(db.sql`select ${1} as n`)
      assert.deepStrictEqual(exit, Exit.die(boom))
      const { inUse, returns } = yield* db.reader.stats
      assert.deepStrictEqual([inUse, returns], [0, 1])
    }))

  it.effect("can be interrupted in line, and costs no connection wherever it is", () =>
    Effect.gen(function*() {
      const db = yield* Database.make({ readers: 1 })
      const held = yield* Latch.make()
      const holder = yield* Effect.forkChild(db.reader.use(() => held.await))
      yield* settle
      const waiting = yield* Effect.forkChild(db.sql`select ${1}`)
      yield* settle
      assert.strictEqual((yield* db.reader.stats).waiting, 1)
      yield* Fiber.interrupt(waiting)
      assert.isTrue(Exit.hasInterrupts(yield* Fiber.await(waiting)))
      assert.strictEqual((yield* db.reader.stats).waiting, 0)
      yield* held.open
      yield* Fiber.join(holder)
      const report = yield* Sweep.run({
        setup: Effect.void,
        scenario: () =>
          Effect.all([db.sql`select ${1}`, db.sql`select ${2}`.values, db.sql`select ${3}`.raw], {
            concurrency: "unbounded"
          }),
        check: () =>
          Effect.gen(function*() {
            yield* settle
            assert.strictEqual((yield* db.reader.stats).inUse, 0)
          }),
        budgets: budgets(3, 24),
        turns: [0, 6]
      })
      assert.isAbove(report.interrupted, 0)
    }))

  it.effect("is refused once its transaction has ended", () =>
    Effect.gen(function*() {
      const db = yield* Database.make()
      const over = yield* Latch.make()
      const late = yield* db.transaction(
        Effect.forkDetach(
          Effect.andThen(over.await, Effect.forEach(everyWay, (way) => Effect.flip(way(db.sql`select ${1}`))))
        )
      )
      yield* over.open
      for (const error of yield* Fiber.join(late)) {
        assert.include(error.message, "ended")
        assert.strictEqual((error.reason.cause as { readonly _tag: string })._tag, "TransactionEndedError")
      }
      yield* failsWith(
        db.transaction(Effect.andThen(db.sql`insert or rollback into t values (${1}), (${1})`, Effect.void)),
        "SqlError"
      )
    }))

  it.effect("runs on whatever connection the transaction service holds", () =>
    Effect.gen(function*() {
      const { sql } = yield* Database.make()
      const connection = yield* sql.reserve
      const seen: Array<string> = []
      const watched = {
        ...connection,
        execute: (...args: Parameters<typeof connection.execute>) => {
          seen.push(args[0])
          return connection.execute(...args)
        }
      }
      yield* Effect.provideService(sql`select ${1}`, sql.transactionService, [watched, 0])
      assert.deepStrictEqual(seen, ["select ?"])
    }))

  it.effect("lets others go first while a fiber runs many", () =>
    Effect.gen(function*() {
      const db = yield* Database.make()
      const others = yield* countTurns
      for (let n = 0; n < 2000; n++) yield* db.sql`select ${n}`
      assert.isAtLeast(others.turns, 5)
    }))

  it.live("does so too where the statements of another fiber come in between", () =>
    Effect.gen(function*() {
      const db = yield* Database.make()
      const others = yield* countTurns
      for (let round = 0; round < 2000; round++) {
        yield* db.sql`select ${round}`
        // As another fiber would in the same turn.
        Effect.runSync(db.sql`select ${-round}`)
      }
      // Effect's own come to about eleven.
      assert.isAtLeast(others.turns, 6)
    }))

  it.live("lets no other fiber go first if that is switched off", () =>
    Effect.gen(function*() {
      const db = yield* Database.make()
      const others = yield* countTurns
      yield* Effect.yieldNow
      const before = others.turns
      const many = Effect.gen(function*() {
        for (let n = 0; n < 3000; n++) yield* db.sql`select ${n}`
        return others.turns
      })
      assert.strictEqual(yield* Effect.provideService(many, Scheduler.PreventSchedulerYield, true), before)
    }))
})
