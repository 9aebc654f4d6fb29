/** What observers hear of a writer in a thread. Messages to the thread and back take a moment, and no commit is lost in it. */
import { assert, describe, it } from "@effect/vitest"
import { Effect, Fiber, Stream } from "effect"
import type { SqliteWorkerPool } from "effect-connection-pool/sqlite"
import { functionsModule, heldStatement } from "../support/held.ts"
import { readingOf } from "../support/observing.ts"
import { countMessages, make, until } from "../support/workerPools.ts"

/** Observes the number of rows. Others are asked only at the end of leases. */
const observing = (pool: SqliteWorkerPool.SqliteWorkerPool) =>
  Effect.gen(function*() {
    const seen = yield* readingOf(Stream.map(pool.observe("select count(*) as n from t"), (rows) => rows[0]!["n"]))
    yield* until(() => seen.length === 1)
    return seen
  })

const onlyAtLeases = { observeInterval: "Infinity" } as const

describe("a writer in a thread", () => {
  it.live("tells observers of commits, its own and those of others, before its caller goes on", () =>
    Effect.gen(function*() {
      const { other, pool } = yield* make({ observeInterval: 5 })
      const seen: Array<unknown> = []
      const fiber = yield* Effect.forkChild(
        Stream.runForEach(
          pool.observe("select count(*) as n from t"),
          (rows) => Effect.sync(() => seen.push(rows[0]!["n"]))
        ),
        { startImmediately: true }
      )
      yield* until(() => seen.length === 1)
      yield* pool.sql`insert into t values (2)`
      yield* until(() => seen.length === 2)
      yield* pool.transaction(pool.sql`insert into t values (3)`)
      yield* until(() => seen.length === 3)
      yield* pool.write((connection) => connection.exec("create table u(a); insert into u values (1)"))
      other.exec("insert into t values (4)")
      yield* until(() => seen.at(-1) === 4)
      yield* Fiber.interrupt(fiber)
      assert.includeOrderedMembers(seen as Array<number>, [1, 2, 3])
    }).pipe(Effect.scoped))

  it.live("names the tables of each commit", () =>
    Effect.gen(function*() {
      const { pool } = yield* make()
      const commits: Array<unknown> = []
      const fiber = yield* Effect.forkChild(
        Stream.runForEach(pool.commits, ({ by, tables }) => Effect.sync(() => commits.push([by, tables]))),
        { startImmediately: true }
      )
      yield* pool.sql`insert into t values (2)`
      yield* until(() => commits.length === 1)
      yield* Effect.exit(pool.transaction(Effect.andThen(pool.sql`insert into t values (3)`, Effect.fail("no"))))
      yield* pool.sql`delete from t`
      yield* until(() => commits.length === 2)
      yield* Fiber.interrupt(fiber)
      assert.deepStrictEqual(commits, [["pool", ["t"]], ["pool", ["t"]]])
    }).pipe(Effect.scoped))

  it.live("tells of the commits of others at the end of each lease, also if that has asked the thread for nothing", () =>
    Effect.gen(function*() {
      const { other, pool } = yield* make(onlyAtLeases)
      const seen = yield* observing(pool)
      other.exec("insert into t values (2)")
      yield* pool.write(() => Effect.void)
      yield* until(() => seen.at(-1) === 2)
    }).pipe(Effect.scoped))

  it.live("is asked for nothing at the end of a lease while nobody observes", () =>
    Effect.gen(function*() {
      const { pool } = yield* make(onlyAtLeases)
      const messages = yield* countMessages
      const lease = pool.write(() => Effect.void)
      yield* lease
      yield* Effect.scoped(Effect.gen(function*() {
        yield* observing(pool)
        yield* lease
        yield* until(() => messages() > 0)
      }))
      const meanwhile = messages()
      // The next one says that nobody observes any more.
      yield* until(() => messages() > meanwhile)
      yield* lease
      yield* Effect.promise(() => new Promise(setImmediate))
      assert.strictEqual(messages(), meanwhile + 1)
    }).pipe(Effect.scoped))

  it.live("tells of a commit of a statement that ran already when the observation began", () =>
    Effect.gen(function*() {
      const { pool } = yield* make({ ...onlyAtLeases, functionsModule })
      const held = yield* heldStatement
      const fiber = yield* Effect.forkChild(pool.sql.unsafe(`insert into t ${held.sql}`), { startImmediately: true })
      yield* held.hasBegun
      const commits = yield* readingOf(pool.commits)
      const seen = yield* observing(pool)
      assert.deepStrictEqual(seen, [1])
      yield* held.letGo
      yield* Fiber.join(fiber)
      yield* until(() => seen.at(-1) === 2)
      yield* until(() => commits.length === 1)
      assert.deepInclude(commits[0], { by: "pool", isSchemaChanged: true, count: 1 })
    }).pipe(Effect.scoped))

  it.live("tells of a commit of others that came before its thread knew that somebody observes", () =>
    Effect.gen(function*() {
      const { other, pool } = yield* make({ ...onlyAtLeases, functionsModule })
      const held = yield* heldStatement
      const reading = pool.write((connection) => connection.values(held.sql))
      const fiber = yield* Effect.forkChild(reading, { startImmediately: true })
      yield* held.hasBegun
      const seen = yield* observing(pool)
      other.exec("insert into t values (2)")
      yield* held.letGo
      yield* Fiber.join(fiber)
      yield* until(() => seen.at(-1) === 2)
    }).pipe(Effect.scoped))

  it.live("has a query run once when its observation begins, if nobody has committed meanwhile", () =>
    Effect.gen(function*() {
      const { other, pool } = yield* make(onlyAtLeases)
      for (let time = 0; time < 2; time++) {
        yield* Effect.scoped(Effect.gen(function*() {
          const seen = yield* observing(pool)
          yield* pool.write((connection) => connection.values("select 1"))
          assert.deepStrictEqual(seen, [1])
        }))
      }
      // Who knows whether this was before the first look, or after it.
      other.exec("delete from t where a > 1")
      other.exec("insert into t values (2); delete from t where a = 2")
      const seen = yield* observing(pool)
      yield* until(() => seen.length === 2)
    }).pipe(Effect.scoped))

  it.live("has everything run again on a connection that was opened anew, which may have missed commits", () =>
    Effect.gen(function*() {
      const { pool } = yield* make(onlyAtLeases)
      const seen = yield* observing(pool)
      yield* pool.writer.recycle
      yield* until(() => seen.length === 2)
      // A changed setting has the connection opened again after the lease.
      yield* pool.write((connection) => connection.run("pragma cache_size = 100"))
      yield* until(() => seen.length === 3)
      yield* pool.sql`insert into t values (2)`
      yield* until(() => seen.length === 4)
      assert.deepStrictEqual(seen, [1, 1, 1, 2])
    }).pipe(Effect.scoped))

  it.live("tells of the rows of a stream when SQLite has written them, however many were read", () =>
    Effect.gen(function*() {
      const { pool } = yield* make(onlyAtLeases)
      const seen = yield* observing(pool)
      const many = "insert into t with recursive n(i) as (select 1 union all select i + 1 from n where i < 3000) " +
        "select i from n returning a"
      yield* pool.write((connection) => Stream.runDrain(Stream.take(connection.stream(many), 1)))
      yield* until(() => seen.at(-1) === 3001)
      // They are stored when the stream has ended, for all to see.
      assert.deepStrictEqual(yield* pool.sql`select count(*) from t`.values, [[3001]])
    }).pipe(Effect.scoped))

  it.live("stores nothing of a stream that is interrupted before its first row", () =>
    Effect.gen(function*() {
      const { pool, rows } = yield* make({ functionsModule })
      const held = yield* heldStatement
      const written = pool.write((connection) =>
        Stream.runDrain(connection.stream(`insert into t ${held.sql} returning a`))
      )
      const fiber = yield* Effect.forkChild(written, { startImmediately: true })
      yield* held.hasBegun
      yield* Fiber.interrupt(fiber)
      yield* held.letGo
      yield* pool.sql`insert into t values (3)`
      assert.deepStrictEqual(rows(), [1, 3])
    }).pipe(Effect.scoped))
})
