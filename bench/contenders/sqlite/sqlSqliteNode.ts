/** Effect's own client for SQLite on Node: one connection, which a transaction has to itself. */
import { SqliteClient } from "@effect/sql-sqlite-node"
import { Effect } from "effect"
import * as Reactivity from "effect/reactivity/Reactivity"
import { scoped } from "../scoped.ts"
import type { EffectClient } from "./client.ts"
import { throughSql } from "./throughSql.ts"

export const sqlSqliteNode = async (filename: string): Promise<EffectClient> => {
  const { close, value: sql } = await scoped(Effect.provide(SqliteClient.make({ filename }), Reactivity.layer))
  await Effect.runPromise(sql`pragma synchronous = normal`)
  return { style: "effect", ...throughSql(sql), close }
}
