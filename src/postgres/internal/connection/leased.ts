/** The connection that a lease has, and functions with which this library reaches the session behind it. */
import type { Result } from "@effect/sql-pg/PgConnection"
import { Effect, type Stream } from "effect"
import type { SqlError } from "effect/sql/SqlError"
import type { Query, Way } from "../../../internal/sqlClient/target.ts"
import { LeaseExpiredError } from "../../../PoolError.ts"
import type { Params, PgConnection, Row, RunResult } from "../contract/connection.ts"
import type { Text } from "../sql/statementText.ts"
import type { Session } from "./session.ts"

/** The connection of one lease: its operations fail once the lease has ended. */
export class Leased implements PgConnection {
  readonly #session: Session
  readonly #pool: string | undefined
  #isExpired = false

  constructor(session: Session, pool: string | undefined) {
    this.#session = session
    this.#pool = pool
  }

  expire(): void {
    this.#isExpired = true
  }

  get session(): Session {
    return this.#session
  }

  get processId(): Effect.Effect<number, LeaseExpiredError> {
    return this.#known("processId", (session) => session.driver.processId)
  }

  get isTransaction(): Effect.Effect<boolean, LeaseExpiredError> {
    return this.#known("isTransaction", (session) => session.isInTransaction)
  }

  #known<A>(operation: string, f: (session: Session) => A): Effect.Effect<A, LeaseExpiredError> {
    return Effect.suspend(() => {
      const expired = this.#expired(operation)
      return expired === undefined ? Effect.succeed(f(this.#session)) : Effect.fail(expired)
    })
  }

  query(sql: string, params?: Params): Effect.Effect<ReadonlyArray<Row>, SqlError | LeaseExpiredError> {
    return Effect.map(this.result("query", sql, params, true), ({ rows }) => rows)
  }

  values(
    sql: string,
    params?: Params
  ): Effect.Effect<ReadonlyArray<ReadonlyArray<unknown>>, SqlError | LeaseExpiredError> {
    return this.arrays("values", sql, params, true)
  }

  run(sql: string, params?: Params): Effect.Effect<RunResult, SqlError | LeaseExpiredError> {
    return Effect.map(
      this.result("run", sql, params, true),
      ({ command, rowCount }) => ({ command, changes: rowCount })
    )
  }

  stream(sql: string, params: Params = none): Stream.Stream<Row, SqlError | LeaseExpiredError> {
    const session = this.#session
    return session.stream(
      session.texts.read(sql),
      params,
      () => session.driver.stream(sql, params),
      () => this.#expired("stream")
    )
  }

  /** With `isPrepared`, the statement is prepared for its text, if the options allow that. */
  result(
    operation: string,
    sql: string,
    params: Params = none,
    isPrepared: boolean
  ): Effect.Effect<Result, SqlError | LeaseExpiredError> {
    return this.#ran(operation, sql, params, ({ driver }) => driver.query(sql, params, isPrepared))
  }

  arrays(
    operation: string,
    sql: string,
    params: Params = none,
    isPrepared: boolean
  ): Effect.Effect<ReadonlyArray<ReadonlyArray<unknown>>, SqlError | LeaseExpiredError> {
    return this.#ran(operation, sql, params, ({ driver }) => driver.queryValues(sql, params, isPrepared))
  }

  /** Runs a statement of `sql`: rows as arrays, or a `Result`. */
  statement(
    { params, text }: Query<Text>,
    way: Way,
    isPrepared: boolean
  ): Effect.Effect<unknown, SqlError | LeaseExpiredError> {
    const { driver } = this.#session
    const query: () => Effect.Effect<unknown, SqlError> = way === "arrays"
      ? () => driver.queryValues(text.sql, params, isPrepared)
      : () => driver.query(text.sql, params, isPrepared)
    return this.#session.run("execute", text, params, query, () => this.#expired("execute"))
  }

  #ran<A>(
    operation: string,
    sql: string,
    params: Params,
    query: (session: Session) => Effect.Effect<A, SqlError>
  ): Effect.Effect<A, SqlError | LeaseExpiredError> {
    const session = this.#session
    return session.run(
      operation,
      session.texts.read(sql),
      params,
      () => query(session),
      () => this.#expired(operation)
    )
  }

  #expired(operation: string): LeaseExpiredError | undefined {
    if (!this.#isExpired) return undefined
    return new LeaseExpiredError({ ...(this.#pool === undefined ? undefined : { pool: this.#pool }), operation })
  }
}

const none: Params = []

/**
 * The lease behind a connection. The cast is right, because every connection that the factory of this library makes is a
 * `Leased`.
 */
export const leasedOf = (connection: PgConnection): Leased => connection as Leased

export const sessionOf = (connection: PgConnection): Session => leasedOf(connection).session
