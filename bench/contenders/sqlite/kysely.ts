/** Kysely's builder on better-sqlite3. */
import { Kysely, SqliteDialect } from "kysely"
import { openDatabase, synchronousOf } from "./betterSqlite3.ts"
import type { PromiseReader, PromiseService } from "./client.ts"
import type { Item, Synchronous } from "./database.ts"

interface Tables {
  readonly item: Item
  readonly entry: { readonly n: number }
}

export const kysely = (filename: string): Promise<PromiseReader> => serving()(filename)

export const serving = (synchronous?: Synchronous) => async (filename: string): Promise<PromiseService> => {
  const database = await openDatabase(filename, synchronous)
  const dialect = new SqliteDialect({ database })
  const db = new Kysely<Tables>({ dialect })
  return {
    style: "promise",
    read: (key) => db.selectFrom("item").select(["id", "name", "n"]).where("id", "=", key).executeTakeFirstOrThrow(),
    insert: (n) => db.insertInto("entry").values({ n }).execute(),
    synchronous: synchronousOf(database),
    close: () => db.destroy()
  }
}
