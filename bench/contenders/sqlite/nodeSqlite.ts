/** Node's own SQLite, with nothing around it: what SQLite and Node cost. */
import { DatabaseSync } from "node:sqlite"
import type { SyncReader, SyncService } from "./client.ts"
import { insert, type Item, select, type Synchronous } from "./database.ts"

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

/** What `pragma synchronous` says. */
export const synchronousOf = (database: DatabaseSync) => async (): Promise<unknown> =>
  database.prepare("pragma synchronous").get()?.["synchronous"]

/** Both statements are prepared once. */
export const serving = (synchronous: Synchronous) => async (filename: string): Promise<SyncService> => {
  const database = new DatabaseSync(filename)
  database.exec(`pragma synchronous = ${synchronous}`)
  const read = database.prepare(select)
  const add = database.prepare(insert)
  return {
    style: "sync",
    read: (key) => read.get(key) as unknown as Item,
    insert: (n) => add.run(n),
    synchronous: synchronousOf(database),
    close: async () => database.close()
  }
}
