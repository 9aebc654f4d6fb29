/** Snapshots: transactions that only read, and end when they are older than `maxReadAge`. */
import { Deferred, Effect, Exit } from "effect"
import type { SqlError } from "effect/sql/SqlError"
import type { AcquireOptions } from "../../../ConnectionPool.ts"
import type { PoolError } from "../../../PoolError.ts"
import type { TransactionError } from "../../../TransactionError.ts"
import { SnapshotExpiredError } from "../../SqlitePoolError.ts"
import { pinOf } from "../connection/leased.ts"
import type { Execution } from "../contract/execution.ts"
import type { Sides } from "../file/sides.ts"
import { WorkerLeased } from "../worker/workerConnection.ts"
import type { Client } from "./client.ts"
import { targetOf } from "./execution.ts"

/** The pools of a database, and the client over them. */
export interface WithClient extends Sides {
  readonly client: Client
}

export type SnapshotError = TransactionError | SnapshotExpiredError | PoolError<SqlError>

/** Runs an effect in a snapshot. In a transaction it runs as it is, because it sees one state already. */
export const snapshot = <A, E, R>(
  pools: WithClient,
  effect: Effect.Effect<A, E, R>,
  options: AcquireOptions | undefined,
  execution: Execution | undefined
): Effect.Effect<A, E | SnapshotError, R> =>
  Effect.withFiber((fiber) => {
    const { isSnapshot, snapshotExecution, transactor } = pools.client
    if (transactor.connectionOf(fiber) !== undefined) return effect
    const target = targetOf(pools, fiber, execution)
    if (Effect.isEffect(target)) return target
    const transaction = Effect.provideService(
      transactor.transaction(endedByAge(pools, effect), { ...options, readOnly: true }),
      isSnapshot,
      true
    )
    return pools.workers === undefined
      ? transaction
      : Effect.provideService(transaction, snapshotExecution, target === "in-process" ? target : "worker")
  })

const endedByAge = <A, E, R>(
  pools: WithClient,
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
    const { connection } = pools.client.transactor.connectionOf(fiber)!
    // Each reader of a file has a pin.
    const pin = connection instanceof WorkerLeased ? connection.pin : pinOf(connection)
    pin!.onExpiry = onExpiry
    return Effect.raceFirst(effect, Deferred.await(expired))
  })
}
