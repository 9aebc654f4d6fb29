/** Where statements run: each on a connection of its own, in a transaction, or on a connection that somebody has. */
import { Effect, Exit, type Fiber, Stream } from "effect"
import type { Connection } from "effect/sql/SqlConnection"
import type { SqlError } from "effect/sql/SqlError"
import type { Params } from "../../SqliteConnection.ts"
import type { Handle } from "../connection/handle.ts"
import type { Kinds, Text } from "../sql/statementKind.ts"

/** A statement, as it is given to SQLite. */
export interface Query {
  readonly text: Text
  readonly params: ReadonlyArray<unknown>
}

/** What is done with a statement on a connection, in one step. See `Handle.rows` for `isAlone`. */
export type Action<A> = (
  handle: Handle,
  sql: string,
  params: ReadonlyArray<unknown>,
  bigInts: boolean,
  isAlone: boolean
) => A

export interface Place {
  /** Runs a statement for a fiber: in the step that the fiber is in where it can. */
  readonly run: <A>(fiber: Fiber.Fiber<unknown, unknown>, query: Query, action: Action<A>) => Effect.Effect<A, SqlError>
  readonly stream: (sql: string, params: Params) => Stream.Stream<unknown, SqlError>
}

/** What is done with rows before the application gets them. */
export type Transform = <A extends object>(rows: ReadonlyArray<A>) => ReadonlyArray<A>

/** Runs a statement for what its caller wants of it. */
export type Door<A> = (
  place: Place,
  fiber: Fiber.Fiber<unknown, unknown>,
  query: Query,
  transform: Transform | undefined
) => Effect.Effect<A, SqlError>

/** The rows, as objects. */
export const rows: Door<ReadonlyArray<object>> = (place, fiber, query, transform) => {
  const found = place.run(fiber, query, rowsOf)
  if (transform === undefined) return found
  return isSuccess(found) ? Exit.succeed(transform(found.value)) : Effect.map(found, (rows) => transform(rows))
}

const rowsOf: Action<Array<object>> = (handle, sql, params, bigInts, isAlone) =>
  handle.rows("execute", sql, params, false, bigInts, isAlone) as Array<object>

/** The rows, as arrays. */
export const values: Door<ReadonlyArray<ReadonlyArray<unknown>>> = (place, fiber, query) =>
  place.run(fiber, query, valuesOf)

const valuesOf: Action<Array<Array<unknown>>> = (handle, sql, params, bigInts, isAlone) =>
  handle.rows("executeValues", sql, params, true, bigInts, isAlone) as Array<Array<unknown>>

/** The rows, as objects; or what the statement did, if it gives none. */
export const raw: Door<unknown> = (place, fiber, query) => place.run(fiber, query, resultOf)

const resultOf: Action<unknown> = (handle, sql, params, bigInts, isAlone) =>
  handle.rowsOrResult("executeRaw", sql, params, bigInts, isAlone)

/** Whether an effect is over already, and well. */
export const isSuccess = <A, E, R>(effect: Effect.Effect<A, E, R>): effect is Exit.Success<A, never> =>
  // Of all effects, only an exit has this tag. `Exit.isExit` has a price on the path of every statement.
  "_tag" in effect && effect._tag === "Success"

const places = new WeakMap<Connection, Place>()

/** The place behind a connection, if it is one of `toConnection`. */
export const placeOf = (connection: Connection): Place | undefined => places.get(connection)

/** A place as Effect sees it. */
export const toConnection = (place: Place, kinds: Kinds): Connection => {
  const through =
    <A>(door: Door<A>) =>
    (sql: string, params: ReadonlyArray<unknown>, transform?: Transform): Effect.Effect<A, SqlError> =>
      Effect.withFiber((fiber) => door(place, fiber, { text: kinds.read(sql), params }, transform))
  const connection: Connection = {
    execute: through(rows),
    executeUnprepared: through(rows),
    executeValues: through(values),
    executeValuesUnprepared: through(values),
    executeRaw: through(raw),
    executeStream: (sql, params, transform) => {
      const rows = place.stream(sql, params as Params)
      return transform === undefined
        ? rows
        : Stream.mapArray(rows as Stream.Stream<object, SqlError>, (chunk) => transform(chunk) as typeof chunk)
    }
  }
  places.set(connection, place)
  return connection
}
