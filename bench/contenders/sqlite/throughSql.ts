import { Effect } from "effect"
import type { SqlClient } from "effect/sql/SqlClient"
import type { EffectClient, TracedClient } from "./client.ts"
import type { Item } from "./database.ts"

/** Statements from templates, as users of `effect/sql` write them. */
export const throughSql = (
  sql: SqlClient
): Pick<EffectClient, "read" | "write"> & Pick<TracedClient, "insert" | "insertAndRead"> => {
  const insert = (n: number) => sql`insert into entry(n) values (${n})`
  const read = (key: number) => Effect.map(sql<Item>`select id, name, n from item where id = ${key}`, first)
  return {
    read,
    write: (key, pause) => sql.withTransaction(Effect.andThen(sql`update item set n = n where id = ${key}`, pause)),
    insert,
    insertAndRead: (n, key) => sql.withTransaction(Effect.andThen(insert(n), read(key)))
  }
}

const first = (rows: ReadonlyArray<Item>): Item => rows[0]!
