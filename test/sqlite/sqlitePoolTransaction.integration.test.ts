import { assert, describe, it } from "@effect/vitest"
import { Context, Deferred, Effect, Fiber, Stream } from "effect"
import { SqlitePool, type SqliteReader } from "effect-connection-pool/sqlite"
import { PoolAssert } from "effect-connection-pool/testing"
import * as Reactivity from "effect/reactivity/Reactivity"
import { SqlClient } from "effect/sql/SqlClient"
import { TestClock } from "effect/testing"
import { elsewhere, file, judge } from "../support/files.ts"
import { settle } from "../support/pools.ts"

const make = Effect.fnUntraced(function*(options?: Partial<SqlitePool.Options>) {
  const filename = yield* file
  const pool = yield* SqlitePool.make({ filename, drainTimeout: 0, ...options })
  yield* pool.write((connection) => connection.exec("create table t(a); insert into t values (1)"))
  return { filename, pool, other: yield* judge(filename) }
})

const count = (reader: SqliteReader.SqliteReader) =>
  Effect.map(reader.values("select count(*) from t"), (rows) => rows[0]![0])

const insert = (pool: SqlitePool.SqlitePool, value: number) =>
  pool.write((connection) => connection.run("insert into t values (?)", [value]))

describe("a transaction of a pool", () => {
  it.effect("runs all work inside it, and no other work, on its connection", () =>
    Effect.gen(function*() {
      const { other, pool } = yield* make()
      const { sql } = pool
      const seen = yield* pool.transaction(Effect.gen(function*() {
        yield* insert(pool, 2)
        yield* pool.writeSync((connection) => connection.runUnsafe("insert into t values (3)"))
        yield* sql`insert into t values (4)`
        yield* sql.withTransaction(insert(pool, 5))
        yield* Effect.ignore(pool.transaction(Effect.andThen(insert(pool, 6), Effect.fail("no"))))
        const outside = other.prepare("select count(*) as n from t").get()!["n"]
        const read = yield* pool.read(count)
        const sync = yield* pool.readSync((reader) => reader.valuesUnsafe("select count(*) from t")[0]![0])
        const [row] = yield* sql<{ readonly n: number }>`select count(*) as n from t`
        const streamed = yield* Stream.runCount(pool.stream("select a from t"))
        const snapshot = yield* pool.snapshot(pool.read(count))
        const forked = yield* Fiber.join(yield* Effect.forkChild(pool.read(count)))
        return { outside, read, sync, template: row?.n, streamed, snapshot, forked }
      }))
      assert.deepStrictEqual(seen, { outside: 1, read: 5, sync: 5, template: 5, streamed: 5, snapshot: 5, forked: 5 })
      assert.strictEqual(other.prepare("select count(*) as n from t").get()!["n"], 5)
      // The table was made in the other lease.
      const { readers, writer } = yield* pool.stats
      assert.deepStrictEqual([writer.checkouts, readers.checkouts], [2, 0])
    }))

  it.effect("refuses writes of a reader inside it", () =>
    Effect.gen(function*() {
      const { other, pool } = yield* make()
      const error = yield* pool.transaction(Effect.flip(pool.read((reader) => reader.query("delete from t"))))
      assert.strictEqual(
        error.message,
        "query: \"delete from t\": this is a reader of pool \"sqlite\", which cannot write: use `write` or `transaction`"
      )
      assert.strictEqual(other.prepare("select count(*) as n from t").get()!["n"], 1)
    }))

  it.effect("holds up no reader, and the next writer only until it ends", () =>
    Effect.gen(function*() {
      const { pool } = yield* make()
      const gate = yield* Deferred.make<void>()
      const fiber = yield* Effect.forkChild(pool.transaction(Effect.andThen(insert(pool, 2), Deferred.await(gate))))
      yield* settle
      const next = yield* Effect.forkChild(insert(pool, 3))
      yield* settle
      assert.strictEqual(yield* pool.read(count), 1)
      assert.isUndefined(next.pollUnsafe())
      yield* Deferred.succeed(gate, undefined)
      yield* Fiber.join(fiber)
      yield* Fiber.join(next)
      assert.strictEqual(yield* pool.read(count), 3)
    }))

  it.effect("acquires as it is told, and what is done in it does not inherit that", () =>
    Effect.gen(function*() {
      const { pool } = yield* make()
      // A reader is open.
      yield* pool.snapshot(Effect.void)
      const gate = yield* Deferred.make<void>()
      const fiber = yield* Effect.forkChild(
        pool.transaction(Deferred.await(gate), { label: "holding", isolation: "deferred" })
      )
      yield* settle
      assert.deepStrictEqual((yield* pool.writer.holders).map((holder) => holder.label), ["holding"])
      yield* PoolAssert.failsWith(pool.transaction(Effect.void, { timeout: 0 }), "AcquireTimeoutError")
      yield* PoolAssert.failsWith(
        pool.transaction(Effect.void, { timeout: "0 millis", label: "late" }),
        "AcquireTimeoutError"
      )
      yield* pool.snapshot(Effect.void, { timeout: 0, label: "reading" })
      yield* Deferred.succeed(gate, undefined)
      yield* Fiber.join(fiber)
      // Not even what is to be done when it has committed: somebody else has the writer by then, and it is waited for.
      const go = yield* Deferred.make<void>()
      const done = yield* Deferred.make<void>()
      const next = yield* Effect.forkChild(
        Effect.andThen(Deferred.await(go), pool.write(() => Deferred.await(done)))
      )
      let later: Fiber.Fiber<unknown, unknown> | undefined
      const insertLater = Effect.gen(function*() {
        later = yield* Effect.forkDetach(pool.transaction(insert(pool, 2)))
      })
      const body = Effect.andThen(
        Deferred.succeed(go, undefined),
        Effect.andThen(settle, pool.sql.afterCommit(insertLater))
      )
      yield* pool.transaction(body, { timeout: 0 })
      yield* settle
      assert.isUndefined(later!.pollUnsafe())
      yield* Deferred.succeed(done, undefined)
      yield* Fiber.join(next)
      yield* Fiber.join(later!)
      const readOnly = pool.transaction(Effect.void, { readOnly: true, timeout: 0 })
      yield* readOnly
      assert.deepStrictEqual(
        yield* PoolAssert.failsWith(
          pool.transaction(Effect.void, { isolation: "serial" as "deferred" }),
          "TransactionOptionsError"
        ).pipe(
          Effect.map((error) => error.field)
        ),
        "isolation"
      )
    }))
})

describe("a transaction of a pool that has to end before its body", () => {
  it.effect("because of its age says so, and what to do", () =>
    Effect.gen(function*() {
      const { pool } = yield* make({ maxReadAge: "1 second" })
      const reading = yield* Effect.forkChild(
        pool.transaction(Effect.andThen(Effect.sleep("2 seconds"), Effect.exit(pool.read(count))), { readOnly: true })
      )
      yield* settle
      yield* TestClock.adjust("2 seconds")
      const error = yield* PoolAssert.failsWith(Fiber.join(reading), "TransactionLostError")
      assert.strictEqual(
        error.message,
        "pool \"sqlite\": the transaction has ended early: it was held for 1000 ms, more than maxReadAge, 1000 ms " +
          "(nothing of it is stored; run all of it again)"
      )
    }))

  it.effect("does not wait for ever for a fiber in it that waits for it", () =>
    Effect.gen(function*() {
      const { pool } = yield* make({ acquireTimeout: "1 second" })
      const running = yield* Effect.forkChild(pool.transaction(Effect.gen(function*() {
        const other = yield* Deferred.make<void>()
        const first = pool.transaction(Effect.andThen(insert(pool, 2), Deferred.await(other)), { label: "import" })
        const second = Effect.andThen(settle, Effect.flip(insert(pool, 3)))
        const waiting = Effect.tap(second, () => Deferred.succeed(other, undefined))
        return (yield* Effect.all([first, waiting], { concurrency: 2 }))[1]
      })))
      yield* settle
      yield* settle
      yield* TestClock.adjust("1 second")
      const error = yield* Fiber.join(running)
      assert.include(
        error.message,
        "insert into t values (?): no turn in the transaction within 1000 ms: another fiber (\"import\""
      )
      assert.strictEqual(yield* pool.read(count), 2)
    }))
})

describe("a snapshot of a pool", () => {
  it.effect("is found by statements of Effect's client, which cannot write in it", () =>
    Effect.gen(function*() {
      const { pool } = yield* make()
      const { sql } = pool
      const seen = yield* pool.snapshot(Effect.gen(function*() {
        yield* elsewhere(insert(pool, 2))
        const [row] = yield* sql<{ readonly n: number }>`select count(*) as n from t`
        const refused = yield* Effect.isFailure(sql`insert into t values (3)`)
        return [row?.n, refused]
      }))
      assert.deepStrictEqual(seen, [1, true])
      assert.strictEqual(yield* pool.read(count), 2)
    }))
})

describe("the layer", () => {
  it.effect("provides the pool, and its client", () =>
    Effect.gen(function*() {
      const program = Effect.gen(function*() {
        const pool = yield* SqlitePool.SqlitePool
        const sql = yield* SqlClient
        yield* sql`create table t(a_b integer)`
        yield* sql`insert into t ${sql.insert({ aB: 1 })}`
        assert.strictEqual(pool.sql, sql)
        return yield* sql`select a_b from t`
      })
      const options: SqlitePool.TemporaryOptions = {
        transformResultNames: (name) => name.toUpperCase(),
        transformQueryNames: (name) => name.replaceAll(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`),
        spanAttributes: { "app.part": "test" }
      }
      assert.deepStrictEqual(yield* Effect.provide(program, SqlitePool.layerTemporary(options)), [{ A_B: 1 }])
      const filename = yield* file
      assert.deepStrictEqual(yield* Effect.provide(program, SqlitePool.layer({ filename, ...options })), [{ A_B: 1 }])
    }))

  it.effect("tells the Reactivity of the application what was written", () =>
    Effect.gen(function*() {
      const program = Effect.gen(function*() {
        const reactivity = yield* Reactivity.Reactivity
        const { sql } = yield* SqlitePool.SqlitePool
        yield* sql`create table t(a)`
        let heard = 0
        reactivity.registerUnsafe(["t"], () => {
          heard++
        })
        const count = yield* sql.reactive(["t"], sql`select count(*) as n from t`).pipe(
          Stream.take(2),
          Stream.runCollect,
          Effect.forkChild
        )
        yield* settle
        yield* reactivity.mutation(["t"], sql`insert into t values (1)`)
        yield* settle
        assert.strictEqual((yield* Fiber.join(count)).length, 2)
        return heard
      })
      const context = yield* Effect.map(
        Reactivity.make,
        (reactivity) => Context.make(Reactivity.Reactivity, reactivity)
      )
      const heard = yield* Effect.provideContext(Effect.provide(program, SqlitePool.layerTemporary()), context)
      assert.strictEqual(heard, 1)
    }))
})
