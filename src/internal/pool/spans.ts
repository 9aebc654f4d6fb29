/** The spans of a pool. A lease without a wait has none, because a span takes about ten times as long as the lease. */
import { Effect } from "effect"

/** A connect attempt. */
export const connect = <A, E, R>(pool: string, connection: number, attempt: Effect.Effect<A, E, R>) =>
  Effect.withSpan(attempt, "ConnectionPool.connect", {
    kind: "client",
    captureStackTrace: false,
    attributes: { ...named(pool), connection }
  })

/** The wait of a caller in line. It ends before the caller's own effect begins. */
export const acquire = <A, E, R>(pool: string, wait: Effect.Effect<A, E, R>) =>
  Effect.withSpan(wait, "ConnectionPool.acquire", { captureStackTrace: false, attributes: named(pool) })

const named = (pool: string) => ({ "db.client.connection.pool.name": pool })
