/** Effect's own client for PostgreSQL, and its connections in Effect's `Pool`. */
import { PgClient, PgConnection } from "@effect/sql-pg"
import { Effect, Pool } from "effect"
import * as Reactivity from "effect/reactivity/Reactivity"
import { scoped } from "../scoped.ts"
import type { Item } from "../sqlite/database.ts"
import type { Client } from "./client.ts"
import { connections, select, update, type Where } from "./server.ts"
import { throughSql } from "./throughSql.ts"

export const sqlPg = (multiplex: boolean) => async (where: Where): Promise<Client> => {
  const client = PgClient.make({ ...where, minConnections: connections, maxConnections: connections, multiplex })
  const { close, value } = await scoped(Effect.provide(client, Reactivity.layer))
  return { style: "effect", ...throughSql(value), close }
}

/** The least that lends connections to fibers: it neither resets them, nor checks anything. */
export const poolUse = async (where: Where): Promise<Client> => {
  const { close, value: pool } = await scoped(Pool.make({ acquire: PgConnection.make(where), size: connections }))
  return {
    style: "effect",
    read: (key) =>
      Pool.use(
        pool,
        (connection) => Effect.map(connection.query(select, [key]), ({ rows }) => rows[0] as unknown as Item)
      ),
    addOne: (account) =>
      Pool.use(pool, (connection) =>
        Effect.uninterruptibleMask((restore) =>
          Effect.andThen(
            connection.query("begin"),
            Effect.matchCauseEffect(restore(connection.query(update, [account])), {
              onFailure: (cause) => Effect.andThen(connection.query("rollback"), Effect.failCause(cause)),
              onSuccess: () => connection.query("commit")
            })
          )
        )),
    close
  }
}
