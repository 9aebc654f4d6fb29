/** Loads SQL functions from a module, in a thread. The thread of the application has checked them. */
import type {
  AggregateSettings,
  FoundFunction,
  FunctionSettings,
  FunctionsModule,
  ScalarSettings
} from "../options/functions.ts"

export const load = ({ found, href }: FunctionsModule): Promise<ReadonlyArray<FunctionSettings>> =>
  import(href).then((module: Exports) => found.map((one) => withCode(module, one)))

type Exports = Readonly<Record<FunctionSettings["kind"], Readonly<Record<string, unknown>>>>

const withCode = (module: Exports, one: FoundFunction): FunctionSettings => {
  const given = module[one.kind][one.name]
  const definition = one.index === undefined ? given : (given as ReadonlyArray<unknown>)[one.index]
  if (one.kind === "functions") {
    const run = typeof definition === "function" ? definition : (definition as ScalarSettings).run
    return { ...one, run: run as ScalarSettings["run"] }
  }
  const { inverse, result, start, step } = definition as AggregateSettings
  return { ...one, start, step, inverse, result }
}
