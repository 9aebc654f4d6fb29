/** A stream of rows that is started apart from the rest, because the start may be retried, or wait for its turn. */
import { type Array as Arr, Cause, Effect, Pull, type Scope, Stream } from "effect"
import type { SqlError } from "effect/sql/SqlError"
import { sqlErrorOf } from "../../../internal/transaction/sqlErrorOf.ts"
import type { LeaseExpiredError } from "../../../PoolError.ts"
import { streamOn } from "../connection/leased.ts"
import type { SqliteConnection } from "../contract/connection.ts"
import type { Params, Row } from "../contract/values.ts"

type Rows = Arr.NonEmptyReadonlyArray<Row>
type ReadError = SqlError | LeaseExpiredError

/** A started statement: its first rows, if it returns any, and the pull for the others. */
export interface OpenStream {
  readonly first: Rows | undefined
  readonly rest: Pull.Pull<Rows, ReadError>
}

/** Starts a statement and reads its first rows. With them, the start has succeeded. */
export const openStream = (
  connection: SqliteConnection,
  sql: string,
  params: Params | undefined,
  isAlone: boolean
): Effect.Effect<OpenStream, ReadError, Scope.Scope> => openRows(streamOn(connection, sql, params, isAlone))

/** Starts a stream, and reads its first rows. */
export const openRows = (rows: Stream.Stream<Row, ReadError>): Effect.Effect<OpenStream, ReadError, Scope.Scope> =>
  Effect.flatMap(Stream.toPull(rows), (rest) =>
    Pull.matchEffect(rest, {
      onSuccess: (first) => Effect.succeed<OpenStream>({ first, rest }),
      onDone: () => Effect.succeed<OpenStream>({ first: undefined, rest }),
      onFailure: Effect.failCause
    }))

/** The rows of a statement. `check` runs before each pull after the first, and fails if the stream may not go on. */
export const streamFrom = (
  start: Effect.Effect<OpenStream, Parameters<typeof sqlErrorOf>[0], Scope.Scope>,
  check: Effect.Effect<void, SqlError>
): Stream.Stream<Row, SqlError> => {
  const pull = Effect.map(start, ({ first, rest }) => {
    let isFirst = true
    const next = Effect.andThen(check, rest)
    return Effect.suspend((): Pull.Pull<Rows, ReadError> => {
      if (!isFirst) return next
      isFirst = false
      return first === undefined ? Cause.done() : Effect.succeed(first)
    })
  })
  return Stream.mapError(Stream.scoped(Stream.fromPull(pull)), sqlErrorOf)
}
