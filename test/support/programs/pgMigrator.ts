/** Migrates a PostgreSQL database beside other processes that do so too, and says which migrations it ran. */
import { Effect } from "effect"
import * as Migrator from "effect/sql/Migrator"
import { SqlClient } from "effect/sql/SqlClient"
import { PgPool } from "../../../src/postgres/index.ts"

const [host = "", port = "", username = "", database = ""] = process.argv.slice(2)

const migrations = Migrator.make({})({
  loader: Migrator.fromRecord({
    "1_counter": Effect.flatMap(SqlClient, (sql) => sql`create table counter (n int)`),
    "2_one": Effect.flatMap(
      SqlClient,
      (sql) => Effect.andThen(sql`select pg_sleep(0.05)`, sql`insert into counter values (1)`)
    )
  })
})

const all = Effect.gen(function*() {
  const { sql } = yield* PgPool.PgPool
  // Both are connected before one of them begins.
  yield* sql`select 1`
  process.stdout.write("open\n")
  yield* Effect.callback<void>((resume) => {
    process.stdin.resume().once("end", () => resume(Effect.void))
  })
  process.stdout.write(`ran ${JSON.stringify(yield* migrations)}\n`)
}).pipe(Effect.provide(PgPool.layer({ host, port: Number(port), username, database, max: 2 })))

await Effect.runPromise(all)
