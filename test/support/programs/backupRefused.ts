/** Copies a database of 400 KB to a folder that does not take it, and prints what it is told and what is left there. */
import { Effect, Stream } from "effect"
import { readdirSync } from "node:fs"
import { join } from "node:path"
import { SqlitePool } from "../../../src/sqlite/index.ts"

const [folder = "."] = process.argv.slice(2)

const program = Effect.scoped(Effect.gen(function*() {
  const pool = yield* SqlitePool.makeTemporary()
  yield* pool.write((connection) => connection.exec("create table t(a); insert into t values (zeroblob(400000))"))
  return yield* Effect.match(Stream.runDrain(pool.backup(join(folder, "copy.db"))), {
    onFailure: (error) => error.message,
    onSuccess: () => "copied"
  })
}))

const message = await Effect.runPromise(program)
process.stdout.write(JSON.stringify([message, readdirSync(folder)]))
