/** The options of a SQLite pool whose writer is in a thread: those of a SQLite pool that a thread can have. */
import { type Config, Result } from "effect"
import { fromEnvironment } from "../../../internal/options/environment.ts"
import { unless } from "../../../internal/options/problems.ts"
import { check, type Relation, table } from "../../../internal/options/rules.ts"
import type { PoolConfigError } from "../../../PoolError.ts"
import { type PoolSettings, relationsOfWorkers, settingsOf, sqlitePoolTable, workersOf } from "./pool.ts"

const {
  aggregates: _aggregates,
  functions: _functions,
  immutable: _immutable,
  readOnly: _readOnly,
  ...rules
} = sqlitePoolTable.rules

const inFile: Relation<typeof rules> = {
  fields: ["filename", "filename"],
  broken: ({ filename }) =>
    filename === ":memory:" ? "a file, because no other thread can read \":memory:\"" : undefined
}

const workerPoolTable = table(rules, [
  inFile,
  // The others are about options that are not here.
  ...relationsOfWorkers.filter(({ fields: [field] }) => field === "workers") as unknown as ReadonlyArray<
    Relation<typeof rules>
  >
])

/** Checks all options. */
export const resolveWorker = (options: unknown): Result.Result<PoolSettings, PoolConfigError> => {
  const { checked, given, problems } = check(workerPoolTable, options)
  return Result.map(unless(checked.name, problems, checked), (checked) => ({
    ...settingsOf({ ...checked, ...absent, workers: workersOf(checked, given) }),
    writerExecution: "worker"
  }))
}

const absent = { readOnly: false, immutable: false, functions: undefined, aggregates: undefined } as const

/** Reads all options from the configuration. Variables that are not set are left out, but `FILENAME` is required. */
export const config = (prefix: string | undefined): Config.Config<{ readonly filename: string }> =>
  fromEnvironment(workerPoolTable, prefix) as Config.Config<{ readonly filename: string }>
