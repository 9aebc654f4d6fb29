/** The rows of one statement, read as they are asked for. */
import type { SqlError } from "effect/sql/SqlError"

/**
 * As long as it is open, SQLite keeps the statement running: what it reads stays as it was, for it and for the log of the
 * file. Node would close it only when it collects garbage, so the caller that opens a cursor closes it.
 */
export class Cursor {
  readonly #rows: Iterator<unknown>
  readonly #failure: (thrown: unknown) => SqlError
  readonly #onClose: (cursor: Cursor) => void
  #isOpen = true
  #error: SqlError | undefined

  constructor(rows: Iterator<unknown>, failure: (thrown: unknown) => SqlError, onClose: (cursor: Cursor) => void) {
    this.#rows = rows
    this.#failure = failure
    this.#onClose = onClose
  }

  get isOpen(): boolean {
    return this.#isOpen
  }

  /** The next rows, `count` at most; none at the end. Throws a `SqlError`, but only after the rows before it were given. */
  read(count: number): Array<unknown> {
    const rows: Array<unknown> = []
    while (this.#isOpen && rows.length < count) this.#readInto(rows)
    if (rows.length === 0 && this.#error !== undefined) throw this.#error
    return rows
  }

  /** Ends the statement. Does nothing if it has ended. A reader that goes on gets the error, if there is one. */
  close(error?: SqlError): void {
    if (!this.#isOpen) return
    this.#isOpen = false
    this.#error = error
    this.#onClose(this)
    try {
      this.#rows.return!()
    } catch {
      // The statement has ended all the same, and its reader has been told what was wrong.
    }
  }

  #readInto(rows: Array<unknown>): void {
    try {
      const next = this.#rows.next()
      if (next.done === true) this.close()
      else rows.push(next.value)
    } catch (thrown) {
      this.close(this.#failure(thrown))
    }
  }
}
