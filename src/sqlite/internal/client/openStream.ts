/** A stream of rows whose beginning is apart from the rest: it may be tried again, or has to wait for its turn. */
import { type Array as Arr, Cause, Effect, Pull, type Scope, Stream } from "effect"
import type { SqlError } from "effect/sql/SqlError"
import { sqlErrorOf } from "../../../internal/transaction/sqlErrorOf.ts"
import type { LeaseExpiredError } from "../../../PoolError.ts"
import { type Params, type Row, type SqliteConnection, streamOn } from "../../SqliteConnection.ts"

type Rows = Arr.NonEmptyReadonlyArray<Row>
type ReadError = SqlError | LeaseExpiredError

/** The first rows of a statement, if it gives any, which show that it could be started; and how to get the others. */
export interface Reading {
  readonly first: Rows | undefined
  readonly rest: Pull.Pull<Rows, ReadError>
}

export const startReading = (
  connection: SqliteConnection,
  sql: string,
  params: Params | undefined,
  isAlone: boolean
): Effect.Effect<Reading, ReadError, Scope.Scope> =>
  Effect.flatMap(Stream.toPull(streamOn(connection, sql, params, isAlone)), (rest) =>
    Pull.matchEffect(rest, {
      onSuccess: (first) => Effect.succeed<Reading>({ first, rest }),
      onDone: () => Effect.succeed<Reading>({ first: undefined, rest }),
      onFailure: Effect.failCause
    }))

/** The rows of a statement; before each further pull, `check` says whether it may go on. */
export const streamFrom = (
  start: Effect.Effect<Reading, Parameters<typeof sqlErrorOf>[0], Scope.Scope>,
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
