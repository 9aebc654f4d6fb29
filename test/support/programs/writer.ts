/** Writes one transaction after the other until it is killed, two rows in each, and says which are committed. */
import { Effect } from "effect"
import { writeSync } from "node:fs"
import { SqlitePool } from "../../../src/sqlite/index.ts"

const [filename = ".", from = "0", synchronous = "normal"] = process.argv.slice(2)

const all = Effect.scoped(Effect.gen(function*() {
  const pool = yield* SqlitePool.make({ filename, synchronous: synchronous === "full" ? "full" : "normal" })
  for (let id = Number(from);; id++) {
    yield* pool.write((connection) =>
      Effect.gen(function*() {
        yield* connection.exec("begin immediate")
        yield* connection.run("insert into pair(id, half, filler) values (?, 1, randomblob(500))", [id])
        yield* Effect.yieldNow
        yield* connection.run("insert into pair(id, half, filler) values (?, 2, randomblob(500))", [id])
        yield* Effect.yieldNow
        yield* connection.exec("commit")
      })
    )
    // At once, for what is still in a buffer when it is killed is not said.
    writeSync(1, `${id}\n`)
  }
}))

await Effect.runPromise(all)
