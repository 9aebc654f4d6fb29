/** The targets of statements of `sql`: a connection of their own, that of a transaction, or one that its caller has reserved. */
import type { Result } from "@effect/sql-pg/PgConnection"
import { Effect, Exit, type Fiber, type Scope, Stream } from "effect"
import { isSqlError, type SqlError } from "effect/sql/SqlError"
import type { AcquireOptions, ConnectionPool } from "../../../ConnectionPool.ts"
import type * as Targets from "../../../internal/sqlClient/target.ts"
import type { Running, Way } from "../../../internal/sqlClient/target.ts"
import { sqlErrorOf } from "../../../internal/transaction/sqlErrorOf.ts"
import type { LeaseExpiredError, PoolError } from "../../../PoolError.ts"
import type { StatementError, TransactionConnection } from "../../../Transaction.ts"
import { leasedOf } from "../connection/leased.ts"
import type { PgConnection, Row } from "../contract/connection.ts"
import { NoPrimary } from "../errors.ts"
import type { Lanes } from "../lanes/lanes.ts"
import type { Text } from "../sql/statementText.ts"
import type { OwnWrites } from "./ownWrites.ts"
import type { Reading } from "./reading.ts"
import { refusalAlone, refusalInTransaction } from "./refusals.ts"

type Failure = SqlError | LeaseExpiredError | PoolError<SqlError> | StatementError

/** What runs with the connection of a target. */
type Body<A> = (connection: PgConnection) => Effect.Effect<A, SqlError | LeaseExpiredError>

export type Query = Targets.Query<Text>

/** Where statements run. */
export abstract class Target implements Targets.Target<Text> {
  /** The error for a statement that could not have its effect there. */
  abstract refusal(operation: string, text: Text): SqlError | undefined

  abstract use<A>(fiber: Fiber.Fiber<unknown, unknown>, text: Text, f: Body<A>): Effect.Effect<A, Failure>

  /** A connection for an effect that goes on in the scope, such as a stream. */
  abstract acquire(text: Text): Effect.Effect<PgConnection, Failure, Scope.Scope>

  /** What runs instead, after a failure that has changed nothing. */
  again<A>(_error: Failure, _f: Body<A>): Effect.Effect<A, Failure> | undefined {
    return undefined
  }

  run<W extends Way>(fiber: Fiber.Fiber<unknown, unknown>, query: Query, way: W, isPrepared = true): Running<W> {
    const { text } = query
    const refusal = this.refusal("execute", text)
    if (refusal !== undefined) return Effect.fail(refusal)
    const f = (connection: PgConnection) => leasedOf(connection).statement(query, way, isPrepared)
    const onSuccess: (given: unknown) => Effect.Effect<never> = way === "objects" ? toRows : toSame
    const onFailure = (error: Failure): Effect.Effect<never, SqlError> => {
      const again = this.again(error, f)
      return again === undefined
        ? Effect.fail(sqlErrorOf(error))
        : Effect.matchEffect(again, { onFailure: failed, onSuccess })
    }
    return Effect.matchEffect(this.use(fiber, text, f), { onFailure, onSuccess })
  }

  stream({ params, text }: Query): Stream.Stream<Row, SqlError> {
    return streamOn(this, text, params)
  }
}

const toRows = (given: unknown): Effect.Effect<never> => Exit.succeed((given as Result).rows as never)

const toSame = (given: unknown): Effect.Effect<never> => Exit.succeed(given as never)

const failed = (error: Failure): Effect.Effect<never, SqlError> => Effect.fail(sqlErrorOf(error))

/**
 * Each statement gets a connection of its own: of the primary, or with `reading` that of a replica if it reads, by its text.
 *
 * `writes` is set if there are replicas.
 */
export class Routed extends Target {
  readonly #pool: ConnectionPool<PgConnection, SqlError>
  readonly #writes: OwnWrites | undefined
  readonly #reading: Reading | undefined
  readonly #lanes: Lanes | undefined
  /** Whether there is a pooler in between, where only a transaction keeps its session. */
  readonly #isPooled: boolean

  constructor(
    pool: ConnectionPool<PgConnection, SqlError>,
    writes: OwnWrites | undefined,
    reading: Reading | undefined,
    lanes: Lanes | undefined,
    isPooled: boolean
  ) {
    super()
    this.#isPooled = isPooled
    this.#pool = pool
    this.#writes = writes
    this.#reading = reading
    this.#lanes = lanes
  }

  refusal(operation: string, text: Text): SqlError | undefined {
    return refusalAlone(operation, text, this.#isPooled)
  }

  use<A>(fiber: Fiber.Fiber<unknown, unknown>, text: Text, body: Body<A>): Effect.Effect<A, Failure> {
    const lanes = this.#lanes
    // If it may share a connection, it is seen here whether it is quick.
    const f: Body<A> = lanes?.sharingOf(text).isOnTrial === true
      ? (connection) => lanes.timed(text, body(connection))
      : body
    if (this.#writes === undefined) return this.#pool.use(f)
    if (this.#reading !== undefined && text.isRead) return this.#reading.statement(fiber, f)
    const onPrimary = Effect.catch(
      this.#pool.use(f),
      (error): Effect.Effect<A, Failure> => this.#again(error, f) ?? Effect.fail(error)
    )
    // Also what reads by its text may call a function that writes.
    return this.#writes.wrote(fiber, onPrimary)
  }

  acquire(
    text: Text,
    options?: AcquireOptions
  ): Effect.Effect<PgConnection, SqlError | PoolError<SqlError>, Scope.Scope> {
    const reading = this.#reading
    const writes = this.#writes
    if (writes === undefined) return this.#pool.acquire(options)
    return Effect.withFiber((fiber) =>
      reading !== undefined && text.isRead ? reading.acquire(fiber, options) : writes.acquire(fiber, options)
    )
  }

  override again<A>(error: Failure, f: Body<A>): Effect.Effect<A, Failure> | undefined {
    return this.#writes === undefined ? this.#again(error, f) : undefined
  }

  /** A server that refuses a write is no primary any more, and has changed nothing. Its connection is not lent again. */
  #again<A>(error: Failure, f: Body<A>): Effect.Effect<A, Failure> | undefined {
    if (!isOfNoPrimary(error)) return undefined
    // Shared connections may be to the same server.
    this.#lanes?.retire()
    return this.#pool.use(f)
  }
}

const isOfNoPrimary = (error: unknown): boolean => isSqlError(error) && error.reason.cause instanceof NoPrimary

/** All statements run on the connection of a transaction. */
export class InTransaction extends Target {
  readonly #transaction: TransactionConnection<PgConnection>

  constructor(transaction: TransactionConnection<PgConnection>) {
    super()
    this.#transaction = transaction
  }

  refusal(operation: string, text: Text): SqlError | undefined {
    return refusalInTransaction(operation, text)
  }

  use<A>(_: Fiber.Fiber<unknown, unknown>, { sql }: Text, f: Body<A>): Effect.Effect<A, Failure> {
    return this.#transaction.steps(sql, f)
  }

  acquire({ sql }: Text): Effect.Effect<PgConnection, Failure> {
    return this.#transaction.steps(sql, Effect.succeed)
  }
}

/** All statements run on a connection that its caller has reserved: also those that begin and end transactions. */
export class Reserved extends Target {
  readonly #connection: PgConnection

  constructor(connection: PgConnection) {
    super()
    this.#connection = connection
  }

  refusal(): undefined {
    return undefined
  }

  use<A>(_: Fiber.Fiber<unknown, unknown>, __: Text, f: Body<A>): Effect.Effect<A, Failure> {
    return f(this.#connection)
  }

  acquire(): Effect.Effect<PgConnection> {
    return Effect.succeed(this.#connection)
  }
}

/** The rows of a statement as a stream, which has the connection until it ends. */
export const streamOn = (
  target: Target,
  text: Text,
  params: ReadonlyArray<unknown> | undefined
): Stream.Stream<Row, SqlError> =>
  Stream.mapError(
    Stream.unwrap(Effect.suspend((): Effect.Effect<Stream.Stream<Row, Failure>, Failure, Scope.Scope> => {
      const refusal = target.refusal("stream", text)
      return refusal === undefined
        ? Effect.map(target.acquire(text), (connection) => connection.stream(text.sql, params))
        : Effect.fail(refusal)
    })),
    sqlErrorOf
  )
