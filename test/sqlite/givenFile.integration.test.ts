import { assert, describe, it } from "@effect/vitest"
import { ConfigProvider, Effect, Layer, Stream } from "effect"
import { PoolError } from "effect-connection-pool"
import { SqliteConnection, SqlitePool } from "effect-connection-pool/sqlite"
import { PoolAssert } from "effect-connection-pool/testing"
import * as Migrator from "effect/sql/Migrator"
import { AuthorizationError, ConnectionError, type SqlError, UnknownError } from "effect/sql/SqlError"
import { TestClock } from "effect/testing"
import fs from "node:fs"
import { dirname, join } from "node:path"
import { file, folder, given, judge, openFiles } from "../support/files.ts"

const { failsWith } = PoolAssert

const names = (filename: string) => fs.readdirSync(dirname(filename)).sort()

const ways = ["readOnly", "immutable"] as const

/** Fails to open, and leaves nothing open. */
const failing = (options: SqlitePool.Options) =>
  Effect.gen(function*() {
    const before = openFiles(options.filename)
    const error = yield* failsWith(Effect.scoped(SqlitePool.make(options)), "ConnectError")
    assert.instanceOf(error, PoolError.ConnectError)
    assert.strictEqual(openFiles(options.filename), before)
    return (error.cause as SqlError)
  })

for (const way of ways) {
  const refusal = "pool \"sqlite\" was opened read-only, so it cannot write"

  describe(`a database with ${way}`, () => {
    it.effect("is read in every way", () =>
      Effect.gen(function*() {
        const filename = given(yield* file)
        const pool = yield* SqlitePool.make({ filename, [way]: true })
        const one = [{ a: 1 }]
        assert.deepStrictEqual(yield* pool.sql`select a from t`, one)
        assert.deepStrictEqual(yield* pool.read((reader) => reader.query("select a from t")), one)
        assert.deepStrictEqual(yield* pool.readSync((reader) => reader.queryUnsafe("select a from t")), one)
        assert.deepStrictEqual(yield* pool.snapshot(pool.sql`select a from t`), one)
        assert.deepStrictEqual(yield* pool.transaction(pool.sql`select a from t`, { readOnly: true }), one)
        assert.deepStrictEqual(yield* pool.sql.withTransaction(pool.sql`select a from t`), one)
        assert.deepStrictEqual(yield* Stream.runCollect(pool.stream("select a from t")), one)
        assert.deepStrictEqual(yield* Stream.runCollect(pool.sql`select a from t`.stream), one)
        assert.deepStrictEqual(yield* Stream.runCollect(Stream.take(pool.observe("select a from t"), 1)), [one])
      }))

    it.effect("refuses writes by the statement, in every way", () =>
      Effect.gen(function*() {
        const filename = given(yield* file)
        const pool = yield* SqlitePool.make({ filename, [way]: true })
        const { sql } = pool
        const write = "insert into t values (2)"
        const ended: ReadonlyArray<Effect.Effect<unknown, { readonly _tag: string }>> = [
          sql`insert into t values (2)`,
          sql`update t set a = 2 returning a`,
          sql`create table u(a)`,
          sql`pragma user_version = 4`,
          sql`vacuum`,
          sql`pragma wal_checkpoint`,
          sql`pragma wal_checkpoint(truncate)`,
          sql`pragma journal_mode = truncate`,
          pool.write((connection) => connection.run(write)),
          pool.write((connection) => connection.exec(`select 1; ${write}`)),
          pool.write((connection) => connection.exec("begin immediate")),
          pool.write((connection) => connection.values("pragma wal_checkpoint")),
          pool.write((connection) => connection.exec("select 1; pragma wal_checkpoint")),
          pool.writeSync((connection) => connection.runUnsafe(write)),
          pool.transaction(sql`insert into t values (2)`),
          sql.withTransaction(sql`insert into t values (2)`),
          pool.transaction(pool.writeSync((connection) => connection.runUnsafe(write))),
          pool.snapshot(sql`insert into t values (2)`),
          pool.read((reader) => reader.query(`${write} returning a`)),
          Stream.runDrain(pool.stream(`${write} returning a`)),
          Stream.runDrain(sql`insert into t values (2) returning a`.stream),
          pool.checkpoint()
        ]
        for (const [index, effect] of ended.entries()) {
          const error = yield* failsWith(effect, "SqlError")
          assert.instanceOf((error as SqlError).reason, AuthorizationError, `${index}: ${String(error)}`)
          assert.include(String(error), refusal, String(index))
        }
        // No refusal has harmed a connection.
        const { readers } = yield* pool.stats
        assert.strictEqual(readers.disconnects, 0)
        assert.deepStrictEqual(yield* sql`select a from t`, [{ a: 1 }])
      }))

    it.effect("does not run migrations", () =>
      Effect.gen(function*() {
        const filename = given(yield* file)
        const pool = yield* SqlitePool.make({ filename, [way]: true })
        const migrate = Migrator.make({})({ loader: Migrator.fromRecord({ "1_first": Effect.void }) })
        const error = yield* failsWith(Effect.provide(migrate, SqlitePool.services(pool)), "SqlError")
        assert.include(String(error), refusal)
      }))

    it.effect("refuses a transaction with foreign keys of its own", () =>
      Effect.gen(function*() {
        const filename = given(yield* file)
        const pool = yield* SqlitePool.make({ filename, [way]: true })
        for (const foreignKeys of ["off", "deferred"] as const) {
          const error = yield* Effect.flip(pool.transaction(Effect.void, { foreignKeys }))
          assert.include(String(error), "nothing is written there")
        }
      }))

    it.effect("is copied by a backup and by vacuum into", () =>
      Effect.gen(function*() {
        const filename = given(yield* file)
        const pool = yield* SqlitePool.make({ filename, [way]: true })
        const target = join(yield* folder, "copy.db")
        yield* Stream.runDrain(pool.backup(target))
        yield* pool.sql`vacuum into ${`${target}.2`}`
        for (const copy of [target, `${target}.2`]) {
          assert.deepStrictEqual((yield* judge(copy)).prepare("select a from t").all().length, 1)
        }
      }))

    it.effect("has one pool of readers, which recycles, reports and shuts down", () =>
      Effect.gen(function*() {
        const filename = given(yield* file)
        const pool = yield* SqlitePool.make({ filename, [way]: true, readers: 2, groupCommit: undefined })
        assert.strictEqual(pool.readers, pool.writer)
        assert.deepStrictEqual(Object.keys(pool.sides), ["writer"])
        yield* pool.readers.recycle
        assert.deepStrictEqual(yield* pool.sql`select a from t`, [{ a: 1 }])
        const stats = yield* pool.stats
        assert.deepStrictEqual(stats.writer, stats.readers)
        assert.strictEqual(stats.readers.max, 2)
        assert.strictEqual(stats.walBytes, 0)
        yield* pool.shutdown()
        assert.strictEqual(openFiles(filename), 0)
        yield* failsWith(pool.sql`select a from t`, "SqlError")
      }))

    it.effect("is found under every name, also behind a link", () =>
      Effect.gen(function*() {
        const path = yield* folder
        for (const name of ["a#b.db", "a?b=c&d.db", "100%.db", "%41.db", "two words.db", "łódź-ü.db", "a;b'c\".db"]) {
          const filename = given(join(path, name))
          fs.symlinkSync(filename, join(path, "link"))
          for (const each of [filename, join(path, "link")]) {
            const read = Effect.gen(function*() {
              const pool = yield* SqlitePool.make({ filename: each, [way]: true })
              return yield* pool.sql`select a from t`
            })
            assert.deepStrictEqual(yield* Effect.scoped(read), [{ a: 1 }], each)
          }
          fs.rmSync(join(path, "link"))
        }
      }))

    it.effect("has to exist, and to be a database", () =>
      Effect.gen(function*() {
        const filename = yield* file
        const missing = yield* failing({ filename, [way]: true })
        assert.instanceOf(missing.reason, ConnectionError)
        assert.include(missing.message, "the file does not exist")
        assert.deepStrictEqual(names(filename), [])
        fs.writeFileSync(filename, "no database".repeat(1000))
        const none = yield* failing({ filename, [way]: true })
        assert.instanceOf(none.reason, UnknownError)
        assert.include(none.message, "it is not a SQLite database")
        assert.include((yield* failing({ filename: dirname(filename), [way]: true })).message, "it is a folder")
      }))

    it.effect("is noticed to be replaced while it is open", () =>
      Effect.gen(function*() {
        const filename = given(yield* file, "delete")
        const pool = yield* SqlitePool.make({ filename, [way]: true })
        const other = given(`${filename}.new`, "delete")
        const database = yield* judge(other, "insert into t values (2)")
        database.close()
        fs.renameSync(other, filename)
        yield* Effect.eventually(Effect.filterOrFail(
          pool.sql`select a from t`,
          (rows) => rows.length === 2,
          () => "old"
        ))
      }))

    it.effect("refuses options about writes, and memory, before anything is opened", () =>
      Effect.gen(function*() {
        const writes = {
          synchronous: "full",
          foreignKeys: false,
          journalSizeLimit: 0,
          walAutocheckpoint: 0,
          pageSize: 4096,
          autoVacuum: "none",
          walLimit: 2 ** 20,
          groupCommit: false
        } as const
        const error = yield* failsWith(
          Effect.scoped(SqlitePool.make({ filename: "missing.db", [way]: true, ...writes })),
          "PoolConfigError"
        )
        assert.instanceOf(error, PoolError.PoolConfigError)
        assert.deepStrictEqual(error.problems.map(({ field }) => field), Object.keys(writes))
        assert.strictEqual(
          error.problems[0]!.message,
          `synchronous is "full", but must be left out with ${way}: nothing is written`
        )
        const memory = yield* failsWith(
          Effect.scoped(SqlitePool.make({ filename: ":memory:", [way]: true })),
          "PoolConfigError"
        )
        assert.include(
          memory.message,
          `${way} is true, but must be false for ":memory:", which nothing else could fill`
        )
        const temporary = yield* failsWith(
          Effect.scoped(SqlitePool.makeTemporary({ [way]: true } as never)),
          "PoolConfigError"
        )
        assert.include(temporary.message, `${way} is no option`)
      }))

    it.effect("is asked for by the environment", () =>
      Effect.gen(function*() {
        const DB_FILENAME = given(yield* file)
        const env = { DB_FILENAME, [way === "readOnly" ? "DB_READ_ONLY" : "DB_IMMUTABLE"]: "true" }
        const layer = SqlitePool.layerConfig(SqlitePool.config("DB")).pipe(
          Layer.provide(ConfigProvider.layer(ConfigProvider.fromEnv({ env })))
        )
        const error = yield* failsWith(
          Effect.provide(
            Effect.flatMap(SqlitePool.SqlitePool, (pool) => pool.sql`delete from t`),
            layer
          ),
          "SqlError"
        )
        assert.include(String(error), refusal)
      }))
  })
}

describe("a database with readOnly", () => {
  it.effect("sees what others write, and leaves an empty log if the file is in WAL mode", () =>
    Effect.gen(function*() {
      const filename = given(yield* file)
      yield* Effect.scoped(Effect.gen(function*() {
        const pool = yield* SqlitePool.make({ filename, readOnly: true })
        const other = yield* judge(filename)
        other.exec("insert into t values (2)")
        assert.deepStrictEqual(yield* pool.sql`select a from t`, [{ a: 1 }, { a: 2 }])
        // A checkpoint by a connection that only reads would be a failure of the disk, by SQLite's words.
        const error = yield* failsWith(pool.sql`pragma wal_checkpoint`, "SqlError")
        assert.instanceOf((error as SqlError).reason, AuthorizationError)
        assert.isAbove((yield* pool.stats).walBytes, 0)
        other.close()
      }))
      assert.deepStrictEqual(names(filename), ["test.db", "test.db-shm", "test.db-wal"])
      assert.strictEqual(SqliteConnection.codeOf(yield* failing({ filename, immutable: true })), undefined)
    }))

  it.effect("leaves nothing beside a file in another mode, and reads an empty file", () =>
    Effect.gen(function*() {
      const filename = given(yield* file, "delete")
      yield* Effect.scoped(Effect.flatMap(
        SqlitePool.make({ filename, readOnly: true }),
        ({ sql, write }) =>
          Effect.gen(function*() {
            assert.deepStrictEqual(yield* sql`select a from t`, [{ a: 1 }])
            assert.deepStrictEqual(yield* sql`pragma journal_mode`, [{ journal_mode: "delete" }])
            // This changes nothing, so it is not refused.
            yield* write((connection) => connection.exec("pragma journal_mode = delete"))
          })
      ))
      assert.deepStrictEqual(names(filename), ["test.db"])
      const empty = join(dirname(filename), "empty.db")
      fs.writeFileSync(empty, "")
      const pool = yield* SqlitePool.make({ filename: empty, readOnly: true })
      assert.deepStrictEqual(yield* pool.sql`select name from sqlite_schema`, [])
    }))
})

describe("a database with immutable", () => {
  it.effect("leaves nothing beside its file, also in WAL mode", () =>
    Effect.gen(function*() {
      const filename = given(yield* file)
      const bytes = fs.readFileSync(filename)
      yield* Effect.scoped(Effect.gen(function*() {
        const pool = yield* SqlitePool.make({ filename, immutable: true })
        yield* Effect.all(Array.from({ length: 8 }, () => pool.sql`select a from t`), { concurrency: 8 })
        assert.deepStrictEqual(names(filename), ["test.db"])
      }))
      assert.deepStrictEqual(names(filename), ["test.db"])
      assert.deepStrictEqual(fs.readFileSync(filename), bytes)
    }))

  it.effect("is refused while a log with contents lies beside its file, also behind a link", () =>
    Effect.gen(function*() {
      const filename = given(yield* file)
      const other = yield* judge(filename, "insert into t values (2)")
      const link = join(yield* folder, "link.db")
      fs.symlinkSync(filename, link)
      for (const name of [filename, link]) {
        const { message, reason } = yield* failing({ filename: name, immutable: true })
        assert.instanceOf(reason, ConnectionError)
        assert.include(message, `with immutable: changes may be in its log "${fs.realpathSync(filename)}-wal"`)
      }
      other.close()
      fs.writeFileSync(`${filename}-wal`, "")
      const pool = yield* SqlitePool.make({ filename, immutable: true })
      assert.deepStrictEqual(yield* pool.sql`select a from t`, [{ a: 1 }, { a: 2 }])
      // The empty log is not the pool's.
      fs.rmSync(`${filename}-wal`)
      yield* TestClock.adjust("1 second")
      assert.strictEqual((yield* pool.sql`select a from t`).length, 2)
      assert.strictEqual((yield* pool.stats).readers.disconnects, 0)
    }))

  it.effect("is refused while a write is going on or was interrupted, but not for a journal that is kept", () =>
    Effect.gen(function*() {
      const filename = given(yield* file, "persist")
      const other = yield* judge(
        filename,
        "pragma journal_mode = persist; pragma cache_size = 1; insert into t values (2)"
      )
      assert.isAbove(fs.statSync(`${filename}-journal`).size, 0)
      const read = Effect.flatMap(SqlitePool.make({ filename, immutable: true }), ({ sql }) => sql`select a from t`)
      assert.strictEqual((yield* Effect.scoped(read)).length, 2)
      const rows = "with recursive n(a) as (select 1 union all select a + 1 from n where a < 20000) select a from n"
      other.exec(`begin; insert into t ${rows}`)
      const { message } = yield* failing({ filename, immutable: true })
      assert.include(message, "a write to it was interrupted or is going on")
      // A copy of both is what a killed process leaves.
      const killed = join(yield* folder, "killed.db")
      fs.copyFileSync(filename, killed)
      fs.copyFileSync(`${filename}-journal`, `${killed}-journal`)
      other.exec("rollback")
      assert.include(
        (yield* failing({ filename: killed, readOnly: true })).message,
        "has to be rolled back: open it for writing"
      )
      assert.include((yield* failing({ filename: killed, immutable: true })).message, "was interrupted")
    }))

  it.effect("is refused with an empty file, and with readOnly: false", () =>
    Effect.gen(function*() {
      const filename = yield* file
      fs.writeFileSync(filename, "")
      assert.include((yield* failing({ filename, immutable: true })).message, "the file is empty")
      const error = yield* failsWith(
        Effect.scoped(SqlitePool.make({ filename, immutable: true, readOnly: false })),
        "PoolConfigError"
      )
      assert.include(error.message, "readOnly is false, but must be true or left out with immutable")
      const single = yield* Effect.flip(SqliteConnection.open({ filename, immutable: true }))
      assert.include(single.message, "the file is empty")
    }))

  it.effect("that is emptied is refused until a database is there", () =>
    Effect.gen(function*() {
      const filename = given(yield* file)
      const bytes = fs.readFileSync(filename)
      const pool = yield* SqlitePool.make({ filename, immutable: true, drainTimeout: 0 })
      assert.deepStrictEqual(yield* pool.sql`select a from t`, [{ a: 1 }])
      fs.truncateSync(filename)
      yield* TestClock.adjust("1 second")
      const error = yield* failsWith(pool.sql`select a from t`, "SqlError")
      assert.include(error.message, "the file was emptied: put a database in its place")
      assert.deepStrictEqual(names(filename), ["test.db"])
      fs.writeFileSync(filename, bytes)
      yield* TestClock.adjust("1 second")
      assert.deepStrictEqual(yield* pool.sql`select a from t`, [{ a: 1 }])
      assert.deepStrictEqual(names(filename), ["test.db"])
    }))
})
