/**
 * How do I move an application from `@effect/sql-sqlite-node` to the pool, and what does it gain?
 *
 *     npm run example -- swap-sqlite-node
 */
import { NodeFileSystem, NodeRuntime } from "@effect/platform-node"
import { SqliteClient as Original } from "@effect/sql-sqlite-node"
import { Console, Effect, Fiber, FileSystem, Latch, Layer, Option, Schema } from "effect"
import { SqliteClient as Pooled, SqliteMigrator } from "effect-connection-pool/sqlite-node"
import { SqlClient } from "effect/sql/SqlClient"
import * as SqlSchema from "effect/sql/SqlSchema"

// The application. It knows the service of @effect/sql-sqlite-node, and nothing of pools.
const migrations = SqliteMigrator.fromRecord({
  "0001_account": Effect.gen(function*() {
    const sql = yield* SqlClient
    yield* sql`create table account(name text primary key, cents integer not null)`
    yield* sql`insert into account ${sql.insert([{ name: "ann", cents: 10_000 }, { name: "bob", cents: 0 }])}`
  })
})

const balances = Effect.gen(function*() {
  const sql = yield* Original.SqliteClient
  const find = SqlSchema.findAll({
    Request: Schema.Void,
    Result: Schema.Struct({ name: Schema.String, cents: Schema.Int }),
    execute: () => sql`select name, cents from account order by name`
  })
  const rows = yield* find(undefined)
  return rows.map(({ cents, name }) => `${name} ${cents}`).join(", ")
})

const application = Effect.gen(function*() {
  const sql = yield* Original.SqliteClient
  yield* SqliteMigrator.run({ loader: migrations })
  // A transfer that asks another service in the middle, and waits for its answer.
  const answer = yield* Latch.make(false)
  const asked = yield* Latch.make(false)
  const transfer = yield* Effect.forkChild(sql.withTransaction(Effect.gen(function*() {
    yield* sql`update account set cents = cents - 2500 where name = 'ann'`
    yield* asked.open
    yield* answer.await
    yield* sql`update account set cents = cents + 2500 where name = 'bob'`
  })))
  yield* asked.await
  // Meanwhile a user wants to see the page with the balances.
  const page = yield* Effect.forkChild(balances)
  const seen = yield* Effect.timeoutOption(Fiber.join(page), "1 second")
  yield* Console.log(`  during the transfer: ${Option.getOrElse(seen, () => "no answer")}`)
  yield* answer.open
  yield* Fiber.join(transfer)
  yield* Fiber.join(page)
  yield* Console.log(`  after it:            ${yield* balances}`)

  const backup = yield* sql.backup(`${sql.config.filename}.backup`)
  yield* Console.log(`  a backup has ${backup.totalPages} pages`)
})

const program = Effect.gen(function*() {
  const files = yield* FileSystem.FileSystem
  const folder = yield* files.makeTempDirectoryScoped()

  yield* Console.log("On @effect/sql-sqlite-node:")
  yield* Effect.provide(application, Original.layer({ filename: `${folder}/original.db` }))

  // The line that is changed.
  yield* Console.log("On the pool:")
  yield* Effect.provide(application, Pooled.layer({ filename: `${folder}/pooled.db` }))

  // A file that cannot be opened is a defect there, and a value here.
  const missing = `${folder}/missing/app.db`
  const failure = yield* Effect.flip(Effect.scoped(Layer.build(Pooled.layer({ filename: missing }))))
  yield* Console.log(`${failure._tag}: ${failure.message.replaceAll(folder, "")}`)
})

NodeRuntime.runMain(program.pipe(Effect.scoped, Effect.provide(NodeFileSystem.layer)))

/* Prints:
On @effect/sql-sqlite-node:
  during the transfer: no answer
  after it:            ann 7500, bob 2500
  a backup has 4 pages
On the pool:
  during the transfer: ann 10000, bob 0
  after it:            ann 7500, bob 2500
  a backup has 4 pages
[…] WARN (#…): connection 1 could not be opened: … does not exist …
ConnectError: pool "sqlite/writer": could not connect: effect/sql/SqlError: cannot open the SQLite database "/missing/app.db": the folder "/missing" does not exist (unable to open database file, code 14)
*/
