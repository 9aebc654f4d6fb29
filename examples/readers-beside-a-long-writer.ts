/**
 * Do my readers stall while a transaction takes its time?
 *
 * A transaction that waits for something between its statements is the usual reason why an application with SQLite
 * becomes slow: with one connection, everybody waits for it. Here it is done both ways.
 *
 *     npm run example -- readers-beside-a-long-writer
 */
import { NodeRuntime } from "@effect/platform-node"
import { Clock, Console, Effect, Fiber } from "effect"
import { SqlitePool } from "effect-connection-pool/sqlite"

const transactions = 10

/** 10 transactions that wait 50 ms each for the answer of another service, and 20 fibers that read meanwhile. */
const measure = Effect.fnUntraced(function*(pool: SqlitePool.SqlitePool) {
  yield* pool.sql`create table stock(item integer primary key, pieces integer)`
  yield* pool.sql`insert into stock values (1, 0)`

  const waits: Array<number> = []
  const look = Effect.gen(function*() {
    const asked = yield* Clock.monotonicTimeNanos
    yield* pool.read((reader) => reader.query("select pieces from stock where item = 1"))
    waits.push(Number((yield* Clock.monotonicTimeNanos) - asked) / 1e6)
    yield* Effect.sleep("1 millis")
  })
  const readers = yield* Effect.forEach(Array.from({ length: 20 }), () => Effect.forkChild(Effect.forever(look)))

  const restock = pool.transaction(Effect.gen(function*() {
    yield* pool.sql`update stock set pieces = pieces + 1 where item = 1`
    yield* Effect.sleep("50 millis")
  }))
  yield* Effect.repeat(restock, { times: transactions - 1 })

  yield* Fiber.interruptAll(readers)
  waits.sort((a, b) => a - b)
  const at = (share: number) => `${waits[Math.floor((waits.length - 1) * share)]!.toFixed(3)} ms`
  return `${waits.length} reads, median ${at(0.5)}, slowest ${at(1)}`
})

const program = Effect.gen(function*() {
  const ways = {
    "one connection for all (in memory)": SqlitePool.make({ filename: ":memory:" }),
    "one that writes, four that read": SqlitePool.makeTemporary({ readers: 4 })
  }
  for (const [name, pool] of Object.entries(ways)) {
    const result = yield* Effect.scoped(Effect.flatMap(pool, measure))
    yield* Console.log(`${name}: ${result}`)
  }
})

program.pipe(NodeRuntime.runMain)

/* Prints:
one connection for all (in memory): … reads, median … ms, slowest … ms
one that writes, four that read: … reads, median … ms, slowest … ms
*/
