/** Queries that run again after commits. */
import { assert, describe, it } from "@effect/vitest"
import { Deferred, Effect, Fiber, Schema, Stream } from "effect"
import { SqlitePool } from "effect-connection-pool/sqlite"
import { SafeIntegers } from "effect/sql/SqlClient"
import * as SqlSchema from "effect/sql/SqlSchema"
import { reading } from "../support/observing.ts"
import { settle } from "../support/pools.ts"

const make = Effect.fnUntraced(function*(options?: SqlitePool.TemporaryOptions) {
  const pool = yield* SqlitePool.makeTemporary({ drainTimeout: 0, observeInterval: Infinity, ...options })
  yield* pool.write((connection) => connection.exec("create table t(a); create table other(a)"))
  return pool
})

const count = "select count(*) as n from t"

describe("observe", () => {
  it.effect("returns the result at once, and again after each commit that touched it", () =>
    Effect.gen(function*() {
      const pool = yield* make()
      const counts = yield* reading(pool.observe(count))
      assert.deepEqual(yield* counts.now, [{ n: 0 }])
      assert.isUndefined(yield* counts.now)
      yield* pool.sql`insert into t values (1)`
      assert.deepEqual(yield* counts.now, [{ n: 1 }])
      yield* pool.sql`insert into other values (1)`
      assert.isUndefined(yield* counts.now)
      yield* pool.sql`insert into t values (2)`
      assert.deepEqual(yield* counts.now, [{ n: 2 }])
    }))

  it.effect("takes parameters, and honours SafeIntegers", () =>
    Effect.gen(function*() {
      const pool = yield* make()
      yield* pool.sql`insert into t values (1), (2)`
      const rows = yield* reading(
        pool.observe("select a from t where a > :least", { least: 1 }).pipe(Stream.provideService(SafeIntegers, true))
      )
      assert.deepEqual(yield* rows.now, [{ a: 2n }])
    }))

  it.effect("observes an effect: all that it reads, whichever way, of one state", () =>
    Effect.gen(function*() {
      const pool = yield* make()
      const { sql } = pool
      yield* sql`create table more(a)`
      const byModel = SqlSchema.findAll({
        Request: Schema.Void,
        Result: Schema.Struct({ a: Schema.Number }),
        execute: () => sql`select a from more`
      })
      const between = yield* Deferred.make<void>()
      const goesOn = yield* Deferred.make<void>()
      const results = yield* reading(pool.observe(Effect.gen(function*() {
        const [first] = yield* sql<{ n: number }>`select count(*) as n from t`
        yield* Deferred.succeed(between, void 0)
        yield* Deferred.await(goesOn)
        const others = yield* pool.read((reader) => Stream.runCollect(reader.stream("select a from other")))
        const [again] = yield* sql<{ n: number }>`select count(*) as n from t`
        return [first!.n, others.length, (yield* byModel(void 0)).length, again!.n]
      })))
      const running = yield* Effect.forkChild(results.next)
      yield* Deferred.await(between)
      yield* sql`insert into t values (1)`
      yield* Deferred.succeed(goesOn, void 0)
      // The commit came while it ran: this result is of the state before, and there is another.
      assert.deepStrictEqual(yield* Fiber.join(running), [0, 0, 0, 0])
      assert.deepStrictEqual(yield* results.now, [1, 0, 0, 1])
      assert.isUndefined(yield* results.now)
      yield* sql`insert into other values (1)`
      assert.deepStrictEqual(yield* results.now, [1, 1, 0, 1])
      yield* sql`insert into more values (1)`
      assert.deepStrictEqual(yield* results.now, [1, 1, 1, 1])
      yield* sql`create table unread(a)`
      yield* results.now
      yield* sql`insert into unread values (1)`
      assert.isUndefined(yield* results.now)
    }))

  it.effect("observes what an effect reads this time, which may be something else than before", () =>
    Effect.gen(function*() {
      const { observe, sql } = yield* make()
      const results = yield* reading(observe(Effect.gen(function*() {
        const rows = yield* sql<{ a: number }>`select a from t`
        return rows.length === 0 ? "none" : yield* sql<{ a: number }>`select a from other`
      })))
      assert.strictEqual(yield* results.now, "none")
      yield* sql`insert into other values (1)`
      assert.isUndefined(yield* results.now)
      yield* sql`insert into t values (1)`
      assert.deepEqual(yield* results.now, [{ a: 1 }])
      yield* sql`insert into other values (2)`
      assert.deepEqual(yield* results.now, [{ a: 1 }, { a: 2 }])
    }))

  it.effect("gives a slow reader the newest result only, and computes no other", () =>
    Effect.gen(function*() {
      const pool = yield* make()
      let runs = 0
      const query = Effect.tap(pool.sql`select max(a) as a from t`, Effect.sync(() => runs++))
      const results = yield* reading(pool.observe(query))
      yield* results.next
      for (let a = 1; a <= 100; a++) yield* pool.sql`insert into t values (${a})`
      assert.strictEqual(runs, 1)
      assert.deepEqual(yield* results.now, [{ a: 100 }])
      assert.isUndefined(yield* results.now)
      assert.strictEqual(runs, 2)
    }))

  it.effect("leaves out a result that equals the one before it, if asked to", () =>
    Effect.gen(function*() {
      const pool = yield* make()
      const every = yield* reading(pool.observe("select min(a) as a, x'0102' as bytes from t"))
      const distinct = yield* reading(
        pool.observe("select min(a) as a, x'0102' as bytes from t", [], { distinct: true })
      )
      const parity = yield* reading(
        pool.observe(Effect.map(pool.sql<{ a: number }>`select max(a) as a from t`, ([row]) => row!.a), {
          distinct: (a, b) => a % 2 === b % 2
        })
      )
      const all = yield* reading(pool.observe("select min(a) > 1 as a from t", [], { distinct: false }))
      yield* pool.sql`insert into t values (1)`
      for (const results of [every, distinct]) {
        assert.deepEqual(yield* results.now, [{ a: 1, bytes: new Uint8Array([1, 2]) }])
      }
      assert.strictEqual(yield* parity.now, 1)
      yield* pool.sql`insert into t values (3)`
      assert.isDefined(yield* every.now)
      assert.isUndefined(yield* distinct.now)
      assert.isUndefined(yield* parity.now)
      assert.deepEqual(yield* all.now, [{ a: 0 }])
      yield* pool.sql`insert into t values (3)`
      assert.deepEqual(yield* all.now, [{ a: 0 }])
      yield* pool.sql`insert into t values (0), (4)`
      assert.deepEqual(yield* distinct.now, [{ a: 0, bytes: new Uint8Array([1, 2]) }])
      assert.strictEqual(yield* parity.now, 4)
    }))

  it.effect("serves many observers of one query, each at its own pace", () =>
    Effect.gen(function*() {
      const pool = yield* make()
      const latest = Array.from({ length: 200 }, () => -1)
      yield* Effect.forEach(latest, (_, index) =>
        Effect.forkScoped(Stream.runForEach(pool.observe(count), ([row]) =>
          Effect.andThen(
            index % 2 === 0 ? Effect.void : Effect.yieldNow,
            Effect.sync(() => {
              latest[index] = Number(row!["n"])
            })
          ))))
      for (let n = 1; n <= 20; n++) {
        yield* pool.sql`insert into t values (${n})`
      }
      yield* Effect.repeat(settle, {
        until: () =>
          latest.every((n) =>
            n === 20
          ),
        times: 100
      })
      assert.deepStrictEqual(new Set(latest), new Set([20]))
    }))

  it.effect("holds no connection between two runs, and nothing after its end", () =>
    Effect.gen(function*() {
      const pool = yield* make({ readers: 1 })
      yield* Effect.scoped(Effect.gen(function*() {
        const rows = yield* reading(pool.observe(count))
        const effects = yield* reading(pool.observe(pool.sql`select count(*) as n from t`))
        yield* rows.next
        yield* effects.next
        assert.strictEqual((yield* pool.stats).readers.inUse, 0)
        yield* pool.sql`insert into t values (1)`
        assert.deepEqual(yield* effects.now, [{ n: 1 }])
      }))
      const { readers, writer } = yield* pool.stats
      assert.deepStrictEqual([readers.inUse, readers.waiting, writer.inUse, writer.waiting], [0, 0, 0, 0])
    }))
})
