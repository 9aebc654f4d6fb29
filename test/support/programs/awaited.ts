// A caller who waits behind a timer that was set for an idle connection, and did not keep the process then.
import { Effect, Scope } from "effect"
import { ConnectionPool, InMemoryConnection } from "../../../src/index.ts"

const pool = await Effect.runPromise(
  Scope.provide(
    ConnectionPool.make({ factory: InMemoryConnection.factory(), max: 1, idleTimeout: "100 millis" }),
    Effect.runSync(Scope.make())
  )
)
await Effect.runPromise(pool.use(() => Effect.void))
Effect.runFork(pool.use(() => Effect.never))
const error = await Effect.runPromise(Effect.flip(pool.use(() => Effect.void, { timeout: "300 millis" })))
process.stdout.write(error._tag)
