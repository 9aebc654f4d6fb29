/** The interface that a driver implements for transactions. `Transactor` exports it. */
import type { Effect } from "effect"
import type { SqlError } from "effect/sql/SqlError"
import type { Mode } from "../../Transaction.ts"

/** An invalid option, as a dialect reports it. */
export interface OptionProblem {
  readonly field: string
  /** The value that was given. */
  readonly value: unknown
  /** What the value must be, as in "foreignKeys is 7, but must be ...". */
  readonly mustBe: string
}

/** The options of transactions that only one dialect knows, beside those of `Transaction.Options`. */
export interface OwnOptions<in Own extends object> {
  readonly fields: ReadonlyArray<string & keyof Own>
  /**
   * Reports all that is wrong with the options; nothing if they are valid. `outer` are the options of the transaction around
   * this one.
   */
  readonly check: (options: Own, mode: Mode, outer: Own | undefined) => ReadonlyArray<OptionProblem>
}

/**
 * The transaction statements of a database, on connections of type `C`. `Own` are options that only this dialect knows.
 *
 * No caller interrupts an effect of the dialect. If one is not answered within `controlTimeout`, it is interrupted
 * where that is possible, and its connection is closed. A connection must carry out its operations in the order in
 * which it gets them.
 */
export interface Dialect<in C, Isolation extends string, in Own extends object = object> {
  /** The isolations of the database, the default first. */
  readonly isolations: readonly [Isolation, ...ReadonlyArray<Isolation>]
  /** The isolations that a transaction which only reads may have, its default first. */
  readonly readOnlyIsolations: readonly [Isolation, ...ReadonlyArray<Isolation>]
  /**
   * The mode of a transaction that the application begins with a statement of its own: `BeginTransaction` of
   * `effect/sql`.
   */
  readonly modeOf: (statement: string) => Mode<Isolation>
  /**
   * Begins a transaction, with the application's own statement if there is one. A wait for the locks of others belongs
   * here, inside `restore`, so that it can be interrupted.
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
  /** Ends the savepoint at a depth and the savepoints inside it. Their work stays. */
  readonly release: (connection: C, depth: number) => Effect.Effect<void, SqlError>
  /** Undoes all work since the savepoint at a depth. The savepoint stays. */
  readonly rollbackTo: (connection: C, depth: number) => Effect.Effect<void, SqlError>
  /** Whether a transaction is open, as far as the connection knows without asking the database. Must not throw. */
  readonly isTransaction: (connection: C) => boolean
  /**
   * Why a transaction has ended by itself, if the driver knows the reason. Must not throw. Default: it does not know.
   */
  readonly reasonOfLoss?: ((connection: C) => string | undefined) | undefined
  /**
   * What became of a transaction whose commit failed with this error. Answer `"unknown"` if the database may have
   * carried out the commit and only its answer was lost, as when a network connection breaks: then the caller gets
   * `TransactionOutcomeUnknownError`, and the connection is closed. Must not throw. Default: it was rolled back.
   */
  readonly commitOutcome?: ((error: SqlError) => "rolled back" | "unknown") | undefined
  /**
   * Whether a transaction that failed with this error may succeed when all of it is run again, for errors that
   * `TransactionError.isCurable` does not know: a connection that was lost before the commit was sent, for instance.
   * `retry` asks it, but never about a transaction whose outcome is unknown. Must not throw. Default: no other error.
   */
  readonly isCurable?: ((error: SqlError) => boolean) | undefined
  /** Options that only this dialect knows. Default: none. */
  readonly own?: OwnOptions<Own> | undefined
}
