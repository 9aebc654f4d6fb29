// A pool that nobody uses any more, and whose scope is never closed.
import { Effect, Exit, Scope } from "effect"
import { ConnectionPool, InMemoryConnection } from "../../../src/index.ts"

const scope = Effect.runSync(Scope.make())
const pool = await Effect.runPromise(
  Scope.provide(ConnectionPool.make({ factory: InMemoryConnection.factory(), min: 2, max: 4 }), scope)
)
await Effect.runPromise(
  Effect.forEach(Array.from({ length: 100 }), () => pool.use((connection) => connection.set("a", 1)), {
    concurrency: "unbounded"
  })
)
if (process.argv[2] === "close") await Effect.runPromise(Scope.close(scope, Exit.void))
process.stdout.write(JSON.stringify(process.getActiveResourcesInfo().filter((resource) => resource === "Timeout")))
