/**
 * Pools any client of `effect/sql`: each connection of the pool is a client of its own, which its driver makes.
 *
 * Choose it for a driver whose client is one connection, or whose own pool lacks a feature of this pool. A client with a
 * good pool of its own needs no second pool. It works for every database.
 */
import { Cause, Effect, Predicate, type Scope } from "effect"
import { SqlClient } from "effect/sql/SqlClient"
import { isSqlError, type SqlError } from "effect/sql/SqlError"
import * as ConnectionFactory from "./ConnectionFactory.ts"
import type { AcquireOptions, ConnectionPool } from "./ConnectionPool.ts"
import * as Recorded from "./internal/sqlClient/recorded.ts"
import { endsSession, maxDepth, sqlStateOf } from "./internal/sqlClient/sqlState.ts"
import type { PoolError } from "./PoolError.ts"

/** How to make, validate and reset the clients of one pool. Only `connect` is required. */
export interface Options<in out C extends SqlClient, in out E = never, out R = never> {
  /**
   * Makes one client with one connection for the scope: the `make` of the driver. It may be a function that takes the callback
   * with which a driver reports the death of a connection: see `ConnectionFactory.Died`.
   */
  readonly connect: ConnectionFactory.Connect<C, E, R>
  /** See `ConnectionFactory`. Default: a connection always counts as alive. */
  readonly isAlive?: ((sql: C) => boolean) | undefined
  /**
   * A query that succeeds, within `validateTimeout`, if the connection still works. It runs when the connection was idle for
   * some time. Default: connections are not validated.
   */
  readonly validate?: ((sql: C) => Effect.Effect<unknown, unknown>) | undefined
  /**
   * Makes a returned connection clean for the next caller: it removes settings of the session, locks and temporary tables that
   * the last caller left. Transactions made with `withTransaction` have ended by then. Default: nothing.
   */
  readonly reset?: ((sql: C) => Effect.Effect<unknown, unknown>) | undefined
  /** See `ConnectionFactory`. Default: `reset`, if there is one, runs after every lease. */
  readonly needsReset?: ((sql: C) => boolean) | undefined
  /** See `ConnectionFactory`. Default: `judge` of this module. */
  readonly judge?: ((failure: Cause.Cause<unknown>) => ConnectionFactory.Verdict) | undefined
  /** Whether another connect attempt may succeed. Default: `isRetryable` of the `SqlError`, and false for any other failure. */
  readonly isTransient?: ((error: E) => boolean) | undefined
}

/**
 * Makes a factory of clients, for `ConnectionPool.make` and its layers.
 *
 * With `slowStatement`, the statements of the client are measured from the call to the answer, and holders are shown with
 * the statement that they run. The client is wrapped for that. Its statements of transactions (`begin`, `commit`), and what a
 * driver runs in methods of its own, are not seen.
 *
 * If `connect` fails or dies, callers get a `ConnectError`. A holder must not keep its client after the lease: later statements
 * of that client would run on the connection of another caller.
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
  const { connect, isTransient = isRetryable, judge: judges = judge, validate, ...rest } = options
  return ConnectionFactory.make<C, E, R>({
    ...rest,
    connect: Effect.isEffect(connect) ? recorded(connect) : (died) => recorded(connect(died)),
    isTransient,
    judge: judges,
    validate: validate && ((sql) => Effect.as(validate(sql), true))
  })
}

/** Has the statements of a client recorded, if its pool measures them. */
const recorded = <C extends SqlClient, E, R>(connect: Effect.Effect<C, E, R>): Effect.Effect<C, E, R> =>
  Effect.flatMap(
    ConnectionFactory.Statements,
    (statements) =>
      statements.isMeasured ? Effect.map(connect, (client) => Recorded.client(client, statements)) : connect
  )

/**
 * Judges a client's connection by a failure, for any database of `effect/sql`: the default `judge` of `make`.
 *
 * The verdict is `fatal` for a `SqlError` that ends the session: a `ConnectionError`, or a SQLSTATE of that kind (`08...`,
 * `57P01` to `57P05`, `25P03`, `25P04`), whatever reason the client gives it. It is `healthy` for any other `SqlError` with a code or a
 * reason of its own, because the database has answered. It is `suspect` for everything else: an interrupt, a defect, a failure
 * without a `SqlError` in it, and `08P01`, which PostgreSQL also answers to a missing parameter. It also looks at the causes of
 * errors.
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

/** Finds the `SqlError` in an error or in its causes: errors of applications often carry it as their cause. */
const sqlErrorIn = (error: unknown): SqlError | undefined => {
  let found = error
  for (let depth = 0; depth < maxDepth && found !== undefined; depth++) {
    if (isSqlError(found)) return found
    found = Predicate.hasProperty(found, "cause") ? found.cause : undefined
  }
  return undefined
}

const judgeSqlError = ({ reason }: SqlError): ConnectionFactory.Verdict => {
  const state = sqlStateOf(reason.cause)
  if (state === "08P01") return "suspect"
  if (state !== undefined && endsSession(state)) return "fatal"
  if (reason._tag === "ConnectionError") return "fatal"
  return reason._tag === "UnknownError" && state === undefined ? "suspect" : "healthy"
}

const isRetryable = (error: unknown): boolean => isSqlError(error) && error.isRetryable

/**
 * Runs an effect that asks for Effect's `SqlClient` with a client of the pool. All statements and transactions of the effect
 * run on the one connection of that client.
 *
 * Choose it for services, models and resolvers that find their client by themselves; choose `pool.use` for a statement or two.
 * It waits and fails as `pool.use` does. A `use` inside another gets another connection, which does not see the uncommitted
 * work of the outer one.
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
  pool.use((sql) =>
    // `provideService` would accept a value that is no effect. Without it, the pool notices and reports it.
    Effect.isEffect(effect) ? Effect.provideService(effect, SqlClient, sql) : effect, options)
