import { assert, describe, it } from "@effect/vitest"
import {
  Config,
  ConfigProvider,
  Context,
  Deferred,
  Effect,
  Exit,
  Fiber,
  Latch,
  Layer,
  Schedule,
  type Scope,
  Stream
} from "effect"
import { SqlitePool } from "effect-connection-pool/sqlite"
import { SqliteClient } from "effect-connection-pool/sqlite-node"
import * as Reactivity from "effect/reactivity/Reactivity"
import * as SqlClient from "effect/sql/SqlClient"
import { LockTimeoutError, SqlError } from "effect/sql/SqlError"
import { file } from "../support/files.ts"
import { settle } from "../support/pools.ts"

interface Count {
  readonly n: number
}

/** What a query of all rows gives, each time it runs; `next` waits for the next time. */
const watch = Effect.fnUntraced(function*(sql: SqlClient.SqlClient) {
  const seen: Array<number> = []
  const ran = yield* Latch.make(false)
  const counts = sql.reactive(["notes"], sql<Count>`select count(*) as n from note`)
  yield* Effect.forkScoped(Stream.runForEach(counts, ([row]) => {
    seen.push(row!.n)
    return ran.open
  }))
  const next = Effect.andThen(ran.await, Effect.sync(() => ran.closeUnsafe()))
  yield* next
  return { seen, next }
})

const setUp = (sql: SqlClient.SqlClient) => sql`create table note(id integer primary key)`

/** Fails if the query is not told of a mutation: then `next` waits until the test has no more time. */
const isTold = Effect.gen(function*() {
  const sql = yield* SqlClient.SqlClient
  yield* setUp(sql)
  const { next, seen } = yield* watch(sql)
  yield* Reactivity.mutation(sql`insert into note values (null)`, ["notes"])
  yield* next
  assert.deepStrictEqual(seen, [0, 1])
})

describe("a reactive query", () => {
  const kinds: Record<string, Effect.Effect<Layer.Layer<SqlClient.SqlClient, unknown>, never, Scope.Scope>> = {
    "SqlitePool.layer": Effect.map(file, (filename) => SqlitePool.layer({ filename })),
    "SqlitePool.layerTemporary": Effect.sync(() => SqlitePool.layerTemporary()),
    "SqlitePool.config": Effect.map(
      file,
      (filename) =>
        Layer.unwrap(Effect.map(SqlitePool.config("DB"), SqlitePool.layer)).pipe(
          Layer.provide(ConfigProvider.layer(ConfigProvider.fromEnv({ env: { DB_FILENAME: filename } })))
        )
    ),
    "SqlitePool.make": Effect.sync(() =>
      Layer.effect(SqlClient.SqlClient, Effect.map(SqlitePool.makeTemporary(), ({ sql }) => sql))
    ),
    "a service of one's own": Effect.sync(() => {
      class Notes extends SqlitePool.Service<Notes>()("test/Notes") {}
      return Layer.effect(SqlClient.SqlClient, Effect.map(Notes, ({ sql }) => sql)).pipe(
        Layer.provide(Notes.layerTemporary())
      )
    }),
    "SqliteClient.layer": Effect.map(file, (filename) => SqliteClient.layer({ filename })),
    "SqliteClient.layerConfig": Effect.map(
      file,
      (filename) => SqliteClient.layerConfig({ filename: Config.succeed(filename) })
    )
  }
  const ownReactivity = Layer.effect(Reactivity.Reactivity, Reactivity.make)
  const compositions: Record<
    string,
    (
      database: Layer.Layer<SqlClient.SqlClient, unknown>,
      reactivity: Layer.Layer<Reactivity.Reactivity>
    ) => Effect.Effect<void, unknown, Scope.Scope>
  > = {
    beside: (database, reactivity) => Effect.provide(isTold, Layer.mergeAll(database, reactivity)),
    "beside, the other way round": (database, reactivity) =>
      Effect.provide(isTold, Layer.mergeAll(reactivity, database)),
    "in an array": (database, reactivity) => Effect.provide(isTold, [database, reactivity]),
    below: (database, reactivity) => Effect.provide(isTold, Layer.provideMerge(database, reactivity)),
    above: (database, reactivity) => Effect.provide(isTold, Layer.provideMerge(reactivity, database)),
    "provided later": (database, reactivity) => isTold.pipe(Effect.provide(database), Effect.provide(reactivity)),
    "provided sooner": (database, reactivity) => isTold.pipe(Effect.provide(reactivity), Effect.provide(database))
  }
  for (const [kind, makeLayer] of Object.entries(kinds)) {
    it.effect(`hears of a mutation, however the layers are put together (${kind})`, () =>
      Effect.gen(function*() {
        for (const [name, compose] of Object.entries(compositions)) {
          for (const reactivity of [Reactivity.layer, ownReactivity]) {
            const exit = yield* Effect.exit(Effect.scoped(compose(yield* makeLayer, reactivity)))
            assert.isTrue(Exit.isSuccess(exit), `${name}: ${exit}`)
          }
        }
      }))
  }

  it.effect("hears of what is told by the service that it was made with, where the fiber has another", () =>
    Effect.gen(function*() {
      const captured = yield* Reactivity.make
      const pool = yield* Effect.provideService(SqlitePool.makeTemporary(), Reactivity.Reactivity, captured)
      yield* setUp(pool.sql)
      yield* Effect.gen(function*() {
        const { next, seen } = yield* watch(pool.sql)
        yield* captured.mutation(["notes"], pool.sql`insert into note values (null)`)
        yield* next
        yield* Reactivity.mutation(pool.sql`insert into note values (null)`, ["notes"])
        yield* next
        assert.deepStrictEqual(seen, [0, 1, 2])
        // Whichever of them it is, a transaction comes first.
        const other = yield* Reactivity.Reactivity
        for (const reactivity of [captured, other]) {
          const add = reactivity.mutation(["notes"], pool.sql`insert into note values (null)`)
          yield* Effect.flip(pool.transaction(Effect.andThen(add, Effect.fail("no"))))
        }
        yield* settle
        assert.deepStrictEqual(seen, [0, 1, 2])
      }).pipe(Effect.provide(Layer.fresh(Reactivity.layer)))
    }))

  it.effect("hears of a service beside it in the layers, where the fiber has neither", () =>
    Effect.gen(function*() {
      class Notes extends Context.Service<Notes, Effect.Success<typeof notes>>()("test/NotesOfLayers") {}
      const notes = Effect.gen(function*() {
        const sql = yield* SqlClient.SqlClient
        const reactivity = yield* Reactivity.Reactivity
        return { sql, add: reactivity.mutation(["notes"], sql`insert into note values (null)`) }
      })
      const databases = [
        SqlitePool.layerTemporary(),
        SqlitePool.layer({ filename: yield* file }),
        SqliteClient.layer({ filename: yield* file }),
        SqliteClient.layerConfig({ filename: Config.succeed(yield* file) })
      ]
      for (const database of databases) {
        const layer = Layer.provide(Layer.effect(Notes, notes), [database, Reactivity.layer])
        yield* Effect.gen(function*() {
          const { add, sql } = yield* Notes
          yield* setUp(sql)
          const { next, seen } = yield* watch(sql)
          yield* sql.withTransaction(add)
          yield* next
          assert.deepStrictEqual(seen, [0, 1])
        }).pipe(Effect.scoped, Effect.provide(layer))
      }
    }))

  it.effect("that is begun in a transaction goes on after its end", () =>
    Effect.gen(function*() {
      const { sql } = yield* SqlitePool.makeTemporary()
      yield* setUp(sql)
      const { next, seen } = yield* sql.withTransaction(
        Effect.andThen(sql`insert into note values (null)`, watch(sql))
      )
      yield* Reactivity.mutation(sql`insert into note values (null)`, ["notes"])
      yield* next
      assert.deepStrictEqual(seen, [1, 2])
    }).pipe(Effect.provide(Reactivity.layer)))
})

/** A database with two that hear: a query of it, and somebody who has nothing to do with it. */
const make = Effect.gen(function*() {
  const pool = yield* SqlitePool.makeTemporary()
  const { sql } = pool
  yield* setUp(sql)
  const reactivity = yield* Reactivity.Reactivity
  let heard = 0
  reactivity.registerUnsafe(["notes"], () => {
    heard++
  })
  /** A service that asked for the Reactivity when it was built. */
  const notes = {
    add: reactivity.mutation(["notes"], sql`insert into note values (null)`),
    addAll: reactivity.withBatch(reactivity.mutation(["notes"], sql`insert into note values (null)`)),
    tell: reactivity.invalidate(["notes"])
  }
  const { next, seen } = yield* watch(sql)
  return {
    pool,
    sql,
    notes,
    next,
    seen,
    get heard() {
      return heard
    }
  }
})

type Database = Effect.Success<typeof make>

/** Asserts that nothing is heard while a transaction waits before its commit, and one change after the commit. */
const heardAfterCommit = Effect.fnUntraced(function*(
  db: Database,
  transaction: (wait: Effect.Effect<void>) => Effect.Effect<unknown, unknown, Reactivity.Reactivity>
) {
  const reached = yield* Latch.make()
  const finish = yield* Latch.make()
  const fiber = yield* Effect.forkChild(transaction(Effect.andThen(reached.open, finish.await)))
  yield* reached.await
  yield* settle
  assert.deepStrictEqual([db.seen, db.heard], [[0], 0])
  yield* finish.open
  yield* Fiber.join(fiber)
  yield* db.next
  assert.deepStrictEqual([db.seen, db.heard], [[0, 1], 1])
})

describe("what is told in a transaction", () => {
  const added = ({ sql }: Database) => Reactivity.mutation(sql`insert into note values (null)`, ["notes"])
  const ways: Record<string, (db: Database) => Effect.Effect<unknown, unknown, Reactivity.Reactivity>> = {
    "by Reactivity.mutation": added,
    "by a service that was built before": ({ notes }) => notes.add,
    "by such a service, in a batch": ({ notes }) => notes.addAll,
    "by such a service, after a write": ({ notes, pool }) =>
      Effect.andThen(pool.write((connection) => connection.run("insert into note values (null)")), notes.tell)
  }
  const transactions: Record<
    string,
    <A, E, R>(db: Database, effect: Effect.Effect<A, E, R>) => Effect.Effect<A, unknown, R>
  > = {
    transaction: ({ pool }, effect) => pool.transaction(effect),
    withTransaction: ({ sql }, effect) => sql.withTransaction(effect),
    "an inner one": ({ pool, sql }, effect) => pool.transaction(sql.withTransaction(effect))
  }

  for (const [way, tell] of Object.entries(ways)) {
    for (const [name, within] of Object.entries(transactions)) {
      it.effect(`is heard after the commit, and not before (${way}; ${name})`, () =>
        Effect.gen(function*() {
          const db = yield* make
          yield* heardAfterCommit(db, (wait) => within(db, Effect.andThen(tell(db), wait)))
        }).pipe(Effect.provide(Reactivity.layer)))

      it.effect(`is not heard after a rollback (${way}; ${name})`, () =>
        Effect.gen(function*() {
          const db = yield* make
          const failed = within(db, Effect.andThen(tell(db), Effect.fail("no")))
          assert.strictEqual(yield* Effect.flip(failed), "no")
          yield* settle
          assert.deepStrictEqual([db.seen, db.heard], [[0], 0])
          // Only what was not undone.
          yield* within(db, Effect.andThen(Effect.ignore(failed), db.sql`insert into note values (null)`))
          yield* settle
          assert.deepStrictEqual([db.seen, db.heard], [[0], 0])
          yield* within(db, Effect.andThen(Effect.ignore(failed), tell(db)))
          yield* db.next
          assert.deepStrictEqual([db.seen, db.heard], [[0, 2], 1])
        }).pipe(Effect.provide(Reactivity.layer)))
    }
  }

  it.effect("is heard once, of the run that is committed, if it takes several", () =>
    Effect.gen(function*() {
      const db = yield* make
      let runs = 0
      const lock = new SqlError({ reason: new LockTimeoutError({ cause: new Error("locked") }) })
      const body = Effect.andThen(
        db.notes.add,
        Effect.suspend(() => ++runs < 3 ? Effect.fail(lock) : Effect.void)
      )
      yield* db.pool.transaction(body, { retry: Schedule.recurs(5) })
      yield* db.next
      assert.deepStrictEqual([runs, db.seen, db.heard], [3, [0, 1], 1])
    }).pipe(Effect.provide(Reactivity.layer)))

  it.effect("is not heard if the commit fails", () =>
    Effect.gen(function*() {
      const db = yield* make
      yield* db.sql`create table child(note integer references note deferrable initially deferred)`
      const failed = db.pool.transaction(Effect.andThen(db.notes.add, db.sql`insert into child values (77)`))
      const error = yield* Effect.flip(failed)
      assert.strictEqual(error._tag, "TransactionCommitError")
      yield* settle
      assert.deepStrictEqual([db.seen, db.heard], [[0], 0])
    }).pipe(Effect.provide(Reactivity.layer)))

  it.effect("waits for the transactions of all databases that it is told in", () =>
    Effect.gen(function*() {
      const db = yield* make
      const other = yield* make
      yield* heardAfterCommit(
        db,
        (wait) => db.pool.transaction(Effect.andThen(other.pool.transaction(db.notes.add), wait))
      )
    }).pipe(Effect.provide(Reactivity.layer)))

  it.effect("is heard at once where the transaction has ended, and where there is none", () =>
    Effect.gen(function*() {
      const db = yield* make
      const late = yield* Deferred.make<void>()
      const fiber = yield* db.pool.transaction(
        Effect.forkDetach(Effect.andThen(Deferred.await(late), db.notes.tell))
      )
      yield* Deferred.succeed(late, undefined)
      yield* Fiber.join(fiber)
      yield* db.next
      assert.deepStrictEqual([db.seen, db.heard], [[0, 0], 1])
      yield* db.notes.addAll
      yield* db.next
      assert.deepStrictEqual([db.seen, db.heard], [[0, 0, 1], 2])
    }).pipe(Effect.provide(Reactivity.layer)))

  it.effect("is no business of a database that is closed", () =>
    Effect.gen(function*() {
      const reactivity = yield* Reactivity.Reactivity
      const context = yield* Effect.scoped(Effect.map(
        SqlitePool.makeTemporary(),
        // As in a fiber that outlives it.
        ({ sql }) => Context.make(sql.transactionService, [undefined, 0] as never)
      ))
      let heard = 0
      reactivity.registerUnsafe(["notes"], () => {
        heard++
      })
      yield* Effect.provideContext(reactivity.invalidate(["notes"]), context)
      assert.strictEqual(heard, 1)
    }).pipe(Effect.provide(Reactivity.layer)))
})
