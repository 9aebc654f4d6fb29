import { markdownTable } from "markdown-table"

/** Formats rows of cells as a table for a page. The first row has the titles. */
export const table = (rows: ReadonlyArray<ReadonlyArray<string>>): string =>
  markdownTable(rows.map((row) => [...row]), { align: rows[0]!.map((_, column) => column === 0 ? "l" : "r") })
