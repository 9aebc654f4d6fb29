/** Effect's own client for PostgreSQL, and its connections in Effect's `Pool`. */
import { PgClient, PgConnection } from "@effect/sql-pg"
import { Effect, Pool } from "effect"
import * as Reactivity from "effect/reactivity/Reactivity"
import type { SqlError } from "effect/sql/SqlError"
import { scoped } from "../scoped.ts"
import type { Item } from "../sqlite/database.ts"
import type { Client, EffectClient } from "./client.ts"
import { connections, select, update, type Where } from "./server.ts"
import { throughSql } from "./throughSql.ts"

export const sqlPg = (multiplex: boolean) => async (where: Where): Promise<Client> => {
  const client = PgClient.make({ ...where, minConnections: connections, maxConnections: connections, multiplex })
  const { close, value } = await scoped(Effect.provide(client, Reactivity.layer))
  return { style: "effect", ...throughSql(value), close }
}

/** Effect's `Pool` over the same connections: it neither resets them, nor checks anything. */
export const poolUse = async (where: Where): Promise<Client> => {
  const { close, value: pool } = await scoped(Pool.make({ acquire: PgConnection.make(where), size: connections }))
  return { style: "effect", ...onLent((f) => Pool.use(pool, f)), close }
}

/**
 * The driver's connections without a pool: fibers take them from a list, and wait in a line. It is the least that does the same
 * work with this driver. A fiber that is interrupted while it waits would take a connection with it.
 */
export const fromList = async (where: Where): Promise<Client> => {
  const { close, value: free } = await scoped(
    Effect.all(Array.from({ length: connections }, () => PgConnection.make(where)))
  )
  const waiting: Array<(connection: PgConnection.PgConnection) => void> = []
  const taken = Effect.callback<PgConnection.PgConnection>((resume) => {
    const connection = free.pop()
    if (connection === undefined) waiting.push((connection) => resume(Effect.succeed(connection)))
    else resume(Effect.succeed(connection))
  })
  const lend: Lend = (f) =>
    Effect.flatMap(taken, (connection) =>
      Effect.onExitPrimitive(f(connection), () => {
        const next = waiting.shift()
        if (next === undefined) free.push(connection)
        else next(connection)
        return undefined
      }))
  return { style: "effect", ...onLent(lend), close }
}

type Lend = <A>(
  f: (connection: PgConnection.PgConnection) => Effect.Effect<A, SqlError>
) => Effect.Effect<A, unknown>

/** The work on connections of the driver, with nothing of `effect/sql` around it. */
const onLent = (lend: Lend): Pick<EffectClient, "read" | "addOne"> => ({
  read: (key) =>
    lend((connection) => Effect.map(connection.query(select, [key]), ({ rows }) => rows[0] as unknown as Item)),
  addOne: (account) =>
    lend((connection) =>
      Effect.uninterruptibleMask((restore) =>
        Effect.andThen(
          connection.query("begin"),
          Effect.matchCauseEffect(restore(connection.query(update, [account])), {
            onFailure: (cause) => Effect.andThen(connection.query("rollback"), Effect.failCause(cause)),
            onSuccess: () => connection.query("commit")
          })
        )
      )
    )
})
