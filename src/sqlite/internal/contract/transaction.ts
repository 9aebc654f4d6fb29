/** The options of transactions of SQLite. */
import type * as Transaction from "../../../Transaction.ts"

/**
 * When a transaction takes the right to write. `"immediate"`, the default: when it begins. `"deferred"`: with its first write,
 * which fails if another transaction has written since its first read. `"exclusive"`: like `"immediate"` in WAL mode.
 */
export type Isolation = "immediate" | "deferred" | "exclusive"

/** The options of one transaction. */
export interface TransactionOptions extends Transaction.Options<Isolation> {
  /**
   * When foreign keys are checked. `"deferred"`: at the commit, so that rows may be written in any order. A violation is then
   * a `TransactionCommitError`. Default: as the schema says, which usually means after each statement. For `"off"`, see
   * `RebuildOptions`.
   */
  readonly foreignKeys?: "deferred" | undefined
}

/**
 * The options of a transaction that rebuilds a table. Choose it for a change that SQLite's `alter table` cannot make. With
 * foreign keys `"off"`, a parent table can be dropped and made again, and the rows of its child tables stay.
 *
 * Before the commit, all foreign keys of the database are checked. If the transaction has caused violations, nothing is
 * committed, and it fails with `ForeignKeysViolatedError`, which lists them. Only the outermost transaction may use this.
 */
export interface RebuildOptions extends Omit<TransactionOptions, "foreignKeys"> {
  readonly foreignKeys: "off" | "deferred" | undefined
}
