/** Node's own SQLite, with nothing around it: what SQLite and Node cost. */
import { DatabaseSync } from "node:sqlite"
import type { SyncReader } from "./client.ts"
import { type Item, select } from "./database.ts"

/** The statement is prepared once. */
export const prepared = async (filename: string): Promise<SyncReader> => {
  const database = new DatabaseSync(filename)
  const statement = database.prepare(select)
  return {
    style: "sync",
    read: (key) => statement.get(key) as unknown as Item,
    close: async () => database.close()
  }
}

/** A statement is prepared for each read. */
export const preparing = async (filename: string, statement: () => string = () => select): Promise<SyncReader> => {
  const database = new DatabaseSync(filename)
  return {
    style: "sync",
    read: (key) => database.prepare(statement()).get(key) as unknown as Item,
    close: async () => database.close()
  }
}
