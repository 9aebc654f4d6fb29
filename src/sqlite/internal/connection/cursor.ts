/** Reads the rows of one statement step by step. */
import type { Failure } from "../failures.ts"
import type { Functions } from "./functions.ts"
import type { Prepared } from "./preparedStatements.ts"

/** What a cursor tells its connection. */
export interface Listener {
  /** Called before each read. */
  readonly reads: () => void
  /** Called after each read. */
  readonly hasRead: () => void
  /** Called after the statement has ended, which may be within a read. */
  readonly closed: () => void
}

/**
 * While it is open, the statement runs and pins a state of the database, which the log has to keep. Node would close it
 * only at a garbage collection, so the caller that opens a cursor closes it.
 */
export class Cursor {
  readonly #rows: Iterator<unknown>
  readonly #functions: Functions
  readonly #failure: (thrown: unknown) => Failure
  readonly #listener: Listener
  #isOpen = true
  #error: Failure | undefined
  readonly #prepared: Prepared

  constructor(
    prepared: Prepared,
    rows: Iterator<unknown>,
    functions: Functions,
    failure: (thrown: unknown) => Failure,
    listener: Listener
  ) {
    this.#prepared = prepared
    this.#rows = rows
    this.#functions = functions
    this.#failure = failure
    this.#listener = listener
  }

  get isOpen(): boolean {
    return this.#isOpen
  }

  /** Whether the statement has failed. The rows before that are returned first, and the next read throws. */
  get hasFailed(): boolean {
    return this.#error !== undefined
  }

  /** The names of the columns. They are right after the first read. */
  get columns(): ReadonlyArray<string> {
    return this.#prepared.columns
  }

  /**
   * The next rows, at most `count`; none at the end. Stops after a row for which `isEnough` is true. Returns the rows before
   * an error first, and then throws a `Failure`.
   */
  read(count: number, isEnough?: (row: unknown) => boolean): Array<unknown> {
    this.#functions.assertNone("stream")
    const rows: Array<unknown> = []
    if (this.#isOpen) {
      this.#listener.reads()
      while (this.#isOpen && rows.length < count) {
        this.#readInto(rows)
        if (isEnough !== undefined && rows.length > 0 && isEnough(rows.at(-1))) break
      }
      this.#listener.hasRead()
    }
    if (rows.length === 0 && this.#error !== undefined) throw this.#error
    return rows
  }

  /** Ends the statement. Does nothing if it has ended. Later reads fail with the error, if there is one. */
  close(error?: Failure): void {
    if (!this.#isOpen) return
    this.#isOpen = false
    this.#error = error
    this.#functions.afterwards(() => {
      try {
        this.#rows.return?.()
      } catch {
        // The statement has ended, and its error was reported already.
      } finally {
        this.#listener.closed()
      }
    })
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
