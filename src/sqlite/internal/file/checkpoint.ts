/** Moving the log of a database to its file. */
import { Effect } from "effect"
import type { SqlError } from "effect/sql/SqlError"
import type { LeaseExpiredError } from "../../../PoolError.ts"
import type * as SqliteConnection from "../../SqliteConnection.ts"

export type Mode = "passive" | "full" | "restart" | "truncate"

export interface Checkpoint {
  /** Whether all of the log is in the file, and what the mode asks for besides was done. */
  readonly isComplete: boolean
  /** Pages that were in the log. */
  readonly walPages: number
  /** How many of them are in the file now. */
  readonly movedPages: number
}

/** What it cannot do because somebody reads in the log, it says: it is no error. */
export const checkpoint = (
  connection: SqliteConnection.SqliteConnection,
  mode: Mode
): Effect.Effect<Checkpoint, SqlError | LeaseExpiredError> =>
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
  connection: SqliteConnection.SqliteConnection
): Effect.Effect<Checkpoint, SqlError | LeaseExpiredError> => checkpoint(connection, "truncate")
