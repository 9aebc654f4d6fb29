/** The driver's own handle, lent to a library: whatever is done with it, the next lease is clean and correct. */
import { assert, describe, it } from "@effect/vitest"
import { Effect, Exit, Fiber, Scope, Stream } from "effect"
import { SqliteConnection, type SqlitePool } from "effect-connection-pool/sqlite"
import { SqliteClient } from "effect-connection-pool/sqlite-node"
import { DatabaseSync, type StatementSync } from "node:sqlite"
import { file } from "../support/files.ts"
import { kinds, make as makePool } from "../support/functions.ts"
import { reading } from "../support/observing.ts"
import { settle } from "../support/pools.ts"

const { withHandle } = SqliteConnection

const make = (options: Partial<SqlitePool.Options>) =>
  makePool({ functions: { twice: (n) => Number(n) * 2 }, ...options })

const lend = <A>(pool: SqlitePool.SqlitePool, f: (database: DatabaseSync) => A) =>
  pool.write((connection) => withHandle(connection, (database) => Effect.sync(() => f(database))))

/** What every lease of the writer has to find. */
const state = (connection: SqliteConnection.SqliteConnection) => ({
  transaction: connection.isTransactionUnsafe(),
  databases: connection.valuesUnsafe("select name from pragma_database_list where name not in ('main', 'temp')"),
  temporary: connection.valuesUnsafe("select name from sqlite_temp_schema"),
  foreignKeys: connection.valuesUnsafe("pragma foreign_keys"),
  queryOnly: connection.valuesUnsafe("pragma query_only"),
  cacheSize: connection.valuesUnsafe("pragma cache_size"),
  busyTimeout: connection.valuesUnsafe("pragma busy_timeout"),
  functions: connection.valuesUnsafe("select twice(4)"),
  rows: connection.valuesUnsafe("select count(*) from n")
})

/** What a library may do, and leave. */
const acts: Record<string, (database: DatabaseSync) => unknown> = {
  "an open transaction": (database) => database.exec("begin immediate; delete from n"),
  "an open savepoint": (database) => database.exec("savepoint s; delete from n"),
  pragmas: (database) =>
    database.exec(
      "pragma foreign_keys = off; pragma query_only = on; pragma cache_size = 7; pragma busy_timeout = 900"
    ),
  "an attached database": (database) => database.exec("attach ':memory:' as other; create table other.t(a)"),
  "a temporary table": (database) => database.exec("create temp table n(n)"),
  "an open cursor": (database) => database.prepare("select n from n").iterate().next(),
  "an open cursor of a write": (database) =>
    database.prepare("insert into t(a) select n from n returning a").iterate().next(),
  "a changed schema": (database) => database.exec("create table made(a)"),
  "changed limits": (database) => {
    assert.isAbove(database.limits.sqlLength, 1000)
    assert.isAbove(Object.keys(database.limits).length, 5)
    try {
      database.limits.sqlLength = 20
    } catch (thrown) {
      assert.match(String(thrown), /would outlast the lease/)
    }
  },
  "methods that are replaced, as a tracer does": (database) => {
    const { exec, prepare } = database
    let calls = 0
    database.prepare = (sql) => (calls++, prepare(sql))
    Object.defineProperty(database, "exec", { value: (sql: string) => (calls++, exec(sql)) })
    database.exec("select 1")
    const statement = database.prepare("select n from n")
    statement.all = () => []
    assert.deepStrictEqual([calls, statement.all(), "prepare" in database, "isOpen" in database], [2, [], true, true])
    assert.deepStrictEqual(Object.getOwnPropertyNames(database), ["prepare", "exec"])
    Object.assign(database, { traced: true })
    assert.deepStrictEqual(["traced" in database, "untraced" in database], [true, false])
    database.prepare = () => assert.fail("of the library")
  },
  "an error": (database) => assert.throws(() => database.exec("select * from nothing"))
}

describe("the driver's own handle", () => {
  for (const [kind, options] of kinds) {
    it.effect(`does what it does, ${kind}`, () =>
      Effect.gen(function*() {
        const pool = yield* make(options)
        const seen = yield* lend(pool, (database) => {
          database.exec("insert into t(a) values (1)")
          const statement = database.prepare("select a, twice(a) as b from t")
          return {
            rows: statement.all(),
            text: statement.sourceSQL,
            columns: statement.columns().length,
            isDatabase: database instanceof DatabaseSync &&
              Reflect.get(database, "__proto__") === DatabaseSync.prototype,
            isOpen: database.isOpen,
            isTransaction: database.isTransaction
          }
        })
        assert.deepStrictEqual({ ...seen.rows[0] }, { a: 1, b: 2 })
        assert.deepStrictEqual([seen.text, seen.columns, seen.isDatabase, seen.isOpen, seen.isTransaction], [
          "select a, twice(a) as b from t",
          2,
          true,
          true,
          false
        ])
        assert.deepStrictEqual(yield* pool.sql`select a from t`.values, [[1]])
      }))

    for (const [what, act] of Object.entries(acts)) {
      it.effect(`leaves the next lease clean after ${what}, ${kind}`, () =>
        Effect.gen(function*() {
          const pool = yield* make(options)
          yield* pool.sql`select count(*) from n`
          const before = yield* pool.write((connection) => Effect.sync(() => state(connection)))
          yield* lend(pool, act)
          assert.deepStrictEqual(yield* pool.write((connection) => Effect.sync(() => state(connection))), before)
          assert.deepStrictEqual(yield* pool.sql`select count(*) from n`.values, [[5]])
          yield* pool.sql`insert into n values (6)`
          yield* pool.transaction(pool.sql`insert into n values (7)`)
          assert.deepStrictEqual(yield* pool.sql`select count(*) from n`.values, [[7]])
        }))
    }

    it.effect(`is dead after its body, and so are its statements and cursors, ${kind}`, () =>
      Effect.gen(function*() {
        const pool = yield* make(options)
        let kept: { database: DatabaseSync; statement: StatementSync; prepare: DatabaseSync["prepare"] }
        let rows: Iterator<unknown>
        yield* pool.write((connection) =>
          Effect.gen(function*() {
            yield* withHandle(connection, (database) =>
              Effect.sync(() => {
                const statement = database.prepare("insert into n values (99)")
                kept = { database, statement, prepare: database.prepare }
                rows = database.prepare("select n from n").iterate()
                rows.next()
              }))
            for (
              const use of [
                () => kept.database.exec("delete from n"),
                () => kept.database.isOpen,
                () => kept.prepare("select 1"),
                () => kept.statement.run()
              ]
            ) {
              assert.throws(use, /has ended/)
            }
            assert.throws(() => rows.next(), /has ended/)
          })
        )
        assert.throws(() => kept.statement.run(), /has ended/)
        assert.throws(() => kept.database.close(), /has ended/)
        assert.deepStrictEqual(yield* pool.sql`select count(*) from n`.values, [[5]])
      }))

    it.effect(`cannot close the database, nor take its authorizer, ${kind}`, () =>
      Effect.gen(function*() {
        const pool = yield* make(options)
        yield* lend(pool, (database) => {
          for (
            const use of [
              () => database.close(),
              () => database.open(),
              () => database[Symbol.dispose](),
              () => database.setAuthorizer(null)
            ]
          ) {
            assert.throws(use, /the connection belongs to the pool/)
          }
          const define = () => database.function("mine", () => 1)
          if (kind === "in memory") assert.throws(define, /would outlast the lease/)
          else define()
        })
        assert.include((yield* Effect.flip(pool.sql`select mine()`)).message, "no such function: mine")
        assert.include((yield* Effect.flip(pool.sql`attach 'x.db' as x`)).message, "attach in onOpen")
      }))

    it.effect(`gives rows step by step, and ends its cursors, ${kind}`, () =>
      Effect.gen(function*() {
        const pool = yield* make(options)
        yield* lend(pool, (database) => {
          const statement = database.prepare("select n from n order by n")
          assert.deepStrictEqual([...statement.iterate()].map((row) => row["n"]), [1, 2, 3, 4, 5])
          // Iterators have this method, but the types of Node do not know it.
          const all = statement.iterate() as unknown as { readonly toArray: () => ReadonlyArray<unknown> }
          assert.strictEqual(all.toArray().length, 5)
          const rows = statement.iterate()
          assert.strictEqual(rows[Symbol.iterator](), rows)
          for (const row of rows) if (row["n"] === 2) break
          assert.isTrue(rows.next().done)
        })
      }))

    it.effect(`ends with its body when that fails, dies or is interrupted, ${kind}`, () =>
      Effect.gen(function*() {
        const pool = yield* make(options)
        let kept: DatabaseSync | undefined
        const ends: ReadonlyArray<Effect.Effect<unknown, string>> = [Effect.fail("no"), Effect.die("no"), Effect.never]
        for (const end of ends) {
          const fiber = yield* Effect.forkChild(
            pool.write((connection) =>
              withHandle(connection, (database) => {
                kept = database
                database.exec("begin; delete from n")
                return end
              })
            ),
            { startImmediately: true }
          )
          yield* Fiber.interrupt(fiber)
          assert.isTrue(Exit.isFailure(yield* Fiber.await(fiber)))
          assert.throws(() => kept!.exec("commit"), /ended/)
          assert.deepStrictEqual(yield* pool.sql`select count(*) from n`.values, [[5]])
        }
      }))
  }

  it.effect("is the same behind all that it gives out, which ends with it", () =>
    Effect.gen(function*() {
      const pool = yield* make({})
      const uses: Array<() => unknown> = []
      yield* pool.write((connection) =>
        Effect.gen(function*() {
          yield* withHandle(connection, (database) =>
            Effect.sync(() => {
              const store = database.createTagStore()
              assert.strictEqual(store.db, database)
              assert.throws(() => store.db.close(), /the connection belongs to the pool/)
              assert.deepEqual(store.all`select n from n where n < ${2}`, [{ n: 1 }])
              const rows = store.iterate`select n from n`
              assert.deepEqual(rows.next().value, { n: 1 })
              const session = database.createSession({ table: "n" })
              database.exec("delete from n where n = 5")
              assert.instanceOf(session.changeset(), Uint8Array)
              const { limits } = database
              uses.push(
                () => store.all`select 1`,
                () => store.db,
                () => rows.next(),
                () => session.changeset(),
                () => limits.sqlLength,
                () => {
                  limits.sqlLength = 20
                }
              )
            }))
          for (const use of uses) assert.throws(use, /has ended/)
          assert.deepStrictEqual(yield* connection.values("select count(*) from n"), [[4]])
        })
      )
      for (const use of uses) assert.throws(use, /has ended/)
      const [row] = yield* pool.write((connection) => connection.query("select twice(n) as n from n where n = 4"))
      assert.deepEqual(row, { n: 8 })
    }))

  it.effect("reports a transaction that was left open, as any lease does", () =>
    Effect.gen(function*() {
      const pool = yield* make({})
      const events: Array<string> = []
      yield* Effect.forkScoped(
        Stream.runForEach(pool.writer.events, (event) => Effect.sync(() => events.push(event._tag))),
        { startImmediately: true }
      )
      yield* lend(pool, (database) => database.exec("begin"))
      yield* settle
      assert.include(events, "TransactionLeftOpen")
    }))

  it.effect("has observers run their queries again, for what it has committed before a transaction that it leaves open", () =>
    Effect.gen(function*() {
      const pool = yield* make({ observeInterval: Infinity })
      const counts = yield* reading(pool.observe("select count(*) as n from n"))
      assert.deepEqual(yield* counts.now, [{ n: 5 }])
      yield* lend(pool, (database) => database.exec("insert into n values (6)"))
      assert.deepEqual(yield* counts.now, [{ n: 6 }])
      yield* lend(pool, (database) => database.exec("insert into n values (7); begin; insert into n values (8)"))
      assert.deepEqual(yield* counts.now, [{ n: 7 }])
      yield* pool.write((connection) =>
        Effect.gen(function*() {
          yield* withHandle(
            connection,
            (database) => Effect.sync(() => database.exec("begin; insert into n values (8)"))
          )
          yield* connection.exec("commit")
        })
      )
      assert.deepEqual(yield* counts.now, [{ n: 8 }])
    }))

  it.effect("only reads on a reader", () =>
    Effect.gen(function*() {
      const pool = yield* make({})
      yield* pool.read((reader) =>
        withHandle(reader, (database) =>
          Effect.sync(() => {
            assert.strictEqual(database.prepare("select n from n").all().length, 5)
            assert.throws(() => database.exec("delete from n"), /readonly/)
            database.exec("begin; select 1 from n; pragma cache_size = 3")
          }))
      )
      assert.deepStrictEqual(yield* pool.read((reader) => reader.values("pragma cache_size")), [[-8000]])
      yield* pool.sql`insert into n values (6)`
      assert.deepStrictEqual(yield* pool.sql`select count(*) from n`.values, [[6]])
    }))

  it.effect("is refused in a transaction, to a reader in memory, to the drop-in and after the lease", () =>
    Effect.gen(function*() {
      const pool = yield* make({})
      const memory = yield* make({ filename: ":memory:" })
      const never = () => Effect.die("lent")
      const ofClient: Array<string> = []
      yield* SqliteClient.make({
        filename: yield* file,
        onOpen: (connection) =>
          Effect.catchTag(withHandle(connection, never), "SqlError", ({ message }) =>
            Effect.sync(() => {
              ofClient.push(message)
            }))
      })
      assert.match(ofClient[0]!, /^withHandle: not with the client of sqlite-node/)
      const refused = [
        pool.transaction(pool.write((connection) => withHandle(connection, never))),
        pool.snapshot(pool.read((reader) => withHandle(reader, never))),
        memory.read((reader) => withHandle(reader, never))
      ]
      for (const one of refused) {
        const error = yield* Effect.flip(one)
        assert.strictEqual(error._tag, "SqlError")
        assert.include(error.message, "withHandle: it needs a connection from write")
      }
      let kept: SqliteConnection.SqliteConnection | undefined
      yield* pool.write((connection) => Effect.sync(() => kept = connection))
      assert.strictEqual((yield* Effect.flip(withHandle(kept!, never)))._tag, "LeaseExpiredError")
    }))

  it.effect("works on a single connection, which is as the library left it", () =>
    Effect.gen(function*() {
      const connection = yield* SqliteConnection.open({ filename: ":memory:" })
      yield* connection.query("select 1")
      yield* withHandle(connection, (database) => Effect.sync(() => database.exec("create table t(a)")))
      yield* connection.run("insert into t values (1)")
      assert.deepStrictEqual(yield* connection.values("select a from t"), [[1]])
    }))

  it.effect("ends with its connection, if that is closed while the body runs", () =>
    Effect.gen(function*() {
      const scope = yield* Scope.make()
      const connection = yield* Scope.provide(SqliteConnection.open({ filename: yield* file }), scope)
      yield* withHandle(connection, (database) =>
        Effect.andThen(
          Scope.close(scope, Exit.void),
          Effect.sync(() => assert.throws(() => database.exec("select 1"), /is closed/))
        ))
      assert.include((yield* Effect.flip(connection.query("select 1"))).message, "the connection is closed")
    }))
})
