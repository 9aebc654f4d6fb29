import { assert, describe, it } from "@effect/vitest"
import { Deferred, Effect, Exit, Fiber, Schedule, Stream } from "effect"
import { SqliteConnection, type SqliteWorkerPool } from "effect-connection-pool/sqlite"
import { PoolAssert } from "effect-connection-pool/testing"
import { vi } from "vitest"
import { Words } from "../../src/sqlite/internal/worker/word.ts"
import { functionsModule, heldStatement, withoutAggregates } from "../support/held.ts"
import { interruptAtRandom, make, threadOf, turnsOf, until } from "../support/workerPools.ts"

/** A pool, and a statement that stays in the middle of SQLite: `sql` reads, and `write` writes. */
const makeHeld = Effect.fnUntraced(function*(options?: Partial<SqliteWorkerPool.Options>) {
  const made = yield* make({ functionsModule, ...options })
  const held = yield* heldStatement
  return { ...made, held: { ...held, write: `insert into t ${held.sql}` } }
})

describe("a transaction whose connection is in a thread", () => {
  it.live("commits what succeeds, rolls back what fails, and reads what it has written", () =>
    Effect.gen(function*() {
      const { pool, rows } = yield* make()
      const { sql } = pool
      const seen = yield* pool.transaction(Effect.gen(function*() {
        yield* sql`insert into t values (2)`
        const before = rows()
        const own = yield* pool.read((reader) => reader.values("select a from t order by a"))
        const streamed = yield* Stream.runCollect(sql`select a from t order by a`.stream)
        return { before, own, streamed: streamed.map((row) => row["a"]) }
      }))
      assert.deepStrictEqual(seen, { before: [1], own: [[1], [2]], streamed: [1, 2] })
      assert.deepStrictEqual(rows(), [1, 2])
      yield* Effect.exit(pool.transaction(Effect.andThen(sql`insert into t values (3)`, Effect.fail("no"))))
      yield* Effect.exit(pool.transaction(Effect.andThen(sql`insert into t values (4)`, Effect.die("no"))))
      assert.deepStrictEqual(rows(), [1, 2])
    }).pipe(Effect.scoped))

  it.live("undoes an inner transaction that fails, also beside siblings that succeed", () =>
    Effect.gen(function*() {
      const { pool, rows } = yield* make()
      const { sql } = pool
      const inner = (n: number) =>
        pool.transaction(Effect.andThen(sql`insert into t values (${n})`, n % 2 === 0 ? Effect.void : Effect.fail(n)))
      yield* pool.transaction(
        Effect.forEach([2, 3, 4, 5, 6], (n) => Effect.exit(inner(n)), { concurrency: "unbounded" })
      )
      assert.deepStrictEqual(rows(), [1, 2, 4, 6])
    }).pipe(Effect.scoped))

  // With aggregates, a statement in a transaction runs in another way.
  for (const [what, module] of [["no aggregates", withoutAggregates], ["aggregates", functionsModule]] as const) {
    it.live(`stores nothing of an interrupted statement, although it goes on and commits, with ${what}`, () =>
      Effect.gen(function*() {
        const { held, pool, rows } = yield* makeHeld({ functionsModule: module })
        const { sql } = pool
        yield* pool.transaction(Effect.gen(function*() {
          yield* sql`insert into t values (2)`
          const fiber = yield* Effect.forkChild(sql.unsafe(held.write), { startImmediately: true })
          yield* held.hasBegun
          yield* Fiber.interrupt(fiber)
          yield* held.letGo
          yield* sql`insert into t values (3)`
        }))
        assert.deepStrictEqual(rows(), [1, 2, 3])
      }).pipe(Effect.scoped))

    it.live(`goes on after a statement that fails, with ${what}`, () =>
      Effect.gen(function*() {
        const { pool, rows } = yield* make({ functionsModule: module })
        const { sql } = pool
        yield* sql`create unique index once on t (a)`
        yield* pool.transaction(Effect.gen(function*() {
          yield* sql`insert into t values (2)`
          for (const text of ["insert into t values (3), (2)", "insert into t values (3), (2) returning a"]) {
            const message = yield* Effect.catchTag(
              sql.unsafe(text),
              "SqlError",
              ({ message }) => Effect.succeed(message)
            )
            assert.include(message, "UNIQUE constraint failed")
          }
          yield* sql`insert into t values (3) returning a`
        }))
        assert.deepStrictEqual(rows(), [1, 2, 3])
      }).pipe(Effect.scoped))
  }

  it.live("stores nothing of an inner transaction that was interrupted, and does not wait for its statement", () =>
    Effect.gen(function*() {
      const { held, pool, rows } = yield* makeHeld()
      const { sql } = pool
      const isBusy = yield* pool.write((connection) => {
        const { host } = threadOf(connection)
        return Effect.succeed(() => host.size > 0)
      })
      yield* pool.transaction(Effect.gen(function*() {
        const inner = pool.transaction(Effect.andThen(sql`insert into t values (2)`, sql.unsafe(held.write)))
        const fiber = yield* Effect.forkChild(inner, { startImmediately: true })
        yield* held.hasBegun
        yield* Fiber.interrupt(fiber)
        assert.isTrue(isBusy())
        yield* held.letGo
        yield* sql`insert into t values (3)`
      }))
      assert.deepStrictEqual(rows(), [1, 3])
    }).pipe(Effect.scoped))

  it.live("frees an interrupted caller at once, and the next writer gets the connection when the step has ended", () =>
    Effect.gen(function*() {
      const { held, pool, rows } = yield* makeHeld()
      const { sql } = pool
      const long = pool.transaction(Effect.andThen(sql`insert into t values (2)`, sql.unsafe(held.write)))
      const fiber = yield* Effect.forkChild(long, { startImmediately: true })
      yield* held.hasBegun
      yield* Fiber.interrupt(fiber)
      assert.strictEqual((yield* pool.stats).writer.abandoned, 1)
      yield* held.letGo
      yield* sql`insert into t values (3)`
      assert.deepStrictEqual(rows(), [1, 3])
      const { abandoned, connects } = (yield* pool.stats).writer
      assert.deepStrictEqual({ abandoned, connects }, { abandoned: 0, connects: 1 })
    }).pipe(Effect.scoped))

  it.live("is lost if its thread ends, and the pool has another one", () =>
    Effect.gen(function*() {
      const { pool, rows } = yield* make()
      const { sql } = pool
      const { terminate } = yield* pool.write((connection) => Effect.succeed(threadOf(connection)))
      const lost = pool.transaction(Effect.gen(function*() {
        yield* sql`insert into t values (2)`
        yield* Effect.promise(() => terminate())
        yield* Effect.ignore(sql`select 1`)
      }))
      const error = yield* PoolAssert.failsWith(lost, "TransactionLostError")
      assert.include(error.message, "has ended")
      yield* sql`insert into t values (3)`
      assert.deepStrictEqual(rows(), [1, 3])
    }).pipe(Effect.scoped))

  it.live("fails with the typed error of a lost statement if its thread ends meanwhile", () =>
    Effect.gen(function*() {
      const { held, pool, rows } = yield* makeHeld()
      const { sql } = pool
      const { terminate } = yield* pool.write((connection) => Effect.succeed(threadOf(connection)))
      const fiber = yield* Effect.forkChild(
        pool.transaction(
          Effect.catchTag(sql.unsafe(held.write), "SqlError", (error) => Effect.succeed(error.message))
        ),
        { startImmediately: true }
      )
      yield* held.hasBegun
      yield* Effect.promise(() => terminate())
      const error = yield* Effect.flip(Fiber.join(fiber))
      assert.strictEqual(error._tag, "TransactionLostError")
      assert.notInclude(error.message, "not known")
      assert.deepStrictEqual(rows(), [1])
    }).pipe(Effect.scoped))

  it.live("refuses violations of foreign keys that it has caused with them off, and keeps those that were there", () =>
    Effect.gen(function*() {
      const { other, pool } = yield* make()
      yield* pool.write((connection) =>
        connection.exec(
          "create table p(id integer primary key); create table c(p references p); insert into p values (1); insert into c values (1)"
        )
      )
      const drop = pool.transaction(pool.sql`delete from p`, { foreignKeys: "off" })
      const error = yield* Effect.flip(drop)
      assert.strictEqual(error._tag, "ForeignKeysViolatedError")
      assert.strictEqual(other.prepare("select count(*) as n from p").get()!["n"], 1)
      yield* pool.transaction(Effect.andThen(pool.sql`delete from p`, pool.sql`insert into p values (1)`), {
        foreignKeys: "off"
      })
      const late = pool.transaction(pool.sql`insert into c values (7)`, { foreignKeys: "deferred" })
      yield* PoolAssert.failsWith(late, "TransactionCommitError")
      // Foreign keys are on again.
      assert.strictEqual(SqliteConnection.codeOf(yield* Effect.flip(pool.sql`insert into c values (8)`)), 787)
    }).pipe(Effect.scoped))

  it.live("ends for its fibers when it ends", () =>
    Effect.gen(function*() {
      const { pool, rows } = yield* make()
      const { sql } = pool
      const gate = yield* Deferred.make<void>()
      const late = yield* pool.transaction(
        Effect.forkDetach(Effect.andThen(Deferred.await(gate), Effect.flip(sql`insert into t values (9)`)))
      )
      yield* Deferred.succeed(gate, undefined)
      const error = yield* Fiber.join(late)
      assert.include(error.message, "has ended")
      assert.deepStrictEqual(rows(), [1])
    }).pipe(Effect.scoped))

  it.live("runs a statement that waits for its turn behind an inner transaction", () =>
    Effect.gen(function*() {
      const { pool, rows } = yield* make()
      const { sql } = pool
      yield* pool.transaction(Effect.gen(function*() {
        const entered = yield* Deferred.make<void>()
        const gate = yield* Deferred.make<void>()
        const inner = yield* Effect.forkChild(Effect.exit(pool.transaction(
          Effect.gen(function*() {
            yield* sql`insert into t values (2)`
            yield* Deferred.succeed(entered, undefined)
            yield* Deferred.await(gate)
            return yield* Effect.fail("no")
          })
        )))
        yield* Deferred.await(entered)
        const behind = yield* Effect.forkChild(sql`insert into t values (3)`, { startImmediately: true })
        yield* Deferred.succeed(gate, undefined)
        assert.isTrue(Exit.isFailure(yield* Fiber.join(inner)))
        yield* Fiber.join(behind)
      }))
      assert.deepStrictEqual(rows(), [1, 3])
    }).pipe(Effect.scoped))

  it.live("has no synchronous operations, and says so with a typed error", () =>
    Effect.gen(function*() {
      const { pool } = yield* make()
      const error = yield* Effect.flip(
        pool.transaction(pool.readSync((reader) => reader.valuesUnsafe("select 1")))
      )
      assert.strictEqual(error._tag, "SqlError")
      assert.include(error.message, "runs on a worker")
      assert.isFalse("writeSync" in pool)
    }).pipe(Effect.scoped))

  it.live("fails with its own error when the shutdown takes its connection while a statement runs", () =>
    Effect.gen(function*() {
      const { held, pool, rows } = yield* makeHeld({ closeTimeout: 50 })
      const { sql } = pool
      const fiber = yield* Effect.forkChild(
        pool.transaction(Effect.andThen(sql`insert into t values (2)`, sql.unsafe(held.sql))),
        { startImmediately: true }
      )
      yield* held.hasBegun
      yield* pool.shutdown()
      assert.isTrue(Exit.isFailure(yield* Fiber.await(fiber)))
      assert.deepStrictEqual(rows(), [1])
    }).pipe(Effect.scoped))

  it.live("does not know its outcome if its thread ends while it commits, and says so", () =>
    Effect.gen(function*() {
      const { held, pool } = yield* makeHeld()
      const { sql } = pool
      const { host, terminate } = yield* pool.write((connection) => Effect.succeed(threadOf(connection)))
      // As if the thread had begun to commit.
      const committing = vi.spyOn(Words.prototype, "isCommitting").mockReturnValue(true)
      yield* Effect.addFinalizer(() => Effect.sync(() => committing.mockRestore()))
      const body = Effect.gen(function*() {
        yield* sql`insert into t values (2)`
        yield* Effect.forkDetach(Effect.ignore(sql.unsafe(held.sql)), { startImmediately: true })
        yield* held.hasBegun
      })
      const fiber = yield* Effect.forkChild(pool.transaction(body, { retry: Schedule.recurs(3) }), {
        startImmediately: true
      })
      yield* until(() => host.size === 2)
      yield* Effect.promise(() => terminate())
      const error = yield* PoolAssert.failsWith(Fiber.join(fiber), "TransactionOutcomeUnknownError")
      assert.include(error.message, "not known")
      yield* sql`insert into t values (3)`
    }).pipe(Effect.scoped))

  it.live(
    "tells each interrupted caller the truth: what it was told is not stored is not",
    () =>
      Effect.gen(function*() {
        const { other, pool } = yield* make({ synchronous: "off" })
        const { sql } = pool
        const runs = Number(process.env["WORKER_TRANSACTIONS"] ?? 100)
        const stored = new Set<number>()
        const insert = (n: number) =>
          pool.transaction(Effect.andThen(sql`insert into t values (${n})`, sql`insert into t values (-1)`))
        const usual = yield* turnsOf(insert(1))
        const one = (n: number) => interruptAtRandom(n, usual, Effect.tap(insert(n), Effect.sync(() => stored.add(n))))
        yield* Effect.forEach(
          Array.from({ length: runs }, (_, at) => at + 10),
          one,
          { concurrency: 3 }
        )
        yield* sql`select 1`
        const found = other.prepare("select a from t where a >= 10").all().map((row) => row["a"] as number)
        assert.deepStrictEqual(found.toSorted((a, b) => a - b), [...stored].toSorted((a, b) => a - b))
        assert.isAbove(found.length, 0)
      }).pipe(Effect.scoped),
    120_000
  )
})
