// A thousand callers wait for the only connection, each with a deadline of its own.
import { Effect, Fiber } from "effect"
import { ConnectionPool, InMemoryConnection } from "../../../src/index.ts"

const timers = () => process.getActiveResourcesInfo().filter((resource) => resource === "Timeout").length
const settle = Effect.repeat(Effect.yieldNow, { times: 30 })

const program = Effect.scoped(Effect.gen(function*() {
  const pool = yield* ConnectionPool.make({ factory: InMemoryConnection.factory(), max: 1 })
  yield* pool.acquire()
  const callers = yield* Effect.forEach(
    Array.from({ length: 1000 }, (_, index) => 4000 + index / 10),
    (timeout) => Effect.forkDetach(Effect.flip(pool.use(() => Effect.void, { timeout })))
  )
  yield* settle
  const { waiting } = yield* pool.stats
  process.stdout.write(`${waiting} waiting, ${timers()} timer; `)
  yield* Fiber.joinAll(callers)
  yield* settle
  const { timeouts } = yield* pool.stats
  process.stdout.write(`${timeouts} timed out, ${timers()} timers`)
}))

await Effect.runPromise(program)
