/** What becomes of problems with options. */
import { Result } from "effect"
import { type ConfigProblem, PoolConfigError } from "../../PoolError.ts"
import { check, type Checked, type Rules, type Table } from "./rules.ts"

/** The value, or the error that lists what is wrong with the options it was made of. */
export const unless = <A>(
  pool: string,
  [first, ...rest]: ReadonlyArray<ConfigProblem>,
  value: A
): Result.Result<A, PoolConfigError> =>
  first === undefined ? Result.succeed(value) : Result.fail(new PoolConfigError({ pool, problems: [first, ...rest] }))

/** The options, checked; throws a `TypeError` that lists what is wrong with them, for what cannot fail otherwise. */
export const checkOrThrow = <R extends Rules>(of: string, table: Table<R>, options: unknown): Checked<R> => {
  const { checked, problems } = check(table, options === undefined ? {} : options)
  if (problems.length > 0) throw new TypeError(`${of}: ${problems.map(({ message }) => message).join("; ")}`)
  return checked
}
