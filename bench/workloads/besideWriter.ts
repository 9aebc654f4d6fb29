/** Readers beside a writer that takes its time: how long a read takes, as its caller sees it. */
import { Effect, Fiber } from "effect"
import type { SqlClient } from "effect/sql/SqlClient"
import { setImmediate } from "node:timers/promises"

/** How long a transaction waits for something else before it commits. */
const pauseMillis = 50
const readers = 50

/** How long each read took, in nanoseconds, and how many transactions were committed meanwhile. */
export const besideWriter = (sql: SqlClient, transactions: number): Promise<{ reads: Array<number>; writes: number }> =>
  Effect.runPromise(Effect.gen(function*() {
    const reads: Array<number> = []
    let writes = 0
    let isOver = false
    const read = Effect.gen(function*() {
      for (let id = 1; !isOver; id++) {
        const startedAt = performance.now()
        yield* sql`select n from item where id = ${id}`
        reads.push((performance.now() - startedAt) * 1e6)
        yield* Effect.sleep(1)
      }
    })
    const fibers = yield* Effect.forEach(Array.from({ length: readers }), () => Effect.forkChild(read))
    for (let turn = 0; turn < transactions; turn++) {
      yield* sql.withTransaction(Effect.andThen(
        sql`update item set n = n where id = ${turn + 1}`,
        Effect.sleep(pauseMillis)
      ))
      writes++
      // Without it, nobody else would ever get the one connection of those that have one.
      yield* Effect.promise(() => setImmediate())
    }
    isOver = true
    yield* Fiber.joinAll(fibers)
    return { reads, writes }
  }))
