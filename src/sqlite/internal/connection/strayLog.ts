/** Finds a log that belongs to another file. SQLite would apply it, or delete it. */
import { closeSync, openSync, readSync } from "node:fs"
import { DatabaseSync } from "node:sqlite"
import { unconnected } from "../failures.ts"
import type { Settings } from "../options/connection.ts"
import { nameOf } from "../options/nameOf.ts"
import { immutable } from "./immutable.ts"
import { realOf, sizeOf } from "./paths.ts"

/**
 * Throws if the log certainly belongs to another file: there is no file, or its pages have another size. Nothing else
 * can be compared, because a log also fits an older copy of its database.
 *
 * Call it before this process opens the database, because SQLite applies the log as soon as it is open.
 */
export const refuseStrayLog = (settings: Settings): void => {
  const real = realOf(settings.filename, settings.filename)
  const log = `${real}-wal`
  // The log comes first: a file that another process creates just now has none.
  // Where a size cannot be seen, opening the database fails and says why.
  if (sizeOf(log, 0) === 0) return
  const refuse = (why: string) => unconnected("open", `cannot open ${nameOf(settings)}: ${why}`)
  if (sizeOf(real, 0) === 0) {
    throw refuse(
      `there is no database, but the log of one, "${log}": put the file back to which it belongs, or delete it`
    )
  }
  const ofLog = pageSizeOfLog(log)
  const ofFile = ofLog === undefined ? undefined : pageSizeOfFile(real)
  if (ofLog === undefined || ofFile === undefined || ofLog === ofFile) return
  throw refuse(
    `"${log}" is the log of another file, and would destroy this one: it has pages of ${ofLog} bytes, the file of ` +
      `${ofFile}. Delete "${log}" and "${real}-shm", or put the other file back`
  )
}

/** The page size in the header of a log, if SQLite would accept the header. To open and close a log drops no locks. */
const pageSizeOfLog = (log: string): number | undefined => {
  const head = Buffer.alloc(32)
  try {
    const descriptor = openSync(log, "r")
    try {
      if (readSync(descriptor, head, 0, 32, 0) < 32) return undefined
    } finally {
      closeSync(descriptor)
    }
  } catch {
    return undefined
  }
  const magic = head.readUInt32BE(0)
  if (magic !== 0x377f0682 && magic !== 0x377f0683) return undefined
  const read = magic % 2 === 0 ? (at: number) => head.readUInt32LE(at) : (at: number) => head.readUInt32BE(at)
  let [first, second] = [0, 0]
  for (let at = 0; at < 24; at += 8) {
    first = (first + read(at) + second) >>> 0
    second = (second + read(at + 4) + first) >>> 0
  }
  return first === head.readUInt32BE(24) && second === head.readUInt32BE(28) ? head.readUInt32BE(8) : undefined
}

/**
 * The page size of the file. SQLite reads it, because any other open and close would drop the locks of this process.
 */
const pageSizeOfFile = (real: string): number | undefined => {
  try {
    // With `immutable`, SQLite ignores the log.
    const database = new DatabaseSync(immutable(real), { readOnly: true })
    try {
      // Fails if the file is no database, for which the pragma would return a default.
      database.exec("select 1 from sqlite_schema limit 1")
      return database.prepare("pragma page_size").get()!["page_size"] as number
    } finally {
      database.close()
    }
  } catch {
    return undefined
  }
}
