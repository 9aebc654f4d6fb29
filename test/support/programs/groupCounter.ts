/**
 * Counts with many fibers, beside other processes that do so too. Says how many were told of success, and how many met a lock
 * for too long; any other failure is the end.
 */
import { Effect } from "effect"
import { SqlitePool } from "../../../src/sqlite/index.ts"

const [filename = ".", fibers = "50", times = "10", busyMillis = "300000"] = process.argv.slice(2)

const all = Effect.scoped(Effect.gen(function*() {
  const pool = yield* SqlitePool.make({ filename, busyTimeout: Number(busyMillis), acquireTimeout: "5 minutes" })
  const { sql } = pool
  process.stdout.write("open\n")
  yield* Effect.callback<void>((resume) => {
    process.stdin.resume().once("end", () => resume(Effect.void))
  })
  let done = 0
  let late = 0
  const statement = sql`update counter set n = n + 1`
  // What it reads is still true when it writes.
  const body = pool.writeSync((connection) => {
    const [row] = connection.valuesUnsafe("select n from counter")
    connection.runUnsafe("update counter set n = ?", [(row![0] as number) + 1])
  })
  const fiber = Effect.gen(function*() {
    for (let time = 0; time < Number(times); time++) {
      const result = yield* Effect.result<unknown, unknown, never>(time % 2 === 0 ? statement : body)
      if (result._tag === "Success") done++
      else {
        const { reason } = result.failure as { readonly reason?: { readonly _tag: string } }
        if (reason?._tag !== "LockTimeoutError") return yield* Effect.fail(result.failure)
        if (late++ === 0) process.stdout.write("late\n")
      }
    }
  })
  yield* Effect.all(Array.from({ length: Number(fibers) }, () => fiber), { concurrency: "unbounded" })
  process.stdout.write(`told ${done} ${late}\n`)
}))

await Effect.runPromise(all)
