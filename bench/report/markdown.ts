import { markdownTable } from "markdown-table"

/** Rows of cells, the first of which are titles, as a table that can be pasted into a page. */
export const table = (rows: ReadonlyArray<ReadonlyArray<string>>): string =>
  markdownTable(rows.map((row) => [...row]), { align: rows[0]!.map((_, column) => column === 0 ? "l" : "r") })
