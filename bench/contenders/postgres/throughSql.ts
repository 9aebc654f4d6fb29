import { Effect } from "effect"
import type { SqlClient } from "effect/sql/SqlClient"
import type { Item } from "../sqlite/database.ts"
import type { EffectClient } from "./client.ts"

/** Statements from templates, as users of `effect/sql` write them. */
export const throughSql = (sql: SqlClient): Pick<EffectClient, "read" | "addOne"> => ({
  read: (key) => Effect.map(sql<Item>`select id, name, n from item where id = ${key}`, (rows) => rows[0]!),
  addOne: (account) => sql.withTransaction(sql`update account set n = n + 1 where id = ${account}`)
})
