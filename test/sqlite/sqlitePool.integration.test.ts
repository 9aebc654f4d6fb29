import { assert, describe, it } from "@effect/vitest"
import { Cause, Deferred, Effect, Exit, Fiber, Layer, Scope } from "effect"
import { SqliteConnection, SqlitePool, type SqliteReader } from "effect-connection-pool/sqlite"
import { PoolAssert } from "effect-connection-pool/testing"
import { SqlError } from "effect/sql/SqlError"
import { TestClock } from "effect/testing"
import { existsSync } from "node:fs"
import { dirname } from "node:path"
import { elsewhere, file, judge } from "../support/files.ts"
import { settle } from "../support/pools.ts"
import { count, insert, make, table } from "../support/sqlitePools.ts"

describe("a pool over a file", () => {
  it.effect("reads and writes, each on a connection of its own", () =>
    Effect.gen(function*() {
      const { filename, pool } = yield* make()
      assert.deepStrictEqual(yield* pool.write(insert), { changes: 1, lastInsertRowid: 2 })
      assert.strictEqual(yield* pool.read(count), 2)
      assert.deepStrictEqual(yield* pool.readSync((reader) => reader.queryUnsafe("select a from t")), [
        { a: 1 },
        { a: 1 }
      ])
      const written = pool.writeSync((connection) => connection.runUnsafe("insert into t values (?)", [3]))
      assert.deepStrictEqual(yield* written, { changes: 1, lastInsertRowid: 3 })
      assert.strictEqual(pool.filename, filename)
      const { readers, walBytes, writer } = yield* pool.stats
      assert.deepStrictEqual(
        [writer.pool, writer.checkouts, writer.total, readers.pool, readers.checkouts, readers.total],
        ["sqlite/writer", 3, 1, "sqlite/readers", 2, 1]
      )
      assert.isAbove(walBytes, 0)
      const other = yield* judge(filename)
      assert.deepStrictEqual(other.prepare("select count(*) as n from t").get()!["n"], 3)
    }))

  it.effect("opens as many readers as are needed at once, and no more than there may be", () =>
    Effect.gen(function*() {
      const { pool } = yield* make({ readers: 2 })
      assert.strictEqual((yield* pool.stats).readers.total, 0)
      const gate = yield* Deferred.make<void>()
      const fibers = yield* Effect.forEach(
        Array.from({ length: 5 }),
        () => Effect.forkChild(pool.read((reader) => Effect.andThen(Deferred.await(gate), count(reader))))
      )
      yield* settle
      const { readers } = yield* pool.stats
      assert.deepStrictEqual([readers.inUse, readers.total, readers.waiting], [2, 2, 3])
      yield* Deferred.succeed(gate, undefined)
      assert.deepStrictEqual(yield* Effect.forEach(fibers, Fiber.join), [1, 1, 1, 1, 1])
    }))

  it.effect("never lets readers wait for a writer, however long it takes", () =>
    Effect.gen(function*() {
      const { pool } = yield* make({ readers: 1 })
      const begun = yield* Deferred.make<void>()
      const readersDone = yield* Deferred.make<void>()
      const writer = yield* Effect.forkChild(pool.write((connection) =>
        Effect.gen(function*() {
          yield* connection.exec("begin immediate; insert into t values (2)")
          yield* Deferred.succeed(begun, undefined)
          yield* Deferred.await(readersDone)
          yield* connection.exec("commit")
        })
      ))
      yield* Deferred.await(begun)
      // All of them come to their end while the transaction is open: it ends only after them.
      const seen = yield* Effect.forEach(Array.from({ length: 50 }), () => pool.read(count), {
        concurrency: "unbounded"
      })
      assert.deepStrictEqual(new Set(seen), new Set([1]))
      yield* Deferred.succeed(readersDone, undefined)
      yield* Fiber.join(writer)
      assert.strictEqual(yield* pool.read(count), 2)
      assert.strictEqual((yield* pool.stats).writer.maxWaitMillis, 0)
    }))

  it.effect("lets neither readers wait for a writer, nor the writer for readers in a loop", () =>
    Effect.gen(function*() {
      const { pool } = yield* make()
      const readers = yield* Effect.forEach(
        Array.from({ length: 50 }),
        () => Effect.forkChild(Effect.forever(Effect.andThen(pool.read(count), Effect.yieldNow)))
      )
      for (let write = 0; write < 20; write++) yield* pool.write((connection) => Effect.asVoid(insert(connection)))
      const { writer } = yield* pool.stats
      assert.strictEqual(writer.maxWaitMillis, 0)
      yield* Fiber.interruptAll(readers)
      assert.strictEqual(yield* pool.read(count), 21)
    }))

  it.effect("shows a read everything that was written before it asked, always", () =>
    Effect.gen(function*() {
      const { pool } = yield* make()
      let written = 1
      const writing = Effect.gen(function*() {
        for (let at = 0; at < 200; at++) {
          yield* pool.write(insert)
          written++
          // Whoever asks now must see it, whichever reader it gets.
          const expected = written
          const seen = yield* pool.read(count)
          assert.isAtLeast(seen as number, expected)
        }
      })
      const reading = Effect.gen(function*() {
        for (let at = 0; at < 200; at++) {
          const before = written
          assert.isAtLeast(
            (yield* pool.read((reader) => Effect.andThen(Effect.yieldNow, count(reader)))) as number,
            before
          )
        }
      })
      yield* Effect.all([writing, reading, reading, writing, reading], { concurrency: "unbounded" })
    }))

  it.effect("lets writers wait in the pool's line, in order, and never in SQLite", () =>
    Effect.gen(function*() {
      const { pool } = yield* make()
      yield* pool.write((connection) => connection.exec("create table log(n integer primary key autoincrement, who)"))
      const failures: Array<unknown> = []
      const write = (who: number) =>
        pool.write((connection) =>
          Effect.gen(function*() {
            yield* connection.exec("begin immediate")
            yield* Effect.yieldNow
            yield* connection.run("insert into log(who) values (?)", [who])
            yield* Effect.yieldNow
            yield* connection.exec("commit")
          })
        ).pipe(Effect.tapCause((cause) => Effect.sync(() => failures.push(cause))))
      const fibers = []
      for (let who = 0; who < 200; who++) fibers.push(yield* Effect.forkChild(write(who)))
      yield* Effect.forEach(fibers, Fiber.join)
      assert.deepStrictEqual(failures, [])
      const order = yield* pool.read((reader) => reader.values("select who from log order by n"))
      assert.deepStrictEqual(order, Array.from({ length: 200 }, (_, who) => [who]))
    }))

  it.effect("refuses to write with a reader, and to fall back to the one who could", () =>
    Effect.gen(function*() {
      const { filename, pool } = yield* make()
      const statements = [
        "insert into t values (2)",
        "delete from t",
        "update t set a = 2 returning a",
        "create table u(a)",
        "drop table t",
        "pragma user_version = 3",
        "with x as (select 1) insert into t select * from x"
      ]
      for (const sql of statements) {
        const attempts: ReadonlyArray<Effect.Effect<unknown, unknown>> = [
          pool.read((reader) => reader.query(sql)),
          pool.read((reader) => reader.values(sql)),
          pool.readSync((reader) => reader.queryUnsafe(sql)),
          pool.readSync((reader) => reader.valuesUnsafe(sql)),
          pool.snapshot(pool.read((reader) => reader.query(sql)))
        ]
        for (const attempt of attempts) {
          const error = yield* Effect.flip(attempt)
          assert.strictEqual(SqliteConnection.codeOf(error), 8, sql)
        }
      }
      // By its type it cannot even be asked: another method would not compile here.
      const methods = ["query", "values", "stream", "queryUnsafe", "valuesUnsafe"] as const
      const none: Exclude<keyof SqliteReader.SqliteSyncReader, typeof methods[number]> extends never ? true : false =
        true
      assert.isTrue(none)
      const other = yield* judge(filename)
      assert.deepStrictEqual(other.prepare("select * from t").all(), [Object.assign(Object.create(null), { a: 1 })])
      assert.strictEqual((yield* pool.stats).writer.checkouts, 1)
    }))

  it.effect("refuses to take the right to write with a reader, which SQLite would only seem to give", () =>
    Effect.gen(function*() {
      const { pool } = yield* make()
      const begin = (sql: string) => pool.read((reader) => reader.query(sql))
      for (const sql of ["begin immediate", " /* now */ BEGIN\n  Exclusive transaction"]) {
        assert.strictEqual(SqliteConnection.codeOf(yield* Effect.flip(begin(sql))), 8)
        const script = pool.readers.use((connection) => connection.exec(`select 1; ${sql}; select 2`))
        assert.strictEqual(SqliteConnection.codeOf(yield* Effect.flip(script)), 8)
        yield* pool.write((connection) => connection.exec(sql))
      }
      yield* begin("begin")
      yield* begin("begin deferred")
    }))

  it.effect("turns the error of a connection into a failure, and a bug into a defect", () =>
    Effect.gen(function*() {
      const { pool } = yield* make()
      const bug = new TypeError("a bug")
      for (const side of ["readSync", "writeSync"] as const) {
        const error = yield* Effect.flip(pool[side]((reader) => reader.queryUnsafe("nonsense")))
        assert.instanceOf(error, SqlError)
        const buggy = pool[side](() => {
          throw bug
        })
        assert.deepStrictEqual(yield* Effect.exit(buggy), Exit.die(bug))
        assert.deepStrictEqual(
          yield* Effect.exit(pool.snapshot(Effect.sync(() => {
            throw bug
          }))),
          Exit.die(bug)
        )
      }
    }))

  it.effect("ends both of two fibers that want what the other has, one after the other, or with a typed error", () =>
    Effect.gen(function*() {
      const { pool } = yield* make({ readers: 1, acquireTimeout: "1 second" })
      const both = yield* Deferred.make<void>()
      let inside = 0
      const meet = Effect.suspend(() => ++inside === 2 ? Deferred.succeed(both, undefined) : Deferred.await(both))
      const readThenWrite = pool.read(() => Effect.andThen(meet, pool.write(insert)))
      const writeThenRead = pool.write(() => Effect.andThen(meet, pool.read(count)))
      const first = yield* Effect.forkChild(Effect.exit(Effect.asVoid(readThenWrite)))
      const second = yield* Effect.forkChild(Effect.exit(Effect.asVoid(writeThenRead)))
      yield* settle
      yield* TestClock.adjust("1 second")
      const failed = [yield* Fiber.join(first), yield* Fiber.join(second)].filter(Exit.isFailure)
      assert.isAtLeast(failed.length, 1)
      for (const exit of failed) yield* PoolAssert.failsWith(exit, "AcquireTimeoutError")
      assert.isAtMost((yield* pool.read(count)) as number, 2)
      yield* pool.write(insert)
    }))

  it.effect("refuses a write within a write of the same fiber at once, but not a read", () =>
    Effect.gen(function*() {
      const { pool } = yield* make()
      const nested = pool.write(() => pool.write(insert))
      const error = yield* PoolAssert.failsWith(nested, "SelfDeadlockError")
      // No option gives the database a second connection that writes.
      assert.notInclude(error.message, "raise")
      assert.strictEqual(yield* pool.write(() => pool.read(count)), 1)
    }))

  it.effect("names the option readers if a fiber that holds all readers asks for another", () =>
    Effect.gen(function*() {
      const { pool } = yield* make({ readers: 1 })
      const error = yield* PoolAssert.failsWith(pool.read(() => pool.read(count)), "SelfDeadlockError")
      assert.include(error.message, "or raise readers (1)")
    }))
})

describe("a temporary database", () => {
  it.effect("behaves like a database in a file, and is gone at its end", () =>
    Effect.gen(function*() {
      const scope = yield* Scope.make()
      const pool = yield* Scope.provide(SqlitePool.makeTemporary(), scope)
      yield* table(pool)
      assert.strictEqual(yield* pool.snapshot(Effect.andThen(elsewhere(pool.write(insert)), pool.read(count))), 1)
      assert.isTrue(existsSync(pool.filename))
      assert.deepStrictEqual(yield* pool.write((connection) => connection.values("pragma synchronous")), [[0]])
      yield* Scope.close(scope, Exit.void)
      assert.isFalse(existsSync(dirname(pool.filename)))
    }))

  it.effect("is given as a layer, each a new one", () =>
    Effect.gen(function*() {
      const program = Effect.gen(function*() {
        const pool = yield* SqlitePool.SqlitePool
        yield* table(pool)
        return yield* pool.read(count)
      })
      assert.strictEqual(yield* Effect.provide(program, SqlitePool.layerTemporary()), 1)
      assert.strictEqual(yield* Effect.provide(program, SqlitePool.layerTemporary({ readers: 1, name: "test" })), 1)
    }))
})

class Orders extends SqlitePool.Service<Orders>()("test/Orders") {}

class Archive extends SqlitePool.Service<Archive>()("test/Archive") {}

describe("a service", () => {
  it.effect("is one database each", () =>
    Effect.gen(function*() {
      const filename = yield* file
      const program = Effect.gen(function*() {
        const orders = yield* Orders
        const archive = yield* Archive
        yield* table(orders)
        yield* table(archive)
        yield* orders.write(insert)
        return [yield* orders.read(count), yield* archive.read(count)]
      })
      const layers = Layer.merge(Orders.layer({ filename }), Archive.layerTemporary())
      assert.deepStrictEqual(yield* Effect.provide(program, layers), [2, 1])
      const again = Effect.flatMap(SqlitePool.SqlitePool, (pool) => pool.read(count))
      assert.strictEqual(yield* Effect.provide(again, SqlitePool.layer({ filename })), 2)
    }))
})

describe("a function of a pool that gets a connection", () => {
  it.effect("and returns no Effect is a defect that says so, in a transaction as well, and costs neither", () =>
    Effect.gen(function*() {
      for (const filename of [yield* file, ":memory:"]) {
        const pool = yield* SqlitePool.make({ filename, drainTimeout: 0 })
        yield* pool.write((connection) => connection.exec("create table if not exists t(a)"))
        const promises = (async () => 1) as unknown as () => Effect.Effect<never>
        const ways = [pool.write(promises), pool.read(promises)]
        for (const way of ways) {
          const message = Effect.map(
            Effect.exit(way),
            (exit) => Exit.isFailure(exit) && String(Cause.squash(exit.cause))
          )
          const expected = "TypeError: the function that was given the connection returned no Effect, " +
            "but an object (Promise): Effect.tryPromise makes an Effect of a promise"
          assert.strictEqual(yield* message, expected)
          assert.strictEqual(
            yield* pool.transaction(Effect.andThen(pool.sql`insert into t values (1)`, message)),
            expected
          )
        }
        assert.deepStrictEqual(yield* pool.readSync((reader) => reader.valuesUnsafe("select count(*) from t")), [[2]])
      }
    }))
})

describe("a synchronous function of a pool", () => {
  it.effect("that returns an Effect or a promise is a defect that says what to use, because nothing would run it", () =>
    Effect.gen(function*() {
      for (const filename of [yield* file, ":memory:"]) {
        const pool = yield* SqlitePool.make({ filename, drainTimeout: 0 })
        yield* pool.write((connection) => connection.exec("create table t(a)"))
        const ways: ReadonlyArray<readonly [Effect.Effect<unknown, unknown>, RegExp]> = [
          [
            pool.writeSync((connection) => connection.run("insert into t values (1)")),
            /writeSync returned an Effect.*use write/
          ],
          [pool.readSync((reader) => reader.query("select * from t")), /readSync returned an Effect.*use read/],
          [pool.writeSync(async () => 1), /writeSync returned a promise.*use write/],
          [pool.readSync(async () => 1), /readSync returned a promise.*use read/]
        ]
        for (const [way, message] of ways) {
          for (const run of [way, pool.transaction(way)]) {
            const exit = yield* Effect.exit(run)
            assert.isTrue(Exit.isFailure(exit) && Cause.hasDies(exit.cause))
            assert.match(Exit.isFailure(exit) ? String(Cause.squash(exit.cause)) : "", message)
          }
        }
        assert.deepStrictEqual(yield* pool.readSync((reader) => reader.valuesUnsafe("select count(*) from t")), [[0]])
      }
    }))
})
