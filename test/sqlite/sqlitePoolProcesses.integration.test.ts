import { assert, describe, it } from "@effect/vitest"
import { Deferred, Effect, Fiber, Stream } from "effect"
import { SqliteConnection, SqlitePool } from "effect-connection-pool/sqlite"
import { isSqlError } from "effect/sql/SqlError"
import { TestClock } from "effect/testing"
import { StatementSync } from "node:sqlite"
import * as Process from "../support/childProcess.ts"
import { file, judge } from "../support/files.ts"
import { settle } from "../support/pools.ts"

const make = Effect.fnUntraced(function*(options?: Partial<SqlitePool.Options>) {
  const filename = yield* file
  const pool = yield* SqlitePool.make({ filename, drainTimeout: 0, ...options })
  yield* pool.write((connection) => connection.exec("create table t(a)"))
  return { filename, pool }
})

const insert = (connection: SqliteConnection.SqliteConnection) => connection.run("insert into t values (1)")

const insertUnsafe = (connection: SqliteConnection.SqliteConnection) => connection.runUnsafe("insert into t values (1)")

/** Of a test with other processes: against one that hangs, not one on a machine that is busy. */
const timeout = 300_000

describe("a lock of another process", () => {
  it.live("has a write wait for it, and nothing else", () =>
    Effect.gen(function*() {
      const { filename, pool } = yield* make()
      const other = yield* Process.run("locker", filename)
      yield* other.says("locked")
      const writing = yield* Effect.forkChild(pool.write(insert))
      // Readers do not even notice.
      assert.deepStrictEqual(yield* pool.read((reader) => reader.values("select count(*) from t")), [[0]])
      assert.isUndefined(writing.pollUnsafe())
      let beats = 0
      // The lock is released by what could not go on if the event loop stood still. In real time, as the other process is.
      const heart = yield* Effect.forkChild(Effect.gen(function*() {
        for (;;) {
          yield* Effect.sleep("5 millis")
          if (++beats === 60) yield* other.sign
        }
      }))
      assert.deepStrictEqual(yield* Fiber.join(writing), { changes: 1, lastInsertRowid: 2 })
      assert.isAtLeast(beats, 60)
      yield* Fiber.interrupt(heart)
      yield* other.ended
    }), timeout)

  it.effect("makes every operation that begins something wait until busyTimeout, and then fail with a typed error", () =>
    Effect.gen(function*() {
      const { filename, pool } = yield* make({ busyTimeout: "200 millis" })
      const other = yield* judge(filename, "begin immediate; insert into t values (0)")
      type Attempt = (connection: SqliteConnection.SqliteConnection) => Effect.Effect<unknown, unknown>
      const attempts: Record<string, Attempt> = {
        run: insert,
        query: (connection) => connection.query("insert into t values (1) returning a"),
        values: (connection) => connection.values("insert into t values (1) returning a"),
        exec: (connection) => connection.exec("insert into t values (1)"),
        begin: (connection) => connection.exec("begin immediate; insert into t values (1); commit")
      }
      for (const [name, attempt] of Object.entries(attempts)) {
        const late = yield* Effect.forkChild(Effect.flip(pool.write(attempt)))
        yield* TestClock.adjust("190 millis")
        assert.isUndefined(late.pollUnsafe(), name)
        yield* TestClock.adjust("20 millis")
        const error = yield* Fiber.join(late)
        assert.isTrue(isSqlError(error) && error.reason._tag === "LockTimeoutError" && error.isRetryable, name)
        assert.strictEqual(SqliteConnection.codeOf(error), 5)
        const inTime = yield* Effect.forkChild(pool.write(attempt))
        yield* TestClock.adjust("100 millis")
        assert.isUndefined(inTime.pollUnsafe(), name)
        other.exec("commit")
        yield* TestClock.adjust("2 millis")
        yield* Fiber.join(inTime)
        other.exec("begin immediate; insert into t values (0)")
      }
      other.exec("rollback")
      assert.deepStrictEqual(yield* pool.read((reader) => reader.values("select count(*) from t where a = 1")), [[5]])
    }))

  it.effect("makes readers wait too if SQLite locks them out, as after a crash", () =>
    Effect.gen(function*() {
      const { pool } = yield* make()
      yield* pool.read((reader) => reader.values("select count(*) from t"))
      const real = StatementSync.prototype.all
      let times = 0
      yield* Effect.acquireRelease(
        Effect.sync(() => {
          StatementSync.prototype.all = function(this: StatementSync, ...args: ReadonlyArray<unknown>) {
            if (++times > 5) return Reflect.apply(real, this, args)
            throw Object.assign(new Error("database is locked"), { errcode: 261 })
          }
        }),
        () =>
          Effect.sync(() => {
            StatementSync.prototype.all = real
          })
      )
      const fiber = yield* Effect.forkChild(pool.read((reader) => reader.query("select count(*) as n from t")))
      yield* TestClock.adjust("2 millis")
      assert.isUndefined(fiber.pollUnsafe())
      yield* TestClock.adjust("10 millis")
      assert.strictEqual((yield* Fiber.join(fiber))[0]?.["n"], 0)
      times = 0
      const streaming = yield* Effect.forkChild(Stream.runCollect(pool.stream("select a from t")))
      yield* TestClock.adjust("12 millis")
      assert.deepStrictEqual(yield* Fiber.join(streaming), [])
      assert.strictEqual((yield* pool.stats).readers.connects, 1)
    }))

  it.effect("does not make a connection outside a SqlitePool wait", () =>
    Effect.gen(function*() {
      const { filename } = yield* make()
      yield* judge(filename, "begin immediate")
      const connection = yield* SqliteConnection.open({ filename })
      for (const attempt of [insert(connection), connection.exec("insert into t values (1)")]) {
        assert.strictEqual(SqliteConnection.codeOf(yield* Effect.flip(Effect.asVoid(attempt))), 5)
      }
    }))

  it.effect("does not make an operation wait if busyTimeout is zero, or if it runs in one step of a lease", () =>
    Effect.gen(function*() {
      const { filename, pool } = yield* make({ busyTimeout: 0 })
      const other = yield* judge(filename, "begin immediate")
      const impatient: Record<string, Effect.Effect<unknown, unknown>> = {
        write: pool.write(insert),
        writeSync: pool.writeSync(insertUnsafe),
        sql: pool.sql`insert into t values (1)`
      }
      for (const [name, operation] of Object.entries(impatient)) {
        assert.strictEqual(SqliteConnection.codeOf(yield* Effect.flip(operation)), 5, name)
      }
      other.exec("rollback")
      const patient = yield* make()
      const disturber = yield* judge(patient.filename, "begin immediate")
      const inOneStep = patient.pool.write((connection) =>
        Effect.try({ try: () => insertUnsafe(connection), catch: (error) => error })
      )
      assert.strictEqual(SqliteConnection.codeOf(yield* Effect.flip(inOneStep)), 5)
      disturber.exec("rollback")
    }))

  it.effect("does not make statements inside a transaction wait, because that would not help", () =>
    Effect.gen(function*() {
      const { filename, pool } = yield* make()
      const other = yield* judge(filename)
      const attempt = (disturb: string) =>
        pool.write((connection) =>
          Effect.gen(function*() {
            yield* connection.exec("begin")
            yield* connection.values("select * from t")
            other.exec(disturb)
            return yield* insert(connection)
          })
        )
      // A writer at work, and one who was faster.
      const busy = yield* Effect.flip(attempt("begin immediate; insert into t values (2)"))
      assert.strictEqual(SqliteConnection.codeOf(busy), 5)
      other.exec("commit")
      const overtaken = yield* Effect.flip(attempt("insert into t values (3)"))
      assert.strictEqual(SqliteConnection.codeOf(overtaken), 517)
      // And a script that failed in its own.
      other.exec("begin immediate")
      const script = yield* Effect.flip(
        pool.write((connection) => connection.exec("begin; insert into t values (4); commit"))
      )
      assert.strictEqual(SqliteConnection.codeOf(script), 5)
      other.exec("rollback")
      assert.deepStrictEqual(yield* pool.write(insert), { changes: 1, lastInsertRowid: 3 })
    }))

  it.effect("stops a script where it is, and does nothing twice", () =>
    Effect.gen(function*() {
      const { filename, pool } = yield* make()
      const elsewhere = yield* file
      const other = yield* judge(elsewhere, "create table u(a); begin immediate")
      // The trigger is one statement, although it has semicolons.
      const script = `
        insert into t values (1);
        create trigger r after insert on t begin insert into t select 3 where new.a = 2; select 1; end;
        insert into elsewhere.u values (1);
        insert into t values (2); -- the end`
      const fiber = yield* Effect.forkChild(pool.write((connection) =>
        Effect.andThen(connection.exec(`attach '${elsewhere}' as elsewhere`), connection.exec(script))
      ))
      yield* TestClock.adjust("20 millis")
      assert.isUndefined(fiber.pollUnsafe())
      other.exec("commit")
      yield* TestClock.adjust("2 millis")
      yield* Fiber.join(fiber)
      const found = yield* judge(filename)
      assert.deepStrictEqual(
        found.prepare("select a from t order by rowid").all().map((row) =>
          row["a"]
        ),
        [1, 2, 3]
      )
      assert.strictEqual(other.prepare("select count(*) as n from u").get()!["n"], 1)
    }))

  it.effect("lets a write that waits for it be interrupted, and the line goes on", () =>
    Effect.gen(function*() {
      const { filename, pool } = yield* make()
      const other = yield* judge(filename, "begin immediate")
      const fiber = yield* Effect.forkChild(pool.write(insert))
      yield* TestClock.adjust("100 millis")
      const next = yield* Effect.forkChild(pool.write((connection) => connection.run("insert into t values (2)")))
      yield* TestClock.adjust("100 millis")
      yield* Fiber.interrupt(fiber)
      other.exec("commit")
      yield* TestClock.adjust("10 millis")
      yield* Fiber.join(next)
      assert.deepStrictEqual(yield* pool.read((reader) => reader.values("select a from t")), [[2]])
    }))

  it.effect("is no longer waited for when the lease of the waiter ends", () =>
    Effect.gen(function*() {
      const { filename, pool } = yield* make()
      const other = yield* judge(filename, "begin immediate")
      const begun = yield* Deferred.make<void>()
      const late = yield* pool.write((connection) =>
        Effect.andThen(
          Effect.forkDetach(Effect.andThen(Deferred.succeed(begun, undefined), insert(connection))),
          (fiber) => Effect.as(Effect.andThen(Deferred.await(begun), settle), fiber)
        )
      )
      yield* TestClock.adjust("10 millis")
      const error = yield* Effect.flip(Fiber.join(late))
      assert.strictEqual(error._tag, "LeaseExpiredError")
      other.exec("rollback")
    }))
})

describe("several processes", () => {
  it.live("count together, and lose nothing", () =>
    Effect.gen(function*() {
      const filename = yield* file
      const other = yield* judge(
        filename,
        "pragma journal_mode = wal; create table counter(n); insert into counter values (0)"
      )
      const times = 25
      const counters = yield* Effect.forEach(
        Array.from({ length: 6 }),
        () => Process.run("counter", filename, String(times)),
        { concurrency: "unbounded" }
      )
      yield* Effect.forEach(counters, (counter) => counter.says("open"), { concurrency: "unbounded" })
      yield* Effect.forEach(counters, (counter) => counter.sign)
      yield* Effect.forEach(counters, (counter) => counter.ended, { concurrency: "unbounded" })
      assert.strictEqual(other.prepare("select n from counter").get()!["n"], 6 * times)
    }), timeout)

  it.live(
    "may be killed while they write: what was acknowledged is there, and nothing is there by half",
    () =>
      Effect.gen(function*() {
        const filename = yield* file
        const other = yield* judge(
          filename,
          "pragma journal_mode = wal; create table pair(id, half, filler, primary key (id, half))"
        )
        let from = 0
        for (let kill = 0; kill < 8; kill++) {
          const writer = yield* Process.run("writer", filename, String(from), kill % 2 === 0 ? "normal" : "full")
          // At another place of its work each time: it goes on while this is heard.
          yield* writer.says(String(from + kill * 3))
          yield* writer.kill
          const lines = writer.printed().split("\n")
          const acknowledged = lines.slice(0, -1).map(Number)
          const last = acknowledged.at(-1)!
          assert.strictEqual(other.prepare("pragma integrity_check").get()!["integrity_check"], "ok")
          const halves = other.prepare("select count(*) as n from pair group by id having n <> 2").all()
          assert.deepStrictEqual(halves, [])
          const found = other.prepare("select id from pair where half = 1 order by id").all().map((row) =>
            row["id"] as number
          )
          // All from the first on; of the one after the last that was said, nobody knows.
          assert.deepStrictEqual(found, Array.from({ length: found.length }, (_, id) => id))
          assert.isTrue(found.length === last + 1 || found.length === last + 2, `${found.length} after ${last}`)
          from = found.length
          // Whoever it was held no lock beyond its end.
          other.exec("begin immediate; rollback")
        }
      }),
    timeout
  )
})
