/** Which commits an observation hears of, and which it does not: of each way to write, and of other connections. */
import { assert, describe, it } from "@effect/vitest"
import { Deferred, Effect, Exit, Fiber, Option, Scope, Stream } from "effect"
import { SqlitePool } from "effect-connection-pool/sqlite"
import { TestClock } from "effect/testing"
import { renameSync } from "node:fs"
import { StatementSync } from "node:sqlite"
import { file, judge } from "../support/files.ts"
import { reading } from "../support/observing.ts"
import { settle } from "../support/pools.ts"

const make = Effect.fnUntraced(function*(options?: Partial<SqlitePool.Options>) {
  const filename = yield* file
  const pool = yield* SqlitePool.make({ filename, drainTimeout: 0, observeInterval: Infinity, ...options })
  yield* pool.write((connection) => connection.exec("create table t(a unique); create table other(a)"))
  const results = yield* reading(pool.observe("select count(*) as n from t"))
  yield* results.next
  /** The number of rows that the next result shows; `undefined` if there is none. */
  const shown = Effect.map(results.now, (rows) => rows?.[0]!["n"])
  return { filename, pool, shown }
})

type Write = (pool: SqlitePool.SqlitePool) => Effect.Effect<unknown, unknown>

const byHand = (...statements: ReadonlyArray<string>): Write => ({ write }) =>
  write((connection) => Effect.forEach(statements, (sql) => Effect.ignore(connection.run(sql))))

const script = (...scripts: ReadonlyArray<string>): Write => ({ write }) =>
  write((connection) => Effect.forEach(scripts, (sql) => Effect.ignore(connection.exec(sql))))

const insert = "insert into t values (1)"

/** More rows than a stream reads at once. */
const numbers = `[${Array.from({ length: 1000 }, (_, index) => index + 1).join()}]`
const manyRows = `insert into t select value from json_each('${numbers}') returning a`

const committed: Record<string, Write> = {
  "a statement": ({ sql }) => sql`insert into t values (1)`,
  "a statement with returning": ({ sql }) => sql`insert into t values (1) returning a`,
  "a stream that is read to its end": ({ sql }) => Stream.runDrain(sql`insert into t values (1) returning a`.stream),
  "a stream that is left before its end": ({ sql }) =>
    Stream.runDrain(Stream.take(sql`insert into t select 1 returning a`.stream, 1)),
  "writeSync": ({ writeSync }) => writeSync((connection) => connection.runUnsafe(insert)),
  "writeSync, in a group": ({ writeSync }) =>
    Effect.all([
      writeSync((connection) => connection.runUnsafe("insert into other values (1)")),
      Effect.ignore(
        writeSync(() => {
          throw new Error("not this one")
        }).pipe(Effect.catchDefect(() => Effect.void))
      ),
      writeSync((connection) => connection.runUnsafe(insert))
    ], { concurrency: "unbounded" }),
  "a transaction": ({ sql, transaction }) => transaction(sql`insert into t values (1)`),
  "an inner transaction": ({ sql, transaction }) => transaction(transaction(sql`insert into t values (1)`)),
  "a transaction in which an inner one was rolled back": ({ sql, transaction }) =>
    transaction(Effect.andThen(
      sql`insert into t values (1)`,
      Effect.ignore(transaction(Effect.andThen(sql`insert into other values (1)`, Effect.fail("no"))))
    )),
  "a transaction of effect/sql": ({ sql }) => sql.withTransaction(sql`insert into t values (1)`),
  "write": ({ write }) => write((connection) => connection.run(insert)),
  "a script": script(insert),
  "a script that goes on with another transaction, which is rolled back later": script(
    `${insert}; begin; insert into other values (1)`,
    "rollback"
  ),
  "a script that ends a transaction and rolls back another": script(`begin; ${insert}`, "commit; begin; rollback"),
  "a script that fails after it": script(`${insert}; insert into nothing values (1)`),
  "begin and commit by hand": byHand("begin", insert, "commit"),
  "begin and end by hand, as scripts": script("begin", insert, "end"),
  "the release of an outermost savepoint": byHand("savepoint x", insert, "release x"),
  "a statement that keeps what it did before it failed": byHand("insert or fail into t values (1), (1)"),
  "a commit that succeeds at the second attempt": byHand("begin", insert, "commit to nothing", "commit")
}

const uncommitted: Record<string, Write> = {
  "a transaction that fails": ({ sql, transaction }) =>
    Effect.ignore(transaction(Effect.andThen(sql`insert into t values (1)`, Effect.fail("no")))),
  "a transaction that is interrupted": ({ sql, transaction }) =>
    Effect.gen(function*() {
      const body = Effect.andThen(sql`insert into t values (1)`, Effect.never)
      const fiber = yield* Effect.forkChild(transaction(body))
      yield* settle
      yield* Fiber.interrupt(fiber)
    }),
  "writeSync that throws": ({ writeSync }) =>
    Effect.ignore(writeSync((connection) => {
      connection.runUnsafe(insert)
      connection.runUnsafe("insert into nothing values (1)")
    })),
  "rollback by hand": byHand("begin", insert, "rollback"),
  "rollback in a script": script(`begin; ${insert}`, "rollback"),
  "a transaction that is left open": byHand("begin", insert)
}

describe("an observation", () => {
  for (const [name, write] of Object.entries(committed)) {
    for (const place of ["in a file", "in memory"] as const) {
      it.effect(`hears of the commit of ${name}, ${place}`, () =>
        Effect.gen(function*() {
          const { pool, shown } = yield* make(place === "in memory" ? { filename: ":memory:" } : {})
          yield* write(pool)
          assert.strictEqual(yield* shown, 1)
          assert.isUndefined(yield* shown)
          // The same again, with statements that are prepared already.
          yield* pool.sql`delete from t`
          assert.strictEqual(yield* shown, 0)
          yield* write(pool)
          assert.strictEqual(yield* shown, 1)
        }))
    }
  }

  for (const [name, write] of Object.entries(uncommitted)) {
    it.effect(`does not hear of ${name}`, () =>
      Effect.gen(function*() {
        const { pool, shown } = yield* make()
        yield* write(pool)
        assert.isUndefined(yield* shown)
        yield* pool.sql`insert into other values (1)`
        assert.isUndefined(yield* shown)
        yield* pool.sql`insert into t values (1)`
        assert.strictEqual(yield* shown, 1)
      }))
  }

  it.effect("hears of each commit inside one lease at once, and of nothing before it", () =>
    Effect.gen(function*() {
      const { pool, shown } = yield* make()
      yield* pool.write((connection) =>
        Effect.gen(function*() {
          yield* connection.run(insert)
          assert.strictEqual(yield* shown, 1)
          yield* connection.exec("begin")
          yield* connection.run("insert into t values (2)")
          assert.isUndefined(yield* shown)
          yield* connection.exec("commit")
          assert.strictEqual(yield* shown, 2)
        })
      )
    }))

  it.effect("hears of rows that are written by a stream when its statement has ended, and not before", () =>
    Effect.gen(function*() {
      const { pool, shown } = yield* make()
      yield* pool.write((connection) =>
        Effect.gen(function*() {
          const scope = yield* Scope.make()
          yield* Effect.flatten(Scope.provide(Stream.toPull(connection.stream(manyRows)), scope))
          // SQLite commits it together with the statement that still runs.
          yield* connection.run("insert into t values (0)")
          assert.isUndefined(yield* shown)
          yield* Scope.close(scope, Exit.void)
          assert.strictEqual(yield* shown, 1001)
        })
      )
    }))

  it.effect("hears of the commit of a transaction that had written before it began", () =>
    Effect.gen(function*() {
      const pool = yield* SqlitePool.makeTemporary({ observeInterval: Infinity })
      yield* pool.sql`create table t(a)`
      const written = yield* Deferred.make<void>()
      const goesOn = yield* Deferred.make<void>()
      const transaction = yield* Effect.forkChild(pool.transaction(Effect.gen(function*() {
        yield* pool.sql`insert into t values (1)`
        yield* Deferred.succeed(written, void 0)
        yield* Deferred.await(goesOn)
      })))
      yield* Deferred.await(written)
      const results = yield* reading(pool.observe("select a from t"))
      assert.deepEqual(yield* results.now, [])
      yield* Deferred.succeed(goesOn, void 0)
      yield* Fiber.join(transaction)
      assert.deepEqual(yield* results.now, [{ a: 1 }])
    }))

  it.effect("hears of the rows of a stream that was open before it began", () =>
    Effect.gen(function*() {
      const pool = yield* SqlitePool.makeTemporary({ observeInterval: Infinity })
      yield* pool.sql`create table t(a)`
      yield* pool.write((connection) =>
        Effect.gen(function*() {
          const scope = yield* Scope.make()
          yield* Effect.flatten(Scope.provide(Stream.toPull(connection.stream(manyRows)), scope))
          const results = yield* reading(pool.observe("select count(*) as n from t"))
          assert.deepEqual(yield* results.now, [{ n: 0 }])
          yield* Scope.close(scope, Exit.void)
          assert.deepEqual(yield* results.now, [{ n: 1000 }])
        })
      )
    }))

  it.effect("hears of the commits of another connection after observeInterval, and at the end of each lease", () =>
    Effect.gen(function*() {
      const { filename, pool, shown } = yield* make({ observeInterval: "1 second" })
      const other = yield* judge(filename)
      other.exec(insert)
      yield* TestClock.adjust("990 millis")
      assert.isUndefined(yield* shown)
      yield* TestClock.adjust("10 millis")
      assert.strictEqual(yield* shown, 1)
      other.exec("insert into t values (2)")
      yield* pool.write(() => Effect.void)
      assert.strictEqual(yield* shown, 2)
      // What was rolled back, or is not committed, is not heard.
      other.exec("begin; insert into t values (3); rollback; begin; insert into t values (4)")
      yield* TestClock.adjust("1 second")
      assert.isUndefined(yield* shown)
      other.exec("commit")
      yield* TestClock.adjust("1 second")
      assert.strictEqual(yield* shown, 3)
    }))

  it.effect("hears of the commits of another connection while the writer is in use, but between transactions", () =>
    Effect.gen(function*() {
      const { filename, pool, shown } = yield* make({ observeInterval: "1 second" })
      const other = yield* judge(filename)
      yield* pool.write((connection) =>
        Effect.gen(function*() {
          other.exec(insert)
          yield* TestClock.adjust("1 second")
          assert.strictEqual(yield* shown, 1)
          // Asking would fix what this transaction sees.
          yield* connection.exec("begin")
          yield* TestClock.adjust("1 second")
          other.exec("insert into t values (2)")
          yield* TestClock.adjust("1 second")
          assert.deepStrictEqual(yield* connection.values("select count(*) from t"), [[2]])
          yield* connection.exec("commit")
          yield* TestClock.adjust("1 second")
          assert.strictEqual(yield* shown, 2)
        })
      )
    }))

  it.effect("has others asked only while it lasts", () =>
    Effect.gen(function*() {
      const pool = yield* SqlitePool.makeTemporary({ observeInterval: "1 second" })
      yield* pool.sql`create table t(a)`
      let asked = 0
      const get = StatementSync.prototype.get
      yield* Effect.acquireRelease(
        Effect.sync(() => {
          StatementSync.prototype.get = function(this: StatementSync, ...args: Parameters<typeof get>) {
            asked++
            return get.apply(this, args)
          } as typeof get
        }),
        () => Effect.sync(() => void (StatementSync.prototype.get = get))
      )
      const passes = Effect.suspend(() => {
        asked = 0
        return Effect.andThen(TestClock.adjust("10 seconds"), pool.write(() => Effect.void))
      })
      yield* passes
      assert.strictEqual(asked, 0)
      yield* Effect.scoped(Effect.gen(function*() {
        const results = yield* reading(pool.observe("select a from t"))
        const commits = yield* reading(pool.commits)
        yield* results.next
        yield* commits.now
        yield* passes
        assert.strictEqual(asked, 11)
      }))
      yield* passes
      assert.strictEqual(asked, 0)
    }))

  it.effect("runs again on a connection that was opened anew, which may have missed commits", () =>
    Effect.gen(function*() {
      const { pool, shown } = yield* make({ observeInterval: "1 second" })
      yield* pool.writer.recycle
      yield* settle
      assert.strictEqual(yield* shown, 0)
      // A changed setting has the connection opened again after the lease.
      yield* pool.write((connection) => connection.run("pragma cache_size = 100"))
      yield* TestClock.adjust("1 second")
      assert.strictEqual(yield* shown, 0)
      yield* pool.readers.recycle
      yield* pool.sql`insert into t values (1)`
      assert.strictEqual(yield* shown, 1)
      yield* TestClock.adjust("10 seconds")
      assert.isUndefined(yield* shown)
    }))

  it.effect("follows the file at its path when that is replaced", () =>
    Effect.gen(function*() {
      const { filename, shown } = yield* make({ observeInterval: "20 millis" })
      assert.isUndefined(yield* shown)
      const another = `${filename}-another`
      yield* Effect.scoped(judge(another, "create table t(a); insert into t values (1), (2), (3)"))
      renameSync(another, filename)
      yield* TestClock.adjust("100 millis")
      assert.strictEqual(yield* shown, 3)
    }))

  it.effect("sees only what is committed, also when it is begun inside a transaction", () =>
    Effect.gen(function*() {
      const { pool } = yield* make()
      yield* pool.transaction(Effect.gen(function*() {
        yield* pool.sql`insert into t values (1)`
        const heads = [
          Stream.runHead(pool.observe("select a from t")),
          Stream.runHead(pool.observe(pool.sql`select a from t`))
        ]
        for (const head of heads) assert.deepEqual(Option.getOrUndefined(yield* head), [])
      }))
    }))
})
