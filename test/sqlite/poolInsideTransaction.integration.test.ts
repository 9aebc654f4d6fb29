import { assert, describe, it } from "@effect/vitest"
import { Effect, Exit, Fiber, Latch, Scope, Stream } from "effect"
import { TransactionError } from "effect-connection-pool"
import type { SqliteConnection } from "effect-connection-pool/sqlite"
import { PoolAssert } from "effect-connection-pool/testing"
import { SafeIntegers } from "effect/sql/SqlClient"
import { SqlError } from "effect/sql/SqlError"
import * as Database from "../support/database.ts"
import { mode } from "../support/modes/mode.ts"
import { settle } from "../support/pools.ts"

const { failsWith } = PoolAssert

const connectionOf = (db: Database.Database) =>
  Effect.withFiber((fiber) => Effect.succeed(db.connectionInTransaction(fiber)))

/** The connection of the transaction that the fiber is in. */
const join = (db: Database.Database) =>
  Effect.map(connectionOf(db), (connection) => connection ?? assert.fail("in no transaction"))

const insert = "insert into t values (?)"

/** What an operation does with one statement, in each of the ways that there are. */
const ways: Record<
  string,
  (connection: SqliteConnection.SqliteConnection, n: number) => Effect.Effect<unknown, unknown>
> = {
  query: (connection, n) => connection.query(insert, [n]),
  values: (connection, n) => connection.values(insert, [n]),
  run: (connection, n) => connection.run(insert, [n]),
  exec: (connection, n) => connection.exec(`insert into t values (${n})`),
  stream: (connection, n) => Stream.runDrain(connection.stream(insert, [n]))
}

/** A connection in a thread has none of these. */
const isSync = mode !== "writer"

const unsafeWays: Record<string, (connection: SqliteConnection.SqliteConnection, n: number) => unknown> = isSync
  ? {
    queryUnsafe: (connection, n) => connection.queryUnsafe(insert, [n]),
    valuesUnsafe: (connection, n) => connection.valuesUnsafe(insert, [n]),
    runUnsafe: (connection, n) => connection.runUnsafe(insert, [n]),
    execUnsafe: (connection, n) => connection.execUnsafe(`insert into t values (${n})`)
  }
  : {}

const attempt = (f: () => unknown) => Effect.try({ try: f, catch: (thrown) => thrown })

const all = (connection: SqliteConnection.SqliteConnection, first: number) => [
  ...Object.values(ways).map((way, n) => way(connection, first + n)),
  ...Object.values(unsafeWays).map((way, n) => attempt(() => way(connection, first + 10 + n)))
]

const behind = (error: unknown) => error instanceof SqlError ? error.reason.cause : error

describe("the connection of the transaction that a fiber is in", () => {
  it.effect("does what any other does, inside the transaction", () =>
    Effect.gen(function*() {
      const db = yield* Database.make()
      assert.isUndefined(yield* connectionOf(db))
      yield* db.transaction(Effect.gen(function*() {
        const connection = yield* join(db)
        for (const effect of all(connection, 1)) yield* effect
        assert.isTrue(yield* connection.isTransaction)
        if (isSync) assert.isTrue(connection.isTransactionUnsafe())
        assert.deepStrictEqual(db.rows, [])
        const count = connection.values("select count(*) from t")
        const unsafe = Object.keys(unsafeWays).length
        assert.deepStrictEqual(yield* count, [[5 + unsafe]])
        assert.deepStrictEqual(yield* Effect.provideService(count, SafeIntegers, true), [[BigInt(5 + unsafe)]])
        if (isSync) assert.deepStrictEqual(connection.valuesUnsafe("select 1", [], { safeIntegers: true }), [[1n]])
        assert.deepStrictEqual((yield* connection.run("delete from t where n > 10")).changes, unsafe)
        yield* failsWith(connection.query("nonsense"), "SqlError")
      }))
      assert.deepStrictEqual(db.rows, [1, 2, 3, 4, 5])
    }))

  it.effect("is that of the level the fiber is at", () =>
    Effect.gen(function*() {
      const db = yield* Database.make()
      yield* db.transaction(Effect.gen(function*() {
        const outer = yield* join(db)
        const inner = yield* db.transaction(join(db))
        yield* outer.run(insert, [1])
        for (const effect of all(inner, 100)) {
          const error = behind(yield* Effect.flip(effect))
          assert.instanceOf(error, TransactionError.TransactionEndedError)
        }
        assert.instanceOf(behind(yield* Effect.flip(inner.isTransaction)), TransactionError.TransactionEndedError)
      }))
      assert.deepStrictEqual(db.rows, [1])
    }))

  it.effect("reads no further once that level has ended", () =>
    Effect.gen(function*() {
      const db = yield* Database.make()
      const exit = yield* db.transaction(Effect.gen(function*() {
        yield* db.sql.unsafe(
          "insert into t with recursive c(n) as (select 1 union all select n + 1 from c where n < 600) select n from c"
        )
        const scope = yield* Scope.make()
        const pull = yield* db.transaction(Effect.gen(function*() {
          const connection = yield* join(db)
          const pull = yield* Scope.provide(Stream.toPull(connection.stream("select n from t")), scope)
          const { length } = yield* pull
          assert.isTrue(length > 0 && length < 600)
          return pull
        }))
        assert.instanceOf(behind(yield* Effect.flip(pull)), TransactionError.TransactionEndedError)
        yield* Scope.close(scope, Exit.void)
        yield* db.sql`drop table t`
        return yield* Effect.fail("no")
      })).pipe(Effect.exit)
      assert.deepStrictEqual(exit, Exit.fail("no"))
    }))

  it.effect("runs nothing once the transaction is lost", () =>
    Effect.gen(function*() {
      const db = yield* Database.make()
      const body = Effect.gen(function*() {
        const connection = yield* join(db)
        yield* connection.run(insert, [1])
        // The first pull is what ends it, after the stream has been begun.
        yield* failsWith(Stream.runDrain(connection.stream("insert or rollback into t values (1)")), "SqlError")
        for (const effect of all(connection, 100)) {
          assert.instanceOf(behind(yield* Effect.orDie(Effect.flip(effect))), TransactionError.TransactionLostError)
        }
      })
      const lost = yield* failsWith(db.transaction(Effect.orDie(body)), "TransactionLostError")
      assert.include(lost.message, "the database has ended the transaction")
      assert.deepStrictEqual(db.rows, [])
    }))

  it.effect("waits for the transactions of other fibers inside it, where it can", () =>
    Effect.gen(function*() {
      const db = yield* Database.make()
      yield* db.transaction(Effect.gen(function*() {
        const connection = yield* join(db)
        const inside = yield* Latch.make()
        const over = yield* Latch.make()
        const other = yield* Effect.forkChild(
          Effect.exit(db.transaction(Effect.andThen(Effect.andThen(inside.open, over.await), Effect.fail("no"))))
        )
        yield* inside.await
        const waiting = yield* Effect.forEach(
          Object.values(ways).map((way, n) => way(connection, n)),
          (effect) => Effect.forkChild(effect)
        )
        yield* settle
        for (const fiber of waiting) assert.isUndefined(fiber.pollUnsafe())
        for (const way of Object.values(unsafeWays)) {
          const error = yield* Effect.flip(attempt(() => way(connection, 100)))
          assert.include(
            (error as SqlError).message,
            "would have to wait for an inner transaction of another fiber"
          )
        }
        yield* over.open
        yield* Fiber.join(other)
        yield* Fiber.joinAll(waiting)
        // A fiber that has one open itself does not wait for itself.
        yield* db.transaction(Effect.andThen(
          connection.run(insert, [11]),
          isSync ? attempt(() => connection.runUnsafe(insert, [12])) : connection.run(insert, [12])
        ))
      }))
      assert.deepStrictEqual(db.rows, [0, 1, 2, 3, 4, 11, 12])
    }))

  it.effect("cannot end the transaction", () =>
    Effect.gen(function*() {
      const db = yield* Database.make()
      yield* db.transaction(Effect.gen(function*() {
        const connection = yield* join(db)
        const attempts = [
          connection.exec("select 1; commit; begin"),
          connection.run("rollback"),
          Stream.runDrain(connection.stream("end")),
          isSync ? attempt(() => connection.execUnsafe("savepoint x")) : connection.exec("savepoint x")
        ]
        for (const effect of attempts) {
          const error = yield* Effect.flip(effect as Effect.Effect<unknown, SqlError>)
          assert.include(error.message, "transactions are begun and ended by withTransaction")
        }
        yield* connection.run(insert, [1])
      }))
      assert.deepStrictEqual(db.rows, [1])
    }))
})
