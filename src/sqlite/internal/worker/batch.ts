/** Rows of a batch, in the thread: a statement for each of them, or each with a statement of its own. */
import { bind, type Params } from "../connection/binding.ts"
import type { Handle } from "../connection/handle.ts"
import { returnsRows } from "../failures.ts"
import { encodeFailure, type FailureData } from "./failureData.ts"
import { decodeParams } from "./params.ts"

/** How far the rows of one message have run, and why they have stopped. */
export interface Ran {
  /** The number of rows that were run. */
  readonly done: number
  /** The number of rows that they have changed in the database. */
  readonly changes: number
  readonly failure: FailureData | undefined
}

/** Runs `sql` for each row of parameters; without `sql`, each row is a statement with its parameters. */
export const runBatch = (handle: Handle, sql: string | undefined, rows: ReadonlyArray<unknown>): Ran => {
  const before = changesOn(handle)
  let done = 0
  const sqlAt = (at: number): string => sql ?? (rows[at] as readonly [string, unknown])[0]
  try {
    while (done < rows.length) {
      const present = sqlAt(done)
      handle.repeat("batch", present, ({ statement, text }) => {
        if (statement.columns().length > 0) throw returnsRows()
        while (done < rows.length && sqlAt(done) === present) {
          const params = sql === undefined ? (rows[done] as readonly [string, unknown])[1] : rows[done]
          // There are no rows to return. `get` is faster than `run`, which makes an object.
          statement.get(...bind("batch", text, decodeParams(params) as Params | undefined))
          done++
        }
      })
    }
    return { done, changes: changesOn(handle) - before, failure: undefined }
  } catch (thrown) {
    return { done, changes: 0, failure: encodeFailure(thrown, "batch") }
  }
}

const changesOn = (handle: Handle): number => {
  const [row] = handle.rows("batch", "select total_changes()", undefined, true, false)
  return (row as readonly [number])[0]
}
