/** What was written, as a plain second connection sees it. */
import { DatabaseSync } from "node:sqlite"

export interface Witness {
  /** The rows that were added since it was last asked. */
  readonly added: () => Added
  readonly close: () => void
}

export interface Added {
  readonly rows: number
  /** The sum of their numbers. */
  readonly sum: number
}

interface Found extends Added {
  readonly last: number | null
}

const select = "select count(*) as rows, total(n) as sum, max(id) as last from entry where id > ?"

/** A second connection of `node:sqlite`. */
export const ofNode = (filename: string): Witness => {
  const database = new DatabaseSync(filename, { readOnly: true })
  const statement = database.prepare(select)
  return witness((since) => statement.get(since) as unknown as Found, () => database.close())
}

/** A second connection of better-sqlite3: two SQLite libraries in one process must not share a file. */
export const ofBetterSqlite3 = async (filename: string): Promise<Witness> => {
  const { default: Database } = await import("better-sqlite3")
  const database = new Database(filename, { readonly: true })
  const statement = database.prepare<[number], Found>(select)
  return witness((since) => statement.get(since)!, () => void database.close())
}

const witness = (find: (since: number) => Found, close: () => void): Witness => {
  let since = 0
  return {
    added: () => {
      const { last, rows, sum } = find(since)
      since = last ?? since
      return { rows, sum }
    },
    close
  }
}
