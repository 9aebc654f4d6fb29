/** Functions given to `writeSync`: all that they do is stored, or nothing; alone, in company, and in a transaction. */
import { assert, describe, it } from "@effect/vitest"
import { Effect, Exit, Fiber } from "effect"
import { SqlitePool } from "effect-connection-pool/sqlite"
import type { SqliteConnection } from "effect-connection-pool/sqlite"
import { SqlError } from "effect/sql/SqlError"
import { TestClock } from "effect/testing"
import { AsyncLocalStorage } from "node:async_hooks"
import { type Database, failing, insert, make, together } from "../support/groups.ts"
import { settle } from "../support/pools.ts"

type Connection = SqliteConnection.SqliteConnection

const add = (connection: Connection, n: number) => connection.runUnsafe("insert into t values (?)", [n])

const cache = (connection: Connection) => connection.valuesUnsafe("pragma cache_size")[0]![0]

/** The ways to run an effect beside the statements of others, which are stored whatever becomes of it. */
const ways: Record<string, <A, E>(db: Database, effect: Effect.Effect<A, E>) => Effect.Effect<Exit.Exit<A, E>>> = {
  alone: (db, effect) =>
    Effect.gen(function*() {
      yield* Effect.orDie(insert(db, 100))
      const exit = yield* Effect.exit(effect)
      yield* Effect.orDie(insert(db, 101))
      return exit
    }),
  "in company": (db, effect) =>
    Effect.map(
      Effect.orDie(together(db, [insert(db, 100), Effect.exit(effect), insert(db, 101)] as ReadonlyArray<
        Effect.Effect<unknown, SqlError>
      >)),
      (exits) => Exit.isSuccess(exits[1]!) ? exits[1].value as never : Exit.die("not run")
    ),
  "in a transaction": (db, effect) =>
    Effect.orDie(db.pool.transaction(Effect.gen(function*() {
      yield* insert(db, 100)
      const exit = yield* Effect.exit(effect)
      yield* insert(db, 101)
      return exit
    })))
}

describe("a function given to writeSync", () => {
  for (const [where, run] of Object.entries(ways)) {
    it.effect(`is stored as a whole if it returns, ${where}`, () =>
      Effect.gen(function*() {
        const db = yield* make()
        const exit = yield* run(db, db.pool.writeSync((connection) => [add(connection, 1), add(connection, 2)]))
        assert.isTrue(Exit.isSuccess(exit))
        assert.deepStrictEqual(db.rows, [100, 1, 2, 101])
      }))

    it.effect(`leaves nothing behind if it throws, ${where}: an error of SQLite is a failure, another a defect`, () =>
      Effect.gen(function*() {
        const db = yield* make()
        const failed = yield* run(
          db,
          Effect.catchTag(
            db.pool.writeSync((connection) => [add(connection, 1), add(connection, 1)]),
            "SqlError",
            (error) => Effect.succeed(error.reason._tag)
          )
        )
        assert.deepStrictEqual(failed, Exit.succeed("UniqueViolation"))
        assert.deepStrictEqual(db.rows, [100, 101])
        yield* db.sql`delete from t`
        const died = yield* run(
          db,
          db.pool.writeSync((connection) => {
            add(connection, 1)
            throw new RangeError("mine")
          })
        )
        assert.deepStrictEqual(died, Exit.die(new RangeError("mine")))
        assert.deepStrictEqual(db.rows, [100, 101])
      }))

    it.effect(`may go on after a statement that failed, ${where}`, () =>
      Effect.gen(function*() {
        const db = yield* make()
        const body = (connection: Connection) => {
          add(connection, 1)
          try {
            add(connection, 1)
          } catch {
            add(connection, 2)
          }
        }
        assert.isTrue(Exit.isSuccess(yield* run(db, db.pool.writeSync(body))))
        assert.deepStrictEqual(db.rows, [100, 1, 2, 101])
      }))

    it.effect(`cannot begin and end transactions by hand, ${where}`, () =>
      Effect.gen(function*() {
        for (
          const script of ["begin", "commit", "end", "rollback", "savepoint a", "insert into t values (7); commit"]
        ) {
          const db = yield* make()
          const exit = yield* run(
            db,
            Effect.flip(db.pool.writeSync((connection) => {
              add(connection, 1)
              connection.execUnsafe(script)
            }))
          )
          const error = Exit.isSuccess(exit) ? exit.value : undefined
          assert.instanceOf(error, SqlError)
          assert.strictEqual(error.reason._tag, "AuthorizationError")
          assert.match(error.message, /\bwrite\b/, script)
          assert.deepStrictEqual(db.rows, [100, 101], script)
        }
      }))
  }

  it.effect("may not run statements that cannot run in a transaction, and the error names them", () =>
    Effect.gen(function*() {
      const db = yield* make()
      for (const script of ["vacuum", "pragma synchronous = off", "pragma foreign_keys = off"]) {
        const error = yield* Effect.flip(db.pool.writeSync((connection) => connection.execUnsafe(script)))
        assert.instanceOf(error, SqlError)
        assert.match(error.message, /\bwrite\b/, script)
        yield* db.pool.write((connection) => connection.exec(script))
      }
    }))

  it.effect("is told by the errors of the statements that it cannot run what to use, and a transaction is too", () =>
    Effect.gen(function*() {
      const db = yield* make()
      const messageIn = (script: string) => ({
        function: Effect.map(
          Effect.flip(db.pool.writeSync((connection) => {
            add(connection, 1)
            connection.execUnsafe(script)
          })),
          ({ message }) => message
        ),
        transaction: db.pool.transaction(Effect.gen(function*() {
          yield* insert(db, 2)
          return (yield* Effect.flip(db.sql.unsafe(script))).message
        }))
      })
      const vacuum = messageIn("vacuum")
      assert.match(
        yield* vacuum.function,
        /: use `write`, outside of a transaction; the function given to `writeSync` is one$/
      )
      assert.match(yield* vacuum.transaction, /: use `write`, outside of a transaction$/)
      yield* db.sql`delete from t`
      const checkpoint = messageIn("pragma wal_checkpoint(truncate)")
      assert.match(yield* checkpoint.function, /use `checkpoint`, .*; the function given to `writeSync` is one$/)
      assert.match(yield* checkpoint.transaction, /use `checkpoint`, or `write`, outside of a transaction$/)
    }))

  it.effect("gets the same error for a begin by hand outside a transaction and inside one", () =>
    Effect.gen(function*() {
      const db = yield* make()
      for (const operation of ["runUnsafe", "execUnsafe"] as const) {
        const begin = Effect.flip(db.pool.writeSync((connection) => void connection[operation]("begin")))
        const { message, reason } = (yield* begin) as SqlError
        const inner = (yield* db.pool.transaction(begin)) as SqlError
        assert.strictEqual(inner.message, message)
        assert.include(message, `${operation}: "begin": the function given to \`writeSync\` is a transaction`)
        assert.deepStrictEqual(inner.reason._tag, reason._tag)
      }
    }))

  it.effect("stores nothing more once SQLite has ended its transaction, and says so", () =>
    Effect.gen(function*() {
      const db = yield* make()
      yield* insert(db, 1)
      const stubborn = db.pool.writeSync((connection) => {
        add(connection, 2)
        try {
          connection.runUnsafe("insert or rollback into t values (1)")
        } catch {
          // It goes on as if nothing had happened.
        }
        add(connection, 3)
      })
      const content = db.pool.writeSync((connection) => {
        add(connection, 2)
        try {
          connection.runUnsafe("insert or rollback into t values (1)")
        } catch {
          // It does not care.
        }
      })
      for (const body of [stubborn, content]) {
        const error = yield* Effect.flip(body)
        assert.instanceOf(error, SqlError)
        assert.include(error.message, "SQLite has ended the transaction")
      }
      assert.deepStrictEqual(db.rows, [1])
    }))

  it.effect("is undone, and fails, if its commit fails", () =>
    Effect.gen(function*() {
      const db = yield* make()
      yield* db.pool.write((connection) =>
        connection.exec("create table parent(id integer primary key); create table child(p references parent)")
      )
      const body = db.pool.writeSync((connection) => {
        connection.execUnsafe("pragma defer_foreign_keys = on")
        connection.runUnsafe("insert into child values (1)")
      })
      const error = yield* Effect.flip(body)
      assert.instanceOf(error, SqlError)
      assert.include(error.message, "FOREIGN KEY")
      assert.deepStrictEqual(yield* db.sql`select * from child`, [])
      yield* failing("commit", 10)
      assert.instanceOf(yield* Effect.flip(db.pool.writeSync((connection) => add(connection, 1))), SqlError)
      assert.deepStrictEqual(db.rows, [])
      yield* insert(db, 2)
      assert.deepStrictEqual(db.rows, [2])
    }))

  for (const groupCommit of [true, false]) {
    it.effect(`leaves no setting to the next caller after SQLite has ended its transaction (groupCommit: ${groupCommit})`, () =>
      Effect.gen(function*() {
        const db = yield* make({ groupCommit })
        yield* db.pool.write((connection) =>
          connection.exec(
            "create table parent(id integer primary key); create table child(p references parent);" +
              "create table once(n unique); insert into once values (1)"
          )
        )
        // SQLite sets the pragma as it compiles it, so it must be refused before that.
        const body = db.pool.writeSync((connection) => {
          try {
            connection.runUnsafe("insert or rollback into once values (1)")
          } catch {
            connection.queryUnsafe("pragma defer_foreign_keys = on")
          }
        })
        const lost = yield* Effect.flip(body)
        assert.include(lost.message, "SQLite has ended the transaction")
        const pragma = yield* db.pool.write((connection) => connection.values("pragma defer_foreign_keys"))
        assert.deepStrictEqual(pragma, [[0]])
      }))
  }

  it.effect("waits for the lock of another process before it begins, and runs once", () =>
    Effect.gen(function*() {
      const db = yield* make({ busyTimeout: "5 seconds" })
      db.other.exec("begin immediate; insert into t values (0)")
      let runs = 0
      const body = db.pool.writeSync((connection) => {
        runs++
        return add(connection, 1)
      })
      const waiting = yield* Effect.forkChild(body, { startImmediately: true })
      yield* TestClock.adjust("100 millis")
      assert.strictEqual(runs, 0)
      assert.isUndefined(waiting.pollUnsafe())
      db.other.exec("commit")
      yield* TestClock.adjust("100 millis")
      assert.isTrue(Exit.isSuccess(yield* Fiber.await(waiting)))
      assert.strictEqual(runs, 1)
      assert.deepStrictEqual(db.rows, [0, 1])
    }))

  it.effect("is not run again for a lock that it meets itself", () =>
    Effect.gen(function*() {
      const db = yield* make({ busyTimeout: "5 seconds" })
      let runs = 0
      const locked = () => {
        runs++
        throw new SqlError({
          reason: {
            _tag: "LockTimeoutError",
            cause: Object.assign(new Error("locked"), { errcode: 5 }),
            message: "locked",
            operation: "mine"
          } as never
        })
      }
      for (
        const effect of [
          db.pool.writeSync(locked),
          Effect.map(together(db, [db.pool.writeSync(locked)]), () => 0)
        ]
      ) {
        runs = 0
        yield* Effect.exit(effect)
        assert.strictEqual(runs, 1)
      }
    }))

  it.effect("is all or nothing in memory too, and does not run where nothing can be stored", () =>
    Effect.gen(function*() {
      const pool = yield* SqlitePool.make({ filename: ":memory:" })
      yield* pool.sql`create table t(n integer unique)`
      const twice = (connection: Connection) => [add(connection, 1), add(connection, 1)]
      yield* Effect.flip(pool.writeSync(twice))
      assert.deepStrictEqual(yield* pool.sql`select * from t`, [])
      yield* pool.read(() => Effect.flip(pool.writeSync(twice)))
      assert.deepStrictEqual(yield* pool.sql`select * from t`, [])
      yield* pool.writeSync((connection) => add(connection, 1))
      assert.deepStrictEqual(yield* pool.sql`select * from t`.values, [[1]])
    }))

  it.effect("is one part of a transaction that its fiber has begun by hand in memory", () =>
    Effect.gen(function*() {
      const pool = yield* SqlitePool.make({ filename: ":memory:" })
      yield* pool.sql`create table t(n integer unique)`
      const byHand = (ending: "commit" | "rollback", n: number) =>
        pool.read(() =>
          Effect.gen(function*() {
            yield* pool.write((connection) => connection.exec(`begin; insert into t values (${n})`))
            yield* Effect.flip(pool.writeSync((connection) => [add(connection, n + 1), add(connection, n)]))
            yield* pool.writeSync((connection) => add(connection, n + 2))
            yield* pool.write((connection) => connection.run(ending))
          })
        )
      yield* byHand("rollback", 1)
      yield* byHand("commit", 4)
      assert.deepStrictEqual(yield* pool.sql`select n from t`.values, [[4], [6]])
    }))
})

describe("a function in a group", () => {
  it.effect("has the asynchronous context, the fiber and a connection of its own", () =>
    Effect.gen(function*() {
      const db = yield* make()
      const storage = new AsyncLocalStorage<number>()
      const kept: Array<Connection> = []
      const seen: Array<unknown> = []
      const ask = (n: number) =>
        Effect.withFiber((own) =>
          db.pool.writeSync((connection) => {
            seen.push([storage.getStore(), Fiber.getCurrent() === own])
            for (const other of kept) assert.throws(() => add(other, 99), /lease/)
            kept.push(connection)
            add(connection, n)
          })
        )
      const exits = yield* together(
        db,
        [1, 2, 3].map((n) => Effect.promise(() => storage.run(n, () => Effect.runPromise(ask(n)))))
      )
      assert.isTrue(exits.every(Exit.isSuccess))
      yield* settle
      assert.deepStrictEqual(seen, [[1, true], [2, true], [3, true]])
      assert.deepStrictEqual(db.rows, [1, 2, 3])
      assert.deepStrictEqual(yield* db.groups, [{ size: 3, undoneBecause: undefined }])
      for (const connection of kept) {
        assert.throws(() => add(connection, 99))
      }
    }))

  it.effect("that changes its connection runs alone, and no other caller sees the change", () =>
    Effect.gen(function*() {
      const db = yield* make()
      const before = yield* db.pool.writeSync(cache)
      const exits = yield* together<unknown, unknown>(db, [
        insert(db, 1),
        db.pool.writeSync((connection) => {
          connection.execUnsafe("pragma cache_size = 7; create temp table x(a)")
          return cache(connection)
        }),
        db.pool.writeSync(cache),
        db.pool.writeSync((connection) => connection.valuesUnsafe("select name from temp.sqlite_schema"))
      ])
      assert.deepStrictEqual(exits.slice(1), [Exit.succeed(7), Exit.succeed(before), Exit.succeed([])])
    }))
})
