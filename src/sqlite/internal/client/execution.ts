/** Decides where a statement that reads runs. */
import { Context, Effect, type Fiber, Result } from "effect"
import type { PoolConfigError } from "../../../PoolError.ts"
import type { Execution, ReadOptions } from "../contract/execution.ts"
import { invalidInput } from "../failures.ts"
import type { Sides, WorkerPool } from "../file/sides.ts"
import * as PoolSettings from "../options/pool.ts"

/** Where the statements of a fiber run. Not set: as the database says. */
export const CurrentExecution = Context.Reference<Execution | undefined>("effect-connection-pool/sqlite/execution", {
  defaultValue: () => undefined
})

/** Runs an effect whose statements run where it says. */
export const within = (execution: Execution) => <A, E, R>(effect: Effect.Effect<A, E, R>): Effect.Effect<A, E, R> =>
  Effect.provideService(effect, CurrentExecution, execution)

export const current = (fiber: Fiber.Fiber<unknown, unknown>): Execution | undefined => fiber.getRef(CurrentExecution)

/** The settings of a read. Those of its acquire are checked by the pool, unless `execution` is among the options. */
export const resolve = (
  pool: string,
  options: ReadOptions | undefined
): Result.Result<PoolSettings.Read, PoolConfigError> =>
  typeof options === "object" && options !== null && "execution" in options
    ? PoolSettings.resolveRead(pool, options)
    : Result.succeed({ acquire: options, execution: undefined })

/** Where a read runs: in process, or on a pool of workers. It fails if there is none, and has to be. */
export const targetOf = (
  { settings, workers }: Sides,
  fiber: Fiber.Fiber<unknown, unknown>,
  given: Execution | undefined
): "in-process" | WorkerPool | Effect.Effect<never, PoolConfigError> => {
  const { connection, execution, name } = settings
  const wanted = given ?? current(fiber) ?? execution
  if (wanted !== "worker" || connection.isMemory) return "in-process"
  return workers ?? Effect.fail(PoolSettings.withoutWorkers(name, `it ${noWorkers}`))
}

/** What is said of a database where a worker is wanted and there is none. */
const noWorkers = "has no workers: open it with `workers`, the number of threads that it may have"

/** The failure of a statement that has to run on a worker, where there is none. */
export const withoutWorkers = (operation: string, name: string) =>
  invalidInput(operation, `onWorker: the database ${JSON.stringify(name)} ${noWorkers}`)
