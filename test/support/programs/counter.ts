/** Counts in a database, as other processes do at the same moment. */
import { Effect } from "effect"
import { SqlitePool } from "../../../src/sqlite/index.ts"

const [filename = ".", times = "1"] = process.argv.slice(2)

const all = Effect.scoped(Effect.gen(function*() {
  // Longer than any machine needs: it is not speed that is tested.
  const pool = yield* SqlitePool.make({ filename, busyTimeout: "5 minutes", acquireTimeout: "5 minutes" })
  process.stdout.write("open\n")
  yield* Effect.callback<void>((resume) => {
    process.stdin.resume().once("end", () => resume(Effect.void))
  })
  for (let time = 0; time < Number(times); time++) {
    yield* pool.write((connection) =>
      Effect.gen(function*() {
        yield* connection.exec("begin immediate")
        const [row] = yield* connection.values("select n from counter")
        // Others have their turn between the read and the write.
        yield* Effect.sleep("1 millis")
        yield* connection.run("update counter set n = ?", [(row![0] as number) + 1])
        yield* connection.exec("commit")
      })
    )
  }
}))

await Effect.runPromise(all)
