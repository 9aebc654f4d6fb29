/** The file of a database as the file system sees it. Looks only from outside: to open it would drop SQLite's locks. */
import { type Stats, statSync } from "node:fs"

/** In milliseconds. Looking costs more than reading a row. */
const pause = 50

export class DatabaseFile {
  readonly #filename: string
  /** Which file it is that the connections have open. */
  #known: Stats | undefined
  #wasOpened = false
  #lookedAt = -Infinity

  constructor(filename: string) {
    this.#filename = filename
  }

  /** Whether there is nothing any more where a file was opened. */
  get isGone(): boolean {
    return this.#wasOpened && look(this.#filename) === "nothing"
  }

  /** Notes which file was opened, unless others have it open already. */
  note(): void {
    this.#wasOpened = true
    const found = look(this.#filename)
    if (isFile(found)) this.#known ??= found
  }

  /** The next to be opened may be another. */
  forget(): void {
    this.#known = undefined
  }

  /** `isInPlace`, as it was found at most a moment ago. */
  wasInPlace(now: number): boolean {
    if (now - this.#lookedAt < pause) return true
    this.#lookedAt = now
    return this.isInPlace
  }

  /**
   * Whether the file that was opened is still at its place. What is written to one that was deleted or replaced is lost
   * without an error.
   */
  get isInPlace(): boolean {
    if (this.#known === undefined) return true
    const found = look(this.#filename)
    if (!isFile(found)) return found === "unknown"
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
