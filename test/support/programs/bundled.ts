/** A program that is bundled with its thread. Prints what a worker reads, or why there is none. */
import { Effect } from "effect"
import { SqlitePool } from "../../../src/sqlite/index.ts"

const program = Effect.gen(function*() {
  const db = yield* SqlitePool.make({ filename: process.argv[2]!, workers: 1 })
  yield* db.write((connection) => connection.exec("create table if not exists t(a); insert into t values (7)"))
  return yield* db.read((reader) => reader.values("select a from t"), { execution: "worker" })
})

// Not `await`: a bundle for CommonJS has none at its top.
void Effect.runPromise(Effect.scoped(program).pipe(Effect.catch((error) => Effect.succeed(error.message))))
  .then((result) => process.stdout.write(JSON.stringify(result)))
