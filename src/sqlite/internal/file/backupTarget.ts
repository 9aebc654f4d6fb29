/**
 * The file to which a backup may be written. It is judged without being opened: to open and close a file drops the
 * locks that this process has on it.
 */
import { randomUUID } from "node:crypto"
import { accessSync, constants, lstatSync, readdirSync, readlinkSync, realpathSync, rmSync, type Stats } from "node:fs"
import { basename, dirname, join, resolve } from "node:path"
import { DatabaseSync } from "node:sqlite"
import { realOf } from "../connection/paths.ts"
import { codeOfThrown, isLock } from "../failures.ts"

/** Files that SQLite keeps beside a database. */
const companions = ["-wal", "-shm", "-journal"] as const

/**
 * The target of a backup, with links followed. Throws an error that says why nothing may be written there.
 *
 * `own` is the file of the database that is copied, if it has one.
 */
export const targetOf = (name: unknown, own: string | undefined): string => {
  if (typeof name !== "string") throw new TypeError("the target is no path: it has to be text")
  if (name.trim() === "") throw new TypeError("the target has no name")
  if (name.includes("\0")) throw new TypeError("the target's name has a character of code 0 in it")
  if (name === ":memory:") throw new TypeError("the target has to be a file: a copy in memory would be gone at once")
  const target = follow(resolve(name))
  refuse(target, own)
  return target
}

/** Throws an error that says why the target must not be written now, if it must not. */
export const refuse = (target: string, own: string | undefined): void => {
  const found = look(target)
  if (own !== undefined) refuseOwn(target, found, own)
  if (found?.isDirectory() === true) throw new Error("it is a folder: name the file in it")
  if (found !== undefined && !found.isFile()) throw new Error("it is not a file")
  for (const companion of companions) {
    if (look(target + companion) !== undefined) throw new Error(inUse(target, companion))
    if (target.endsWith(companion) && look(target.slice(0, -companion.length)) !== undefined) {
      throw new Error(`it belongs to the database "${target.slice(0, -companion.length)}"`)
    }
  }
  if (!isAllowed(dirname(target))) throw new Error(`this process may not write to the folder "${dirname(target)}"`)
}

/** Throws if the target is a file of the database itself, also under another name. */
const refuseOwn = (target: string, found: Stats | undefined, own: string): void => {
  const file = isThere(own) ? realpathSync(own) : placeOf(own)
  if (target === file || isSame(found, look(file))) throw new Error("that is the database itself")
  for (const companion of companions) {
    const path = file + companion
    if (target === path || isSame(found, look(path))) {
      throw new Error(`that is the "${companion}" of the database itself`)
    }
  }
}

/** The path of a file that is not there now, without links as far as they exist. */
const placeOf = (own: string): string => {
  const path = resolve(own)
  const folder = dirname(path)
  return join(realOf(folder, folder), basename(path))
}

const inUse = (target: string, companion: string): string =>
  `a database is in use at that path: it has a ${companion === "-wal" ? "log" : `"${companion}"`} beside it. ` +
  `If no process uses it any more, delete "${target + companion}"`

/**
 * The path without links. If the file does not exist, only the path of its folder is resolved. Throws for a broken
 * link.
 */
const follow = (path: string): string => {
  const found = look(path)
  if (found === undefined) return join(folderOf(path), basename(path))
  if (!found.isSymbolicLink()) return realpathSync(path)
  if (isThere(path)) return realpathSync(path)
  throw new Error(`it is a link to "${readlinkSync(path)}", which does not exist: name the file itself`)
}

const folderOf = (path: string): string => {
  const folder = dirname(path)
  if (!isThere(folder)) throw new Error(`the folder "${folder}" does not exist`)
  const real = realpathSync(folder)
  if (look(real)?.isDirectory() !== true) throw new Error(`"${folder}" is not a folder`)
  return real
}

/** The status of the file at a path, without following links. Throws if this process cannot read it. */
const look = (path: string): Stats | undefined => {
  try {
    return lstatSync(path, { throwIfNoEntry: false })
  } catch (thrown) {
    // A part of the path is a file, so nothing is below it.
    if ((thrown as NodeJS.ErrnoException).code === "ENOTDIR") return undefined
    throw thrown
  }
}

/** Whether something exists at the path, links followed. */
const isThere = (path: string): boolean => {
  try {
    realpathSync(path)
    return true
  } catch (thrown) {
    const { code } = thrown as NodeJS.ErrnoException
    if (code === "ENOENT" || code === "ENOTDIR") return false
    throw thrown
  }
}

const isSame = (a: Stats | undefined, b: Stats | undefined): boolean =>
  a !== undefined && b !== undefined && a.ino === b.ino && a.dev === b.dev

const isAllowed = (folder: string): boolean => {
  try {
    accessSync(folder, constants.W_OK | constants.X_OK)
    return true
  } catch {
    return false
  }
}

/** Copies that this process is making. */
const partials = new Set<string>()

/** Makes a name for an incomplete copy beside its target. Other backups do not remove it before `forgetPartial`. */
export const newPartial = (target: string): string => {
  const partial = `${target}.${randomUUID()}.partial`
  partials.add(partial)
  return partial
}

/** Deletes an incomplete copy, if it exists. */
export const forgetPartial = (partial: string): void => {
  remove(partial)
  partials.delete(partial)
}

const remove = (partial: string): void => {
  for (const path of [partial, `${partial}-journal`]) rmSync(path, { force: true })
}

/**
 * Deletes the incomplete copies that earlier backups to this target have left. Returns those that cannot be deleted.
 */
export const removeLeftovers = (target: string): Array<string> => {
  const folder = dirname(target)
  const left: Array<string> = []
  for (const name of readdirSync(folder)) {
    if (!name.startsWith(`${basename(target)}.`) || !leftover.test(name)) continue
    const partial = join(folder, name)
    if (name.length - ".partial".length - uuidLength !== basename(target).length + 1) continue
    try {
      if (!partials.has(partial) && !isBeingWritten(partial)) remove(partial)
    } catch {
      left.push(partial)
    }
  }
  return left
}

const uuidLength = 36
const leftover = /\.[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}\.partial$/

/** Whether another process writes a copy: that process holds a lock on it. */
const isBeingWritten = (partial: string): boolean => {
  const database = new DatabaseSync(partial, { timeout: 0 })
  try {
    database.exec("begin exclusive")
    return false
  } catch (thrown) {
    return isLock(codeOfThrown(thrown))
  } finally {
    database.close()
  }
}
