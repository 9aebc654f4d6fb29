/** The commands of `PoolSimulation` that simulate. They are loaded when the first of them runs. */
import { Effect, Result as Checked } from "effect"
import type { PoolConfigError } from "../../PoolError.ts"
import type { Options, Result, Suggestion, SuggestOptions } from "./contract.ts"
import { resolveRun, resolveSuggest } from "./options.ts"
import { simulate } from "./simulate.ts"
import * as Search from "./suggest.ts"

export const run = (options: Options): Effect.Effect<Result, PoolConfigError> => {
  const settings = resolveRun(options)
  return Checked.isFailure(settings) ? Effect.fail(settings.failure) : simulate(settings.success)
}

export const suggest = (options: SuggestOptions): Effect.Effect<Suggestion, PoolConfigError> => {
  const settings = resolveSuggest(options)
  return Checked.isFailure(settings) ? Effect.fail(settings.failure) : Search.suggest(settings.success)
}
