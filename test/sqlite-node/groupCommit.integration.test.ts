/** Those who write at the same time share one commit through the client of `sqlite-node` too. */
import { assert, describe, it } from "@effect/vitest"
import { Effect, Exit, Fiber, Stream } from "effect"
import { PoolEvent } from "effect-connection-pool"
import { SqlitePool } from "effect-connection-pool/sqlite"
import { SqliteClient } from "effect-connection-pool/sqlite-node"
import { TestClock } from "effect/testing"
import { file, judge } from "../support/files.ts"
import { settle } from "../support/pools.ts"
import { names } from "../support/sqliteClient.ts"

const open = Effect.fnUntraced(function*(options?: Partial<SqliteClient.SqliteClientConfig>) {
  const filename = yield* file
  return { filename, layer: SqliteClient.layer({ filename, drainTimeout: 0, ...options }) }
})

/** The sizes of the groups, and why they were undone. */
const watch = Effect.fnUntraced(function*(pool: SqlitePool.SqlitePool) {
  const groups: Array<readonly [number, string | undefined]> = []
  yield* Effect.forkScoped(
    Stream.runForEach(pool.writer.events, (event) =>
      Effect.sync(() => {
        if (PoolEvent.$is("Grouped")(event)) groups.push([event.size, event.undoneBecause])
      })),
    { startImmediately: true }
  )
  return Effect.as(settle, groups)
})

const letters = (count: number) => Array.from({ length: count }, (_, n) => String.fromCharCode(97 + n))

describe("the drop-in client", () => {
  it.effect("commits writes of the same time together only if groupCommit is true", () =>
    Effect.gen(function*() {
      for (const groupCommit of [true, undefined, false]) {
        const { layer } = yield* open({ groupCommit })
        yield* Effect.scoped(Effect.provide(
          Effect.gen(function*() {
            const sql = yield* SqliteClient.SqliteClient
            const groups = yield* watch(yield* SqlitePool.SqlitePool)
            yield* sql`create table person(id integer primary key, name text not null)`
            const all = letters(5).map((name) => sql`insert into person ${sql.insert({ name })}`)
            yield* Effect.all(all, { concurrency: "unbounded" })
            assert.deepStrictEqual(yield* names(sql), letters(5))
            assert.deepStrictEqual(yield* groups, groupCommit === true ? [[4, undefined]] : [])
          }),
          layer
        ))
      }
    }))

  it.effect("gives each of many fibers the row id of its own insert, as the original client does", () =>
    Effect.gen(function*() {
      const { layer } = yield* open()
      yield* Effect.scoped(Effect.provide(
        Effect.gen(function*() {
          const sql = yield* SqliteClient.SqliteClient
          yield* sql`create table parent(id integer primary key, name text not null)`
          yield* sql`create table child(parent integer not null, name text not null)`
          const both = (name: string) =>
            Effect.andThen(
              sql`insert into parent ${sql.insert({ name })}`,
              sql`insert into child values (last_insert_rowid(), ${name})`
            )
          yield* Effect.forEach(letters(10), both, { concurrency: "unbounded" })
          const wrong = sql`select * from child join parent on parent.id = child.parent where parent.name <> child.name`
          assert.deepStrictEqual(yield* wrong, [])
        }),
        layer
      ))
    }))

  it.effect("makes statements wait for a transaction that was begun by hand, and no group spans it", () =>
    Effect.gen(function*() {
      const { layer } = yield* open({ groupCommit: true })
      yield* Effect.scoped(Effect.provide(
        Effect.gen(function*() {
          const sql = yield* SqliteClient.SqliteClient
          const pool = yield* SqlitePool.SqlitePool
          yield* sql`create table person(id integer primary key, name text not null)`
          const groups = yield* watch(pool)
          const insert = (name: string) => sql`insert into person ${sql.insert({ name })}`
          const fork = <A, E>(effect: Effect.Effect<A, E>) => Effect.forkChild(effect, { startImmediately: true })
          const before = [yield* fork(insert("a")), yield* fork(insert("b")), yield* fork(insert("c"))]
          const begun = yield* fork(sql`begin`)
          for (const fiber of before) assert.isTrue(Exit.isSuccess(yield* Fiber.await(fiber)))
          yield* Fiber.join(begun)
          // All run in the transaction now, whoever asks.
          yield* Effect.all([insert("d"), insert("e")], { concurrency: "unbounded" })
          yield* sql`rollback`
          assert.deepStrictEqual(yield* names(sql), ["a", "b", "c"])
          assert.deepStrictEqual(yield* groups, [[2, undefined]])
        }),
        layer
      ))
    }))

  it.effect("without WAL: a commit that meets a reader is undone, and each waits for the lock by itself", () =>
    Effect.gen(function*() {
      const { filename, layer } = yield* open({ disableWAL: true })
      yield* Effect.scoped(Effect.provide(
        Effect.gen(function*() {
          const sql = yield* SqliteClient.SqliteClient
          const groups = yield* watch(yield* SqlitePool.SqlitePool)
          yield* sql`create table person(id integer primary key, name text not null)`
          const other = yield* judge(filename)
          const reading = other.prepare("select 1 from sqlite_schema")
          other.exec("begin")
          reading.all()
          const all = letters(3).map((name) => sql`insert into person ${sql.insert({ name })}`)
          const writing = yield* Effect.forkChild(Effect.all(all, { concurrency: "unbounded" }))
          yield* TestClock.adjust("10 millis")
          assert.isUndefined(writing.pollUnsafe())
          other.exec("commit")
          for (let n = 0; n < 20; n++) yield* TestClock.adjust("10 millis")
          assert.isTrue(Exit.isSuccess(yield* Fiber.await(writing)))
          assert.deepStrictEqual(yield* names(sql), letters(3))
          for (const [, why] of yield* groups) if (why !== undefined) assert.include(why, "locked")
        }),
        layer
      ))
    }))
})
