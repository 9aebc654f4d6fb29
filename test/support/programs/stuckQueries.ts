/**
 * Leaves two queries behind that do not end, says what becomes of other callers, and closes. Then it ends: by itself, or if it
 * is told "kill", the hard way.
 */
import { Effect, Fiber } from "effect"
import { existsSync } from "node:fs"
import { join } from "node:path"
import * as SqlitePool from "../../../src/sqlite/SqlitePool.ts"

const [folder, end] = process.argv.slice(2) as [string, string | undefined]

/** Beside this program when it is bundled. */
const functionsModule = new URL("sqlFunctions.mjs", import.meta.url)

const say = (...words: ReadonlyArray<unknown>) => process.stdout.write(`${words.map(String).join(" ")}\n`)

const onWorker = { execution: "worker" } as const

/** Starts a query, and leaves it when it has run for 200 ms. */
const leave = (db: SqlitePool.SqlitePool, path: string) =>
  Effect.gen(function*() {
    const fiber = yield* Effect.forkChild(db.read((reader) => reader.values("select held(?)", [path]), onWorker))
    while (!existsSync(`${path}.begun`)) yield* Effect.sleep(1)
    yield* Effect.sleep(200)
    yield* Fiber.interrupt(fiber)
    say("free, abandoned:", (yield* db.stats).workers?.abandoned)
  })

const program = Effect.gen(function*() {
  const db = yield* SqlitePool.make({ filename: join(folder, "app.db"), workers: 1, maxAbandoned: 1, functionsModule })
  yield* db.write((connection) => connection.exec("create table t(a); insert into t values (7)"))
  const read = db.read((reader) => reader.values("select a from t"), onWorker)
  yield* leave(db, join(folder, "one"))
  say("served on a worker:", yield* read)
  yield* leave(db, join(folder, "two"))
  const late = yield* Effect.flip(db.read((reader) => reader.values("select a from t"), { ...onWorker, timeout: 50 }))
  say("beyond maxAbandoned:", late._tag)
  say("served in process:", yield* db.sql`select a from t`.values)
  yield* db.write((connection) => connection.run("insert into t values (8)"))
  const { workers } = yield* db.shutdown({ drainTimeout: 100 })
  say("closed, left behind:", workers?.abandoned.length)
})

await Effect.runPromise(Effect.scoped(program))
if (end === "kill") process.kill(process.pid, "SIGKILL")
say("returned")
