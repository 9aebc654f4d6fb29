/** Finds out why a database could not be opened. SQLite does not say it. */
import { SqlError, UnknownError } from "effect/sql/SqlError"
import { accessSync, constants, type Stats, statSync } from "node:fs"
import { dirname, isAbsolute } from "node:path"
import { show } from "../../../internal/options/rules.ts"
import { toSqlError } from "../errors.ts"
import { codeOfThrown, fromSqliteSaying, invalidInput, isLock, primaryOf, sqliteMessage } from "../failures.ts"
import type { Settings } from "../options/connection.ts"
import { nameOf } from "../options/nameOf.ts"
import { realOf } from "./paths.ts"

/**
 * The error for a failed open. It names the file and the problem.
 *
 * It does not open the file: to open and close it would drop the locks that this process has on it.
 */
export const openFailure = (settings: Settings, thrown: unknown): SqlError => {
  const code = codeOfThrown(thrown)
  const why = code === undefined ? "" : `: ${explain(settings, code)}`
  const said = code === undefined ? sqliteMessage(thrown) : `${sqliteMessage(thrown)}, code ${code}`
  return toSqlError(fromSqliteSaying(thrown, "open", `cannot open ${nameOf(settings)}${why} (${said})`))
}

const explain = (settings: Settings, code: number): string => {
  // SQLite can open a folder, and fails at the first read with the code of a disk error.
  if (lookAt(settings.filename)?.isDirectory() === true) return "it is a folder"
  if (isLock(code)) {
    return `another connection has had a lock on it for all of busyTimeout, ${settings.busyTimeout} ms`
  }
  switch (primaryOf(code)) {
    case 8: // READONLY
      return explainReadOnly(settings, code)
    case 10: // IOERR
      return "the disk, or the file system, failed"
    case 11: // CORRUPT
      return "it is corrupt"
    case 13: // FULL
      return "the disk is full"
    case 14: // CANTOPEN
      return explainCannotOpen(settings)
    case 26: // NOTADB
      return "it is not a SQLite database, or it is encrypted"
    default:
      return "SQLite refused"
  }
}

const explainReadOnly = ({ filename, isReadOnly }: Settings, code: number): string => {
  const folder = folderOf(filename)
  // READONLY_ROLLBACK
  if (code === 776) {
    return "a write to it was interrupted, and has to be rolled back: open it for writing once, and close it"
  }
  if (!isAllowed(folder, constants.W_OK)) {
    return isReadOnly ? walNeedsFolder(folder) : `SQLite needs files beside it, and the folder "${folder}" is read-only`
  }
  const beside = isAllowed(filename, constants.W_OK) ? refusedBeside(filename, constants.W_OK) : undefined
  return beside === undefined ? "the file is read-only" : notAllowed(beside, false)
}

const walNeedsFolder = (folder: string): string =>
  `a database in WAL mode needs files beside it even to be read, and the folder "${folder}" is read-only; if nothing ` +
  "changes the file, set immutable"

/** The folder in which SQLite keeps the files beside a file: it follows links. */
const folderOf = (filename: string): string => dirname(realOf(filename, filename))

const explainCannotOpen = ({ filename, isImmutable, isReadOnly }: Settings): string => {
  if (lookAt(filename) !== undefined) {
    const wanted = isReadOnly ? constants.R_OK : constants.R_OK | constants.W_OK
    if (!isAllowed(filename, wanted)) return "this process may not open the file"
    const folder = folderOf(filename)
    if (isReadOnly && !isImmutable && !isAllowed(folder, constants.W_OK)) return walNeedsFolder(folder)
    const beside = isImmutable ? undefined : refusedBeside(filename, wanted)
    return beside === undefined ? "it cannot be opened" : notAllowed(beside, isReadOnly)
  }
  // Every path is made absolute, where that is possible.
  if (!isAbsolute(filename)) return "the current folder of this process does not exist any more"
  const folder = dirname(filename)
  const closed = closedFolder(folder)
  if (closed !== undefined) return `this process may not enter the folder "${closed}"`
  const parent = lookAt(folder)
  if (parent === undefined) return `the folder "${folder}" does not exist`
  if (!parent.isDirectory()) return `"${folder}" is not a folder`
  if (isReadOnly) return "the file does not exist, and a read-only connection does not create it"
  return isAllowed(folder, constants.W_OK) ? "it cannot be created" : `the folder "${folder}" is read-only`
}

/**
 * Throws if the file, or one of the files that SQLite has left beside it, exists and cannot be written. SQLite would open the
 * database, and fail at the first write.
 */
export const refuseReadOnlyFile = (settings: Settings): void => {
  const refuse = (why: string) => invalidInput("open", `cannot open ${nameOf(settings)}: ${why}`)
  if (!isAllowed(settings.filename, constants.W_OK)) throw refuse("the file is read-only; to read it, set readOnly")
  const beside = refusedBeside(settings.filename, constants.W_OK)
  if (beside !== undefined) throw refuse(notAllowed(beside, false))
}

const notAllowed = (beside: string, isReadOnly: boolean): string =>
  `this process may not ${isReadOnly ? "read" : "write"} "${beside}", which is part of the database; mostly, another ` +
  "user has opened it before: give that file to the user of this process"

/** The first of the files that SQLite has left beside a file and that this process may not use. */
const refusedBeside = (filename: string, mode: number): string | undefined => {
  const real = realOf(filename, filename)
  return ["-wal", "-shm", "-journal"]
    .map((suffix) => real + suffix)
    .find((path) => lookAt(path) !== undefined && !isAllowed(path, mode))
}

/** The first folder on the way to a path that this process may not enter, so that it sees nothing in it. */
const closedFolder = (folder: string): string | undefined => {
  const above = dirname(folder)
  const closed = above === folder ? undefined : closedFolder(above)
  return closed ?? (lookAt(folder)?.isDirectory() === true && !isAllowed(folder, constants.X_OK) ? folder : undefined)
}

/** The error for an `onOpen` that failed with another error than a `SqlError`. */
export const onOpenFailed = (settings: Settings, error: unknown): SqlError => {
  const message = `cannot open ${nameOf(settings)}: onOpen failed: ${
    error instanceof Error ? error.message : show(error)
  }`
  return new SqlError({ reason: new UnknownError({ cause: error, message, operation: "open" }) })
}

/** The status of the file at a path, if this process can see it. */
const lookAt = (path: string): Stats | undefined => {
  try {
    return statSync(path)
  } catch {
    return undefined
  }
}

const isAllowed = (path: string, mode: number): boolean => {
  try {
    accessSync(path, mode)
    return true
  } catch {
    return false
  }
}
