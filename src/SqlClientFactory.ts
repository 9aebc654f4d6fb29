/**
 * Pools any client of `effect/sql`: each connection of the pool is a client of its own, made as its driver makes it.
 *
 * No database is named here. It is for drivers whose client is one connection, and for those whose own pool lacks what this
 * one has; a client that shares one pool itself needs no other.
 */
import { Cause, Effect, Predicate, type Scope } from "effect"
import { SqlClient } from "effect/sql/SqlClient"
import { isSqlError, type SqlError } from "effect/sql/SqlError"
import * as ConnectionFactory from "./ConnectionFactory.ts"
import type { AcquireOptions, ConnectionPool } from "./ConnectionPool.ts"
import type { PoolError } from "./PoolError.ts"

/** How to make, check and clean the clients of one pool. Only `connect` is needed. */
export interface Options<in out C extends SqlClient, in out E = never, out R = never> {
  /**
   * Makes one client, with one connection, for the scope: what the driver calls `make`. May be a function that is given what
   * tells the pool of the death of a connection: see `ConnectionFactory.Died`.
   */
  readonly connect: ConnectionFactory.Connect<C, E, R>
  /** See `ConnectionFactory`. Default: it always is. */
  readonly isAlive?: ((sql: C) => boolean) | undefined
  /**
   * A query that shows whether the connection still works: it does if the query succeeds, within `validateTimeout`. Runs
   * when the connection was idle for some time. Default: never asked.
   */
  readonly validate?: ((sql: C) => Effect.Effect<unknown, unknown>) | undefined
  /**
   * Makes a returned connection clean for the next caller, for what callers may have left: settings of the session, locks,
   * temporary tables. Transactions made with `withTransaction` have ended by then. Default: nothing.
   */
  readonly reset?: ((sql: C) => Effect.Effect<unknown, unknown>) | undefined
  /** See `ConnectionFactory`. Default: `reset`, if there is one, always has something to do. */
  readonly needsReset?: ((sql: C) => boolean) | undefined
  /** See `ConnectionFactory`. Default: what the failure itself says: see `judge`. */
  readonly judge?: ((failure: Cause.Cause<unknown>) => ConnectionFactory.Verdict) | undefined
  /** Whether another attempt to connect may succeed. Default: what the `SqlError` says, and false for any other failure. */
  readonly isTransient?: ((error: E) => boolean) | undefined
}

/**
 * A factory of clients, for `ConnectionPool.make` and its layers.
 *
 * What `connect` fails with, callers get as `ConnectError`; what it dies with, too. A client is its holder's until the lease ends, and must not be kept:
 * statements that are run with it later would be run on the connection of somebody else.
 *
 * ```ts
 * import { SqliteClient } from "@effect/sql-sqlite-node"
 * import { Effect } from "effect"
 * import { ConnectionPool, SqlClientFactory } from "effect-connection-pool"
 * import * as Reactivity from "effect/reactivity/Reactivity"
 *
 * export const program = Effect.scoped(Effect.gen(function*() {
 *   const pool = yield* ConnectionPool.make({
 *     factory: SqlClientFactory.make({
 *       connect: SqliteClient.make({ filename: "app.db" }),
 *       validate: (sql) => sql`select 1`,
 *       reset: (sql) => sql`pragma query_only = off`
 *     }),
 *     max: 4
 *   })
 *   return yield* pool.use((sql) => sql`select * from people`)
 * })).pipe(Effect.provide(Reactivity.layer))
 * ```
 */
export const make = <C extends SqlClient, E = never, R = never>(
  options: Options<C, E, R>
): ConnectionFactory.ConnectionFactory<C, E, Exclude<R, Scope.Scope>> => {
  const { isTransient = isRetryable, judge: judges = judge, validate, ...rest } = options
  return ConnectionFactory.make<C, E, R>({
    ...rest,
    isTransient,
    judge: judges,
    validate: validate && ((sql) => Effect.as(validate(sql), true))
  })
}

/**
 * What a failure says about a client's connection, for any database of `effect/sql`: the `judge` of `make`.
 *
 * `fatal` is an `SqlError` by which the session is over: a `ConnectionError`, or a SQLSTATE of that kind (`08...`, `57P0.`,
 * `25P03`, `25P04`), whatever reason the client gives it. `healthy` is any other `SqlError` that has a code or a reason of
 * its own, for the database answered. All else is `suspect`: an interrupt, a defect, a failure without an `SqlError` in it,
 * and `08P01`, which PostgreSQL also answers to a missing parameter. Looks at the causes of errors, not only at their heads.
 */
export const judge = (failure: Cause.Cause<unknown>): ConnectionFactory.Verdict => {
  let verdict: ConnectionFactory.Verdict = "healthy"
  for (const reason of failure.reasons) {
    const found = Cause.isInterruptReason(reason)
      ? undefined
      : Cause.isFailReason(reason)
      ? reason.error
      : reason.defect
    const error = sqlErrorIn(found)
    const one = error === undefined ? "suspect" : judgeSqlError(error)
    if (one === "fatal") return one
    if (one === "suspect") verdict = one
  }
  return failure.reasons.length === 0 ? "suspect" : verdict
}

/** Errors of applications often carry the `SqlError` as their cause. */
const sqlErrorIn = (error: unknown): SqlError | undefined => {
  let found = error
  for (let depth = 0; depth < maxDepth && found !== undefined; depth++) {
    if (isSqlError(found)) return found
    found = Predicate.hasProperty(found, "cause") ? found.cause : undefined
  }
  return undefined
}

const maxDepth = 10

const judgeSqlError = ({ reason }: SqlError): ConnectionFactory.Verdict => {
  const state = sqlStateIn(reason.cause)
  if (state === "08P01") return "suspect"
  if (state !== undefined && /^(08...|57P0.|25P0[34])$/.test(state)) return "fatal"
  if (reason._tag === "ConnectionError") return "fatal"
  return reason._tag === "UnknownError" && state === undefined ? "suspect" : "healthy"
}

/** The code that the database gave, wherever the driver's error keeps it. */
const sqlStateIn = (error: unknown): string | undefined => {
  let found = error
  for (let depth = 0; depth < maxDepth && found !== undefined; depth++) {
    const code = Predicate.hasProperty(found, "code") ? found.code : undefined
    if (typeof code === "string" && isSqlState(code)) return code
    const state = Predicate.hasProperty(found, "sqlState") ? found.sqlState : undefined
    if (typeof state === "string" && isSqlState(state)) return state
    found = Predicate.hasProperty(found, "cause") ? found.cause : undefined
  }
  return undefined
}

/** A SQLSTATE, and not what Node calls a broken pipe. */
const isSqlState = (code: string): boolean => /^(?!E)[0-9A-Z]{5}$/.test(code)

const isRetryable = (error: unknown): boolean => isSqlError(error) && error.isRetryable

/**
 * Runs an effect that asks for Effect's `SqlClient`, with a client of the pool: all of its statements, and its
 * transactions, on that one's connection.
 *
 * Choose it for services, models and resolvers that find their client by themselves; choose `pool.use` for a statement or two.
 * Waits and fails as `pool.use` does. One inside another is another connection, which does not see what the transaction
 * of the outer one has done.
 *
 * ```ts
 * import { Effect } from "effect"
 * import { type ConnectionPool, SqlClientFactory } from "effect-connection-pool"
 * import { SqlClient } from "effect/sql/SqlClient"
 *
 * declare const pool: ConnectionPool.ConnectionPool<SqlClient>
 *
 * const rename = Effect.gen(function*() {
 *   const sql = yield* SqlClient
 *   yield* sql.withTransaction(sql`update people set name = 'Ada Lovelace' where name = 'Ada'`)
 * })
 *
 * export const program = SqlClientFactory.use(pool, rename)
 * ```
 */
export const use = <C extends SqlClient, E, A, E2, R>(
  pool: ConnectionPool<C, E>,
  effect: Effect.Effect<A, E2, R>,
  options?: AcquireOptions
): Effect.Effect<A, E2 | PoolError<E>, Exclude<R, SqlClient>> =>
  pool.use((sql) => Effect.provideService(effect, SqlClient, sql), options)
