/** One state of the database, for as long as an effect runs. */
import { Deferred, Effect, Exit } from "effect"
import type { SqlError } from "effect/sql/SqlError"
import type { AcquireOptions } from "../../ConnectionPool.ts"
import type { LeaseExpiredError, PoolError } from "../../PoolError.ts"
import * as SqliteConnection from "../SqliteConnection.ts"
import { SnapshotExpiredError } from "../SqlitePoolError.ts"
import { retryWhileLocked } from "./locks.ts"
import { ambient, type TwoPools } from "./twoPools.ts"

export type SnapshotError = SqlError | LeaseExpiredError | SnapshotExpiredError | PoolError<SqlError>

/** Runs an effect in a read transaction. Within one, or within a transaction, there is one state already. */
export const snapshot = <A, E, R>(
  pools: TwoPools,
  effect: Effect.Effect<A, E, R>,
  options: AcquireOptions | undefined
): Effect.Effect<A, E | SnapshotError, R> =>
  Effect.withFiber((fiber) =>
    ambient(pools, fiber) === undefined
      ? pools.readers.use((connection) => within(pools, connection, effect), options)
      : effect
  )

const within = <A, E, R>(
  pools: TwoPools,
  connection: SqliteConnection.SqliteConnection,
  effect: Effect.Effect<A, E, R>
): Effect.Effect<A, E | SnapshotError, R> => {
  const body = Effect.provideService(effect, pools.pinned, connection)
  const bounded = pools.file === undefined ? body : endedByAge(pools, connection, body)
  // What is open when this is interrupted before its end, the pool ends.
  return Effect.andThen(
    pin(connection, pools.settings.connection.busyTimeout),
    Effect.onExitPrimitive(bounded, () => {
      end(connection)
      return undefined
    })
  )
}

/** Begins a transaction, and has SQLite decide which state it sees: by itself that would be at the first read. */
export const pin = (
  connection: SqliteConnection.SqliteConnection,
  busyTimeout: number
): Effect.Effect<void, SqlError | LeaseExpiredError> => {
  const once = Effect.try({
    try: () => {
      connection.execUnsafe("begin")
      try {
        connection.valuesUnsafe("pragma schema_version")
      } catch (thrown) {
        connection.execUnsafe("rollback")
        throw thrown
      }
    },
    catch: SqliteConnection.failure
  })
  return retryWhileLocked(once, busyTimeout)
}

const end = (connection: SqliteConnection.SqliteConnection): void => {
  try {
    connection.execUnsafe("commit")
  } catch {
    // It is over already, or the pool ends it.
  }
}

const endedByAge = <A, E, R>(
  pools: TwoPools,
  connection: SqliteConnection.SqliteConnection,
  body: Effect.Effect<A, E, R>
): Effect.Effect<A, E | SnapshotExpiredError, R> => {
  const reading = pools.file?.ages.get(connection)
  const { maxReadAge } = pools.settings
  if (reading === undefined || maxReadAge === Infinity) return body
  const expired = Deferred.makeUnsafe<never, SnapshotExpiredError>()
  reading.onExpiry = (heldMillis) => {
    const error = new SnapshotExpiredError({ pool: pools.settings.name, heldMillis, maxReadAgeMillis: maxReadAge })
    Deferred.doneUnsafe(expired, Exit.fail(error))
  }
  return Effect.raceFirst(body, Deferred.await(expired))
}
