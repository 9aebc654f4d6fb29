/** Reads on a replica, and what is done when it cannot serve one. */
import { Effect, Exit, type Fiber, Schedule, Scope } from "effect"
import { isSqlError, SqlError, StatementTimeoutError } from "effect/sql/SqlError"
import type { AcquireOptions, ConnectionPool } from "../../../ConnectionPool.ts"
import * as Body from "../../../internal/pool/body.ts"
import type { LeaseExpiredError, PoolError } from "../../../PoolError.ts"
import { sessionOf } from "../connection/leased.ts"
import type { PgConnection } from "../contract/connection.ts"
import type { Position } from "../contract/hosts.ts"
import { hasReached } from "../hosts/role.ts"
import { isLost, isRefusedByReader, sqlStateOf } from "../sqlState.ts"
import type { OwnWrites } from "./ownWrites.ts"

type Pool = ConnectionPool<PgConnection, SqlError>
type Failure = SqlError | PoolError<SqlError>

export interface Options {
  readonly name: string
  readonly primary: Pool
  readonly replicas: Pool
  readonly writes: OwnWrites
  /** How long a read waits for a replica that has not reached its position. */
  readonly catchUpMillis: number
  /** How long the primary may take to answer that a connection of it refuses writes. */
  readonly controlTimeoutMillis: number
  /** Whether the primary is read if a replica does not reach the position in time. */
  readonly mayFallBack: boolean
}

/** A replica has not reached a position in time. */
class Behind {
  readonly _tag = "Behind"
}

export class Reading {
  readonly writes: OwnWrites
  readonly #options: Options

  constructor(options: Options) {
    this.#options = options
    this.writes = options.writes
  }

  /**
   * Runs one statement that reads. It has changed nothing on the replica, so it runs on the primary if the replica refuses it, where
   * it may write, and once more on a replica if its connection is lost.
   */
  statement<A>(
    fiber: Fiber.Fiber<unknown, unknown>,
    f: (connection: PgConnection) => Effect.Effect<A, SqlError | LeaseExpiredError>
  ): Effect.Effect<A, Failure | LeaseExpiredError> {
    const { primary, replicas } = this.#options
    const attempt = (left: number): Effect.Effect<A, Failure | LeaseExpiredError> =>
      Effect.catch(this.#on(replicas, this.writes.needed(fiber), f, undefined), (error) => {
        if (error._tag === "Behind") return this.#statementOnPrimary(fiber, f)
        if (!isSqlError(error)) return Effect.fail(error)
        if (isRefusedByReader(sqlStateOf(error))) return this.writes.wrote(fiber, primary.use(f))
        return isLost(error) && left > 0 ? attempt(left - 1) : Effect.fail(error)
      })
    return attempt(2)
  }

  /** The primary takes writes, so a function that writes unseen is refused there, too: what runs unrefused counts as a write. */
  #statementOnPrimary<A>(
    fiber: Fiber.Fiber<unknown, unknown>,
    f: (connection: PgConnection) => Effect.Effect<A, SqlError | LeaseExpiredError>
  ): Effect.Effect<A, Failure | LeaseExpiredError> {
    const { controlTimeoutMillis, primary } = this.#options
    return Effect.catchIf(
      primary.use((connection) => Effect.andThen(onlyReads(connection, controlTimeoutMillis), f(connection))),
      (error) => sqlStateOf(error) === "25006",
      () => this.writes.wrote(fiber, primary.use(f))
    )
  }

  /** Runs an effect with a connection that reads. */
  use<A, E, R>(
    fiber: Fiber.Fiber<unknown, unknown>,
    f: (connection: PgConnection) => Effect.Effect<A, E, R>,
    options: AcquireOptions | undefined,
    after: Position | undefined
  ): Effect.Effect<A, E | Failure, R> {
    const { controlTimeoutMillis, primary, replicas } = this.#options
    const needed = after === undefined ? this.writes.needed(fiber) : Effect.succeed(after)
    return Effect.catchIf(
      this.#on(replicas, needed, f, options),
      (error): error is Behind => error instanceof Behind,
      () =>
        primary.use(
          (connection) => Effect.andThen(onlyReads(connection, controlTimeoutMillis), Body.run(f, connection)),
          options
        )
    )
  }

  /** A connection that reads, for the scope. */
  acquire(
    fiber: Fiber.Fiber<unknown, unknown>,
    options: AcquireOptions | undefined
  ): Effect.Effect<PgConnection, Failure, Scope.Scope> {
    const needed = this.writes.needed(fiber)
    const { controlTimeoutMillis, primary, replicas } = this.#options
    if (needed === undefined) return replicas.acquire(options)
    return Effect.gen({ self: this }, function*() {
      const position = yield* needed
      // A scope of its own, so that a replica that is late is not held while the primary is read.
      const scope = yield* Scope.fork(yield* Effect.scope)
      const connection = yield* Scope.provide(replicas.acquire(options), scope)
      if (yield* this.#reaches(connection, position)) return connection
      yield* Scope.close(scope, Exit.void)
      return yield* Effect.tap(primary.acquire(options), (own) => onlyReads(own, controlTimeoutMillis))
    })
  }

  /** Whether the server of a connection has what was written before a position, or gets it in time. */
  reached(connection: PgConnection, position: Position, millis: number): Effect.Effect<boolean, SqlError> {
    const reached = Effect.repeat(hasReached(sessionOf(connection), position), {
      until: (isThere) => isThere,
      schedule: poll
    })
    return Effect.timeoutOrElse(Effect.as(reached, true), { duration: millis, orElse: () => Effect.succeed(false) })
  }

  /** The error for a replica that has not reached a position. */
  tooLate(position: Position, millis: number, why: string): SqlError {
    const message = `pool "${this.#options.name}": no replica has reached ${position} within ${millis} ms, and ${why}`
    return new SqlError({
      reason: new StatementTimeoutError({ cause: new Error(message), message, operation: "read" })
    })
  }

  /** Whether a connection can serve a read that has to see a position. */
  #reaches(connection: PgConnection, position: Position | undefined): Effect.Effect<boolean, SqlError> {
    if (position === undefined) return Effect.succeed(true)
    const { catchUpMillis, mayFallBack } = this.#options
    return Effect.flatMap(this.reached(connection, position, catchUpMillis), (isThere) =>
      isThere || mayFallBack
        ? Effect.succeed(isThere)
        : Effect.fail(this.tooLate(position, catchUpMillis, "the primary is not read (fallback \"none\")")))
  }

  #on<A, E, R>(
    pool: Pool,
    needed: Effect.Effect<Position | undefined, Failure> | undefined,
    f: (connection: PgConnection) => Effect.Effect<A, E, R>,
    options: AcquireOptions | undefined
  ): Effect.Effect<A, E | Failure | Behind, R> {
    if (needed === undefined) return pool.use(f, options)
    return Effect.flatMap(needed, (position) =>
      pool.use(
        (connection): Effect.Effect<A, E | SqlError | Behind, R> =>
          Effect.flatMap(
            this.#reaches(connection, position),
            (isThere): Effect.Effect<A, E | Behind, R> => isThere ? Body.run(f, connection) : Effect.fail(new Behind())
          ),
        options
      ))
  }
}

const poll = Schedule.spaced("2 millis")

/** Makes a connection of the primary refuse writes until the end of its lease. `millis` is the deadline for its answer. */
export const onlyReads = (connection: PgConnection, millis: number): Effect.Effect<void, SqlError> =>
  Effect.asVoid(sessionOf(connection).controlWithin("read", "set default_transaction_read_only = on", millis))

/**
 * Runs an effect on a connection that refuses writes meanwhile, behind a pooler that keeps no setting: in a transaction, in which
 * each statement still sees the newest state.
 */
export const readingOnly = <A, E, R>(
  connection: PgConnection,
  effect: Effect.Effect<A, E, R>,
  millis: number
): Effect.Effect<A, E | SqlError, R> => {
  const session = sessionOf(connection)
  const begun = session.controlWithin("begin", "begin isolation level read committed read only", millis)
  // If it fails, the session is lost, or the reset after the lease rolls back.
  const ended = Effect.ignore(session.controlWithin("rollback", "rollback", millis))
  return Effect.uninterruptibleMask((restore) =>
    Effect.andThen(restore(begun), Effect.ensuring(restore(effect), ended))
  )
}
