/** The settings of a connection while one transaction changes many rows. */
import type { Database } from "./database.ts"

/**
 * The event loop stands still during a commit, so a commit must have little to do. SQLite writes the changed pages in its
 * cache then, so the cache is small. The checkpoint after it comes later: on another thread.
 */
export class Bulk {
  #database: Database
  #isOn = false
  #pageSize = 0
  /** The settings as they were before. */
  #autoCheckpoint = 0
  #cacheSize = 0
  /** Whether another such transaction follows, so that the log may grow a bit more. */
  isContinued = false

  constructor(database: Database) {
    this.#database = database
  }

  get isOn(): boolean {
    return this.#isOn
  }

  /** The size of the log, in bytes, from which on a checkpoint is due. `Infinity` if SQLite is never to do one by itself. */
  get dueBytes(): number {
    const pages = this.#autoCheckpoint
    return pages <= 0 ? Infinity : pages * (this.#pageSize + frameHeader) * (this.isContinued ? continuedFactor : 1)
  }

  /** Starts again with a database that was opened again. */
  restart(database: Database): void {
    this.#database = database
    this.#isOn = false
  }

  /** `cacheKib` is the size of the cache. If it is not given, the cache is made smaller if it is large. Throws the errors of Node. */
  begin(cacheKib: number | undefined): void {
    if (this.isOn) return
    const [pageSize, cacheSize, autoCheckpoint] = ["page_size", "cache_size", "wal_autocheckpoint"].map((pragma) =>
      Number(this.#database.ask(`pragma ${pragma}`)[0]?.[0])
    ) as [number, number, number]
    this.#pageSize = pageSize
    this.#autoCheckpoint = autoCheckpoint
    this.#cacheSize = cacheSize
    this.#isOn = true
    this.isContinued = false
    // SQLite counts in pages, or in KiB if the number is negative.
    const kib = cacheSize < 0 ? -cacheSize : cacheSize * pageSize / 1024
    const wanted = cacheKib ?? Math.min(kib, smallCacheKib)
    this.#database.own(`pragma cache_size = ${-Math.ceil(wanted)}; pragma wal_autocheckpoint = 0`)
  }

  /** Throws the errors of Node. */
  end(): void {
    if (!this.#isOn) return
    this.#isOn = false
    this.#database.own(`pragma cache_size = ${this.#cacheSize}; pragma wal_autocheckpoint = ${this.#autoCheckpoint}`)
  }
}

/**
 * Much smaller, and SQLite would write the inner pages of a table twice, and then read the whole log again at the commit to
 * correct its checksums.
 */
const smallCacheKib = 4000

/** In the log, each page has a header. */
const frameHeader = 24

/** How much longer the log may be between the transactions of one import: to start a thread takes a while. */
const continuedFactor = 8
