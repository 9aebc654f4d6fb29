/** Says once in each run why the tests with PostgreSQL or with PgBouncer are skipped, if they are. */
import { unavailable } from "../../src/testing/TemporaryPostgres.ts"
import { version } from "./pgBouncerProgram.ts"

export const setup = (): void => {
  const why = unavailable()
  if (why !== undefined) process.stderr.write(`The tests with a PostgreSQL server are skipped: ${why}\n`)
  else if (version() === undefined) {
    process.stderr.write(
      "The tests with PgBouncer are skipped: there is no program pgbouncer (it is a package of Debian)\n"
    )
  }
}
