/** Counts in a database, as other processes do at the same moment; prints how long the longest transaction waited. */
import { Clock, Effect } from "effect"
import { SqlitePool } from "../../../src/sqlite/index.ts"

const [filename = ".", times = "1"] = process.argv.slice(2)

const all = Effect.scoped(Effect.gen(function*() {
  const pool = yield* SqlitePool.make({ filename, busyTimeout: "20 seconds", acquireTimeout: "20 seconds" })
  process.stdout.write("open\n")
  yield* Effect.callback<void>((resume) => {
    process.stdin.resume().once("end", () => resume(Effect.void))
  })
  let longest = 0
  for (let time = 0; time < Number(times); time++) {
    const asked = yield* Clock.currentTimeMillis
    yield* pool.write((connection) =>
      Effect.gen(function*() {
        yield* connection.exec("begin immediate")
        longest = Math.max(longest, (yield* Clock.currentTimeMillis) - asked)
        const [row] = yield* connection.values("select n from counter")
        // Others have their turn between the read and the write.
        yield* Effect.sleep("1 millis")
        yield* connection.run("update counter set n = ?", [(row![0] as number) + 1])
        yield* connection.exec("commit")
      })
    )
  }
  process.stdout.write(`${longest}\n`)
}))

await Effect.runPromise(all)
