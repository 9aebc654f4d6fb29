// A program that waits for nothing but a connection of an exhausted pool: the deadline has to come.
import { Effect, Scope } from "effect"
import { ConnectionPool, InMemoryConnection } from "../../../src/index.ts"

const pool = await Effect.runPromise(
  Scope.provide(ConnectionPool.make({ factory: InMemoryConnection.factory(), max: 1 }), Effect.runSync(Scope.make()))
)
Effect.runFork(pool.use(() => Effect.never))
const error = await Effect.runPromise(Effect.flip(pool.use(() => Effect.void, { timeout: "50 millis" })))
process.stdout.write(error._tag)
