/** Databases that nothing changes: https://sqlite.org/uri.html#uriimmutable. SQLite reads them without locks. */
import { closeSync, openSync, readSync } from "node:fs"
import { pathToFileURL } from "node:url"
import { unconnected } from "../failures.ts"
import type { Settings } from "../options/connection.ts"
import { nameOf } from "../options/nameOf.ts"
import { realOf, sizeOf } from "./paths.ts"

/** The address with which SQLite opens a file and takes no locks. It ignores the log and the journal then. */
export const immutable = (filename: string): URL => {
  const address = pathToFileURL(filename)
  address.searchParams.set("immutable", "1")
  return address
}

/**
 * Throws if the file is not all of its database: there are changes in a log or a journal beside it. SQLite would ignore
 * them without an error. Throws for an empty file too, because nothing fills it any more.
 *
 * To open and close a journal drops no locks.
 */
export const refuseIncomplete = (settings: Settings): void => {
  const refuse = (why: string) => unconnected("open", `cannot open ${nameOf(settings)} with immutable: ${why}`)
  const real = realOf(settings.filename, undefined)
  // Opening the file fails, and says why.
  if (real === undefined) return
  const wal = `${real}-wal`
  // A file whose size cannot be seen may have any.
  if (sizeOf(wal, Infinity) > 0) {
    throw refuse(
      `changes may be in its log "${wal}", and SQLite would ignore them. Use readOnly; or move the log to the file: ` +
        "open the database for writing once, and close it"
    )
  }
  const journal = `${real}-journal`
  if (sizeOf(journal, Infinity) > 0 && isHot(journal)) {
    throw refuse(
      `a write to it was interrupted or is going on, and SQLite would ignore its journal "${journal}". Open the database ` +
        "for writing once, which ends that write, and close it"
    )
  }
  if (sizeOf(real, Infinity) === 0) throw refuse("the file is empty, and nothing is to be written to it")
}

/** Whether a journal has changes: `journal_mode = persist` sets its first bytes to zero when the write has ended. */
const isHot = (journal: string): boolean => {
  const head = Buffer.alloc(1)
  try {
    const descriptor = openSync(journal, "r")
    try {
      return readSync(descriptor, head, 0, 1, 0) === 1 && head[0] !== 0
    } finally {
      closeSync(descriptor)
    }
  } catch {
    return true
  }
}
