import { assert, describe, it } from "@effect/vitest"
import { Context, Deferred, Effect, Exit, Fiber, Latch, Stream } from "effect"
import { TransactionError } from "effect-connection-pool"
import { Sweep } from "effect-connection-pool/testing"
import { SqlError } from "effect/sql/SqlError"
import { TestClock } from "effect/testing"
import * as Database from "../support/database.ts"
import { settle } from "../support/pools.ts"

const { TransactionEndedError } = TransactionError

const insertOf = (db: Database.Database) => (n: number) => db.sql`insert into t values (${n})`

/** The error behind what a statement of a client failed with. */
const behind = (error: unknown) => error instanceof SqlError ? error.reason.cause : undefined

describe("a transaction inside another", () => {
  it.effect("undoes what it did when it fails, and the outer one goes on", () =>
    Effect.gen(function*() {
      const db = yield* Database.make()
      const insert = insertOf(db)
      yield* db.transaction(Effect.gen(function*() {
        yield* insert(1)
        const exit = yield* Effect.exit(db.transaction(Effect.andThen(insert(2), Effect.fail("no"))))
        assert.deepStrictEqual(exit, Exit.fail("no"))
        yield* insert(3)
      }))
      assert.deepStrictEqual(db.rows, [1, 3])
    }))

  it.effect("undoes exactly what was done at its depth and above", () =>
    Effect.gen(function*() {
      for (const failing of [0, 1, 2, 3]) {
        const db = yield* Database.make()
        const insert = insertOf(db)
        const at = (depth: number): Effect.Effect<void> => {
          if (depth === 4) return Effect.void
          const body = Effect.gen(function*() {
            yield* insert(depth * 10)
            yield* at(depth + 1)
            yield* insert(depth * 10 + 1)
            if (depth === failing) yield* Effect.fail("no")
          })
          return Effect.ignore(depth % 2 === 0 ? db.transaction(body) : db.sql.withTransaction(body))
        }
        yield* at(0)
        const kept = [0, 1, 2, 3].filter((depth) => depth < failing)
        assert.deepStrictEqual(db.rows, kept.flatMap((depth) => [depth * 10, depth * 10 + 1]))
      }
    }))

  it.effect("does not leave anything behind, however often", () =>
    Effect.gen(function*() {
      const db = yield* Database.make()
      const insert = insertOf(db)
      yield* db.transaction(Effect.gen(function*() {
        for (let n = 0; n < 2000; n++) {
          yield* Effect.exit(db.transaction(n % 2 === 0 ? insert(n) : Effect.andThen(insert(n), Effect.fail("no"))))
        }
        // A savepoint that was left could still be rolled back to.
        const joined = yield* Effect.withFiber((fiber) => Effect.succeed(db.connectionOf(fiber)!))
        const left = yield* Effect.exit(
          joined.steps("probe", (connection) => connection.run("rollback to effect_pool_1"))
        )
        assert.isTrue(Exit.isFailure(left))
      }))
      assert.strictEqual(db.rows.length, 1000)
    }), 20_000)

  it.effect("runs what was to follow the commit only if all of it is committed", () =>
    Effect.gen(function*() {
      const db = yield* Database.make()
      const insert = insertOf(db)
      const ran: Array<string> = []
      const after = (name: string) =>
        db.sql.afterCommit(
          Effect.gen(function*() {
            // By then the connection is free, and what was written can be seen.
            assert.strictEqual((yield* db.writer.stats).inUse, 0)
            assert.deepStrictEqual(yield* db.sql`select count(*) > 0 from t`.values, [[1]])
            ran.push(name)
          }).pipe(Effect.orDie)
        )
      const body = (end: Effect.Effect<void, string>) =>
        Effect.gen(function*() {
          yield* insert(ran.length + 1)
          yield* after("outer")
          yield* db.transaction(after("inner"))
          yield* Effect.ignore(db.transaction(Effect.andThen(after("never"), Effect.fail("no"))))
          yield* end
        })
      yield* Effect.exit(db.transaction(body(Effect.fail("no"))))
      assert.deepStrictEqual(ran, [])
      yield* db.transaction(body(Effect.void))
      assert.deepStrictEqual(ran, ["outer", "inner"])
      yield* Effect.exit(db.transaction(Effect.andThen(db.transaction(after("inner")), Effect.fail("no"))))
      assert.deepStrictEqual(ran, ["outer", "inner"])
    }))

  it.effect("fails typed when its savepoint cannot be begun or released, and undoes it", () =>
    Effect.gen(function*() {
      const db = yield* Database.make()
      const insert = insertOf(db)
      const seen: Array<unknown> = []
      const ran: Array<string> = []
      yield* db.transaction(Effect.gen(function*() {
        yield* insert(1)
        for (const refused of ["savepoint effect_pool_1", "release effect_pool_1"]) {
          yield* Effect.scoped(Effect.gen(function*() {
            yield* Database.refusing(refused, 1)
            const inner = Effect.andThen(insert(2), db.sql.afterCommit(Effect.sync(() => ran.push(refused))))
            seen.push(yield* Effect.flip(db.transaction(inner)))
          }))
        }
        yield* insert(3)
      }))
      assert.instanceOf(seen[0], TransactionError.TransactionBeginError)
      assert.instanceOf(seen[1], TransactionError.TransactionCommitError)
      for (const error of seen as Array<TransactionError.TransactionBeginError>) {
        assert.strictEqual(error.depth, 1)
        assert.include(error.message, "the transaction inside another (depth 1)")
      }
      assert.deepStrictEqual([db.rows, ran], [[1, 3], []])
    }))
})

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

describe("an interrupt", () => {
  it.effect(
    "of a transaction at any point leaves all of it or nothing, and a clean connection",
    () =>
      Effect.gen(function*() {
        const db = yield* Database.make()
        const insert = insertOf(db)
        const seen = { all: 0, nothing: 0 }
        const report = yield* Sweep.run({
          setup: Effect.sync(() => db.other.exec("delete from t")),
          scenario: () =>
            db.transaction(Effect.gen(function*() {
              yield* insert(1)
              yield* db.transaction(insert(2))
              yield* Effect.exit(db.transaction(Effect.andThen(insert(3), Effect.fail("no"))))
              yield* Effect.all([insert(4), db.transaction(insert(5))], { concurrency: "unbounded" })
            })),
          check: (_, exit) =>
            Effect.gen(function*() {
              const all = [1, 2, 4, 5]
              const { rows } = db
              if (Exit.isSuccess(exit) || rows.length > 0) assert.deepStrictEqual(rows, all)
              if (!Exit.isSuccess(exit)) assert.isTrue(Exit.hasInterrupts(exit))
              seen[rows.length > 0 ? "all" : "nothing"]++
              assert.strictEqual((yield* db.writer.stats).inUse, 0)
              assert.isFalse(yield* db.writer.use((connection) => connection.isTransaction))
              yield* db.transaction(insert(100))
            }),
          budgets: [3, 40],
          turns: [0, 25]
        })
        assert.isAbove(report.interrupted, 200)
        assert.isAbove(seen.all, 10)
        assert.isAbove(seen.nothing, 200)
        // Nobody had to clean up behind it.
        assert.strictEqual((yield* db.writer.stats).connects, 1)
      }),
    60_000
  )

  it.effect("of one of the fibers undoes only what it did", () =>
    Effect.gen(function*() {
      const db = yield* Database.make()
      const insert = insertOf(db)
      const report = yield* Sweep.run({
        setup: Effect.sync(() => db.other.exec("delete from t")),
        scenario: () => Effect.void,
        check: (_, __, cut) =>
          Effect.gen(function*() {
            const sibling = yield* Deferred.make<Exit.Exit<unknown, unknown>>()
            yield* db.transaction(Effect.gen(function*() {
              const fiber = yield* Effect.forkChild(db.transaction(Effect.andThen(insert(1), insert(2))))
              const other = yield* Effect.forkChild(db.transaction(Effect.andThen(insert(3), insert(4))))
              for (let turn = 0; turn < cut.turns; turn++) yield* Effect.yieldNow
              yield* Fiber.interrupt(fiber)
              yield* insert(5)
              yield* Fiber.join(other)
              yield* Deferred.succeed(sibling, yield* Fiber.await(fiber))
            }))
            const { rows } = db
            const own = Exit.isSuccess(yield* Deferred.await(sibling)) ? [1, 2] : rows.includes(1) ? [1, 2] : []
            assert.deepStrictEqual(rows, [...own, 3, 4, 5])
          }),
        budgets: [3, 40],
        turns: [0, 15]
      })
      assert.strictEqual(report.cases, 38 * 16)
    }), 60_000)

  it.effect("of a body that is being rolled back comes after that", () =>
    Effect.gen(function*() {
      const db = yield* Database.make({ journalMode: "delete", busyTimeout: 1000 })
      const insert = insertOf(db)
      // Twice, and while the commit waits for a reader.
      db.other.exec("insert into t values (0); begin; select * from t")
      const fiber = yield* Effect.forkChild(db.transaction(insert(1)))
      yield* settle
      const interrupting = yield* Effect.forkChild(Fiber.interrupt(fiber))
      yield* settle
      const again = yield* Effect.forkChild(Fiber.interrupt(fiber))
      yield* settle
      assert.isUndefined(fiber.pollUnsafe())
      db.other.exec("commit")
      yield* TestClock.adjust("2 millis")
      yield* Fiber.joinAll([interrupting, again])
      // It came too late.
      assert.deepStrictEqual(db.rows, [0, 1])
      yield* db.transaction(insert(2))
    }))
})

describe("the end of the application", () => {
  it.effect("interrupts a transaction, rolls it back, and then closes", () =>
    Effect.gen(function*() {
      const db = yield* Database.make()
      const insert = insertOf(db)
      const begun = yield* Latch.make()
      const cleaned: Array<boolean> = []
      const fiber = yield* Effect.forkChild(db.transaction(
        Effect.andThen(insert(1), Effect.andThen(begun.open, Effect.never)).pipe(
          // What the body still does on its way out is in the transaction.
          Effect.onInterrupt(() => Effect.ignore(Effect.map(insert(2), () => cleaned.push(true))))
        )
      ))
      yield* begun.await
      const report = yield* db.writer.shutdown({ drainTimeout: 0 })
      assert.deepStrictEqual(report, { returned: 0, interrupted: 1, revoked: 0, abandoned: 0 })
      const exit = yield* Fiber.await(fiber)
      assert.isTrue(Exit.isFailure(exit))
      if (Exit.isFailure(exit)) assert.deepStrictEqual(exit.cause.reasons.map(({ _tag }) => _tag), ["Interrupt"])
      assert.deepStrictEqual([cleaned, db.rows], [[true], []])
      db.other.exec("begin immediate; rollback")
    }))

  it.effect("takes the connection from one that does not stop, which then is lost", () =>
    Effect.gen(function*() {
      const db = yield* Database.make()
      const insert = insertOf(db)
      const begun = yield* Latch.make()
      const over = yield* Latch.make()
      const fiber = yield* Effect.forkChild(db.transaction(Effect.uninterruptible(
        Effect.gen(function*() {
          yield* insert(1)
          yield* begun.open
          yield* over.await
          return yield* Effect.flip(insert(2))
        })
      )))
      yield* begun.await
      const ending = yield* Effect.forkChild(db.writer.shutdown({ drainTimeout: 0 }))
      yield* TestClock.adjust("6 seconds")
      yield* Fiber.join(ending)
      assert.deepStrictEqual(db.rows, [])
      yield* over.open
      const exit = yield* Fiber.await(fiber)
      assert.isTrue(Exit.isFailure(exit))
      assert.deepStrictEqual(db.rows, [])
    }))
})
