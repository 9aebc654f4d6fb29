/** Imports rows without an end, and says when the first are in the log. */
import { Effect, Stream } from "effect"
import { statSync } from "node:fs"
import { SqlitePool } from "../../../src/sqlite/index.ts"

const [, , filename] = process.argv

const rows = function*() {
  let hasSaid = false
  for (let id = 0;; id++) {
    if (!hasSaid && id % 1000 === 0 && statSync(`${filename}-wal`).size > 5e6) {
      hasSaid = true
      process.stdout.write("running\n")
    }
    yield [id, "x".repeat(200)]
  }
}

await Effect.runPromise(Effect.scoped(Effect.gen(function*() {
  const pool = yield* SqlitePool.make({ filename: filename! })
  yield* Stream.runDrain(pool.batch("insert into person(id, name) values (?, ?)", rows()))
})))
