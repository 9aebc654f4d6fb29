import { assert, describe, it } from "@effect/vitest"
import { Context, Effect, Exit, Fiber, Latch, Stream } from "effect"
import { TransactionError } from "effect-connection-pool"
import { SqlError } from "effect/sql/SqlError"
import * as Database from "../support/database.ts"
import { settle } from "../support/pools.ts"

const { TransactionEndedError } = TransactionError

const insertOf = (db: Database.Database) => (n: number) => db.sql`insert into t values (${n})`

/** The error behind what a statement of a client failed with. */
const behind = (error: unknown) => error instanceof SqlError ? error.reason.cause : undefined

/** A number for a branch of a tree. */
const name = (path: ReadonlyArray<number>) => Number(path.join("")) + 1000 * path.length

describe("the fibers of a transaction", () => {
  it.effect("may each have transactions inside it, to any depth, which take turns", () =>
    Effect.gen(function*() {
      const db = yield* Database.make()
      const insert = insertOf(db)
      // At each depth the middle one of three fails, after all that is in it has succeeded.
      const branch = (path: ReadonlyArray<number>): Effect.Effect<void> =>
        db.transaction(Effect.gen(function*() {
          yield* insert(name(path))
          yield* Effect.yieldNow
          if (path.length < 3) {
            yield* Effect.forEach([1, 2, 3], (child) => branch([...path, child]), { concurrency: "unbounded" })
          }
          yield* Effect.yieldNow
          if (path.at(-1) === 2) yield* Effect.fail("no")
        })).pipe(Effect.ignore)
      yield* db.transaction(Effect.forEach([1, 2, 3], (n) => branch([n]), { concurrency: "unbounded" }))
      const kept: Array<number> = []
      for (const a of [1, 3]) {
        kept.push(name([a]))
        for (const b of [1, 3]) kept.push(name([a, b]), name([a, b, 1]), name([a, b, 3]))
      }
      assert.deepStrictEqual(db.rows, kept.toSorted((a, b) => a - b))
    }))

  it.effect("keep what they did beside a transaction of another that fails", () =>
    Effect.gen(function*() {
      const db = yield* Database.make()
      const insert = insertOf(db)
      yield* db.transaction(Effect.gen(function*() {
        const inside = yield* Latch.make()
        const over = yield* Latch.make()
        const failing = yield* Effect.forkChild(Effect.exit(db.transaction(Effect.gen(function*() {
          yield* insert(1)
          yield* inside.open
          yield* over.await
          yield* insert(2)
          return yield* Effect.fail("no")
        }))))
        yield* inside.await
        const statements = [
          insert(11),
          insert(12).raw,
          db.sql`insert into t values (13) returning n`.values,
          Stream.runDrain(db.sql`insert into t values (14) returning n`.stream),
          db.transaction(insert(15)),
          db.sql.withTransaction(insert(16))
        ]
        const fibers = yield* Effect.forEach(statements, (statement) =>
          Effect.forkChild(statement as Effect.Effect<unknown>))
        yield* settle
        for (const fiber of fibers) {
          assert.isUndefined(fiber.pollUnsafe())
        }
        yield* over.open
        yield* Fiber.joinAll(fibers)
        assert.strictEqual(yield* Effect.orDie(Effect.flip(yield* Fiber.join(failing))), "no")
      }))
      assert.deepStrictEqual(db.rows, [11, 12, 13, 14, 15, 16])
    }))

  it.effect("can be interrupted while they wait for their turn", () =>
    Effect.gen(function*() {
      const db = yield* Database.make()
      const insert = insertOf(db)
      yield* db.transaction(Effect.gen(function*() {
        const inside = yield* Latch.make()
        const over = yield* Latch.make()
        const first = yield* Effect.forkChild(
          db.transaction(Effect.andThen(Effect.andThen(inside.open, over.await), insert(1)))
        )
        yield* inside.await
        const waiting = yield* Effect.forEach(
          [insert(2), db.transaction(insert(3)), insert(4)] as Array<Effect.Effect<unknown>>,
          (effect) => Effect.forkChild(effect)
        )
        yield* settle
        yield* Fiber.interrupt(waiting[0]!)
        yield* Fiber.interrupt(waiting[1]!)
        yield* over.open
        yield* Fiber.join(first)
        yield* Fiber.join(waiting[2]!)
      }))
      assert.deepStrictEqual(db.rows, [1, 4])
    }))

  it.effect("inside an inner one may run what was made for the outer one, but not begin one there", () =>
    Effect.gen(function*() {
      const db = yield* Database.make()
      const insert = insertOf(db)
      yield* db.transaction(Effect.gen(function*() {
        const outer = yield* Effect.context<never>()
        const inOuter = <A, E>(effect: Effect.Effect<A, E>) => Effect.provideContext(effect, outer)
        yield* db.transaction(Effect.gen(function*() {
          yield* inOuter(insert(1))
          yield* Stream.runDrain(Stream.provideContext(db.sql`insert into t values (2) returning n`.stream, outer))
          const exit = yield* Effect.exit(inOuter(db.transaction(insert(3))))
          assert.isTrue(Exit.hasDies(exit))
        }))
      }))
      assert.deepStrictEqual(db.rows, [1, 2])
    }))

  it.effect("that outlive it can do nothing any more", () =>
    Effect.gen(function*() {
      const db = yield* Database.make()
      const insert = insertOf(db)
      const over = yield* Latch.make()
      const late = <A, E>(effect: Effect.Effect<A, E>) =>
        Effect.forkDetach(Effect.andThen(over.await, Effect.exit(effect)))
      const started = yield* Latch.make()
      const started2 = Stream.tap(
        db.sql`select n from t`.stream,
        ({ n }) => n === 1 ? Effect.andThen(started.open, over.await) : Effect.void
      )
      const fibers = yield* db.transaction(Effect.gen(function*() {
        yield* db.sql.unsafe(
          "insert into t with recursive c(n) as (select 1 union all select n + 1 from c where n < 600) select n from c"
        )
        const reading = yield* Effect.forkDetach(Effect.exit(Stream.runDrain(started2)))
        yield* started.await
        return {
          statement: yield* late(insert(1001)),
          stream: yield* late(Stream.runDrain(db.sql`insert into t values (1002) returning n`.stream)),
          withTransaction: yield* late(db.withTransaction(insert(1003))),
          transaction: yield* late(db.transaction(insert(1004))),
          inner: yield* db.transaction(late(insert(1005))),
          reading
        }
      }))
      yield* over.open
      const errors: Record<string, unknown> = {}
      for (const [name, fiber] of Object.entries(fibers)) {
        const exit = yield* Fiber.join(fiber as Fiber.Fiber<Exit.Exit<unknown, unknown>>)
        const error = yield* Effect.orDie(Effect.flip(exit))
        errors[name] = name === "transaction" ? error : behind(error)
      }
      const ended = (operation: string) => new TransactionEndedError({ pool: "db", operation })
      assert.deepStrictEqual(errors, {
        statement: ended("insert into t values (?)"),
        stream: ended("insert into t values (1002) returning n"),
        withTransaction: ended("transaction"),
        transaction: ended("transaction"),
        inner: ended("insert into t values (?)"),
        reading: ended("select n from t")
      })
      assert.strictEqual(db.rows.length, 600)
      assert.include(
        ended("insert").message,
        "pool \"db\": insert: the transaction that this fiber is in has ended"
      )
      // Nothing of it kept the connection, or a part of the log.
      assert.strictEqual((yield* db.writer.stats).inUse, 0)
      assert.strictEqual(db.other.prepare("pragma wal_checkpoint(truncate)").get()!["busy"], 0)
    }))

  for (
    const [what, isInner, end] of [
      ["commits", false, Effect.void],
      ["rolls back", false, Effect.fail("no")],
      ["inside another succeeds", true, Effect.void],
      ["inside another fails", true, Effect.fail("no")]
    ] as ReadonlyArray<readonly [string, boolean, Effect.Effect<void, string>]>
  ) {
    it.effect(`that have a transaction open inside it when it ${what} lose that`, () =>
      Effect.gen(function*() {
        const db = yield* Database.make()
        const insert = insertOf(db)
        const inside = yield* Latch.make()
        const over = yield* Latch.make()
        const detached: Array<Fiber.Fiber<Exit.Exit<unknown, unknown>>> = []
        const level = Effect.gen(function*() {
          yield* insert(1)
          const open = db.transaction(db.transaction(Effect.gen(function*() {
            yield* insert(2)
            yield* inside.open
            yield* over.await
            // The failure is handled, and all the same it is one.
            yield* Effect.exit(insert(3))
          })))
          detached.push(yield* Effect.forkDetach(Effect.exit(open)))
          yield* inside.await
          for (const waiting of [insert(4), db.transaction(insert(4))]) {
            detached.push(yield* Effect.forkDetach(Effect.exit(waiting as Effect.Effect<unknown>)))
          }
          yield* settle
          yield* end
        })
        const around = isInner
          ? (body: Effect.Effect<void, unknown>) =>
            db.transaction(Effect.andThen(Effect.exit(db.transaction(body)), insert(5)))
          : (body: Effect.Effect<void, unknown>) => db.transaction(body)
        yield* Effect.exit(around(level))
        const kept = [...(end === Effect.void ? [1] : []), ...(isInner ? [5] : [])]
        assert.deepStrictEqual(db.rows, kept)
        // Who waited for it does so no longer.
        const [open, statement, transaction] = detached
        const ended = (operation: string) => new TransactionEndedError({ pool: "db", operation })
        const refused = yield* Fiber.join(statement!)
        const failureOf = (exit: Exit.Exit<unknown, unknown>) => Effect.orDie(Effect.flip(exit))
        assert.deepStrictEqual(behind(yield* failureOf(refused)), ended("insert into t values (?)"))
        assert.deepStrictEqual(yield* failureOf(yield* Fiber.join(transaction!)), ended("transaction"))
        yield* over.open
        assert.deepStrictEqual(yield* failureOf(yield* Fiber.join(open!)), ended("transaction"))
        assert.deepStrictEqual(db.rows, kept)
        yield* db.transaction(insert(6))
      }))
  }

  it.effect("find no transaction where its service is hidden", () =>
    Effect.gen(function*() {
      const db = yield* Database.make()
      const { transactionService } = db.sql
      yield* db.transaction(Effect.gen(function*() {
        yield* insertOf(db)(1)
        const read = db.sql`select n from t`
        const outside = Effect.updateContext(
          read,
          (context: Context.Context<never>) => Context.omit(transactionService)(context) as Context.Context<never>
        )
        assert.deepStrictEqual(yield* outside, [])
        assert.strictEqual((yield* read).length, 1)
      }))
      const foreign = Effect.provideService(
        db.transaction(Effect.void),
        transactionService,
        [yield* Effect.scoped(db.sql.reserve), 0]
      )
      assert.isTrue(Exit.hasDies(yield* Effect.exit(foreign)))
    }))
})
