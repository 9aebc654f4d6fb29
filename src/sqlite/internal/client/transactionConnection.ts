/** A transaction's connection, as the operations of a pool see it that are run inside the transaction. */
import { Effect, Stream } from "effect"
import { SafeIntegers } from "effect/sql/SqlClient"
import type { SqlError } from "effect/sql/SqlError"
import { sqlErrorOf } from "../../../internal/transaction/sqlErrorOf.ts"
import type { TransactionConnection } from "../../../Transaction.ts"
import { isTransactionError } from "../../../TransactionError.ts"
import { failure, type Params, type SqliteConnection, type SyncOptions } from "../../SqliteConnection.ts"
import { refused } from "../connection/errors.ts"
import { type Kinds, uncontrolled } from "../sql/statementKind.ts"
import { startReading, streamFrom } from "./openStream.ts"

/**
 * The connection of the transaction that a session is of. Its operations wait for their turn, and fail with a `SqlError`
 * once the transaction, or the part of it that the session is of, has ended.
 */
export class Joined implements SqliteConnection {
  readonly #session: TransactionConnection<SqliteConnection>
  readonly #kinds: Kinds

  constructor(session: TransactionConnection<SqliteConnection>, kinds: Kinds) {
    this.#session = session
    this.#kinds = kinds
  }

  query(sql: string, params?: Params) {
    return this.#step(sql, (connection, options) => connection.queryUnsafe(sql, params, options))
  }

  values(sql: string, params?: Params) {
    return this.#step(sql, (connection, options) => connection.valuesUnsafe(sql, params, options))
  }

  run(sql: string, params?: Params) {
    return this.#step(sql, (connection, options) => connection.runUnsafe(sql, params, options))
  }

  exec(script: string) {
    return this.#step(script, (connection) => connection.execUnsafe(script))
  }

  stream(sql: string, params?: Params) {
    if (this.#kinds.of(sql) === "control") return Stream.fail(uncontrolled(sql))
    return streamFrom(
      this.#session.steps(sql, (connection) => startReading(connection, sql, params, false)),
      Effect.mapError(this.#session.assertOpen(sql), sqlErrorOf)
    )
  }

  get isTransaction() {
    return this.#step("isTransaction", (connection) => connection.isTransactionUnsafe())
  }

  queryUnsafe(sql: string, params?: Params, options?: SyncOptions) {
    return this.#stepUnsafe(sql, (connection) => connection.queryUnsafe(sql, params, options))
  }

  valuesUnsafe(sql: string, params?: Params, options?: SyncOptions) {
    return this.#stepUnsafe(sql, (connection) => connection.valuesUnsafe(sql, params, options))
  }

  runUnsafe(sql: string, params?: Params, options?: SyncOptions) {
    return this.#stepUnsafe(sql, (connection) => connection.runUnsafe(sql, params, options))
  }

  execUnsafe(script: string) {
    this.#stepUnsafe(script, (connection) => connection.execUnsafe(script))
  }

  isTransactionUnsafe() {
    return this.#stepUnsafe("isTransaction", (connection) => connection.isTransactionUnsafe())
  }

  #step<A>(statement: string, f: (connection: SqliteConnection, options: SyncOptions) => A) {
    return Effect.catch(
      this.#session.step(
        statement,
        (connection, fiber) => {
          if (this.#kinds.of(statement) === "control") throw uncontrolled(statement)
          return f(connection, { safeIntegers: fiber.getRef(SafeIntegers) })
        },
        failure
      ),
      (error) => Effect.fail(isTransactionError(error) ? sqlErrorOf(error) : error)
    )
  }

  #stepUnsafe<A>(statement: string, f: (connection: SqliteConnection) => A): A {
    if (this.#kinds.of(statement) === "control") throw uncontrolled(statement)
    try {
      return this.#session.stepUnsafe(statement, f, () => busy(statement))
    } catch (thrown) {
      throw isTransactionError(thrown) ? sqlErrorOf(thrown) : thrown
    }
  }
}

const busy = (statement: string): SqlError =>
  refused(
    "transaction",
    `${
      JSON.stringify(statement)
    } would have to wait for a transaction that another fiber has open inside this one; only an effect can`
  )
