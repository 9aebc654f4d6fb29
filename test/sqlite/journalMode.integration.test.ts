/** SQLite ignores a change of the journal mode after a write in a transaction, so such a change is refused there. */
import { assert, describe, it } from "@effect/vitest"
import { Effect, Stream } from "effect"
import { SqlitePool } from "effect-connection-pool/sqlite"
import type { SqlError } from "effect/sql/SqlError"
import { file } from "../support/files.ts"
import { mode as execution } from "../support/modes/mode.ts"

const make = Effect.fnUntraced(function*(options?: Partial<SqlitePool.Options>) {
  const filename = options?.filename ?? (yield* file)
  const pool = yield* SqlitePool.make({ drainTimeout: 0, ...options, filename })
  yield* pool.sql`create table t(a integer primary key, b)`
  return pool
})

/** The message of a refusal, caught by its kind. */
const refusal = (effect: Effect.Effect<unknown, unknown>): Effect.Effect<string, SqlError> =>
  Effect.catchReason(
    Effect.as(effect as Effect.Effect<unknown, SqlError>, "not refused"),
    "SqlError",
    "AuthorizationError",
    (reason) => Effect.succeed(reason.message)
  )

/** A writer in a thread has no `writeSync`. */
const isSync = execution !== "writer"

describe("in a transaction", () => {
  it.effect("another journal mode is refused, before a write and after it, and the present one is not", () =>
    Effect.gen(function*() {
      const pool = yield* make()
      const mode = "pragma journal_mode = delete"
      const isRefused = (message: string) => assert.include(message, "SQLite does not change the journal mode inside")
      const tried = Effect.gen(function*() {
        isRefused(yield* refusal(pool.sql.unsafe(mode)))
        isRefused(yield* refusal(pool.sql.unsafe("pragma main.journal_mode('TRUNC')")))
        isRefused(yield* refusal(pool.write((connection) => connection.query(mode))))
        isRefused(yield* refusal(pool.write((connection) => connection.exec(mode))))
        if (isSync) isRefused(yield* refusal(pool.writeSync((connection) => connection.valuesUnsafe(mode))))
        isRefused(yield* refusal(Stream.runDrain(pool.sql.unsafe(mode).stream)))
        assert.deepStrictEqual(yield* pool.sql`pragma journal_mode = WAL`.values, [["wal"]])
        // SQLite knows no such mode, so this only asks.
        assert.deepStrictEqual(yield* pool.sql`pragma journal_mode = nonsense`.values, [["wal"]])
        assert.deepStrictEqual(yield* pool.sql`pragma journal_mode`.values, [["wal"]])
      })
      yield* pool.transaction(Effect.gen(function*() {
        yield* tried
        yield* pool.sql`insert into t(b) values (1)`
        yield* tried
      }))
      if (!isSync) return
      yield* refusal(pool.writeSync((connection) => {
        connection.runUnsafe("insert into t(b) values (2)")
        return connection.valuesUnsafe(mode)
      })).pipe(Effect.map(isRefused))
      const insert = (b: number) => pool.sql`insert into t(b) values (${b})`
      const group = [
        Effect.as(insert(3), ""),
        refusal(pool.writeSync((connection) => connection.valuesUnsafe(mode))),
        Effect.as(insert(4), "")
      ]
      for (let round = 0; round < 2; round++) isRefused((yield* Effect.all(group, { concurrency: "unbounded" }))[1]!)
      assert.deepStrictEqual(yield* pool.sql`select count(*) from t`.values, [[5]])
    }))

  it.effect("the journal mode counts that a lease has set before, or that the connection was opened with", () =>
    Effect.gen(function*() {
      const pool = yield* make()
      yield* pool.write((connection) =>
        Effect.gen(function*() {
          assert.deepStrictEqual(yield* connection.values("pragma journal_mode = truncate"), [["truncate"]])
          yield* connection.exec("begin immediate; insert into t(b) values (1)")
          assert.deepStrictEqual(yield* connection.values("pragma journal_mode = truncate"), [["truncate"]])
          assert.include(
            yield* refusal(connection.values("pragma journal_mode = persist")),
            "SQLite does not change the journal mode inside a transaction"
          )
          yield* connection.exec("commit")
        })
      )
      assert.deepStrictEqual(yield* pool.write((writer) => writer.values("pragma journal_mode")), [["wal"]])
      assert.include(
        yield* refusal(pool.transaction(pool.sql`pragma journal_mode = truncate`)),
        "SQLite does not change the journal mode inside a transaction"
      )
      const streamed = "pragma journal_mode = persist"
      yield* pool.write((connection) =>
        Effect.gen(function*() {
          const isSet = Stream.runCollect(connection.stream(streamed))
          assert.deepStrictEqual([...(yield* isSet)], [{ journal_mode: "persist" }])
          yield* connection.exec("begin immediate; insert into t(b) values (2)")
          assert.strictEqual(yield* refusal(isSet), "not refused")
          assert.strictEqual(yield* refusal(connection.values(streamed)), "not refused")
          yield* connection.exec("commit")
        })
      )
      const memory = yield* make({ filename: ":memory:" })
      yield* memory.transaction(Effect.gen(function*() {
        assert.deepStrictEqual(yield* memory.sql`pragma journal_mode = memory`.values, [["memory"]])
        assert.include(yield* refusal(memory.sql`pragma journal_mode = off`), "inside a transaction")
      }))
    }))
})
