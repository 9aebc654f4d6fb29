import { assert, describe, it } from "@effect/vitest"
import { Deferred, Effect, Exit, Fiber, Scope, Stream } from "effect"
import { ConnectionPool, PoolError } from "effect-connection-pool"
import { SqliteConnection } from "effect-connection-pool/sqlite"
import { PoolAssert } from "effect-connection-pool/testing"
import { SafeIntegers } from "effect/sql/SqlClient"
import { SqlError } from "effect/sql/SqlError"
import { DatabaseSync } from "node:sqlite"
import { refusing } from "../support/database.ts"
import { file, judge, openFiles } from "../support/files.ts"

const { factory, failure } = SqliteConnection

/** A pool of one connection, so that every lease gets what the one before it left. */
const make = (options: SqliteConnection.Options) => ConnectionPool.make({ factory: factory(options), max: 1 })

/** A pool of one connection to a new file with an empty table. */
const makeWithTable = Effect.gen(function*() {
  const filename = yield* file
  const pool = yield* make({ filename })
  yield* pool.use((connection) => connection.exec("create table t(a)"))
  return { filename, pool }
})

describe("a pool of SQLite connections", () => {
  it.effect("lends several to one file, which do not hinder each other", () =>
    Effect.gen(function*() {
      const filename = yield* file
      const pool = yield* ConnectionPool.make({ factory: factory({ filename }), max: 4 })
      yield* pool.use((connection) => connection.exec("create table t(a); insert into t values (1)"))
      const written = yield* Deferred.make<void>()
      const seen = yield* Deferred.make<void>()
      const writer = yield* Effect.forkChild(pool.use((connection) =>
        Effect.gen(function*() {
          yield* connection.exec("begin immediate; insert into t values (2)")
          yield* Deferred.succeed(written, undefined)
          yield* Deferred.await(seen)
          yield* connection.exec("commit")
        })
      ))
      yield* Deferred.await(written)
      const count = pool.use((connection) => connection.values("select count(*) from t"))
      assert.deepStrictEqual(yield* count, [[1]])
      yield* Deferred.succeed(seen, undefined)
      yield* Fiber.join(writer)
      assert.deepStrictEqual(yield* count, [[2]])
      assert.strictEqual((yield* pool.stats).total, 2)
    }))

  it.effect("runs a synchronous body in one step, and its errors are failures", () =>
    Effect.gen(function*() {
      const { pool } = yield* makeWithTable
      const insert = (value: SqliteConnection.Param) =>
        pool.useSync({
          try: (connection) => connection.runUnsafe("insert into t values (?)", [value]),
          catch: failure
        })
      assert.deepStrictEqual(yield* insert(1), { changes: 1, lastInsertRowid: 1 })
      const error = yield* PoolAssert.failsWith(insert(Number.NaN), "SqlError")
      assert.include(error.message, "parameter 1 is NaN")
      assert.deepStrictEqual(yield* pool.useSync((connection) => connection.queryUnsafe("select a from t")), [{ a: 1 }])
      const bug = new TypeError("a bug")
      const buggy = pool.useSync({
        try: () => {
          throw bug
        },
        catch: failure
      })
      assert.deepStrictEqual(yield* Effect.exit(buggy), Exit.die(bug))
    }))

  it.effect("takes SafeIntegers from the caller", () =>
    Effect.gen(function*() {
      const { pool } = yield* makeWithTable
      const one = pool.use((connection) => connection.values("select 1"))
      assert.deepStrictEqual(yield* one, [[1]])
      assert.deepStrictEqual(yield* Effect.provideService(one, SafeIntegers, true), [[1n]])
      assert.deepStrictEqual(yield* one, [[1]])
    }))

  it.effect("closes every connection when it ends", () =>
    Effect.gen(function*() {
      const filename = yield* file
      yield* Effect.scoped(Effect.gen(function*() {
        const pool = yield* ConnectionPool.make({ factory: factory({ filename }), min: 3, max: 3 })
        assert.isAtLeast(openFiles(filename), 3)
        assert.deepStrictEqual(yield* pool.shutdown(), {
          returned: 0,
          interrupted: 0,
          revoked: 0,
          abandoned: [],
          closeTimeouts: 0
        })
        assert.strictEqual(openFiles(filename), 0)
      }))
    }))
})

const begun = (connection: SqliteConnection.SqliteConnection) =>
  connection.exec("begin; savepoint a; insert into t values (1)")

describe("a lease", () => {
  it.effect("begins outside a transaction, however the one before it ended", () =>
    Effect.gen(function*() {
      const { pool } = yield* makeWithTable
      const bodies: ReadonlyArray<Effect.Effect<unknown, unknown>> = [
        pool.use(begun),
        pool.use((connection) => Effect.andThen(begun(connection), Effect.fail("no"))),
        pool.use((connection) => Effect.andThen(begun(connection), Effect.die("no"))),
        pool.use((connection) => Effect.andThen(begun(connection), Effect.interrupt)),
        pool.useSync((connection) => connection.execUnsafe("begin; insert into t values (1)")),
        Effect.scoped(Effect.flatMap(pool.acquire(), begun))
      ]
      for (const body of bodies) {
        yield* Effect.exit(body)
        const found = yield* pool.use((connection) =>
          Effect.all([connection.isTransaction, connection.query("select * from t")])
        )
        assert.deepStrictEqual(found, [false, []])
      }
      // The connection is the same all the time.
      assert.strictEqual((yield* pool.stats).connects, 1)
      assert.strictEqual((yield* pool.connections)[0]?.id, 1)
    }))

  it.effect("does not wait for a transaction that was left open", () =>
    Effect.gen(function*() {
      const { filename, pool } = yield* makeWithTable
      yield* pool.use((connection) => connection.exec("begin immediate"))
      yield* pool.use(() => Effect.void)
      const other = yield* judge(filename, "begin immediate; insert into t values (1); commit")
      assert.isTrue(other.isOpen)
    }))

  it.effect("is useless after its end, and does nothing then", () =>
    Effect.gen(function*() {
      const { pool } = yield* makeWithTable
      const lent = yield* pool.use(Effect.succeed)
      const insert = "insert into t values (1)"
      const attempt = (f: () => unknown) => Effect.try({ try: f, catch: failure })
      const operations: Record<string, Effect.Effect<unknown, unknown>> = {
        query: lent.query(insert),
        values: lent.values(insert),
        run: lent.run(insert),
        exec: lent.exec(insert),
        stream: Stream.runDrain(lent.stream(insert)),
        isTransaction: lent.isTransaction,
        queryUnsafe: attempt(() => lent.queryUnsafe(insert)),
        valuesUnsafe: attempt(() => lent.valuesUnsafe(insert)),
        runUnsafe: attempt(() => lent.runUnsafe(insert)),
        execUnsafe: attempt(() => lent.execUnsafe(insert)),
        isTransactionUnsafe: attempt(() => lent.isTransactionUnsafe())
      }
      for (const [operation, effect] of Object.entries(operations)) {
        const expected = new PoolError.LeaseExpiredError({ pool: "pool", operation })
        assert.deepStrictEqual(yield* Effect.flip(effect), expected)
        // Nor does the next lease bring it back.
        assert.deepStrictEqual(yield* pool.use(() => Effect.flip(effect)), expected)
      }
      assert.deepStrictEqual(yield* pool.use((connection) => connection.query("select * from t")), [])
    }))

  it.effect("can end between the making of an effect and its run", () =>
    Effect.gen(function*() {
      const { pool } = yield* makeWithTable
      const late = yield* pool.use((connection) => Effect.succeed(connection.run("insert into t values (1)")))
      assert.deepStrictEqual(
        yield* Effect.flip(late),
        new PoolError.LeaseExpiredError({ pool: "pool", operation: "run" })
      )
    }))

  it.effect("begins with the settings of the options", () =>
    Effect.gen(function*() {
      const { filename, pool } = yield* makeWithTable
      const look = pool.useSync((connection) => ({
        foreignKeys: connection.valuesUnsafe("pragma foreign_keys")[0]![0],
        cacheSize: connection.valuesUnsafe("pragma cache_size")[0]![0],
        queryOnly: connection.valuesUnsafe("pragma query_only")[0]![0],
        busyTimeout: connection.valuesUnsafe("pragma busy_timeout")[0]![0],
        databases: connection.valuesUnsafe("select name from pragma_database_list"),
        temporary: connection.valuesUnsafe("select name from temp.sqlite_schema")
      }))
      const clean = yield* look
      const changes = [
        "pragma foreign_keys = off",
        "pragma cache_size(10); select 1",
        "pragma query_only = on",
        "pragma busy_timeout = 5000",
        `attach '${filename}2' as other`,
        "create temp table x(a)",
        "create table temp.x(a)",
        "create table \"temp\".x(a)",
        "create table [temp].x(a)",
        "explain pragma foreign_keys = off",
        "explain pragma busy_timeout = 700",
        "begin; create temporary view v as select 1; select 1"
      ]
      for (const change of changes) {
        yield* pool.use((connection) => connection.exec(change))
        assert.deepStrictEqual(yield* look, clean, change)
      }
      yield* pool.use((connection) => connection.query("pragma foreign_keys = off"))
      assert.deepStrictEqual(yield* look, clean)
      yield* pool.use((connection) => connection.run("insert into t values (1)"))
      assert.strictEqual((yield* pool.stats).connects, 1)
      yield* Effect.scoped(Effect.flatMap(pool.acquire(), (connection) => connection.run("pragma query_only = 1")))
      yield* pool.shutdown()
      assert.strictEqual(openFiles(filename), 0)
    }))

  it.effect("finds in memory what the one before it left, under the settings of the options", () =>
    Effect.gen(function*() {
      const pool = yield* make({ filename: ":memory:" })
      yield* pool.use((connection) =>
        connection.exec("create table t(a); insert into t values (1); pragma foreign_keys = off; pragma cache_size = 1")
      )
      const found = yield* pool.useSync((connection) => [
        ...connection.valuesUnsafe("select a from t"),
        ...connection.valuesUnsafe("pragma foreign_keys"),
        ...connection.valuesUnsafe("pragma cache_size")
      ])
      assert.deepStrictEqual(found, [[1], [1], [-8000]])
      yield* pool.use((connection) => connection.exec("begin; delete from t"))
      assert.deepStrictEqual(yield* pool.use((connection) => connection.values("select a from t")), [[1]])
      assert.strictEqual((yield* pool.stats).connects, 1)
    }))
})

describe("a database in memory", () => {
  it.effect("is one, however many ask for a connection to it", () =>
    Effect.gen(function*() {
      const factory = SqliteConnection.factory({ filename: ":memory:" })
      const pool = yield* ConnectionPool.make({ factory, min: 1, drainTimeout: 0 })
      yield* pool.use((connection) => connection.exec("create table t(a)"))
      const write = pool.use((connection) =>
        Effect.andThen(connection.run("insert into t values (1)"), Effect.yieldNow)
      )
      yield* Effect.all([write, write, write], { concurrency: 3 })
      assert.deepStrictEqual(yield* pool.use((connection) => connection.values("select count(*) from t")), [[3]])
      assert.strictEqual((yield* pool.stats).connects, 1)
    }))
})

describe("a connection", () => {
  it.effect("is replaced if it cannot be rolled back", () =>
    Effect.gen(function*() {
      const { pool } = yield* makeWithTable
      const real = DatabaseSync.prototype.exec
      let rollbacks = 0
      yield* Effect.acquireRelease(
        Effect.sync(() => {
          DatabaseSync.prototype.exec = function(sql) {
            if (sql !== "rollback" || ++rollbacks > 2) return real.call(this, sql)
            // Once it says so, and once it only does not do it.
            if (rollbacks === 1) throw Object.assign(new Error("disk I/O error"), { errcode: 266 })
          }
        }),
        () =>
          Effect.sync(() => {
            DatabaseSync.prototype.exec = real
          })
      )
      for (const connects of [2, 3]) {
        yield* pool.use((connection) => connection.exec("begin; insert into t values (1)"))
        assert.deepStrictEqual(yield* pool.use((connection) => connection.query("select * from t")), [])
        assert.strictEqual((yield* pool.stats).connects, connects)
      }
    }))

  it.effect("is replaced after a failure of the disk", () =>
    Effect.gen(function*() {
      const { filename } = yield* makeWithTable
      yield* judge(filename, "insert into t values (1)")
      const pool = yield* make({ filename, readOnly: true })
      yield* refusing("select a as broken from t", 1, 778)
      const error = yield* Effect.flip(pool.use((connection) => connection.query("select a as broken from t")))
      assert.instanceOf(error, SqlError)
      assert.strictEqual(SqliteConnection.codeOf(error), 778)
      assert.deepStrictEqual(yield* pool.use((connection) => connection.query("select a from t")), [{ a: 1 }])
      const stats = yield* pool.stats
      assert.deepStrictEqual([stats.connects, stats.evictions.dead], [2, 1])
    }))

  it.effect("in memory is kept after a failure of the disk, because all its rows would be lost", () =>
    Effect.gen(function*() {
      const { filename } = yield* makeWithTable
      yield* judge(filename, "insert into t values (1)")
      const pool = yield* make({ filename: ":memory:" })
      yield* pool.use((connection) => connection.exec("create table kept(a); insert into kept values (2)"))
      const error = yield* Effect.flip(pool.use((connection) =>
        Effect.andThen(
          connection.exec(`attach 'file:${filename}?mode=ro' as elsewhere; select * from elsewhere.t`),
          connection.query("pragma elsewhere.wal_checkpoint")
        )
      ))
      assert.instanceOf(error, SqlError)
      assert.strictEqual(SqliteConnection.codeOf(error), 778)
      assert.deepStrictEqual(yield* pool.use((connection) => connection.query("select a from kept")), [{ a: 2 }])
      assert.strictEqual((yield* pool.stats).connects, 1)
    }))

  it.effect("is not replaced after an error of a caller", () =>
    Effect.gen(function*() {
      const { pool } = yield* makeWithTable
      for (const sql of ["nonsense", "select * from missing", "insert into t values (?)"]) {
        yield* Effect.flip(pool.use((connection) => connection.query(sql)))
      }
      assert.strictEqual((yield* pool.stats).connects, 1)
    }))

  it.effect("that was opened is checked without asking the database", () =>
    Effect.gen(function*() {
      const driver = factory({ filename: yield* file })
      const scope = yield* Scope.make()
      const connection = yield* Scope.provide(driver.connect, scope)
      assert.isUndefined(driver.validate)
      assert.isTrue(driver.isAlive!(connection))
      assert.isFalse(driver.needsReset!(connection))
      connection.execUnsafe("begin")
      assert.isTrue(driver.needsReset!(connection))
      yield* driver.reset!(connection)
      assert.isFalse(driver.needsReset!(connection))
      yield* Scope.close(scope, Exit.void)
      yield* Scope.close(scope, Exit.void)
      assert.isFalse(driver.isAlive!(connection))
      assert.isFalse(driver.needsReset!(connection))
      assert.strictEqual(
        ((yield* Effect.flip(driver.reset!(connection))) as SqlError).message,
        "reset: the connection is closed"
      )
    }))
})
