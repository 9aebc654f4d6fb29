import { assert, describe, it } from "@effect/vitest"
import { Deferred, Effect, Exit, Fiber, Scope, Stream } from "effect"
import { SafeIntegers } from "effect/sql/SqlClient"
import { DatabaseSync } from "node:sqlite"
import type { FunctionsModule } from "../../src/sqlite/internal/options/functions.ts"
import { open } from "../../src/sqlite/internal/worker/factory.ts"
import { WorkerLeased } from "../../src/sqlite/internal/worker/workerConnection.ts"
import * as SqliteConnection from "../../src/sqlite/SqliteConnection.ts"
import { file } from "../support/files.ts"
import { heldStatement, withHeld } from "../support/held.ts"
import { settingsOf } from "../support/workerPair.ts"
import { until } from "../support/workerPools.ts"

/** Opens a database in a thread. */
const opened = (options: object = {}, died?: () => void, functionsFrom?: FunctionsModule) =>
  Effect.gen(function*() {
    const filename = yield* file
    const { thread } = yield* open({ ...settingsOf({ filename, ...options }), functionsFrom }, true, { died })
    return { filename, thread, host: thread.host, connection: new WorkerLeased(thread, 1000, "test") }
  })

describe("a connection in a thread of its own", () => {
  it.live("answers as one in process does", () =>
    Effect.gen(function*() {
      const { connection, filename } = yield* opened()
      yield* connection.exec("create table t(id integer primary key, a)")
      assert.deepStrictEqual(yield* connection.run("insert into t(a) values (?), (?)", [1, "two"]), {
        changes: 2,
        lastInsertRowid: 2
      })
      const plain = yield* SqliteConnection.open({ filename })
      assert.deepStrictEqual(yield* connection.query("select * from t"), yield* plain.query("select * from t"))
      assert.deepStrictEqual(yield* connection.values("select * from t"), yield* plain.values("select * from t"))
      const exact = yield* Effect.provideService(connection.values("select id from t"), SafeIntegers, true)
      assert.deepStrictEqual(exact, [[1n], [2n]])
      const ours = yield* Effect.flip(connection.run("insert into t(id) values (1)"))
      const theirs = yield* Effect.flip(plain.run("insert into t(id) values (1)"))
      assert.strictEqual(ours.message, theirs.message)
      assert.strictEqual(SqliteConnection.codeOf(ours), 1555)
    }).pipe(Effect.scoped))

  it.live("leaves the event loop its turns while a large result arrives, also if the receiver is slower than the thread", () =>
    Effect.gen(function*() {
      const { host } = yield* opened()
      const sql = "with recursive n(i) as (select 1 union all select i + 1 from n where i < 30000) select i from n"
      let chunks = 0
      let turns = 0
      /** The number of chunks that came in each turn. */
      const inTurn = new Map<number, number>()
      const turn = () => {
        turns++
        immediate = setImmediate(turn)
      }
      let immediate = setImmediate(turn)
      yield* Effect.callback<void>((resume) => {
        const pending = host.statement({
          operation: "query",
          way: "rows",
          sql,
          params: undefined,
          bigInts: false,
          isAlone: false,
          isStream: false
        }, {
          rows: () => {
            chunks++
            inTurn.set(turns, (inTurn.get(turns) ?? 0) + 1)
            host.credit(pending, 1)
            // The thread reads the next rows in this time.
            const until = performance.now() + 4
            while (performance.now() < until);
          },
          ended: () => resume(Effect.void),
          failed: (thrown) => resume(Effect.die(thrown)),
          cancelled: () => {}
        })
      })
      clearImmediate(immediate)
      assert.strictEqual(chunks, 60)
      assert.isAtMost(Math.max(...inTurn.values()), 4)
    }).pipe(Effect.scoped))

  it.live("streams rows as they are asked for, and ends the statement with the stream", () =>
    Effect.gen(function*() {
      const { connection, host } = yield* opened()
      const numbers = "with recursive n(i) as (select 1 union all select i + 1 from n where i < 100000) select i from n"
      const all = yield* Stream.runFold(connection.stream(numbers), () => 0, (sum, { i }) => sum + (i as number))
      assert.strictEqual(all, 5000050000)
      const first = yield* Stream.runCollect(Stream.take(connection.stream(numbers), 3))
      assert.deepStrictEqual(first.map(({ i }) => i), [1, 2, 3])
      yield* connection.query("select 1")
      assert.isFalse(host.state.isPinning)
      assert.strictEqual(host.size, 0)
    }).pipe(Effect.scoped))

  it.live("leaves the event loop free while a statement runs, and ends the wait of an interrupted caller at once", () =>
    Effect.gen(function*() {
      const { connection, host } = yield* opened({}, undefined, withHeld)
      const held = yield* heldStatement
      const fiber = yield* Effect.forkChild(connection.query(held.sql))
      yield* held.hasBegun
      assert.strictEqual(host.size, 1)
      yield* Fiber.interrupt(fiber)
      assert.strictEqual(host.size, 1)
      assert.strictEqual(host.description, held.sql)
      yield* held.letGo
      assert.deepStrictEqual(yield* connection.values("select 1"), [[1]])
      assert.strictEqual(host.size, 0)
    }).pipe(Effect.scoped))

  it.live("tells when its thread dies, and fails every request", () =>
    Effect.gen(function*() {
      const died = yield* Deferred.make<void>()
      const { connection, host, thread } = yield* opened({}, () => Deferred.doneUnsafe(died, Exit.void))
      const waiting = yield* Effect.forkChild(Effect.flip(connection.query(
        "with recursive n(i) as (select 1 union all select i + 1 from n) select i from n where i < 0"
          .replace("from n)", "from n where i < 2000000)")
      )))
      yield* until(() => host.size === 1)
      thread.terminate()
      const error = yield* Fiber.join(waiting)
      assert.strictEqual(error._tag, "SqlError")
      assert.include(error.message, "the thread of the SQLite database")
      yield* Deferred.await(died)
      assert.isFalse(host.state.isUsable)
      const after = yield* Effect.flip(connection.query("select 1"))
      assert.include(after.message, "the thread of the SQLite database")
    }).pipe(Effect.scoped))

  it.live("says why a file cannot be opened, as in process, and leaves no thread", () =>
    Effect.gen(function*() {
      const scope = yield* Scope.make()
      const options = { filename: "/nowhere/at/all.db" }
      const ours = yield* Effect.flip(Effect.provideService(open(settingsOf(options), true), Scope.Scope, scope))
      const theirs = yield* Effect.flip(SqliteConnection.open(options))
      assert.strictEqual(ours.message, theirs.message)
      assert.strictEqual(ours.reason._tag, theirs.reason._tag)
      yield* Scope.close(scope, Exit.void)
    }).pipe(Effect.scoped))

  it.live("refuses functions that are in no module, which cannot be sent", () =>
    Effect.gen(function*() {
      const error = yield* Effect.flip(opened({ functions: { f: () => 1 } }))
      assert.match(error.message, /^cannot open .* in a thread: it has functions that are in no module$/)
    }).pipe(Effect.scoped))

  it.live("waits for the lock of another process without stopping the event loop", () =>
    Effect.gen(function*() {
      const { connection, filename } = yield* opened()
      yield* connection.exec("create table t(a)")
      const other = new DatabaseSync(filename)
      other.exec("begin immediate")
      const fiber = yield* Effect.forkChild(connection.run("insert into t values (1)"))
      yield* Effect.sleep(20)
      assert.isUndefined(fiber.pollUnsafe())
      other.exec("commit")
      other.close()
      assert.deepStrictEqual(yield* Fiber.join(fiber), { changes: 1, lastInsertRowid: 1 })
    }).pipe(Effect.scoped))
})

const writes = Number(process.env["WORKER_WRITES"] ?? 600)

describe("a write in a thread that is interrupted at a random moment", () => {
  it.live("is stored if and only if its caller was not told that it was interrupted", () =>
    Effect.gen(function*() {
      const { connection } = yield* opened({ synchronous: "off" })
      yield* connection.exec("create table t(id integer primary key, a)")
      const interrupted: Array<number> = []
      const told: Array<number> = []
      for (let id = 1; id <= writes; id++) {
        // Some do more than others, so that every moment is met.
        const write = connection.run(
          "insert into t select ?1, count(*) from (with recursive n(i) as (select 1 union all select i + 1 from n where " +
            "i < ?2) select i from n)",
          [id, (id % 7) * 60]
        )
        const fiber = yield* Effect.forkChild(
          Effect.onExit(write, (exit) => Effect.sync(() => (Exit.isSuccess(exit) ? told : interrupted).push(id))),
          { startImmediately: true }
        )
        for (let turn = 0; turn < id % 5; turn++) yield* Effect.yieldNow
        if (id % 3 > 0) yield* Effect.promise(() => new Promise((resume) => setImmediate(resume)))
        if (id % 11 === 0) yield* Effect.sleep(0.2)
        // However slow the thread is, some are answered.
        if (id % 50 === 0) yield* Fiber.await(fiber)
        yield* Fiber.interrupt(fiber)
      }
      const rows = (yield* connection.values("select id from t order by id")).flat()
      assert.deepStrictEqual(rows, told)
      assert.strictEqual(told.length + interrupted.length, writes)
      // The test means nothing if one of the two never happens.
      assert.isAbove(told.length, 0)
      assert.isAbove(interrupted.length, 0)
    }).pipe(Effect.scoped), { timeout: 120_000 })
})
