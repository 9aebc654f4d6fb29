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
import { isSuccess, within } from "../../../internal/runtime.ts"
import { stepWithin } from "../../../internal/transaction/level.ts"
import { sqlErrorOf } from "../../../internal/transaction/sqlErrorOf.ts"
import type { TransactionConnection } from "../../../Transaction.ts"
import type { Handle } from "../connection/handle.ts"
import { handleOf } from "../connection/leased.ts"
import { type BusyTimeout, mayStartLater, retryWhileLocked } from "../connection/retryWhileLocked.ts"
import type { SqliteConnection } from "../contract/connection.ts"
import type { Params } from "../contract/values.ts"
import { codeOf, failure, toSqlError } from "../errors.ts"
import { primaryOf, READONLY } from "../failures.ts"
import type { Pool } from "../file/sides.ts"
import { type StatementKind, type Text, uncontrolled } from "../sql/statementKind.ts"
import { openStream, streamFrom } from "./openStream.ts"
import type { Writes } from "./writes.ts"

/** A statement: its text and its parameters. */
export interface Query {
  readonly text: Text
  readonly params: ReadonlyArray<unknown>
}

/** The result of a statement, in each form that its rows can have. */
export interface Results {
  /** Rows as objects. */
  readonly objects: ReadonlyArray<object>
  /** Rows as arrays. */
  readonly arrays: ReadonlyArray<ReadonlyArray<unknown>>
  /** Rows as objects; if the statement returns no rows, the number of changes and the last rowid. */
  readonly raw: unknown
}

/** The form of the rows of a statement. */
export type Way = keyof Results

/** The effect of a running statement whose rows have the form `W`. */
export type Running<W extends Way> = Effect.Effect<Results[W], SqlError>

/** The target of a statement. */
export interface Target {
  /** Runs a statement for a fiber. It runs in the present step of the fiber if it can. */
  readonly run: <W extends Way>(fiber: Fiber.Fiber<unknown, unknown>, query: Query, way: W) => Running<W>
  readonly stream: (query: Query) => Stream.Stream<unknown, SqlError>
}

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

export interface RoutedOptions {
  /** A pool of one connection that may write. */
  readonly writer: Pool
  /** A pool of connections that only read. For a database in memory it is `writer`. */
  readonly reader: Pool
  readonly busyTimeout: BusyTimeout
  /** Not set for a file, because there a fiber can get another connection. */
  readonly heldBy: HeldBy | undefined
  /** Runs statements that insert, update or delete. */
  readonly writes: Writes
}

/**
 * Runs each statement on a connection of its own: on a reader if its text only reads, otherwise on the writer. If a
 * statement on a reader writes after all, the reader refuses it without changing anything, and the writer runs it.
 */
export class Routed implements Target {
  readonly #options: RoutedOptions

  constructor(options: RoutedOptions) {
    this.#options = options
  }

  run<W extends Way>(fiber: Fiber.Fiber<unknown, unknown>, query: Query, way: W): Running<W> {
    const { text: { changesRows, kind, sql } } = query
    const bigInts = bigIntsOf(fiber)
    const once = (connection: SqliteConnection) => execute(connection, query, way, bigInts, true)
    const { heldBy, reader, writer } = this.#options
    const held = heldBy === undefined ? undefined : heldFor(kind, heldBy(fiber))
    if (held !== undefined) return inOneStep(() => once(held))
    switch (kind) {
      case "control":
        return Effect.fail(toSqlError(uncontrolled(sql)))
      case "write":
        return changesRows ? this.#write(fiber, once) : this.#runOn(writer, fiber, once, undefined)
      case "recall":
        return this.#runOn(writer, fiber, once, undefined)
      case "read":
        return this.#runOn(reader, fiber, once, reader === writer ? undefined : writer)
    }
  }

  stream(query: Query): Stream.Stream<unknown, SqlError> {
    const { heldBy } = this.#options
    if (heldBy === undefined) return this.#stream(query)
    return Stream.unwrap(Effect.withFiber((fiber) => {
      const { params, text: { kind, sql } } = query
      const held = heldFor(kind, heldBy(fiber))
      return Effect.succeed(
        held === undefined ? this.#stream(query) : Stream.mapError(held.stream(sql, params as Params), sqlErrorOf)
      )
    }))
  }

  #stream(query: Query): Stream.Stream<unknown, SqlError> {
    const { reader, writer } = this.#options
    switch (query.text.kind) {
      case "control":
        return Stream.fail(toSqlError(uncontrolled(query.text.sql)))
      case "write":
      case "recall":
        return this.#streamOn(writer, query)
      case "read":
        return Stream.catchIf(
          this.#streamOn(reader, query),
          (error) => isRefusedByReader(error) && reader !== writer,
          () => this.#streamOn(writer, query)
        )
    }
  }

  #write<A>(
    fiber: Fiber.Fiber<unknown, unknown>,
    once: (connection: SqliteConnection) => A
  ): Effect.Effect<A, SqlError> {
    const ran = this.#options.writes.statement(fiber, once)
    return isSuccess(ran) ? ran : Effect.mapError(ran, sqlErrorOf)
  }

  /** Runs a statement on a connection of `pool`. If that refuses it as a write, `writer` runs it, if it is given. */
  #runOn<A>(
    pool: Pool,
    fiber: Fiber.Fiber<unknown, unknown>,
    once: (connection: SqliteConnection) => A,
    writer: Pool | undefined
  ): Effect.Effect<A, SqlError> {
    const ran = within(pool.useSync({ try: once, catch: failure }), fiber)
    if (isSuccess(ran)) return ran
    const otherwise = (error: Parameters<typeof sqlErrorOf>[0]) =>
      writer !== undefined && isRefusedByReader(error)
        ? this.#runOn(writer, fiber, once, undefined)
        : Effect.fail(sqlErrorOf(error))
    return Effect.catch(ran, (error) => {
      if (!mayStartLater(codeOf(error))) return otherwise(error)
      // All retries run in one lease, so that no later caller is served before this one.
      const persisted = pool.use((connection) =>
        this.#persist(Effect.try({ try: () => once(connection), catch: failure }))
      )
      return Effect.catch(persisted, otherwise)
    })
  }

  #streamOn(pool: Pool, { params, text: { sql } }: Query): Stream.Stream<unknown, SqlError> {
    return streamFrom(
      Effect.flatMap(
        pool.acquire(),
        (connection) => this.#persist(openStream(connection, sql, params as Params, true))
      ),
      Effect.void
    )
  }

  #persist<A, E, R>(start: Effect.Effect<A, E, R>): Effect.Effect<A, E, R> {
    return retryWhileLocked(start, this.#options.busyTimeout.millis, { isWorthwhile: mayStartLater })
  }
}

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

const inOneStep = <A>(once: () => A): Effect.Effect<A, SqlError> =>
  Effect.try({ try: once, catch: (thrown) => sqlErrorOf(failure(thrown)) })

/** The held connection, if the statement may run on it. */
const heldFor = (kind: StatementKind, held: Held | undefined): SqliteConnection | undefined =>
  held !== undefined && kind !== "control" && (held.side === "read" || kind === "read") ? held.connection : undefined

/** Whether a reader has refused a write. A refused write has changed nothing. */
const isRefusedByReader = (error: unknown): boolean => {
  const code = codeOf(error)
  return code !== undefined && primaryOf(code) === READONLY
}
