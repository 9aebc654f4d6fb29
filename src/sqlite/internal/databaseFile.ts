/** The file of a database as the file system sees it. Looks only from outside: to open it would drop SQLite's locks. */
import { type Stats, statSync } from "node:fs"

/** In milliseconds. Looking costs about as much as reading a row. */
const pause = 50

export class DatabaseFile {
  readonly #filename: string
  /** Which file it was that the connections have opened. */
  #known: Stats | undefined
  #lookedAt = -Infinity

  constructor(filename: string) {
    this.#filename = filename
  }

  /** Whether there is a file where one was opened before, or none was. */
  get mayBeOpened(): boolean {
    return this.#known === undefined || look(this.#filename) !== "nothing"
  }

  /** Notes which file was opened. */
  note(): void {
    const found = look(this.#filename)
    if (isFile(found)) this.#known = found
  }

  /**
   * Whether the file that was opened is still at its place, or was a moment ago. What is written to one that was deleted
   * or replaced is lost without an error.
   */
  isInPlace(now: number): boolean {
    if (now - this.#lookedAt < pause) return true
    this.#lookedAt = now
    const found = look(this.#filename)
    if (!isFile(found) || this.#known === undefined) return found !== "nothing"
    // Its number is not given to another file as long as a connection has it open.
    return found.ino === this.#known.ino && found.dev === this.#known.dev
  }

  /** The size of the log, in bytes. */
  get walBytes(): number {
    const found = look(`${this.#filename}-wal`)
    return isFile(found) ? found.size : 0
  }
}

const look = (path: string): Stats | "nothing" | "unknown" => {
  try {
    return statSync(path, { throwIfNoEntry: false }) ?? "nothing"
  } catch {
    // A folder on the way that this process may not enter at the moment, for instance.
    return "unknown"
  }
}

const isFile = (found: Stats | "nothing" | "unknown"): found is Stats => typeof found === "object"
