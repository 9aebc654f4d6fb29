/** Turns the problems of options into errors. */
import { Result } from "effect"
import { type ConfigProblem, PoolConfigError } from "../../PoolError.ts"
import { check, type Checked, type Rules, type Table } from "./rules.ts"

/** Succeeds with the value if there are no problems; fails with the error that lists them. */
export const unless = <A>(
  pool: string,
  [first, ...rest]: ReadonlyArray<ConfigProblem>,
  value: A
): Result.Result<A, PoolConfigError> =>
  first === undefined ? Result.succeed(value) : Result.fail(new PoolConfigError({ pool, problems: [first, ...rest] }))

/** Checks options for a function that is no effect: throws a `TypeError` that lists the problems. */
export const checkOrThrow = <R extends Rules>(of: string, table: Table<R>, options: unknown): Checked<R> => {
  const { checked, problems } = check(table, options === undefined ? {} : options)
  if (problems.length > 0) throw new TypeError(`${of}: ${problems.map(({ message }) => message).join("; ")}`)
  return checked
}
