/**
 * Targets: where a statement of `sql` runs. It runs on a connection of its own (`Routed`), on the connection of a
 * transaction (`InTransaction`), or on a connection that its caller has reserved (`Reserved`).
 *
 * A statement goes one way: `effectStatement.ts` gives its text with parameters (`Query`) and the form of its rows
 * (`Way`); a target finds the connection; `execute` calls the handle of that connection.
 */
import { Effect, type Fiber, Stream } from "effect"
import * as SqlClient from "effect/sql/SqlClient"
import type { SqlError } from "effect/sql/SqlError"
import { isSuccess } from "../../../internal/runtime.ts"
import type * as Targets from "../../../internal/sqlClient/target.ts"
import type { Results, Running, Way } from "../../../internal/sqlClient/target.ts"
import { stepWithin } from "../../../internal/transaction/level.ts"
import { sqlErrorOf } from "../../../internal/transaction/sqlErrorOf.ts"
import type { TransactionConnection } from "../../../Transaction.ts"
import type { Handle } from "../connection/handle.ts"
import { handleOf } from "../connection/leased.ts"
import type { SqliteConnection } from "../contract/connection.ts"
import type { Params } from "../contract/values.ts"
import { failure, toSqlError } from "../errors.ts"
import { type Text, uncontrolled } from "../sql/statementKind.ts"
import { openStream, streamFrom } from "./openStream.ts"

export type Query = Targets.Query<Text>

/** The results of `raw` are rows as objects; if the statement returns no rows, the number of changes and the last rowid. */
export type { Results, Running, Way } from "../../../internal/sqlClient/target.ts"

export type Target = Targets.Target<Text>

/** The connection that a fiber holds already, and its side. Used for a database in memory, which has only one connection. */
export interface Held {
  readonly side: "read" | "write"
  readonly connection: SqliteConnection
}

export type HeldBy = (fiber: Fiber.Fiber<unknown, unknown>) => Held | undefined

/** Runs a statement on a connection. Throws its error. See `Handle.rows` for `isAlone`. */
export const execute = <W extends Way>(
  connection: SqliteConnection,
  query: Query,
  way: W,
  bigInts: boolean,
  isAlone: boolean
): Results[W] => {
  try {
    return run(handleOf(connection, "execute"), query, way, bigInts, isAlone) as Results[W]
  } catch (thrown) {
    // A transaction keeps what was thrown, as the reason why it was lost.
    throw failure(thrown)
  }
}

const run = (handle: Handle, { params, text: { sql } }: Query, way: Way, bigInts: boolean, isAlone: boolean) => {
  switch (way) {
    case "objects":
      return handle.rows("execute", sql, params, false, bigInts, isAlone)
    case "arrays":
      return handle.rows("executeValues", sql, params, true, bigInts, isAlone)
    case "raw":
      return handle.rowsOrResult("executeRaw", sql, params, bigInts, isAlone)
  }
}

/** Whether the statements of a fiber return integers as bigints. */
export const bigIntsOf = (fiber: Fiber.Fiber<unknown, unknown>): boolean => fiber.getRef(SqlClient.SafeIntegers)

/** Runs all statements on the connection of a transaction. */
export class InTransaction implements Target {
  readonly #transaction: TransactionConnection<SqliteConnection>

  constructor(transaction: TransactionConnection<SqliteConnection>) {
    this.#transaction = transaction
  }

  run<W extends Way>(fiber: Fiber.Fiber<unknown, unknown>, query: Query, way: W): Running<W> {
    const { text: { kind, sql } } = query
    if (kind === "control") return Effect.fail(toSqlError(uncontrolled(sql)))
    const bigInts = bigIntsOf(fiber)
    const once = (connection: SqliteConnection) => execute(connection, query, way, bigInts, false)
    const ran = stepWithin(this.#transaction, fiber, sql, once, failure)
    return isSuccess(ran) ? ran : Effect.mapError(ran, sqlErrorOf)
  }

  stream({ params, text: { kind, sql } }: Query): Stream.Stream<unknown, SqlError> {
    if (kind === "control") return Stream.fail(toSqlError(uncontrolled(sql)))
    return streamFrom(
      this.#transaction.steps(sql, (connection) => openStream(connection, sql, params as Params, false)),
      Effect.mapError(this.#transaction.assertOpen(sql), sqlErrorOf)
    )
  }
}

/** Runs all statements on a connection that its caller has reserved. Statements that control a transaction may run too. */
export class Reserved implements Target {
  readonly #connection: SqliteConnection

  constructor(connection: SqliteConnection) {
    this.#connection = connection
  }

  run<W extends Way>(fiber: Fiber.Fiber<unknown, unknown>, query: Query, way: W): Running<W> {
    return inOneStep(() => execute(this.#connection, query, way, bigIntsOf(fiber), false))
  }

  stream({ params, text }: Query): Stream.Stream<unknown, SqlError> {
    return Stream.mapError(this.#connection.stream(text.sql, params as Params), sqlErrorOf)
  }
}

/** Runs a statement now. Throws nothing. */
export const inOneStep = <A>(once: () => A): Effect.Effect<A, SqlError> =>
  Effect.try({ try: once, catch: (thrown) => sqlErrorOf(failure(thrown)) })
