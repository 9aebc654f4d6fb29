/** The spans of a pool. What takes no time has none: they cost about ten times what a lease does. */
import { Effect } from "effect"

/** An attempt to open a connection. */
export const connect = <A, E, R>(pool: string, connection: number, attempt: Effect.Effect<A, E, R>) =>
  Effect.withSpan(attempt, "ConnectionPool.connect", {
    kind: "client",
    captureStackTrace: false,
    attributes: { ...named(pool), connection }
  })

/** The wait of a caller in line; it ends before what the caller does with the connection begins. */
export const acquire = <A, E, R>(pool: string, wait: Effect.Effect<A, E, R>) =>
  Effect.withSpan(wait, "ConnectionPool.acquire", { captureStackTrace: false, attributes: named(pool) })

const named = (pool: string) => ({ "db.client.connection.pool.name": pool })
