/**
 * What is wrong with the rows of `sql.insert` and `sql.updateValues`.
 *
 * Effect takes the columns from the first row. A value of another column in a later row would not be stored, and nobody would hear of it.
 */
import { SqlError, UnknownError } from "effect/sql/SqlError"
import type { Segment } from "effect/sql/Statement"

/** The error of a statement whose rows would not all be stored; `undefined` if they will. */
export const problemOf = (segments: ReadonlyArray<Segment>, operation: string): SqlError | undefined => {
  for (const segment of segments) {
    if (segment._tag !== "RecordInsertHelper" && segment._tag !== "RecordUpdateHelper") continue
    const problem = problemOfRows(segment.value)
    if (problem === undefined) continue
    const message = `${operation}: ${
      segment._tag === "RecordInsertHelper" ? "sql.insert" : "sql.updateValues"
    } ${problem}`
    return new SqlError({ reason: new UnknownError({ cause: new TypeError(message), message, operation }) })
  }
  return undefined
}

const problemOfRows = (rows: ReadonlyArray<Record<string, unknown>>): string | undefined => {
  const first = rows[0]
  if (first === undefined) return "was given no rows: ask before whether there are some"
  for (let index = 1; index < rows.length; index++) {
    const row = rows[index]!
    for (const column of Object.keys(row)) {
      if (!Object.hasOwn(first, column) && row[column] !== undefined) {
        return `takes its columns from the first row, which has no ${JSON.stringify(column)}, but row ${
          index + 1
        } has: ` +
          "give all rows the same columns"
      }
    }
  }
  return undefined
}
