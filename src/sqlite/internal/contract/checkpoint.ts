/** The modes and the results of checkpoints. */

/** How much a checkpoint does, and what it waits for. See https://sqlite.org/pragma.html#pragma_wal_checkpoint. */
export type CheckpointMode = "passive" | "full" | "restart" | "truncate"

/** The result of a checkpoint. */
export interface CheckpointResult {
  /** Whether the whole log is in the file, and everything else that the mode requires is done. */
  readonly isComplete: boolean
  /** Pages that were in the log. */
  readonly walPages: number
  /** Pages of the log that are in the file now. */
  readonly movedPages: number
}
