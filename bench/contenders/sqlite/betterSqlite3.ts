/**
 * better-sqlite3: SQLite as a native module of its own, on which the other clients here are built.
 *
 * It ships its binaries for the usual systems. Where it has none, those clients do not take part.
 */
import type Database from "better-sqlite3"
import type { SyncReader, SyncService } from "./client.ts"
import { insert, type Item, select, type Synchronous } from "./database.ts"

/** The code of the error with which it cannot be loaded here, if it cannot: messages name folders of this machine. */
export const whyMissing = async (): Promise<string | undefined> => {
  try {
    const { default: Database } = await import("better-sqlite3")
    // Its binary is loaded with the first database.
    new Database(":memory:").close()
    return undefined
  } catch (error) {
    return error instanceof Error && "code" in error ? String(error.code) : String(error)
  }
}

/**
 * How long SQLite waits for the lock of another connection, and the event loop with it. The default is 5 seconds, which
 * is what every conflict of two writers would take.
 */
export const busyMillis = 100

/** What users are advised to set. */
export const configure = (database: Database.Database, synchronous: Synchronous = "normal"): void => {
  database.pragma("journal_mode = wal")
  database.pragma(`synchronous = ${synchronous}`)
  database.pragma(`busy_timeout = ${busyMillis}`)
}

export const openDatabase = async (filename: string, synchronous?: Synchronous): Promise<Database.Database> => {
  const { default: Database } = await import("better-sqlite3")
  const database = new Database(filename)
  configure(database, synchronous)
  return database
}

/** The statement is prepared once. */
export const prepared = async (filename: string): Promise<SyncReader> => {
  const database = await openDatabase(filename)
  const statement = database.prepare<[number], Item>(select)
  return {
    style: "sync",
    read: (key) => statement.get(key)!,
    close: async () => void database.close()
  }
}

/** What `pragma synchronous` says. */
export const synchronousOf = (database: Database.Database) => async (): Promise<unknown> =>
  database.pragma("synchronous", { simple: true })

/** Both statements are prepared once. */
export const serving = (synchronous: Synchronous) => async (filename: string): Promise<SyncService> => {
  const database = await openDatabase(filename, synchronous)
  const read = database.prepare<[number], Item>(select)
  const add = database.prepare<[number]>(insert)
  return {
    style: "sync",
    read: (key) => read.get(key)!,
    insert: (n) => add.run(n),
    synchronous: synchronousOf(database),
    close: async () => void database.close()
  }
}
