/** This library's PostgreSQL, with default options. */
import { Effect } from "effect"
import type { PgPool } from "effect-connection-pool/postgres"
import type { Postgres } from "../../library.ts"
import { scoped } from "../scoped.ts"
import type { Item } from "../sqlite/database.ts"
import type { Client, EffectClient } from "./client.ts"
import { connections, select, update, type Where } from "./server.ts"
import { throughSql } from "./throughSql.ts"

type Doors = Pick<EffectClient, "read" | "addOne">

/** The ways to read and to write that the library has. */
export const ours = ({ PgPool }: Postgres) => {
  const opened = (doors: (db: PgPool.PgPool) => Doors, options?: Partial<PgPool.Options>) =>
  async (
    where: Where
  ): Promise<Client> => {
    const { close, value } = await scoped(PgPool.make({ ...where, min: connections, max: connections, ...options }))
    return { style: "effect", ...doors(value), close }
  }
  return {
    sql: opened(({ sql }) => throughSql(sql)),
    /** Reads share connections of their own, beside those. */
    sqlShared: opened(({ sql }) => throughSql(sql), { sharedReads: true }),
    write: opened((db) => ({
      read: (key) =>
        Effect.map(
          db.write((connection) => connection.query(select, [key])),
          (rows) => rows[0] as unknown as Item
        ),
      addOne: (account) => db.transaction(db.write((connection) => connection.run(update, [account])))
    }))
  }
}
