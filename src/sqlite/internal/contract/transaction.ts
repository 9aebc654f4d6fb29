/** The options of transactions of SQLite. */
import type * as Transaction from "../../../Transaction.ts"

/**
 * When a transaction takes the right to write: `"immediate"`, the default, as it begins; `"deferred"` with its first write,
 * which fails if another has written since its first read; `"exclusive"` as `"immediate"`, in WAL mode.
 */
export type Isolation = "immediate" | "deferred" | "exclusive"

/** The options of one transaction. */
export interface TransactionOptions extends Transaction.Options<Isolation> {
  /**
   * When foreign keys are checked: `"deferred"` when the transaction is committed, so that rows may be written in any order;
   * a violation is a `TransactionCommitError` then. Default: as the schema says, mostly after each statement. See
   * `RebuildOptions` for `"off"`.
   */
  readonly foreignKeys?: "deferred" | undefined
}

/**
 * The options of a transaction that rebuilds a table, where SQLite's `alter table` cannot change it: with foreign keys
 * `"off"`, its parent can be dropped and made anew without its children being deleted.
 *
 * Before the commit all foreign keys of the database are checked. If rows violate them that did not before, nothing is
 * committed, and the transaction fails with `ForeignKeysViolatedError`, which lists them. Only the outermost transaction may
 * ask for this.
 */
export interface RebuildOptions extends Omit<TransactionOptions, "foreignKeys"> {
  readonly foreignKeys: "off" | "deferred" | undefined
}
