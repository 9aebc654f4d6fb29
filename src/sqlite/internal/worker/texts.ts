/**
 * The numbers of the texts of statements, on the side of the caller. The text itself is sent once. The caller alone decides
 * which numbers are forgotten, so both sides know the same.
 */
import type { TextNumber } from "./protocol.ts"

/** A text that the thread knows. */
export interface Known {
  readonly number: TextNumber
  readonly sql: string
  /** The names of the columns of its rows, if they were received. */
  columns: ReadonlyArray<string> | undefined
}

export class Texts {
  readonly #known = new Map<string, Known>()
  readonly #capacity: number
  #next = 1
  #forgotten: Array<TextNumber> = []

  constructor(capacity: number) {
    this.#capacity = capacity
  }

  get size(): number {
    return this.#known.size
  }

  /** The number of a text, and whether the thread does not know it yet. `undefined` for a text that is not kept. */
  read(sql: string): { readonly known: Known; readonly isNew: boolean } | undefined {
    const known = this.#known.get(sql)
    if (known !== undefined) return { known, isNew: false }
    if (this.#capacity === 0 || sql.length > longestToKeep) return undefined
    const made: Known = { number: this.#next++, sql, columns: undefined }
    this.#known.set(sql, made)
    if (this.#known.size > this.#capacity) this.#forget()
    return { known: made, isNew: true }
  }

  /** The numbers that were forgotten since the last call. */
  takeForgotten(): ReadonlyArray<TextNumber> {
    const forgotten = this.#forgotten
    if (forgotten.length > 0) this.#forgotten = []
    return forgotten
  }

  /** Forgets the oldest text. To forget the least recently used one would cost each use more than the text costs once. */
  #forget(): void {
    const oldest = this.#known.values().next().value!
    this.#known.delete(oldest.sql)
    this.#forgotten.push(oldest.number)
  }
}

/** A longer text is sent each time. It has many values in it, and is different each time. */
const longestToKeep = 10_000
