/** Where statements of SQLite run. */
import type { AcquireOptions } from "../../../ConnectionPool.ts"

/**
 * Where a statement runs. `"in-process"`: in the thread of the application, which stands still meanwhile. `"worker"`: in a
 * thread of its own, which holds up nobody.
 */
export type Execution = "in-process" | "worker"

/** The options of one read. */
export interface ReadOptions extends AcquireOptions {
  /**
   * Where the statements of this read run. `"worker"` needs the option `workers` of the database. It has no effect inside a
   * transaction, whose connection runs everything, and in memory. Default: as `onWorker` or `inProcess` says, or else
   * `execution` of the database.
   */
  readonly execution?: Execution | undefined
}

/** The options of one read in the thread of the application. */
export interface InProcessOptions extends ReadOptions {
  readonly execution: "in-process"
}
