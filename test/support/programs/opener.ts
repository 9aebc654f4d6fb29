/** Opens new databases in a folder, as other processes do at the same moment, and writes a row to each. */
import { Effect, Schedule } from "effect"
import { join } from "node:path"
import { SqliteConnection } from "../../../src/sqlite/index.ts"

const [folder = ".", files = "1"] = process.argv.slice(2)

const write = "begin immediate; create table if not exists t(a); insert into t values (1); commit"

process.stdout.write("ready\n")
process.stdin.resume().once("end", () => {
  const all = Effect.gen(function*() {
    for (let at = 0; at < Number(files); at++) {
      yield* Effect.scoped(Effect.gen(function*() {
        const connection = yield* SqliteConnection.open({ filename: join(folder, `${at}.db`) })
        const [row] = yield* connection.query("pragma journal_mode")
        if (row?.["journal_mode"] !== "wal") return yield* Effect.die(new Error("no WAL"))
        // A statement does not wait for locks; whoever wants that repeats it.
        yield* Effect.retry(connection.exec(write), {
          while: (error) => SqliteConnection.codeOf(error) === 5,
          schedule: Schedule.spaced("1 millis")
        })
      }))
    }
  })
  void Effect.runPromise(all)
})
