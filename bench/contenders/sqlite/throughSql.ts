import { Effect } from "effect"
import type { SqlClient } from "effect/sql/SqlClient"
import type { EffectClient } from "./client.ts"
import type { Item } from "./database.ts"

/** Statements from templates, as users of `effect/sql` write them. */
export const throughSql = (sql: SqlClient): Pick<EffectClient, "read" | "write"> => ({
  read: (key) => Effect.map(sql<Item>`select id, name, n from item where id = ${key}`, first),
  write: (key, pause) => sql.withTransaction(Effect.andThen(sql`update item set n = n where id = ${key}`, pause))
})

const first = (rows: ReadonlyArray<Item>): Item => rows[0]!
