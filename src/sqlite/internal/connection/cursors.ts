/** The open cursors of one connection. */
import type { Recorder } from "../../../internal/pool/recorder.ts"
import type { Failure } from "../failures.ts"
import { Cursor } from "./cursor.ts"
import type { Functions } from "./functions.ts"
import type { Observed } from "./observed.ts"
import type { Prepared } from "./preparedStatements.ts"

/** How a cursor gives its rows, and whether it may use the kept statement: then it ends when the statement runs again. */
export interface CursorRows {
  readonly arrays: boolean
  readonly which: "get" | "fresh"
}

/** The rows of a stream: other statements run while it is read. */
export const streamed: CursorRows = { arrays: false, which: "fresh" }

/** Rows that call a function after the first read. SQLite runs a statement then, and not when its cursor is opened. */
export class FirstRead implements Iterator<unknown> {
  readonly #rows: Iterator<unknown>
  #hasRun: (() => void) | undefined

  constructor(rows: Iterator<unknown>, hasRun: () => void) {
    this.#rows = rows
    this.#hasRun = hasRun
  }

  next(): IteratorResult<unknown> {
    const next = this.#rows.next()
    const hasRun = this.#hasRun
    this.#hasRun = undefined
    hasRun?.()
    return next
  }

  return(): IteratorResult<unknown> {
    return this.#rows.return?.() ?? { done: true, value: undefined }
  }
}

export class Cursors {
  readonly #observed: Observed
  readonly #recorder: Recorder
  readonly #open = new Set<Cursor>()

  constructor(observed: Observed, recorder: Recorder) {
    this.#observed = observed
    this.#recorder = recorder
  }

  get size(): number {
    return this.#open.size
  }

  /** Opens a cursor on the rows of a statement. `failure` makes its error from what Node throws. */
  open(
    prepared: Prepared,
    rows: Iterator<unknown>,
    functions: Functions,
    failure: (thrown: unknown) => Failure
  ): Cursor {
    const run = this.#recorder.goOn(prepared.sql)
    const cursor = new Cursor(prepared, rows, functions, failure, {
      reads: () => {
        this.#recorder.enter(run)
        this.#observed.runs(prepared.tables)
      },
      hasRead: () => this.#recorder.leave(run),
      closed: () => {
        this.#open.delete(cursor)
        this.#recorder.finish(run)
        this.#observed.closed(prepared)
      }
    })
    this.#open.add(cursor)
    this.#observed.opened(prepared)
    return cursor
  }

  /** Closes all cursors. Later reads of them fail with the error, if there is one. */
  close(error: Failure | undefined): void {
    for (const cursor of this.#open) cursor.close(error)
  }
}
