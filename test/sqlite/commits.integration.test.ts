/** The stream of commits, and what `Reactivity` is told of them. */
import { assert, describe, it } from "@effect/vitest"
import { Cause, Effect, Fiber, Layer, Stream } from "effect"
import { SqlitePool } from "effect-connection-pool/sqlite"
import * as Reactivity from "effect/reactivity/Reactivity"
import * as SqlClient from "effect/sql/SqlClient"
import { TestClock } from "effect/testing"
import { file, judge } from "../support/files.ts"
import { reading } from "../support/observing.ts"
import { settle } from "../support/pools.ts"

const schema = `create table Visit(page); create table log(page); create table gone(a);
  create trigger logs after insert on Visit begin insert into log values (new.page); end`

const make = Effect.fnUntraced(function*(options?: Partial<SqlitePool.Options>) {
  const filename = yield* file
  const pool = yield* SqlitePool.make({ filename, observeInterval: "1 second", ...options })
  yield* pool.write((connection) => connection.exec(schema))
  return { filename, pool }
})

describe("commits", () => {
  it.effect("say which tables have changed, when, and by whom", () =>
    Effect.gen(function*() {
      const { filename, pool } = yield* make()
      const other = yield* judge(filename)
      const commits = yield* reading(pool.commits)
      assert.isUndefined(yield* commits.now)
      yield* TestClock.adjust("500 millis")
      yield* pool.sql`insert into visit values ('home')`
      const own = { isSchemaChanged: false, by: "pool", at: 500, count: 1 }
      assert.deepStrictEqual(yield* commits.now, { ...own, tables: ["Visit", "log"] } as SqlitePool.Commit)
      yield* pool.transaction(Effect.andThen(pool.sql`delete from gone`, pool.sql`delete from log`))
      assert.deepStrictEqual(yield* commits.now, { ...own, tables: ["gone", "log"] } as SqlitePool.Commit)
      yield* pool.sql`drop table gone`
      assert.deepInclude(yield* commits.now, { isSchemaChanged: true, by: "pool" })
      other.exec("insert into visit values ('about')")
      assert.isUndefined(yield* commits.now)
      yield* TestClock.adjust("1 second")
      assert.deepStrictEqual(yield* commits.now, { isSchemaChanged: true, by: "other", at: 1000, count: 1 })
      assert.isUndefined(yield* commits.now)
    }))

  for (const filename of [":memory:", undefined]) {
    it.effect(`report a transaction that had written before: ${filename ?? "in a file"}`, () =>
      Effect.gen(function*() {
        const { pool } = yield* make(filename === undefined ? {} : { filename })
        const commits = yield* Effect.flatMap(
          pool.transaction(Effect.andThen(
            pool.sql`delete from gone`,
            Effect.tap(reading(pool.commits), ({ now }) => now)
          )),
          ({ next }) => next
        )
        assert.deepStrictEqual(commits, { isSchemaChanged: true, by: "pool", at: 0, count: 1 })
      }))
  }

  it.effect("name a table of an attached database with that database", () =>
    Effect.gen(function*() {
      const archive = `${yield* file}.archive`
      const { pool } = yield* make({ onOpen: (connection) => connection.exec(`attach '${archive}' as archive`) })
      yield* pool.sql`create table archive.old(a)`
      const commits = yield* reading(pool.commits)
      assert.isUndefined(yield* commits.now)
      yield* pool.sql`insert into archive.old values (1)`
      assert.deepStrictEqual((yield* commits.now)?.tables, ["archive.old"])
    }))

  it.effect("lose no table for a slow reader: the newest are put together", () =>
    Effect.gen(function*() {
      const { pool } = yield* make()
      const pull = yield* Stream.toPull(pool.commits)
      const started = yield* Effect.forkChild(pull)
      yield* settle
      yield* pool.sql`delete from gone`
      yield* settle
      yield* settle
      assert.isDefined(started.pollUnsafe())
      for (let n = 0; n < 1100; n++) yield* pool.sql`delete from log`
      yield* pool.sql`delete from gone`
      const commits = yield* pull
      assert.strictEqual(commits.length, 1024)
      assert.strictEqual(commits.reduce((sum, { count }) => sum + count, 0), 1101)
      assert.deepStrictEqual(commits.at(-1)!.tables, ["log", "gone"])
      assert.deepStrictEqual(commits[0].tables, ["log"])
    }))

  it.effect("put together are those of others if one of them is", () =>
    Effect.gen(function*() {
      const { filename, pool } = yield* make()
      const other = yield* judge(filename)
      const pull = yield* Stream.toPull(pool.commits)
      yield* Effect.forkChild(pull)
      yield* settle
      yield* pool.sql`delete from gone`
      yield* settle
      for (let n = 0; n < 1024; n++) yield* pool.sql`delete from log`
      other.exec("insert into visit values ('about')")
      yield* TestClock.adjust("1 second")
      yield* pool.sql`delete from log`
      const commits = yield* pull
      assert.deepStrictEqual(commits.length, 1024)
      assert.deepStrictEqual(commits.at(-2)?.by, "pool")
      // Of the commits of others it is not known what they have changed.
      assert.deepStrictEqual(commits.at(-1), { isSchemaChanged: true, by: "other", at: 1000, count: 3 })
    }))

  it.effect("that were not read before a shutdown can be read after it, and are the last", () =>
    Effect.gen(function*() {
      const { pool } = yield* make({ drainTimeout: 0 })
      const pull = yield* Stream.toPull(pool.commits)
      const first = yield* Effect.forkChild(pull)
      yield* settle
      yield* pool.sql`delete from gone`
      yield* Fiber.join(first)
      yield* pool.sql`delete from log`
      yield* pool.shutdown()
      const commits = yield* pull
      assert.deepStrictEqual(commits.map(({ tables }) => tables), [["log"]])
      assert.isTrue(Cause.isDone(yield* Effect.flip(pull)))
    }))
})

describe("Reactivity, if it is told of commits", () => {
  const told = (tellReactivity: SqlitePool.Options["tellReactivity"], key: string) =>
    Effect.gen(function*() {
      const filename = yield* file
      const other = yield* judge(filename, `pragma journal_mode = wal; ${schema}`)
      const layer = SqlitePool.layer({ filename, observeInterval: "1 second", tellReactivity })
      yield* Effect.gen(function*() {
        const sql = yield* SqlClient.SqlClient
        const reactivity = yield* Reactivity.Reactivity
        const query = sql`select page from log`
        const results = yield* reading(sql.reactive([key], query))
        const ofApplication = yield* reading(reactivity.stream([key], query))
        const both = [results, ofApplication]
        for (const { now } of both) assert.deepEqual(yield* now, [])
        // The trigger writes it.
        yield* sql`insert into visit values ('home')`
        for (const { now } of both) assert.deepEqual(yield* now, [{ page: "home" }])
        yield* sql`delete from gone`
        for (const { now } of both) assert.isUndefined(yield* now)
        other.exec("insert into log values ('about')")
        yield* TestClock.adjust("1 second")
        for (const { now } of both) assert.deepEqual(yield* now, [{ page: "home" }, { page: "about" }])
        yield* Effect.ignore(sql.withTransaction(Effect.andThen(sql`delete from log`, Effect.fail("no"))))
        for (const { now } of both) assert.isUndefined(yield* now)
        // One that was dropped is told of by its old name.
        const gone = yield* reading(reactivity.stream([key.replace("log", "gone")], Effect.succeed("told")))
        yield* gone.now
        yield* sql`drop table gone`
        assert.strictEqual(yield* gone.now, "told")
      }).pipe(Effect.provide(Layer.mergeAll(layer, Reactivity.layer)))
    })

  it.effect("hears of each changed table by its name", () => told(true, "log"))

  it.effect("hears of each changed table by the key that it was given", () =>
    told((table) => `app/${table}`, "app/log"))

  it.effect("hears nothing otherwise", () =>
    Effect.gen(function*() {
      const { pool } = yield* make()
      const results = yield* reading(pool.sql.reactive(["log"], pool.sql`select page from log`))
      yield* results.next
      yield* pool.sql`insert into visit values ('home')`
      assert.isUndefined(yield* results.now)
    }))
})
