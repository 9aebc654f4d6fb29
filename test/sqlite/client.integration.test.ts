import { assert, describe, it } from "@effect/vitest"
import type { Tracer } from "effect"
import { Effect, Exit, Fiber, Latch, Scope, Stream } from "effect"
import { SqliteConnection } from "effect-connection-pool/sqlite"
import { PoolAssert, Sweep } from "effect-connection-pool/testing"
import * as Reactivity from "effect/reactivity/Reactivity"
import { SafeIntegers, type SqlClient } from "effect/sql/SqlClient"
import type { SqlError } from "effect/sql/SqlError"
import { TestClock } from "effect/testing"
import * as Client from "../../src/sqlite/internal/client/client.ts"
import * as Database from "../support/database.ts"
import { settle } from "../support/pools.ts"
import { tracing } from "../support/tracing.ts"

const { codeOf } = SqliteConnection
const { failsWith } = PoolAssert

/** How often an effect took a connection from each of the two pools. */
const checkouts = <A, E, R>(db: Database.Database, effect: Effect.Effect<A, E, R>) =>
  Effect.gen(function*() {
    const counted = Effect.map(
      Effect.all([db.reader.stats, db.writer.stats]),
      ([reader, writer]) => ({ reader: reader.checkouts, writer: writer.checkouts })
    )
    const before = yield* counted
    const exit = yield* Effect.exit(effect)
    const after = yield* counted
    return { exit, reader: after.reader - before.reader, writer: after.writer - before.writer }
  })

/** A statement that seems to read, but writes; or would, if there were such a function. */
const writes = (sql: SqlClient, n: number) => sql.unsafe(`select writes(${n})`)

const refuse = (n: number, code: number) => Database.refusing(`select writes(${n})`, 1, code)

const fill = "create table t(n integer unique); create table big(n); create view v as select n from t"

describe("a statement of the client", () => {
  const routes: Record<string, readonly [reader: number, writer: number]> = {
    "select 1": [1, 0],
    " -- a comment\n SELECT n from t": [1, 0],
    "values (1), (2)": [1, 0],
    "with x as (select 1) select * from x": [1, 0],
    "explain insert into t values (1)": [1, 0],
    "pragma table_info(t)": [1, 0],
    "pragma main.table_info = t": [1, 0],
    "pragma user_version": [1, 0],
    "insert into t values (1)": [0, 1],
    "insert into t values (2) returning n": [0, 1],
    "with x(n) as (select 3) insert into t select n from x": [0, 1],
    "update t set n = 4 where n = 3": [0, 1],
    "replace into t values (5)": [0, 1],
    "delete from t": [0, 1],
    "create table u(n)": [0, 1],
    "pragma user_version = 3": [0, 1],
    // What only the connection that wrote remembers.
    "select last_insert_rowid()": [0, 1],
    "with x as (select changes()) select * from x": [0, 1],
    "pragma foreign_keys": [0, 1],
    "analyze": [0, 1],
    "vacuum": [0, 1],
    // What only looks like reading is refused by the reader, which has changed nothing.
    "explain pragma user_version = 4": [1, 0],
    nonsense: [0, 1]
  }
  it.effect("runs on a reader if it only reads, else on the writer", () =>
    Effect.gen(function*() {
      const db = yield* Database.make({ setup: fill })
      const found: Record<string, unknown> = {}
      for (const sql of Object.keys(routes)) {
        const statement = db.sql.unsafe(sql)
        for (const effect of [statement, statement.values, statement.raw, Stream.runCollect(statement.stream)]) {
          if (sql.startsWith("create table")) yield* db.sql`drop table if exists u`
          yield* db.sql`delete from t`
          const { reader, writer } = yield* checkouts(db, effect as Effect.Effect<unknown, SqlError>)
          found[sql] = [reader, writer]
          assert.deepStrictEqual(found[sql], routes[sql], sql)
        }
      }
    }))

  it.effect("runs on the writer if a reader refuses it, as one that writes", () =>
    Effect.gen(function*() {
      const db = yield* Database.make()
      const memory = yield* Database.makeInMemory()
      // 264: a log that has to be recovered, which a reader cannot.
      for (const code of [8, 264]) {
        for (const effect of [writes(db.sql, code), Stream.runDrain(writes(db.sql, code).stream)]) {
          yield* refuse(code, code)
          // The function does not exist; but that the writer has found out.
          const { exit, reader, writer } = yield* checkouts(db, effect as Effect.Effect<unknown, SqlError>)
          assert.deepStrictEqual([reader, writer], [1, 1])
          assert.strictEqual(codeOf(yield* Effect.flip(exit)), 1)
        }
      }
      // Nothing else is tried twice.
      yield* refuse(11, 11)
      const { exit, writer } = yield* checkouts(db, writes(db.sql, 11))
      assert.strictEqual(codeOf(yield* Effect.flip(exit)), 11)
      assert.strictEqual(writer, 0)
      // In memory there is nobody else to ask.
      for (const effect of [writes(memory.sql, 12), Stream.runDrain(writes(memory.sql, 12).stream)]) {
        yield* refuse(12, 8)
        assert.strictEqual(codeOf(yield* Effect.flip(effect as Effect.Effect<unknown, SqlError>)), 8)
      }
    }))

  it.effect("runs on the writer, too, if the reader refuses it after it has met a lock", () =>
    Effect.gen(function*() {
      const db = yield* Database.make()
      yield* refuse(13, 8)
      yield* Database.refusing("select writes(13)", 2, 5)
      const running = yield* Effect.forkChild(checkouts(db, writes(db.sql, 13)))
      yield* TestClock.adjust("10 millis")
      const { exit, reader, writer } = yield* Fiber.join(running)
      assert.deepStrictEqual([reader, writer], [2, 1])
      assert.strictEqual(codeOf(yield* Effect.flip(exit)), 1)
    }))

  it.effect("sees what was written before it, always", () =>
    Effect.gen(function*() {
      const db = yield* Database.make()
      const { sql } = db
      const seen = yield* Effect.forEach(
        Array.from({ length: 100 }, (_, n) => n),
        (n) => Effect.andThen(sql`insert into t values (${n})`, sql`select n from t where n = ${n}`.values),
        { concurrency: 10 }
      )
      assert.deepStrictEqual(seen.flat(2), Array.from({ length: 100 }, (_, n) => n))
    }))

  it.effect("does not wait for a transaction of others if it reads", () =>
    Effect.gen(function*() {
      const db = yield* Database.make()
      const inside = yield* Latch.make()
      const over = yield* Latch.make()
      const writing = yield* Effect.forkChild(
        db.transaction(Effect.andThen(db.sql`insert into t values (1)`, Effect.andThen(inside.open, over.await)))
      )
      yield* inside.await
      assert.deepStrictEqual(yield* db.sql`select n from t`, [])
      yield* over.open
      yield* Fiber.join(writing)
      assert.deepStrictEqual(yield* db.sql`select n from t`.values, [[1]])
    }))

  it.effect("gives what the ecosystem's clients give", () =>
    Effect.gen(function*() {
      const db = yield* Database.make({
        client: {
          transformResultNames: (name) => name.toUpperCase(),
          transformQueryNames: (name) => name.toLowerCase()
        }
      })
      const memory = yield* Database.makeInMemory()
      for (const { sql } of [db, memory]) {
        const inserted = yield* sql`insert into t ${sql.insert([{ n: 1 }, { n: 2 }]).returning("*")}`
        assert.deepStrictEqual(inserted.length, 2)
        assert.deepStrictEqual(yield* sql`insert into t ${sql.insert({ n: 3 })}`, [])
        assert.deepStrictEqual(yield* sql`insert into t values (4)`.raw, { changes: 1, lastInsertRowid: 4 })
        assert.deepStrictEqual(yield* sql`select n from t where n in ${sql.in([3, 4])}`.values, [[3], [4]])
        assert.deepStrictEqual(yield* sql`select n from t where n = 1`.valuesUnprepared, [[1]])
        assert.deepStrictEqual(
          yield* Effect.provideService(sql`select n from t where n = 1`.values, SafeIntegers, true),
          [[1n]]
        )
        assert.deepStrictEqual(yield* sql`select 1 where 0`, [])
        assert.strictEqual(sql.onDialectOrElse({ sqlite: () => "sqlite", orElse: () => "other" }), "sqlite")
        assert.strictEqual(sql.driver, "effect-connection-pool")
        const error = yield* failsWith(sql`insert into t values (1)`, "SqlError")
        assert.strictEqual(error.reason._tag, "UniqueViolation")
        const bad = yield* failsWith(sql`insert into t values (${new Date()})`, "SqlError")
        assert.include(bad.message, "execute: parameter 1 is an object (Date), but must be")
      }
      const row = { N: 1 }
      const { sql } = db
      const one = sql`select n from ${sql("T")} where n = 1`
      assert.deepStrictEqual(yield* one, [row])
      assert.deepStrictEqual(yield* one.unprepared, [row])
      assert.deepStrictEqual(yield* Stream.runCollect(one.stream), [row])
      assert.deepStrictEqual(Object.keys((yield* one.withoutTransform)[0]!), ["n"])
      const plain = sql.withoutTransforms()
      assert.deepStrictEqual(Object.keys((yield* plain`select n from t where n = 1`)[0]!), ["n"])
      assert.deepStrictEqual(yield* db.transaction(one), [row])
      // A copy of the client tells the same truth about transactions.
      assert.strictEqual(plain.withTransaction, db.withTransaction)
      assert.strictEqual(sql.safe.withTransaction, db.withTransaction)
    }))

  it.effect("has the attributes of the ecosystem's spans", () =>
    Effect.gen(function*() {
      const db = yield* Database.make({ client: { spanAttributes: { "service.name": "shop" } } })
      const { spans, tracer } = tracing()
      yield* db.transaction(db.sql`select 1`).pipe(Effect.withTracer(tracer))
      assert.deepStrictEqual(spans.map(({ name }) => name), ["sql.transaction", "sqlite"])
      for (const span of spans) {
        assert.strictEqual(span.attributes.get("db.system.name"), "sqlite")
        assert.strictEqual(span.attributes.get("service.name"), "shop")
      }
      assert.strictEqual(spans[1]!.attributes.get("db.query.text"), "select 1")
      assert.strictEqual((spans[1]!.parent as unknown as { readonly value: Tracer.Span }).value, spans[0])
    }))
})

describe("a stream of the client", () => {
  const many =
    "insert into t with recursive c(n) as (select 1 union all select n + 1 from c where n < 1000) select n from c"

  it.effect("holds one lease, as long as it is read, and sees one state", () =>
    Effect.gen(function*() {
      const db = yield* Database.make()
      yield* db.sql.unsafe(many)
      const held: Array<number> = []
      const rows = yield* db.sql`select n from t`.stream.pipe(
        Stream.chunks,
        Stream.tap((rows) =>
          Effect.gen(function*() {
            held.push(rows.length, (yield* db.reader.stats).inUse)
            yield* db.sql`delete from t`
          })
        ),
        Stream.runCollect
      )
      assert.strictEqual(rows.flat().length, 1000)
      assert.deepStrictEqual(held, [256, 1, 256, 1, 256, 1, 232, 1])
      assert.strictEqual((yield* db.reader.stats).inUse, 0)
      assert.deepStrictEqual(yield* Stream.runCollect(db.sql`select n from t`.stream), [])
    }))

  it.effect("gives its lease back wherever it is left or interrupted", () =>
    Effect.gen(function*() {
      const db = yield* Database.make({ readers: 1 })
      yield* db.sql.unsafe(many)
      const rows = db.sql`select n from t`.stream
      yield* Stream.runDrain(Stream.take(rows, 1))
      yield* Effect.exit(Stream.runForEach(rows, () => Effect.fail("no")))
      const report = yield* Sweep.run({
        setup: Effect.void,
        scenario: () => Stream.runDrain(rows),
        check: () =>
          Effect.gen(function*() {
            assert.strictEqual((yield* db.reader.stats).inUse, 0)
            assert.strictEqual((yield* db.sql`select n from t limit 1`).length, 1)
          }),
        budgets: [3, 40]
      })
      assert.isAbove(report.interrupted, 200)
      assert.strictEqual((yield* db.reader.stats).connects, 1)
      db.other.exec("delete from t")
      assert.strictEqual(db.other.prepare("pragma wal_checkpoint(truncate)").get()!["busy"], 0)
    }), 120_000)

  it.effect("waits for the locks of others before it gives its first row", () =>
    Effect.gen(function*() {
      const db = yield* Database.make({ journalMode: "delete", busyTimeout: 100 })
      yield* db.sql.unsafe(many)
      db.other.exec("begin exclusive")
      const count = Stream.runCount(db.sql`select n from t`.stream)
      const inTime = yield* Effect.forkChild(count)
      yield* TestClock.adjust("50 millis")
      db.other.exec("commit; begin exclusive")
      yield* TestClock.adjust("20 millis")
      db.other.exec("commit")
      yield* TestClock.adjust("20 millis")
      assert.strictEqual(yield* Fiber.join(inTime), 1000)
      db.other.exec("begin exclusive")
      const late = yield* Effect.forkChild(failsWith(count, "SqlError"))
      yield* TestClock.adjust("110 millis")
      assert.strictEqual(codeOf(yield* Fiber.join(late)), 5)
      assert.strictEqual((yield* db.reader.stats).inUse, 0)
    }))

  it.effect("writes, too", () =>
    Effect.gen(function*() {
      const db = yield* Database.make()
      const rows = yield* Stream.runCollect(db.sql`insert into t values (1), (2) returning n`.stream)
      assert.deepStrictEqual([rows.length, db.rows], [2, [1, 2]])
      yield* failsWith(Stream.runDrain(db.sql`insert into t values (1)`.stream), "SqlError")
    }))

  it.effect("in a transaction is read on its connection, beside other statements", () =>
    Effect.gen(function*() {
      const db = yield* Database.make()
      yield* db.transaction(Effect.gen(function*() {
        yield* db.sql.unsafe(many)
        const [count, other] = yield* Effect.all([
          Stream.runCount(db.sql`select n from t`.stream),
          Stream.runCount(
            Stream.tap(db.sql`select n from t`.stream, ({ n }) => db.sql`update t set n = -n where n = ${n}`)
          )
        ], { concurrency: "unbounded" })
        assert.isAtLeast(Math.min(count, other), 1000)
        yield* Stream.runDrain(Stream.take(db.sql`select n from t`.stream, 1))
        // No statement is open that this would have to wait for.
        yield* db.sql`create table u(n)`
        yield* db.sql`drop table u`
      }))
      assert.strictEqual(db.rows.length, 1000)
      assert.isBelow(Number(db.rows[0]), 0)
    }))

  it.effect("that others still read does not keep its transaction from being committed", () =>
    Effect.gen(function*() {
      const db = yield* Database.make()
      for (const statement of [`${many} returning n`, "select n from t"]) {
        const started = yield* Latch.make()
        const over = yield* Latch.make()
        const reading = yield* db.transaction(Effect.gen(function*() {
          const rows = Stream.tap(
            db.sql.unsafe<{ readonly n: number }>(statement).stream,
            ({ n }) => n === 1 ? Effect.andThen(started.open, over.await) : Effect.void
          )
          const fiber = yield* Effect.forkDetach(Effect.exit(Stream.runDrain(rows)))
          yield* started.await
          return fiber
        }))
        // SQLite commits nothing while a statement that writes is under way, which it is until its last row is read.
        assert.strictEqual(db.rows.length, 1000)
        assert.strictEqual(db.other.prepare("pragma wal_checkpoint(truncate)").get()!["busy"], 0)
        yield* over.open
        assert.isTrue(Exit.isFailure(yield* Fiber.join(reading)))
        // Nor had the pool to clean up: the lease ended with nothing open.
        assert.strictEqual((yield* db.writer.stats).resetting, 0)
      }
    }))
})

describe("a reserved connection", () => {
  it.effect("is the writer's, for as long as its scope is open", () =>
    Effect.gen(function*() {
      const db = yield* Database.make()
      const scope = yield* Scope.make()
      const connection = yield* Scope.provide(db.sql.reserve, scope)
      assert.strictEqual((yield* db.writer.stats).inUse, 1)
      // By hand, and at one's own risk.
      yield* connection.executeUnprepared("begin", [], undefined)
      yield* connection.executeRaw("insert into t values (?)", [1])
      assert.deepStrictEqual(yield* connection.executeValues("select n from t", []), [[1]])
      assert.strictEqual(
        (yield* Stream.runCollect(connection.executeStream("select n from t", [], undefined))).length,
        1
      )
      yield* connection.executeUnprepared("commit", [], undefined)
      assert.deepStrictEqual(db.rows, [1])
      yield* connection.executeUnprepared("begin", [], undefined)
      yield* connection.execute("insert into t values (2)", [], undefined)
      yield* Scope.close(scope, Exit.void)
      assert.deepStrictEqual(db.rows, [1])
      const late = yield* failsWith(connection.execute("insert into t values (3)", [], undefined), "SqlError")
      assert.strictEqual((late.reason.cause as { readonly _tag: string })._tag, "LeaseExpiredError")
      const stream = connection.executeStream("select n from t", [], undefined)
      yield* failsWith(Stream.runDrain(stream), "SqlError")
      yield* db.transaction(db.sql`insert into t values (4)`)
    }))
})

describe("a reactive query", () => {
  it.effect("runs again once a transaction is committed, and not if it is rolled back", () =>
    Effect.gen(function*() {
      const db = yield* Database.make()
      const { sql, transactor } = yield* Client.make({ ...db, name: "db", busyTimeoutMillis: 0 })
      const seen: Array<number> = []
      const watching = yield* Effect.forkChild(
        Stream.runForEach(
          sql.reactive(["t"], sql`select n from t`),
          (rows) => Effect.sync(() => seen.push(rows.length))
        )
      )
      yield* settle
      assert.deepStrictEqual(seen, [0])
      const insert = Reactivity.mutation(sql`insert into t values (null)`, ["t"])
      yield* Effect.exit(transactor.transaction(Effect.andThen(insert, Effect.fail("no"))))
      yield* settle
      assert.deepStrictEqual(seen, [0])
      yield* transactor.transaction(Effect.gen(function*() {
        yield* insert
        yield* settle
        assert.deepStrictEqual(seen, [0])
        yield* sql.withTransaction(insert)
      }))
      yield* settle
      assert.strictEqual(seen.at(-1), 2)
      yield* insert
      yield* settle
      assert.strictEqual(seen.at(-1), 3)
      yield* Fiber.interrupt(watching)
    }).pipe(Effect.provide(Reactivity.layer)))
})
