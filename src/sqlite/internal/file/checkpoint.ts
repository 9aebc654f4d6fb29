/** Checkpoints: they move the log of a database to its file. */
import { Effect } from "effect"
import type { SqlError } from "effect/sql/SqlError"
import type { LeaseExpiredError } from "../../../PoolError.ts"
import type { CheckpointMode, CheckpointResult } from "../contract/checkpoint.ts"
import type { SqliteConnection } from "../contract/connection.ts"
import { checkpointOnThread } from "./checkpointThread.ts"
import type { Sides } from "./sides.ts"

/** Runs one checkpoint. It is no error if a part of the log cannot be moved because a reader needs it. */
export const checkpoint = (
  connection: SqliteConnection,
  mode: CheckpointMode
): Effect.Effect<CheckpointResult, SqlError | LeaseExpiredError> =>
  Effect.map(connection.values(`pragma wal_checkpoint(${mode})`), ([row]) => {
    const [busy, walPages, movedPages] = row as readonly [number, number, number]
    return {
      isComplete: busy === 0 && walPages <= movedPages,
      // For a database in memory, which has no log, SQLite returns -1.
      walPages: Math.max(walPages, 0),
      movedPages: Math.max(movedPages, 0)
    }
  })

export const truncate = (
  connection: SqliteConnection
): Effect.Effect<CheckpointResult, SqlError | LeaseExpiredError> => checkpoint(connection, "truncate")

/** From this length of the log on, in bytes, it is worth the start of a thread to move it. */
const longBytes = 8 * 1024 * 1024

/**
 * Before a checkpoint in process, moves a long log to the file on another thread, so that the event loop does not stand still
 * for it. Nobody has to hold a connection meanwhile: what is written in the meantime is left to the checkpoint. An interrupt
 * waits for the thread.
 */
export const moveAhead = ({ file, workerWriter }: Pick<Sides, "file" | "workerWriter">): Effect.Effect<void> =>
  Effect.suspend(() =>
    file === undefined || workerWriter !== undefined || file.file.walBytes < longBytes
      ? Effect.void
      : checkpointOnThread(file, false)
  )
