/**
 * What runs in a transaction on a connection in a thread: statements of `sql`, and the connection that `read`, `write` and the
 * other operations of a pool lend there. Each statement waits for its answer, and meanwhile the other fibers of the transaction
 * wait for their turn.
 */
import { Effect, type Fiber, Stream } from "effect"
import type { SqlError } from "effect/sql/SqlError"
import { sqlErrorOf } from "../../../internal/transaction/sqlErrorOf.ts"
import type { LeaseExpiredError } from "../../../PoolError.ts"
import type { TransactionConnection } from "../../../Transaction.ts"
import { isTransactionError } from "../../../TransactionError.ts"
import type { Handle } from "../connection/handle.ts"
import { handleOf } from "../connection/leased.ts"
import type { SqliteConnection } from "../contract/connection.ts"
import type { Params } from "../contract/values.ts"
import { toSqlError } from "../errors.ts"
import { invalidInput, readOnlyRefusal } from "../failures.ts"
import type { AnyConnection } from "../file/sides.ts"
import { isReadOnly, type StatementTexts, uncontrolled } from "../sql/statementKind.ts"
import { WorkerLeased } from "../worker/workerConnection.ts"
import { openRows, streamFrom } from "./openStream.ts"
import { bigIntsOf, type Query, type Running, type Target, type Way } from "./targets.ts"
import { executeOn } from "./workerReads.ts"

/** The transaction as one on a connection in a thread, if it is. */
export const onWorker = (
  transaction: TransactionConnection<AnyConnection>
): TransactionConnection<WorkerLeased> | undefined =>
  transaction.connection instanceof WorkerLeased
    ? transaction as TransactionConnection<WorkerLeased>
    : undefined

/** The handle of a connection in this process. Throws for a connection in a thread. */
export const handleIn = (connection: AnyConnection, operation: string): Handle => {
  if (connection instanceof WorkerLeased) {
    throw invalidInput(operation, `${operation}: this transaction runs on a worker`)
  }
  return handleOf(connection, operation)
}

/** Runs all statements on the connection of a transaction in a thread. */
export class InWorkerTransaction implements Target {
  readonly #transaction: TransactionConnection<WorkerLeased>

  constructor(transaction: TransactionConnection<WorkerLeased>) {
    this.#transaction = transaction
  }

  run<W extends Way>(fiber: Fiber.Fiber<unknown, unknown>, query: Query, way: W): Running<W> {
    const { text: { kind, sql } } = query
    if (kind === "control") return Effect.fail(toSqlError(uncontrolled(sql)))
    const bigInts = bigIntsOf(fiber)
    const ran = this.#transaction.steps(sql, (connection) => executeOn(connection, query, way, bigInts, false))
    return Effect.mapError(ran, sqlErrorOf)
  }

  stream({ params, text: { kind, sql } }: Query): Stream.Stream<unknown, SqlError> {
    return kind === "control"
      ? Stream.fail(toSqlError(uncontrolled(sql)))
      : streamIn(this.#transaction, sql, params as Params)
  }
}

/** Runs all statements on a connection in a thread that its caller has reserved. See `Reserved`. */
export class ReservedWorker implements Target {
  readonly #connection: WorkerLeased

  constructor(connection: WorkerLeased) {
    this.#connection = connection
  }

  run<W extends Way>(fiber: Fiber.Fiber<unknown, unknown>, query: Query, way: W): Running<W> {
    return Effect.mapError(executeOn(this.#connection, query, way, bigIntsOf(fiber), false), sqlErrorOf)
  }

  stream({ params, text }: Query): Stream.Stream<unknown, SqlError> {
    return Stream.mapError(this.#connection.stream(text.sql, params as Params), sqlErrorOf)
  }
}

const streamIn = (transaction: TransactionConnection<WorkerLeased>, sql: string, params: Params | undefined) =>
  streamFrom(
    transaction.steps(sql, (connection) => openRows(connection.stream(sql, params))),
    Effect.mapError(transaction.assertOpen(sql), sqlErrorOf)
  )

/**
 * The connection of the transaction that a fiber is in. Its operations wait for their turn, and fail with a `SqlError`
 * once the level of that fiber has ended. It has no synchronous operations: they fail.
 */
export class WorkerTransactionConnection implements SqliteConnection {
  readonly #transaction: TransactionConnection<WorkerLeased>
  readonly #texts: StatementTexts
  readonly #refusal: string | undefined

  /** `refusal`: why a write is refused, if the transaction only reads. */
  constructor(transaction: TransactionConnection<WorkerLeased>, texts: StatementTexts, refusal: string | undefined) {
    this.#transaction = transaction
    this.#texts = texts
    this.#refusal = refusal
  }

  query(sql: string, params?: Params) {
    return this.#step(sql, (connection) => connection.query(sql, params))
  }

  values(sql: string, params?: Params) {
    return this.#step(sql, (connection) => connection.values(sql, params))
  }

  run(sql: string, params?: Params) {
    return this.#step(sql, (connection) => connection.run(sql, params))
  }

  exec(script: string) {
    return this.#step(script, (connection) => connection.exec(script))
  }

  stream(sql: string, params?: Params) {
    return this.#texts.kindOf(sql) === "control"
      ? Stream.fail(toSqlError(uncontrolled(sql)))
      : streamIn(this.#transaction, sql, params)
  }

  get isTransaction() {
    return this.#step("isTransaction", (connection) => connection.isTransaction)
  }

  queryUnsafe(sql: string): never {
    throw this.#notSynchronous("queryUnsafe", sql)
  }

  valuesUnsafe(sql: string): never {
    throw this.#notSynchronous("valuesUnsafe", sql)
  }

  runUnsafe(sql: string): never {
    throw this.#notSynchronous("runUnsafe", sql)
  }

  execUnsafe(script: string): never {
    throw this.#notSynchronous("execUnsafe", script)
  }

  isTransactionUnsafe(): never {
    throw notSynchronous("isTransactionUnsafe")
  }

  /** Refuses a write where only reads are allowed, as in process: the operation that returns an Effect would fail too. */
  #notSynchronous(operation: string, sql: unknown): SqlError {
    if (this.#refusal === undefined || typeof sql !== "string") return notSynchronous(operation)
    const text = this.#texts.read(sql)
    return text.kind === "control" || !text.isStatement || isReadOnly(text)
      ? notSynchronous(operation)
      : toSqlError(readOnlyRefusal(operation, sql, this.#refusal))
  }

  #step<A>(
    statement: string,
    f: (connection: WorkerLeased) => Effect.Effect<A, SqlError | LeaseExpiredError>
  ): Effect.Effect<A, SqlError | LeaseExpiredError> {
    return Effect.catch(
      this.#transaction.steps(statement, (connection) => {
        // The thread refuses what is no text.
        const isControl = typeof statement === "string" && this.#texts.kindOf(statement) === "control"
        return isControl ? Effect.fail(toSqlError(uncontrolled(statement))) : f(connection)
      }),
      (error) => Effect.fail(isTransactionError(error) ? sqlErrorOf(error) : error)
    )
  }
}

const notSynchronous = (operation: string): SqlError =>
  toSqlError(
    invalidInput(operation, `${operation}: this transaction runs on a worker: use the operation that returns an Effect`)
  )
