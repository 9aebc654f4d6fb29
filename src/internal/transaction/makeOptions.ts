/** The options of `Transactor.make`, which exports them. */
import type { Duration, Fiber } from "effect"
import type { SqlClient } from "effect/sql/SqlClient"
import type { Connection } from "effect/sql/SqlConnection"
import type { ConnectionPool } from "../../ConnectionPool.ts"
import type { Mode, TransactionConnection } from "../../Transaction.ts"
import type { Dialect } from "./dialect.ts"

/** The options with which a driver makes a `Transaction.Transactor`. */
export interface MakeOptions<C, Isolation extends string, E, Own extends object = object> {
  /** The name of the database in errors. */
  readonly name: string
  readonly dialect: Dialect<C, Isolation, Own>
  /** The pool that lends connections to transactions. */
  readonly pool: ConnectionPool<C, E>
  /** The pool that lends connections to transactions which only read. Default: `pool`. */
  readonly readers?: ConnectionPool<C, E> | undefined
  /**
   * Chooses another pool for a transaction, where a database has connections of several kinds. It gets the fiber that begins
   * the transaction, its mode, and the statement that begins it if the application gives its own (`BeginTransaction`). Must not
   * throw. Default, and where it returns `undefined`: `readers` for a transaction that only reads, otherwise `pool`.
   */
  readonly poolOf?:
    | ((
      fiber: Fiber.Fiber<unknown, unknown>,
      mode: Mode<Isolation>,
      statement: string | undefined
    ) => ConnectionPool<C, E> | undefined)
    | undefined
  /**
   * The transaction service of the client of `effect/sql`. The statements of the client find their transaction by it.
   */
  readonly transactionService: SqlClient["transactionService"]
  /**
   * Makes the connection of `effect/sql` on which the client runs the statements of a transaction. Called once it is begun.
   */
  readonly toSql: (connection: TransactionConnection<C>) => Connection
  /** Attributes of the spans of transactions. */
  readonly spanAttributes: ReadonlyArray<readonly [string, unknown]>
  /**
   * How long the database may take to answer a statement that begins or ends a transaction or a savepoint. After that
   * the connection is closed and the caller goes on: a begin fails with `TransactionBeginError`, a commit with
   * `TransactionOutcomeUnknownError`. Set it where the database is not in this process. Default: `Infinity`.
   */
  readonly controlTimeout?: Duration.Input | undefined
}
