/**
 * Makes the transactions of a database, for those who write a driver.
 *
 * A driver describes its database with a `Dialect` and gets a `Transaction.Transactor` from `make`. Applications do not need
 * this module: their pool has made its transactor. No database is named here.
 */
import type { MakeOptions } from "./internal/transaction/makeOptions.ts"
import * as internal from "./internal/transaction/transactor.ts"
import type { Transactor } from "./Transaction.ts"

export type { Dialect, OptionProblem, OwnOptions } from "./internal/transaction/dialect.ts"
export type { MakeOptions } from "./internal/transaction/makeOptions.ts"

/**
 * Makes the transactions on the connections of a pool, for a driver that has a client of `effect/sql`.
 *
 * The client uses the `withTransaction` and the `afterCommit` of the result in place of its own: what its own `afterCommit` is
 * given in such a transaction would run at once. Then both kinds of transactions nest in each other and tell the same truth.
 * Throws a `TypeError` if `controlTimeout` is not a duration above zero.
 *
 * ```ts
 * import type { Effect } from "effect"
 * import { type ConnectionPool, type Transaction, Transactor } from "effect-connection-pool"
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
 * declare const toSql: (connection: Transaction.TransactionConnection<Link>) => Connection
 *
 * const dialect: Transactor.Dialect<Link, "read committed" | "serializable"> = {
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
 * export const transactor = Transactor.make({
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
