/**
 * Transactions that tell the truth: success means committed, failure means that nothing of the transaction is stored.
 *
 * Applications use the `transaction` of their pool. Statements find the transaction that their fiber is in, so functions that
 * run statements compose without passing a connection around. It works for every database. A driver makes the transactions of
 * its database with `Transactor.make`.
 */
import type { Duration, Effect, Fiber, Schedule } from "effect"
import type { SqlClient } from "effect/sql/SqlClient"
import type { PoolError } from "./PoolError.ts"
import type {
  TransactionEndedError,
  TransactionError,
  TransactionLostError,
  TransactionTurnTimeoutError
} from "./TransactionError.ts"

/** The options of a transaction; `Isolation` are the names that its database knows. */
export interface Options<out Isolation extends string = string> {
  /**
   * How the transaction is kept apart from others. Default: the first isolation of the database's dialect. A transaction
   * inside another has the isolation of the outer one, and may only name that one.
   */
  readonly isolation?: Isolation | undefined
  /**
   * Whether the transaction only reads. Then it sees one state of the database from its beginning to its end, it does not
   * block writers, and the database refuses its writes. Default: false; inside another transaction, the value of the outer one.
   */
  readonly readOnly?: boolean | undefined
  /**
   * When to run the whole transaction again, on a new connection, after a failure that this can cure: the transaction met a
   * lock or lost a race (see `TransactionError.isCurable`), or the dialect calls the failure curable. The body runs again as
   * a whole, with all that it does outside the database. Default: never.
   *
   * A transaction inside another does not use it. The failure goes on to the outer transaction: only a new snapshot and new
   * locks can help, so only the `retry` of the outermost transaction counts.
   */
  readonly retry?: Schedule.Schedule<unknown, unknown> | undefined
  /**
   * How long the transaction may wait before its body runs: for its connection, instead of `acquireTimeout`; inside another
   * transaction, for its turn. Zero: it does not wait. The body itself has no deadline.
   */
  readonly timeout?: Duration.Input | undefined
  /**
   * The name of the transaction in the `holders` of the pool, in leak reports, and in the errors of its waiters.
   * Default: the name of the span that the fiber is in.
   */
  readonly label?: string | undefined
}

/** The isolation of a transaction, and whether it only reads. */
export interface Mode<out Isolation extends string = string> {
  readonly isolation: Isolation
  readonly readOnly: boolean
}

/** Runs transactions on the connections of a database. */
export interface Transactor<in out C, in Isolation extends string, out E = never, in Own extends object = object> {
  /**
   * Runs an effect as a transaction: commits when it succeeds, and rolls back when it fails, dies or is interrupted.
   *
   * Inside another transaction of the same database it is a savepoint: if it fails, its work is undone and the outer
   * transaction goes on. Its fibers may run statements at the same time. Inner transactions of different fibers take turns;
   * meanwhile the statements of the other fibers wait, so a rollback never undoes the work of another fiber.
   *
   * Fails with the failure of the effect, with a `PoolError` if there is no connection, or with a `TransactionError`. After a
   * failure nothing of the transaction is in the database, with one exception: `TransactionOutcomeUnknownError`. The wait for
   * a connection and for the locks of others can be interrupted. Begin and commit cannot be interrupted; where the database
   * is not in this process, they have a deadline. An interrupt during the commit comes too late: the work is committed.
   *
   * If the rollback fails too, the caller still gets the first failure: see `TransactionError.rollbackFailureOf`.
   *
   * A transaction ends when its effect ends. A fiber that outlives the transaction cannot use it any more
   * (`TransactionEndedError`).
   *
   * While a fiber has an inner transaction open, the statements of other fibers in the outer one wait. So the inner
   * transaction must not wait for those fibers: if it joins a fiber that it forked before, the fiber that waits for its turn
   * fails with `TransactionTurnTimeoutError` after `acquireTimeout`.
   *
   * ```ts
   * import { Effect, Schedule } from "effect"
   * import type { Transaction } from "effect-connection-pool"
   * import { SqlClient } from "effect/sql/SqlClient"
   *
   * declare const db: Transaction.Transactor<unknown, "immediate" | "deferred">
   *
   * const transfer = Effect.fnUntraced(function*(from: number, to: number, amount: number) {
   *   const sql = yield* SqlClient
   *   yield* sql`update account set balance = balance - ${amount} where id = ${from}`
   *   yield* sql`update account set balance = balance + ${amount} where id = ${to}`
   * })
   *
   * // A transfer that is refused undoes itself; the others are committed together.
   * export const payday = db.transaction(
   *   Effect.forEach([2, 3, 4], (to) => Effect.ignore(db.transaction(transfer(1, to, 100)))),
   *   { isolation: "deferred", retry: Schedule.recurs(3) }
   * ).pipe(
   *   Effect.catchTag("TransactionCommitError", (error) => Effect.logError(error.message))
   * )
   * ```
   */
  readonly transaction: <A, E2, R>(
    effect: Effect.Effect<A, E2, R>,
    options?: (Options<Isolation> & Own) | undefined
  ) => Effect.Effect<A, E2 | TransactionError | PoolError<E>, R>

  /**
   * Runs an effect as a transaction, under the types of a client of `effect/sql`: all failures besides those of the effect
   * are a `SqlError`. A transaction that could not be begun or committed fails with the `SqlError` of the database; every
   * other error is the `cause` of a new `SqlError`.
   */
  readonly withTransaction: SqlClient["withTransaction"]

  /** Runs an effect once the outermost transaction that its fiber is in is committed: see `SqlClient.afterCommit`. */
  readonly afterCommit: SqlClient["afterCommit"]

  /**
   * The connection of the transaction that a fiber is in, if it is in one. A driver uses it where its own operations must
   * join the transaction: on another connection they would not see the work of the transaction, or would wait for it.
   */
  readonly connectionOf: (fiber: Fiber.Fiber<unknown, unknown>) => TransactionConnection<C> | undefined
}

/** Why a statement is not run in a transaction. */
export type StatementError = TransactionEndedError | TransactionLostError | TransactionTurnTimeoutError

/**
 * The connection of a transaction, for drivers that run statements on it.
 *
 * A statement is refused, without any I/O, once the transaction or the inner transaction of the fiber has ended
 * (`TransactionEndedError`), or once the database has ended the transaction (`TransactionLostError`). A statement waits while
 * another fiber has an inner transaction open, at most for the `acquireTimeout` of the pool (`TransactionTurnTimeoutError`).
 */
export interface TransactionConnection<out C> {
  readonly mode: Mode
  /** The connection itself, so that a driver with several kinds can see which one it is. Statements use the functions below. */
  readonly connection: C
  /**
   * Runs a statement in one step: `f` returns its value at once, or throws. `failure` turns the thrown value into the typed
   * failure; what `failure` throws is a defect.
   */
  readonly step: <A, E>(
    statement: string,
    f: (connection: C, fiber: Fiber.Fiber<unknown, unknown>) => A,
    failure: (thrown: unknown) => E
  ) => Effect.Effect<A, E | StatementError>
  /**
   * Runs a statement in one step outside of Effect, for the fiber that runs now: returns the value of `f`, or throws. It
   * cannot wait: where `step` would wait, it throws the result of `busy`.
   */
  readonly stepUnsafe: <A>(statement: string, f: (connection: C) => A, busy: () => unknown) => A
  /** Runs a statement that takes several steps. The statements of other fibers in the transaction wait until it has ended. */
  readonly steps: <A, E, R>(
    statement: string,
    f: (connection: C) => Effect.Effect<A, E, R>
  ) => Effect.Effect<A, E | StatementError, R>
  /** Fails if the transaction has ended: for an operation that was begun earlier and goes on, such as a stream of rows. */
  readonly assertOpen: (statement: string) => Effect.Effect<void, TransactionEndedError | TransactionLostError>
}
