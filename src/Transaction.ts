/**
 * Transactions that tell the truth: success means committed, failure means that nothing of it stayed.
 *
 * A driver describes its database with a `Dialect` and gets a `Transactor` from `make`; applications use the one of their
 * pool. Statements find the transaction they belong to by themselves, so functions that run some compose without passing
 * a connection around. No database is named here.
 */
import type { Duration, Effect, Fiber, Schedule } from "effect"
import type { SqlClient } from "effect/sql/SqlClient"
import type { Connection } from "effect/sql/SqlConnection"
import type { SqlError } from "effect/sql/SqlError"
import type { ConnectionPool } from "./ConnectionPool.ts"
import * as internal from "./internal/transaction/transactor.ts"
import type { PoolError } from "./PoolError.ts"
import type {
  TransactionEndedError,
  TransactionError,
  TransactionLostError,
  TransactionTurnTimeoutError
} from "./TransactionError.ts"

/** What a transaction may ask for; `Isolation` are the names that its database knows. */
export interface Options<out Isolation extends string = string> {
  /**
   * How it is kept apart from others. Default: what the database's dialect prefers. A transaction inside another has that
   * one's, and may only name the same.
   */
  readonly isolation?: Isolation | undefined
  /**
   * Whether it only reads: then it sees one state of the database from its beginning to its end, nothing it does keeps
   * anybody from writing, and a statement that writes is refused. Default false; inside another, what that one is.
   */
  readonly readOnly?: boolean | undefined
  /**
   * When to run all of it again, on a new connection, after a failure that this can cure: it has met a lock, or lost a race
   * (see `TransactionError.isCurable`), or it is one that the dialect of the database calls curable. What the body did to anything but the database is done again. Default: never.
   *
   * Inside another transaction it is not used, and the failure goes on to the outer one: its snapshot, or its locks, are
   * what has to be begun again, so only its own `retry` can help.
   */
  readonly retry?: Schedule.Schedule<unknown, unknown> | undefined
  /**
   * How long it may wait before its body runs: for its connection, instead of `acquireTimeout`; inside another transaction
   * for its turn. Zero: what can be had without waiting. The body itself has no deadline.
   */
  readonly timeout?: Duration.Input | undefined
  /**
   * What it is called in the `holders` of the pool, in leak reports and in the errors of others who wait for it. Default: the
   * name of the span it is in.
   */
  readonly label?: string | undefined
}

/** What a transaction was begun as. */
export interface Mode<out Isolation extends string = string> {
  readonly isolation: Isolation
  readonly readOnly: boolean
}

/** An option that cannot be what it is. */
export interface OptionProblem {
  readonly field: string
  /** What was given. */
  readonly value: unknown
  /** What it must be, as in "foreignKeys is 7, but must be ...". */
  readonly mustBe: string
}

/** The options that only one dialect knows, beside those of `Options`. */
export interface OwnOptions<in Own extends object> {
  readonly fields: ReadonlyArray<string & keyof Own>
  /** What is wrong with them, if anything is. `outer` are those of the transaction around this one, if there is one. */
  readonly check: (options: Own, mode: Mode, outer: Own | undefined) => OptionProblem | undefined
}

/**
 * How transactions are spelled in the language of a database, on connections of type `C`. `Own` are options of its own.
 *
 * No effect of it is interrupted by a caller; one that was not answered within `controlTimeout` is, where it can be, and its
 * connection is closed. A connection must carry out what it is given in that order.
 */
export interface Dialect<in C, Isolation extends string, in Own extends object = object> {
  /** The isolations that there are, the default first. */
  readonly isolations: readonly [Isolation, ...ReadonlyArray<Isolation>]
  /** Those of them that a transaction which only reads may have, its default first. */
  readonly readOnlyIsolations: readonly [Isolation, ...ReadonlyArray<Isolation>]
  /** What a statement of the application's own, from `BeginTransaction` of `effect/sql`, begins. */
  readonly modeOf: (statement: string) => Mode<Isolation>
  /**
   * Begins a transaction, with the application's own statement if there is one. A wait for locks of others belongs here,
   * inside `restore`, so that it can be interrupted.
   */
  readonly begin: (
    connection: C,
    mode: Mode<Isolation>,
    statement: string | undefined,
    restore: <A, E, R>(effect: Effect.Effect<A, E, R>) => Effect.Effect<A, E, R>,
    own: Own
  ) => Effect.Effect<void, SqlError>
  readonly commit: (connection: C) => Effect.Effect<void, SqlError>
  readonly rollback: (connection: C) => Effect.Effect<void, SqlError>
  /** Begins a savepoint at a depth of 1 or more. */
  readonly savepoint: (connection: C, depth: number) => Effect.Effect<void, SqlError>
  /** Ends the savepoint at a depth, and those above; what they did stays. */
  readonly release: (connection: C, depth: number) => Effect.Effect<void, SqlError>
  /** Undoes what was done since the savepoint at a depth; it stays. */
  readonly rollbackTo: (connection: C, depth: number) => Effect.Effect<void, SqlError>
  /** Whether a transaction is open, as the connection knows without asking the database. Must not throw. */
  readonly isTransaction: (connection: C) => boolean
  /** Why a transaction is no longer open that nobody has ended, if the driver knows. Must not throw. Default: it does not. */
  readonly reasonOfLoss?: ((connection: C) => string | undefined) | undefined
  /**
   * What has become of a transaction whose commit failed like this. `"unknown"` where the commit may have been carried out and
   * only its answer was lost, as when a connection over a network breaks: then its caller gets
   * `TransactionOutcomeUnknownError`, and its connection is closed. Must not throw. Default: it was rolled back.
   */
  readonly commitOutcome?: ((error: SqlError) => "rolled back" | "unknown") | undefined
  /**
   * Whether running a whole transaction again may succeed after it failed with this error, beside the errors of which
   * `TransactionError.isCurable` knows that: a connection that was lost before the commit was sent, for instance. `retry` asks
   * it, but never about a transaction whose outcome is unknown. Must not throw. Default: no other.
   */
  readonly isCurable?: ((error: SqlError) => boolean) | undefined
  /** Options that only this dialect knows. Default: none. */
  readonly own?: OwnOptions<Own> | undefined
}

/** Runs transactions on the connections of a database. */
export interface Transactor<in out C, in Isolation extends string, out E = never, in Own extends object = object> {
  /**
   * Runs an effect as a transaction: commits when it succeeds, and rolls back when it fails, dies or is interrupted.
   *
   * Inside another transaction of the same database it is a savepoint: what it did is undone if it fails, and the outer one
   * goes on. Its fibers may run statements at the same time; transactions among them take turns, and no other fiber's
   * statement gets in between and is undone with them.
   *
   * Fails, besides what the effect fails with, with a `PoolError` if there is no connection, and with a `TransactionError`;
   * nothing of it is in the database then, unless that is `TransactionOutcomeUnknownError`. The wait for a connection and for
   * locks of others can be interrupted; beginning and ending cannot, but where the database is not in this process they have
   * a deadline. An interrupt that comes during the commit comes too late: it is committed.
   *
   * If the rollback fails as well, the first failure stays what it is: see `TransactionError.rollbackFailureOf`.
   *
   * A transaction ends when its effect does. Fibers that outlive it cannot use it any more (`TransactionEndedError`).
   *
   * While a fiber has a transaction open inside another, what other fibers run in the outer one waits: so it must not wait
   * for them. To fork first, and to join in an inner transaction, ends with a `TransactionTurnTimeoutError` for the one that
   * waits for its turn, after `acquireTimeout`.
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
   * The same under the types of a client of `effect/sql`: what it fails with besides the effect is a `SqlError`. That of
   * the database, for a transaction that could not be begun or committed; for all else one with the error as its `cause`.
   */
  readonly withTransaction: SqlClient["withTransaction"]

  /**
   * The transaction that a fiber is in, if it is in one. For a driver whose own operations have to join it, instead of
   * taking a connection that would not see what the transaction has done, or would wait for it.
   */
  readonly session: (fiber: Fiber.Fiber<unknown, unknown>) => Session<C> | undefined
}

/** Why a statement is not run in a transaction. */
export type StatementError = TransactionEndedError | TransactionLostError | TransactionTurnTimeoutError

/**
 * The connection of a transaction, for whatever runs statements on it. They are refused, without any I/O, once the level of
 * the fiber has ended (`TransactionEndedError`) or the database has ended the transaction (`TransactionLostError`), and
 * wait while another fiber has a transaction open inside that level, for the `acquireTimeout` of the pool at most
 * (`TransactionTurnTimeoutError`).
 */
export interface Session<out C> {
  readonly mode: Mode
  /**
   * Runs a statement in one step: `f` at once returns what it gives, or throws what it fails with. `failure` gives that its
   * type; what it throws again is a defect.
   */
  readonly step: <A, E>(
    statement: string,
    f: (connection: C, fiber: Fiber.Fiber<unknown, unknown>) => A,
    failure: (thrown: unknown) => E
  ) => Effect.Effect<A, E | StatementError>
  /**
   * The same outside of Effect, for the fiber that runs: throws. It cannot wait: where `step` would, it throws what
   * `busy` makes.
   */
  readonly stepUnsafe: <A>(statement: string, f: (connection: C) => A, busy: () => unknown) => A
  /** Runs a statement that takes more than a step. Others at the same level wait until it is over. */
  readonly steps: <A, E, R>(
    statement: string,
    f: (connection: C) => Effect.Effect<A, E, R>
  ) => Effect.Effect<A, E | StatementError, R>
  /** Whether something that was begun earlier may go on, such as the reading of rows: fails if not. */
  readonly check: (statement: string) => Effect.Effect<void, TransactionEndedError | TransactionLostError>
}

/** What a driver makes a `Transactor` of. */
export interface MakeOptions<C, Isolation extends string, E, Own extends object = object> {
  /** How the database is called in errors. */
  readonly name: string
  readonly dialect: Dialect<C, Isolation, Own>
  /** Where transactions get their connections. */
  readonly pool: ConnectionPool<C, E>
  /** The same for those that only read. Default: `pool`. */
  readonly readers?: ConnectionPool<C, E> | undefined
  /** The transaction service of the client of `effect/sql`, whose statements find the transaction by it. */
  readonly transactionService: SqlClient["transactionService"]
  /** What that client runs the statements of a transaction on. */
  readonly toSql: (session: Session<C>) => Connection
  /** Attributes of the spans of transactions. */
  readonly spanAttributes: ReadonlyArray<readonly [string, unknown]>
  /**
   * How long the database may take to answer what begins and ends transactions and savepoints. After that the connection is
   * closed, and its caller goes on: a begin fails with `TransactionBeginError`, a commit with `TransactionOutcomeUnknownError`.
   * Give it one where the database is not in this process. Default `Infinity`.
   */
  readonly controlTimeout?: Duration.Input | undefined
}

/**
 * Transactions on the connections of a pool, for a driver that has a client of `effect/sql`.
 *
 * For those who write a driver; the pool for SQLite has made its own. The client takes the `withTransaction` of the result
 * in place of its own, so that both kinds of transactions nest in each other and tell the same truth.
 *
 * ```ts
 * import type { Effect } from "effect"
 * import { type ConnectionPool, Transaction } from "effect-connection-pool"
 * import type { SqlClient } from "effect/sql/SqlClient"
 * import type { Connection } from "effect/sql/SqlConnection"
 * import type { SqlError } from "effect/sql/SqlError"
 *
 * interface Link {
 *   readonly run: (sql: string) => Effect.Effect<void, SqlError>
 *   readonly isTransaction: boolean
 * }
 * declare const pool: ConnectionPool.ConnectionPool<Link, SqlError>
 * declare const client: SqlClient
 * declare const toSql: (session: Transaction.Session<Link>) => Connection
 *
 * const dialect: Transaction.Dialect<Link, "read committed" | "serializable"> = {
 *   isolations: ["read committed", "serializable"],
 *   readOnlyIsolations: ["serializable", "read committed"],
 *   modeOf: (statement) => ({
 *     isolation: /serializable/i.test(statement) ? "serializable" : "read committed",
 *     readOnly: /read only/i.test(statement)
 *   }),
 *   begin: (link, { isolation, readOnly }, statement) =>
 *     link.run(statement ?? `begin isolation level ${isolation} ${readOnly ? "read only" : "read write"}`),
 *   commit: (link) => link.run("commit"),
 *   rollback: (link) => link.run("rollback"),
 *   savepoint: (link, depth) => link.run(`savepoint level_${depth}`),
 *   release: (link, depth) => link.run(`release level_${depth}`),
 *   rollbackTo: (link, depth) => link.run(`rollback to level_${depth}`),
 *   isTransaction: (link) => link.isTransaction,
 *   // A connection that breaks during the commit leaves the outcome unknown; before that, a rerun can cure it.
 *   commitOutcome: (error) => error.reason._tag === "ConnectionError" ? "unknown" : "rolled back",
 *   isCurable: (error) => error.reason._tag === "ConnectionError"
 * }
 *
 * export const transactor = Transaction.make({
 *   name: "orders",
 *   dialect,
 *   pool,
 *   transactionService: client.transactionService,
 *   toSql,
 *   spanAttributes: [["db.system.name", "postgresql"]],
 *   controlTimeout: "5 seconds"
 * })
 * ```
 */
export const make: <C, Isolation extends string, E, Own extends object = object>(
  options: MakeOptions<C, Isolation, E, Own>
) => Transactor<C, Isolation, E, Own> = internal.make
