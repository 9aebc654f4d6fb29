/** Drizzle on better-sqlite3, which it calls synchronously. */
import { eq, sql } from "drizzle-orm"
import { drizzle } from "drizzle-orm/better-sqlite3"
import { integer, sqliteTable, text } from "drizzle-orm/sqlite-core"
import { openDatabase, synchronousOf } from "./betterSqlite3.ts"
import type { SyncReader, SyncService } from "./client.ts"
import type { Synchronous } from "./database.ts"

const item = sqliteTable("item", {
  id: integer().primaryKey(),
  name: text().notNull(),
  n: integer().notNull()
})

const entry = sqliteTable("entry", { id: integer().primaryKey(), n: integer().notNull() })

/** The query is built for each read. */
export const builder = async (filename: string): Promise<SyncReader> => {
  const client = await openDatabase(filename)
  const db = drizzle({ client })
  return {
    style: "sync",
    read: (key) => db.select().from(item).where(eq(item.id, key)).get()!,
    close: async () => void client.close()
  }
}

/** The query is built, and its statement prepared, once. */
export const prepared = async (filename: string): Promise<SyncReader> => {
  const client = await openDatabase(filename)
  const query = drizzle({ client }).select().from(item).where(eq(item.id, sql.placeholder("key"))).prepare()
  return {
    style: "sync",
    read: (key) => query.get({ key })!,
    close: async () => void client.close()
  }
}

/** Both queries are built, and their statements prepared, once. */
export const serving = (synchronous: Synchronous) => async (filename: string): Promise<SyncService> => {
  const client = await openDatabase(filename, synchronous)
  const db = drizzle({ client })
  const read = db.select().from(item).where(eq(item.id, sql.placeholder("key"))).prepare()
  const add = db.insert(entry).values({ n: sql.placeholder("n") }).prepare()
  return {
    style: "sync",
    read: (key) => read.get({ key })!,
    insert: (n) => add.run({ n }),
    synchronous: synchronousOf(client),
    close: async () => void client.close()
  }
}
