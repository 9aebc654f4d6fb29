/** The targets of statements of `sql`: a connection of their own, that of a transaction, or one that its caller has reserved. */
import { type Array as Arr, Effect, type Scope, Stream } from "effect"
import type { Connection } from "effect/sql/SqlConnection"
import { isSqlError, type SqlError } from "effect/sql/SqlError"
import type { AcquireOptions, ConnectionPool } from "../../../ConnectionPool.ts"
import { sqlErrorOf } from "../../../internal/transaction/sqlErrorOf.ts"
import type { LeaseExpiredError, PoolError } from "../../../PoolError.ts"
import type { StatementError, TransactionConnection } from "../../../Transaction.ts"
import { leasedOf } from "../connection/leased.ts"
import type { PgConnection, Row } from "../contract/connection.ts"
import { NoPrimary } from "../errors.ts"
import type { Lanes } from "../lanes/lanes.ts"
import type { StatementTexts } from "../sql/statementText.ts"
import type { Reading } from "./reading.ts"
import { refusalAlone, refusalInTransaction } from "./refusals.ts"

type Failure = SqlError | LeaseExpiredError | PoolError<SqlError> | StatementError

/** Where the statements of a connection of `effect/sql` run. */
export interface Target {
  readonly refusal: (operation: string, sql: string) => SqlError | undefined
  readonly use: <A>(
    sql: string,
    f: (connection: PgConnection) => Effect.Effect<A, SqlError | LeaseExpiredError>
  ) => Effect.Effect<A, Failure>
  /** Runs an effect that goes on in the scope, such as a stream. */
  readonly acquire: (sql: string) => Effect.Effect<PgConnection, Failure, Scope.Scope>
}

/** The target of statements outside of transactions. */
export interface Routed extends Target {
  readonly acquire: (
    sql: string,
    options?: AcquireOptions
  ) => Effect.Effect<PgConnection, SqlError | PoolError<SqlError>, Scope.Scope>
}

/** Each statement gets a connection of its own: of the primary, or of a replica if it reads and there are replicas. */
export const routed = (
  pool: ConnectionPool<PgConnection, SqlError>,
  texts: StatementTexts,
  reading: Reading | undefined,
  lanes: Lanes | undefined
): Routed => {
  const refusal: Target["refusal"] = (operation, sql) => refusalAlone(operation, texts.read(sql))
  /** A server that refuses a write is no primary any more, and has changed nothing. Its connection is not lent again. */
  const onPrimary: Target["use"] = (_, f) =>
    Effect.catchIf(pool.use(f), isOfNoPrimary, () => {
      // Shared connections may be to the same server.
      lanes?.retire()
      return pool.use(f)
    })
  if (reading === undefined) return { refusal, use: onPrimary, acquire: (_, options) => pool.acquire(options) }
  return {
    refusal,
    use: (sql, f) =>
      Effect.withFiber((fiber) =>
        texts.read(sql).isRead ? reading.statement(fiber, f) : reading.writes.wrote(fiber, onPrimary(sql, f))
      ),
    acquire: (sql, options) =>
      Effect.withFiber((fiber) =>
        texts.read(sql).isRead ? reading.acquire(fiber, options) : reading.writes.acquire(fiber, options)
      )
  }
}

const isOfNoPrimary = (error: unknown): boolean => isSqlError(error) && error.reason.cause instanceof NoPrimary

/** All statements run on the connection of a transaction. */
export const inTransaction = (
  transaction: TransactionConnection<PgConnection>,
  texts: StatementTexts
): Target => ({
  refusal: (operation, sql) => refusalInTransaction(operation, texts.read(sql)),
  use: (sql, f) => transaction.steps(sql, f),
  acquire: (sql) => transaction.steps(sql, (connection) => Effect.succeed(connection))
})

/** All statements run on a connection that its caller has reserved: also those that begin and end transactions. */
export const reserved = (connection: PgConnection): Target => ({
  refusal: () => undefined,
  use: (_, f) => f(connection),
  acquire: () => Effect.succeed(connection)
})

type Transform = <A extends object>(rows: ReadonlyArray<A>) => ReadonlyArray<A>

/** The connection of `effect/sql` whose statements run on a target. */
export const toConnection = (target: Target): Connection => {
  const run = <A>(
    operation: string,
    sql: string,
    f: (connection: PgConnection) => Effect.Effect<A, SqlError | LeaseExpiredError>
  ): Effect.Effect<A, SqlError> =>
    Effect.suspend(() => {
      const refusal = target.refusal(operation, sql)
      return refusal === undefined ? Effect.mapError(target.use(sql, f), sqlErrorOf) : Effect.fail(refusal)
    })
  const objects = (isPrepared: boolean) =>
  (
    sql: string,
    params: ReadonlyArray<unknown>,
    transform?: Transform
  ): Effect.Effect<ReadonlyArray<object>, SqlError> =>
    Effect.map(
      run("execute", sql, (connection) => leasedOf(connection).result("execute", sql, params, isPrepared)),
      ({ rows }) => transform === undefined ? rows : transform(rows)
    )
  const arrays = (isPrepared: boolean) => (sql: string, params: ReadonlyArray<unknown>) =>
    run("execute", sql, (connection) => leasedOf(connection).arrays("execute", sql, params, isPrepared))
  return {
    execute: objects(true),
    executeUnprepared: objects(false),
    executeValues: arrays(true),
    executeValuesUnprepared: arrays(false),
    executeRaw: (sql, params) =>
      run("execute", sql, (connection) => leasedOf(connection).result("execute", sql, params, true)),
    executeStream: (sql, params, transform) => {
      const rows = streamOn(target, sql, params)
      return transform === undefined
        ? rows
        : Stream.mapArray(rows, (chunk) => transform(chunk) as Arr.NonEmptyReadonlyArray<Row>)
    }
  }
}

/** The rows of a statement as a stream, which has the connection until it ends. */
export const streamOn = (
  target: Target,
  sql: string,
  params: ReadonlyArray<unknown> | undefined
): Stream.Stream<Row, SqlError> =>
  Stream.mapError(
    Stream.unwrap(Effect.suspend((): Effect.Effect<Stream.Stream<Row, Failure>, Failure, Scope.Scope> => {
      const refusal = target.refusal("stream", sql)
      return refusal === undefined
        ? Effect.map(target.acquire(sql), (connection) => connection.stream(sql, params))
        : Effect.fail(refusal)
    })),
    sqlErrorOf
  )
