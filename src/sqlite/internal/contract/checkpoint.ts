/** Checkpoints: what they are asked for, and what they have done. */

/** How much a checkpoint does, and for whom it waits. See https://sqlite.org/pragma.html#pragma_wal_checkpoint. */
export type CheckpointMode = "passive" | "full" | "restart" | "truncate"

/** What a checkpoint has done. */
export interface CheckpointResult {
  /** Whether the whole log is in the file, and whatever else the mode asks for was done. */
  readonly isComplete: boolean
  /** Pages that were in the log. */
  readonly walPages: number
  /** How many of them are in the file now. */
  readonly movedPages: number
}
