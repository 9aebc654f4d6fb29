/** Effect's own client for SQLite on Node: one connection, which a transaction has to itself. */
import { SqliteClient } from "@effect/sql-sqlite-node"
import { Context, Effect, Layer, type Scope } from "effect"
import * as Reactivity from "effect/reactivity/Reactivity"
import type { SqlClient } from "effect/sql/SqlClient"
import { scoped } from "../scoped.ts"
import type { EffectClient, TracedClient } from "./client.ts"
import type { Synchronous } from "./database.ts"
import { throughSql } from "./throughSql.ts"

type Client = EffectClient & TracedClient

export const sqlSqliteNode = (filename: string): Promise<Client> => serving("normal")(filename)

export const serving = (synchronous: Synchronous) => (filename: string): Promise<Client> =>
  opened(Effect.provide(SqliteClient.make({ filename }), Reactivity.layer), synchronous)

/** The same as a layer. */
export const inLayer = (filename: string): Promise<Client> =>
  opened(
    Effect.map(Layer.build(SqliteClient.layer({ filename })), (built) => Context.get(built, SqliteClient.SqliteClient)),
    "normal"
  )

const opened = async (
  open: Effect.Effect<SqlClient, never, Scope.Scope>,
  synchronous: Synchronous
): Promise<Client> => {
  const { close, value: sql } = await scoped(open)
  await Effect.runPromise(sql.unsafe(`pragma synchronous = ${synchronous}`))
  return { style: "effect", ...throughSql(sql), synchronous: synchronousOf(sql), close }
}

const synchronousOf = (sql: SqlClient) => async (): Promise<unknown> =>
  (await Effect.runPromise(sql<{ readonly synchronous: number }>`pragma synchronous`))[0]?.synchronous
