import { assert, describe, it } from "@effect/vitest"
import { Effect, Stream } from "effect"
import { SqliteConnection, SqlitePool } from "effect-connection-pool/sqlite"
import { SqliteClient } from "effect-connection-pool/sqlite-node"
import { isSqlError, SqlError } from "effect/sql/SqlError"
import { file, judge } from "../support/files.ts"

const insert = "insert into t values (2)"

type Attempts = Record<string, Effect.Effect<unknown, unknown>>

/** Every way to ask a pool for something, with a statement that writes. */
const waysToRead = (pool: SqlitePool.SqlitePool, sql: string): Attempts => ({
  query: pool.read((reader) => reader.query(sql)),
  values: pool.read((reader) => reader.values(sql)),
  "read stream": pool.read((reader) => Stream.runDrain(reader.stream(sql))),
  queryUnsafe: pool.readSync((reader) => reader.queryUnsafe(sql)),
  valuesUnsafe: pool.readSync((reader) => reader.valuesUnsafe(sql)),
  stream: Stream.runDrain(pool.stream(sql))
})

const waysToWrite = (pool: SqlitePool.SqlitePool, sql: string): Attempts => ({
  run: pool.write((connection) => connection.run(sql)),
  query: pool.write((connection) => connection.query(sql)),
  exec: pool.write((connection) => connection.exec(`select 1; ${sql}`)),
  stream: pool.write((connection) => Stream.runDrain(connection.stream(sql))),
  writeSync: pool.writeSync((connection) => connection.runUnsafe(sql)),
  "within transaction": pool.transaction(pool.write((connection) => connection.run(sql))),
  sql: pool.sql.unsafe(sql),
  raw: pool.sql.unsafe(sql).raw,
  "values of sql": pool.sql.unsafe(sql).values,
  "sql stream": Stream.runDrain(pool.sql.unsafe(sql).stream),
  withTransaction: pool.sql.withTransaction(pool.sql.unsafe(sql))
})

/** Each fails with a refusal that names the statement and ends with `why`, and that can be caught by its kind. */
const expectRefusals = Effect.fnUntraced(function*(
  attempts: Attempts,
  sql: string,
  why: string,
  around: (attempt: Effect.Effect<unknown, unknown>) => Effect.Effect<unknown, unknown> = (attempt) => attempt
) {
  for (const [name, attempt] of Object.entries(attempts)) {
    const message = yield* around(attempt).pipe(
      Effect.andThen(Effect.succeed("done")),
      Effect.catchIf(
        (error): error is SqlError => error instanceof SqlError && error.reason._tag === "AuthorizationError",
        (error) => Effect.succeed(`${SqliteConnection.codeOf(error)} ${error.isRetryable}: ${error.message}`)
      )
    )
    assert.match(message, /^8 false: [a-zA-Z]+: "/, name)
    assert.include(message, JSON.stringify(sql).slice(1, -1), name)
    assert.isTrue(message.endsWith(`": ${why}`), `${name}: ${message}`)
  }
})

const reader = "this is a reader of pool \"books\", which cannot write: use `write` or `transaction`"
const snapshot = "this snapshot only reads: write outside of it, or use `transaction` in its place"
const transaction = "this transaction is read-only: leave out `readOnly`"

describe("a statement that writes", () => {
  for (const place of ["file", "memory"] as const) {
    const make = Effect.gen(function*() {
      const filename = place === "file" ? yield* file : ":memory:"
      const pool = yield* SqlitePool.make({ filename, name: "books", drainTimeout: 0 })
      yield* pool.write((connection) => connection.exec("create table t(a); insert into t values (1)"))
      return pool
    })
    const untouched = (pool: SqlitePool.SqlitePool) =>
      Effect.map(
        pool.read((reader) => reader.values("select a from t")),
        (rows) => assert.deepStrictEqual(rows, [[1]])
      )

    it.effect(`is told by a reader what to use instead (${place})`, () =>
      Effect.gen(function*() {
        const pool = yield* make
        for (const sql of [insert, "begin immediate", "begin /* now */ exclusive", "BEGIN--\nimmediate"]) {
          yield* expectRefusals(waysToRead(pool, sql), sql, reader)
        }
        // In a transaction that may write, a reader may not.
        yield* expectRefusals(waysToRead(pool, insert), insert, reader, (attempt) => pool.transaction(attempt))
        yield* untouched(pool)
      }))

    it.effect(`is not blamed for SQL that is no statement (${place})`, () =>
      Effect.gen(function*() {
        const pool = yield* make
        for (const sql of ["", " -- nothing", ";", "nonsense t", "(delete from t)", "'insert' into t"]) {
          const attempts: ReadonlyArray<Effect.Effect<unknown, { readonly _tag: string }>> = [
            pool.observe(sql).pipe(Stream.runDrain),
            ...Object.values(waysToRead(pool, sql)) as ReadonlyArray<Effect.Effect<unknown, { readonly _tag: string }>>
          ]
          for (const attempt of attempts) {
            for (const one of [attempt, pool.transaction(attempt)]) {
              const error = yield* Effect.flip(one)
              if (error._tag === "SelfDeadlockError") continue
              assert.match(
                isSqlError(error) ? error.reason.message : error._tag,
                /holds no statement|syntax error/,
                sql
              )
            }
          }
        }
        yield* untouched(pool)
      }))

    it.effect(`is told by a snapshot that it only reads, by whatever way (${place})`, () =>
      Effect.gen(function*() {
        const pool = yield* make
        yield* expectRefusals(waysToRead(pool, insert), insert, snapshot, (attempt) => pool.snapshot(attempt))
        yield* expectRefusals(waysToWrite(pool, insert), insert, snapshot, (attempt) => pool.snapshot(attempt))
        yield* untouched(pool)
      }))

    it.effect(`is told by a transaction that only reads which option to leave out (${place})`, () =>
      Effect.gen(function*() {
        const pool = yield* make
        const around = (attempt: Effect.Effect<unknown, unknown>) => pool.transaction(attempt, { readOnly: true })
        yield* expectRefusals(waysToRead(pool, insert), insert, transaction, around)
        yield* expectRefusals(waysToWrite(pool, insert), insert, transaction, around)
        yield* expectRefusals({ snapshot: pool.snapshot(pool.sql.unsafe(insert)) }, insert, transaction, around)
        yield* untouched(pool)
      }))

    it.effect(`is written again by the connection that had to refuse it (${place})`, () =>
      Effect.gen(function*() {
        const pool = yield* make
        const write = pool.write((connection) => connection.run(insert))
        yield* Effect.flip(pool.snapshot(write))
        yield* Effect.flip(pool.transaction(write, { readOnly: true }))
        // The reader that was in a snapshot says again that it is a reader.
        yield* expectRefusals(waysToRead(pool, insert), insert, reader)
        assert.strictEqual((yield* write).changes, 1)
      }))
  }

  it.effect("is called one of a transaction, and not of the snapshot of another pool around it", () =>
    Effect.gen(function*() {
      const [books, other] = [
        yield* SqlitePool.makeTemporary({ name: "books" }),
        yield* SqlitePool.makeTemporary({ name: "other" })
      ]
      yield* other.write((connection) => connection.exec("create table t(a)"))
      const around = (attempt: Effect.Effect<unknown, unknown>) =>
        books.snapshot(other.transaction(attempt, { readOnly: true }))
      yield* expectRefusals(waysToWrite(other, insert), insert, transaction, around)
    }))

  it.effect("is told by a database that is only read, in a transaction of it too", () =>
    Effect.gen(function*() {
      const filename = yield* file
      yield* judge(filename, "pragma journal_mode = wal; create table t(a)")
      const sql = yield* SqliteClient.make({ filename, name: "books", readonly: true })
      const attempts: Attempts = {
        template: sql`insert into t values (2)`,
        unsafe: sql.unsafe(insert),
        raw: sql.unsafe(insert).raw,
        values: sql.unsafe(insert).values,
        stream: Stream.runDrain(sql.unsafe(insert).stream)
      }
      const why = "pool \"books\" was opened read-only, so it cannot write"
      yield* expectRefusals(attempts, insert, why)
      yield* expectRefusals(attempts, insert, why, sql.withTransaction)
    }))

  it.effect("is shortened in the message if it is long", () =>
    Effect.gen(function*() {
      const pool = yield* SqlitePool.makeTemporary({ name: "books" })
      yield* pool.write((connection) => connection.exec("create table t(a)"))
      const long = `insert into t values ('${"x".repeat(1000)}')`
      const error = yield* Effect.flip(pool.read((reader) => reader.query(long)))
      assert.strictEqual(error.message, `query: ${JSON.stringify(`${long.slice(0, 100)}...`)}: ${reader}`)
    }))
})
