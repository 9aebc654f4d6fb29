/** One state of the database, for as long as an effect runs: a transaction that only reads, and that has a limit. */
import { Deferred, Effect, Exit } from "effect"
import type { SqlError } from "effect/sql/SqlError"
import type { AcquireOptions } from "../../../ConnectionPool.ts"
import type { PoolError } from "../../../PoolError.ts"
import type { TransactionError } from "../../../TransactionError.ts"
import { failure, type SqliteConnection } from "../../SqliteConnection.ts"
import { SnapshotExpiredError } from "../../SqlitePoolError.ts"
import type { TwoPools } from "../pools.ts"

export type SnapshotError = TransactionError | SnapshotExpiredError | PoolError<SqlError>

/** Within a transaction there is one state already. */
export const snapshot = <A, E, R>(
  pools: TwoPools,
  effect: Effect.Effect<A, E, R>,
  options: AcquireOptions | undefined
): Effect.Effect<A, E | SnapshotError, R> =>
  Effect.withFiber((fiber) =>
    pools.client.transactor.connectionOf(fiber) === undefined
      ? Effect.provideService(
        pools.client.transactor.transaction(endedByAge(pools, effect), { ...options, readOnly: true }),
        pools.client.isSnapshot,
        true
      )
      : effect
  )

const endedByAge = <A, E, R>(
  pools: TwoPools,
  effect: Effect.Effect<A, E, R>
): Effect.Effect<A, E | SnapshotExpiredError, R> => {
  const { file, settings } = pools
  if (file === undefined || settings.maxReadAge === Infinity) return effect
  return Effect.withFiber((fiber) => {
    const expired = Deferred.makeUnsafe<never, SnapshotExpiredError>()
    const onExpiry = (heldMillis: number) => {
      const error = new SnapshotExpiredError({
        pool: settings.name,
        heldMillis,
        maxReadAgeMillis: settings.maxReadAge
      })
      Deferred.doneUnsafe(expired, Exit.fail(error))
    }
    const watch = (connection: SqliteConnection) => {
      const reading = file.ages.get(connection)
      if (reading !== undefined) reading.onExpiry = onExpiry
    }
    const session = pools.client.transactor.connectionOf(fiber)!
    return Effect.andThen(
      Effect.ignore(session.step("snapshot", watch, failure)),
      Effect.raceFirst(effect, Deferred.await(expired))
    )
  })
}
