/** The file of a database as the file system sees it. Looks only from outside: to open it would drop SQLite's locks. */
import { realpathSync, type Stats, statSync } from "node:fs"

/** Looking costs more than reading a row. */
const pauseMillis = 50

/** Files that SQLite keeps beside one in WAL mode, under its name without links. */
const companions = ["-wal", "-shm"] as const

/** The smallest page: a database that was written to has at least one. */
const smallestPage = 512

/** Why the connections to a file are of no use any more: what is now at its path. */
export interface Problem {
  readonly kind: "gone" | "replaced" | "emptied" | "log"
  readonly text: string
}

export class DatabaseFile {
  readonly #filename: string
  /** The name without links. */
  #real: string
  /** Which file it is that the connections have open. */
  #known: Stats | undefined
  /** Which files it is beside it. */
  #beside = new Map<string, Stats>()
  /** The files that closed connections have left beside the path. */
  #left: { readonly owner: Stats | undefined; readonly files: ReadonlyMap<string, Stats> } | undefined
  #wasOpened = false
  #hadPages = false
  #lookedAt = -Infinity

  constructor(filename: string) {
    this.#filename = filename
    this.#real = filename
  }

  /** Why it should not be opened as it is now, if there is a reason. */
  get refusal(): string | undefined {
    const found = look(this.#filename)
    if (found === "unknown") return undefined
    if (found === "nothing") return this.#wasOpened ? "the file was there and is gone" : undefined
    if (found.size === 0 && this.#hadPages) return "the file was emptied: put a database in its place"
    if (this.#left === undefined) return undefined
    const { files, owner } = this.#left
    if (owner !== undefined && isSameStill(found, owner)) return undefined
    const real = realOf(this.#filename)
    const names = companions.map((companion) => real + companion).filter((path) => {
      const before = files.get(path)
      const now = look(path)
      return before !== undefined && isFile(now) && isSameStill(now, before)
    })
    if (names.length === 0) return undefined
    const list = names.map((path) => `"${path}"`).join(" and ")
    return `${list} beside it ${
      names.length === 1 ? "belongs" : "belong"
    } to another file, which was open at that place ` +
      "before, and would destroy this one: delete what is named here, or put the other file back"
  }

  /** What is there now: given to `note` once it was opened. */
  get present(): Stats | undefined {
    const found = look(this.#filename)
    return isFile(found) ? found : undefined
  }

  /** Notes which file was opened, unless others have it open already. `before` is what was there before. */
  note(before: Stats | undefined, isOnly: boolean): void {
    this.#wasOpened = true
    const found = look(this.#filename)
    if (!isFile(found)) return
    if (isOnly || this.#known === undefined) {
      // If it was replaced meanwhile, the next look shows that.
      this.#known = before ?? found
      this.#left = undefined
      this.#noteLog()
    } else this.noteLogIfForgotten()
    this.#hadPages ||= found.size >= smallestPage
  }

  /** Notes which files are beside it now, unless that is known. */
  noteLogIfForgotten(): void {
    if (this.#beside.size === 0) this.#noteLog()
  }

  #noteLog(): void {
    this.#real = realOf(this.#filename)
    this.#beside = filesOf(this.#real)
  }

  /** The files beside it may be others when it is looked at next. */
  forgetLog(): void {
    this.#beside.clear()
  }

  /** `problem`, as it was found at most a moment ago. */
  recentProblem(now: number): Problem | undefined {
    if (now - this.#lookedAt < pauseMillis) return undefined
    this.#lookedAt = now
    return this.problem
  }

  /**
   * What is wrong with the file that was opened, if anything can be seen. What is written to one that was deleted or
   * replaced is lost without an error.
   */
  get problem(): Problem | undefined {
    if (this.#known === undefined) return undefined
    const found = look(this.#filename)
    // A folder on the way may be out of sight for a while.
    if (found === "unknown") return undefined
    if (found === "nothing") {
      return { kind: "gone", text: "was moved, replaced or deleted: nothing is at its place any more" }
    }
    // Its number is not given to another file as long as a connection has it open.
    if (!isSame(found, this.#known)) {
      return { kind: "replaced", text: "was moved, replaced or deleted: another file is at its place" }
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

  /** The size of the log, in bytes. */
  get walBytes(): number {
    const found = look(`${this.#real}-wal`)
    return isFile(found) ? found.size : 0
  }
}

const filesOf = (real: string): Map<string, Stats> => {
  const files = new Map<string, Stats>()
  for (const companion of companions) {
    const found = look(real + companion)
    if (isFile(found)) files.set(real + companion, found)
  }
  return files
}

/** The name without links, as SQLite has it too; if there is nothing, `otherwise`. */
const realOf = (path: string, otherwise = path): string => {
  try {
    return realpathSync(path)
  } catch {
    return otherwise
  }
}

const isSame = (a: Stats, b: Stats): boolean => a.ino === b.ino && a.dev === b.dev

/** Whether two looks saw one file, even if it was closed in between, when the file system may reuse its number. */
const isSameStill = (a: Stats, b: Stats): boolean => isSame(a, b) && a.birthtimeMs === b.birthtimeMs

const look = (path: string): Stats | "nothing" | "unknown" => {
  try {
    return statSync(path, { throwIfNoEntry: false }) ?? "nothing"
  } catch {
    // A folder on the way that this process may not enter at the moment, for instance.
    return "unknown"
  }
}

const isFile = (found: Stats | "nothing" | "unknown"): found is Stats => typeof found === "object"
