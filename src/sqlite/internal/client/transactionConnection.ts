/** The connection that `read`, `write` and the other operations of a pool lend inside a transaction. */
import { Effect, Stream } from "effect"
import { SafeIntegers } from "effect/sql/SqlClient"
import type { SqlError } from "effect/sql/SqlError"
import { sqlErrorOf } from "../../../internal/transaction/sqlErrorOf.ts"
import type { TransactionConnection } from "../../../Transaction.ts"
import { isTransactionError } from "../../../TransactionError.ts"
import { handleOf } from "../connection/leased.ts"
import type { SqliteConnection } from "../contract/connection.ts"
import type { Params, SyncOptions } from "../contract/values.ts"
import { failure, toSqlError } from "../errors.ts"
import { failed } from "../failures.ts"
import { type StatementTexts, uncontrolled, uncontrolledInFunction } from "../sql/statementKind.ts"
import { openStream, streamFrom } from "./openStream.ts"

/**
 * The connection of the transaction that a fiber is in. Its operations wait for their turn, and fail with a `SqlError`
 * once the level of that fiber has ended.
 */
export class SqliteTransactionConnection implements SqliteConnection {
  readonly #transaction: TransactionConnection<SqliteConnection>
  readonly #texts: StatementTexts
  /** Whether a function given to `writeSync` runs now. */
  #isInFunction = false

  constructor(transaction: TransactionConnection<SqliteConnection>, texts: StatementTexts) {
    this.#transaction = transaction
    this.#texts = texts
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
    if (this.#texts.kindOf(sql) === "control") return Stream.fail(toSqlError(uncontrolled(sql)))
    return streamFrom(
      this.#transaction.steps(sql, (connection) => openStream(connection, sql, params, false)),
      Effect.mapError(this.#transaction.assertOpen(sql), sqlErrorOf)
    )
  }

  get isTransaction() {
    return this.#step("isTransaction", (connection) => connection.isTransactionUnsafe())
  }

  queryUnsafe(sql: string, params?: Params, options?: SyncOptions) {
    return this.#stepUnsafe("queryUnsafe", sql, (connection) => connection.queryUnsafe(sql, params, options))
  }

  valuesUnsafe(sql: string, params?: Params, options?: SyncOptions) {
    return this.#stepUnsafe("valuesUnsafe", sql, (connection) => connection.valuesUnsafe(sql, params, options))
  }

  runUnsafe(sql: string, params?: Params, options?: SyncOptions) {
    return this.#stepUnsafe("runUnsafe", sql, (connection) => connection.runUnsafe(sql, params, options))
  }

  execUnsafe(script: string) {
    this.#stepUnsafe("execUnsafe", script, (connection) => connection.execUnsafe(script))
  }

  isTransactionUnsafe() {
    return this.#stepUnsafe("isTransactionUnsafe", "isTransaction", (connection) => connection.isTransactionUnsafe())
  }

  /** Runs a function in a savepoint of its own. If the function throws, everything that it did is undone. */
  atomically<A>(f: (connection: SqliteConnection) => A): A {
    this.#savepoint("savepoint")
    let value: A
    const isInner = this.#isInFunction
    this.#isInFunction = true
    try {
      value = f(this)
    } catch (thrown) {
      try {
        this.#savepoint("rollback to")
        this.#savepoint("release")
      } catch {
        // The transaction has ended, so the work of the function is undone already.
      }
      throw thrown
    } finally {
      this.#isInFunction = isInner
    }
    this.#savepoint("release")
    return value
  }

  #savepoint(verb: "savepoint" | "rollback to" | "release"): void {
    this.#stepOfOwn(`${verb} effect_pool_unit`, (connection) => {
      try {
        handleOf(connection, "writeSync").units.savepoint(verb)
      } catch (thrown) {
        throw failure(thrown)
      }
    })
  }

  #step<A>(statement: string, f: (connection: SqliteConnection, options: SyncOptions) => A) {
    return Effect.catch(
      this.#transaction.step(
        statement,
        (connection, fiber) => {
          if (this.#texts.kindOf(statement) === "control") throw uncontrolled(statement)
          return f(connection, { safeIntegers: fiber.getRef(SafeIntegers) })
        },
        failure
      ),
      (error) => Effect.fail(isTransactionError(error) ? sqlErrorOf(error) : error)
    )
  }

  #stepUnsafe<A>(operation: string, statement: string, f: (connection: SqliteConnection) => A): A {
    if (this.#texts.kindOf(statement) === "control") {
      throw toSqlError((this.#isInFunction ? uncontrolledInFunction : uncontrolled)(statement, operation))
    }
    return this.#stepOfOwn(statement, f)
  }

  #stepOfOwn<A>(statement: string, f: (connection: SqliteConnection) => A): A {
    try {
      return this.#transaction.stepUnsafe(statement, f, () => busy(statement))
    } catch (thrown) {
      throw isTransactionError(thrown) ? sqlErrorOf(thrown) : thrown
    }
  }
}

const busy = (statement: string): SqlError => {
  const text = JSON.stringify(statement)
  return toSqlError(
    failed(
      "transaction",
      `${text} would have to wait for an inner transaction of another fiber, and a synchronous call cannot wait: ` +
        "use the operation that returns an Effect"
    )
  )
}
