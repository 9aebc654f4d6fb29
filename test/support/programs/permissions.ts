/** Takes the right to write a file from a pool that has it open, and prints what that means for it. */
import { Effect } from "effect"
import { chmodSync } from "node:fs"
import { SqlitePool } from "../../../src/sqlite/index.ts"

const [filename = "test.db"] = process.argv.slice(2)

const program = Effect.scoped(Effect.gen(function*() {
  const pool = yield* SqlitePool.make({ filename })
  const write = Effect.match(pool.write((connection) => connection.exec("create table if not exists t(a)")), {
    onFailure: (error) => error.message,
    onSuccess: () => "written"
  })
  yield* write
  chmodSync(filename, 0o444)
  yield* Effect.sleep(60)
  const written = yield* write
  yield* pool.writer.recycle
  const next = yield* write
  return [written, next]
}))

process.stdout.write(JSON.stringify(await Effect.runPromise(program)))
