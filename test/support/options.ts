/** The settings of a pool, made from its options as the pool makes them. */
import { Effect, Result } from "effect"
import * as PoolOptions from "../../src/internal/options/pool.ts"

export const settingsOf = (config: object) =>
  Result.getOrThrow(
    PoolOptions.resolve({ ...config, factory: { connect: Effect.void, validate: () => Effect.succeed(true) } })
  )
