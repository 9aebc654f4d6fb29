/**
 * Checkpoints on another thread. A checkpoint of a long log takes hundreds of milliseconds, and node:sqlite would block the
 * event loop for it.
 *
 * The thread opens the file itself, so it needs no connection of the pool. Nothing depends on its success: if it cannot be
 * started, or fails, SQLite does the checkpoint later, in a commit.
 */
import { Effect } from "effect"
import { pathToFileURL } from "node:url"
import { Worker } from "node:worker_threads"
import type { SharedFile } from "./connections.ts"

/**
 * Moves the log to the file, as far as no reader needs it; with `cuts`, cuts it back to zero bytes too. For that, the caller
 * holds the connection that writes, so that this process writes nothing meanwhile. Keeps the process alive until it has ended. An
 * interrupt waits for it.
 */
export const checkpointOnThread = ({ file, settings }: SharedFile, cuts: boolean): Effect.Effect<void> =>
  Effect.uninterruptible(Effect.callback<void>((resume) => {
    const { known } = file
    if (known === undefined) return resume(Effect.void)
    const address = pathToFileURL(settings.connection.filename)
    // Without this, SQLite would make a new file if the file is gone.
    address.searchParams.set("mode", "rw")
    try {
      threads.start({
        address: address.href,
        path: settings.connection.filename,
        device: known.dev,
        inode: known.ino,
        synchronous: settings.connection.synchronous,
        cuts
      })
        // Without a listener, an error of the thread would end the process.
        .on("error", () => {})
        .on("exit", () => resume(Effect.void))
    } catch {
      // The process may not start threads, for instance with --permission.
      resume(Effect.void)
    }
  }))

/** Starts threads. Tests put failures here. */
export const threads = {
  start: (workerData: unknown): Worker =>
    // The thread needs nothing that the application loads into its threads.
    new Worker(program, { eval: true, execArgv: [], env: {}, workerData })
}

/**
 * The program of the thread. It does nothing if another file is at the path by now: the log beside it would not belong to
 * that file. A lock of another process is no error, because the row says that it was met.
 */
const program = `
const { statSync } = require("node:fs")
const { DatabaseSync } = require("node:sqlite")
const { workerData } = require("node:worker_threads")
const { address, path, device, inode, synchronous, cuts } = workerData
const database = new DatabaseSync(address, { timeout: 0 })
try {
  const { dev, ino } = statSync(path)
  if (dev === device && ino === inode) {
    database.exec("pragma synchronous = " + synchronous)
    const { busy, log, checkpointed } = database.prepare("pragma wal_checkpoint(passive)").get()
    if (cuts && busy === 0 && log === checkpointed) database.exec("pragma wal_checkpoint(truncate)")
  }
} finally {
  database.close()
}
`
