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
