/** The connection that `write` and the other operations of a pool lend inside a transaction. */
import { Effect, Stream } from "effect"
import type { SqlError } from "effect/sql/SqlError"
import { sqlErrorOf } from "../../../internal/transaction/sqlErrorOf.ts"
import type { LeaseExpiredError } from "../../../PoolError.ts"
import type { TransactionConnection } from "../../../Transaction.ts"
import { isTransactionError } from "../../../TransactionError.ts"
import type { Params, PgConnection } from "../contract/connection.ts"
import type { StatementTexts } from "../sql/statementText.ts"
import { refusalInTransaction } from "./refusals.ts"
import { InTransaction, streamOn } from "./targets.ts"

/**
 * The connection of the transaction that a fiber is in. Its operations wait for their turn, and fail with a `SqlError` once the
 * level of that fiber has ended.
 */
export class PgTransactionConnection implements PgConnection {
  readonly #transaction: TransactionConnection<PgConnection>
  readonly #texts: StatementTexts

  constructor(transaction: TransactionConnection<PgConnection>, texts: StatementTexts) {
    this.#transaction = transaction
    this.#texts = texts
  }

  query(sql: string, params?: Params) {
    return this.#steps("query", sql, (connection) => connection.query(sql, params))
  }

  values(sql: string, params?: Params) {
    return this.#steps("values", sql, (connection) => connection.values(sql, params))
  }

  run(sql: string, params?: Params) {
    return this.#steps("run", sql, (connection) => connection.run(sql, params))
  }

  stream(sql: string, params?: Params) {
    return Stream.suspend(() => streamOn(new InTransaction(this.#transaction), this.#texts.read(sql), params))
  }

  get isTransaction() {
    return this.#steps("isTransaction", "isTransaction", (connection) => connection.isTransaction)
  }

  get processId() {
    return this.#steps("processId", "processId", (connection) => connection.processId)
  }

  #steps<A>(
    operation: string,
    sql: string,
    f: (connection: PgConnection) => Effect.Effect<A, SqlError | LeaseExpiredError>
  ): Effect.Effect<A, SqlError | LeaseExpiredError> {
    return Effect.suspend(() => {
      const refusal = refusalInTransaction(operation, this.#texts.read(sql))
      if (refusal !== undefined) return Effect.fail(refusal)
      return Effect.catch(
        this.#transaction.steps(sql, f),
        (error) => Effect.fail(isTransactionError(error) ? sqlErrorOf(error) : error)
      )
    })
  }
}
