/** What an application makes of each connection before it is lent. */
import { assert, describe, it } from "@effect/vitest"
import { Context, Effect, Fiber, Layer, type Scope } from "effect"
import { ConnectionPool, type PoolError } from "effect-connection-pool"
import { SqliteConnection, SqlitePool } from "effect-connection-pool/sqlite"
import { SqliteClient } from "effect-connection-pool/sqlite-node"
import { TestClock } from "effect/testing"
import { renameSync } from "node:fs"
import { fileURLToPath } from "node:url"
import { file, judge, openFiles } from "../support/files.ts"
import { settle } from "../support/pools.ts"

type OnOpen = NonNullable<SqliteConnection.Options["onOpen"]>

const vec = fileURLToPath(import.meta.resolve("sqlite-vec-linux-x64/vec0.so"))

const make = Effect.fnUntraced(function*(onOpen: OnOpen, options?: Partial<SqlitePool.Options>) {
  const filename = options?.filename ?? (yield* file)
  return yield* SqlitePool.make({ drainTimeout: 0, ...options, filename, onOpen })
})

/** Attaches a file, sets a pragma and makes a temporary table. */
const dress = (other: string): OnOpen => (connection) =>
  Effect.gen(function*() {
    yield* connection.run("attach ? as other", [other])
    yield* connection.exec("pragma recursive_triggers = on; pragma cache_size = 7; create temp table own(a)")
    yield* connection.run("insert into own values (?)", [1])
  })

const seen = (connection: Pick<SqliteConnection.SqliteConnection, "valuesUnsafe">) => ({
  databases: connection.valuesUnsafe("select name from pragma_database_list where name not in ('main', 'temp')"),
  cacheSize: connection.valuesUnsafe("pragma cache_size"),
  foreignKeys: connection.valuesUnsafe("pragma foreign_keys"),
  recursive: connection.valuesUnsafe("pragma recursive_triggers"),
  own: connection.valuesUnsafe("select a from own")
})

const dressed = { databases: [["other"]], cacheSize: [[7]], foreignKeys: [[1]], recursive: [[1]], own: [[1]] }

describe("onOpen", () => {
  it.effect("runs with each connection, which is told what it is, before it is lent", () =>
    Effect.gen(function*() {
      const told: Array<boolean> = []
      const other = yield* file
      ;(yield* judge(other)).exec("create table note(text); insert into note values ('there')")
      const pool = yield* make((connection, opening) =>
        Effect.tap(dress(other)(connection, opening), Effect.sync(() => told.push(opening.isReader)))
      )
      assert.deepStrictEqual(told, [false])
      assert.deepStrictEqual(yield* pool.writeSync(seen), dressed)
      const inProcess = { execution: "in-process" } as const
      const inner = pool.read((inner) => Effect.sync(() => assert.deepStrictEqual(seen(inner), dressed)), inProcess)
      yield* pool.read(
        (outer) => Effect.andThen(Effect.sync(() => assert.deepStrictEqual(seen(outer), dressed)), inner),
        inProcess
      )
      assert.deepStrictEqual(told, [false, true, true])
      assert.deepStrictEqual(yield* pool.sql`select text from other.note`.values, [["there"]])
      assert.deepStrictEqual(yield* pool.snapshot(pool.sql`select text from other.note`.values), [["there"]])
      yield* pool.transaction(pool.sql`insert into other.note values ('here')`)
      assert.deepStrictEqual(yield* pool.sql`select count(*) from other.note`.values, [[2]])
    }))

  it.effect("says how a connection is whenever it is lent, whatever the lease before has made of it", () =>
    Effect.gen(function*() {
      for (const filename of [undefined, ":memory:"]) {
        const pool = yield* make(dress(yield* file), filename === undefined ? {} : { filename })
        const changes = [
          "pragma cache_size = 99",
          "pragma foreign_keys = off; pragma recursive_triggers = off",
          "create temp table more(a)",
          "attach ':memory:' as more",
          "begin; create temp table more(a)"
        ]
        for (const change of changes) {
          yield* pool.write((connection) => connection.exec(change))
          assert.deepStrictEqual(yield* pool.writeSync(seen), dressed)
          assert.deepStrictEqual(yield* pool.sql`select name from sqlite_temp_schema`.values, [["own"]])
        }
      }
    }))

  it.effect("in memory keeps what it has made: no lease may drop it, because it could not be made again", () =>
    Effect.gen(function*() {
      const pool = yield* make(
        (connection) =>
          connection.exec(
            "create table t(a); attach ':memory:' as other; create temp table own(a); insert into own values (1);" +
              "create index temp.fast on own(a); create temp view seen as select 1;" +
              "create temp trigger heard after insert on t begin select 1; end;" +
              "drop view seen; create temp view seen as select 2"
          ),
        { filename: ":memory:" }
      )
      const taking = [
        ["drop table own", "own"],
        ["drop table if exists temp.OWN", "own"],
        ["alter table own rename to mine", "own"],
        ["alter table own add column b", "own"],
        ["drop index fast", "fast"],
        ["drop view seen", "seen"],
        ["drop trigger heard", "heard"],
        ["drop table t", "heard"],
        ["detach Other", "other"]
      ]
      for (const [sql, name] of taking) {
        for (const way of ["run", "exec"] as const) {
          const said = yield* Effect.catchTag(
            pool.write((connection) => Effect.as(connection[way](sql!), "not refused")),
            "SqlError",
            (error) => Effect.succeed(`${error.reason._tag}: ${error.message}`)
          )
          assert.include(said, `onOpen made "${name}"`, sql)
          assert.include(said, "AuthorizationError", sql)
        }
      }
      const bound = yield* Effect.flip(pool.write((connection) => connection.run("detach ?", ["other"])))
      assert.include(bound.message, "onOpen made \"other\"")
      // What a lease has made itself, it may drop.
      yield* pool.write((connection) => connection.exec("create temp table mine(a); drop table mine"))
      const after = yield* pool.writeSync((connection) =>
        connection.valuesUnsafe("select name from sqlite_temp_schema union all select name from pragma_database_list")
      )
      assert.sameMembers(after.map(([name]) => name), ["own", "fast", "seen", "heard", "main", "temp", "other"])
    }))

  it.effect("runs again when a connection was opened anew, and when the file was replaced", () =>
    Effect.gen(function*() {
      let runs = 0
      const filename = yield* file
      const pool = yield* make(() => Effect.sync(() => runs++), { filename })
      assert.strictEqual(runs, 1)
      yield* pool.write((connection) => connection.exec("create table t(a); pragma cache_size = 9"))
      yield* settle
      assert.strictEqual(runs, 2)
      yield* pool.writer.recycle
      yield* pool.sql`insert into t values (1)`
      assert.strictEqual(runs, 3)
      for (const suffix of ["", "-wal", "-shm"]) renameSync(filename + suffix, `${filename}.old${suffix}`)
      ;(yield* judge(filename)).exec("pragma journal_mode = wal; create table t(a)")
      yield* TestClock.adjust("1 second")
      yield* Effect.retry(pool.sql`select * from t`, { times: 3 })
      yield* pool.write((connection) => connection.values("select * from t"))
      assert.isAtLeast(runs, 5)
    }))

  it.effect("may load extensions, which SQL may not", () =>
    Effect.gen(function*() {
      const pool = yield* make((_, opening) => opening.loadExtension(vec))
      const version = "select typeof(vec_version())"
      assert.deepStrictEqual(yield* pool.read((reader) => reader.values(version)), [["text"]])
      yield* pool.write((connection) => connection.exec("pragma cache_size = 9"))
      assert.deepStrictEqual(yield* pool.write((connection) => connection.values(version)), [["text"]])
      const error = yield* Effect.flip(pool.write((connection) => connection.query("select load_extension(?)", [vec])))
      assert.include(error.message, "not authorized")
    }))

  const failures: ReadonlyArray<readonly [what: string, onOpen: OnOpen, message: string]> = [
    ["a SqlError", (connection) => connection.query("select * from missing"), "no such table: missing"],
    ["anything else", () => Effect.fail(new RangeError("not today")), "onOpen failed: not today"],
    ["an extension that is none", (_, { loadExtension }) => loadExtension("/nowhere.so"), "nowhere"],
    ["a transaction left open", (connection) => connection.exec("begin"), "onOpen left a transaction open"],
    ["a function that throws", () => {
      throw new Error("thrown")
    }, "thrown"],
    ["what is no effect", (() => 1) as never, ""]
  ]
  for (const [what, onOpen, message] of failures) {
    it.effect(`fails the opening as a ConnectError, and leaves nothing open: ${what}`, () =>
      Effect.gen(function*() {
        const filename = yield* file
        const failed = make(onOpen, { filename, acquireTimeout: "1 second" })
        const opened: Effect.Effect<string, PoolError.ConnectError | PoolError.PoolConfigError, Scope.Scope> = Effect
          .as(
            failed,
            "not failed"
          )
        const said = yield* Effect.catchTag(
          opened,
          "ConnectError",
          (error) => Effect.succeed(error.message)
        )
        assert.include(said, message)
        assert.notStrictEqual(said, "not failed")
        assert.strictEqual(openFiles(filename), 0)
      }))
  }

  it.effect("that fails at the end of a lease costs the connection, and the next caller gets the error", () =>
    Effect.gen(function*() {
      let isWell = true
      const pool = yield* make(() => isWell ? Effect.void : Effect.fail("ill"), { acquireTimeout: "1 second" })
      isWell = false
      yield* pool.write((connection) => connection.exec("pragma cache_size = 9"))
      const fiber = yield* Effect.forkChild(Effect.flip(pool.write(() => Effect.void)))
      yield* settle
      yield* TestClock.adjust("2 seconds")
      const error = yield* Fiber.join(fiber)
      assert.include(["ConnectError", "AcquireTimeoutError"], error._tag)
      assert.include(error.message, "onOpen failed: \"ill\"")
      isWell = true
      // Until the backoff is over, callers get the last answer.
      yield* TestClock.adjust("2 seconds")
      const next = yield* Effect.forkChild(pool.write(() => Effect.succeed("well")))
      yield* settle
      yield* TestClock.adjust("10 seconds")
      assert.strictEqual(yield* Fiber.join(next), "well")
    }))

  it.effect("has to end within connectTimeout, and may be interrupted there", () =>
    Effect.gen(function*() {
      const filename = yield* file
      const factory = SqliteConnection.factory({ filename, onOpen: () => Effect.never })
      const pool = yield* ConnectionPool.make({ factory, max: 1, min: 0, connectTimeout: "2 seconds" })
      const fiber = yield* Effect.forkChild(Effect.flip(pool.use(() => Effect.void, { timeout: "3 seconds" })))
      yield* settle
      yield* TestClock.adjust("2 seconds")
      assert.strictEqual((yield* pool.stats).connectTimeouts, 1)
      yield* TestClock.adjust("1 second")
      const error = yield* Fiber.join(fiber)
      assert.strictEqual(error._tag, "AcquireTimeoutError")
      yield* pool.shutdown()
      assert.strictEqual(openFiles(filename), 0)
    }))

  it.effect("has its connection for as long as it runs", () =>
    Effect.gen(function*() {
      let kept: SqliteConnection.AsyncConnection | undefined
      yield* make((connection) =>
        Effect.sync(() => {
          kept = connection
        })
      )
      const error = yield* Effect.flip(kept!.query("select 1"))
      assert.strictEqual(error._tag, "LeaseExpiredError")
      assert.include(error.message, "onOpen has ended")
    }))

  it.effect("waits for the lock of another process as statements do", () =>
    Effect.gen(function*() {
      const filename = yield* file
      const other = yield* judge(filename)
      other.exec("pragma journal_mode = wal; create table t(a); begin immediate")
      const fiber = yield* Effect.forkChild(
        make((connection, { isReader }) => isReader ? Effect.void : connection.run("insert into t values (1)"), {
          filename
        })
      )
      yield* settle
      yield* TestClock.adjust("50 millis")
      other.exec("commit")
      yield* TestClock.adjust("50 millis")
      const pool = yield* Fiber.join(fiber)
      assert.deepStrictEqual(yield* pool.sql`select a from t`.values, [[1]])
    }))

  it.effect("is an option of a single connection, of a factory and of the drop-in, and has to be a function", () =>
    Effect.gen(function*() {
      const onOpen = dress(yield* file)
      const one = yield* SqliteConnection.open({ filename: yield* file, onOpen })
      assert.deepStrictEqual(seen(one), dressed)
      const factory = SqliteConnection.factory({ filename: yield* file, onOpen })
      const pool = yield* ConnectionPool.make({ factory, max: 1 })
      yield* pool.use((connection) => connection.exec("pragma cache_size = 1; detach other"))
      assert.deepStrictEqual(yield* pool.use((connection) => Effect.sync(() => seen(connection))), dressed)
      const filename = yield* file
      const client = yield* Layer.build(SqliteClient.layer({ filename, onOpen, drainTimeout: 0 }))
      const sql = Context.get(client, SqliteClient.SqliteClient)
      const swapped = Context.get(client, SqlitePool.SqlitePool)
      // What statements change there lasts, over what it set as well; also on connections that are opened anew.
      yield* sql`pragma cache_size = 8`
      yield* sql`detach other`
      yield* Effect.andThen(swapped.writer.recycle, swapped.readers.recycle)
      const changed = { ...dressed, cacheSize: [[8]], databases: [] }
      assert.deepStrictEqual(yield* swapped.writeSync(seen), changed)
      assert.deepStrictEqual(yield* swapped.readSync(seen), changed)
      const refused = yield* Effect.flip(SqlitePool.make({ filename: "a.db", onOpen: "attach" as never }))
      assert.strictEqual(refused._tag, "PoolConfigError")
      assert.include(refused.message, "onOpen")
    }))
})
