/** Moving the log of a database to its file. */
import { Effect } from "effect"
import type { SqlError } from "effect/sql/SqlError"
import type { LeaseExpiredError } from "../../../PoolError.ts"
import type { CheckpointMode, CheckpointResult } from "../contract/checkpoint.ts"
import type { SqliteConnection } from "../contract/connection.ts"

/** Runs one checkpoint. A log that cannot be moved because a reader needs it is a result, not an error. */
export const checkpoint = (
  connection: SqliteConnection,
  mode: CheckpointMode
): Effect.Effect<CheckpointResult, SqlError | LeaseExpiredError> =>
  Effect.map(connection.values(`pragma wal_checkpoint(${mode})`), ([row]) => {
    const [busy, walPages, movedPages] = row as readonly [number, number, number]
    return {
      isComplete: busy === 0 && walPages <= movedPages,
      // There is no log in memory.
      walPages: Math.max(walPages, 0),
      movedPages: Math.max(movedPages, 0)
    }
  })

export const truncate = (
  connection: SqliteConnection
): Effect.Effect<CheckpointResult, SqlError | LeaseExpiredError> => checkpoint(connection, "truncate")
