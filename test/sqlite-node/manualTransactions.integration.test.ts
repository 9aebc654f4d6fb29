/** Transactions that statements begin and end, as where there is only one connection. */
import { assert, describe, it } from "@effect/vitest"
import { Context, Effect, Exit, Fiber, Layer, Scope, Stream } from "effect"
import { SqlitePool } from "effect-connection-pool/sqlite"
import { SqliteClient } from "effect-connection-pool/sqlite-node"
import { Sweep } from "effect-connection-pool/testing"
import { isSqlError } from "effect/sql/SqlError"
import { file, judge } from "../support/files.ts"
import { settle } from "../support/pools.ts"
import { names, open } from "../support/sqliteClient.ts"

const seenBy = (other: { prepare: (sql: string) => { all: () => Array<Record<string, unknown>> } }) =>
  other.prepare("select name from person order by id").all().map((row) => row["name"])

describe("a transaction begun by a statement", () => {
  it.effect("includes all later statements until a statement ends it", () =>
    Effect.gen(function*() {
      const sql = yield* open()
      const other = yield* judge(sql.config.filename)
      yield* sql`begin immediate`
      yield* sql`insert into person(name) values ('Ada')`
      // Reads as well, which would otherwise not see it; and whichever fiber it is.
      assert.deepStrictEqual(yield* names(sql), ["Ada"])
      assert.deepStrictEqual(yield* Fiber.join(yield* Effect.forkChild(names(sql))), ["Ada"])
      assert.deepStrictEqual(yield* Stream.runCollect(sql`select name from person`.stream), [{ name: "Ada" }])
      assert.deepStrictEqual(seenBy(other), [])
      yield* sql`commit`
      assert.deepStrictEqual(seenBy(other), ["Ada"])
      yield* sql`begin`
      yield* sql`insert into person(name) values ('nobody')`
      yield* sql`rollback`
      assert.deepStrictEqual(yield* names(sql), ["Ada"])
    }))

  it.effect("may be a savepoint", () =>
    Effect.gen(function*() {
      const sql = yield* open()
      yield* sql`savepoint a`
      yield* sql`insert into person(name) values ('Ada')`
      yield* sql`savepoint b`
      yield* sql`insert into person(name) values ('nobody')`
      yield* sql`rollback to b`
      yield* sql`release a`
      const other = yield* judge(sql.config.filename)
      assert.deepStrictEqual(seenBy(other), ["Ada"])
    }))

  it.effect("gives its connection back when it ends, by itself too", () =>
    Effect.gen(function*() {
      const filename = yield* file
      yield* Effect.gen(function*() {
        const sql = yield* SqliteClient.SqliteClient
        const pool = yield* SqlitePool.SqlitePool
        const inUse = Effect.map(pool.stats, ({ writer }) => writer.inUse)
        yield* sql`create table person(id integer primary key, name text unique on conflict rollback)`
        yield* sql`begin`
        yield* sql`insert into person(name) values ('Ada')`
        assert.strictEqual(yield* inUse, 1)
        // SQLite ends it.
        assert.isTrue(isSqlError(yield* Effect.flip(sql`insert into person(name) values ('Ada')`)))
        assert.strictEqual(yield* inUse, 0)
        assert.deepStrictEqual(yield* names(sql), [])
        // None is open: SQLite says so.
        for (const ending of [sql`commit`, sql`rollback`, sql`end`.values, sql`end`.raw]) {
          const { message } = yield* Effect.flip(ending)
          assert.match(message, /^cannot (?:commit|rollback) - no transaction is active: /)
          assert.include(message, "none was begun with a statement of this client, or SQLite has ended it by itself")
          // That is how it is with `SqlitePool`.
          assert.notInclude(message, "takes a connection of its own")
        }
        assert.strictEqual(yield* inUse, 0)
        yield* sql`begin`
        assert.match((yield* Effect.flip(sql`begin`)).message, /within a transaction/)
        assert.strictEqual(yield* inUse, 1)
        yield* sql`end`
        assert.strictEqual(yield* inUse, 0)
      }).pipe(Effect.provide(SqliteClient.layer({ filename })))
    }))

  it.effect("waits for writers, and they wait for it", () =>
    Effect.gen(function*() {
      const sql = yield* open()
      yield* sql`begin`
      yield* sql`insert into person(name) values ('Ada')`
      const transaction = yield* Effect.forkChild(
        sql.withTransaction(Effect.andThen(sql`insert into person(name) values ('Bob')`, names(sql)))
      )
      yield* settle
      assert.isUndefined(transaction.pollUnsafe())
      yield* sql`commit`
      assert.deepStrictEqual(yield* Fiber.join(transaction), ["Ada", "Bob"])
    }))

  it.effect("makes another transaction of its fiber fail at once, and the error says what to do", () =>
    Effect.gen(function*() {
      const sql = yield* open({ acquireTimeout: "1 minute" })
      yield* sql`begin`
      const ways = [
        sql.withTransaction(Effect.die("must not run")),
        Effect.scoped(sql.reserve),
        Effect.scoped(sql.safe.reserve)
      ]
      for (const way of ways) {
        // Its clock stands still, so a wait would never end.
        const said = yield* Effect.catchTag(way, "SqlError", (error) => Effect.succeed(error.message))
        assert.include(said, "would wait for itself: commit or roll it back first")
      }
      // The transaction goes on.
      yield* sql`insert into person(name) values ('Ada')`
      yield* sql`commit`
      yield* sql.withTransaction(sql`insert into person(name) values ('Bob')`)
      assert.deepStrictEqual(yield* names(sql), ["Ada", "Bob"])
    }))

  it.effect("is rolled back, and its connection returned, if it is still open when the client is closed", () =>
    Effect.gen(function*() {
      const filename = yield* file
      const scope = yield* Scope.make()
      const sql = yield* Scope.provide(open({ filename, drainTimeout: "1 minute" }), scope)
      yield* sql`begin`
      yield* sql`insert into person(name) values ('nobody')`
      // Would wait for the lease, in virtual time: for ever.
      yield* Scope.close(scope, Exit.void)
      const other = yield* judge(filename)
      assert.deepStrictEqual(seenBy(other), [])
      other.exec("insert into person(name) values ('Ada')")
    }))

  it.effect("fails typed if the lock is taken, and holds no connection", () =>
    Effect.gen(function*() {
      const sql = yield* open({ busyTimeout: 0 })
      const other = yield* judge(sql.config.filename)
      other.exec("begin immediate")
      const error = yield* Effect.flip(sql`begin immediate`)
      assert.match((error.reason.cause as Error).message, /database is locked/)
      other.exec("rollback")
      yield* sql.withTransaction(sql`insert into person(name) values ('Ada')`)
      assert.deepStrictEqual(yield* names(sql), ["Ada"])
    }))

  it.effect("is not begun inside a transaction of withTransaction", () =>
    Effect.gen(function*() {
      const sql = yield* open()
      const error = yield* Effect.flip(sql.withTransaction(sql`commit`))
      assert.include(error.message, "withTransaction")
    }))

  it.effect("cannot be begun or ended by a stream, and the error says what to use", () =>
    Effect.gen(function*() {
      const sql = yield* open()
      for (const statement of [sql`begin`, sql`commit`]) {
        const error = yield* Effect.flip(Stream.runDrain(statement.stream))
        assert.include(error.message, "run it as a statement, not as a stream")
      }
      yield* sql`begin`
      const error = yield* Effect.flip(Stream.runDrain(sql`commit`.stream))
      assert.include(error.message, "run it as a statement, not as a stream")
      yield* sql`insert into person(name) values ('Ada')`
      yield* sql`commit`
      assert.deepStrictEqual(yield* names(sql), ["Ada"])
    }))

  it.effect(
    "survives being interrupted at any point: it is open, or its connection is returned",
    () =>
      Effect.gen(function*() {
        const context = yield* Layer.build(SqliteClient.layer({ filename: yield* file, drainTimeout: 0 }))
        const sql = Context.get(context, SqliteClient.SqliteClient)
        const pool = Context.get(context, SqlitePool.SqlitePool)
        const inUse = Effect.map(pool.stats, ({ writer }) => writer.inUse)
        yield* sql`create table person(id integer primary key, name text not null)`
        let begun = 0
        const report = yield* Sweep.run({
          budgets: [3, 16],
          turns: [0, 60],
          // Somebody has the connection for a moment, so that there is a wait.
          setup: Effect.forkChild(pool.write(() => Effect.repeat(Effect.yieldNow, { times: 2 }))),
          scenario: () => Effect.andThen(sql`begin immediate`, sql`insert into person(name) values ('nobody')`),
          check: (holder) =>
            Effect.gen(function*() {
              yield* Fiber.join(holder)
              const before = yield* inUse
              const ended = yield* Effect.exit(sql`rollback`)
              // What says that there was none to end has not lost one.
              assert.strictEqual(before, Exit.isSuccess(ended) ? 1 : 0)
              if (Exit.isSuccess(ended)) begun++
              assert.strictEqual(yield* inUse, 0)
              assert.deepStrictEqual(yield* names(sql), [])
            }).pipe(Effect.orDie)
        })
        assert.isAbove(report.interrupted, report.cases / 10)
        assert.isAbove(begun, report.cases / 10)
      }),
    120_000
  )
})
