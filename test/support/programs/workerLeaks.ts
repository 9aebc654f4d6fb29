/**
 * Runs so many statements on workers, many of which fail, are interrupted, or end their thread: three times as many, and after
 * each time says what the process holds. Prints that, and the numbers of the pool.
 */
import { Effect } from "effect"
import { readdirSync } from "node:fs"
import { stat } from "node:fs/promises"
import { join } from "node:path"
import { setTimeout } from "node:timers/promises"
import * as SqlitePool from "../../../src/sqlite/SqlitePool.ts"

const [folder, statements] = [process.argv[2]!, Number(process.argv[3])]

/** Beside this program when it is bundled. */
const functionsModule = new URL("sqlFunctions.mjs", import.meta.url)

const threads = (): number => readdirSync("/proc/self/task").length

const counting = (to: number) =>
  `with recursive n(i) as (select 1 union all select i + 1 from n where i < ${to}) select count(*) from n`

const outcomes = { answered: 0, failed: 0, interrupted: 0, crashed: 0 }

const told = (outcome: keyof typeof outcomes) => () =>
  Effect.sync(() => {
    outcomes[outcome]++
  })

/** One statement, of which there are five kinds. */
const one = (db: SqlitePool.SqlitePool, at: number): Effect.Effect<void> => {
  const { sql } = db
  const ends = <E>(statement: Effect.Effect<unknown, E>, onFailure: keyof typeof outcomes) =>
    Effect.matchEffect(statement, { onFailure: told(onFailure), onSuccess: told("answered") })
  if (at % 100 === 50) return ends(sql`select crash()`, "crashed")
  switch (at % 4) {
    case 0:
      return ends(sql`select * from nowhere`, "failed")
    case 1:
      return ends(db.read((reader) => reader.values("select fail()")), "failed")
    case 2:
      return ends(sql`select ${at} as n`, "failed")
    default:
      return Effect.flatMap(
        Effect.timeoutOption(Effect.result(sql.unsafe(counting(1000 + (at % 50) * 400))), at % 3),
        (answer) =>
          told(answer._tag === "None" ? "interrupted" : answer.value._tag === "Success" ? "answered" : "failed")()
      )
  }
}

const rest = (db: SqlitePool.SqlitePool): Effect.Effect<SqlitePool.Stats["readers"]> =>
  Effect.flatMap(db.stats, ({ workers }) => {
    const { abandoned, closing, connecting, inUse, resetting, waiting } = workers!
    return abandoned + closing + connecting + inUse + resetting + waiting === 0
      ? Effect.succeed(workers!)
      : Effect.andThen(Effect.sleep(5), rest(db))
  })

/** What the process holds, without its garbage. */
const held = async () => {
  globalThis.gc!()
  await setTimeout(50)
  globalThis.gc!()
  return { rss: process.memoryUsage().rss, heap: process.memoryUsage().heapUsed, threads: threads() }
}

// Starts the threads of Node itself.
await stat(folder)

const before = threads()

const { memory, stats } = await Effect.runPromise(Effect.scoped(Effect.gen(function*() {
  const db = yield* SqlitePool.make({
    filename: join(folder, "app.db"),
    execution: "worker",
    workers: 2,
    acquireTimeout: "10 minutes",
    functionsModule
  })
  const memory: Array<unknown> = []
  for (let round = 0; round < 3; round++) {
    yield* Effect.forEach(Array.from({ length: statements }, (_, at) => at), (at) => one(db, at), {
      concurrency: 8,
      discard: true
    })
    const { total } = yield* rest(db)
    memory.push({ ...(yield* Effect.promise(held)), connections: total })
  }
  return { memory, stats: yield* rest(db) }
})))

/** How many threads are left after a while. */
const left = async (turns: number): Promise<number> => {
  const count = threads() - before
  if (count <= 0 || turns === 0) return count
  await setTimeout(5)
  return left(turns - 1)
}

process.stdout.write(`${JSON.stringify({ left: await left(4000), memory, outcomes, stats })}\n`)
