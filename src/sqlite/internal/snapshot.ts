/** One state of the database, for as long as an effect runs: a transaction that only reads, and that has a limit. */
import { Deferred, Effect, Exit } from "effect"
import type { SqlError } from "effect/sql/SqlError"
import type { AcquireOptions } from "../../ConnectionPool.ts"
import type { PoolError } from "../../PoolError.ts"
import type { Options } from "../../Transaction.ts"
import type { TransactionError } from "../../TransactionError.ts"
import { failure, type SqliteConnection } from "../SqliteConnection.ts"
import { SnapshotExpiredError } from "../SqlitePoolError.ts"
import type { Isolation } from "./dialect.ts"
import type { TwoPools } from "./twoPools.ts"

export type SnapshotError = TransactionError | SnapshotExpiredError | PoolError<SqlError>

/** Within a transaction there is one state already. */
export const snapshot = <A, E, R>(
  pools: TwoPools,
  effect: Effect.Effect<A, E, R>,
  options: AcquireOptions | undefined
): Effect.Effect<A, E | SnapshotError, R> =>
  Effect.withFiber((fiber) =>
    pools.client.transactor.session(fiber) === undefined
      ? Effect.provideService(
        transaction(pools, endedByAge(pools, effect), { readOnly: true }, options),
        pools.client.isSnapshot,
        true
      )
      : effect
  )

/** `transaction` of the client, on a connection that is acquired with these options. */
export const transaction = <A, E, R>(
  pools: TwoPools,
  effect: Effect.Effect<A, E, R>,
  mode: Options<Isolation>,
  options: AcquireOptions | undefined
): Effect.Effect<A, E | TransactionError | PoolError<SqlError>, R> => {
  const { transactor } = pools.client
  if (options === undefined) return transactor.transaction(effect, mode)
  // They are for this transaction, and not for what is done in it.
  const body = Effect.provideService(effect, pools.wanted, undefined)
  return Effect.provideService(transactor.transaction(body, mode), pools.wanted, options)
}

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
    const session = pools.client.transactor.session(fiber)!
    return Effect.andThen(
      Effect.ignore(session.step("snapshot", watch, failure)),
      Effect.raceFirst(effect, Deferred.await(expired))
    )
  })
}
