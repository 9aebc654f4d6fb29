/** A pool of Effect's own clients, shown with that of `@effect/sql-sqlite-node`. */
import { SqliteClient } from "@effect/sql-sqlite-node"
import { assert, describe, it } from "@effect/vitest"
import { Cause, Effect, Exit, Fiber, Latch, type Scope } from "effect"
import { ConnectionPool, type PoolConfig, SqlClientFactory } from "effect-connection-pool"
import { PoolAssert } from "effect-connection-pool/testing"
import * as Reactivity from "effect/reactivity/Reactivity"
import { SqlClient } from "effect/sql/SqlClient"
import { ConnectionError, SqlError, SqlSyntaxError } from "effect/sql/SqlError"
import { TestClock } from "effect/testing"
import { join } from "node:path"
import { file, folder } from "./support/files.ts"

type Client = SqliteClient.SqliteClient

const open = Effect.fnUntraced(function*(
  options?: PoolConfig.PoolConfig & Partial<Omit<SqlClientFactory.Options<Client>, "connect">>
) {
  const { needsReset, isAlive, reset, validate, ...config } = options ?? {}
  const filename = yield* file
  const pool = yield* ConnectionPool.make({
    factory: SqlClientFactory.make({
      connect: SqliteClient.make({ filename }),
      isAlive,
      needsReset,
      reset,
      validate
    }),
    max: 3,
    drainTimeout: 0,
    ...config
  })
  yield* pool.use((sql) => sql`create table person(id integer primary key, name text not null)`)
  return pool
})

const run = <A, E>(effect: Effect.Effect<A, E, Scope.Scope | Reactivity.Reactivity>) =>
  Effect.provide(effect, Reactivity.layer)

describe("SqlClientFactory", () => {
  it.effect("lends clients with a connection each, all of the same database", () =>
    run(Effect.gen(function*() {
      const pool = yield* open()
      const everybody = yield* Latch.make(false)
      const clients = yield* Effect.forEach([1, 2, 3], (n) =>
        Effect.forkChild(pool.use((sql) =>
          Effect.gen(function*() {
            // Seen on this connection alone.
            yield* sql`create temp table own(n)`
            yield* sql`insert into own values (${n})`
            yield* everybody.await
            return { sql, own: yield* sql`select n from own`.values }
          })
        )))
      yield* TestClock.adjust(1)
      yield* everybody.open
      const found = yield* Fiber.joinAll(clients)
      assert.deepStrictEqual(found.map(({ own }) => own), [[[1]], [[2]], [[3]]])
      assert.strictEqual(new Set(found.map(({ sql }) => sql)).size, 3)

      yield* pool.use((sql) => sql`insert into person(name) values ('Ada')`)
      const seen = yield* Effect.forEach([1, 2, 3], () => pool.use((sql) => sql`select name from person`.values), {
        concurrency: "unbounded"
      })
      assert.deepStrictEqual(seen, [[["Ada"]], [["Ada"]], [["Ada"]]])
    })))

  it.effect("has the driver's own methods, under its own type", () =>
    run(Effect.gen(function*() {
      const pool = yield* open()
      const target = join(yield* folder, "copy.db")
      const { remainingPages } = yield* pool.use((sql) => sql.backup(target))
      assert.strictEqual(remainingPages, 0)
    })))

  it.effect("gives an effect that needs SqlClient a client of the pool, for statements and transactions", () =>
    run(Effect.gen(function*() {
      const pool = yield* open()
      const add = (name: string) =>
        Effect.gen(function*() {
          const sql = yield* SqlClient
          yield* sql`insert into person(name) values (${name})`
        })
      const both = Effect.gen(function*() {
        const sql = yield* SqlClient
        yield* sql.withTransaction(Effect.andThen(add("Ada"), Effect.fail("no"))).pipe(Effect.ignore)
        yield* sql.withTransaction(Effect.andThen(add("Bob"), add("Cleo")))
        return yield* sql`select name from person order by id`.values
      })
      assert.deepStrictEqual(yield* SqlClientFactory.use(pool, both, { label: "both" }), [["Bob"], ["Cleo"]])
      assert.strictEqual((yield* pool.stats).inUse, 0)
    })))

  it.effect("reports a value that is no effect as a defect, and takes its client back", () =>
    run(Effect.gen(function*() {
      const pool = yield* open({ max: 1 })
      const none = Promise.resolve(1) as unknown as Effect.Effect<number>
      const exit = yield* Effect.exit(SqlClientFactory.use(pool, none))
      assert.isTrue(Exit.isFailure(exit))
      assert.match(
        Exit.isFailure(exit) ? String(Cause.squash(exit.cause)) : "",
        /returned no Effect, but .*: Effect.tryPromise makes an Effect of a promise/
      )
      assert.deepStrictEqual(yield* pool.use((sql) => sql`select 1`.values), [[1]])
    })))

  it.effect("replaces a connection whose query fails when it is validated", () =>
    run(Effect.gen(function*() {
      let isBroken = false
      const pool = yield* open({
        max: 1,
        validateAfterIdle: "1 minute",
        validate: (sql) => isBroken ? sql`select * from nothing` : sql`select 1`
      })
      const first = yield* pool.use(Effect.succeed)
      yield* TestClock.adjust("2 minutes")
      assert.strictEqual(yield* pool.use(Effect.succeed), first)
      isBroken = true
      yield* TestClock.adjust("2 minutes")
      assert.notStrictEqual(yield* pool.use(Effect.succeed), first)
    })))

  it.effect("resets a connection before the next caller gets it, if there is something to reset", () =>
    run(Effect.gen(function*() {
      let isUsed = true
      const pool = yield* open({
        max: 1,
        needsReset: () => isUsed,
        reset: (sql) => sql`drop table if exists temp.own`
      })
      const tables = pool.use((sql) => sql`select name from sqlite_temp_schema`.values)
      yield* pool.use((sql) => sql`create temp table own(n)`)
      assert.deepStrictEqual(yield* tables, [])
      isUsed = false
      yield* pool.use((sql) => sql`create temp table own(n)`)
      assert.deepStrictEqual(yield* tables, [["own"]])
    })))

  it.effect("passes on what a client says about its health", () =>
    run(Effect.gen(function*() {
      const dead = new Set<Client>()
      const pool = yield* open({ max: 1, isAlive: (sql) => !dead.has(sql) })
      const first = yield* pool.use(Effect.succeed)
      dead.add(first)
      assert.notStrictEqual(yield* pool.use(Effect.succeed), first)
    })))

  it.effect("reports the defect of a client that dies while it is made as a ConnectError", () =>
    run(Effect.gen(function*() {
      const missing = join(yield* folder, "missing", "test.db")
      const error = yield* Effect.flip(ConnectionPool.make({
        factory: SqlClientFactory.make({ connect: SqliteClient.make({ filename: missing }) }),
        min: 1,
        max: 1
      }))
      assert.strictEqual(error._tag, "ConnectError")
      assert.match(error.message, /unable to open database file/)
    })))

  const failing = (reason: ConnectionError | SqlSyntaxError) => {
    let attempts = 0
    const factory = SqlClientFactory.make<Client, SqlError>({
      connect: Effect.suspend(() => {
        attempts++
        return Effect.fail(new SqlError({ reason }))
      })
    })
    return { attempts: () => attempts, factory }
  }

  it.effect("retries an attempt if its SqlError says that it may succeed later", () =>
    run(Effect.gen(function*() {
      const { attempts, factory } = failing(new ConnectionError({ cause: "refused" }))
      const pool = yield* ConnectionPool.make({ factory, max: 1, acquireTimeout: "10 seconds", drainTimeout: 0 })
      const waiting = yield* Effect.forkChild(pool.use(Effect.succeed))
      yield* TestClock.adjust("9 seconds")
      assert.isAbove(attempts(), 1)
      yield* TestClock.adjust("1 second")
      yield* PoolAssert.failsWith(Fiber.join(waiting), "AcquireTimeoutError")
    })))

  it.effect("does not retry an attempt that would fail again", () =>
    run(Effect.gen(function*() {
      const { attempts, factory } = failing(new SqlSyntaxError({ cause: "no" }))
      const pool = yield* ConnectionPool.make({ factory, max: 1, drainTimeout: 0 })
      yield* PoolAssert.failsWith(pool.use(Effect.succeed), "ConnectError")
      assert.strictEqual(attempts(), 1)
    })))

  it.effect("tells a `connect` that is a function how to say that its connection has died", () =>
    run(Effect.gen(function*() {
      const filename = yield* file
      const deaths: Array<() => void> = []
      const pool = yield* ConnectionPool.make({
        factory: SqlClientFactory.make({
          connect: (died) => Effect.tap(SqliteClient.make({ filename }), () => Effect.sync(() => deaths.push(died)))
        }),
        max: 1,
        slowStatement: 0,
        drainTimeout: 0
      })
      const first = yield* pool.use((sql) => Effect.as(sql`select 1`, sql))
      assert.strictEqual((yield* pool.slowStatements)[0]?.text, "select 1")
      deaths[0]!()
      const second = yield* pool.use(Effect.succeed)
      assert.notStrictEqual(second, first)
      assert.strictEqual((yield* pool.stats).connects, 2)
    })))

  it.effect("closes the clients with the pool", () =>
    run(Effect.gen(function*() {
      const clients: Array<Client> = []
      yield* Effect.scoped(Effect.gen(function*() {
        const pool = yield* open({ min: 1 })
        clients.push(yield* pool.use(Effect.succeed))
      }))
      yield* Effect.flip(clients[0]!`select 1`)
    })))
})
