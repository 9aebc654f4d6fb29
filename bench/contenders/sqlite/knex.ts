/** Knex on better-sqlite3: as it comes, with one connection, and with a pool of four that are all alike. */
import type Database from "better-sqlite3"
import knex, { type Knex } from "knex"
import { configure } from "./betterSqlite3.ts"
import type { PromiseClient, PromiseService } from "./client.ts"
import type { Item, Synchronous } from "./database.ts"

/** Statements from its builder. */
export const builder = (connections: number) => async (filename: string): Promise<PromiseClient> =>
  client(open(filename, connections), select)

/** Both statements from its builder, on one connection. */
export const serving = (synchronous: Synchronous) => async (filename: string): Promise<PromiseService> => {
  const db = open(filename, 1, synchronous)
  return {
    ...client(db, select),
    insert: (n) => db("entry").insert({ n }),
    synchronous: async () =>
      (await db.raw<Array<{ readonly synchronous: number }>>("pragma synchronous"))[0]?.synchronous
  }
}

const select = (db: Knex, key: number): PromiseLike<Array<Item>> =>
  db<Item>("item").select("id", "name", "n").where({ id: key })

/** Reads with a statement as text. */
export const raw = (connections: number) => async (filename: string): Promise<PromiseClient> =>
  client(open(filename, connections), (db, key) => db.raw("select id, name, n from item where id = ?", [key]))

const client = (db: Knex, read: (db: Knex, key: number) => PromiseLike<Array<Item>>): PromiseClient => ({
  style: "promise",
  read: async (key) => (await read(db, key))[0]!,
  write: (key, pause) =>
    db.transaction(async (transaction) => {
      await transaction("item").where({ id: key }).update({ n: transaction.ref("n") })
      await pause()
    }),
  isBusy: (error) => error instanceof Error && "code" in error && error.code === "SQLITE_BUSY",
  close: () => db.destroy()
})

const open = (filename: string, connections: number, synchronous?: Synchronous): Knex =>
  knex({
    client: "better-sqlite3",
    connection: { filename },
    useNullAsDefault: true,
    pool: {
      min: 1,
      max: connections,
      afterCreate: (database: Database.Database, done: (error: null, database: Database.Database) => void) => {
        configure(database, synchronous)
        done(null, database)
      }
    }
  })
