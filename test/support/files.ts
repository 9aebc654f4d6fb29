import { Effect } from "effect"
import { mkdtempSync, readdirSync, readlinkSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { DatabaseSync } from "node:sqlite"

/** A folder for the scope of a test. */
export const folder = Effect.acquireRelease(
  Effect.sync(() => mkdtempSync(join(tmpdir(), "effect-connection-pool-"))),
  (path) => Effect.sync(() => rmSync(path, { recursive: true, force: true }))
)

/** A file that does not exist yet, in a folder of its own. */
export const file = Effect.map(folder, (path) => join(path, "test.db"))

/** Makes a database with one row, and closes it. */
export const given = (filename: string, mode = "wal"): string => {
  const database = new DatabaseSync(filename)
  database.exec(`pragma journal_mode = ${mode}; create table t(a); insert into t values (1)`)
  database.close()
  return filename
}

/** A plain handle on the same file, to see or to disturb what the tested one does. */
export const judge = (path: string, setup = "") =>
  Effect.acquireRelease(
    Effect.sync(() => {
      const database = new DatabaseSync(path)
      database.exec(setup)
      return database
    }),
    (database) =>
      Effect.sync(() => {
        if (database.isOpen) database.close()
      })
  )

/** The files that this process has open whose names begin like that, as far as the system tells: once for each descriptor. */
export const openNames = (path: string): ReadonlyArray<string> => {
  try {
    return readdirSync("/proc/self/fd").map(target).filter((name) => name.startsWith(path))
  } catch {
    return []
  }
}

/** How often this process has files open whose names begin like that, as far as the system tells. */
export const openFiles = (path: string): number => openNames(path).length

const target = (fd: string): string => {
  try {
    return readlinkSync(`/proc/self/fd/${fd}`)
  } catch {
    return ""
  }
}

/** Runs an effect as somebody else does, who is not in the transaction that the caller may be in. */
export const elsewhere = <A, E>(effect: Effect.Effect<A, E>): Effect.Effect<A> =>
  Effect.promise(() => Effect.runPromise(effect))
