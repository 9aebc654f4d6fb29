import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import { SqliteConnection } from "effect-connection-pool/sqlite"
import {
  AuthorizationError,
  ConstraintError,
  LockTimeoutError,
  SerializationError,
  SqlError,
  type SqlErrorReason,
  UniqueViolation,
  UnknownError
} from "effect/sql/SqlError"
import * as SqliteError from "../../src/sqlite/internal/errors.ts"
import { closed, fromSqlite } from "../../src/sqlite/internal/failures.ts"
import { file, judge } from "../support/files.ts"

/** What an operation throws. */
const thrown = (f: () => unknown): unknown => {
  try {
    f()
  } catch (error) {
    return error
  }
  return assert.fail("nothing was thrown")
}

interface Expected {
  readonly reason: new(...args: never) => SqlErrorReason
  readonly code: number | undefined
  readonly message: string
  readonly isRetryable?: boolean
}

const expectError = (error: unknown, expected: Expected): SqlError => {
  assert.instanceOf(error, SqlError)
  assert.instanceOf(error.reason, expected.reason as new() => SqlErrorReason)
  assert.strictEqual(error.message, expected.message)
  assert.strictEqual(SqliteConnection.codeOf(error), expected.code)
  assert.strictEqual(error.isRetryable, expected.isRetryable ?? false)
  return error
}

describe("an error of SQLite", () => {
  it.effect("is the failure of the effect, with the operation, and what Node threw as its cause", () =>
    Effect.gen(function*() {
      const connection = yield* SqliteConnection.open({ filename: ":memory:" })
      for (const operation of ["query", "values", "run", "exec"] as const) {
        const error = yield* Effect.flip(connection[operation]("select nonsense"))
        const { reason } = expectError(error, {
          reason: UnknownError,
          code: 1,
          message: "no such column: nonsense"
        })
        assert.strictEqual(reason.operation, operation)
        assert.strictEqual((reason.cause as Error).message, "no such column: nonsense")
        assert.propertyVal(reason.cause, "code", "ERR_SQLITE_ERROR")
      }
      const error = thrown(() => connection.queryUnsafe("select nonsense"))
      assert.strictEqual((error as SqlError).reason.operation, "queryUnsafe")
    }))

  it.effect("names the constraint that is violated, and tells a unique one from others", () =>
    Effect.gen(function*() {
      const connection = yield* SqliteConnection.open({ filename: ":memory:" })
      connection.execUnsafe(`
        create table t(id integer primary key, name text unique, age integer not null check (age > 0)) strict;
        create table u(id text primary key, parent integer references t) without rowid;
        create table v(a); create unique index lowered on v(lower(a));
        insert into t values (1, 'Ada', 36); insert into u values ('x', 1); insert into v values ('A')`)
      const unique = (sql: string, constraint: string) => {
        const message = `UNIQUE constraint failed: ${constraint}`
        const { reason } = expectError(thrown(() => connection.runUnsafe(sql)), {
          reason: UniqueViolation,
          code: 2067,
          message
        })
        assert.propertyVal(reason, "constraint", constraint)
      }
      unique("insert into t values (2, 'Ada', 1)", "t.name")
      unique("insert into v values ('a')", "index 'lowered'")
      const other = (sql: string, code: number, message: string) =>
        expectError(thrown(() => connection.runUnsafe(sql)), { reason: ConstraintError, code, message })
      // As Effect has it: of keys, only those that are no primary keys are its UniqueViolation.
      other("insert into t values (1, 'Bob', 1)", 1555, "UNIQUE constraint failed: t.id")
      other("insert into u values ('x', 1)", 1555, "UNIQUE constraint failed: u.id")
      other("insert into v(rowid, a) values (1, 'b')", 2579, "UNIQUE constraint failed: v.rowid")
      other("insert into t values (2, 'Bob', 0)", 275, "CHECK constraint failed: age > 0")
      other("insert into t values (2, 'Bob', null)", 1299, "NOT NULL constraint failed: t.age")
      other("insert into u values ('y', 2)", 787, "FOREIGN KEY constraint failed")
      other("insert into t values (2, 'Bob', 'old')", 3091, "cannot store TEXT value in INTEGER column t.age")
    }))

  it.effect("is a lock, and worth another attempt, when another connection has it", () =>
    Effect.gen(function*() {
      const filename = yield* file
      const connection = yield* SqliteConnection.open({ filename })
      connection.execUnsafe("create table t(a)")
      const other = yield* judge(filename, "begin immediate")
      expectError(thrown(() => connection.runUnsafe("insert into t values (1)")), {
        reason: LockTimeoutError,
        code: 5,
        message: "database is locked",
        isRetryable: true
      })
      other.exec("commit")
      // The statement that met the lock stands in nobody's way afterwards.
      connection.execUnsafe("begin; insert into t values (1); commit")
      assert.deepStrictEqual(connection.runUnsafe("insert into t values (2)"), { changes: 1, lastInsertRowid: 2 })
    }))

  it.effect("is a serialization failure when a transaction has read what is no longer true", () =>
    Effect.gen(function*() {
      const filename = yield* file
      const connection = yield* SqliteConnection.open({ filename })
      connection.execUnsafe("create table t(a); begin; select * from t")
      const other = yield* judge(filename)
      other.exec("insert into t values (1)")
      expectError(thrown(() => connection.runUnsafe("insert into t values (2)")), {
        reason: SerializationError,
        code: 517,
        message: "database is locked: another connection has written since this transaction first read; " +
          "roll back and run the whole transaction again",
        isRetryable: true
      })
    }))

  it.effect("is not worth another attempt when the connection locks itself out", () =>
    Effect.gen(function*() {
      const filename = yield* file
      const connection = yield* SqliteConnection.open({ filename })
      connection.execUnsafe("create table t(a); begin; insert into t values (1)")
      expectError(thrown(() => connection.queryUnsafe("pragma wal_checkpoint(truncate)")), {
        reason: UnknownError,
        code: 6,
        message: "database table is locked: this connection itself has a statement or a transaction open: " +
          "use `checkpoint`, or `write`, outside of a transaction"
      })
    }))

  it.effect("is a refusal to write on a connection that only reads", () =>
    Effect.gen(function*() {
      const filename = yield* file
      yield* judge(filename, "create table t(a)")
      const connection = yield* SqliteConnection.open({ filename, readOnly: true })
      expectError(thrown(() => connection.runUnsafe("insert into t values (1)")), {
        reason: AuthorizationError,
        code: 8,
        message:
          "runUnsafe: \"insert into t values (1)\": this connection was opened with `readOnly`, so it cannot write"
      })
    }))

  it.effect("is the same failure where a setting forbids to write, and says that it may be the file", () =>
    Effect.gen(function*() {
      const connection = yield* SqliteConnection.open({ filename: ":memory:" })
      connection.execUnsafe("create table t(a); pragma query_only = on")
      expectError(thrown(() => connection.runUnsafe("insert into t values (1)")), {
        reason: AuthorizationError,
        code: 8,
        message:
          "attempt to write a readonly database: its file, or its log beside it, is read-only for this process, or `pragma query_only` is on"
      })
    }))

  it.effect("is a full disk, which ends the transaction", () =>
    Effect.gen(function*() {
      const connection = yield* SqliteConnection.open({ filename: yield* file })
      connection.execUnsafe("create table t(a); pragma max_page_count = 2; begin")
      expectError(thrown(() => connection.runUnsafe("insert into t values (randomblob(100000))")), {
        reason: UnknownError,
        code: 13,
        message: "database or disk is full"
      })
      assert.isFalse(connection.isTransactionUnsafe())
    }))

  it("keeps a message without a known constraint", () => {
    const error = Object.assign(new Error("odd"), { errcode: 2067 })
    assert.propertyVal(SqliteError.toSqlError(fromSqlite(error, "run")).reason, "constraint", "unknown")
  })

  it("may have no code", () => {
    const error = SqliteError.toSqlError(fromSqlite("odd", "run"))
    assert.deepStrictEqual(
      error,
      new SqlError({ reason: new UnknownError({ cause: "odd", message: "odd", operation: "run" }) })
    )
    assert.isUndefined(SqliteConnection.codeOf(error))
    assert.isUndefined(SqliteConnection.codeOf(Object.assign(new Error("not SQLite's"), { errcode: 5 })))
  })
})

describe("a closed connection", () => {
  it.effect("answers every operation with an error", () =>
    Effect.gen(function*() {
      const connection = yield* Effect.scoped(SqliteConnection.open({ filename: ":memory:" }))
      const operations = {
        query: connection.query("select 1"),
        values: connection.values("select 1"),
        run: connection.run("select 1"),
        exec: connection.exec("select 1"),
        isTransaction: connection.isTransaction,
        queryUnsafe: Effect.try({ try: () => connection.queryUnsafe("select 1"), catch: SqliteConnection.failure }),
        valuesUnsafe: Effect.try({ try: () => connection.valuesUnsafe("select 1"), catch: SqliteConnection.failure }),
        runUnsafe: Effect.try({ try: () => connection.runUnsafe("select 1"), catch: SqliteConnection.failure }),
        execUnsafe: Effect.try({ try: () => connection.execUnsafe("select 1"), catch: SqliteConnection.failure }),
        isTransactionUnsafe: Effect.try({
          try: () => connection.isTransactionUnsafe(),
          catch: SqliteConnection.failure
        })
      }
      for (const [operation, effect] of Object.entries(operations)) {
        const error = yield* Effect.flip(effect as Effect.Effect<unknown, SqlError>)
        expectError(error, {
          reason: UnknownError,
          code: undefined,
          message: `${operation}: the connection is closed`
        })
        assert.strictEqual(error.reason.operation, operation)
      }
    }))
})

describe("failure", () => {
  it("gives what the synchronous operations throw, and throws anything else", () => {
    const error = SqliteError.toSqlError(closed("query"))
    assert.strictEqual(SqliteConnection.failure(error), error)
    const bug = new TypeError("a bug")
    assert.strictEqual(thrown(() => SqliteConnection.failure(bug)), bug)
  })
})
