/** Kysely's builder on better-sqlite3. */
import { Kysely, SqliteDialect } from "kysely"
import { openDatabase } from "./betterSqlite3.ts"
import type { PromiseReader } from "./client.ts"
import type { Item } from "./database.ts"

export const kysely = async (filename: string): Promise<PromiseReader> => {
  const dialect = new SqliteDialect({ database: await openDatabase(filename) })
  const db = new Kysely<{ item: Item }>({ dialect })
  return {
    style: "promise",
    read: (key) => db.selectFrom("item").select(["id", "name", "n"]).where("id", "=", key).executeTakeFirstOrThrow(),
    close: () => db.destroy()
  }
}
