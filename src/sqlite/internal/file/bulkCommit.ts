/**
 * The work around the commit of a long transaction, done by other threads. In the commit itself, and in the checkpoint that
 * SQLite does after it, the event loop would stand still.
 */
import { Effect } from "effect"
import { close, fdatasync, open } from "node:fs"
import type { Bulk } from "../connection/bulk.ts"
import { checkpointOnThread } from "./checkpointThread.ts"
import type { SharedFile } from "./connections.ts"

export interface BulkCommit {
  /** Before the commit: brings what is in the log to the disk, so that the commit has little left to wait for. */
  readonly before: Effect.Effect<void>
  /** After the commit, while the connection is still held: moves the log to the file if it is long. */
  readonly after: (bulk: Bulk) => Effect.Effect<void>
}

export const make = (shared: SharedFile): BulkCommit => {
  const { file, settings } = shared
  const { synchronous } = settings.connection
  return {
    before: synchronous === "full" || synchronous === "extra"
      ? Effect.suspend(() => syncLog(file.walPath))
      : Effect.void,
    after: (bulk) =>
      Effect.suspend(() => {
        const { walBytes } = file
        return walBytes < bulk.dueBytes ? Effect.void : checkpointOnThread(shared, walBytes > settings.walLimit / 2)
      })
  }
}

/**
 * Brings the log to the disk. If that fails, the commit does it and reports the failure. To open and close the log drops no
 * locks of SQLite: they are on the other files.
 */
const syncLog = (path: string): Effect.Effect<void> =>
  Effect.callback<void>((resume) => {
    const done = () => resume(Effect.void)
    try {
      open(path, "r+", (failure, descriptor) => {
        if (failure !== null) return done()
        fdatasync(descriptor, () => close(descriptor, done))
      })
    } catch {
      done()
    }
  })
