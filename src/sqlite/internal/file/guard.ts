/** Keeps a file as it is while connections to it are closed. */
import { DatabaseSync } from "node:sqlite"

/**
 * Locks a file, so that no other connection is the last one to close it. The last one would move the log to the file.
 */
export const guardOf = (filename: string): DatabaseSync | undefined => {
  const guard = new DatabaseSync(filename, { readOnly: true, timeout: 0 })
  try {
    guard.exec("begin; select 1 from sqlite_schema limit 1")
    return guard
  } catch {
    // The file is no database any more.
    guard.close()
    return undefined
  }
}
