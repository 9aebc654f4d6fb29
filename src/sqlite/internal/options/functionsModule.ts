/** The option `functionsModule`: SQL functions in a module, which threads can load too. */
import { Effect } from "effect"
import { unless } from "../../../internal/options/problems.ts"
import { show } from "../../../internal/options/show.ts"
import type { PoolConfigError } from "../../../PoolError.ts"
import { type FunctionSettings, functionsIn, type FunctionsModule } from "./functions.ts"
import type { PoolSettings } from "./pool.ts"

/** Loads and checks the functions, if they are in a module. */
export const withFunctions = (settings: PoolSettings): Effect.Effect<PoolSettings, PoolConfigError> => {
  const { functionsModule: href, name } = settings
  if (href === undefined) return Effect.succeed(settings)
  const problem = (message: string) => ({ field: "functionsModule", value: show(href), message })
  return Effect.matchEffect(Effect.tryPromise({ try: () => import(href), catch: (thrown) => thrown }), {
    onFailure: (thrown) =>
      Effect.fromResult(
        unless(name, [problem(`functionsModule ${show(href)} cannot be loaded: ${reasonOf(thrown)}`)], settings)
      ),
    onSuccess: (module: object) => {
      const { functions, problems } = functionsIn(module)
      const found = problems.map(({ message }) => problem(`functionsModule ${show(href)}: ${message}`))
      if (functions.length === 0 && found.length === 0) {
        found.push(problem(`functionsModule ${show(href)} exports neither functions nor aggregates`))
      }
      const connection = { ...settings.connection, functions, functionsFrom: noteModule(href, functions) }
      return Effect.fromResult(unless(name, found, { ...settings, connection }))
    }
  })
}

const reasonOf = (thrown: unknown): string => thrown instanceof Error ? thrown.message : show(thrown)

/** Notes where the functions of a module are. */
const noteModule = (href: string, functions: ReadonlyArray<FunctionSettings>): FunctionsModule => ({
  href,
  found: functions.map(({ arity, deterministic, directOnly, index, kind, name, safeIntegers }) => ({
    arity,
    deterministic,
    directOnly,
    index,
    kind,
    name,
    safeIntegers
  }))
})
