/** The options and the progress of batches. */
import type { TransactionOptions } from "./transaction.ts"
import type { Params } from "./values.ts"

/** One statement of a batch of different statements. */
export type BatchStatement = readonly [sql: string, params?: Params | undefined]

/** The progress of a batch. */
export interface BatchProgress {
  /** How many rows have been run. */
  readonly rows: number
  /**
   * How many of them are committed. Without `commitEvery`: 0 until the last element of the stream. Inside a transaction always
   * 0, because that transaction commits them or not.
   */
  readonly stored: number
  /** How many rows of tables were inserted, updated or deleted, also by triggers and by actions of foreign keys. */
  readonly changes: number
  /** How many rows there are in total. Not set if nobody knows: a generator or a stream ends when it ends. */
  readonly total: number | undefined
  /** The time since the batch began, in milliseconds. */
  readonly elapsedMillis: number
}

/** The options of one batch. */
export interface BatchOptions extends Pick<TransactionOptions, "timeout" | "label" | "foreignKeys"> {
  /**
   * Commits after each so many rows, and lets others write in between. Default `Infinity`: one transaction for all rows. Floor
   * 1. After a failure, what was committed stays, and `stored` says how many rows that are. It cannot be given inside a
   * transaction.
   */
  readonly commitEvery?: number | undefined
  /**
   * The size of the cache of the connection meanwhile, in KiB: SQLite keeps the changed pages there, and writes the last of
   * them in the commit, during which the event loop stands still (about 2 ms for each 1000 KiB). Default 4000, or the `cacheSize` of the database
   * if that is less; where the writer is in a thread, and no event loop waits, the `cacheSize` of the database. Give more where
   * an index gets its keys in random order: with an index of 30 MB, 64 000 made the import three times as fast.
   */
  readonly cacheSize?: number | undefined
}
