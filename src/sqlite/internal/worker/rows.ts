/** Rows on their way to a caller. */

/** Makes objects without a prototype from rows. Of several columns with one name, the last one counts. */
export const toObjects = (
  rows: ReadonlyArray<ReadonlyArray<unknown>>,
  columns: ReadonlyArray<string>
): Array<Record<string, unknown>> =>
  rows.map((row) => {
    const object = Object.create(null) as Record<string, unknown>
    for (let at = 0; at < columns.length; at++) object[columns[at]!] = row[at]
    return object
  })
