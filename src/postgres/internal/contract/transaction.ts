/** The options of transactions of PostgreSQL. */
import type * as Transaction from "../../../Transaction.ts"

/**
 * What a transaction sees of others (https://www.postgresql.org/docs/current/transaction-iso.html). `"read committed"`, the
 * default: each statement sees what was committed before it. `"repeatable read"`: all statements see one state; an update of a
 * row that another transaction has changed since fails. `"serializable"`: the transactions have the effect of some order, one
 * after the other; one that would break that fails.
 */
export type Isolation = "read committed" | "repeatable read" | "serializable"

/**
 * The options of one transaction. With `readOnly` it has the isolation `"repeatable read"` by default, or
 * `"serializable"`, and sees the state at its beginning.
 */
export interface TransactionOptions extends Transaction.Options<Isolation> {
  /**
   * Whether a transaction that is `readOnly` and `"serializable"` waits for a state in which it can neither fail because of
   * others nor make others fail: for long reports. Its first statement waits, maybe for long, and can be interrupted. Default:
   * false.
   */
  readonly deferrable?: boolean | undefined
}
