/** Writes one row into a database of several hosts, and says which of them took it. */
import { Effect } from "effect"
import { PgPool } from "../../../src/postgres/index.ts"

const [, , ...hosts] = process.argv

await Effect.runPromise(Effect.scoped(Effect.gen(function*() {
  const db = yield* PgPool.make({ hosts, username: "postgres", database: "postgres", max: 1 })
  const [row] = yield* db.sql<{ port: number }>`insert into t values (1) returning inet_server_port() as port`
  process.stdout.write(`written to ${row!.port}\n`)
})))
