/** Says once in each run why the tests with PostgreSQL are skipped, if they are. */
import { unavailable } from "../../src/testing/TemporaryPostgres.ts"

export const setup = (): void => {
  const why = unavailable()
  if (why !== undefined) process.stderr.write(`The tests with a PostgreSQL server are skipped: ${why}\n`)
}
