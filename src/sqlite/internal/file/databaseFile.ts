/**
 * The status of a database file. The file is never opened here, because to open and close it would drop SQLite's locks.
 */
import { type Stats, statSync } from "node:fs"
import { realOf } from "../connection/paths.ts"

/** The file is looked at no more often than this, because a look takes longer than reading a row. */
const lookEveryMillis = 50

/**
 * The endings of the files that SQLite keeps beside a database in WAL mode. Links are followed before they are added.
 */
const companions = ["-wal", "-shm"] as const

/** The size of the smallest page. A database that is not empty has at least one page. */
const smallestPage = 512

/** Why the connections to a file cannot be used any more: what is at its path now. */
export interface Problem {
  readonly kind: "gone" | "replaced" | "emptied" | "log"
  readonly text: string
}

export class DatabaseFile {
  readonly #filename: string
  readonly #hasLog: boolean
  /** The path without links. */
  #real: string
  /** The file that the connections have open. */
  #known: Stats | undefined
  /** Whether nothing was at the path after an open, so that the file that is open is not known. */
  #wentDuringOpen = false
  /** The files beside it. */
  #beside = new Map<string, Stats>()
  /** The files that closed connections have left beside the path. */
  #left: { readonly owner: Stats | undefined; readonly files: ReadonlyMap<string, Stats> } | undefined
  #wasOpened = false
  #hadPages = false
  #lookedAt = -Infinity

  /** `hasLog` says whether its connections use the files beside it. */
  constructor(filename: string, hasLog: boolean) {
    this.#hasLog = hasLog
    this.#filename = filename
    this.#real = filename
  }

  /** Why the file must not be opened now, if it must not. */
  get refusal(): string | undefined {
    const found = look(this.#filename)
    if (found === "unknown") return undefined
    if (found === "nothing") return this.#wasOpened ? "the file was there and is gone" : undefined
    if (found.size === 0 && this.#hadPages) return "the file was emptied: put a database in its place"
    if (this.#left === undefined) return undefined
    const { files, owner } = this.#left
    if (owner !== undefined && isSameStill(found, owner)) return undefined
    const real = realOf(this.#filename, this.#filename)
    const names = companions.map((companion) => real + companion).filter((path) => {
      const before = files.get(path)
      const now = look(path)
      return before !== undefined && isFile(now) && isSameStill(now, before)
    })
    if (names.length === 0) return undefined
    const list = names.map((path) => `"${path}"`).join(" and ")
    return `${list} beside it ${
      names.length === 1 ? "belongs" : "belong"
    } to another file, which was open at that path ` +
      "before, and would destroy this one: delete what is named here, or put the other file back"
  }

  /** The file that is there now. Read it before an open, and give it to `note` after the open. */
  get present(): Stats | undefined {
    const found = look(this.#filename)
    return isFile(found) ? found : undefined
  }

  /**
   * Notes which file was opened. `before` is the file that was there before, and `isOnly` says that no other connection
   * of this process has it open.
   */
  note(before: Stats | undefined, isOnly: boolean): void {
    this.#wasOpened = true
    const found = look(this.#filename)
    if (found === "nothing" && this.#known === undefined) {
      this.#wentDuringOpen = true
      this.#lookedAt = -Infinity
      this.#noteLog()
    }
    if (!isFile(found)) return
    if (isOnly || this.#known === undefined) {
      // If the file was replaced during the open, the next look finds that.
      this.#known = before ?? found
      this.#left = undefined
      this.#noteLog()
    } else this.noteLogIfForgotten()
    this.#hadPages ||= found.size >= smallestPage
  }

  /** Notes the files beside it, unless they are known. */
  noteLogIfForgotten(): void {
    if (this.#beside.size === 0) this.#noteLog()
  }

  #noteLog(): void {
    this.#real = realOf(this.#filename, this.#filename)
    if (this.#hasLog) this.#beside = filesOf(this.#real)
  }

  /** Forgets the files beside it, because SQLite may make others. */
  forgetLog(): void {
    this.#beside.clear()
  }

  /** The same as `problem`, but at most every `lookEveryMillis`. In between it finds nothing. */
  recentProblem(now: number): Problem | undefined {
    if (now - this.#lookedAt < lookEveryMillis) return undefined
    this.#lookedAt = now
    return this.problem
  }

  /**
   * Why the connections to the file cannot be used any more, if this can be seen. SQLite would write to a deleted or
   * replaced file without an error, and the data would be lost.
   */
  get problem(): Problem | undefined {
    if (this.#known === undefined) return this.#wentDuringOpen ? gone : undefined
    const found = look(this.#filename)
    // A folder of the path may be unreachable for a while.
    if (found === "unknown") return undefined
    if (found === "nothing") return gone
    // While a connection has the file open, the file system gives its inode to no other file.
    if (!isSame(found, this.#known)) {
      return { kind: "replaced", text: "was moved, replaced or deleted: another file is at its path" }
    }
    if (found.size >= smallestPage) this.#hadPages = true
    else if (this.#hadPages) return { kind: "emptied", text: `was emptied: its file has ${found.size} bytes` }
    for (const [path, known] of this.#beside) {
      const beside = look(path)
      if (beside === "unknown" || (isFile(beside) && isSame(beside, known))) continue
      return { kind: "log", text: `lost a file that belongs to it: "${path}" was moved, replaced or deleted` }
    }
    return undefined
  }

  /** Whether the files beside the path belong to the file that was there before. */
  get isLogLeft(): boolean {
    return this.#leftovers(isSame).size > 0
  }

  /** Forgets the file after all its connections were closed, but remembers the files that they left beside the path. */
  leave(problem: Problem): void {
    const files = this.#leftovers(isSameStill)
    if (files.size > 0) this.#left = { owner: problem.kind === "emptied" ? undefined : this.#known, files }
    this.#known = undefined
    this.#wentDuringOpen = false
    this.#beside.clear()
  }

  #leftovers(isOurs: (found: Stats, known: Stats) => boolean): Map<string, Stats> {
    const left = filesOf(realOf(this.#filename, this.#real))
    for (const [path, found] of left) {
      const known = this.#beside.get(path)
      if (known === undefined || !isOurs(found, known)) left.delete(path)
    }
    return left
  }

  /** The file that the connections have open. */
  get known(): Stats | undefined {
    return this.#known
  }

  get walPath(): string {
    return `${this.#real}-wal`
  }

  /** The size of the log, in bytes. */
  get walBytes(): number {
    const found = look(this.walPath)
    return isFile(found) ? found.size : 0
  }
}

const gone: Problem = { kind: "gone", text: "was moved, replaced or deleted: nothing is at its path any more" }

const filesOf = (real: string): Map<string, Stats> => {
  const files = new Map<string, Stats>()
  for (const companion of companions) {
    const found = look(real + companion)
    if (isFile(found)) files.set(real + companion, found)
  }
  return files
}

const isSame = (a: Stats, b: Stats): boolean => a.ino === b.ino && a.dev === b.dev

/** Whether two looks saw the same file, also if it was closed in between, when the file system may reuse its inode. */
const isSameStill = (a: Stats, b: Stats): boolean => isSame(a, b) && a.birthtimeMs === b.birthtimeMs

const look = (path: string): Stats | "nothing" | "unknown" => {
  try {
    return statSync(path, { throwIfNoEntry: false }) ?? "nothing"
  } catch {
    // For instance, this process may not enter a folder of the path now.
    return "unknown"
  }
}

const isFile = (found: Stats | "nothing" | "unknown"): found is Stats => typeof found === "object"
